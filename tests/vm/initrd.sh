#!/bin/bash
# initrd.sh KERNEL OUT: an initial file system that shows this machine's / , read-only, under a tmpfs, and hands over to
# guest.sh there. KERNEL is a release below $SKIFF_VM_CACHE.
set -eu
kernel=$1 out=$2
modules=${SKIFF_VM_CACHE:-/var/cache/skiff-vm}/k-$kernel
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$work"/{bin,proc,sys,dev,modules,lower,upper,new}
cp "$(command -v busybox)" "$work/bin/busybox"
for name in sh mount insmod mkdir switch_root cat; do ln -s busybox "$work/bin/$name"; done
for module in virtio_pci 9pnet_virtio 9p overlay virtio_console; do
        modprobe -d "$modules" -S "$kernel" --show-depends "$module" 2>/dev/null | awk '$1 == "insmod" { print $2 }'
done | awk '!seen[$0]++' | while read -r file; do
        cp "$file" "$work/modules/"
        basename "$file" >>"$work/modules/order"
done
cat >"$work/init" <<'X'
#!/bin/sh
mount -t devtmpfs dev /dev; mount -t proc proc /proc; mount -t sysfs sys /sys
for module in $(cat /modules/order); do insmod /modules/$module 2>/dev/null; done
mount -t 9p -o ro,trans=virtio,version=9p2000.L,cache=loose,msize=512000 root /lower
mount -t tmpfs -o mode=755 upper /upper; mkdir /upper/up /upper/work
mount -t overlay -o lowerdir=/lower,upperdir=/upper/up,workdir=/upper/work root /new
mkdir -p /new/proc /new/sys /new/dev
mount -o move /proc /new/proc; mount -o move /sys /new/sys; mount -o move /dev /new/dev
for word in $(cat /new/proc/cmdline); do case $word in lane.guest=*) guest=${word#*=} ;; lane.kind=*) kind=${word#*=} ;; esac; done
exec switch_root /new /bin/bash "$guest" "$kind"
X
chmod +x "$work/init"
(cd "$work" && find . | cpio -o -H newc --quiet) >"$out.new"
mv "$out.new" "$out"
