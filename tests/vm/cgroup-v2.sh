#!/bin/sh
# Runs the cgroup and runtime unit tests in a guest with cgroup v2 (emulated: slow, for function only).
# Usage: tests/vm/cgroup-v2.sh RUN_V2 [BUILD_DIR]; RUN_V2 is a script that boots such a guest over this machine's root,
# read-only, and runs `-- COMMAND` in it as root.
set -eu
run_v2=$1
build=$(realpath "${2:-build/debug}")
exec "$run_v2" -- sh -c "grep -q cgroup2 /proc/mounts && for t in cgroup mount socket runtime child; do $build/\${t}_test || exit 1; done"
