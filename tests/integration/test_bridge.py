"""skiff-bridge called directly, in namespaces of its own. Covers: results and effect beside Debian's bridge and host-local;
a change over and back with running pods; errors and their codes; refused ADDs, which leave nothing; DEL without half of
everything; CHECK, GC, STATUS; an ipam that is a plugin of its own; a failure or a kill at each fault point, and a kill at
each system call."""

import json
import os
import pathlib
import re
import shutil
import signal
import subprocess

import pytest

import harness

BRIDGE = harness.BIN / "skiff-bridge"
DEBIAN = pathlib.Path("/usr/lib/cni")
STORE = pathlib.Path("/var/lib/cni/networks")
SOURCE = harness.ROOT / "cni/bridge"


def ip(*arguments, netns=None, check=True):
    command = ["ip", *(["-n", netns] if netns else []), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=check).stdout


def ip_json(*arguments, netns=None):
    # An empty object stands for each link that was filtered out.
    return [one for one in json.loads(ip("-j", "-d", *arguments, netns=netns, check=False) or "[]") if one]


def plugin_processes():
    """Processes of the program that this test runs, in this network namespace."""
    found = []
    ours = os.readlink("/proc/self/ns/net")
    for entry in pathlib.Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and os.readlink(entry / "ns/net") == ours and os.readlink(entry / "exe") == str(BRIDGE):
                found.append(int(entry.name))
        except OSError:
            continue
    return found


class Pods:
    """Network namespaces, and calls of plugins on them."""

    def __init__(self):
        self.names = []

    def make(self, name):
        ip("netns", "add", name)
        self.names.append(name)
        return f"/run/netns/{name}"

    def call(self, command, conf, pod="p1", program=BRIDGE, under=(), ifname="eth0", container=None, netns=None, **more):
        """The exit status and what was printed."""
        environment = {
            "PATH": os.environ["PATH"], "CNI_COMMAND": command, "CNI_CONTAINERID": container or f"id-{pod}",
            "CNI_NETNS": f"/run/netns/{pod}" if netns is None else netns, "CNI_IFNAME": ifname, "CNI_PATH": str(DEBIAN), **more,
        }  # fmt: skip
        text = conf if isinstance(conf, str) else json.dumps(conf)
        done = subprocess.run([*under, str(program)], input=text, env=environment, capture_output=True, text=True, timeout=60)
        return done.returncode, done.stdout

    def ok(self, *arguments, **more):
        status, text = self.call(*arguments, **more)
        assert status == 0, text
        return json.loads(text) if text else None

    def refused(self, *arguments, **more):
        status, text = self.call(*arguments, **more)
        assert status == 1, (status, text)
        error = json.loads(text)
        assert set(error) == {"code", "msg"}
        return error["code"], error["msg"]


def ports():
    names = [link["ifname"] for link in ip_json("link", "show", "type", "veth")]
    return [name for name in names if name.startswith("veth")]


def leases(network="net"):
    names = [path.name for path in (STORE / network).glob("*")] if (STORE / network).exists() else []
    return sorted(name for name in names if name not in ("lock", ".interfaces") and not name.startswith("last_reserved"))


def wait_nothing_left(network="net"):
    harness.wait_for(lambda: not plugin_processes(), "the child's end")
    assert ports() == [] and leases(network) == []


@pytest.fixture
def pods():
    pods = Pods()
    for link in ip_json("link", "show", "type", "bridge"):
        ip("link", "del", link["ifname"])
    pods.make("p1")
    pods.make("p2")
    yield pods
    for pid in plugin_processes():
        os.kill(pid, signal.SIGKILL)
    for name in pods.names:
        ip("netns", "del", name, check=False)
    for kind in ("veth", "tun", "bridge"):
        for link in ip_json("link", "show", "type", kind):
            ip("link", "del", link["ifname"], check=False)
    for path in STORE.glob("*"):
        shutil.rmtree(path)


def conf(bridge="tb0", version="1.0.0", name="net", ranges=(("10.77.0.0/24",),), routes=("0.0.0.0/0",), ipam=None, **more):
    base = {"cniVersion": version, "name": name, "type": "skiff-bridge", "bridge": bridge}
    if ipam is None:
        sets = [[{"subnet": subnet} for subnet in one] for one in ranges]
        ipam = {"type": "host-local", "ranges": sets, "routes": [{"dst": route} for route in routes]}
    return {**base, **({"ipam": ipam} if ipam else {}), **more}


