# peer.sh - Debian's containerd + runc as a peer to measure beside: for scripts of this folder, by `.`.

wait_for() { # wait_for SOCKET
        for _ in $(seq 600); do
                [ ! -S "$1" ] || return 0
                sleep 0.1
        done
        echo "nobody listens at $1" >&2
        return 1
}

pause_image() { # pause_image DIR FILE: a docker archive with a static program that only waits
        local work=$1/pause
        mkdir -p "$work/root"
        printf '#include <unistd.h>\nint main(void) { for (;;) pause(); }\n' >"$work/pause.c"
        musl-gcc -static -Os -o "$work/root/pause" "$work/pause.c"
        tar -C "$work/root" -cf "$work/layer.tar" pause
        printf '{"architecture":"amd64","os":"linux","config":{"Entrypoint":["/pause"]},"rootfs":{"type":"layers","diff_ids":["sha256:%s"]}}' \
                "$(sha256sum "$work/layer.tar" | cut -d' ' -f1)" >"$work/config.json"
        printf '[{"Config":"config.json","RepoTags":["localhost/pause:bench"],"Layers":["layer.tar"]}]' >"$work/manifest.json"
        tar -C "$work" -cf "$2" config.json layer.tar manifest.json
}

# On DIR: root and log in it, state in DIR/run, socket DIR/containerd.sock. $containerd_pid is its pid. ENTER is run before it in
# the process that becomes it.
containerd_start() { # containerd_start DIR CNI_CONF_DIR CERTS_DIR [SystemdCgroup [ENTER...]]
        local dir=$1 systemd=false
        [ "${4:-}" != SystemdCgroup ] || systemd=true
        mkdir -p "$dir/containerd"
        cat >"$dir/containerd.toml" <<TOML
version = 2
root = "$dir/containerd/root"
state = "$dir/run/containerd"
[grpc]
address = "$dir/containerd.sock"
[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "localhost/pause:bench"
restrict_oom_score_adj = true
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
SystemdCgroup = $systemd
[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "/usr/lib/cni"
conf_dir = "$2"
[plugins."io.containerd.grpc.v1.cri".registry]
config_path = "$3"
TOML
        (
                "${@:5}"
                exec containerd --config "$dir/containerd.toml" >"$dir/containerd.log" 2>&1
        ) &
        containerd_pid=$!
        wait_for "$dir/containerd.sock"
}

containerd_images() { # containerd_images DIR ARCHIVE...: these and a pause image
        local dir=$1 archive
        pause_image "$dir" "$dir/pause.tar"
        for archive in "$dir/pause.tar" "${@:2}"; do
                ctr --address "$dir/containerd.sock" --namespace k8s.io images import "$archive" >/dev/null
        done
}
