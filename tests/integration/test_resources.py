"""Limits as the kernel and the status have them. Covers: an update that is refused changes nothing, memory and swap together,
what cannot be at creation, what an update leaves out, after a restart."""

import os

import grpc
import harness
import pytest

V2 = os.path.exists("/sys/fs/cgroup/cgroup.controllers")
FILES = (
    ["cpu.max", "cpu.weight", "cpuset.cpus", "memory.max", "memory.swap.max"]
    if V2
    else [
        "cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us", "cpu/cpu.shares", "cpuset/cpuset.cpus",
        "memory/memory.limit_in_bytes", "memory/memory.memsw.limit_in_bytes",
    ]  # fmt: skip
)
MIB = 1 << 20


@pytest.fixture
def container(skiff):
    pod = skiff.run_pod(host_network=True)
    resources = {"memory_limit_in_bytes": 64 * MIB, "cpu_quota": 50000, "cpu_period": 100000, "cpu_shares": 512}
    return skiff.run(pod, ["sleep", "1000"], resources=resources)


def kernel(skiff, container):
    """What is in the container's cgroup; a file that this host does not have is None."""
    values = {}
    for name in FILES:
        controller, file = name.split("/") if "/" in name else ("", name)
        path = os.path.join("/sys/fs/cgroup", controller, skiff.cgroup_parent[1:], container, file)
        try:
            with open(path, encoding="utf-8") as opened:
                values[file] = opened.read().strip()
        except FileNotFoundError:
            values[file] = None
    return values


def limits(skiff, container):
    return skiff.status(container).resources.linux


def memory_of(values):
    both = ("memory.max", "memory.swap.max") if V2 else ("memory.limit_in_bytes", "memory.memsw.limit_in_bytes")
    return tuple(None if values[name] is None else int(values[name]) for name in both)


@pytest.mark.parametrize(
    "bad",
    [
        {"cpuset_cpus": "4000-4001"},
        {"cpuset_cpus": "fast"},
        {"cpuset_cpus": "9" * 5000},
        {"oom_score_adj": 5000},
        {"cpuset_mems": "900"},
        {"cpu_quota": 7, "cpu_period": 100000},
        {"cpu_period": 7},
        {"cpu_quota": -2},
        {"memory_swap_limit_in_bytes": MIB, "memory_limit_in_bytes": 32 * MIB},
        {"memory_swap_limit_in_bytes": -7},
        {"hugepage_limits": [{"page_size": "../x", "limit": 0}]},
        {"unified": {"cgroup.kill": "1"}},
    ],
)
def test_what_cannot_be_is_refused_and_changes_nothing(skiff, container, bad):
    before, told = kernel(skiff, container), limits(skiff, container)
    good = {"cpu_shares": 1024, "memory_limit_in_bytes": 128 * MIB, "cpu_quota": 20000, "cpu_period": 50000}
    code, text = harness.code_of(
        skiff.cri.UpdateContainerResources, container_id=container, linux={**good, **bad}
    )
    assert code == grpc.StatusCode.INVALID_ARGUMENT, text
    assert kernel(skiff, container) == before
    assert limits(skiff, container) == told
    code, text = harness.code_of(skiff.create, skiff.pod_of(container), ["true"], resources={**good, **bad})
    assert code == grpc.StatusCode.INVALID_ARGUMENT, text
    assert len(skiff.cri.ListContainers().containers) == 1
    skiff.restart()
    assert limits(skiff, container) == told
    assert skiff.status(container).state == 1


def test_memory_and_swap_go_up_and_down_together(skiff, container):
    swap = memory_of(kernel(skiff, container))[1] is not None
    for mib in (64, 32, 128, 48):
        if mib != 64:
            skiff.cri.UpdateContainerResources(container_id=container, linux={"memory_limit_in_bytes": mib * MIB})
        memory, both = memory_of(kernel(skiff, container))
        assert memory == mib * MIB and (not swap or both == (0 if V2 else mib * MIB))
        assert limits(skiff, container).memory_limit_in_bytes == mib * MIB
    more = {"memory_limit_in_bytes": 64 * MIB, "memory_swap_limit_in_bytes": 96 * MIB}
    skiff.cri.UpdateContainerResources(container_id=container, linux=more)
    memory, both = memory_of(kernel(skiff, container))
    assert memory == 64 * MIB and (not swap or both == (32 * MIB if V2 else 96 * MIB))
    skiff.cri.UpdateContainerResources(container_id=container, linux={"memory_limit_in_bytes": 32 * MIB})
    told = limits(skiff, container)
    assert (told.memory_limit_in_bytes, told.memory_swap_limit_in_bytes) == (32 * MIB, 32 * MIB)


def test_memory_in_use_is_not_taken_away(skiff, container):
    pod = skiff.pod_of(container)
    script = "x=$(head -c 40000000 /dev/zero | tr '\\0' x); echo up; sleep 1000; echo $x"
    full = skiff.run(pod, ["sh", "-c", script], resources={"memory_limit_in_bytes": 256 * MIB})
    harness.wait_for(lambda: "up" in skiff.text(full), "its memory")
    before, told = kernel(skiff, full), limits(skiff, full)
    code, text = harness.code_of(
        skiff.cri.UpdateContainerResources, container_id=full, linux={"memory_limit_in_bytes": 4 * MIB, "cpu_shares": 7}
    )
    assert code == grpc.StatusCode.FAILED_PRECONDITION, text
    assert kernel(skiff, full) == before and limits(skiff, full) == told
    assert skiff.status(full).state == 1


def test_what_an_update_leaves_out_stays(skiff, container):
    skiff.cri.UpdateContainerResources(container_id=container, linux={"cpu_period": 50000})
    skiff.cri.UpdateContainerResources(container_id=container, linux={"cpuset_cpus": "0"})
    values = kernel(skiff, container)
    assert values["cpuset.cpus"] == "0"
    if V2:
        assert values["cpu.max"] == "50000 50000"
    else:
        assert (values["cpu.cfs_quota_us"], values["cpu.cfs_period_us"]) == ("50000", "50000")
    told = limits(skiff, container)
    assert (told.cpu_quota, told.cpu_period, told.cpu_shares, told.cpuset_cpus) == (50000, 50000, 512, "0")
    skiff.restart()
    assert limits(skiff, container) == told