DUAL = (("10.77.0.0/24",), ("fd77::/64",))
SAME = {
    "plain": {},
    "no gateway": {"isGateway": False},
    "gateway": {"isGateway": True},
    "default gateway": {"isDefaultGateway": True, "routes": ()},
    "two families": {"isDefaultGateway": True, "ranges": DUAL, "routes": ("192.168.0.0/16",)},
    "routes of both": {"isGateway": True, "ranges": DUAL, "routes": ("0.0.0.0/0", "::/0")},
    "route of the other family": {"isGateway": True, "routes": ("fd99::/64",)},
    "mtu": {"isGateway": True, "mtu": 1400},
    "hairpin": {"isGateway": True, "hairpinMode": True},
    "promisc": {"isGateway": True, "promiscMode": True},
    "layer 2": {"ipam": {}},
    "keys in other case": {"IsGateway": True, "MTU": 1300},
    "mac": {"runtimeConfig": {"mac": "02:00:00:00:77:01"}},
    "mac by args": {"args": {"cni": {"mac": "02:00:00:00:77:02"}}},
    "address": {"args": {"cni": {"ips": ["10.77.0.9"]}}},
    "address with prefix": {"runtimeConfig": {"ips": ["10.77.0.9/24"]}},
    "ranges by capability": {"runtimeConfig": {"ipRanges": [[{"subnet": "10.78.0.0/24", "rangeStart": "10.78.0.50"}]]},
                             "ipam": {"type": "host-local", "routes": [{"dst": "10.0.0.0/8", "gw": "10.78.0.7"}]}},
    "old form": {"ipam": {"type": "host-local", "subnet": "10.77.0.0/24", "rangeStart": "10.77.0.5", "gateway": "10.77.0.3"}},
    "dns": {"dns": {"nameservers": ["10.0.0.53"], "domain": "d", "search": ["s"], "options": ["o"]}},
}  # fmt: skip


def plain_result(result):
    """Without what is chosen at random."""
    for interface in result.get("interfaces", []):
        if not interface["mac"].startswith("02:00:00:00:77"):
            interface["mac"] = "random"
        interface["name"] = re.sub(r"^veth[0-9a-f]{8}$", "veth", interface["name"])
        interface.pop("sandbox", None)
    return result


def effect(pod, bridge):
    """What a pod and its bridge have, as far as it is not chosen at random."""
    inside = next(link for link in ip_json("addr", netns=pod) if link["ifname"] == "eth0")
    addresses = sorted((a["local"], a["prefixlen"], a.get("broadcast")) for a in inside["addr_info"] if a["scope"] == "global")
    routes = []
    for family in ("-4", "-6"):
        for route in ip_json(family, "route", netns=pod):
            if not route["dst"].startswith(("fe80", "ff00")):
                routes.append({key: route.get(key) for key in ("dst", "gateway", "dev", "protocol", "metric", "scope")})
    port = next(link for link in ip_json("link", "show", "type", "veth") if link.get("master") == bridge)
    data = port["linkinfo"]["info_slave_data"]
    node = next(link for link in ip_json("addr", "show", "dev", bridge))
    sysctl = {}
    for key in ("ipv4/conf/eth0/arp_notify", "ipv6/conf/eth0/accept_dad", "ipv6/conf/eth0/disable_ipv6", "ipv6/conf/eth0/accept_ra"):
        read = ["ip", "netns", "exec", pod, "cat", f"/proc/sys/net/{key}"]
        sysctl[key] = subprocess.run(read, capture_output=True, text=True, check=True).stdout.strip()
    for name, key in ((bridge, "bridge"), (port["ifname"], "port")):
        sysctl[key] = pathlib.Path(f"/proc/sys/net/ipv6/conf/{name}/accept_ra").read_text().strip()
    return {
        "up": "UP" in inside["flags"], "mtu": inside["mtu"], "addresses": addresses,
        "routes": sorted(routes, key=str), "port mtu": port["mtu"], "port up": "UP" in port["flags"],
        "hairpin": data["hairpin"], "isolated": data["isolated"], "bridge mtu": node["mtu"],
        "promisc": "PROMISC" in node["flags"], "sysctl": sysctl,
        "gateway": sorted((a["local"], a["prefixlen"]) for a in node["addr_info"] if a["scope"] == "global"),
    }  # fmt: skip


# Debian 1.1.1 sets arp_notify, where it does at all, only in later versions; its own gratuitous ARP has the same end.
def without_arp_notify(found):
    found["sysctl"].pop("ipv4/conf/eth0/arp_notify")
    return found


