"""skiff-bridge beside others that write rules: what they flush, restore and reload leaves its tables and theirs unharmed, as kube-proxy
and firewalld do it; where all tables are flushed CHECK tells, and the next ADD makes them anew."""

import pathlib
import shutil
import subprocess

import pytest

from test_bridge import conf, elements, pods
from test_bridge_yardstick import MAPPED, NODE, ONE, OUTSIDE, OUTSIDE_PORT, PORT, Teller, ask, outside_make

__all__ = ["pods"]  # a fixture
FULL = conf(version="1.1.0", isGateway=True, ipMasq=True, hairpinMode=True, **ONE)
SERVICE = "10.96.0.10"
# As kube-proxy has them, in its iptables mode and in its other one: a Service of pod 10.77.0.2.
IPTABLES = f"""*nat
:KUBE-SERVICES - [0:0]
:KUBE-SVC-TEST - [0:0]
:KUBE-SEP-TEST - [0:0]
:KUBE-MARK-MASQ - [0:0]
:KUBE-POSTROUTING - [0:0]
-F KUBE-SERVICES
-A KUBE-SERVICES -d {SERVICE}/32 -p tcp -m tcp --dport 80 -j KUBE-SVC-TEST
-A KUBE-SVC-TEST -j KUBE-SEP-TEST
-A KUBE-SEP-TEST -s 10.77.0.2/32 -j KUBE-MARK-MASQ
-A KUBE-SEP-TEST -p tcp -m tcp -j DNAT --to-destination 10.77.0.2:80
-A KUBE-MARK-MASQ -j MARK --or-mark 0x4000
-A KUBE-POSTROUTING -m mark ! --mark 0x4000/0x4000 -j RETURN
-A KUBE-POSTROUTING -j MARK --xor-mark 0x4000
-A KUBE-POSTROUTING -j MASQUERADE
COMMIT
"""
NFTABLES = f"""
add table ip kube-proxy
delete table ip kube-proxy
table ip kube-proxy {{
        chain mark-for-masquerade {{
                mark set mark or 0x4000
        }}
        chain service-test {{
                ip saddr 10.77.0.2 jump mark-for-masquerade
                ip protocol tcp dnat to 10.77.0.2:80
        }}
        map service-ips {{
                type ipv4_addr . inet_proto . inet_service : verdict
                elements = {{ {SERVICE} . tcp . 80 : goto service-test }}
        }}
        chain nat-prerouting {{
                type nat hook prerouting priority dstnat;
                ip daddr . meta l4proto . th dport vmap @service-ips
        }}
        chain nat-output {{
                type nat hook output priority -100;
                ip daddr . meta l4proto . th dport vmap @service-ips
        }}
        chain nat-postrouting {{
                type nat hook postrouting priority srcnat;
                mark and 0x4000 != 0 mark set mark xor 0x4000 masquerade
        }}
}}
"""
FIREWALLD = """
add table inet firewalld
delete table inet firewalld
table inet firewalld {
        chain filter_FORWARD {
                type filter hook forward priority filter + 10; policy accept;
                ct state established,related accept
                ct status dnat accept
                iifname "tb0" accept
                oifname "tb0" accept
                reject with icmpx admin-prohibited
        }
        chain nat_POSTROUTING {
                type nat hook postrouting priority srcnat + 10;
        }
}
"""


