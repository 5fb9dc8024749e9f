"""skiff-bridge held against Debian's bridge, host-local and portmap: each configuration of a table is run through both, each time in
namespaces as new, and what comes of it is compared: the result field by field; addresses, routes and permanent neighbours;
sysctls; the flags of the bridge and of its port; and who reaches whom, as seen by whom: pod to pod, host to pod, a port of
the node from outside, from the node by its address and by its loopback, from another pod and from the pod itself, and the
source that is seen outside. Where they differ DIFFERENCES says how and why, and it must be so."""

import concurrent.futures
import contextlib
import copy
import ctypes
import os
import pathlib
import select
import shutil
import socket
import subprocess
import threading

import harness
import pytest

from test_bridge import DEBIAN, DUAL, SAME, STORE, conf, effect, ip, ip_json, plain_result, pods, wait_nothing_left

__all__ = ["pods"]  # a fixture

LIBC = ctypes.CDLL(None, use_errno=True)
CLONE_NEWNET = 0x40000000
V6 = (("fd77::/64",),)
PORT, MAPPED = 8080, 80
OUTSIDE_PORT = 7000
# The node's address towards the outside, and the outside's own.
NODE = {4: "192.0.2.1", 6: "2001:db8::1"}
OUTSIDE = {4: "192.0.2.2", 6: "2001:db8::2"}
LOOPBACK = {4: "127.0.0.1", 6: "::1"}
GONE = 0.5 * harness.SLOW  # seconds after which nobody answers


def ports(*mappings):
    """runtimeConfig of port mappings: (host port, container port, protocol) and more keys."""
    made = [{"hostPort": host, "containerPort": inside, "protocol": protocol, **more} for host, inside, protocol, more in mappings]
    return {"runtimeConfig": {"portMappings": made}}


ONE = ports((PORT, MAPPED, "tcp", {}))
GATE = {"isGateway": True}
DEFAULT6 = {"ranges": V6, "routes": ("::/0",)}
DEFAULT_DUAL = {"ranges": DUAL, "routes": ("0.0.0.0/0", "::/0")}
CASES = {
    **SAME,
    "masquerade": {**GATE, "ipMasq": True},
    "masquerade without a gateway": {"ipMasq": True},
    "masquerade, IPv6": {**GATE, "ipMasq": True, **DEFAULT6},
    "masquerade, two families": {**GATE, "ipMasq": True, **DEFAULT_DUAL},
    "no masquerade": {**GATE},
    "IPv6": {**GATE, **DEFAULT6},
    "IPv6 default gateway": {"isDefaultGateway": True, "ranges": V6, "routes": ()},
    "port": {**GATE, "ipMasq": True, **ONE},
    "port without masquerade": {**GATE, **ONE},
    "port, IPv6": {**GATE, "ipMasq": True, **DEFAULT6, **ONE},
    "port, two families": {**GATE, "ipMasq": True, **DEFAULT_DUAL, **ONE},
    "port and hairpin": {**GATE, "ipMasq": True, "hairpinMode": True, **ONE},
    "port and hairpin, two families": {**GATE, "ipMasq": True, "hairpinMode": True, **DEFAULT_DUAL, **ONE},
    "port of UDP": {**GATE, "ipMasq": True, **ports((PORT, MAPPED, "udp", {}))},
    "two ports": {**GATE, "ipMasq": True, **ports((PORT, MAPPED, "tcp", {}), (PORT, MAPPED, "udp", {}))},
    "protocol in capitals": {**GATE, "ipMasq": True, **ports((PORT, MAPPED, "TCP", {}))},
    "port of one address": {**GATE, "ipMasq": True, **ports((PORT, MAPPED, "tcp", {"hostIP": NODE[4]}))},
    "port of the loopback": {**GATE, "ipMasq": True, **ports((PORT, MAPPED, "tcp", {"hostIP": "127.0.0.1"}))},
    "port of all IPv4": {**GATE, "ipMasq": True, **DEFAULT_DUAL, **ports((PORT, MAPPED, "tcp", {"hostIP": "0.0.0.0"}))},
    "port of an IPv6 address": {**GATE, "ipMasq": True, **DEFAULT_DUAL, **ports((PORT, MAPPED, "tcp", {"hostIP": NODE[6]}))},
    "port of IPv6 in a pod without": {**GATE, "ipMasq": True, **ports((PORT, MAPPED, "tcp", {"hostIP": NODE[6]}))},
    "snat off": {**GATE, "ipMasq": True, "snat": False, **ONE},
    "snat off and hairpin": {**GATE, "ipMasq": True, "hairpinMode": True, "snat": False, **ONE},
    "another mark": {**GATE, "ipMasq": True, "hairpinMode": True, "markMasqBit": 20, **ONE},
    "masqAll": {**GATE, "ipMasq": True, "masqAll": True, **ONE},
    "port as containerd sends it": {**GATE, "ipMasq": True, "capabilities": {"portMappings": True}, "runtimeConfig": {
        "portMappings": [{"HostPort": PORT, "ContainerPort": MAPPED, "Protocol": "tcp", "HostIP": ""}]}},
    **{f"version {v}": {**GATE, "version": v, "ranges": DUAL, "routes": ("0.0.0.0/0", "::/0")} for v in ("0.1.0", "0.2.0")},
    **{f"version {v}": {**GATE, "ipMasq": True, "version": v, **DEFAULT_DUAL, **ONE} for v in ("0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0")},
}  # fmt: skip

