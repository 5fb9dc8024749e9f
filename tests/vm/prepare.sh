#!/bin/bash
# prepare.sh: what boot.sh needs: qemu and its helpers (deploy/packages.txt, "vm"), and Debian's own kernel with its modules,
# unpacked below $SKIFF_VM_CACHE (/var/cache/skiff-vm), never installed. Where something cannot be had it says so in one line
# and ends with 75.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
cache=${SKIFF_VM_CACHE:-/var/cache/skiff-vm}
missing() { # missing WHAT
        echo "missing: $1"
        exit 75
}

[ "$(uname -m)" = x86_64 ] || missing "an x86_64 machine: the guest's kernel is one"
"$here/../../deploy/install-packages.sh" vm >/dev/null 2>&1 || true
for program in qemu-system-x86_64 cpio busybox modprobe depmod; do
        command -v "$program" >/dev/null || missing "$program (the packages for \"vm\" in deploy/packages.txt)"
done

# The package whose files are there already, whatever the archive has by now.
kernel=$(find "$cache" -maxdepth 1 -name 'vmlinux-*' -printf '%f\n' 2>/dev/null | sort -V | tail -n 1)
kernel=${kernel#vmlinux-}
[ -z "$kernel" ] || [ ! -d "$cache/k-$kernel/lib/modules/$kernel" ] || exit 0

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
package=$(apt-cache depends linux-image-amd64 2>/dev/null | awk '/Depends: linux-image-[0-9]/{print $2; exit}')
[ -n "$package" ] || missing "the package linux-image-amd64"
(cd "$work" && apt-get download -q "$package" >/dev/null 2>&1) || missing "the package $package"
dpkg-deb -x "$work"/*.deb "$work/k" || missing "room to unpack $package"
kernel=${package#linux-image-}
depmod -b "$work/k" "$kernel"
/usr/bin/python3 "$here/vmlinux.py" "$work/k/boot/vmlinuz-$kernel" "$work/vmlinux" || missing "what unpacks $kernel"
mkdir -p "$cache"
rm -rf "$cache/k-$kernel"
mv "$work/k" "$cache/k-$kernel" && mv "$work/vmlinux" "$cache/vmlinux-$kernel" # the last: it says that all is there
