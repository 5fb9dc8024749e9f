#!/bin/sh
# Runs the integration tests in a guest with cgroup v2 (emulated: slow, for function only).
# Usage: tests/vm/integration-v2.sh RUN_V2 [pytest arguments]; RUN_V2 is a script that boots such a guest over this
# machine's root, read-only, and runs `-- COMMAND` in it as root. $SKIFF_BUILD says whose programs (build/debug); without
# arguments the tests of pods, containers, exec, stats, volumes and restarts run.
set -eu
run_v2=$1
shift
here=$(realpath "$(dirname "$0")/../..")
build=$(realpath "${SKIFF_BUILD:-$here/build/debug}")
seconds=${SKIFF_VM_SECONDS:-3600}
if [ $# -eq 0 ]; then
        for name in pods containers exec_and_logs stats metrics image_volumes restart security_modules; do
                set -- "$@" "tests/integration/test_$name.py"
        done
fi
arguments=$(printf " '%s'" "$@")
exec "$run_v2" -m 6144 -t "$seconds" -- "
        grep -q cgroup2 /proc/mounts || exit 1
        for module in bridge veth nf_tables nft_chain_nat nft_compat xt_comment xt_mark xt_conntrack xt_nat \
            xt_MASQUERADE xt_addrtype xt_multiport overlay loop ext4; do
                modprobe -q \$module || true
        done
        cd '$here' && SKIFF_SLOW=\${SKIFF_SLOW:-8} SKIFF_BUILD='$build' tests/integration/run.sh$arguments"
