#!/bin/bash
# run.sh [--quick]: installs what is needed, builds, and runs all tests; ends with "N passed, N failed[, N skipped]".
#   unit tests        release (gcc), clang, and ASan+UBSan builds; cross-built for arm64, under qemu-user
#   fuzz targets      a few seconds each
#   integration       the debug build, then an ASan+UBSan skiffd, skiff-pod and helpers
#   races             unit tests and the integration tests where most goes on at once, with TSan (tests/tsan.sh runs all)
#   packages          the Debian one by lintian, and both installed, upgraded, removed and purged on an overlay of this machine's root
#   guests            what matters on cgroup v2 and under systemd, in emulated machines (tests/vm/lane.sh --short); skipped,
#                     with what is missing, where they cannot be had
#   checks            clang-tidy, gcc -fanalyzer and cppcheck on what changed; layout; sizes of files and functions
# --quick leaves out the sanitizer, clang, fuzz and guest parts. Wants root on Debian 12; touches nothing outside its own
# directories, namespaces and cgroups.
set -u
cd "$(dirname "$0")/.." || exit 1
quick=no
[ "${1:-}" = --quick ] && quick=yes
passed=0 failed=0 skipped=0
logs=$(mktemp -d /tmp/skiff-tests.XXXXXX)
trap 'rm -rf "$logs"' EXIT

count() { # count NAME PASSED FAILED SKIPPED
        passed=$((passed + $2)) failed=$((failed + $3)) skipped=$((skipped + $4))
        printf '== %-28s %4d passed, %d failed, %d skipped (%ds)\n' "$1" "$2" "$3" "$4" $((SECONDS - began))
}

step() { # step NAME COMMAND...: one test that is a command
        local name=$1
        shift
        began=$SECONDS
        if "$@" >"$logs/step" 2>&1; then count "$name" 1 0 0; else tail -n 60 "$logs/step" && count "$name" 0 1 0; fi
}

build() { # build PRESET
        cmake --preset "$1" >/dev/null && cmake --build --preset "$1"
}

units() { # units PRESET [how many are left out, ctest's arguments]
        began=$SECONDS
        local gone=${2:-0}
        ctest --preset "$1" --timeout 300 -j 2 "${@:3}" >"$logs/units" 2>&1
        local line ok bad
        line=$(grep -E '^[0-9]+% tests passed' "$logs/units")
        bad=$(echo "$line" | sed -E 's/.*, ([0-9]+) tests? failed out of ([0-9]+)/\1/')
        ok=$(echo "$line" | sed -E 's/.*failed out of ([0-9]+)/\1/')
        if [ -z "$line" ]; then
                cat "$logs/units"
                count "unit tests ($1)" 0 1 0
                return
        fi
        [ "$bad" = 0 ] || cat "$logs/units"
        count "unit tests ($1)" $((ok - bad)) "$bad" "$gone"
}

integration() { # integration PRESET [pytest arguments]
        began=$SECONDS
        local preset=$1
        shift
        # Should it hang all the same (it fails a test that does), what it printed is shown and the rest still runs.
        SKIFF_BUILD=$PWD/build/$preset timeout -k 30 1500 tests/integration/run.sh "$@" >"$logs/integration" 2>&1
        local rc=$? line number
        line=$(grep -E '^(=+ )?.*(passed|failed|error).* in [0-9.]+s' "$logs/integration" | tail -n 1)
        number() { echo "$line" | grep -oE "[0-9]+ $1" | cut -d' ' -f1; }
        local ok bad gone
        ok=$(number passed) bad=$(number failed) gone=$(number skipped)
        local errors
        errors=$(number errors?)
        bad=$((${bad:-0} + ${errors:-0}))
        [ "$rc" != 0 ] && [ "$bad" = 0 ] && bad=1
        [ "$bad" = 0 ] || tail -n 150 "$logs/integration"
        grep -E '^(SKIPPED|points:)' "$logs/integration"
        count "integration ($preset${SKIFF_ROOT_MOUNT:+, / $SKIFF_ROOT_MOUNT})" "${ok:-0}" "$bad" "${gone:-0}"
}

