#!/bin/bash
# boot.sh v2|systemd [-m MiB] [-t SECONDS] [-k "KERNEL OPTIONS"] COMMAND: runs a shell command as root in a guest with cgroup v2 alone, or with
# systemd as its init, over this machine's / (read-only, under a tmpfs; /tmp and /run are its own), in the directory that we are
# in. Shows what it prints, and ends with its status; 125 when there was none. Debian's kernel in qemu, emulated: for function
# only. prepare.sh has been there before.
set -u
kind=$1 memory=3072 seconds=600 options=
shift
while getopts m:t:k: option; do
        case $option in m) memory=$OPTARG ;; t) seconds=$OPTARG ;; k) options=$OPTARG ;; *) exit 64 ;; esac
done
shift $((OPTIND - 1))
here=$(cd "$(dirname "$0")" && pwd)
cache=${SKIFF_VM_CACHE:-/var/cache/skiff-vm}
kernel=$(find "$cache" -maxdepth 1 -name 'vmlinux-*' -printf '%f\n' | sort -V | tail -n 1)
kernel=${kernel#vmlinux-}
initrd=$cache/lane-$kernel.img
[ -f "$initrd" ] && [ "$initrd" -nt "$here/initrd.sh" ] || "$here/initrd.sh" "$kernel" "$initrd" || exit 125

work=$(mktemp -d /tmp/skiff-vm.XXXXXX)
trap 'rm -rf "$work"' EXIT
mkdir "$work/lane"
pwd >"$work/lane/directory"
echo "$cache/k-$kernel/lib/modules/$kernel" >"$work/lane/modules"
printf '%s\n' "$1" >"$work/lane/command"

TMPDIR=$work timeout -k 5 "$seconds" qemu-system-x86_64 -M q35,vmport=off,smbus=off,sata=off,usb=off -accel tcg,thread=multi \
        -cpu max -smp 2 -m "$memory" -nodefaults -no-user-config -display none -no-reboot \
        -kernel "$cache/vmlinux-$kernel" -initrd "$initrd" \
        -append "console=ttyS0 quiet reboot=t panic=-1 mitigations=off norandmaps psi=1 systemd.show_status=0 systemd.log_target=kmsg lane.kind=$kind lane.guest=$here/guest.sh $options" \
        -serial "file:$work/kernel.log" -chardev stdio,id=console,signal=off -device virtio-serial-pci -device virtconsole,chardev=console \
        -fsdev local,id=root,path=/,security_model=none,readonly=on,multidevs=remap -device virtio-9p-pci,fsdev=root,mount_tag=root \
        -fsdev "local,id=lane,path=$work/lane,security_model=none" -device virtio-9p-pci,fsdev=lane,mount_tag=lane \
        </dev/null 2>"$work/qemu.log"
ended=$?
if [ -s "$work/lane/status" ]; then
        [ -z "${SKIFF_VM_VERBOSE:-}" ] || echo "boot.sh: the command began $(cat "$work/lane/booted") s after power-on" >&2
        exit "$(cat "$work/lane/status")"
fi
echo "boot.sh: the guest did not finish (qemu: $ended)" >&2
cat "$work/qemu.log" >&2
tail -n 30 "$work/kernel.log" >&2
exit 125
