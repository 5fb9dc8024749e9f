"""Sandboxes. Covers: run, status, list and filters, stop and remove twice, names, namespaces shared and not, DNS and
hostname, sysctls, shm, host network, cancel, what is refused."""

import os
import socket

import grpc
import harness
import pytest


def test_a_pod_lives_from_run_to_remove(skiff):
    config = skiff.pod_config(name="web", labels={"app": "web"}, annotations={"note": "é"})
    pod = skiff.run_pod(config)
    assert len(pod) == 64
    status = skiff.pod_status(pod).status
    assert status.state == 0 and status.metadata.name == "web" and status.network.ip.startswith("10.211.")
    assert dict(status.labels) == {"app": "web"} and dict(status.annotations) == {"note": "é"}
    assert status.linux.namespaces.options.pid == 1
    info = skiff.pod_info(pod)
    assert {"directory", "cgroup", "supervisor", "netns", "network", "ready"} == set(info["runStepsNs"])
    skiff.cri.StopPodSandbox(pod_sandbox_id=pod)
    status = skiff.pod_status(pod).status
    assert status.state == 1 and status.network.ip == ""
    skiff.cri.StopPodSandbox(pod_sandbox_id=pod)
    skiff.cri.RemovePodSandbox(pod_sandbox_id=pod)
    skiff.cri.RemovePodSandbox(pod_sandbox_id=pod)
    skiff.cri.StopPodSandbox(pod_sandbox_id=pod)
    assert harness.code_of(skiff.pod_status, pod)[0] == grpc.StatusCode.NOT_FOUND


def test_pods_are_listed_by_filter(skiff):
    a = skiff.run_pod(name="a", host_network=True, labels={"x": "1", "y": "1"})
    b = skiff.run_pod(name="b", host_network=True, labels={"x": "1"})
    skiff.cri.StopPodSandbox(pod_sandbox_id=b)

    def listed(**filter):
        return {item.id for item in skiff.cri.ListPodSandbox(filter=filter).items}

    assert listed() == {a, b}
    assert listed(id=a) == {a} and listed(id=a[:12]) == {a}
    assert listed(state={"state": 0}) == {a} and listed(state={"state": 1}) == {b}
    assert listed(label_selector={"x": "1"}) == {a, b}
    assert listed(label_selector={"x": "1", "y": "1"}) == {a}
    assert listed(label_selector={"x": "2"}) == set() and listed(id="0" * 64) == set()


def test_a_name_is_taken_while_its_pod_is_there(skiff):
    config = skiff.pod_config(name="once", host_network=True)
    pod = skiff.run_pod(config)
    code, text = harness.code_of(skiff.run_pod, config)
    assert code == grpc.StatusCode.ALREADY_EXISTS and pod in text
    skiff.remove_pod(pod)
    skiff.remove_pod(skiff.run_pod(config))


def test_a_name_is_free_when_its_create_has_failed(skiff):
    config = skiff.pod_config(name="again")
    skiff.write_conflist("{ rubbish")
    code, text = harness.code_of(skiff.run_pod, config)
    assert code == grpc.StatusCode.FAILED_PRECONDITION and "10-test.conflist" in text
    skiff.write_conflist(harness.CONFLIST)
    skiff.run_pod(config)


def test_a_cancelled_run_undoes_what_it_did(skiff):
    before = skiff.census()
    config = skiff.pod_config(name="cancelled")
    plugin = dict(harness.CONFLIST, plugins=[{"type": "slow"}])
    skiff.write_conflist(plugin)
    directory = skiff.directory / "plugins"
    directory.mkdir()
    (directory / "slow").write_text("#!/bin/sh\n[ $CNI_COMMAND = ADD ] && sleep 30\nexit 0\n")
    (directory / "slow").chmod(0o755)
    skiff.arguments = ["--cni-bin-dir", f"{directory}:/usr/lib/cni"]
    skiff.restart()
    code, _ = harness.code_of(skiff.run_pod, config, _deadline=1)
    assert code == grpc.StatusCode.DEADLINE_EXCEEDED
    skiff.assert_nothing_left(before)
    skiff.write_conflist(harness.CONFLIST)
    skiff.run_pod(config)


