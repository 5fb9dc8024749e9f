#!/bin/bash
# peers.sh [--skiff-only | --versus-build DIR] [cri-bench's arguments]: skiffd beside Debian's containerd + runc, each on
# directories, a socket and cgroups of its own, in a network and mount namespace of their own, measured by cri-bench in one
# run. Without arguments: -n 100 --floor --cpu. As root; `apt-get install containerd runc musl-tools` first. --skiff-only
# leaves the peer out; --versus-build measures against the skiffd of another build directory, for before and after.
#
#   SKIFF_BUILD   the build to measure (build/release)
#   BENCH_DIR     where roots and logs go (a new directory in /tmp): on a disk, or it is a RAM disk's figure; state: a tmpfs
#   BENCH_CNI, BENCH_VERSUS_CNI   the plugins of pods with networks of their own (--cni): bridge (Debian's bridge, host-local and
#                 portmap, the default) or skiff-bridge (of the build); the second those of --versus-build's daemon. With either
#                 both masquerade
#   BENCH_SHELL   a command that is run in place of cri-bench, with $SKIFF, $PEER (sockets), $SKIFF_PID and $CGROUP (a/ and b/ are in it) set
set -eu
cd "$(dirname "$0")/../.."
export SKIFF_BUILD=${SKIFF_BUILD:-$PWD/build/release}
if [ "${BENCH_INSIDE:-}" != yes ]; then
        BENCH_INSIDE=yes exec unshare --net --mount --propagation private "$0" "$@"
