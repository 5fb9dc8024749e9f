#!/bin/bash
# sysroot.sh DIR: Debian's arm64 libraries and headers that skiff is built with, into DIR. Nothing is installed: the packages are
# resolved against an empty dpkg status of arm64 (so that those of this machine neither count nor conflict), downloaded, checked
# by apt and unpacked. A DIR that is complete for the same list of packages is left as it is.
set -euo pipefail
dir=$(realpath -m "$1")
here=$(cd "$(dirname "$0")" && pwd)
# What deploy/packages.txt names of libraries, and musl for skiff-pod.
packages=$(awk '($1 == "build" || $1 == "test") && $2 ~ /^(lib.*-dev|uthash-dev|zlib1g-dev)$/ && $2 !~ /clang|toml11|protobuf-dev/ { print $2 }' \
        "$here/../../deploy/packages.txt")
packages="$packages libtoml11-dev musl-dev libc6-dev libstdc++-12-dev"
stamp="$dir/.complete"
[ -f "$stamp" ] && [ -f "$dir/.libraries" ] && [ "$(cat "$stamp")" = "$packages" ] && exit 0
rm -rf "$dir"
mkdir -p "$dir" "$dir.apt/lists/partial" "$dir.apt/archives/partial"
: >"$dir.apt/status"
# Of this machine: where Debian is found, and whose signatures count.
apt=(apt-get -q -y -o APT::Architecture=arm64 -o APT::Architectures=arm64 -o Dir::State="$dir.apt" -o Dir::State::status="$dir.apt/status"
        -o Dir::State::lists="$dir.apt/lists" -o Dir::Cache="$dir.apt" -o Dir::Cache::archives="$dir.apt/archives" -o Debug::NoLocking=1
        -o APT::Sandbox::User=root -o Acquire::Languages=none -o APT::Get::List-Cleanup=0)
"${apt[@]}" update >/dev/null
# shellcheck disable=SC2086 # a list of words
"${apt[@]}" install --download-only --no-install-recommends $packages >"$dir.apt/log" || { cat "$dir.apt/log" >&2; exit 1; }
# As merged /usr has it: packages still ship both.
mkdir -p "$dir/usr/lib" && ln -s usr/lib "$dir/lib"
for package in "$dir.apt"/archives/*.deb; do
        # What a program that links a library depends on, deb-shlibs(5), for a package that is made here (deploy/package).
        dpkg-deb --ctrl-tarfile "$package" | tar -xO ./shlibs 2>/dev/null |
                awk '$1 !~ /:$/ { name = $1 ".so." $2; $1 = $2 = ""; sub(/^ +/, ""); print name, $0 }' >>"$dir/.libraries" || true
        dpkg-deb --fsys-tarfile "$package" | tar -x -C "$dir" --keep-directory-symlink --exclude=./usr/share/doc --exclude=./usr/share/man \
                --exclude=./usr/share/locale --exclude=./usr/bin --exclude=./usr/sbin --exclude=./sbin --exclude=./bin --exclude=./etc
done
# Links out of the tree would be followed into this machine's.
find "$dir" -type l | while read -r link; do
        target=$(readlink "$link")
        case $target in /*) ln -snf "$(realpath -m --relative-to="$(dirname "$link")" "$dir$target")" "$link" ;; esac
done
# gcc's --sysroot does not reach the paths in these.
sed -i "s| /usr/| $dir/usr/|g; s|-L/usr|-L$dir/usr|g" "$dir/usr/lib/aarch64-linux-musl/musl-gcc.specs"
rm -rf "$dir.apt"
echo "$packages" >"$stamp"
