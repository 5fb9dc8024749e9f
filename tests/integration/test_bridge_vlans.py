"""skiff-bridge's VLANs beside Debian's bridge: what a port and a gateway get, who reaches whom, what is refused. Most of it
needs a kernel whose bridges filter; where there is none the refusal is seen instead."""

import json
import shutil
import signal
import subprocess

import pytest
from test_bridge import DEBIAN, STORE, conf, ip, ip_json, plain_result, pods, ports, reachable, wait_nothing_left  # noqa: F401


def kernel_filters():
    """Whether a bridge of this kernel gives a port a VLAN."""
    done = subprocess.run(
        ["unshare", "--net", "sh", "-c", "ip link add br9 type bridge vlan_filtering 1 && ip link add port9 type veth && "
         "ip link set port9 master br9 && bridge vlan add dev port9 vid 7"], capture_output=True, check=False)  # fmt: skip
    return done.returncode == 0


FILTERS = kernel_filters()
filtering = pytest.mark.skipif(not FILTERS, reason="this kernel's bridges do not filter VLANs")


def vlans(name):
    """A port's VLANs: each with what marks it."""
    shown = json.loads(subprocess.run(["bridge", "-j", "vlan", "show", "dev", name], capture_output=True, text=True, check=True).stdout)
    found = {}
    for one in shown[0]["vlans"] if shown else []:
        for vlan in range(one["vlan"], one.get("vlanEnd", one["vlan"]) + 1):
            found[vlan] = sorted(one.get("flags", []))
    return found


UNTAGGED = ["Egress Untagged", "PVID"]


def port_of(pod):
    """The node's end of a pod's interface."""
    index = next(link for link in ip_json("link", netns=pod) if link["ifname"] == "eth0")["link_index"]
    return next(link["ifname"] for link in ip_json("link") if link["ifindex"] == index)


def gateway_port(name):
    return ip_json("link", "show", "dev", name)[0]["link"]


def all_of(pod, configuration):
    gateway = f"tb0.{configuration['vlan']}"
    found = {"pod": effect_of(pod), "port": vlans(port_of(pod)), "gateway port": vlans(gateway_port(gateway))}
    shown = ip_json("addr", "show", "dev", gateway)[0]
    found["gateway"] = sorted((a["local"], a["prefixlen"]) for a in shown["addr_info"] if a["scope"] == "global"), "UP" in shown["flags"]
    found["filters"] = ip_json("link", "show", "dev", "tb0")[0]["linkinfo"]["info_data"]["vlan_filtering"]
    return found


def answers(address, netns=None):
    """Whether somebody there says at least that nobody listens."""
    code = f"import socket\ntry: socket.create_connection(('{address}', 9), timeout=3)\nexcept ConnectionRefusedError: print('here')\nexcept OSError: pass"
    enter = ["ip", "netns", "exec", netns] if netns else []
    return "here" in subprocess.run([*enter, "/usr/bin/python3", "-c", code], capture_output=True, text=True, check=True).stdout


def effect_of(pod):
    inside = next(link for link in ip_json("addr", netns=pod) if link["ifname"] == "eth0")
    routes = [(r["dst"], r.get("gateway"), r["dev"]) for r in ip_json("route", netns=pod)]
    return sorted((a["local"], a["prefixlen"]) for a in inside["addr_info"] if a["scope"] == "global"), routes, inside["mtu"]



# Debian's 1.1.1 has no preserveDefaultVlan, and preserves.
@filtering
@pytest.mark.parametrize("more", [{}, {"ranges": (("10.77.0.0/24",), ("fd77::/64",))}, {"isDefaultGateway": True, "routes": ()}, {"mtu": 1400}])
def test_a_vlan_is_debians(pods, more):  # noqa: F811
    configuration = conf(isGateway=True, vlan=100, preserveDefaultVlan=True, **more)
    theirs = plain_result(pods.ok("ADD", configuration, "p1", program=DEBIAN / "bridge"))
    their_effect = all_of("p1", configuration)
    pods.ok("DEL", configuration, "p1", program=DEBIAN / "bridge")
    ip("link", "del", "tb0.100")
    ip("link", "del", "tb0")
    shutil.rmtree(STORE / "net")
    ours = plain_result(pods.ok("ADD", configuration, "p2"))
    assert ours == theirs
    assert all_of("p2", configuration) == their_effect
    pods.ok("DEL", configuration, "p2")
    ip("link", "del", "tb0.100")
    wait_nothing_left()


@filtering
def test_a_gateway_that_debian_made_is_taken_as_it_is(pods):  # noqa: F811
    configuration = conf(isGateway=True, vlan=100, preserveDefaultVlan=True)
    pods.ok("ADD", configuration, "p1", program=DEBIAN / "bridge")
    before = ip_json("link", "show", "dev", "tb0.100")
    pods.ok("ADD", conf(isGateway=True, vlan=100), "p2")
    assert ip_json("link", "show", "dev", "tb0.100") == before
    assert vlans(gateway_port("tb0.100")) == {1: ["Egress Untagged"], 100: UNTAGGED}
    assert vlans(port_of("p2")) == {100: UNTAGGED}
    assert reachable(("p1", "p2"), "10.77.0.3")
    pods.ok("DEL", configuration, "p1")
    pods.ok("DEL", configuration, "p2")


