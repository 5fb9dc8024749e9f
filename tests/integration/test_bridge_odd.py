"""skiff-bridge where something is odd: wrong types and values, each with its code; a store that is full, read-only or has rubbish in
it, beside Debian's; a default route said twice; what runtimes hand in by CNI_ARGS and capabilities; tables of nftables that others
changed; what one call takes of memory."""

import json
import os
import pathlib
import shutil
import subprocess

import harness
import pytest
from test_bridge import BRIDGE, DEBIAN, STORE, conf, effect, ip, ip_json, leases, plain_result, pods, ports, wait_nothing_left  # noqa: F401

PORT = {"hostPort": 8080, "containerPort": 80, "protocol": "tcp"}
WRONG = [
    ({key: wrong}, key)
    for key, wrong in (
        *((key, "yes") for key in ("isGateway", "isDefaultGateway", "forceAddress", "ipMasq", "hairpinMode", "promiscMode", "macspoofchk",
                                   "enabledad", "disableContainerInterface", "portIsolation", "preserveDefaultVlan", "snat", "masqAll")),
        ("mtu", "1400"), ("mtu", -1), ("mtu", 1.5), ("mtu", 65536), ("vlan", []), ("vlanTrunk", 7), ("markMasqBit", 32), ("markMasqBit", "1"),
        ("conditionsV4", "-d 10.0.0.1"), ("conditionsV6", [7]), ("backend", 7), ("ipMasqBackend", "bpf"), ("bridge", 7), ("ipam", []),
        ("dns", []), ("runtimeConfig", []), ("prevResult", "x"),
    )
] + [
    ({"bridge": name}, "bridge") for name in ("a/b", "..", "a b", "b" * 16, "b" * 5000)
] + [
    ({"name": name}, "name") for name in ("../net", ".", "-n", "n" * 201, "a b", 7)
] + [
    ({"runtimeConfig": {"portMappings": [{**PORT, **change}]}}, key)
    for change, key in (
        ({"hostPort": 0}, "hostPort"), ({"hostPort": 65536}, "hostPort"), ({"hostPort": -1}, "hostPort"), ({"hostPort": "80"}, "hostPort"),
        ({"containerPort": 0}, "containerPort"), ({"containerPort": 65536}, "containerPort"), ({"protocol": "icmp"}, "protocol"),
        ({"protocol": 6}, "protocol"), ({"hostIP": "nowhere"}, "nowhere"), ({"hostIP": 7}, "hostIP"),
    )
] + [
    ({"runtimeConfig": {key: wrong}}, key)
    for key, wrong in (("portMappings", {}), ("mac", "no mac"), ("mac", "ff:ff:ff:ff:ff:ff"), ("mac", 7), ("ips", "10.77.0.9"), ("ipRanges", {}))
] + [
    ({"ipam": {"type": "host-local", **ipam}}, words)
    for ipam, words in (
        ({}, "no IP ranges"), ({"subnet": 7}, "subnet"), ({"subnet": "10.77.0.0/31"}, "too small"), ({"subnet": "10.77.0.1/24"}, "host bits"),
        ({"ranges": [[]]}, "ranges"), ({"ranges": [[{"subnet": "10.77.0.0/24"}, {"subnet": "10.77.0.0/25"}]]}, "overlap"),
        ({"ranges": [[{"subnet": "10.77.0.0/24"}], [{"subnet": "10.77.0.128/25"}]]}, "overlap"),
        ({"subnet": "10.77.0.0/24", "rangeStart": "10.78.0.1"}, "rangeStart"), ({"subnet": "10.77.0.0/24", "gateway": "x"}, "gateway"),
        ({"subnet": "10.77.0.0/24", "rangeStart": "10.77.0.1", "rangeEnd": "10.77.0.1"}, "no address to give"),
        ({"subnet": "10.77.0.0/24", "routes": [{"gw": "10.77.0.1"}]}, "dst"), ({"subnet": "10.77.0.0/24", "routes": {}}, "routes"),
    )
]  # fmt: skip