ARP_NOTIFY = "sysctl.ipv4/conf/eth0/arp_notify"
ROUTE_LOCALNET = "node sysctl.ipv4/conf/tb0/route_localnet"
MASQ_ALL = "1.1.1 reads the key and does nothing; 1.9 does what it says"
# Not in the table, for it is over when the comparison begins: Debian's leaves the bridge's IPv6 address to duplicate detection,
# so that for a second or two nothing of that family leaves the node or reaches a pod; with ours both are there at once.

# (case or "" for all, what is compared): (Debian's, ours, why). "*" for a value: any.
DIFFERENCES = {
    ("version 1.1.0", "result.cniVersion"): ("1.0.0", "1.1.0", "Debian's knows no 1.1.0 and was asked for 1.0.0"),
    ("", ARP_NOTIFY): ("*", "1", "1.1.1 sends its gratuitous ARP itself and leaves the sysctl; later versions set it"),
    ("layer 2", ARP_NOTIFY): ("0", "0", "nobody has an address to make known"),
    **{(case, ROUTE_LOCALNET): ("1", "0", "the bridge lets addresses of the loopback in only where a port is asked for by them")
       for case in ("port of one address", "port of an IPv6 address", "port of IPv6 in a pod without")},
    ("masqAll", "reach.IPv4 tcp port from outside"): ("outside", "the gateway", MASQ_ALL),
    ("masqAll", "reach.IPv4 tcp port from the node"): ("the node", "the gateway", MASQ_ALL),
}  # fmt: skip


# --- namespaces, by threads that enter them: a socket stays where it was made ---


def inside(name, work):
    """What work() gives in the namespace; None is here."""
    given = []

    def run():
        if name:
            fd = os.open(f"/run/netns/{name}", os.O_RDONLY | os.O_CLOEXEC)
            if LIBC.setns(fd, CLONE_NEWNET):
                raise OSError(ctypes.get_errno(), "setns")
            os.close(fd)
        given.append(work())

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    return given[0]


class Teller:
    """Answers on a port of a namespace, TCP and UDP, with the address that it sees."""

    def __init__(self, name, port):
        def open_both():
            tcp = socket.create_server(("::", port), family=socket.AF_INET6, dualstack_ipv6=True, backlog=64)
            udp = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
            udp.bind(("::", port))
            return tcp, udp

        self.tcp, self.udp = inside(name, open_both)
        self.wake = os.eventfd(0, os.EFD_CLOEXEC)
        self.thread = threading.Thread(target=self.serve, daemon=True)
        self.thread.start()

    def serve(self):
        while True:
            ready = select.select([self.wake, self.tcp, self.udp], [], [])[0]
            if self.wake in ready:
                return
            if self.tcp in ready:
                connection, address = self.tcp.accept()
                with connection, contextlib.suppress(OSError):
                    connection.sendall(self.seen(address))
            if self.udp in ready:
                with contextlib.suppress(OSError):  # an ICMP error of an answer before
                    _, address = self.udp.recvfrom(16)
                    self.udp.sendto(self.seen(address), address)

    @staticmethod
    def seen(address):
        return address[0].removeprefix("::ffff:").encode()

    def close(self):
        os.eventfd_write(self.wake, 1)
        self.thread.join()
        for fd in (self.tcp, self.udp):
            fd.close()
        os.close(self.wake)


def ask(name, address, port, kind=socket.SOCK_STREAM):
    """What a teller there sees, asked from a namespace; None: nobody answers."""

    def work():
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        with socket.socket(family, kind | socket.SOCK_CLOEXEC) as s:
            s.settimeout(GONE)
            try:
                s.connect((address, port))
                if kind == socket.SOCK_DGRAM:
                    s.send(b"?")
                return s.recv(64).decode() or None
            except OSError:
                return None

    return inside(name, work)


# --- what is seen ---


