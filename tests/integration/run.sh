#!/bin/bash
# run.sh [pytest arguments]: the integration tests against the programs in $SKIFF_BUILD/bin (build/debug), in a network and
# mount namespace of their own, so that bridges, rules, leases and pins end with them. A test that hangs fails after five
# minutes, with the stacks of what it waited for (conftest.py).
# $SKIFF_ROOT_MOUNT says how / is mounted: shared, as systemd has it on nodes (the default); private; or chroot, where all
# runs in a chroot below a shared root.
# $SKIFF_TEST_FILES=ext4 has the tests' files on an ext4 in memory: before 6.3 the ids of a tmpfs cannot be mapped.
set -eu
cd "$(dirname "$0")/../.."
export SKIFF_BUILD=${SKIFF_BUILD:-$PWD/build/debug} SKIFF_ROOT_MOUNT=${SKIFF_ROOT_MOUNT:-shared}
export top=$PWD
case $SKIFF_ROOT_MOUNT in shared | private | chroot) ;; *) echo "SKIFF_ROOT_MOUNT=$SKIFF_ROOT_MOUNT?" >&2 && exit 64 ;; esac
exec unshare --net --mount --propagation private bash -c '
        ip link set lo up
        mkdir -p /run/netns /var/lib/cni /var/log/pods
        mount -t tmpfs -o mode=755 netns /run/netns
        mount -t tmpfs -o mode=755 cni /var/lib/cni
        mount -t tmpfs -o mode=755 logs /var/log/pods
        # Fast and without noise from the disk; gone with this mount namespace.
        work=$(mktemp -d /tmp/skiff-integration.XXXXXX)
        mount -t tmpfs -o mode=755,size=6g work "$work"
        trap "umount -l $work; rmdir $work" EXIT
        mkdir "$work/t"
        if [ "${SKIFF_TEST_FILES:-tmpfs}" = ext4 ]; then
                truncate -s 4G "$work/ext4"
                mkfs.ext4 -q -O ^has_journal -E lazy_itable_init=1 "$work/ext4"
                mount -o loop "$work/ext4" "$work/t" && chmod 755 "$work/t"
                trap "umount $work/t; umount -l $work; rmdir $work" EXIT
        fi
        [ "$SKIFF_ROOT_MOUNT" = private ] || mount --make-rshared /
        mount --make-shared /run/netns
        enter=
        if [ "$SKIFF_ROOT_MOUNT" = chroot ]; then
                mkdir "$work/root"
                mount --rbind / "$work/root"
                enter="chroot $work/root"
        fi
        $enter bash -c "cd \"\$top\" && exec /usr/bin/python3 -m pytest -q -rs -p no:cacheprovider --timeout=300 --basetemp=\"\$0/t/t\" \"\$@\"" \
                "$work" "${@:-tests/integration}"' run "$@"
