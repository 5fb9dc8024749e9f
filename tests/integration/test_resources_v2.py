"""Limits as cgroup v2 alone has them; tests/vm/lane.sh runs it where that is so. Covers: settings by the kernel's own names
(memory.*, io.*, pids.*, hugetlb), which win over CRI's, are cleared by "max", and are refused by name where they are unknown,
have no controller or are below use, with all others as they were; swap as kubelet asks for it; huge pages; a controller that
a level above has kept; a kill for want of memory, of one process or of all; a frozen container; pressure."""

import os
import pathlib
import subprocess

import grpc
import harness
import pytest

CGROUPS = pathlib.Path("/sys/fs/cgroup")
MIB = 1 << 20
pytestmark = pytest.mark.skipif(not (CGROUPS / "cgroup.controllers").exists(), reason="cgroups are not v2 here")


def controllers():
    return (CGROUPS / "cgroup.controllers").read_text().split()


class Limited:
    """A container and its cgroup."""

    def __init__(self, skiff, pod, resources, command=("sleep", "1000")):
        self.skiff = skiff
        self.id = skiff.run(pod, list(command), resources=resources)
        self.directory = CGROUPS / skiff.cgroup_parent[1:] / self.id

    def __getitem__(self, file):
        return (self.directory / file).read_text().strip()

    def update(self, **linux):
        self.skiff.cri.UpdateContainerResources(container_id=self.id, linux=linux)

    def refusal(self, **linux):
        return harness.code_of(self.update, **linux)

    def all(self):
        """Every limit."""
        names = ("cpu.m*", "cpu.w*", "cpuset.[cm]*s", "memory.m[ai][xn]", "memory.[lh]*", "memory.swap.max", "memory.oom.group", "pids.max", "hugetlb.*max", "io.max")
        return {path.name: path.read_text() for name in names for path in self.directory.glob(name)}

    @property
    def told(self):
        return self.skiff.status(self.id).resources.linux


@pytest.fixture
def pod(skiff):
    return skiff.run_pod(host_network=True)


def test_settings_by_the_kernels_names(skiff, pod):
    unified = {
        "memory.min": "1048576", "memory.low": "2097152", "memory.high": "67108864", "memory.oom.group": "1", "pids.max": "33",
        "memory.swap.max": "4194304", "cpu.weight": "77", "cpu.max": "20000 50000", "cpuset.cpus": "0",
    }  # fmt: skip
    container = Limited(skiff, pod, {"unified": unified})
    assert {key: container[key] for key in unified} == unified
    assert dict(container.told.unified) == unified
    skiff.restart()
    assert dict(container.told.unified) == unified


def test_they_win_over_cris_own(skiff, pod):
    plain = {"memory_limit_in_bytes": 64 * MIB, "cpu_shares": 512, "cpu_quota": 50000, "cpu_period": 100000}
    unified = {"memory.max": str(48 * MIB), "cpu.weight": "123", "cpu.max": "max 100000", "memory.swap.max": str(MIB)}
    container = Limited(skiff, pod, {**plain, "unified": unified})
    assert {key: container[key] for key in unified} == unified
    container.update(cpu_shares=1024, unified={"cpu.weight": "9"})
    assert container["cpu.weight"] == "9"


def test_max_clears_and_what_is_left_out_stays(skiff, pod):
    container = Limited(skiff, pod, {"unified": {"memory.high": str(32 * MIB), "memory.low": str(MIB), "pids.max": "50"}})
    container.update(unified={"memory.high": "max"})
    assert (container["memory.high"], container["memory.low"], container["pids.max"]) == ("max", str(MIB), "50")
    assert dict(container.told.unified) == {"memory.high": "max", "memory.low": str(MIB), "pids.max": "50"}
    container.update(memory_limit_in_bytes=64 * MIB)
    assert container.told.unified["pids.max"] == "50"
    container.update(unified={"pids.max": "max", "memory.low": "0"})
    assert (container["pids.max"], container["memory.low"], container["memory.max"]) == ("max", "0", str(64 * MIB))


def refusals():
    missing = next(name for name in ("dmem", "misc", "rdma", "perf_event") if name not in controllers())
    return {
        "memory.heigh": grpc.StatusCode.INVALID_ARGUMENT,
        "nonsense.max": grpc.StatusCode.INVALID_ARGUMENT,
        "cgroup.freeze": grpc.StatusCode.INVALID_ARGUMENT,
        "memory.reclaim": grpc.StatusCode.INVALID_ARGUMENT,
        "memory.current": grpc.StatusCode.INVALID_ARGUMENT,
        "../memory.max": grpc.StatusCode.INVALID_ARGUMENT,
        f"{missing}.max": grpc.StatusCode.FAILED_PRECONDITION,
    }


