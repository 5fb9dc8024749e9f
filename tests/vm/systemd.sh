#!/bin/sh
# Runs the tests of the systemd cgroup driver in a guest with systemd as init and cgroup v2 (emulated: slow, for function only).
# Usage: tests/vm/systemd.sh RUN_SYSTEMD [pytest arguments]; RUN_SYSTEMD is a script that boots such a guest, of the same
# Debian as this machine, shows this machine's / at /host and the directories of -b at their own path, and runs `-- COMMAND`
# there as root. What is in our /usr and not in the guest's is laid below it. $SKIFF_BUILD says whose programs (build/debug).
set -eu
run_systemd=$1
shift
here=$(realpath "$(dirname "$0")/../..")
build=$(realpath "${SKIFF_BUILD:-$here/build/debug}")
seconds=${SKIFF_VM_SECONDS:-1800}
[ $# -gt 0 ] || set -- tests/integration/test_systemd.py
arguments=$(printf " '%s'" "$@")
exec "$run_systemd" -t "$seconds" -b "$here $build" -- "
        test -d /run/systemd/system && grep -q cgroup2 /proc/mounts || exit 1
        mount -t overlay -o lowerdir=/usr:/host/usr usr /usr || exit 1
        for module in bridge veth overlay nf_tables nft_chain_nat nft_compat xt_comment xt_mark xt_nat xt_MASQUERADE; do
                modprobe -q \$module || true
        done
        cd '$here' || exit 1
        for test in cgroup_parent cgroup_scope; do
                '$build'/\${test}_test || exit 1
        done
        SKIFF_SLOW=\${SKIFF_SLOW:-8} SKIFF_BUILD='$build' tests/integration/run.sh$arguments"
