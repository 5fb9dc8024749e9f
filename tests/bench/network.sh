#!/bin/bash
# network.sh [calls|pods]: what a pod's network costs with skiff-bridge, beside Debian's bridge, host-local and portmap and beside
# the floor, in one run. As root; `apt-get install containernetworking-plugins iptables nftables` first.
#
#   calls   one ADD and one DEL: wall clock, processor time, memory; beside 0, 300 and 1,000 attachments (network_bench.c)
#   pods    under skiffd: pods and their containers with skiff-bridge against the chain, and against the host's network
#
#   SKIFF_BUILD   the build to measure (build/release)
#   CALLS         network-bench's arguments (-n 200 -c 30 -b 0 -b 300 -b 1000)
#   ROUNDS        pods, each way (60)
set -eu
cd "$(dirname "$0")/../.."
export SKIFF_BUILD=${SKIFF_BUILD:-$PWD/build/release}

calls() {
        ip link set lo up
        mkdir -p /run/netns /var/lib/cni
        mount -t tmpfs -o mode=755 run /run # xtables' lock, namespaces
        mkdir /run/netns
        mount -t tmpfs -o mode=755 cni /var/lib/cni
        mount --make-shared /run
        mkdir /var/lib/cni/floor
        ip netns add bench
        ip netns add beside
        # As skiff-bridge makes it, or the floor's address would be in its way.
        ip link add bench0 type bridge
        ip addr add 10.212.0.1/16 dev bench0
        ip link set bench0 up
        nft -f - <<'NFT'
table inet bench-floor {
        set pods { type ipv4_addr; }
        set hairpins { type ipv4_addr . inet_proto . inet_service; }
        map ports { type inet_proto . inet_service : ipv4_addr . inet_service; }
        chain prerouting {
                type nat hook prerouting priority -98;
                fib daddr type local dnat ip to meta l4proto . th dport map @ports
        }
        chain postrouting {
                type nat hook postrouting priority 101;
                ip saddr @pods ip daddr != 10.212.0.0/16 masquerade
                ip saddr 10.212.0.0/16 ip daddr . meta l4proto . th dport @hairpins masquerade
        }
}
NFT
        # shellcheck disable=SC2086
        "$SKIFF_BUILD/bin/network-bench" ${CALLS:--n 200 -c 30 -b 0 -b 300 -b 1000} \
                "$SKIFF_BUILD/bin/skiff-bridge" "$SKIFF_BUILD/bin/network-floor" /usr/lib/cni
        ip netns del beside
        ip netns del bench
}

pods() {
        local rounds=${ROUNDS:-60}
        echo '== skiff-bridge against bridge, host-local and portmap, one skiffd each'
        BENCH_CNI=skiff-bridge BENCH_VERSUS_CNI=bridge tests/bench/peers.sh --versus-build "$SKIFF_BUILD" -n "$rounds" --cni \
                --ports --cpu --parallel 8
        echo '== skiff-bridge against the network of the host'
        BENCH_CNI=skiff-bridge tests/bench/peers.sh --versus-build "$SKIFF_BUILD" -n $((rounds * 2)) --cni --ports --versus-host-network
}

case ${1:-all} in
calls) [ "${NETWORK_INSIDE:-}" = yes ] || NETWORK_INSIDE=yes exec unshare --net --mount --propagation private "$0" calls && calls ;;
pods) pods ;;
all) "$0" calls && "$0" pods ;;
*) echo "usage: network.sh [calls|pods]" >&2 && exit 64 ;;
esac