@pytest.mark.parametrize("case", SAME)
def test_results_and_effect_are_those_of_debian(pods, case):
    theirs = plain_result(pods.ok("ADD", conf(**SAME[case]), "p1", program=DEBIAN / "bridge"))
    their_effect = without_arp_notify(effect("p1", "tb0"))
    pods.ok("DEL", conf(**SAME[case]), "p1", program=DEBIAN / "bridge")
    ip("link", "del", "tb0")
    shutil.rmtree(STORE / "net", ignore_errors=True)
    ours = plain_result(pods.ok("ADD", conf(**SAME[case]), "p2"))
    assert ours == theirs
    assert without_arp_notify(effect("p2", "tb0")) == their_effect
    pods.ok("DEL", conf(**SAME[case]), "p2")
    wait_nothing_left()


@pytest.mark.parametrize("version", ["0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0"])
def test_every_version_has_debians_answer(pods, version):
    configuration = conf(version=version, isDefaultGateway=True, ranges=DUAL)
    configuration["ipam"]["routes"] = [{"dst": "10.0.0.0/8"}, {"dst": "fd00::/8"}]
    theirs = plain_result(pods.ok("ADD", configuration, "p1", program=DEBIAN / "bridge"))
    pods.ok("DEL", configuration, "p1", program=DEBIAN / "bridge")
    shutil.rmtree(STORE / "net")
    assert plain_result(pods.ok("ADD", configuration, "p2")) == theirs
    pods.ok("DEL", configuration, "p2")


def test_versions_are_told(pods):
    told = pods.ok("VERSION", "{}")
    assert told["supportedVersions"] == ["0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"]
    assert pods.ok("ADD", conf(version="1.1.0"))["cniVersion"] == "1.1.0"


def reachable(pod, address, port=7777):
    """A connection from a pod to another's address."""
    serve = "import socket;s=socket.create_server(('::',%d),family=socket.AF_INET6,dualstack_ipv6=True);print(1,flush=True);s.accept()" % port
    server = subprocess.Popen(["ip", "netns", "exec", pod[1], "/usr/bin/python3", "-c", serve], stdout=subprocess.PIPE)
    try:
        server.stdout.readline()
        code = f"import socket;socket.create_connection(('{address}',{port}),timeout=5)"
        return subprocess.run(["ip", "netns", "exec", pod[0], "/usr/bin/python3", "-c", code], capture_output=True).returncode == 0
    finally:
        server.kill()
        server.wait()


def test_pods_reach_each_other_and_the_gateway_answers(pods):
    configuration = conf(isDefaultGateway=True, ranges=DUAL, routes=())
    pods.ok("ADD", configuration, "p1")
    second = pods.ok("ADD", configuration, "p2")
    for address in second["ips"]:
        assert reachable(("p1", "p2"), address["address"].split("/")[0])
    assert pathlib.Path("/proc/sys/net/ipv4/ip_forward").read_text() == "1\n"
    assert pathlib.Path("/proc/sys/net/ipv6/conf/all/forwarding").read_text() == "1\n"


def test_isolated_ports_do_not_reach_each_other(pods):
    configuration = conf(isGateway=True, portIsolation=True)
    pods.ok("ADD", configuration, "p1")
    second = pods.ok("ADD", configuration, "p2")
    assert effect("p1", "tb0")["isolated"]
    assert not reachable(("p1", "p2"), second["ips"][0]["address"].split("/")[0])


def test_duplicate_detection_and_an_interface_left_alone(pods):
    pods.ok("ADD", conf(enabledad=True, ranges=DUAL), "p1")
    assert effect("p1", "tb0")["sysctl"]["ipv6/conf/eth0/accept_dad"] == "1"
    flags = [a for link in ip_json("addr", netns="p1") for a in link["addr_info"] if a["local"].startswith("fd77")]
    assert flags and not flags[0].get("tentative") and not flags[0].get("nodad")
    pods.ok("ADD", conf(ipam={}, disableContainerInterface=True), "p2")
    inside = next(link for link in ip_json("link", netns="p2") if link["ifname"] == "eth0")
    assert "UP" not in inside["flags"]
    assert pods.refused("ADD", conf(disableContainerInterface=True), "p2", ifname="eth1")[0] == 7