def test_wrong_types_and_values_are_refused_by_their_key(pods):  # noqa: F811
    for change, words in WRONG:
        code, message = pods.refused("ADD", {**conf(), **change})
        assert code == 7 and words in message, (change, code, message)
        if "prevResult" not in change and "name" not in change:
            pods.ok("DEL", {**conf(), **{key: value for key, value in change.items() if key not in ("bridge", "ipam")}})
    for version, code in (("1.2.0", 1), ("2.0.0", 1), ("1.0", 1), (1, 6), ([], 6)):
        assert pods.refused("ADD", {**conf(), "cniVersion": version})[0] == code, version
    wait_nothing_left()
    assert not [link for link in ip_json("link", "show", "type", "bridge")], "nothing was begun"


def test_a_full_disk_gives_nothing_and_leaves_nothing(pods):  # noqa: F811
    (STORE / "net").mkdir(parents=True)
    # The directory itself, the lock, a lease, last_reserved_ip.0: no room for an index, which is only a help.
    subprocess.run(["mount", "-t", "tmpfs", "-o", "nr_inodes=4", "store", STORE / "net"], check=True)
    try:
        pods.ok("ADD", conf(), "p1")
        code, message = pods.refused("ADD", conf(), "p2")
        assert code == 999 and "No space left" in message and str(STORE / "net") in message
        assert len(ports()) == 1 and leases() == ["10.77.0.2"]
        assert [link["ifname"] for link in ip_json("link", netns="p2")] == ["lo"]
        pods.ok("DEL", conf(), "p1")
        wait_nothing_left()
    finally:
        subprocess.run(["umount", STORE / "net"], check=True)


RUBBISH = {
    "no last address": {"last_reserved_ip.0": "rubbish\n"},
    "an empty one": {"last_reserved_ip.0": ""},
    "one of another range": {"last_reserved_ip.0": "192.0.2.1"},
    "an empty lease": {"10.77.0.2": ""},
    "a lease of an id alone": {"10.77.0.2": "somebody"},
    "a lease in other words": {"10.77.0.2": "  somebody \r\n eth7 \n"},
    "a file that is no lease": {"README": "id-p1\r\neth0", "10.77.0.999": "x"},
    "binary": {"10.77.0.2": "\x01\x02\x00\x7f", "10.77.0.3": "x" * 5000},
}


@pytest.mark.parametrize("case", RUBBISH)
def test_rubbish_in_the_store_is_what_it_is_to_debian(pods, case):  # noqa: F811
    answers, left = [], []
    for program in (DEBIAN / "bridge", BRIDGE):
        shutil.rmtree(STORE / "net", ignore_errors=True)
        (STORE / "net").mkdir(parents=True)
        for name, text in RUBBISH[case].items():
            (STORE / "net" / name).write_text(text)
        answers.append(plain_result(pods.ok("ADD", conf(), program=program))["ips"])
        pods.ok("DEL", conf(), program=program)
        harness.wait_for(lambda: not ports(), "the pair's end")
        left.append(leases())
    assert answers[0] == answers[1]
    if "README" in RUBBISH[case]:  # which says that it is ours: host-local takes any file for a lease, we only an address
        left = [[name for name in one if name != "README"] for one in left]
    assert left[0] == left[1]


def test_directories_and_links_in_the_store_are_no_leases(pods, tmp_path):  # noqa: F811
    secret = tmp_path / "secret"
    secret.write_text("id-p1\r\neth0")
    (STORE / "net/10.77.0.2").mkdir(parents=True)
    (STORE / "net/10.77.0.3").symlink_to(secret)
    assert pods.ok("ADD", conf())["ips"][0]["address"] == "10.77.0.4/24"
    pods.ok("DEL", conf())
    assert secret.exists() and (STORE / "net/10.77.0.2").is_dir() and (STORE / "net/10.77.0.3").is_symlink()


def default_route(gateway=None, **more):
    route = {"dst": "0.0.0.0/0", **({"gw": gateway} if gateway else {})}
    return conf(isDefaultGateway=True, ipam={"type": "host-local", "subnet": "10.77.0.0/24", "routes": [route]}, **more)