def outside_make(pods):
    """A namespace beyond the node that knows no way to pods."""
    pods.make("outside")
    ip("link", "add", "out0", "type", "veth", "peer", "name", "in0", "netns", "outside")
    for name, link, netns, addresses in (("host", "out0", None, NODE), ("outside", "in0", "outside", OUTSIDE)):
        ip("addr", "add", f"{addresses[4]}/24", "dev", link, netns=netns)
        ip("addr", "add", f"{addresses[6]}/64", "dev", link, "nodad", netns=netns)
        ip("link", "set", link, "up", netns=netns)


def addresses_of(pod):
    links = [link for link in ip_json("addr", netns=pod) if link["ifname"] == "eth0"]
    return {6 if ":" in a["local"] else 4: a["local"] for link in links for a in link["addr_info"] if a["scope"] == "global"}


def reach(first, second):
    """Who reaches whom, and is seen as whom."""
    addresses, others = addresses_of("p1"), addresses_of("p2")
    known = {**{a: "the pod" for a in addresses.values()}, **{a: "another pod" for a in others.values()}}
    known.update({a: "the node" for a in NODE.values()}, **{a: "outside" for a in OUTSIDE.values()})
    known.update({a: "its loopback" for a in LOOPBACK.values()}, **{a["local"]: "the gateway" for link in ip_json("addr", "show", "dev", "tb0") for a in link["addr_info"] if a["scope"] == "global"})
    found = {}
    for family, address in addresses.items():
        tries = {
            "pod from another pod": ("p2", address, MAPPED), "pod from the node": (None, address, MAPPED),
            "outside from the pod": ("p1", OUTSIDE[family], OUTSIDE_PORT),
        }  # fmt: skip
        for kind in ("tcp", "udp"):
            for whence, what in (("the node", None), ("outside", "outside"), ("another pod", "p2"), ("the pod itself", "p1")):
                tries[f"{kind} port from {whence}"] = (what, NODE[family], PORT)
            tries[f"{kind} port from the loopback"] = (None, LOOPBACK[family], PORT)
        for what, (netns, to, port) in tries.items():
            kind = socket.SOCK_DGRAM if what.startswith("udp") else socket.SOCK_STREAM
            found[f"IPv{family} {what}"] = netns, to, port, kind
    with concurrent.futures.ThreadPoolExecutor(len(found) or 1) as threads:
        asked = {what: threads.submit(ask, *how) for what, how in found.items()}
    return {what: known.get(answer.result(), answer.result()) or "nobody answers" for what, answer in asked.items()}


FLAGS = ("state", "hairpin", "guard", "root_block", "fastleave", "learning", "flood", "mcast_flood", "bcast_flood", "proxy_arp", "isolated", "vlan_tunnel", "neigh_suppress")  # fmt: skip


def port_of_pod():
    return next(link for link in ip_json("link", "show", "type", "veth") if link.get("master") == "tb0")


def is_forwarding():
    """The kernel takes a link's carrier to its bridge a moment after it is there."""
    return port_of_pod()["linkinfo"]["info_slave_data"]["state"] == "forwarding"


def more_effect():
    harness.wait_for(is_forwarding, "a port that forwards")
    port = port_of_pod()
    flags = port["linkinfo"]["info_slave_data"]
    bridge = ip_json("link", "show", "dev", "tb0")[0]["linkinfo"]["info_data"]
    neighbours = [n for n in ip_json("neigh", netns="p1") if "PERMANENT" in n.get("state", [])]
    sysctls = ["ipv4/ip_forward", "ipv6/conf/all/forwarding", "ipv4/conf/tb0/route_localnet", "ipv4/conf/tb0/rp_filter"]
    return {
        "port flags": {flag: flags.get(flag) for flag in FLAGS},
        "bridge": {key: bridge.get(key) for key in ("stp_state", "vlan_filtering", "ageing_time", "mcast_snooping")},
        "permanent neighbours": sorted(n["dst"] for n in neighbours),
        "node sysctl": {key: pathlib.Path(f"/proc/sys/net/{key}").read_text().strip() for key in sysctls},
    }


def reset():
    """As before any plugin ran."""
    for link in ip_json("link", "show", "type", "bridge"):
        ip("link", "del", link["ifname"])
    subprocess.run(["nft", "flush", "ruleset"], check=True)
    for key in ("ipv4/ip_forward", "ipv6/conf/all/forwarding"):
        pathlib.Path(f"/proc/sys/net/{key}").write_text("0")
    for path in STORE.glob("*"):
        shutil.rmtree(path)