TRUNKS = {
    "ids": ({"vlanTrunk": [{"id": 7}, {"id": 9}]}, {1: UNTAGGED, 7: [], 9: []}),
    "a range": ({"vlanTrunk": [{"minID": 20, "maxID": 23, "id": 5}]}, {1: UNTAGGED, 5: [], 20: [], 21: [], 22: [], 23: []}),
    "with a vlan": ({"vlan": 100, "vlanTrunk": [{"id": 7}]}, {7: [], 100: UNTAGGED}),
    "default kept": ({"vlan": 100, "vlanTrunk": [{"id": 7}], "preserveDefaultVlan": True}, {1: ["Egress Untagged"], 7: [], 100: UNTAGGED}),
    "all": ({"vlanTrunk": [{"minID": 1, "maxID": 4094}]}, {1: UNTAGGED, **{vlan: [] for vlan in range(2, 4095)}}),
    "an empty list": ({"vlanTrunk": []}, {1: UNTAGGED}),
}


@filtering
@pytest.mark.parametrize("case", TRUNKS)
def test_a_trunk(pods, case):  # noqa: F811
    more, expected = TRUNKS[case]
    pods.ok("ADD", conf(**more), "p1")
    assert vlans(port_of("p1")) == expected
    assert ip_json("link", "show", "dev", "tb0")[0]["linkinfo"]["info_data"]["vlan_filtering"] == 1
    pods.ok("DEL", conf(**more), "p1")
    wait_nothing_left()


@filtering
def test_vlans_are_kept_apart(pods):  # noqa: F811
    pods.make("p3")
    one = conf(isGateway=True, vlan=100)
    two = conf(isGateway=True, vlan=200, name="two", ranges=(("10.78.0.0/24",),))
    same = conf(vlan=200, name="same", ranges=(("10.77.0.0/24",),))
    pods.ok("ADD", one, "p1")
    second = pods.ok("ADD", two, "p2")
    assert [i["name"] for i in second["interfaces"]][3] == "tb0.200"
    assert answers("10.77.0.2") and answers("10.78.0.2")
    # The first's subnet in the second's VLAN: there is no way at layer 2.
    pods.ok("ADD", same, "p3", ifname="eth1")
    ip("addr", "flush", "dev", "eth1", netns="p3")
    ip("addr", "add", "10.77.0.99/24", "dev", "eth1", netns="p3")
    assert not answers("10.77.0.2", "p3")
    for configuration, pod, name in ((one, "p1", "eth0"), (two, "p2", "eth0"), (same, "p3", "eth1")):
        pods.ok("DEL", configuration, pod, ifname=name)


@filtering
def test_a_bridge_that_does_not_filter_stays_as_it_is(pods):  # noqa: F811
    pods.ok("ADD", conf(), "p1")
    pods.ok("ADD", conf(vlan=100), "p2")
    assert ip_json("link", "show", "dev", "tb0")[0]["linkinfo"]["info_data"]["vlan_filtering"] == 0
    assert vlans(port_of("p2")) == {100: UNTAGGED}


@filtering
@pytest.mark.parametrize("action", ["fail", "kill"])
@pytest.mark.parametrize("point", ["bridge.vlan.made", "bridge.vlan.set"])
def test_half_a_gateway_is_mended_by_the_next(pods, point, action):  # noqa: F811
    configuration = conf(isGateway=True, vlan=100)
    status, _ = pods.call("ADD", configuration, SKIFF_FAULT=f"{point}={action}")
    assert status == (1 if action == "fail" else -signal.SIGKILL)
    pods.ok("DEL", configuration)
    pods.ok("ADD", configuration)
    assert vlans(gateway_port("tb0.100")) == vlans(port_of("p1")) == {100: UNTAGGED}
    pods.ok("DEL", configuration)
    ip("link", "del", "tb0.100")
    wait_nothing_left()


@filtering
def test_a_name_that_is_no_gateway(pods):  # noqa: F811
    for kind in (("type", "bridge"), ("type", "veth", "peer", "name", "other0")):
        ip("link", "add", "tb0.100", *kind)
        code, message = pods.refused("ADD", conf(isGateway=True, vlan=100))
        assert code == 999 and '"tb0.100" already exists' in message
        ip("link", "del", "tb0.100")
    wait_nothing_left()


@pytest.mark.skipif(FILTERS, reason="this kernel's bridges filter VLANs")
@pytest.mark.parametrize("more", [{"vlan": 100}, {"vlanTrunk": [{"id": 7}]}])
def test_a_kernel_without_vlans_is_told(pods, more):  # noqa: F811
    code, message = pods.refused("ADD", conf(isGateway=True, **more))
    assert code == 999 and "CONFIG_BRIDGE_VLAN_FILTERING" in message
    assert ports() == []
    wait_nothing_left()


BAD = (
    ({"vlan": 4095}, '"vlan" is 4095'), ({"vlan": -1}, '"vlan" is -1'), ({"vlan": "7"}, '"vlan" is not a number'),
    ({"vlanTrunk": {}}, '"vlanTrunk" is not a list'), ({"vlanTrunk": [7]}, "vlanTrunk[0]"), ({"vlanTrunk": [{"id": 0}]}, '"id" is 0'),
    ({"vlanTrunk": [{"id": 4095}]}, '"id" is 4095'), ({"vlanTrunk": [{"minID": 5}]}, '"maxID" is missing'),
    ({"vlanTrunk": [{"id": 1}, {"maxID": 5}]}, 'vlanTrunk[1]: "minID" is missing'),
    ({"vlanTrunk": [{"minID": 9, "maxID": 5}]}, "minID 9 is greater than maxID 5"),
    ({"bridge": "b" * 12, "isGateway": True, "vlan": 100}, "bbbbbbbbbbbb.100"),
)  # fmt: skip


def test_bad_vlans_are_refused_where_debian_refuses_them_too(pods):  # noqa: F811
    for more, words in BAD:
        code, message = pods.refused("ADD", conf(**more))
        assert code == 7 and words in message, (more, code, message)
        if "vlan" in more and more["vlan"] != 100:
            assert pods.call("ADD", conf(**more), program=DEBIAN / "bridge")[0] == 1
    wait_nothing_left()
