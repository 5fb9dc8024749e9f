"""Limits as the kernel and the status have them. Covers: every limit, at creation and changed up and down, of a container
that runs and of one that does not yet; an update that is refused changes nothing, memory and swap together, what cannot be at
creation, what an update leaves out, after a restart; a cgroup that somebody removes; classes by annotation; rlimits. What
only cgroup v2 has is in test_resources_v2.py."""

import contextlib
import os
import resource
import signal

import grpc
import harness
import pytest

V2 = os.path.exists("/sys/fs/cgroup/cgroup.controllers")
FILES = (
    ["cpu.max", "cpu.weight", "cpuset.cpus", "cpuset.mems", "memory.max", "memory.swap.max"]
    if V2
    else [
        "cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us", "cpu/cpu.shares", "cpuset/cpuset.cpus", "cpuset/cpuset.mems",
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
        {"cpu_quota": 20000, "cpu_period": 2000000},
        {"cpu_shares": -1},
        {"cpuset_cpus": "0,,1"},
        {"cpuset_cpus": "0,"},
        {"cpuset_cpus": "0-"},
        {"cpuset_mems": "1-0"},
        {"memory_limit_in_bytes": 100},
        {"hugepage_limits": [{"page_size": "7KB", "limit": MIB}], "unified": {"cgroup.kill": "1"}},
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


def expected(shares, weight, quota, period, cpus, memory, both):
    """What FILES hold for it, on either version."""
    if V2:
        return {
            "cpu.max": f"{'max' if quota < 0 else quota} {period}", "cpu.weight": str(weight), "cpuset.cpus": cpus,
            "cpuset.mems": "0", "memory.max": str(memory), "memory.swap.max": str(both - memory),
        }  # fmt: skip
    return {
        "cpu.cfs_quota_us": str(quota), "cpu.cfs_period_us": str(period), "cpu.shares": str(shares), "cpuset.cpus": cpus,
        "cpuset.mems": "0", "memory.limit_in_bytes": str(memory), "memory.memsw.limit_in_bytes": str(both),
    }  # fmt: skip


# shares, their weight on v2, quota, period, cpus, memory, memory and swap
FIRST = (512, 59, 50000, 100000, "0", 64 * MIB, 96 * MIB)
UP = (2048, 174, 150000, 50000, "0-1", 256 * MIB, 512 * MIB)
DOWN = (2, 1, 1000, 20000, "1", 8 * MIB, 8 * MIB)
NONE = (1024, 100, -1, 100000, "0", 32 * MIB, 40 * MIB)


def asked(shares, _weight, quota, period, cpus, memory, both):
    return {
        "cpu_shares": shares, "cpu_quota": quota, "cpu_period": period, "cpuset_cpus": cpus, "cpuset_mems": "0",
        "memory_limit_in_bytes": memory, "memory_swap_limit_in_bytes": both, "oom_score_adj": 77,
    }  # fmt: skip


@pytest.mark.skipif(os.cpu_count() < 2, reason="one cpu: no cpuset to change")
@pytest.mark.parametrize("state", ["running", "created"])
def test_every_limit_goes_up_and_down(skiff, state):
    pod = skiff.run_pod(host_network=True)
    container = skiff.create(pod, ["sleep", "1000"], resources=asked(*FIRST))
    if state == "running":
        skiff.cri.StartContainer(container_id=container)
    swap = memory_of(kernel(skiff, container))[1] is not None
    for limits_now in (FIRST, UP, DOWN, NONE, UP, FIRST, DOWN):
        if limits_now != FIRST or kernel(skiff, container)["cpuset.cpus"] != "0":
            skiff.cri.UpdateContainerResources(container_id=container, linux=asked(*limits_now))
        wanted = expected(*limits_now)
        if not swap:
            wanted["memory.swap.max" if V2 else "memory.memsw.limit_in_bytes"] = None
        assert kernel(skiff, container) == wanted, limits_now
        told = limits(skiff, container)
        assert {name: getattr(told, name) for name in asked(*limits_now)} == asked(*limits_now)
    skiff.restart()
    assert limits(skiff, container) == told and kernel(skiff, container) == wanted
    if state == "created":
        skiff.cri.StartContainer(container_id=container)
        assert kernel(skiff, container) == wanted
    assert skiff.exec(container, ["cat", "/proc/1/oom_score_adj"]).stdout == b"77\n"
    assert skiff.exec(container, ["grep", "Cpus_allowed_list", "/proc/self/status"]).stdout.split()[1] == b"1"


def test_the_limits_hold(skiff):
    """Not only in files: memory is not had, and cpu time is throttled."""
    pod = skiff.run_pod(host_network=True)
    small = {"memory_limit_in_bytes": 16 * MIB, "memory_swap_limit_in_bytes": 16 * MIB}
    status, _ = skiff.output_of(pod, ["sh", "-c", "exec tail /dev/zero"], resources=small)
    assert (status.exit_code, status.reason) == (137, "OOMKilled")
    busy = skiff.run(pod, ["sh", "-c", "while :; do :; done"], resources={"cpu_quota": 10000, "cpu_period": 100000})
    file = f"/sys/fs/cgroup{'' if V2 else '/cpu'}{skiff.cgroup_parent}/{busy}/cpu.stat"

    def throttled():
        with open(file, encoding="utf-8") as opened:
            return int(dict(line.split() for line in opened)["nr_throttled"]) > 2

    harness.wait_for(throttled, "the quota to bite")


def test_a_kill_for_the_pods_limit_is_told_too(skiff):
    """kubelet limits the cgroup above, and the kernel picks a process in a container."""
    parent = f"/sys/fs/cgroup{'' if V2 else '/memory'}{skiff.cgroup_parent}"
    pod = skiff.run_pod(host_network=True)
    container = skiff.run(pod, ["sh", "-c", "read x < /go; tail /dev/zero; read x < /go; exit 3"], mounts=[fifo(skiff)])
    other = skiff.run(pod, ["sleep", "1000"])
    with open(f"{parent}/{'memory.max' if V2 else 'memory.limit_in_bytes'}", "w", encoding="utf-8") as file:
        file.write(str(32 * MIB))
    (skiff.directory / "go").write_text("go\n")
    harness.wait_for(lambda: "killed for want of memory" in skiff.log_text(), "the log", 60)
    assert skiff.status(container).state == 1
    (skiff.directory / "go").write_text("go\n")
    status = skiff.wait_exited(container, 60)
    assert (status.exit_code, status.reason) == (3, "OOMKilled") and skiff.status(other).state == 1
    assert skiff.info(container)["oomKilled"]


def fifo(skiff):
    os.mkfifo(skiff.directory / "go")
    return {"host_path": str(skiff.directory / "go"), "container_path": "/go"}


def test_hugepages_that_the_host_has_not_are_none(skiff):
    """kubelet limits every size to 0, whatever the host's controllers."""
    pod = skiff.run_pod(host_network=True)
    none = {"hugepage_limits": [{"page_size": size, "limit": 0} for size in ("2MB", "1GB")]}
    assert skiff.output_of(pod, ["true"], resources=none)[0].exit_code == 0
    some = {"hugepage_limits": [{"page_size": "7KB", "limit": MIB}]}
    code, text = harness.code_of(skiff.create, pod, ["true"], resources=some)
    assert code in (grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.FAILED_PRECONDITION) and "hugetlb" in text


def cgroup_directories(skiff, name):
    roots = ["/sys/fs/cgroup"] if V2 else harness.CGROUP_ROOTS
    return [path for path in (f"{root}{skiff.cgroup_parent}/{name}" for root in roots) if os.path.isdir(path)]


def test_a_cgroup_that_somebody_removed(skiff):
    """Of a container that is not started yet, so that it is empty."""
    pod = skiff.run_pod(host_network=True)
    container, other = skiff.create(pod, ["sleep", "1000"]), skiff.run(pod, ["sleep", "1000"])
    for path in cgroup_directories(skiff, container):
        os.rmdir(path)
    told = limits(skiff, container)
    for call, more in ((skiff.cri.UpdateContainerResources, {"linux": {"cpu_shares": 7}}), (skiff.cri.StartContainer, {})):
        code, text = harness.code_of(call, container_id=container, **more)
        assert code == grpc.StatusCode.FAILED_PRECONDITION and "the cgroup is gone" in text, text
        assert limits(skiff, container) == told
    assert skiff.status(other).state == 1
    skiff.cri.StopContainer(container_id=container, timeout=0)
    skiff.cri.RemoveContainer(container_id=container)
    assert skiff.run(pod, ["true"])


def test_a_pod_whose_cgroups_are_taken_from_under_it(skiff):
    """Killed and removed from outside, as a node agent may."""
    pod = skiff.run_pod(host_network=True)
    container = skiff.run(pod, ["sleep", "1000"])
    created = skiff.create(pod, ["sleep", "1000"])
    for pid in harness.processes(skiff.cgroup_parent):
        with contextlib.suppress(ProcessLookupError):  # with its pid namespace's first
            os.kill(pid, signal.SIGKILL)
    harness.wait_for(lambda: skiff.pod_status(pod).status.state == 1, "the pod to be not ready")
    for name in (pod, container, created, ""):
        for path in cgroup_directories(skiff, name):
            harness.wait_for(lambda: gone(path), f"the end of {path}")  # noqa: B023
    assert skiff.wait_exited(container).exit_code == 137
    for call in (
        lambda: skiff.create(pod, ["true"]),
        lambda: skiff.cri.StartContainer(container_id=created),
        lambda: skiff.cri.UpdateContainerResources(container_id=container, linux={"cpu_shares": 7}),
    ):
        code, text = harness.code_of(call)
        assert code == grpc.StatusCode.FAILED_PRECONDITION, text
    skiff.cri.StopContainer(container_id=container, timeout=5)
    skiff.remove_pod(pod)
    assert not cgroup_directories(skiff, "")
    assert skiff.output_of(skiff.run_pod(host_network=True), ["true"])[0].exit_code == 0


def gone(path):
    try:
        os.rmdir(path)
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True


@pytest.mark.parametrize("family, word", [("rdt", "RDT"), ("blockio", "blockio")])
def test_classes_by_annotation_are_refused(skiff, family, word):
    plain, key = skiff.run_pod(host_network=True), f"io.kubernetes.cri.{family}-class"
    config = skiff.container_config(["true"], annotations={key: "gold"})
    code, text = harness.code_of(skiff.create, plain, config=config)
    assert code == grpc.StatusCode.INVALID_ARGUMENT and key in text and word in text, text
    assert skiff.create(plain, config=skiff.container_config(["true"], annotations={key: ""}))
    key = f"{family}.resources.beta.kubernetes.io/"
    of_one = skiff.run_pod(host_network=True, annotations={f"{key}container.web": "gold", f"{key}other": "x"})
    code, text = harness.code_of(skiff.create, of_one, ["true"], name="web")
    assert code == grpc.StatusCode.INVALID_ARGUMENT and f"{key}container.web" in text
    assert skiff.create(of_one, ["true"], name="webs")
    of_all = skiff.run_pod(host_network=True, annotations={f"{key}pod": "gold"})
    code, text = harness.code_of(skiff.create, of_all, ["true"])
    assert code == grpc.StatusCode.INVALID_ARGUMENT and f"{key}pod" in text
    assert len(skiff.cri.ListContainers().containers) == 2


LIMITS = "for l in -Sn -Hn -Sc -Hc -Su; do ulimit $l; done"


@pytest.mark.parametrize("files", [None, 4096])
def test_rlimits_are_sane_whatever_skiffds_own_are(bare, archive, files):
    core = resource.getrlimit(resource.RLIMIT_CORE)[1]
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if files:
        bare.wrapper = ["prlimit", f"--nofile={files}:{files}", "--"]
        hard = files
    bare.start()
    bare.import_image(archive)
    pod = bare.run_pod(host_network=True)
    container = bare.run(pod, ["sh", "-c", f"{LIMITS}; sleep 1000"])
    unlimited = "unlimited" if core == resource.RLIM_INFINITY else str(core // 512)  # a shell counts blocks
    wanted = [str(min(1024, hard)), str(min(524288, hard)), unlimited, unlimited]
    harness.wait_for(lambda: bare.text(container).count("\n") == 5, "the limits")
    assert bare.text(container).split()[:4] == wanted
    assert bare.exec(container, ["sh", "-c", LIMITS]).stdout.decode().split()[:4] == wanted
    own = [line for line in harness.read_proc(bare.process.pid, "limits").splitlines() if "core file" in line]
    assert own[0].split()[4] == "0"
    bare.remove_all()
