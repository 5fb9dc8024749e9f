"""skiff-bridge under skiffd: pods reach each other, are masqueraded and have ports of the node, from outside, from the node and from
themselves; a port taken twice; restarts, GC at the start and removal leave nothing; STATUS is the node's NetworkReady; the configuration
that is offered; the end of many at once."""

import json
import subprocess

import grpc
import harness
import pytest
from test_network import SERVE, fetch, network

CONFLIST = {
    "cniVersion": "1.1.0",
    "name": "skiff-test",
    "plugins": [
        {
            "type": "skiff-bridge",
            "bridge": "skifftest0",
            "isGateway": True,
            "ipMasq": True,
            "hairpinMode": True,
            "capabilities": {"portMappings": True},
            "ipam": {"type": "host-local", "ranges": [[{"subnet": "10.211.0.0/20"}]], "routes": [{"dst": "0.0.0.0/0"}]},
        }
    ],
}


@pytest.fixture
def node(bare, archive):
    bare.cni_bin = harness.BIN  # no other plugin is needed
    bare.write_conflist(CONFLIST)
    bare.start()
    bare.import_image(archive)
    before = bare.census()
    yield bare
    bare.remove_all()
    bare.assert_nothing_left(before)
    assert not elements(), "what nftables has of pods that are gone"
    bare.stop()
    assert not bare.sanitizers_found(), bare.sanitizers_found()


def elements():
    """Elements of our table's sets and maps that speak of a pod."""
    done = subprocess.run(["nft", "-j", "list", "table", "inet", "skiff-bridge"], capture_output=True, text=True, check=False)
    objects = json.loads(done.stdout)["nftables"] if done.returncode == 0 else []
    return [e for o in objects for kind in ("set", "map") if kind in o for e in o[kind].get("elem", []) if "10.211." in json.dumps(e)]


def serve(node, text, **more):
    pod = node.run_pod(**more)
    node.run(pod, ["sh", "-c", SERVE.format(text)])
    return pod, node.pod_status(pod).status.network.ip


def test_pods_and_their_ports(node):
    assert network(node).status
    mapping = [{"container_port": 80, "host_port": 18080}, {"protocol": 1, "container_port": 53, "host_port": 18053}]
    server, address = serve(node, "mapped", name="server", port_mappings=mapping)
    client = node.run_pod(name="client")
    assert fetch(address, 80, client) == fetch(address, 80) == "mapped\n"
    assert fetch("10.211.0.1", 18080) == fetch("127.0.0.1", 18080) == "mapped\n"
    assert fetch("10.211.0.1", 18080, client) == fetch("10.211.0.1", 18080, server) == "mapped\n"
    code, text = harness.code_of(node.run_pod, name="late", port_mappings=mapping[:1])
    assert code != grpc.StatusCode.OK and "18080/tcp" in text and "default/server" in text
    node.restart()
    assert fetch("10.211.0.1", 18080) == "mapped\n" and elements()
    node.remove_pod(server)
    node.run_pod(name="next", port_mappings=mapping)


def test_what_leaves_the_node_has_its_address(node):
    """To an address beyond the bridge, of a namespace that knows no way back to pods."""
    pod, _ = serve(node, "pod", name="inside")
    commands = """ip netns add beyond
        ip link add out0 type veth peer name in0 netns beyond
        ip addr add 192.0.2.1/24 dev out0
        ip link set out0 up
        ip -n beyond addr add 192.0.2.2/24 dev in0
        ip -n beyond link set in0 up"""
    for command in commands.splitlines():
        subprocess.run(command.split(), check=True)
    try:
        container = [c for c in node.cri.ListContainers().containers if c.pod_sandbox_id == pod][0].id
        done = node.exec(container, ["ping", "-c", "1", "-W", "5", "192.0.2.2"])
        assert done.exit_code == 0, done.stdout
    finally:
        subprocess.run(["ip", "link", "del", "out0"], check=True)
        subprocess.run(["ip", "netns", "del", "beyond"], check=True)


def test_what_a_killed_skiffd_left_goes_at_the_next_start(node):
    mapping = [{"container_port": 80, "host_port": 18081}]
    node.run_pod(name="stays", port_mappings=mapping)
    node.arm("run_pod.network.after")
    with pytest.raises(grpc.RpcError):
        node.run_pod(name="killed", port_mappings=[{"container_port": 80, "host_port": 18082}])
    node.wait_killed()
    node.start()
    harness.wait_for(lambda: "18082" not in json.dumps(elements()), "the end of what was half made")
    assert "18081" in json.dumps(elements())


def test_the_configuration_that_is_offered_is_whole(node):
    """deploy/10-skiff.conflist as it is, and who says so."""
    node.write_conflist((harness.ROOT / "deploy/10-skiff.conflist").read_text())
    assert network(node).status
    mapping = [{"container_port": 80, "host_port": 18083}]
    pod, address = serve(node, "offered", name="offered", port_mappings=mapping)
    assert address.startswith("10.88.0.")
    assert fetch(address, 80) == fetch("10.88.0.1", 18083) == fetch("10.88.0.1", 18083, pod) == "offered\n"
    node.remove_all()
    subprocess.run(["ip", "link", "del", "cni0"], check=True)
    # A host that has no plugin at all.
    script = 'for d in /usr/lib/cni /opt/cni/bin; do [ ! -d $d ] || mount -t tmpfs none $d; done; exec "$@"'
    check = ["unshare", "--mount", "sh", "-c", script, "sh", str(harness.BIN / "skiff"), "--endpoint", node.endpoint, "check"]
    told = subprocess.run(check, capture_output=True, text=True, check=False).stdout
    assert "deploy/10-skiff.conflist" in told, told


def test_many_pods_end_at_once(node):
    """Their DELs go on beside each other, and what waits for the kernel is nobody's wait."""
    pods = [node.run_pod(name=f"many{i}", port_mappings=[{"container_port": 80, "host_port": 18100 + i}]) for i in range(24)]
    assert len(elements()) > len(pods)
    stops = [node.cri.future("StopPodSandbox", pod_sandbox_id=pod) for pod in pods]
    for stop in stops:
        stop.result(60)
    assert not elements() and not harness.leases()
