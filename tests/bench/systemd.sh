#!/bin/bash
# systemd.sh [ROUNDS [AT_ONCE]]: what the systemd cgroup driver costs, on a host with systemd and cgroup v2: pods one after
# another beside the same skiffd with cgroupfs, and many at once beside Debian's containerd + runc with SystemdCgroup. As root,
# in a guest where there is no such host (ratios count there, not times):
#
#   tests/vm/boot.sh systemd -m 4096 -t 900 tests/bench/systemd.sh
#
#   SKIFF_BUILD   the build to measure (build/release)
set -eu
cd "$(dirname "$0")/../.."
build=${SKIFF_BUILD:-$PWD/build/release}
if [ "${BENCH_INSIDE:-}" != yes ]; then
        [ -d /run/systemd/system ] || { echo "systemd.sh: systemd is not pid 1 here" >&2 && exit 69; }
        BENCH_INSIDE=yes exec unshare --net --mount --propagation private "$0" "$@"
fi
. tests/bench/peer.sh
rounds=${1:-40} at_once=${2:-30}
dir=$(mktemp -d /tmp/skiff-bench.XXXXXX)
pids=()
cleanup() {
        for pid in "${pids[@]}"; do
                if kill "$pid" 2>/dev/null; then wait "$pid" || :; fi
        done
        systemctl stop skiffbench-a.slice skiffbench-b.slice skiffbench.slice 2>/dev/null || :
        umount -R -l "$dir/run" 2>/dev/null || :
        rm -rf "$dir"
}
trap cleanup EXIT
ip link set lo up
mkdir "$dir/run" "$dir/net.d"
mount -t tmpfs -o mode=755 run "$dir/run"
echo '{ "cniVersion": "1.0.0", "name": "bench", "plugins": [ { "type": "loopback" } ] }' >"$dir/net.d/10-bench.conflist"
deploy/busybox-image.sh "$dir/busybox.tar"
: >"$dir/skiff.toml"
for driver in systemd cgroupfs; do
        "$build/bin/skiffd" --root "$dir/$driver-root" --state "$dir/run/$driver" --listen "unix://$dir/$driver.sock" \
                --cni-conf-dir "$dir/net.d" --cni-bin-dir /usr/lib/cni --config "$dir/skiff.toml" --cgroup-driver "$driver" \
                >"$dir/$driver.log" 2>&1 &
        pids+=($!)
        wait_for "$dir/$driver.sock"
        "$build/bin/skiff" --endpoint "unix://$dir/$driver.sock" import "$dir/busybox.tar" >/dev/null
done
containerd_start "$dir" "$dir/net.d" "$dir/certs.d" SystemdCgroup
pids+=("$containerd_pid")
containerd_images "$dir" "$dir/busybox.tar"

# kubelet makes a pod's slice before it asks for the pod: no runtime is timed for that.
systemctl start skiffbench-a.slice skiffbench-b.slice
ours=(--endpoint "unix://$dir/systemd.sock" --parent skiffbench-a.slice)
# With a pod that stays: in a slice without any, systemd takes the controllers away from it and all above, and gives them again.
echo "== the systemd driver beside cgroupfs, one after another"
"$build/bin/cri-bench" "${ours[@]}" --versus "unix://$dir/cgroupfs.sock" -n "$rounds" --background 1
echo "== skiff beside containerd + runc, both with systemd, $at_once at once"
"$build/bin/cri-bench" "${ours[@]}" --versus "unix://$dir/containerd.sock" --versus-parent skiffbench-b.slice -n 0 --parallel "$at_once"
