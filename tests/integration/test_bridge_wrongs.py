"""skiff-bridge where a pod, another plugin or another call has brought about what should not be: what is somebody else's stays his."""

import json
import os
import subprocess
import time

import harness
import pytest

from test_bridge import BRIDGE, DEBIAN, STORE, conf, ip, ip_json, leases, pods, wait_nothing_left  # noqa: F401: a fixture


def nft_has(text):
    done = subprocess.run(["nft", "list", "ruleset"], capture_output=True, text=True, check=True)
    return text in done.stdout


def test_an_address_of_two_networks_leaves_the_first_as_it_is(pods):
    first = conf(name="first", bridge="br1", ipMasq=True, macspoofchk=True, runtimeConfig={"portMappings": [{"hostPort": 8080, "containerPort": 80, "protocol": "tcp"}]})
    second = conf(name="second", bridge="br2", ipMasq=True)
    pods.ok("ADD", first)
    code, message = pods.refused("ADD", second, pod="p2")
    assert (code, "is held by" in message, "first/id-p1/eth0" in message) == (999, True, True), message
    assert nft_has("first/id-p1/eth0") and not nft_has("second/")
    assert leases("second") == [] and len(leases("first")) == 1
    pods.ok("DEL", first)
    pods.ok("ADD", second, pod="p2")
    pods.ok("DEL", second, pod="p2")



def test_a_pod_that_forges_its_interface_takes_no_other_with_it(pods):
    pods.ok("ADD", conf())
    ip("link", "add", "hv0", "index", "4001", "type", "veth", "peer", "name", "hv1", "index", "4002")
    ip("-n", "p1", "link", "del", "eth0")
    ip("-n", "p1", "link", "add", "eth0", "index", "4002", "type", "veth", "peer", "name", "x", "index", "4001")
    pods.ok("DEL", conf())
    harness.wait_for(lambda: leases() == [], "the lease to go")
    assert [link["ifname"] for link in ip_json("link", "show", "hv0")] == ["hv0"]
    ip("link", "del", "hv0")


def test_a_refused_add_leaves_the_lease_of_the_one_that_runs(pods):
    pods.ok("ADD", conf(), program=DEBIAN / "bridge")
    before = leases()
    code, message = pods.refused("ADD", conf(), pod="p2", container="id-p1")
    assert code == 999 and leases() == before, message
    pods.ok("DEL", conf())
    wait_nothing_left()


def test_a_del_and_an_add_of_another_id_follow_each_other(pods):
    for i in range(60):
        pods.ok("ADD", conf(), container=f"c{i}")
        pods.ok("DEL", conf(), container=f"c{i}")
    wait_nothing_left()


@pytest.mark.parametrize("kind", ["fifo", "directory", "link"])
def test_rubbish_in_place_of_the_last_address_is_told_and_passed_over(pods, kind):
    pods.ok("ADD", conf())
    path = STORE / "net/last_reserved_ip.0"
    path.unlink()
    {"fifo": lambda: os.mkfifo(path), "directory": path.mkdir, "link": lambda: path.symlink_to("/nothing")}[kind]()
    pods.ok("ADD", conf(), pod="p2")
    for pod in ("p1", "p2"):
        pods.ok("DEL", conf(), pod=pod)
    path.rmdir() if kind == "directory" else path.unlink()
    wait_nothing_left()


def test_an_answer_that_cannot_be_written_is_taken_back(pods):
    environment = {"PATH": os.environ["PATH"], "CNI_COMMAND": "ADD", "CNI_CONTAINERID": "id-p1", "CNI_NETNS": "/run/netns/p1",
                   "CNI_IFNAME": "eth0", "CNI_PATH": str(DEBIAN)}  # fmt: skip
    with open("/dev/full", "w", encoding="ascii") as full:
        done = subprocess.run([BRIDGE], input=json.dumps(conf(ipMasq=True)), env=environment, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 1 and "write the answer: No space left" in done.stderr
    wait_nothing_left()
    assert not nft_has("net/id-p1")


def test_a_slow_del_leaves_nothing_of_what_came_after(pods):
    """It has read what there is to remove when another DEL and an ADD of the same id come in between."""
    asked = conf(ipMasq=True, macspoofchk=True)
    pods.ok("ADD", asked)
    slow = subprocess.Popen(
        ["strace", "-f", "-o", "/dev/null", "-e", "inject=sendto:delay_enter=1500000:when=4", BRIDGE],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        env={"PATH": os.environ["PATH"], "CNI_COMMAND": "DEL", "CNI_CONTAINERID": "id-p1", "CNI_NETNS": "/run/netns/p1",
             "CNI_IFNAME": "eth0", "CNI_PATH": str(DEBIAN)},
    )  # fmt: skip
    slow.stdin.write(json.dumps(asked))
    slow.stdin.close()
    time.sleep(0.5)  # fixed: in the middle of the other's delay, whatever the machine is doing
    pods.ok("DEL", asked)
    pods.ok("ADD", asked)
    slow.wait()
    pods.ok("DEL", asked)
    wait_nothing_left()
    assert not nft_has("net/id-p1")


def test_del_needs_no_previous_result(pods):
    pods.ok("ADD", conf())
    pods.ok("DEL", {**conf(), "prevResult": 5})
    wait_nothing_left()


@pytest.mark.parametrize("more", [{"ipam": {"type": "host-local"}}, {"ipam": {"type": "host-local", "subnet": "10.1.0.0/16", "dataDir": "/etc/hostname/x"}}])
def test_status_says_that_no_add_can_work(pods, more):
    code, _ = pods.refused("STATUS", conf(version="1.1.0", **more))
    assert code in (7, 50) and pods.refused("ADD", conf(version="1.1.0", **more))[0] in (7, 999)
