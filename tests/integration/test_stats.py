"""What pods and containers use. Covers: cpu, memory, writable layer, processes and interfaces against what was done;
filters; limits; created and ended containers; pods in a cgroup of their own and in a shared one; unknown ids."""

import grpc

import harness


def test_a_container_that_works_shows_it(skiff):
    pod = skiff.run_pod()
    script = "dd if=/dev/zero of=/filled bs=1M count=3 2>/dev/null; while :; do :; done"
    container = skiff.run(pod, ["sh", "-c", script], resources={"memory_limit_in_bytes": 64 << 20})

    def stats():
        return skiff.cri.ContainerStats(container_id=container).stats

    harness.wait_for(lambda: stats().cpu.usage_core_nano_seconds.value > 200_000_000, "cpu time")
    first = stats()
    assert first.attributes.id == container
    assert first.attributes.metadata.name == skiff.status(container).metadata.name
    assert 0 < first.memory.working_set_bytes.value <= first.memory.usage_bytes.value < 64 << 20
    assert first.memory.available_bytes.value == (64 << 20) - first.memory.working_set_bytes.value
    assert first.cpu.timestamp and first.memory.timestamp and first.writable_layer.timestamp
    assert first.writable_layer.fs_id.mountpoint
    rate = harness.wait_for(lambda: stats().cpu.usage_nano_cores.value, "a rate")
    assert 50_000_000 < rate < 2_000_000_000
    # The walk of the layer is at most ten seconds old.
    harness.wait_for(lambda: stats().writable_layer.used_bytes.value >= 3 << 20, "the writable layer", 15)


def test_lists_and_filters(skiff):
    pods = [skiff.run_pod(labels={"app": str(i)}) for i in range(2)]
    containers = [skiff.run(pod, ["sleep", "60"], labels={"n": str(i)}) for i, pod in enumerate(pods)]
    created = skiff.create(pods[0], ["true"])

    def ids(**wanted):
        return {s.attributes.id for s in skiff.cri.ListContainerStats(filter=wanted).stats}

    assert ids() == {*containers, created}
    assert ids(id=containers[1][:12]) == {containers[1]}
    assert ids(pod_sandbox_id=pods[0]) == {containers[0], created}
    assert ids(label_selector={"n": "1"}) == {containers[1]}
    assert ids(label_selector={"n": "2"}) == set()
    stats = {s.attributes.id: s for s in skiff.cri.ListPodSandboxStats().stats}
    assert set(stats) == set(pods)
    assert {c.attributes.id for c in stats[pods[0]].linux.containers} == {containers[0], created}
    one = skiff.cri.ListPodSandboxStats(filter={"label_selector": {"app": "1"}}).stats
    assert [s.attributes.id for s in one] == [pods[1]]


def test_a_pod_adds_up(skiff):
    pod = skiff.run_pod()
    container = skiff.run(pod, ["sleep", "60"])
    before = skiff.cri.PodSandboxStats(pod_sandbox_id=pod).stats.linux
    assert before.process.process_count.value == 2  # supervisor, sleep
    assert before.memory.usage_bytes.value >= before.containers[0].memory.usage_bytes.value
    assert before.network.default_interface.name == "eth0"
    skiff.exec(container, ["ping", "-c", "2", "-i", "0.1", "10.211.0.1"])
    after = skiff.cri.PodSandboxStats(pod_sandbox_id=pod).stats.linux
    sent = after.network.default_interface.tx_bytes.value - before.network.default_interface.tx_bytes.value
    assert sent >= 2 * 98
    assert after.cpu.usage_core_nano_seconds.value >= before.cpu.usage_core_nano_seconds.value
    skiff.cri.StopPodSandbox(pod_sandbox_id=pod)
    stopped = skiff.cri.PodSandboxStats(pod_sandbox_id=pod).stats
    assert stopped.attributes.id == pod and not stopped.linux.HasField("network")


def test_a_pods_own_cgroup_is_what_is_read(skiff):
    config = skiff.pod_config(host_network=True)
    config["linux"]["cgroup_parent"] = f"{skiff.cgroup_parent}/pod{config['metadata']['uid']}"
    pod = skiff.run_pod(config)
    container = skiff.run(pod, ["sh", "-c", "i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done"])
    skiff.wait_exited(container)
    spent = skiff.cri.ContainerStats(container_id=container).stats.cpu.usage_core_nano_seconds.value
    skiff.cri.RemoveContainer(container_id=container)
    # What a removed container used is the pod's still.
    stats = skiff.cri.PodSandboxStats(pod_sandbox_id=pod).stats.linux
    assert stats.cpu.usage_core_nano_seconds.value >= spent > 0
    assert not stats.HasField("network")


def test_unknown_ids(skiff):
    assert harness.code_of(skiff.cri.ContainerStats, container_id="f" * 64)[0] == grpc.StatusCode.NOT_FOUND
    assert harness.code_of(skiff.cri.PodSandboxStats, pod_sandbox_id="f" * 64)[0] == grpc.StatusCode.NOT_FOUND
    assert harness.code_of(skiff.cri.ContainerStats)[0] == grpc.StatusCode.INVALID_ARGUMENT