def test_a_default_route_said_twice_is_one(pods):  # noqa: F811
    """Debian's bridge adds a second one to a route without gateway, and fails."""
    assert "file exists" in pods.call("ADD", default_route(), program=DEBIAN / "bridge")[1]
    ip("link", "del", "eth0", netns="p1")
    shutil.rmtree(STORE / "net")
    result = pods.ok("ADD", default_route())
    assert result["routes"] == [{"dst": "0.0.0.0/0"}]
    assert [(r["dst"], r.get("gateway")) for r in ip_json("route", netns="p1")] == [("default", "10.77.0.1"), ("10.77.0.0/24", None)]
    pods.ok("CHECK", {**default_route(), "prevResult": result})
    pods.ok("DEL", default_route())
    wait_nothing_left()


def test_a_default_route_by_another_gateway_stays(pods):  # noqa: F811
    theirs = plain_result(pods.ok("ADD", default_route("10.77.0.200"), "p1", program=DEBIAN / "bridge"))
    their_routes = ip_json("route", netns="p1")
    pods.ok("DEL", default_route("10.77.0.200"), "p1", program=DEBIAN / "bridge")
    shutil.rmtree(STORE / "net")
    assert plain_result(pods.ok("ADD", default_route("10.77.0.200"), "p2")) == theirs
    assert [(r["dst"], r.get("gateway")) for r in ip_json("route", netns="p2")] == [(r["dst"], r.get("gateway")) for r in their_routes]


def test_dns_is_the_networks_or_that_of_a_file(pods, tmp_path):  # noqa: F811
    file = tmp_path / "resolv.conf"
    file.write_text("# here\n\nnameserver 10.0.0.1\nnameserver\tfd00::1\nsearch a.example b.example\noptions ndots:2  edns0\n; end\ndomain c.example\n")
    ipam = {"type": "host-local", "subnet": "10.77.0.0/24", "resolvConf": str(file)}
    of_file = {"nameservers": ["10.0.0.1", "fd00::1"], "search": ["a.example", "b.example"], "options": ["ndots:2", "edns0"], "domain": "c.example"}
    assert pods.ok("ADD", conf(ipam=ipam), "p1")["dns"] == of_file
    theirs = json.loads(pods.call("ADD", conf(ipam=ipam), "p2", container="theirs", program=DEBIAN / "host-local")[1])
    assert {key: value for key, value in theirs["dns"].items() if value} == of_file
    pods.ok("DEL", conf(ipam=ipam), "p2", container="theirs", program=DEBIAN / "host-local")
    own = {"nameservers": ["10.0.0.53"], "domain": "own.example"}
    assert pods.ok("ADD", conf(ipam=ipam, dns=own), "p2")["dns"] == own
    pods.ok("DEL", conf(ipam=ipam), "p1")
    pods.ok("DEL", conf(ipam=ipam), "p2")
    file.unlink()
    code, message = pods.refused("ADD", conf(ipam=ipam))
    assert code == 999 and str(file) in message
    wait_nothing_left()


ARGS = {
    "address": ({}, "IgnoreUnknown=1;IP=10.77.0.9"),
    "mac": ({}, "IgnoreUnknown=1;MAC=02:00:00:00:77:05"),
    "both, among a runtime's": ({}, "K8S_POD_NAME=a;IgnoreUnknown=1;MAC=02:00:00:00:77:05;K8S_POD_UID=x;IP=10.77.0.9"),
    "the capability's mac goes before": ({"runtimeConfig": {"mac": "02:00:00:00:77:06"}}, "IgnoreUnknown=1;MAC=02:00:00:00:77:05"),
    "args' mac goes before": ({"args": {"cni": {"mac": "02:00:00:00:77:07"}}}, "IgnoreUnknown=1;MAC=02:00:00:00:77:05"),
    "aliases": ({"runtimeConfig": {"aliases": {"net": ["a", "b"]}}, "capabilities": {"aliases": True}}, ""),
    "ips of two families": ({"ranges": (("10.77.0.0/24",), ("fd77::/64",)), "runtimeConfig": {"ips": ["fd77::9/64", "10.77.0.9"]}}, ""),
    "ranges before the configuration's": ({"runtimeConfig": {"ipRanges": [[{"subnet": "10.99.0.0/24"}]]}}, ""),
    "in any case of letters": ({"runtimeConfig": {"IPs": ["10.77.0.9"], "MAC": "02:00:00:00:77:08"}}, ""),
}  # fmt: skip


