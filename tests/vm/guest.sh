#!/bin/bash
# guest.sh v2|systemd|command: pid 1 of a guest, over this machine's / (read-only, under a tmpfs). It makes what a booted
# machine has, with cgroup v2 alone, and runs /run/lane/command, whose exit status it leaves in /run/lane/status. With
# "systemd" it hands over to systemd, which runs it again as a unit, with "command".
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root TERM=dumb
kind=$1

machine_make() {
        mount -t tmpfs -o mode=755 run /run
        mkdir /run/lane
        mount -t 9p -o trans=virtio,version=9p2000.L,msize=512000 lane /run/lane
        # What is needed from below it must not be hidden.
        grep -q '^/tmp/' /run/lane/directory /run/lane/modules || mount -t tmpfs -o mode=1777 tmp /tmp
        mkdir -p /dev/pts /dev/shm /dev/mqueue /run/lock
        mount -t devpts -o mode=620,ptmxmode=666 devpts /dev/pts
        mount -t tmpfs -o mode=1777 shm /dev/shm
        mount -t mqueue mqueue /dev/mqueue
        for directory in /var/lib/skiff /var/lib/cni /var/tmp; do # an overlay's upper cannot lie on an overlay
                mkdir -p "$directory"
                mount -t tmpfs var "$directory"
        done
        mount -t securityfs securityfs /sys/kernel/security 2>/dev/null
        mount -t bpf bpf /sys/fs/bpf 2>/dev/null
        release=$(uname -r)
        mkdir -p "/lib/modules/$release"
        mount --bind "$(cat /run/lane/modules)" "/lib/modules/$release"
        for module in bridge veth tun overlay loop ext4 quota_v2 nf_tables nft_chain_nat nft_compat xt_comment xt_mark xt_conntrack xt_nat \
                xt_MASQUERADE xt_addrtype xt_multiport; do
                modprobe -q "$module"
        done
        ip link set lo up
        hostname guest
        ulimit -n 65536
        mount --make-rshared /
}

cgroups_make() {
        mount -t cgroup2 -o nsdelegate cgroup2 /sys/fs/cgroup
        mkdir /sys/fs/cgroup/init
        echo 1 >/sys/fs/cgroup/init/cgroup.procs
        for controller in $(cat /sys/fs/cgroup/cgroup.controllers); do
                echo "+$controller" >/sys/fs/cgroup/cgroup.subtree_control
        done
}

# No unit of this machine's, and none of its generators: one service, and what systemd has by itself. The boot does not wait
# for the service: one that takes long has systemd tell of every unit on the console, which is slow here.
systemd_become() {
        mount -t tmpfs -o mode=755 generators /lib/systemd/system-generators
        mount -t tmpfs -o mode=755 units /etc/systemd/system
        # An ordinary unit, as a test starts one, wants sysinit.target, and that this, which empties /tmp.
        ln -s /dev/null /etc/systemd/system/systemd-tmpfiles-setup.service
        echo 00000000000000000000000000000001 >/etc/machine-id
        cat >/etc/systemd/system/lane.service <<X
[Unit]
DefaultDependencies=no
[Service]
Type=simple
ExecStart=/bin/bash $0 command
Delegate=yes
TasksMax=infinity
LimitNOFILE=1048576
StandardOutput=null
StandardError=null
TimeoutStartSec=infinity
X
        printf '[Unit]\nDefaultDependencies=no\nWants=lane.service\nAllowIsolate=yes\n' >/etc/systemd/system/lane.target
        exec /lib/systemd/systemd --unit=lane.target
}

command_run() {
        stty raw -echo </dev/hvc0
        read -r up _ </proc/uptime
        echo "$up" >/run/lane/booted
        cd "$(cat /run/lane/directory)" || exit 1
        setsid bash /run/lane/command </dev/null >/dev/hvc0 2>&1
        echo $? >/run/lane/status
        sync -f /run/lane/status
        echo 1 >/proc/sys/kernel/sysrq
        echo b >/proc/sysrq-trigger
}

case $kind in
v2)
        machine_make
        cgroups_make
        command_run
        ;;
systemd)
        machine_make
        systemd_become
        ;;
command) command_run ;;
esac