guests() {
        began=$SECONDS
        timeout -k 30 900 tests/vm/lane.sh --short >"$logs/guests" 2>&1
        local lines ok=0 bad=0 gone=0
        lines=$(grep -E '^vm [a-z0-9]+: [0-9]+ passed, [0-9]+ failed, [0-9]+ skipped$' "$logs/guests")
        grep '^SKIPPED' "$logs/guests"
        if [ -z "$lines" ] || echo "$lines" | grep -qv ' 0 failed'; then tail -n 150 "$logs/guests"; fi
        [ -n "$lines" ] || lines='vm guests: 0 passed, 1 failed, 0 skipped'
        while read -r _ _ passes _ fails _ skips _; do
                ok=$((ok + passes)) bad=$((bad + fails)) gone=$((gone + skips))
        done <<<"$lines"
        count guests "$ok" "$bad" "$gone"
}

units_arm64() { # those that tests/arm64/left-out.txt does not name
        began=$SECONDS
        local left_out
        left_out=$(grep -v '^#' tests/arm64/left-out.txt)
        while read -r name reason; do echo "SKIPPED $name: qemu-user has no $reason"; done <<<"$left_out"
        units arm64 $(wc -l <<<"$left_out") -E "^($(cut -d' ' -f1 <<<"$left_out" | paste -sd'|'))\$"
}

fuzz_one() { # fuzz_one TARGET
        local name
        name=$(basename "$1")
        mkdir -p "$logs/corpus/$name"
        timeout -k 5 120 "$1" -max_total_time=4 -rss_limit_mb=2048 -timeout=10 -artifact_prefix="$logs/" "$logs/corpus/$name" \
                $([ -d "tests/fuzz/seeds/$name" ] && echo "tests/fuzz/seeds/$name") >"$logs/fuzz.$name" 2>&1
        echo $? >"$logs/fuzz.$name.status"
}

fuzz() { # two at a time
        local target name targets=() n=0
        began=$SECONDS
        for target in build/fuzz/fuzz/*; do
                [ -x "$target" ] && [ -f "$target" ] && targets+=("$target")
        done
        for target in "${targets[@]}"; do
                fuzz_one "$target" &
                [ $((++n % 2)) = 0 ] && wait
        done
        wait
        for target in "${targets[@]}"; do
                name=$(basename "$target")
                if [ "$(cat "$logs/fuzz.$name.status")" = 0 ]; then count "fuzz $name" 1 0 0; else tail -n 60 "$logs/fuzz.$name" && count "fuzz $name" 0 1 0; fi
        done
}

deploy/install-packages.sh test || exit 1
step 'build release' build release
step 'build debug' build debug
units debug
integration debug
for root in private chroot; do # nodes have it shared, as the run before
        SKIFF_ROOT_MOUNT=$root integration debug tests/integration/test_{pods,image_volumes,pull_store}.py
done
step 'packages' tests/package/run.sh
step 'checks' tests/check.sh
if [ $quick = no ]; then
        guests
        step 'build clang' build clang
        units clang
        step 'libraries arm64' tests/arm64/sysroot.sh build/arm64-sysroot
        step 'build arm64' build arm64
        step 'package arm64' cpack --preset arm64
        units_arm64
        step 'build asan' build asan
        units asan
        # The command's own parsers are in the unit tests; what tmux shows, what waits for time-outs and what compares with other
        # programs costs minutes.
        integration asan tests/integration --ignore=tests/integration/test_cli_streams.py --ignore=tests/integration/test_versions.py \
                --ignore=tests/integration/test_bridge_yardstick.py --ignore=tests/integration/test_bridge_containerd.py \
                --ignore=tests/integration/test_completion.py \
                --deselect tests/integration/test_stream_walls.py::test_heads_and_streams_that_do_not_come_are_given_up \
                --deselect tests/integration/test_stream_faults.py::test_missing_streams_are_waited_for_a_while_only
        step 'build tsan' build tsan
        units tsan
        integration tsan tests/integration/test_{pods,restart,metrics}.py
        step 'build fuzz' build fuzz
        fuzz
fi
if [ "$skipped" = 0 ]; then echo "$passed passed, $failed failed"; else echo "$passed passed, $failed failed, $skipped skipped"; fi
[ "$failed" = 0 ]
