#!/bin/bash
# pulls.sh [peers.sh's arguments]: pulls from a cold store, on an ext4 with a journal. It makes the filesystem in a loop
# file (direct I/O), starts Debian's docker-registry on loopback with the images of big_image.py, and has peers.sh run
# skiffd and its peer with their roots on that filesystem. Without arguments: -n 10 --pull REGISTRY/bench/big:gzip. In
# arguments REGISTRY is the registry's host. As root; `apt-get install docker-registry` and what peers.sh needs.
#
#   PULLS_DIR      where the loop file and the registry go (a new directory in /tmp); what is there is used again
#   PULLS_MORE     images bench/more:1.. to pull at once (4)
#   PULLS_LOAD     processes that burn processor time meanwhile (0)
#   PULLS_NO_LOOP  yes: roots on the disk of PULLS_DIR itself
set -eu
cd "$(dirname "$0")/../.."
if [ "${PULLS_INSIDE:-}" != yes ]; then
        PULLS_INSIDE=yes exec unshare --net --mount --propagation private "$0" "$@"
fi
made=no
if [ -z "${PULLS_DIR:-}" ]; then PULLS_DIR=$(mktemp -d /tmp/skiff-pulls.XXXXXX) && made=yes; fi
mkdir -p "$PULLS_DIR/disk"
registry='' loop='' load=()

cleanup() {
        for pid in $registry "${load[@]}"; do
                kill "$pid" 2>/dev/null && wait "$pid" || :
        done
        if mountpoint -q "$PULLS_DIR/disk"; then umount "$PULLS_DIR/disk" || umount -l "$PULLS_DIR/disk"; fi
        [ -z "$loop" ] || losetup --detach "$loop" || :
        rm -rf "$PULLS_DIR/ext4.img" "$PULLS_DIR/disk"
        [ $made = no ] || rm -rf "$PULLS_DIR"
}
trap cleanup EXIT
trap 'exit 130' INT TERM

if [ "${PULLS_NO_LOOP:-}" != yes ]; then
        fallocate -l 6G "$PULLS_DIR/ext4.img"
        mkfs.ext4 -q -E lazy_itable_init=0,lazy_journal_init=0,nodiscard "$PULLS_DIR/ext4.img"
        loop=$(losetup --find --show --direct-io=on "$PULLS_DIR/ext4.img")
        mount "$loop" "$PULLS_DIR/disk"
fi

ip link set lo up
rm -f "$PULLS_DIR/host"
mkfifo "$PULLS_DIR/host"
tests/bench/big_image.py "$PULLS_DIR/registry" --more "${PULLS_MORE:-4}" >"$PULLS_DIR/host" &
registry=$!
read -r host <"$PULLS_DIR/host"
rm -f "$PULLS_DIR/host"
for _ in $(seq "${PULLS_LOAD:-0}"); do
        while :; do :; done &
        load+=($!)
done

[ $# -gt 0 ] || set -- -n 10 --pull REGISTRY/bench/big:gzip
BENCH_INSIDE=yes BENCH_DIR=$PULLS_DIR/disk BENCH_SHELL=${BENCH_SHELL:+${BENCH_SHELL//REGISTRY/$host}} \
        tests/bench/peers.sh "${@//REGISTRY/$host}"