def test_what_the_kernel_has_not_is_refused_by_name(skiff, pod):
    container = Limited(skiff, pod, {"memory_limit_in_bytes": 64 * MIB, "unified": {"memory.high": str(32 * MIB)}})
    before, told = container.all(), container.told
    good = {"cpu_shares": 2000, "memory_limit_in_bytes": 128 * MIB, "cpu_quota": 30000}
    for key, wanted in refusals().items():
        asked = {**good, "unified": {"memory.high": "max", "pids.max": "7", key: "1"}}
        code, text = container.refusal(**asked)
        assert code == wanted and key in text, (key, text)
        assert container.all() == before and container.told == told
        code, text = harness.code_of(skiff.create, pod, ["true"], resources=asked)
        assert code == wanted and key in text, (key, text)
    for key, value in (("memory.max", "lots"), ("memory.high", ""), ("cpu.weight", "0"), ("cpuset.cpus", "4000"), ("memory.oom.group", "2")):
        code, text = container.refusal(**good, unified={"pids.max": "7", key: value})
        assert code == grpc.StatusCode.INVALID_ARGUMENT and key in text, (key, text)
        assert container.all() == before and container.told == told
    assert len(skiff.cri.ListContainers().containers) == 1
    assert len([path for path in container.directory.parent.iterdir() if path.is_dir()]) == 2


def test_memory_in_use_is_not_taken_away_by_any_name(skiff, pod):
    script = "x=$(head -c 40000000 /dev/zero | tr '\\0' x); echo up; sleep 1000; echo $x"
    container = Limited(skiff, pod, {"memory_limit_in_bytes": 256 * MIB}, ["sh", "-c", script])
    harness.wait_for(lambda: "up" in skiff.text(container.id), "its memory", 30)
    before, told = container.all(), container.told
    for less in ({"memory_limit_in_bytes": 4 * MIB}, {"unified": {"memory.max": str(4 * MIB)}}):
        code, text = container.refusal(cpu_shares=7, **less)
        assert code == grpc.StatusCode.FAILED_PRECONDITION and "memory.max" in text, text
        assert container.all() == before and container.told == told
    assert skiff.status(container.id).state == 1


@pytest.mark.skipif(not list(CGROUPS.glob("*/memory.swap.max")), reason="this kernel does not count swap")
def test_swap_as_kubelet_asks_for_it(skiff, pod):
    """On v2 by memory.swap.max: 0 for NoSwap, a share for LimitedSwap; other clients by memory and swap together."""
    none = Limited(skiff, pod, {"memory_limit_in_bytes": 64 * MIB, "unified": {"memory.swap.max": "0"}})
    some = Limited(skiff, pod, {"memory_limit_in_bytes": 64 * MIB, "unified": {"memory.swap.max": str(12 * MIB)}})
    unlimited = Limited(skiff, pod, {"unified": {"memory.swap.max": str(8 * MIB)}})
    together = Limited(skiff, pod, {"memory_limit_in_bytes": 64 * MIB, "memory_swap_limit_in_bytes": 96 * MIB})
    found = [(c["memory.max"], c["memory.swap.max"]) for c in (none, some, unlimited, together)]
    assert found == [(str(64 * MIB), "0"), (str(64 * MIB), str(12 * MIB)), ("max", str(8 * MIB)), (str(64 * MIB), str(32 * MIB))]
    for container in (some, together):
        container.update(memory_limit_in_bytes=128 * MIB)
    assert some["memory.swap.max"] == str(12 * MIB) and together["memory.swap.max"] == "0"
    together.update(memory_limit_in_bytes=32 * MIB, memory_swap_limit_in_bytes=-1)
    assert (together["memory.max"], together["memory.swap.max"]) == (str(32 * MIB), "max")


@pytest.mark.skipif(not list(CGROUPS.glob("*/hugetlb.2MB.max")), reason="no cgroup controller hugetlb")
def test_huge_pages_in_use_and_reserved(skiff, pod):
    container = Limited(skiff, pod, {"hugepage_limits": [{"page_size": "2MB", "limit": 4 * MIB}]})
    assert (container["hugetlb.2MB.max"], container["hugetlb.2MB.rsvd.max"]) == (str(4 * MIB), str(4 * MIB))
    container.update(hugepage_limits=[{"page_size": "2MB", "limit": 8 * MIB}])
    assert (container["hugetlb.2MB.max"], container["hugetlb.2MB.rsvd.max"]) == (str(8 * MIB), str(8 * MIB))
    code, text = container.refusal(cpu_shares=7, hugepage_limits=[{"page_size": "3MB", "limit": 4 * MIB}])
    assert code == grpc.StatusCode.INVALID_ARGUMENT and "hugetlb.3MB" in text and container["cpu.weight"] == "100"


@pytest.fixture
def device(tmp_path):
    """A loop device's number."""
    (tmp_path / "disk").write_bytes(b"")
    os.truncate(tmp_path / "disk", 8 * MIB)
    done = subprocess.run(["losetup", "-f", "--show", tmp_path / "disk"], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"no loop device: {done.stderr}")
    number = os.stat(done.stdout.strip()).st_rdev
    yield f"{os.major(number)}:{os.minor(number)}"
    subprocess.run(["losetup", "-d", done.stdout.strip()], check=True)


