#!/bin/bash
# quickstart.sh: from a fresh Debian 12 (as root) to a running pod, and back to nothing. Installs what is needed, builds,
# starts skiffd with a root, state and socket of its own, imports an image made from this machine's busybox, runs a pod on
# a CNI bridge, shows its log, a command in it and its status, removes it all and stops skiffd.
# Everything it makes is below $SKIFF_DEMO (/tmp/skiff-demo) and is gone at the end, but the build in build/release.
set -euo pipefail
cd "$(dirname "$0")/.."
demo=${SKIFF_DEMO:-/tmp/skiff-demo}
bin=$PWD/build/release/bin
say() { printf '\n\033[1m%s\033[0m\n' "$*"; }
show() { # show COMMAND...: prints it, then runs it
        printf '$ %s\n' "$*"
        "$@"
}

[ "$(id -u)" = 0 ] || { echo "quickstart.sh: must run as root" >&2; exit 77; }
say '1. What it needs'
deploy/install-packages.sh build
echo 'all packages are installed'

say '2. Build'
cmake --preset release >/dev/null
echo 'about a minute the first time ...'
cmake --build --preset release --target programs >/tmp/skiff-build.log 2>&1 || { tail -n 40 /tmp/skiff-build.log; exit 1; }
tail -n 1 /tmp/skiff-build.log
rm -f /tmp/skiff-build.log

say '3. Start skiffd, on its own directories'
# Network namespaces are pinned here, as by `ip netns`: it is made and mounted when it is not there, once a boot.
netns_there=no netns_mounted=no
[ -d /run/netns ] && netns_there=yes
mountpoint -q /run/netns && netns_mounted=yes
rm -rf "$demo"
mkdir -p "$demo/net.d"
cat >"$demo/net.d/10-demo.conflist" <<'CONF'
{
  "cniVersion": "1.1.0",
  "name": "skiff-demo",
  "plugins": [
    { "type": "skiff-bridge", "bridge": "skiffdemo0", "isGateway": true, "capabilities": { "portMappings": true },
      "ipam": { "type": "host-local", "ranges": [[{ "subnet": "10.244.99.0/24" }]], "routes": [{ "dst": "0.0.0.0/0" }] } }
  ]
}
CONF
export CONTAINER_RUNTIME_ENDPOINT=unix://$demo/skiff.sock
touch "$demo/skiff.toml"
"$bin/skiffd" --config "$demo/skiff.toml" --root "$demo/root" --state "$demo/state" --listen "$CONTAINER_RUNTIME_ENDPOINT" \
        --cni-conf-dir "$demo/net.d" --cni-bin-dir "$bin" 2>"$demo/skiffd.log" &
daemon=$!
finish() {
        status=$?
        trap - EXIT
        if kill -0 "$daemon" 2>/dev/null; then
                "$bin/skiff" rm -f hello >/dev/null 2>&1 || true
                kill "$daemon" 2>/dev/null || true
                wait "$daemon" 2>/dev/null || true
        fi
        [ $status = 0 ] || { echo "--- skiffd's log:"; tail -n 20 "$demo/skiffd.log"; }
        ip link delete skiffdemo0 2>/dev/null || true
        rm -rf /var/lib/cni/networks/skiff-demo "$demo"
        if [ $netns_mounted = no ] && [ -d /run/netns ] && [ -z "$(ls -A /run/netns)" ]; then
                umount /run/netns 2>/dev/null || true
                [ $netns_there = yes ] || rmdir /run/netns 2>/dev/null || true
        fi
        exit $status
}
trap finish EXIT
for _ in $(seq 200); do
        [ -e "$demo/state/skiffd.pid" ] && break
        kill -0 "$daemon" 2>/dev/null || { echo 'skiffd did not start'; exit 1; }
        sleep 0.05
done
show "$bin/skiff" version

say '4. An image, without a registry'
deploy/busybox-image.sh "$demo/busybox.tar"
show "$bin/skiff" import "$demo/busybox.tar"
show "$bin/skiff" images

say '5. A pod'
show "$bin/skiff" run -d --name hello busybox -- sh -c 'echo "hello from $(hostname)"; ip -o -4 addr show eth0; trap exit TERM; sleep 1000 & wait'
show "$bin/skiff" pods
show "$bin/skiff" ps
for _ in $(seq 50); do [ -n "$("$bin/skiff" logs hello)" ] && break; sleep 0.05; done
show "$bin/skiff" logs hello
show "$bin/skiff" exec hello -- ps
show "$bin/skiff" inspect hello

say '6. And gone again'
show "$bin/skiff" stop hello
show "$bin/skiff" rm hello
show "$bin/skiff" pods
show "$bin/skiff" check --leaks
say 'done: skiffd is stopped and everything that this script made is removed'
