#!/bin/bash
# umoci 0.4.7 (Debian 12) gives a container's root the mode of a layer's "./" entry.
#
# Many layers begin with "./": `tar -C "$(mktemp -d)" -c .` writes one, and mktemp -d makes its directory with mode 0700.
# Expected: the root of the container stays 0755, as docker, containerd and containers/storage have it, who make the root
# themselves and do not apply that entry; the image runs there as any user.
# Seen: `umoci unpack` makes the bundle's rootfs 0700, and so does each layer that comes later: of two layers with "./" the
# upper one's mode wins. No process but root's can then reach anything in the container, /bin/sh included. A layer that has
# its files without "./" (`tar -c *`) leaves 0755. What comes out of one image hence depends on who unpacks it.
# Output: "no root entry 755", "one of 700 700", "710 above 700 710".
set -eu
UMOCI='umoci=0.4.7+ds-3+b7'
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
apt-get download -q "$UMOCI" >apt.log 2>&1 || { cat apt.log >&2 && exit 75; }
dpkg -x umoci_*.deb packages
umoci=$work/packages/usr/bin/umoci

mkdir files
echo hello >files/hello
tar -C files -cf without.tar hello
for mode in 700 710; do
        chmod "$mode" files
        tar -C files -cf "$mode.tar" .
done

seen() { # seen WHAT LAYER...: the mode of the root of an image of these layers
        local what=$1
        shift
        rm -rf layout bundle
        "$umoci" init --layout layout
        "$umoci" new --image layout:made
        for layer in "$@"; do "$umoci" raw add-layer --image layout:made "$layer" >/dev/null; done
        "$umoci" unpack --image layout:made bundle >/dev/null 2>&1
        [ -f bundle/rootfs/hello ]
        echo "$what $(stat -c %a bundle/rootfs)"
}

{
        seen 'no root entry' without.tar
        seen 'one of 700' 700.tar
        seen '710 above 700' 700.tar 710.tar
} | tee output
printf '%s\n' 'no root entry 755' 'one of 700 700' '710 above 700 710' | cmp - output
