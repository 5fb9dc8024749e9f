#!/bin/bash
# systemd.sh: the Debian package in a guest where systemd is init (tests/vm/boot.sh), for guest.sh. Takes some minutes, emulated.
set -eu
cd "$(dirname "$0")/../.."
build=${SKIFF_BUILD:-$PWD/build/release}
missing=$(tests/vm/prepare.sh) || { echo "SKIPPED: ${missing:-prepare.sh failed}"; exit 0; }
# Not below /tmp: a guest has its own.
work=$(mktemp -d "$build/guest.XXXXXX")
trap 'rm -rf "$work"' EXIT
(cd "$build" && cpack -G DEB -B "$work" -D CPACK_DEBIAN_COMPRESSION_TYPE=gzip) >"$work/cpack" 2>&1 || { cat "$work/cpack"; exit 1; }
dpkg-deb -R "$work"/skiff_*.deb "$work/newer"
sed -i 's/^Version: .*/Version: 99.0/' "$work/newer/DEBIAN/control"
dpkg-deb -b -Znone "$work/newer" "$work/newer.deb" >/dev/null
tests/vm/boot.sh systemd -t 900 "tests/package/guest.sh $work/skiff_*.deb $work/newer.deb"