def test_a_chain_keeps_what_came_before(pods):
    before = {
        "cniVersion": "1.0.0", "interfaces": [{"name": "other0", "mac": "02:00:00:00:00:09"}],
        "ips": [{"interface": 0, "address": "172.16.0.2/24"}], "routes": [{"dst": "172.16.0.0/12"}], "dns": {"domain": "before"},
    }  # fmt: skip
    result = pods.ok("ADD", conf(isGateway=True, prevResult=before))
    assert [i["name"] for i in result["interfaces"]][::3] == ["other0", "eth0"]
    assert [(a["interface"], a["address"]) for a in result["ips"]] == [(0, "172.16.0.2/24"), (3, "10.77.0.2/24")]
    assert result["routes"] == [{"dst": "172.16.0.0/12"}, {"dst": "0.0.0.0/0"}]
    inside = next(link for link in ip_json("addr", netns="p1") if link["ifname"] == "eth0")
    assert "172.16.0.2" not in [a["local"] for a in inside["addr_info"]]


def test_a_node_changes_over_and_back_with_running_pods(pods):
    pods.make("p3")
    configuration = conf(isGateway=True)
    pods.ok("ADD", configuration, "p1", program=DEBIAN / "bridge")
    second = pods.ok("ADD", configuration, "p2")
    assert second["ips"][0]["address"] == "10.77.0.3/24"
    third = pods.ok("ADD", configuration, "p3", program=DEBIAN / "bridge")
    assert third["ips"][0]["address"] == "10.77.0.4/24"
    assert reachable(("p1", "p2"), "10.77.0.3")
    pods.ok("DEL", configuration, "p1")
    index = STORE / "net/.interfaces"
    assert sorted(os.readlink(link) for link in index.iterdir()) == ["../10.77.0.3", "../10.77.0.4"]
    pods.ok("DEL", configuration, "p2", program=DEBIAN / "bridge")
    assert [os.readlink(link) for link in index.iterdir()] == ["../10.77.0.4"], "host-local takes links with their leases"
    pods.ok("DEL", configuration, "p3")
    assert not list(index.iterdir())
    wait_nothing_left()


