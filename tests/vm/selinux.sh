#!/bin/sh
# Runs the tests of SELinux in a guest whose kernel has it, with the policy of tests/vm/selinux/policy.sh loaded and enforced.
# Usage: tests/vm/selinux.sh RUN_V2 [pytest arguments]; as tests/vm/integration-v2.sh, whose environment counts too.
set -eu
run_v2=$1
shift
here=$(realpath "$(dirname "$0")/../..")
[ $# -gt 0 ] || set -- tests/integration/test_selinux.py
work=$(mktemp -d "$here/build/selinux.XXXXXX")
trap 'rm -rf "$work"' EXIT
"$here/tests/vm/selinux/policy.sh" "$work"
export APPEND="security=selinux selinux=1 enforcing=0 ${APPEND:-}"
cat >"$work/run_v2" <<END
#!/bin/bash
# RUN_V2 with a command that loads the policy first.
while [ "\$1" != -- ]; do options+=("\$1"); shift; done
shift
exec '$run_v2' "\${options[@]}" -- "
        mount -t selinuxfs selinuxfs /sys/fs/selinux && cat '$work/policy' >/sys/fs/selinux/load || exit 1
        mkdir -p /etc/selinux && cp -r '$work/etc/.' /etc/selinux/ && echo 1 >/sys/fs/selinux/enforce
        \$*"
END
chmod +x "$work/run_v2"
"$here/tests/vm/integration-v2.sh" "$work/run_v2" "$@"