def run(*command, text=None):
    done = subprocess.run(command, input=text, text=True, check=False, capture_output=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def attached(pods):
    """Pods p1, which has the port and answers, and p2; an outside."""
    run("nft", "flush", "ruleset")
    outside_make(pods)
    run("ip", "route", "add", "default", "via", OUTSIDE[4])
    results = {name: pods.ok("ADD", FULL if name == "p1" else conf(version="1.1.0", isGateway=True, ipMasq=True), name) for name in ("p1", "p2")}
    tellers = [Teller("p1", MAPPED), Teller("outside", OUTSIDE_PORT)]
    yield pods, {**FULL, "prevResult": results["p1"]}
    for teller in tellers:
        teller.close()
    run("nft", "flush", "ruleset")


def assert_all_works():
    assert ask("outside", NODE[4], PORT) == OUTSIDE[4]
    assert ask(None, NODE[4], PORT) == NODE[4]
    assert ask(None, "127.0.0.1", PORT) == "10.77.0.1"
    assert ask("p2", NODE[4], PORT) == "10.77.0.1"
    assert ask("p1", NODE[4], PORT) == "10.77.0.1"
    assert ask("p2", OUTSIDE[4], OUTSIDE_PORT) == NODE[4]


def bridged_is_seen():
    """Whether what stays on a bridge is seen by rules (br_netfilter): an answer from pod to pod goes back through them."""
    switch = pathlib.Path("/proc/sys/net/bridge/bridge-nf-call-iptables")
    return switch.exists() and switch.read_text() == "1\n"


def assert_service():
    if bridged_is_seen():
        assert ask("p2", SERVICE, 80) == "10.77.0.3"
    assert ask(None, SERVICE, 80) is not None
    assert ask("p1", SERVICE, 80) is not None


@pytest.mark.skipif(not shutil.which("iptables-nft-restore"), reason="wants iptables")
def test_kube_proxys_rules_by_iptables(attached):
    pods, checked = attached
    for _ in range(2):  # as kube-proxy syncs again and again
        run("iptables-nft-restore", "--noflush", text=IPTABLES)
    for chain in ("PREROUTING", "OUTPUT"):
        run("iptables-nft", "-t", "nat", "-I", chain, "-j", "KUBE-SERVICES")
    run("iptables-nft", "-t", "nat", "-I", "POSTROUTING", "-j", "KUBE-POSTROUTING")
    assert_all_works()
    assert_service()
    # Calls of the plugin leave theirs as they are.
    theirs = run("iptables-nft-save", "-t", "nat")
    pods.ok("DEL", conf(version="1.1.0", ipMasq=True), "p2")
    pods.ok("ADD", conf(version="1.1.0", isGateway=True, ipMasq=True), "p2")
    pods.ok("GC", {**FULL, "cni.dev/valid-attachments": [{"containerID": f"id-{pod}", "ifname": "eth0"} for pod in ("p1", "p2")]})
    assert [line for line in run("iptables-nft-save", "-t", "nat").splitlines() if line[0] == "-"] == [line for line in theirs.splitlines() if line[0] == "-"]
    # And what empties all of iptables' tables leaves ours.
    run("iptables-nft-restore", text="*nat\nCOMMIT\n*filter\nCOMMIT\n")
    assert ask(None, SERVICE, 80) is None
    assert_all_works()
    pods.ok("CHECK", checked)


def test_kube_proxys_rules_by_nftables(attached):
    pods, checked = attached
    for _ in range(2):
        run("nft", "-f", "-", text=NFTABLES)
    assert_all_works()
    assert_service()
    theirs = run("nft", "list", "table", "ip", "kube-proxy")
    pods.ok("DEL", checked, "p1")
    assert run("nft", "list", "table", "ip", "kube-proxy") == theirs
    assert ask(None, NODE[4], PORT) is None


def test_a_table_of_filters_that_is_made_anew(attached):
    """As firewalld reloads: its own table goes and comes in one transaction, and forwards what belongs to the trusted bridge."""
    pods, checked = attached
    for _ in range(2):
        run("nft", "-f", "-", text=FIREWALLD)
        assert_all_works()
        pods.ok("CHECK", checked)


def test_all_rules_are_flushed(attached):
    """As nftables.service does on a reload: CHECK tells, DEL goes on, and the next ADD makes the tables anew."""
    pods, checked = attached
    run("nft", "flush", "ruleset")
    assert ask("outside", NODE[4], PORT) is None
    code, message = pods.refused("CHECK", checked)
    assert code == 999 and "nftables" in message, message
    pods.ok("DEL", checked, "p1")
    pods.ok("ADD", {**FULL, "args": {"cni": {"ips": ["10.77.0.2"]}}}, "p1")
    assert ask("outside", NODE[4], PORT) == OUTSIDE[4]
    assert elements()
