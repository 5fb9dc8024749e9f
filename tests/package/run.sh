#!/bin/bash
# run.sh [pytest arguments]: makes the packages of a release build ($SKIFF_BUILD, build/release), lets lintian read the Debian
# one, and installs both for real (test_package.py), offline: on an overlay of this machine's own root, which stays as it is.
set -eu
cd "$(dirname "$0")/../.."
export SKIFF_BUILD=${SKIFF_BUILD:-$PWD/build/release}
work=$(mktemp -d /tmp/skiff-package.XXXXXX)
trap 'rm -rf "$work"' EXIT
(cd "$SKIFF_BUILD" && cpack -B "$work" -D CPACK_DEBIAN_COMPRESSION_TYPE=gzip) >"$work/cpack" 2>&1 || { cat "$work/cpack"; exit 1; }
lintian --allow-root --fail-on warning --tag-display-limit 0 "$work"/skiff_*.deb
SKIFF_PACKAGES=$work tests/integration/run.sh "${@:-tests/package}"
