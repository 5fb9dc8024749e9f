#!/bin/sh
# selinux-policy.sh DIR: the smallest SELinux policy that knows containers, as DIR/policy, and what a node has of it in /etc/selinux, as
# DIR/etc. It labels and allows all (what the kernel has and it does
# not name is allowed); what a policy allows is not what is tested with it.
set -eu
dir=$1
mkdir -p "$dir/etc/tiny/contexts"
echo 'SELINUX=enforcing
SELINUXTYPE=tiny' >"$dir/etc/config"
echo 'process = "system_u:system_r:container_t:s0"
file = "system_u:object_r:container_file_t:s0"' >"$dir/etc/tiny/contexts/lxc_contexts"
{
        echo '(handleunknown allow) (mls true)
                (class process (transition dyntransition setexec setkeycreate fork signal sigkill))
                (class file (relabelto)) (class dir (relabelto)) (class lnk_file (relabelto)) (class chr_file (relabelto))
                (class blk_file (relabelto)) (class sock_file (relabelto)) (class fifo_file (relabelto))
                (class process2 (nnp_transition nosuid_transition))
                (classorder (process process2 file dir lnk_file chr_file blk_file sock_file fifo_file))
                (user system_u) (role system_r) (role object_r)
                (type kernel_t) (type container_t) (type spc_t) (type container_file_t)
                (typeattribute every) (typeattributeset every (kernel_t container_t spc_t container_file_t))
                (allow every every (process (transition dyntransition setexec setkeycreate fork signal sigkill)))
                (policycap nnp_nosuid_transition) (allow every every (process2 (nnp_transition nosuid_transition)))
                (sensitivity s0) (sensitivityorder (s0))
                (roletype system_r every) (roletype object_r every)
                (userrole system_u system_r) (userrole system_u object_r)
                (userlevel system_u (s0)) (userrange system_u ((s0) (s0 (range c0 c1023))))
                (context of_kernel (system_u system_r kernel_t ((s0) (s0))))
                (context of_files (system_u object_r kernel_t ((s0) (s0))))'
        for class in file dir lnk_file chr_file blk_file sock_file fifo_file; do echo "(allow every every ($class (relabelto)))"; done
        order=
        for i in $(seq 0 1023); do
                echo "(category c$i)"
                order="$order c$i"
        done
        echo "(categoryorder ($order)) (sensitivitycategory s0 (range c0 c1023))"
        sids='kernel security unlabeled fs file file_labels init any_socket port netif netmsg node igmp_packet icmp_socket
                tcp_socket sysctl_modprobe sysctl sysctl_fs sysctl_kernel sysctl_net sysctl_net_unix sysctl_vm sysctl_dev kmod
                policy scmp_packet devnull'
        for sid in $sids; do echo "(sid $sid) (sidcontext $sid of_kernel)"; done
        echo "(sidorder ($sids))"
        for fs in ext4 overlay xfs btrfs; do echo "(fsuse xattr $fs of_files)"; done
        for fs in tmpfs devpts mqueue devtmpfs shm; do echo "(fsuse trans $fs of_files)"; done
        for fs in proc sysfs selinuxfs cgroup2 9p rootfs nsfs; do echo "(genfscon $fs / of_files)"; done
} >"$dir/policy.cil"
# Debian 12's kernel reads version 33.
secilc -M true -c 33 -o "$dir/policy" -f /dev/null "$dir/policy.cil"