BAD = {
    "no JSON": ("{", 6, "network configuration"),
    "nothing": ("", 6, "network configuration"),
    "a list": ("[]", 6, "not a JSON object"),
    "version a number": ({"cniVersion": 1, "name": "n"}, 6, "cniVersion"),
    "future version": (conf(version="2.0.0"), 1, "2.0.0"),
    "no name": (conf(name=""), 7, "name"),
    "path": (conf(name="a/b"), 7, "name"),
    "long name": (conf(name="n" * 300), 7, "name"),
    "long bridge": (conf(bridge="b" * 16), 7, "bridge"),
    "type": (conf(isGateway="yes"), 7, "isGateway"),
    "overlap": (conf(ranges=(("10.77.0.0/24", "10.77.0.0/25"),)), 7, "overlaps"),
    "no address": (conf(ranges=(("10.77.0.0/32",),)), 7, "too small"),
    "port 0": (conf(runtimeConfig={"portMappings": [{"hostPort": 0, "containerPort": 80, "protocol": "tcp"}]}), 7, "hostPort"),
    "port 65536": (conf(runtimeConfig={"portMappings": [{"hostPort": 65536, "containerPort": 80, "protocol": "tcp"}]}), 7, "hostPort"),
    "no such ipam": (conf(ipam={"type": "nothere"}), 999, 'failed to find plugin "nothere"'),
    "asked outside": (conf(args={"cni": {"ips": ["10.99.0.1"]}}), 999, "10.99.0.1"),
    "asked gateway": (conf(args={"cni": {"ips": ["10.77.0.1"]}}), 999, "gateway"),
    "bad route": (conf(isGateway=True, ipam={"type": "host-local", "subnet": "10.77.0.0/24", "routes": [
        {"dst": "10.0.0.0/8", "gw": "172.16.0.1"}]}), 999, "add route 10.0.0.0/8"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_a_refused_add_says_why_and_leaves_nothing(pods, case):
    configuration, code, words = BAD[case]
    told, message = pods.refused("ADD", configuration)
    assert told == code and words in message, (told, message)
    wait_nothing_left()
    assert [link["ifname"] for link in ip_json("link", netns="p1")] == ["lo"]
    assert pods.ok("ADD", conf())["ips"]


def test_bad_environments_are_refused(pods):
    for change in ({"CNI_COMMAND": "EAT"}, {"CNI_CONTAINERID": "../x"}, {"CNI_IFNAME": "e" * 16}, {"CNI_IFNAME": ""},
                   {"CNI_NETNS": ""}, {"CNI_CONTAINERID": ""}, {"CNI_ARGS": "X=1"}, {"CNI_ARGS": "IgnoreUnknown=1;X"}):  # fmt: skip
        assert pods.refused("ADD", conf(), **change)[0] == 4, change
    assert pods.ok("ADD", conf(), CNI_ARGS="K8S_POD_NAME=a;IgnoreUnknown=1;IP=10.77.0.9")["ips"][0]["address"] == "10.77.0.9/24"
    assert pods.refused("ADD", conf(), netns="/run/netns/gone")[0] == 3
    assert pods.refused("ADD", conf(), netns="/etc/passwd")[0] == 3
    assert pods.refused("ADD", conf(), netns="/proc/self/ns/net")[0] == 999


def test_a_full_pool_is_refused_in_words(pods):
    small = conf(ranges=(("10.77.0.0/30",),))
    pods.ok("ADD", small, "p1")
    code, message = pods.refused("ADD", small, "p2")
    assert code == 999 and "no IP addresses available in range set: 10.77.0.1-10.77.0.2" in message
    assert len(ports()) == 1 and leases() == ["10.77.0.2"]
    pods.ok("DEL", small, "p1")
    assert pods.ok("ADD", small, "p2")["ips"][0]["address"] == "10.77.0.2/30"


def test_add_twice_changes_nothing(pods):
    pods.ok("ADD", conf())
    code, message = pods.refused("ADD", conf())
    assert code == 999 and "eth0" in message and "already exists" in message
    assert len(ports()) == 1 and leases() == ["10.77.0.2"]
    pods.ok("ADD", conf(routes=()), ifname="eth1")
    assert len(ports()) == 2 and leases() == ["10.77.0.2", "10.77.0.3"]
    pods.ok("DEL", conf())
    harness.wait_for(lambda: not plugin_processes(), "the child's end")
    assert len(ports()) == 1 and leases() == ["10.77.0.3"]


def test_a_name_that_is_in_use_stays_its_owners(pods):
    ip("tuntap", "add", "eth0", "mode", "tap", netns="p1")
    assert "already exists" in pods.refused("ADD", conf())[1]
    pods.ok("DEL", conf())
    wait_nothing_left()
    assert "eth0" in [link["ifname"] for link in ip_json("link", netns="p1")]


def test_a_bridge_that_is_something_else(pods):
    ip("tuntap", "add", "tb0", "mode", "tap")
    code, message = pods.refused("ADD", conf())
    assert code == 999 and "not a bridge" in message
    assert pods.refused("STATUS", conf(version="1.1.0"))[0] == 50
    wait_nothing_left()


def test_an_address_of_the_bridge_is_replaced_only_by_force(pods):
    pods.ok("ADD", conf(isGateway=True), "p1")
    other = {"ranges": (("10.88.0.0/24",),), "isGateway": True}
    code, message = pods.refused("ADD", conf(**other), "p2")
    assert code == 999 and "already has an IP address different from 10.88.0.1/24" in message
    assert leases() == ["10.77.0.2"] and len(ports()) == 1
    pods.ok("ADD", conf(**other, forceAddress=True), "p2")
    assert effect("p2", "tb0")["gateway"] == [("10.88.0.1", 24)]


def test_a_full_bridge_is_told(pods):
    pods.ok("ADD", conf(), "p1")
    one = "numtxqueues 1 numrxqueues 1"
    pairs = (f"link add f{i} {one} group 77 master tb0 type veth peer name g{i} {one}\nlink set g{i} master tb0\n" for i in range(511))
    subprocess.run(["ip", "-batch", "-"], input="".join(pairs), text=True, check=True)
    code, message = pods.refused("ADD", conf(), "p2")
    assert code == 999 and "bridge tb0 is full" in message and "1023" in message
    assert len(ports()) == 1 and leases() == ["10.77.0.2"]
    ip("link", "del", "group", "77")
    assert pods.ok("ADD", conf(), "p2")["ips"]


def test_check_finds_what_is_missing(pods):
    configuration = conf(isDefaultGateway=True, routes=())
    result = pods.ok("ADD", configuration)
    checked = {**configuration, "prevResult": result}
    pods.ok("CHECK", checked)
    assert "prevResult" in pods.refused("CHECK", configuration)[1]
    steps = (
        (("route", "del", "default"), ("route", "add", "default", "via", "10.77.0.1"), "0.0.0.0/0"),
        (("addr", "flush", "dev", "eth0"), None, "10.77.0.2/24"),
        (("link", "del", "eth0"), None, "eth0"),
    )
    for breaking, mending, words in steps:
        ip(*breaking, netns="p1")
        assert words in pods.refused("CHECK", checked)[1]
        if mending:
            ip(*mending, netns="p1")
            pods.ok("CHECK", checked)
    (STORE / "net/10.77.0.2").unlink()
    assert "no address" in pods.refused("CHECK", checked)[1]
    assert pods.refused("CHECK", conf(version="0.3.1"))[0] == 1


def test_a_bridge_deleted_under_a_pod(pods):
    configuration = conf(isGateway=True)
    checked = {**configuration, "prevResult": pods.ok("ADD", configuration)}
    ip("link", "del", "tb0")
    assert "tb0 does not exist" in pods.refused("CHECK", checked)[1]
    pods.ok("DEL", configuration)
    wait_nothing_left()
    assert pods.ok("ADD", configuration)["ips"]


@pytest.mark.parametrize("gone", ["nothing", "everything", "namespace", "netns empty", "interface", "lease", "store", "bridge", "config"])
def test_del_without_half_of_everything(pods, gone):
    configuration = conf(isGateway=True)
    more = {}
    if gone != "everything":
        pods.ok("ADD", configuration)
    if gone == "namespace":
        ip("netns", "del", "p1")
        pods.names.remove("p1")
    if gone == "netns empty":
        more["netns"] = ""
    if gone == "interface":
        ip("link", "del", "eth0", netns="p1")
    if gone == "lease":
        (STORE / "net/10.77.0.2").unlink()
    if gone == "store":
        shutil.rmtree(STORE / "net")
    if gone == "bridge":
        ip("link", "del", "tb0")
    if gone == "config":
        configuration = {**configuration, "isGateway": "yes", "ipam": {"type": "host-local"}}
    for _ in range(2):
        pods.ok("DEL", configuration, **more)
    harness.wait_for(lambda: not ports(), "the pair's end")
    wait_nothing_left()


def test_del_waits_for_nobody_and_add_takes_the_name_again(pods):
    pods.ok("ADD", conf(isGateway=True))
    # Its child hangs before it takes the pair away: this returns only if the child has no output open.
    pods.ok("DEL", conf(isGateway=True), SKIFF_FAULT="bridge.leaving=hang")
    assert len(plugin_processes()) == 1
    assert leases() == [] and len(ports()) == 1
    port = next(link for link in ip_json("link", "show", "type", "veth"))
    assert port["linkinfo"]["info_slave_data"]["state"] == "disabled"
    held = os.listdir(f"/proc/{plugin_processes()[0]}/fd")
    assert not [fd for fd in held if not os.readlink(f"/proc/{plugin_processes()[0]}/fd/{fd}").startswith("socket:")]
    assert pods.ok("ADD", conf(isGateway=True))["ips"][0]["address"] == "10.77.0.3/24"
    assert len(ports()) == 1
    os.kill(plugin_processes()[0], signal.SIGKILL)
    pods.ok("DEL", conf(isGateway=True))
    wait_nothing_left()


def test_gc_removes_what_nobody_holds(pods):
    pods.make("p3")
    v11 = {"version": "1.1.0"}
    pods.ok("ADD", conf(**v11), "p1")
    pods.ok("ADD", conf(**v11), "p2")
    pods.ok("ADD", conf(name="other", **v11, ranges=(("10.79.0.0/24",),)), "p3")
    (STORE / "net/10.77.0.200").write_text("")
    code, _ = pods.refused("GC", conf(**v11))
    assert code == 7
    pods.ok("GC", {**conf(**v11), "cni.dev/valid-attachments": [{"containerID": "id-p1", "ifname": "eth0"}]})
    harness.wait_for(lambda: len(ports()) == 2, "the pair's end")
    assert leases() == ["10.77.0.2"] and leases("other") == ["10.79.0.2"]
    assert "eth0" in ip("link", netns="p1") and "eth0" in ip("link", netns="p3") and "eth0" not in ip("link", netns="p2")
    # By its name in an older SPEC.md; and null is how libcni writes that there are none.
    pods.ok("GC", {**conf(**v11), "cni.dev/attachments": [{"containerID": "id-p1", "ifname": "eth0"}]})
    assert leases() == ["10.77.0.2"]
    pods.ok("GC", {**conf(**v11), "cni.dev/valid-attachments": None})
    harness.wait_for(lambda: len(ports()) == 1, "the pair's end")
    assert pods.refused("GC", conf())[0] == 1


def test_status(pods):
    assert pods.call("STATUS", conf(version="1.1.0")) == (0, "")
    assert pods.refused("STATUS", conf())[0] == 1
    for more in ({"externalSetMarkChain": "KUBE-MARK-MASQ"}, {"conditionsV4": ["-m", "physdev"]}):
        code, message = pods.refused("STATUS", conf(version="1.1.0", **more))
        assert code == 2 and next(iter(more)) in message
        assert pods.refused("ADD", conf(**more)) == (code, message)
    (STORE / "net").mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "ro", "store", STORE / "net"], check=True)
    try:
        code, message = pods.refused("STATUS", conf(version="1.1.0"))
        assert code == 50 and "Read-only" in message
        code, message = pods.refused("ADD", conf())
        assert code == 999 and "Read-only" in message and str(STORE / "net") in message
        assert ports() == []
    finally:
        subprocess.run(["umount", STORE / "net"], check=True)


