#!/bin/sh
# busybox-image.sh FILE [NAME]: writes a docker archive of an image made from this machine's busybox-static, so that a pod
# can run on a node without any registry. NAME is docker.io/library/busybox:latest unless given.
set -eu
file=$1
name=${2:-docker.io/library/busybox:latest}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
busybox=$(command -v busybox)
case $(uname -m) in aarch64) architecture=arm64 ;; *) architecture=amd64 ;; esac

mkdir -p "$work/rootfs/bin" "$work/rootfs/etc" "$work/rootfs/tmp" "$work/rootfs/home" "$work/rootfs/root"
chmod 1777 "$work/rootfs/tmp"
chmod 0700 "$work/rootfs/root"
cp "$busybox" "$work/rootfs/bin/busybox"
for applet in $("$busybox" --list); do
        [ "$applet" = busybox ] || ln -s busybox "$work/rootfs/bin/$applet"
done
printf 'root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/home:/bin/false\nuser:x:1000:1000:user:/home:/bin/sh\n' \
        >"$work/rootfs/etc/passwd"
printf 'root:x:0:\nnobody:x:65534:\nuser:x:1000:\nextra:x:2000:user\n' >"$work/rootfs/etc/group"

mkdir "$work/image"
tar --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner -C "$work/rootfs" -cf "$work/image/layer.tar" .
diff_id=$(sha256sum "$work/image/layer.tar" | cut -d' ' -f1)
printf '{"architecture":"%s","os":"linux","created":"1970-01-01T00:00:00Z","config":{"Env":["PATH=/bin"],"Cmd":["sh"]},"rootfs":{"type":"layers","diff_ids":["sha256:%s"]}}' \
        "$architecture" "$diff_id" >"$work/image/config.json"
config_id=$(sha256sum "$work/image/config.json" | cut -d' ' -f1)
mv "$work/image/config.json" "$work/image/$config_id.json"
printf '[{"Config":"%s.json","RepoTags":["%s"],"Layers":["layer.tar"]}]' "$config_id" "$name" >"$work/image/manifest.json"
tar -C "$work/image" -cf "$file" "$config_id.json" layer.tar manifest.json
