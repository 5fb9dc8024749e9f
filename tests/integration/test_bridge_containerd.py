"""skiff-bridge under Debian's containerd, which knows nothing of skiff: the same file and the same configuration. Pods reach each
other, have ports of the node, and leave nothing."""

import json
import os
import pathlib
import shutil
import subprocess
import tarfile

import pytest

import cri_client
import harness
from test_bridge import BRIDGE, DEBIAN, elements, leases, ports
from test_network import SERVE, fetch, fetch_from

CONFLIST = {
    "cniVersion": "1.0.0",  # Debian's libcni knows no 1.1.0
    "name": "net",
    "plugins": [
        {
            "type": "skiff-bridge", "bridge": "cdtest0", "isGateway": True, "ipMasq": True, "hairpinMode": True,
            "capabilities": {"portMappings": True},
            "ipam": {"type": "host-local", "ranges": [[{"subnet": "10.214.0.0/24"}]], "routes": [{"dst": "0.0.0.0/0"}]},
        }
    ],
}  # fmt: skip
PARENT = f"/skiff-test-{os.getpid()}-containerd"
CONFIG = """version = 2
root = "{directory}/root"
state = "{directory}/state"
disabled_plugins = ["io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.zfs"]
[grpc]
address = "{directory}/containerd.sock"
[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "localhost/pause:test"
restrict_oom_score_adj = true
stream_server_port = "0"
[plugins."io.containerd.grpc.v1.cri".containerd]
snapshotter = "native"
[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "{directory}/bin"
conf_dir = "{directory}/net.d"
"""


def pause_archive(directory):
    """A docker archive with a static program that only waits."""
    (directory / "pause.c").write_text("#include <unistd.h>\nint main(void) { for (;;) pause(); }\n")
    subprocess.run(["musl-gcc", "-static", "-Os", "-o", directory / "pause", directory / "pause.c"], check=True)
    with tarfile.open(directory / "layer.tar", "w") as layer:
        layer.add(directory / "pause", "pause")
    digest = subprocess.run(["sha256sum", directory / "layer.tar"], capture_output=True, text=True, check=True).stdout.split()[0]
    rootfs = {"type": "layers", "diff_ids": [f"sha256:{digest}"]}
    config = {"architecture": os.uname().machine.replace("x86_64", "amd64"), "os": "linux", "config": {"Entrypoint": ["/pause"]}, "rootfs": rootfs}
    manifest = [{"Config": "config.json", "RepoTags": ["localhost/pause:test"], "Layers": ["layer.tar"]}]
    for name, content in (("config.json", config), ("manifest.json", manifest)):
        (directory / name).write_text(json.dumps(content))
    with tarfile.open(directory / "pause.tar", "w") as archive:
        for name in ("config.json", "layer.tar", "manifest.json"):
            archive.add(directory / name, name)
    return directory / "pause.tar"


@pytest.fixture
def containerd(tmp_path, archive):
    """Its CRI socket's client."""
    directory = tmp_path / "cd"
    (directory / "net.d").mkdir(parents=True)
    (directory / "bin").mkdir()
    for plugin in (BRIDGE, DEBIAN / "loopback"):  # containerd itself runs the second
        (directory / "bin" / plugin.name).symlink_to(plugin)
    (directory / "net.d/10-net.conflist").write_text(json.dumps(CONFLIST))
    (directory / "config.toml").write_text(CONFIG.format(directory=directory))
    socket = directory / "containerd.sock"
    with open(directory / "log", "wb") as log:
        process = subprocess.Popen(["containerd", "--config", directory / "config.toml"], stdout=log, stderr=log)
    try:
        harness.wait_for(socket.exists, "containerd", 60)
        for image in (pause_archive(directory), archive):
            subprocess.run(["ctr", "--address", socket, "--namespace", "k8s.io", "images", "import", "--snapshotter", "native", image], check=True, capture_output=True)
        with cri_client.Cri(f"unix://{socket}") as cri:
            yield cri
            for pod in cri.ListPodSandbox().items:
                cri.StopPodSandbox(pod_sandbox_id=pod.id)
                cri.RemovePodSandbox(pod_sandbox_id=pod.id)
    finally:
        process.terminate()
        process.wait(60)
        for left in sorted(harness.cgroups(PARENT), key=len, reverse=True):
            os.rmdir(left)
        for line in pathlib.Path("/proc/self/mounts").read_text().splitlines():
            if line.split()[1].startswith(str(directory)):
                subprocess.run(["umount", "-l", line.split()[1]], check=False)
        harness.remove_tree(directory)


def pod(cri, tmp_path, name, command, **more):
    """A pod and its container, running: the pod's id, its address, and its namespace."""
    config = {
        "metadata": {"name": name, "uid": f"uid-{name}", "namespace": "default"}, "hostname": name, "log_directory": str(tmp_path),
        "linux": {"cgroup_parent": PARENT}, **more,
    }  # fmt: skip
    sandbox = cri.RunPodSandbox(config=config).pod_sandbox_id
    container = {"metadata": {"name": name}, "image": {"image": harness.IMAGE}, "command": command, "log_path": f"{name}.log", "linux": {}}
    made = cri.CreateContainer(pod_sandbox_id=sandbox, config=container, sandbox_config=config).container_id
    cri.StartContainer(container_id=made)
    status = cri.PodSandboxStatus(pod_sandbox_id=sandbox, verbose=True)
    spec = json.loads(status.info["info"])["runtimeSpec"]
    netns = next(one["path"] for one in spec["linux"]["namespaces"] if one["type"] == "network")
    return sandbox, status.status.network.ip, pathlib.Path(netns).name


@pytest.mark.skipif(harness.SANITIZED, reason="shows how another program calls it")
@pytest.mark.skipif(not all(map(shutil.which, ("containerd", "ctr", "runc", "musl-gcc"))), reason="wants containerd, runc and musl-gcc")
def test_pods_of_containerd(containerd, tmp_path):
    mapping = [{"container_port": 80, "host_port": 18090}]
    server, address, inside = pod(containerd, tmp_path, "server", ["sh", "-c", SERVE.format("served")], port_mappings=mapping)
    client, other, beside = pod(containerd, tmp_path, "client", ["sleep", "1000"])
    assert [a.rsplit(".", 1)[0] for a in (address, other)] == ["10.214.0", "10.214.0"] and address != other
    for whence in ([], ["ip", "netns", "exec", beside], ["ip", "netns", "exec", inside]):
        assert fetch_from(whence, "10.214.0.1", 18090) == fetch_from(whence, address, 80) == "served\n"
    assert fetch("127.0.0.1", 18090) == "served\n"
    assert elements() and leases() == sorted([address, other])
    for sandbox in (server, client):
        containerd.StopPodSandbox(pod_sandbox_id=sandbox)
        containerd.StopPodSandbox(pod_sandbox_id=sandbox)
        containerd.RemovePodSandbox(pod_sandbox_id=sandbox)
    assert leases() == [] and elements() == []
    harness.wait_for(lambda: ports() == [], "the pairs' end")