def test_an_ipam_of_another_type_is_run_as_the_plugin_that_it_is(pods, tmp_path):
    log = tmp_path / "log"
    (tmp_path / "scripted").write_text(
        f"#!/bin/sh\nconf=$(cat)\necho $CNI_COMMAND $CNI_CONTAINERID $CNI_IFNAME >> {log}\n"
        f"test -e {tmp_path}/refuse && echo '{{\"code\":11,\"msg\":\"later\"}}' && exit 1\n"
        "case $CNI_COMMAND in ADD) echo '{\"cniVersion\":\"1.0.0\",\"ips\":[{\"address\":\"10.66.0.7/24\"}],"
        "\"routes\":[{\"dst\":\"10.0.0.0/8\"}],\"dns\":{\"domain\":\"i\"}}';; esac\nexit 0\n"
    )  # fmt: skip
    (tmp_path / "scripted").chmod(0o755)
    configuration = conf(ipam={"type": "scripted"}, isDefaultGateway=True)
    path = {"CNI_PATH": f"/nowhere:{tmp_path}"}
    result = pods.ok("ADD", configuration, **path)
    assert result["ips"] == [{"interface": 2, "address": "10.66.0.7/24", "gateway": "10.66.0.1"}]
    assert result["dns"] == {"domain": "i"} and {"dst": "0.0.0.0/0", "gw": "10.66.0.1"} in result["routes"]
    pods.ok("CHECK", {**configuration, "prevResult": result}, **path)
    pods.ok("DEL", configuration, **path)
    assert log.read_text() == "ADD id-p1 eth0\nCHECK id-p1 eth0\nDEL id-p1 eth0\n"
    # What fails behind it gives the address back.
    log.write_text("")
    assert pods.refused("ADD", configuration, **path, SKIFF_FAULT="bridge.pod.configured=fail")[0] == 999
    assert log.read_text() == "ADD id-p1 eth0\nDEL id-p1 eth0\n"
    (tmp_path / "refuse").touch()
    code, message = pods.refused("ADD", configuration, **path)
    assert code == 11 and "scripted: later" in message
    wait_nothing_left()


