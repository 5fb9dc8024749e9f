#!/bin/bash
# lane.sh [--short] [v2|systemd|selinux] [pytest arguments]: the unit and integration tests in which it matters that cgroups are v2,
# that systemd is init, or that SELinux is enforced, in guests where that is so (boot.sh); all kinds without a name. --short: the fewest that show each
# thing once, for tests/run.sh. What is asked for by pytest arguments runs instead of the lists. $SKIFF_BUILD says whose
# programs (build/debug). Each guest's tests end with "vm KIND: N passed, N failed, N skipped"; a guest that cannot be is one
# skipped, with what is missing.
set -u
cd "$(dirname "$0")/../.." || exit 1
build=$(realpath "${SKIFF_BUILD:-build/debug}")
short=no kinds='v2 systemd selinux'
[ "${1:-}" = --short ] && short=yes && shift
case ${1:-} in v2 | systemd | selinux) kinds=$1 && shift ;; esac
t=tests/integration memory=6144

units_v2='cgroup mount socket runtime child'
tests_v2="$t/test_resources_v2.py $t/test_resources.py $t/test_pod_resources.py $t/test_containers.py $t/test_pods.py $t/test_stats.py
        $t/test_metrics.py $t/test_exec_and_logs.py $t/test_restart.py $t/test_hostile.py $t/test_stops.py $t/test_image_volumes.py
        $t/test_userns.py $t/test_leftovers.py $t/test_security_modules.py $t/test_rw_layer.py $t/test_bridge_vlans.py"
units_systemd='cgroup_parent cgroup_scope'
tests_systemd=$t/test_systemd.py
tests_selinux=$t/test_selinux.py
if [ $short = yes ]; then
        memory=3072
        [ "$kinds" != 'v2 systemd selinux' ] || kinds='v2 systemd'
        units_v2=cgroup
        tests_v2="$t/test_resources_v2.py
                $t/test_resources.py::test_every_limit_goes_up_and_down
                $t/test_resources.py::test_memory_in_use_is_not_taken_away
                $t/test_resources.py::test_a_pod_whose_cgroups_are_taken_from_under_it
                $t/test_containers.py::test_devices
                $t/test_containers.py::test_oom_is_told_for_the_main_process_and_for_a_child
                $t/test_metrics.py::test_pressure_shows_on_v2
                $t/test_fields.py::test_pressure_is_told_on_v2
                $t/test_rw_layer.py
                $t/test_bridge_vlans.py
                $t/test_security_modules.py::test_the_default_is_ours_for_main_process_exec_and_spec
                $t/test_stats.py::test_a_container_that_works_shows_it
                $t/test_restart.py::test_pods_outlive_skiffd
                $t/test_userns.py::test_root_inside_is_somebody_else_outside
                $t/test_userns.py::test_it_is_published
                $t/test_userns.py::test_volumes_are_mapped_where_it_is_asked
                $t/test_userns.py::test_an_image_store_whose_ids_cannot_be_mapped_is_said"
        units_systemd=cgroup_scope
        tests_systemd="$t/test_systemd.py::test_kubelet_is_told_which_driver
                $t/test_systemd.py::test_a_pod_is_one_scope
                $t/test_systemd.py::test_reloads_change_nothing
                $t/test_systemd.py::test_the_weight_follows_the_pods_resources
                $t/test_systemd.py::test_an_oom_kill_is_the_containers_own
                $t/test_systemd.py::test_a_killed_skiffd_finds_its_scopes_again"
fi

