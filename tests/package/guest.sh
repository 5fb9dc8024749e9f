#!/bin/bash
# guest.sh DEB NEWER: in a guest under systemd (systemd.sh): what the package's scripts ask of systemd. Installing starts skiffd,
# an upgrade restarts it alone, a reload reloads it, a removal stops it and leaves the pod, a purge ends that too.
set -eu
deb=$1 newer=$2
log=/root/skiffd.log # no guest has a journal
grep -q lane.kind= /proc/cmdline || { echo 'guest.sh: this is no guest of tests/vm' >&2; exit 64; }
mkdir -p /etc/systemd/system/skiff.service.d
printf '[Service]\nStandardError=append:%s\n' "$log" >/etc/systemd/system/skiff.service.d/log.conf
rm -f /var/lib/man-db/auto-update # a minute, emulated
rm -f /usr/sbin/policy-rc.d # of a machine that is a container's image: it keeps packages from starting anything
say() { printf '== %s\n' "$*"; }
fail() { printf 'FAILED: %s\n' "$*"; systemctl status --no-pager skiff.service || true; tail -n 30 "$log"; exit 1; }
is() { systemctl is-active skiff.service 2>/dev/null || true; }
main_pid() { systemctl show -P MainPID skiff.service; }

say install
began=$(date +%s%N)
dpkg -i "$deb"
[ "$(is)" = active ] || fail 'not active after the installation'
skiff info | grep -q '^RuntimeReady *yes' || fail 'not ready'
echo "ready $((($(date +%s%N) - began) / 1000000)) ms after the start of dpkg, emulated"
[ "$(systemctl is-enabled skiff.service)" = enabled ] || fail 'not enabled'

say 'a pod'
deploy/busybox-image.sh /root/busybox.tar
skiff import /root/busybox.tar
skiff run -d --name web --host-network busybox -- sleep 100000
container=$(skiff ps -q)
pid=$(skiff inspect "$container" | grep -o '"pid": *[0-9]*' | head -n 1 | grep -o '[0-9]*')
[ -d "/proc/$pid" ] || fail "no process $pid"

say upgrade
before=$(main_pid)
dpkg -i "$newer"
[ "$(is)" = active ] && [ "$(main_pid)" != "$before" ] || fail 'not restarted'
[ -d "/proc/$pid" ] && [ "$(skiff ps -q)" = "$container" ] || fail 'the pod did not outlive the upgrade'
skiff exec web -- true || fail 'an exec after the upgrade'

say reload
before=$(main_pid)
mkdir -p /etc/skiff/skiff.toml.d
echo 'log_level = "debug"' >/etc/skiff/skiff.toml.d/guest.toml
systemctl reload skiff.service
for _ in $(seq 100); do grep -q 'reloaded key=log_level' "$log" && break; sleep 0.1; done
grep -q 'reloaded key=log_level' "$log" || fail 'not reloaded'
[ "$(is)" = active ] && [ "$(main_pid)" = "$before" ] || fail 'a reload is no restart'

say remove
dpkg --remove skiff
[ "$(is)" != active ] || fail 'still active'
[ -d "/proc/$pid" ] || fail 'the pod did not outlive the removal'

say purge
dpkg --purge skiff
[ ! -d "/proc/$pid" ] || fail 'the pod outlived the purge'
[ -z "$(systemctl list-units --all --no-legend 'skiff*')" ] || fail "units: $(systemctl list-units --all --no-legend 'skiff*')"
[ -z "$(ls -A /var/lib/skiff 2>/dev/null)" ] || fail 'data is left' # a guest has a disk mounted there
for path in /run/skiff /etc/skiff /usr/sbin/skiffd; do
        [ ! -e "$path" ] || fail "$path is left"
done
say 'all as it should be'