def fault_points():
    return sorted(set(re.findall(r'fault_point\("(bridge\.[a-z.]+)"\)', "".join(p.read_text() for p in SOURCE.glob("*.c")))))


FAULT_ADD = conf(isDefaultGateway=True, ranges=DUAL, routes=("10.0.0.0/8",))
OF_DEL = ("bridge.closed", "bridge.rules.removed", "bridge.store.released", "bridge.ipam.del", "bridge.leaving")
UNREACHED = ("bridge.rules.added", "bridge.vlan.made", "bridge.vlan.set")  # test_bridge_vlans.py has the latter two


@pytest.mark.parametrize("action", ["fail", "kill"])
@pytest.mark.parametrize("point", [point for point in fault_points() if point not in (*OF_DEL, *UNREACHED)])
def test_an_add_that_fails_or_dies_leaves_nothing_that_del_does_not_remove(pods, point, action):
    status, text = pods.call("ADD", FAULT_ADD, SKIFF_FAULT=f"{point}={action}")
    if action == "fail":
        assert status == 1 and point in json.loads(text)["msg"]
        wait_nothing_left()
    else:
        assert status == -signal.SIGKILL
        pods.ok("DEL", FAULT_ADD)
        wait_nothing_left()
    assert [link["ifname"] for link in ip_json("link", netns="p1")] == ["lo"]
    pods.ok("ADD", FAULT_ADD)