# What the guest runs: counts of unit tests, then pytest's own line, are read from what it prints.
guest_command() { # guest_command "UNITS" PYTEST_ARGUMENTS...
        local units=$1
        shift
        echo 'grep -q " /sys/fs/cgroup cgroup2 " /proc/mounts || exit 1'
        echo 'bad=0'
        if [ -n "$policy" ]; then
                echo "mount -t selinuxfs selinuxfs /sys/fs/selinux && cat '$policy/policy' >/sys/fs/selinux/load || exit 1"
                echo "mkdir -p /etc/selinux && cp -r '$policy/etc/.' /etc/selinux/ && echo 1 >/sys/fs/selinux/enforce || exit 1"
        fi
        # Debian's kernel cannot map the ids of a tmpfs.
        [ -z "$units" ] || echo 'truncate -s 256M /run/units && mkfs.ext4 -q /run/units && mkdir /run/units.d && mount -o loop /run/units /run/units.d || exit 1'
        for unit in $units; do
                echo "if TMPDIR=/run/units.d '$build/${unit}_test' >/run/unit 2>&1; then echo 'unit $unit: passed'; else cat /run/unit; echo 'unit $unit: failed'; bad=1; fi"
        done
        [ -z "$units" ] || echo 'umount /run/units.d && rm /run/units'
        printf 'SKIFF_TEST_FILES=ext4 SKIFF_SLOW=${SKIFF_SLOW:-8} SKIFF_BUILD=%q tests/integration/run.sh' "$build"
        printf ' %q' "$@"
        printf ' || bad=1\nexit $bad\n'
}

log=$(mktemp)
policy= # a directory with one, below ours, which the guest sees
trap 'rm -rf "$log" "$policy"' EXIT
number() { # number WORD: before it in pytest's last line, or 0
        local found
        found=$(grep -E '(passed|failed|error|skipped|no tests ran).* in [0-9.]+s' "$log" | tail -n 1 | grep -oE "[0-9]+ $1" | cut -d' ' -f1)
        echo "${found:-0}"
}

lane() { # lane KIND "UNITS" PYTEST_ARGUMENTS...
        local kind=$1 machine=$1 options=
        shift
        if [ "$kind" = selinux ]; then
                machine=v2 options='security=selinux selinux=1 enforcing=0'
                policy=$(mktemp -d "$build/selinux.XXXXXX")
                if ! tests/vm/selinux-policy.sh "$policy"; then
                        echo "SKIPPED vm $kind: missing: what makes a policy (the package secilc)"
                        echo "vm $kind: 0 passed, 0 failed, 1 skipped"
                        return 0
                fi
        fi
        if [ "$kind" = systemd ] && ! [ -x /lib/systemd/systemd ]; then
                echo "SKIPPED vm $kind: missing: the package systemd"
                echo "vm $kind: 0 passed, 0 failed, 1 skipped"
                return 0
        fi
        tests/vm/boot.sh "$machine" -k "$options" -m "$memory" -t "${SKIFF_VM_SECONDS:-3600}" "$(guest_command "$@")" 2>&1 | tee "$log"
        local rc=${PIPESTATUS[0]} passed failed skipped
        passed=$(($(grep -cE '^unit .*: passed' "$log") + $(number passed)))
        failed=$(($(grep -cE '^unit .*: failed' "$log") + $(number failed) + $(number 'errors?')))
        skipped=$(number skipped)
        [ "$rc" = 0 ] || [ "$failed" != 0 ] || failed=1
        echo "vm $kind: $passed passed, $failed failed, $skipped skipped"
        [ "$failed" = 0 ]
}

if ! missing=$(tests/vm/prepare.sh); then
        for kind in $kinds; do
                echo "SKIPPED vm $kind: ${missing:-prepare.sh failed}"
                echo "vm $kind: 0 passed, 0 failed, 1 skipped"
        done
        exit 0
fi
bad=0
for kind in $kinds; do
        case $kind in
        v2) units=$units_v2 tests=$tests_v2 ;;
        systemd) units=$units_systemd tests=$tests_systemd ;;
        selinux) units='' tests=$tests_selinux ;;
        esac
        if [ $# -gt 0 ]; then
                lane "$kind" "" "$@" || bad=1
        else
                # shellcheck disable=SC2086 # a list of words
                lane "$kind" "$units" $tests || bad=1
        fi
done
exit $bad
