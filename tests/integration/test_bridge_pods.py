"""skiff-bridge under skiffd: pods reach each other, are masqueraded and have ports of the node, from outside, from the node and from
themselves; a port taken twice; restarts, GC at the start and removal leave nothing; STATUS is the node's NetworkReady."""

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