@pytest.mark.parametrize("action", ["fail", "kill"])
@pytest.mark.parametrize("point", [*OF_DEL, "bridge.store.locked"])
def test_a_del_that_fails_or_dies_is_done_by_the_next(pods, point, action):
    pods.ok("ADD", FAULT_ADD)
    status, text = pods.call("DEL", FAULT_ADD, SKIFF_FAULT=f"{point}={action}")
    assert status == (0 if point == "bridge.leaving" else 1 if action == "fail" else -signal.SIGKILL), text
    harness.wait_for(lambda: not plugin_processes(), "the child's end")
    pods.ok("DEL", FAULT_ADD)
    wait_nothing_left()
    pods.ok("ADD", FAULT_ADD)


# All that an attachment can have.
KILL_ADD = {**FAULT_ADD, "cniVersion": "1.1.0", "ipMasq": True, "hairpinMode": True, "macspoofchk": True, "runtimeConfig": {
    "portMappings": [{"hostPort": 18080, "containerPort": 80, "protocol": "tcp"}]}}  # fmt: skip
KILLED = {"ADD": KILL_ADD, "DEL": KILL_ADD, "GC": {**KILL_ADD, "cni.dev/valid-attachments": []}}


def elements():
    """Of the sets and maps in our tables: all are of attachments but the one that says what the tables are like."""
    done = subprocess.run(["nft", "-j", "list", "ruleset"], capture_output=True, text=True, check=True)
    sets = [o[kind] for o in json.loads(done.stdout)["nftables"] for kind in ("set", "map") if kind in o]
    return [(one["name"], element) for one in sets if one["table"] == "skiff-bridge" and one["name"] != "schema" for element in one.get("elem", [])]


def calls_of(pods, tmp_path, command):
    """The system calls of one command: their names, and how often each is made."""
    trace = tmp_path / "trace"
    pods.ok(command, KILLED[command], under=["strace", "-qq", "-o", str(trace)])
    names = re.findall(r"^(\w+)\(", trace.read_text(), re.M)
    return [(name, nth) for name in dict.fromkeys(names) for nth in range(1, names.count(name) + 1)]


@pytest.mark.skipif(harness.SANITIZED or not shutil.which("strace"), reason="counts system calls by strace")
@pytest.mark.parametrize("command", KILLED)
def test_a_kill_at_any_system_call_leaves_nothing_that_del_does_not_remove(pods, tmp_path, command):
    pods.ok("ADD", KILL_ADD)
    assert {name for name, _ in elements()} >= {"attachments", "masquerade4", "masquerade6", "ports4", "ports6", "senders"}
    if command == "ADD":
        pods.ok("DEL", KILL_ADD)
    killed = 0
    calls = calls_of(pods, tmp_path, command)
    for name, nth in calls:
        pods.ok("DEL", KILL_ADD)
        if command != "ADD":
            pods.ok("ADD", KILL_ADD)
        under = ["strace", "-qq", "-o", "/dev/null", "-e", f"inject={name}:signal=KILL:when={nth}"]
        status, text = pods.call(command, KILLED[command], under=under)
        assert status in (0, -signal.SIGKILL, 128 + signal.SIGKILL), (name, nth, status, text)
        killed += status != 0
        harness.wait_for(lambda: not plugin_processes(), "the end of all")
        pods.ok("DEL", KILL_ADD)
        wait_nothing_left()
        assert elements() == [], (name, nth)
        assert [link["ifname"] for link in ip_json("link", netns="p1")] == ["lo"], (name, nth)
        if command == "ADD":
            pods.ok("ADD", KILL_ADD)
    # Some are not made each time: a bridge is there already.
    assert killed > len(calls) / 2 and killed > 25


def test_many_at_once(pods):
    count = 50 if harness.SANITIZED else 200
    names = [pods.make(f"m{i}").split("/")[-1] for i in range(count)]
    running = []
    for command in ("ADD", "DEL"):
        for name in names:
            environment = {"CNI_COMMAND": command, "CNI_CONTAINERID": name, "CNI_NETNS": f"/run/netns/{name}",
                           "CNI_IFNAME": "eth0", "CNI_PATH": "/usr/lib/cni"}  # fmt: skip
            process = subprocess.Popen([BRIDGE], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment, text=True)
            process.stdin.write(json.dumps(conf(isGateway=True)))
            process.stdin.close()
            running.append(process)
        outputs = [(process.stdout.read(), process.wait()) for process in running]
        assert [status for _, status in outputs] == [0] * count, outputs
        if command == "ADD":
            given = {json.loads(text)["ips"][0]["address"] for text, _ in outputs}
            assert len(given) == count and len(leases()) == count and len(ports()) == count
        running = []
    harness.wait_for(lambda: not ports(), "the pairs' end", 30)
    wait_nothing_left()