fi
. tests/bench/peer.sh
peer=yes
versus=''
case ${1:-} in
--skiff-only) peer=no && shift ;;
--versus-build) peer=no versus=$2 && shift 2 ;;
esac
[ $# -gt 0 ] || set -- -n 100 --floor --cpu

made=no
if [ -z "${BENCH_DIR:-}" ]; then BENCH_DIR=$(mktemp -d /tmp/skiff-bench.XXXXXX) && made=yes; fi
cgroup=/skiff-bench-$$
skiffd='' containerd=''

end() { # end PID: SIGTERM, and wait
        if [ -n "$1" ] && kill "$1" 2>/dev/null; then wait "$1" || :; fi
}
cleanup() {
        end "$skiffd"
        end "$containerd"
        umount -R -l "$BENCH_DIR/run" 2>/dev/null || :
        for side in a b; do
                for path in /sys/fs/cgroup/*"$cgroup/$side/pods" /sys/fs/cgroup/*"$cgroup/$side/daemon" \
                        /sys/fs/cgroup/*"$cgroup/$side"; do
                        rmdir "$path" 2>/dev/null || :
                done
        done
        for path in /sys/fs/cgroup/*"$cgroup" /sys/fs/cgroup/*/skiff-bench-floor /sys/fs/cgroup/*/skiff-bench; do
                rmdir "$path" 2>/dev/null || :
        done
        [ "$made" = no ] || rm -rf "$BENCH_DIR"
}
trap cleanup EXIT
trap 'exit 130' INT TERM

# Everything that a runtime does is charged to one cgroup: its daemon and helpers sit in a/daemon or b/daemon, its pods in
# a/pods or b/pods.
enter() { # enter SIDE: the shell that calls it
        mkdir -p "/sys/fs/cgroup/cpuacct$cgroup/$1/daemon"
        echo 0 >"/sys/fs/cgroup/cpuacct$cgroup/$1/daemon/tasks"
}

ip link set lo up
mkdir -p /run/netns /var/lib/cni
mount -t tmpfs -o mode=755 netns /run/netns
mount --make-shared /run/netns
mount -t tmpfs -o mode=755 cni /var/lib/cni
# State is on a tmpfs, as /run is; roots are on the disk.
mkdir -p "$BENCH_DIR/run"
mount -t tmpfs -o mode=755 run "$BENCH_DIR/run"
masquerade=false
[ -z "${BENCH_CNI:-}" ] || masquerade=true
network() { # network DIR KIND NAME SUBNET: a configuration
        local ipam="\"ipam\": { \"type\": \"host-local\", \"ranges\": [[{ \"subnet\": \"$4\" }]], \"routes\": [{ \"dst\": \"0.0.0.0/0\" }] }"
        local bridge="\"bridge\": \"$3\", \"isGateway\": true, \"ipMasq\": $masquerade, \"hairpinMode\": true, $ipam"
        local capabilities='"capabilities": { "portMappings": true }' plugins
        case $2 in
        bridge) plugins="{ \"type\": \"bridge\", $bridge }, { \"type\": \"portmap\", $capabilities }" ;;
        skiff-bridge) plugins="{ \"type\": \"skiff-bridge\", $bridge, $capabilities }" ;;
        *) echo "peers.sh: no plugins called $2" >&2 && exit 64 ;;
        esac
        mkdir -p "$1"
        printf '{ "cniVersion": "1.0.0", "name": "%s", "plugins": [ %s ] }\n' "$3" "$plugins" >"$1/10-bench.conflist"
}
network "$BENCH_DIR/net.d" "${BENCH_CNI:-bridge}" bench0 10.212.0.0/20
network "$BENCH_DIR/versus-net.d" "${BENCH_VERSUS_CNI:-${BENCH_CNI:-bridge}}" bench1 10.213.0.0/20
deploy/busybox-image.sh "$BENCH_DIR/busybox.tar"

# --- skiffd ---
: >"$BENCH_DIR/skiff.toml"
start_skiffd() { # start_skiffd SIDE BUILD NAME NETWORKS: with the image; $! is its pid
        local socket=unix://$BENCH_DIR/$3.sock
        (
                enter "$1"
                exec "$2/bin/skiffd" --root "$BENCH_DIR/$3-root" --state "$BENCH_DIR/run/$3" --listen "$socket" \
                        --cni-conf-dir "$BENCH_DIR/$4" --cni-bin-dir "/usr/lib/cni:$2/bin" --config "$BENCH_DIR/skiff.toml" \
                        --registry-config-dir "${BENCH_CERTS:-$BENCH_DIR/certs.d}" >"$BENCH_DIR/$3.log" 2>&1
        ) &
        wait_for "$BENCH_DIR/$3.sock"
        "$2/bin/skiff" --endpoint "$socket" import "$BENCH_DIR/busybox.tar" >/dev/null
}
start_skiffd a "$SKIFF_BUILD" skiff net.d
skiffd=$!
SKIFF=unix://$BENCH_DIR/skiff.sock
arguments=(--endpoint "$SKIFF" --cgroup "$cgroup/a")
if [ -n "$versus" ]; then
        start_skiffd b "$versus" versus versus-net.d
        containerd=$!
        PEER=unix://$BENCH_DIR/versus.sock
        arguments+=(--versus "$PEER" --versus-cgroup "$cgroup/b")
fi

# --- containerd ---
if [ $peer = yes ]; then
        PEER=unix://$BENCH_DIR/containerd.sock
        containerd_start "$BENCH_DIR" "$BENCH_DIR/net.d" "${BENCH_CERTS:-$BENCH_DIR/certs.d}" cgroupfs enter b
        containerd=$containerd_pid
        containerd_images "$BENCH_DIR" "$BENCH_DIR/busybox.tar"
        arguments+=(--versus "$PEER" --versus-cgroup "$cgroup/b")
fi

if [ -n "${BENCH_SHELL:-}" ]; then
        SKIFF_PID=$(cat "$BENCH_DIR/run/skiff/skiffd.pid") SKIFF=$SKIFF PEER=${PEER:-} BENCH_DIR=$BENCH_DIR CGROUP=$cgroup \
                bash -c "$BENCH_SHELL"
else
        "$SKIFF_BUILD/bin/cri-bench" "${arguments[@]}" "$@"
fi