def test_containers_of_a_pod_share_its_namespaces(skiff):
    pod = skiff.run_pod(name="shared")
    script = "for n in net ipc uts pid mnt; do readlink /proc/self/ns/$n; done; hostname"
    containers = [skiff.run(pod, ["sleep", "1000"]) for _ in range(2)]
    outputs = [skiff.exec(container, ["sh", "-c", script]).stdout.decode().split() for container in containers]
    assert outputs[0][:3] == outputs[1][:3] and outputs[0][3] != outputs[1][3] and outputs[0][4] != outputs[1][4]
    assert outputs[0][5] == "shared"


def test_pid_modes(skiff):
    shared = skiff.run_pod(name="pidpod", security={"namespace_options": {"pid": 0}}, host_network=True)
    first = skiff.run(shared, ["sleep", "1000"], security={"namespace_options": {"pid": 0}})
    _, text = skiff.output_of(shared, ["ps", "-o", "args"], security={"namespace_options": {"pid": 0}})
    assert "sleep 1000" in text
    own = skiff.run_pod(name="pidown", host_network=True)
    _, text = skiff.output_of(own, ["sh", "-c", "echo $$"])
    assert text == "1\n"
    host = skiff.run_pod(name="pidhost", security={"namespace_options": {"pid": 2}}, host_network=True)
    _, text = skiff.output_of(host, ["ps", "-o", "args"], security={"namespace_options": {"pid": 2}})
    assert "skiffd" in text
    target = skiff.run(own, ["sleep", "2000"])
    _, text = skiff.output_of(
        own, ["ps", "-o", "args"], security={"namespace_options": {"pid": 3, "target_id": target}}
    )
    assert "sleep 2000" in text
    assert skiff.status(first).state == 1
    code, text = harness.code_of(
        skiff.run, own, ["true"], security={"namespace_options": {"pid": 3, "target_id": "0" * 64}}
    )
    assert code == grpc.StatusCode.FAILED_PRECONDITION and "0" * 64 in text


def test_dns_and_hostname(skiff):
    dns = {"servers": ["10.0.0.10", "10.0.0.11"], "searches": ["a.local", "b.local"], "options": ["ndots:5"]}
    pod = skiff.run_pod(name="named", dns_config=dns)
    _, text = skiff.output_of(pod, ["cat", "/etc/resolv.conf", "/etc/hostname"])
    assert text == "search a.local b.local\nnameserver 10.0.0.10\nnameserver 10.0.0.11\noptions ndots:5\nnamed\n"
    host = skiff.run_pod(name="hostnet", host_network=True)
    _, text = skiff.output_of(host, ["hostname"])
    assert text.strip() == socket.gethostname()


def test_sysctls(skiff):
    sysctls = {"net.ipv4.ip_forward": "1", "kernel.shmmni": "4097"}
    pod = skiff.run_pod(name="tuned", linux={"sysctls": sysctls})
    _, text = skiff.output_of(pod, ["cat", "/proc/sys/net/ipv4/ip_forward", "/proc/sys/kernel/shmmni"])
    assert text.split() == ["1", "4097"]
    bad = "kernel.panic vm.swappiness net.ipv4.x/../../../kernel/panic kernel/panic net//ipv4/ip_forward net/./ipv4 .net.x net. net/"
    for name in bad.split():
        code, text = harness.code_of(skiff.run_pod, name="bad", linux={"sysctls": {name: "1"}})
        assert code == grpc.StatusCode.INVALID_ARGUMENT and "sysctls" in text
    code, text = harness.code_of(
        skiff.run_pod, name="bad", host_network=True, linux={"sysctls": {"net.ipv4.ip_forward": "1"}}
    )
    assert code == grpc.StatusCode.INVALID_ARGUMENT and "host" in text


def test_sysctls_with_slashes_and_of_the_interface(skiff):
    """The interface is there when its network is: what is set before goes nowhere."""
    sysctls = {
        "net/ipv4/ip_forward": "1", "kernel/shmmni": "4097", "net.ipv4.conf.eth0.rp_filter": "2",
        "net/ipv6/conf/eth0/hop_limit": "33", "net.ipv4.conf.all.arp_notify": "1",
    }  # fmt: skip
    pod = skiff.run_pod(name="slashes", linux={"sysctls": sysctls})
    paths = "net/ipv4/ip_forward kernel/shmmni net/ipv4/conf/eth0/rp_filter net/ipv6/conf/eth0/hop_limit net/ipv4/conf/all/arp_notify"
    _, text = skiff.output_of(pod, ["cat", *(f"/proc/sys/{path}" for path in paths.split())])
    assert text.split() == ["1", "4097", "2", "33", "1"]
    before = skiff.census()
    code, text = harness.code_of(skiff.run_pod, name="none", linux={"sysctls": {"net.ipv4.conf.eth7.rp_filter": "2"}})
    assert code == grpc.StatusCode.INVALID_ARGUMENT and "net/ipv4/conf/eth7/rp_filter" in text
    skiff.assert_nothing_left(before)