def debians(pods, command, configuration, pod, result=None):
    """The chain: bridge, and portmap where there are ports."""
    configuration = copy.deepcopy(configuration)
    of_portmap = ("snat", "markMasqBit", "masqAll", "capabilities")
    mapping = {k: configuration.pop(k) for k in of_portmap if k in configuration}
    version = configuration["cniVersion"] = "1.0.0" if configuration["cniVersion"] == "1.1.0" else configuration["cniVersion"]
    portmap = {"cniVersion": version, "name": "net", "type": "portmap", **mapping, "runtimeConfig": configuration.get("runtimeConfig")}
    has_ports = "portMappings" in configuration.get("runtimeConfig", {})
    if command == "ADD":
        result = pods.ok("ADD", configuration, pod, program=DEBIAN / "bridge")
        return pods.ok("ADD", {**portmap, "prevResult": result}, pod, program=DEBIAN / "portmap") if has_ports else result
    if has_ports:
        pods.ok("DEL", {**portmap, "prevResult": result}, pod, program=DEBIAN / "portmap")
    pods.ok("DEL", configuration, pod, program=DEBIAN / "bridge")
    return None


def ours(pods, command, configuration, pod, result=None):
    given = configuration if result is None else {**configuration, "prevResult": result}
    return pods.ok(command, given, pod)


def without_ports(configuration):
    """Of a neighbour, which has an address of its own."""
    plain = copy.deepcopy(configuration)
    plain.get("runtimeConfig", {}).pop("portMappings", None)
    for where, key in ((plain.get("runtimeConfig", {}), "ips"), (plain.get("args", {}).get("cni", {}), "ips"),
                       (plain.get("runtimeConfig", {}), "mac"), (plain.get("args", {}).get("cni", {}), "mac")):  # fmt: skip
        where.pop(key, None)
    return plain


def settled():
    """No address but the links' own is under duplicate detection any more."""
    links = [link for netns in (None, "p1", "p2") for link in ip_json("addr", netns=netns)]
    return not [a for link in links for a in link.get("addr_info", []) if a.get("tentative") and a["scope"] == "global"]


def observe(pods, call, configuration, with_reach):
    reset()
    result = call(pods, "ADD", configuration, "p1")
    seen = {"result": plain_result(copy.deepcopy(result)), **effect("p1", "tb0"), **more_effect()}
    if with_reach:
        neighbour = without_ports(configuration)
        other = call(pods, "ADD", neighbour, "p2")
        harness.wait_for(settled, "the end of duplicate detection")
        tellers = [Teller("p1", MAPPED), Teller("outside", OUTSIDE_PORT)]
        try:
            seen["reach"] = reach(result, other)
        finally:
            for teller in tellers:
                teller.close()
        call(pods, "DEL", neighbour, "p2", other)
    call(pods, "DEL", configuration, "p1", result)
    return seen


def flat(value, path=""):
    """{"a": {"b": 1}} as {"a.b": 1}; lists are values."""
    if not isinstance(value, dict):
        return {path: value}
    return {name: v for key, inner in value.items() for name, v in flat(inner, f"{path}.{key}" if path else str(key)).items()}


def matches(wanted, value):
    return wanted in ("*", value)


@pytest.mark.skipif(not shutil.which("iptables"), reason="portmap wants iptables")
@pytest.mark.parametrize("case", CASES)
def test_it_is_as_with_debians_plugins(pods, case):
    configuration = conf(**CASES[case])
    has_addresses = bool(configuration.get("ipam")) and "isolated" not in case
    with_reach = has_addresses and (case not in SAME or case in ("plain", "gateway", "two families", "routes of both"))
    if with_reach:
        outside_make(pods)
    theirs = flat(observe(pods, debians, configuration, with_reach))
    mine = flat(observe(pods, ours, configuration, with_reach))
    wait_nothing_left_but_outside()
    left = {}
    for key in sorted({*theirs, *mine}):
        pair = theirs.get(key), mine.get(key)
        listed = DIFFERENCES.get((case, key), DIFFERENCES.get(("", key)))
        if listed and matches(listed[0], pair[0]) and matches(listed[1], pair[1]):
            continue
        if listed or pair[0] != pair[1]:
            left[key] = f"Debian's {pair[0]!r}, ours {pair[1]!r}" + (f", listed {listed[:2]}" if listed else "")
    assert not left, "".join(f"\n{key}: {what}" for key, what in left.items())


def wait_nothing_left_but_outside():
    ip("link", "del", "out0", check=False)
    wait_nothing_left()


def test_the_table_is_whole():
    """Of at least thirty configurations, and no difference is listed for one that is not there."""
    assert len(CASES) >= 30
    assert {case for case, _ in DIFFERENCES} <= {"", *CASES}
