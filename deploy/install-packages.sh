#!/bin/sh
# install-packages.sh build|package|test|vm: installs what deploy/packages.txt lists ("package" includes "build", "test" both;
# "vm" is the guests' alone), if anything is missing. Wants root on Debian 12.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
kinds=build
case ${1:-build} in
package) kinds='build|package' ;;
test) kinds='build|package|test' ;;
vm) kinds=vm ;;
esac
wanted=$(grep -E "^($kinds) " "$here/packages.txt" | cut -d' ' -f2)
missing=
for package in $wanted; do
        case $(dpkg-query -W -f='${Status}' "$package" 2>/dev/null) in
        'install ok installed') ;;
        *) missing="$missing $package" ;;
        esac
done
[ -z "$missing" ] && exit 0
echo "installing:$missing"
apt-get update -q
# shellcheck disable=SC2086 # a list of words
DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends $missing