def test_shm_is_the_pods(skiff):
    pod = skiff.run_pod(name="shm", host_network=True)
    skiff.output_of(pod, ["sh", "-c", "echo here > /dev/shm/x"])
    _, text = skiff.output_of(pod, ["sh", "-c", "cat /dev/shm/x; df -k /dev/shm | tail -1 | awk '{print $2}'"])
    assert text.split() == ["here", "65536"]
    other = skiff.run_pod(name="shm2", host_network=True)
    _, text = skiff.output_of(other, ["ls", "/dev/shm"])
    assert text == ""


def test_a_pod_starts_where_its_oom_score_cannot_be_set(skiff):
    pod = skiff.run_pod(name="oom", host_network=True)
    notice = skiff.pod_info(pod)["notice"]
    with open("/proc/self/status", encoding="utf-8") as file:
        capable = int([line for line in file if line.startswith("CapEff")][0].split()[1], 16) >> 24 & 1
    assert capable or "oom_score_adj" in notice


@pytest.mark.parametrize(
    "change, field",
    [
        ({"metadata": {"name": "", "uid": "u", "namespace": "n"}}, "config.metadata.name"),
        ({"metadata": {"name": "n", "uid": "", "namespace": "n"}}, "config.metadata.uid"),
        ({"metadata": {"name": "a/b", "uid": "u", "namespace": "n"}}, "config.metadata.name"),
        ({"log_directory": "relative"}, "config.log_directory"),
        ({"hostname": "a\nb"}, "config.hostname"),
        ({"hostname": "x" * 65}, "config.hostname"),
        ({"dns_config": {"servers": ["1.2.3.4\nsearch evil"]}}, "config.dns_config.servers[0]"),
        ({"port_mappings": [{"container_port": 70000}]}, "config.port_mappings[0]"),
        ({"linux": {"cgroup_parent": "kubepods-x.slice"}}, "systemd"),
        ({"linux": {"cgroup_parent": "/a/../b"}}, "cgroup_parent"),
        ({"linux": {"security_context": {"namespace_options": {"network": 1}}}}, "network"),
    ],
)
def test_bad_pods_are_refused_by_field(skiff, change, field):
    code, text = harness.code_of(skiff.run_pod, {**skiff.pod_config(host_network=True), **change})
    assert code == grpc.StatusCode.INVALID_ARGUMENT and field in text
    assert not skiff.cri.ListPodSandbox().items


def test_an_unknown_handler_is_refused(skiff):
    code, text = harness.code_of(
        skiff.cri.RunPodSandbox, config=skiff.pod_config(host_network=True), runtime_handler="kata"
    )
    assert code == grpc.StatusCode.INVALID_ARGUMENT and "kata" in text


def test_a_stopped_pod_leaves_no_corpse(skiff):
    """The answer does not wait for the supervisor's end, which comes a moment later, nobody asking for it."""
    pods = [skiff.run_pod(name=f"corpse-{i}", host_network=i % 2 == 0) for i in range(6)]
    pids = [skiff.pod_info(pod)["pid"] for pod in pods]
    for pod in pods:
        skiff.cri.StopPodSandbox(pod_sandbox_id=pod)
        assert skiff.pod_status(pod).status.state == 1
    harness.wait_for(lambda: not any(os.path.exists(f"/proc/{pid}") for pid in pids), "their ends")
    for pod in pods:
        skiff.cri.StopPodSandbox(pod_sandbox_id=pod)


def test_a_name_is_taken_again_and_again(skiff):
    """Stop, remove and run with nothing in between."""
    for _ in range(30):
        pod = skiff.run_pod(name="again", host_network=True)
        skiff.cri.StopPodSandbox(pod_sandbox_id=pod)
        skiff.cri.RemovePodSandbox(pod_sandbox_id=pod)