@pytest.mark.parametrize("case", ARGS)
def test_what_a_runtime_asks_for_is_had_as_from_debian(pods, case):  # noqa: F811
    more, args = ARGS[case]
    environment = {"CNI_ARGS": args} if args else {}
    theirs = plain_result(pods.ok("ADD", conf(**more), "p1", program=DEBIAN / "bridge", **environment))
    their_effect = effect("p1", "tb0")
    mac = ip_json("link", "show", "dev", "eth0", netns="p1")[0]["address"]
    pods.ok("DEL", conf(**more), "p1", program=DEBIAN / "bridge", **environment)
    ip("link", "del", "tb0")
    shutil.rmtree(STORE / "net")
    assert plain_result(pods.ok("ADD", conf(**more), "p2", **environment)) == theirs
    ours = effect("p2", "tb0")
    for found in (ours, their_effect):
        found["sysctl"].pop("ipv4/conf/eth0/arp_notify")
    assert ours == their_effect
    if mac.startswith("02:00:00:00:77"):
        assert ip_json("link", "show", "dev", "eth0", netns="p2")[0]["address"] == mac
    pods.ok("DEL", conf(**more), "p2", **environment)
    wait_nothing_left()


MAPPED = conf(isGateway=True, ipMasq=True, version="1.1.0", runtimeConfig={"portMappings": [PORT]})


def test_check_misses_a_chain_and_the_next_add_makes_it_again(pods):  # noqa: F811
    result = pods.ok("ADD", MAPPED)
    checked = {**MAPPED, "prevResult": result}
    pods.ok("CHECK", checked)
    subprocess.run(["nft", "flush", "chain", "inet", "skiff-bridge", "prerouting"], check=True)
    code, message = pods.refused("CHECK", checked)
    assert code == 999 and "prerouting" in message
    subprocess.run(["nft", "delete", "table", "inet", "skiff-bridge"], check=True)
    assert pods.refused("CHECK", checked)[0] == 999
    pods.ok("DEL", MAPPED)
    pods.ok("CHECK", {**MAPPED, "prevResult": pods.ok("ADD", MAPPED, "p2")}, "p2")
    pods.ok("DEL", MAPPED, "p2")


def test_a_table_of_a_newer_plugin_is_refused_in_words(pods):  # noqa: F811
    pods.ok("ADD", MAPPED)
    subprocess.run(["nft", "add", "element", "inet", "skiff-bridge", "schema", "{ 2 }"], check=True)
    for command, expected in (("ADD", 999), ("STATUS", 50), ("DEL", 999)):
        code, message = pods.refused(command, MAPPED, "p2" if command == "ADD" else "p1")
        assert code == expected and "newer skiff-bridge (schema 2" in message, (command, code, message)
    assert [link["ifname"] for link in ip_json("link", netns="p2")] == ["lo"]
    subprocess.run(["nft", "delete", "element", "inet", "skiff-bridge", "schema", "{ 2 }"], check=True)
    pods.ok("DEL", MAPPED)
    wait_nothing_left()