def test_io_by_the_kernels_names(skiff, pod, device):
    container = Limited(skiff, pod, {"unified": {"io.max": f"{device} rbps=1048576 wiops=50"}})
    assert container["io.max"] == f"{device} rbps=1048576 wbps=max riops=max wiops=50"
    container.update(unified={"io.max": f"{device} rbps=max wiops=20"})
    assert container["io.max"] == f"{device} rbps=max wbps=max riops=max wiops=20"
    before = container.all()
    code, _ = container.refusal(unified={"io.max": f"{device} wbps=7777777"}, cpu_quota=20000, cpu_period=100000, cpuset_cpus="4000")
    assert code == grpc.StatusCode.INVALID_ARGUMENT and container.all() == before
    bare = Limited(skiff, pod, {})
    code, _ = harness.code_of(bare.update, unified={"io.max": f"{device} wbps=7777777", "pids.max": "never"})
    assert code == grpc.StatusCode.INVALID_ARGUMENT and bare["io.max"] == ""
    container.update(unified={"io.max": f"{device} wiops=max"})
    assert container["io.max"] == ""


def test_a_controller_that_a_level_above_kept_is_handed_down(skiff):
    above = CGROUPS / skiff.cgroup_parent[1:]
    (above / "pod1").mkdir(parents=True)
    for directory, asked in ((CGROUPS, "+memory +pids +cpuset"), (above, "+memory +pids")):
        (directory / "cgroup.subtree_control").write_text(asked)
    try:
        pod = skiff.run_pod(host_network=True, linux={"cgroup_parent": f"{skiff.cgroup_parent}/pod1"})
        assert "cpuset" not in (above / "pod1/cgroup.controllers").read_text().split()
        container = skiff.run(pod, ["sleep", "1000"], resources={"cpuset_cpus": "0", "memory_limit_in_bytes": 64 * MIB})
        assert (above / "pod1" / container / "cpuset.cpus").read_text() == "0\n"
        skiff.remove_pod(pod)
    finally:
        (above / "pod1").rmdir()
        above.rmdir()


def test_one_process_or_all_are_killed_for_want_of_memory(skiff, pod):
    """kubelet sends memory.oom.group: 1 unless it is told to have single processes killed."""
    limits = {"memory_limit_in_bytes": 16 * MIB}
    script = ["sh", "-c", "tail /dev/zero; echo survived; sleep 1000"]
    one = Limited(skiff, pod, {**limits, "unified": {"memory.oom.group": "0"}}, script)
    harness.wait_for(lambda: "survived" in skiff.text(one.id), "the shell", 60)
    assert "oom_kill 1\n" in one["memory.events"] + "\n" and skiff.status(one.id).state == 1
    every = Limited(skiff, pod, {**limits, "unified": {"memory.oom.group": "1"}}, script)
    status = skiff.wait_exited(every.id, 60)
    assert (status.exit_code, status.reason) == (137, "OOMKilled") and "survived" not in skiff.text(every.id)
    # Whatever it ended with, some of it was killed.
    skiff.cri.StopContainer(container_id=one.id, timeout=0)
    assert skiff.status(one.id).reason == "OOMKilled"


@pytest.mark.parametrize("end", ["stop", "remove", "kill"])
def test_a_container_that_somebody_froze_ends(skiff, pod, end):
    container = Limited(skiff, pod, {}, ["sh", "-c", "sleep 1000 & sleep 1000"])
    (container.directory / "cgroup.freeze").write_text("1")
    harness.wait_for(lambda: "frozen 1" in container["cgroup.events"], "the freezer")
    if end == "kill":
        skiff.restart()
    if end == "stop":
        skiff.cri.StopContainer(container_id=container.id, timeout=1)
        assert skiff.status(container.id).exit_code == 137
    skiff.cri.RemoveContainer(container_id=container.id)
    assert not container.directory.exists()


@pytest.mark.skipif(not os.path.exists("/proc/pressure/cpu"), reason="this kernel has no PSI")
def test_pressure_is_told(skiff, pod):
    busy = Limited(skiff, pod, {"cpu_quota": 5000, "cpu_period": 100000}, ["sh", "-c", "while :; do :; done"])
    idle = Limited(skiff, pod, {})

    def stats(container):
        return skiff.cri.ContainerStats(container_id=container.id).stats

    harness.wait_for(lambda: stats(busy).cpu.psi.Some.Total > 50000 and stats(busy).cpu.psi.Full.Total > 50000, "its waiting", 20)
    now = dict(line.split("=") for line in busy["cpu.pressure"].split("\n")[0].split()[1:])
    assert stats(busy).cpu.psi.Some.Total >= int(now["total"])
    harness.wait_for(lambda: stats(busy).cpu.psi.Some.Avg10 > 1, "the average", 20)
    for usage in (stats(idle).cpu, stats(idle).memory, stats(idle).io, stats(busy).memory):
        assert usage.HasField("psi") and usage.psi.Some.Total < 50000 and usage.psi.Full.Avg300 == 0