@pytest.mark.skipif(b"/ld-" in BRIDGE.read_bytes(), reason="this build's plugin is linked with glibc")
def test_a_call_is_small(pods):  # noqa: F811
    """Its peak, at the end of an ADD with all that it can make; in a DEL's child too."""
    configuration = conf(isDefaultGateway=True, ipMasq=True, ranges=(("10.77.0.0/24",), ("fd77::/64",)), routes=(), version="1.1.0",
                         runtimeConfig={"portMappings": [{**PORT, "hostPort": port} for port in range(8000, 8020)]})  # fmt: skip
    environment = {"CNI_COMMAND": "ADD", "CNI_CONTAINERID": "id-p1", "CNI_NETNS": "/run/netns/p1", "CNI_IFNAME": "eth0",
                   "CNI_PATH": str(DEBIAN), "SKIFF_FAULT": "bridge.added=hang"}  # fmt: skip
    process = subprocess.Popen([BRIDGE], stdin=subprocess.PIPE, env=environment)
    process.stdin.write(json.dumps(configuration).encode())
    process.stdin.close()
    status = pathlib.Path(f"/proc/{process.pid}/status")
    try:
        harness.wait_for(lambda: any(link.get("operstate") == "UP" for link in ip_json("link", netns="p1")), "the pod's interface")
        harness.wait_for(lambda: os.readlink(f"/proc/{process.pid}/ns/net") == os.readlink("/proc/self/ns/net"), "its coming back")
        peak_kib = int(next(line for line in status.read_text().splitlines() if line.startswith("VmHWM")).split()[1])
    finally:
        process.kill()
        process.wait()
    assert peak_kib < 1536, peak_kib
    pods.ok("DEL", configuration)
    wait_nothing_left()


CONDITIONS = {
    "none": [],
    "source": ["-s", "10.77.0.0/28"],
    "not that source": ["!", "-s", "10.77.0.3/32"],
    "destination": ["-d", "10.77.0.1"],
    "another destination": ["--destination", "192.0.2.0/255.255.255.0"],
    "interface": ["-i", "tb0"],
    "interfaces": ["!", "--in-interface", "tb+"],
    "two": ["-s", "10.77.0.0/24", "-i", "tb0"],
}


def reached_by():
    """Who reaches the port: the node by its two addresses, and the other pod by both."""
    found = {}
    for client in (None, "p2"):
        for address in ("10.77.0.1", "192.0.2.1"):
            code = f"import socket;s=socket.create_connection(('{address}',8080),timeout=2);print(s.recv(99).decode())"
            enter = ["ip", "netns", "exec", client] if client else []
            done = subprocess.run([*enter, "/usr/bin/python3", "-c", code], capture_output=True, text=True, check=False)
            found[client, address] = done.stdout.strip()
    return found


@pytest.mark.skipif(not shutil.which("iptables"), reason="Debian's portmap needs iptables")
@pytest.mark.parametrize("case", CONDITIONS)
def test_conditions_select_whom_debians_portmap_selects(pods, case):  # noqa: F811
    configuration = conf(isGateway=True, hairpinMode=True)
    mapped = {**configuration, "runtimeConfig": {"portMappings": [PORT]}, "conditionsV4": CONDITIONS[case]}
    ip("link", "add", "node0", "type", "bridge")
    ip("addr", "add", "192.0.2.1/24", "dev", "node0")
    ip("link", "set", "node0", "up")
    code = ("import socket;s=socket.create_server(('',80));print(1,flush=True)\nwhile 1:\n c,a=s.accept();c.send(a[0].encode());c.close()")
    server = subprocess.Popen(["ip", "netns", "exec", "p1", "/usr/bin/python3", "-c", code], stdout=subprocess.PIPE)
    try:
        server.stdout.readline()
        result = pods.ok("ADD", configuration, "p1", program=DEBIAN / "bridge")
        pods.ok("ADD", configuration, "p2", program=DEBIAN / "bridge")
        chained = {**mapped, "prevResult": result}
        pods.ok("ADD", chained, "p1", program=DEBIAN / "portmap")
        theirs = reached_by()
        pods.ok("DEL", chained, "p1", program=DEBIAN / "portmap")
        for pod in ("p1", "p2"):
            pods.ok("DEL", configuration, pod, program=DEBIAN / "bridge")
        ip("link", "del", "tb0")
        shutil.rmtree(STORE / "net")
        pods.ok("ADD", mapped, "p1")
        pods.ok("ADD", configuration, "p2")
        assert reached_by() == theirs and any(theirs.values())
        for pod in ("p1", "p2"):
            pods.ok("DEL", mapped, pod)
        wait_nothing_left()
    finally:
        server.kill()
        server.wait()
        ip("link", "del", "node0")
