"""Metrics by name, as kubelet's /metrics/cadvisor passes them on. Covers: descriptors against cAdvisor's names and labels;
values against what was done (cpu, memory, files, descriptors, sockets, threads, interfaces, out of memory, quotas); what is
listed and what is not; limits that change; odd names and requests; a restart."""

import os
import pathlib
import subprocess
import time

import grpc
import pytest

import harness

BASE = ["container", "id", "image", "name", "namespace", "pod"]
MORE = {
    "container_cpu_usage_seconds_total": ["cpu"],
    "container_memory_failures_total": ["failure_type", "scope"],
    "container_hugetlb_usage_bytes": ["pagesize"],
    "container_hugetlb_max_usage_bytes": ["pagesize"],
    "container_fs_inodes_free": ["device"],
    "container_fs_inodes_total": ["device"],
    "container_fs_limit_bytes": ["device"],
    "container_fs_usage_bytes": ["device"],
    "container_fs_reads_total": ["device"],
    "container_fs_reads_bytes_total": ["device"],
    "container_fs_writes_total": ["device"],
    "container_fs_writes_bytes_total": ["device"],
    "container_blkio_device_usage_total": ["device", "major", "minor", "operation"],
    "container_ulimits_soft": ["ulimit"],
    **{
        f"container_network_{way}_{what}_total": ["interface"]
        for way in ("receive", "transmit")
        for what in ("bytes", "errors", "packets", "packets_dropped")
    },
}
PLAIN = """
cpu_cfs_periods_total cpu_cfs_throttled_periods_total cpu_cfs_throttled_seconds_total cpu_system_seconds_total
cpu_user_seconds_total file_descriptors last_seen memory_cache memory_failcnt memory_kernel_usage memory_mapped_file
memory_max_usage_bytes memory_rss memory_swap memory_total_active_file_bytes memory_total_inactive_file_bytes
memory_usage_bytes memory_working_set_bytes oom_events_total pressure_cpu_stalled_seconds_total
pressure_cpu_waiting_seconds_total pressure_io_stalled_seconds_total pressure_io_waiting_seconds_total
pressure_memory_stalled_seconds_total pressure_memory_waiting_seconds_total processes sockets spec_cpu_period
spec_cpu_quota spec_cpu_shares spec_memory_limit_bytes spec_memory_reservation_limit_bytes
spec_memory_swap_limit_bytes start_time_seconds threads threads_max
""".split()
# What every running container has, on any host that this suite runs on.
ALWAYS = [
    f"container_{name}" for name in PLAIN
    if not name.startswith(("pressure_", "cpu_cfs_", "memory_swap", "memory_max_usage")) and name != "spec_cpu_quota"
]  # fmt: skip
COUNTER, GAUGE = 0, 1
COUNTERS = {name for name in [*MORE, *map("container_{}".format, PLAIN)] if name.endswith(("_total", "failcnt"))}
COUNTERS.remove("container_fs_inodes_total")
MIB = 1 << 20
V2 = os.path.exists("/sys/fs/cgroup/cgroup.controllers")


class Metrics:
    """One answer: pod id -> its values, container id -> its values; each name -> list of (labels, metric)."""

    def __init__(self, skiff):
        keys = {d.name: list(d.label_keys) for d in skiff.cri.ListMetricDescriptors().descriptors}
        self.pods, self.containers, self.of_pod = {}, {}, {}
        for pod in skiff.cri.ListPodSandboxMetrics().pod_metrics:
            self.pods[pod.pod_sandbox_id] = self.table(keys, pod.metrics)
            self.of_pod[pod.pod_sandbox_id] = [c.container_id for c in pod.container_metrics]
            for container in pod.container_metrics:
                self.containers[container.container_id] = self.table(keys, container.metrics)

    @staticmethod
    def table(keys, metrics):
        found = {}
        for metric in metrics:
            assert len(metric.label_values) == len(keys[metric.name]), metric
            labels = dict(zip(keys[metric.name], metric.label_values))
            found.setdefault(metric.name, []).append((labels, metric))
        for name, values in found.items():
            distinct = {tuple(labels.items()) for labels, _ in values}
            assert len(distinct) == len(values), f"{name} twice with the same labels"
        return found

    def value(self, owner, name, **labels):
        """The one value of container_NAME with these labels among others; None when there is none."""
        table = self.containers.get(owner) or self.pods[owner]
        found = [m.value.value for has, m in table.get(f"container_{name}", []) if labels.items() <= has.items()]
        assert len(found) <= 1, (name, found)
        return found[0] if found else None


class Disk:
    """A filesystem on a loop device."""

    def __init__(self, directory):
        file = directory / "disk.img"
        self.path = directory / "disk"
        self.path.mkdir()
        with open(file, "wb") as image:
            image.truncate(48 * MIB)
        subprocess.run(["mkfs.ext4", "-q", "-m", "0", file], check=True)
        subprocess.run(["mount", "-o", "loop", file, self.path], check=True)
        number = os.stat(self.path).st_dev
        self.major, self.minor = str(os.major(number)), str(os.minor(number))
        self.device = "/dev/" + os.path.basename(os.readlink(f"/sys/dev/block/{self.major}:{self.minor}"))


@pytest.fixture
def disk(skiff):
    made = Disk(skiff.directory)
    yield made
    skiff.remove_all()
    subprocess.run(["umount", made.path], check=True)


def test_descriptors_are_cadvisors(skiff):
    descriptors = {d.name: d for d in skiff.cri.ListMetricDescriptors().descriptors}
    assert set(descriptors) == set(MORE) | {f"container_{name}" for name in PLAIN}
    for name, descriptor in descriptors.items():
        assert list(descriptor.label_keys) == BASE + MORE.get(name, [])
        assert descriptor.help.endswith(".")
    assert not skiff.cri.ListPodSandboxMetrics().pod_metrics


def test_types_and_labels(skiff):
    pod = skiff.run_pod(name="web")
    config = skiff.container_config(["sleep", "60"], name="main")
    # As kubelet does it.
    image = skiff.cri.ImageStatus(image={"image": harness.IMAGE}).image.id
    config["image"] = {"image": image, "user_specified_image": harness.IMAGE}
    container = skiff.run(pod, None, config=config)
    metrics = Metrics(skiff)
    table = metrics.containers[container]
    assert not [name for name in ALWAYS if name not in table]
    for name, values in {**table, **metrics.pods[pod]}.items():
        for labels, metric in values:
            assert metric.metric_type == (COUNTER if name in COUNTERS else GAUGE)
            assert labels["pod"] == "web" and labels["namespace"] == "default"
            own = name in table
            assert labels["container"] == ("main" if own else "")
            assert labels["image"] == (harness.IMAGE if own else "")
            assert labels["name"] == (container if own else pod)
            assert labels["id"].startswith(skiff.cgroup_parent) and (not own or container in labels["id"])
            # Read now; only a writable layer may be of a moment ago.
            assert metric.timestamp == 0 or name == "container_fs_usage_bytes"
    assert set(metrics.pods[pod]) == {name for name in MORE if "network" in name}
    assert {labels["interface"] for labels, _ in metrics.pods[pod]["container_network_receive_bytes_total"]} == {"eth0"}
    assert {labels["cpu"] for labels, _ in table["container_cpu_usage_seconds_total"]} == {"total"}
    faults = {(l["failure_type"], l["scope"]) for l, _ in table["container_memory_failures_total"]}
    assert faults == {(t, s) for t in ("pgfault", "pgmajfault") for s in ("container", "hierarchy")}
    now = time.time()
    started = skiff.status(container).started_at // 10**9
    assert metrics.value(container, "start_time_seconds") == started
    assert now - 60 < metrics.value(container, "last_seen") <= now
    # A second look: the layer was walked at the first, and says when, unless nothing has run since: it is as it was.
    again = Metrics(skiff).containers[container]["container_fs_usage_bytes"][0][1]
    assert again.timestamp == 0 or (now - 60) * 1e9 < again.timestamp < time.time() * 1e9


def test_cpu_follows_the_load(skiff):
    pod = skiff.run_pod()
    busy = skiff.run(pod, ["sh", "-c", "while :; do :; done"])
    calm = skiff.run(pod, ["sleep", "60"])
    # Half of it in the kernel: dd copies zeros.
    kernel = skiff.run(pod, ["dd", "if=/dev/zero", "of=/dev/null", "bs=1M"])

    def spent():
        metrics = Metrics(skiff)
        return metrics if metrics.value(busy, "cpu_user_seconds_total") >= 2 else None

    metrics = harness.wait_for(spent, "two seconds of cpu", 30)
    stats = skiff.cri.ContainerStats(container_id=busy).stats.cpu.usage_core_nano_seconds.value
    assert 2 <= metrics.value(busy, "cpu_usage_seconds_total") <= stats // 10**9
    assert metrics.value(calm, "cpu_usage_seconds_total") == 0
    assert metrics.value(kernel, "cpu_system_seconds_total") > metrics.value(kernel, "cpu_user_seconds_total")
    # Nothing holds them back, so there is no quota to have periods of.
    assert metrics.value(busy, "cpu_cfs_periods_total") is None
    assert metrics.value(busy, "spec_cpu_quota") is None
    assert metrics.value(busy, "spec_cpu_period") == 100000


def test_a_quota_shows(skiff):
    pod = skiff.run_pod()
    resources = {"cpu_period": 50000, "cpu_quota": 5000, "cpu_shares": 512}
    container = skiff.run(pod, ["sh", "-c", "while :; do :; done"], resources=resources)

    def throttled():
        metrics = Metrics(skiff)
        return metrics if (metrics.value(container, "cpu_cfs_throttled_seconds_total") or 0) >= 1 else None

    metrics = harness.wait_for(throttled, "a second held back", 30)
    assert metrics.value(container, "cpu_cfs_periods_total") >= metrics.value(
        container, "cpu_cfs_throttled_periods_total"
    ) > 5
    assert metrics.value(container, "spec_cpu_period") == 50000
    assert metrics.value(container, "spec_cpu_quota") == 5000
    assert metrics.value(container, "spec_cpu_shares") == 512
    skiff.cri.UpdateContainerResources(container_id=container, linux={"cpu_period": 100000, "cpu_quota": 20000})
    metrics = Metrics(skiff)
    assert metrics.value(container, "spec_cpu_quota") == 20000
    assert metrics.value(container, "spec_cpu_shares") == 512


def test_memory_follows_what_is_touched(skiff):
    pod = skiff.run_pod()
    resources = {"memory_limit_in_bytes": 128 * MIB, "memory_swap_limit_in_bytes": 128 * MIB}
    # awk holds its string: anonymous memory. The file on tmpfs is cache.
    script = "dd if=/dev/zero of=/dev/shm/x bs=1M count=20 2>/dev/null; s=$(yes | head -c 16777216); sleep 60"
    container = skiff.run(pod, ["sh", "-c", script], resources=resources)

    def touched():
        metrics = Metrics(skiff)
        return metrics if metrics.value(container, "memory_rss") >= 16 * MIB else None

    metrics = harness.wait_for(touched, "touched memory", 30)
    value = lambda name: metrics.value(container, f"memory_{name}")  # noqa: E731
    assert value("cache") >= 20 * MIB
    assert value("rss") + value("cache") <= value("usage_bytes") * 1.1
    assert value("usage_bytes") >= value("working_set_bytes") >= 16 * MIB
    assert value("usage_bytes") < 128 * MIB
    if value("max_usage_bytes") is not None:
        assert value("max_usage_bytes") >= value("usage_bytes")
    assert metrics.value(container, "memory_failures_total", failure_type="pgfault", scope="container") > 1000
    assert metrics.value(container, "spec_memory_limit_bytes") == 128 * MIB
    assert metrics.value(container, "spec_memory_swap_limit_bytes") == 128 * MIB
    assert metrics.value(container, "oom_events_total") == 0
    assert value("failcnt") == 0
    skiff.cri.UpdateContainerResources(container_id=container, linux={"memory_limit_in_bytes": 100 * MIB})
    assert Metrics(skiff).value(container, "spec_memory_limit_bytes") == 100 * MIB


def test_a_kill_for_want_of_memory_counts(skiff):
    pod = skiff.run_pod()
    # The shell stays; what it starts is killed.
    script = "sh -c 's=$(yes | head -c 67108864)'; sleep 60"
    resources = {"memory_limit_in_bytes": 24 * MIB, "memory_swap_limit_in_bytes": 24 * MIB}
    container = skiff.run(pod, ["sh", "-c", script], resources=resources)
    killed = lambda: Metrics(skiff).value(container, "oom_events_total")  # noqa: E731
    assert harness.wait_for(killed, "a kill", 30) >= 1
    if V2:  # v1's counter stands still in newer kernels
        assert Metrics(skiff).value(container, "memory_failcnt") >= 1


def test_processes_and_what_they_open(skiff):
    pod = skiff.run_pod()
    script = "exec 3</etc/passwd 4</etc/passwd 5</etc/passwd; nc -l -p 7777 & nc -l -p 7778 & exec sleep 60"
    container = skiff.run(pod, ["sh", "-c", script])

    def settled():
        metrics = Metrics(skiff)
        counts = [metrics.value(container, name) for name in ("processes", "threads", "sockets")]
        return metrics if counts == [3, 3, 2] else None

    metrics = harness.wait_for(settled, "three processes and two sockets")
    # Three more than stdin, stdout and stderr in each, and the sockets.
    assert metrics.value(container, "file_descriptors") == 3 * 6 + 2
    limits = (harness.read_proc(skiff.info(container)["pid"], "limits")).splitlines()
    soft = [line.split()[3] for line in limits if line.startswith("Max open files")][0]
    assert metrics.value(container, "ulimits_soft", ulimit="max_open_files") == int(soft)
    assert metrics.value(container, "threads_max") == 0
    # What an exec runs is the container's too.
    call = skiff.cri.future("ExecSync", container_id=container, cmd=["sleep", "5"], timeout=20)
    harness.wait_for(lambda: Metrics(skiff).value(container, "processes") == 4, "the exec", 4)
    call.cancel()


def test_what_is_written_counts(skiff):
    pod = skiff.run_pod()
    container = skiff.run(pod, ["sleep", "60"])
    skiff.exec(container, ["dd", "if=/dev/zero", "of=/filled", "bs=1M", "count=5"])
    metrics = Metrics(skiff)
    assert 5 * MIB <= metrics.value(container, "fs_usage_bytes") < 6 * MIB
    where = os.statvfs(skiff.root)
    assert metrics.value(container, "fs_limit_bytes") == where.f_blocks * where.f_frsize
    assert metrics.value(container, "fs_inodes_total") == where.f_files
    assert 0 < metrics.value(container, "fs_inodes_free") <= where.f_files
    device = metrics.containers[container]["container_fs_limit_bytes"][0][0]["device"]
    number = os.stat(skiff.root).st_dev
    assert device.startswith("/dev/") or device == f"{os.major(number)}:{os.minor(number)}"


def test_a_disk_that_is_written_to_counts(skiff, disk):
    pod = skiff.run_pod()
    mount = {"container_path": "/disk", "host_path": str(disk.path)}
    container = skiff.run(pod, ["sleep", "60"], mounts=[mount])
    labels = {"device": disk.device}
    if not V2:
        # Since 6.10 v1 counts only on devices that have a limit.
        cgroup = Metrics(skiff).containers[container]["container_last_seen"][0][0]["id"]
        limit = pathlib.Path(f"/sys/fs/cgroup/blkio{cgroup}/blkio.throttle.write_bps_device")
        limit.write_text(f"{disk.major}:{disk.minor} {1 << 30}")
    skiff.exec(container, ["dd", "if=/dev/zero", "of=/disk/x", "bs=1M", "count=8", "oflag=direct"])

    def written():
        metrics = Metrics(skiff)
        return metrics if (metrics.value(container, "fs_writes_bytes_total", **labels) or 0) >= 8 * MIB else None

    metrics = harness.wait_for(written, "the disk's counter", 15)
    assert metrics.value(container, "fs_writes_total", **labels) >= 8
    usage = metrics.value(
        container, "blkio_device_usage_total", operation="Write", major=disk.major, minor=disk.minor, **labels
    )
    assert usage == metrics.value(container, "fs_writes_bytes_total", **labels)
    assert metrics.value(container, "blkio_device_usage_total", operation="Read", **labels) is not None


def test_bytes_that_are_sent_count(skiff):
    pod = skiff.run_pod()
    container = skiff.run(pod, ["sleep", "60"])
    before = Metrics(skiff)
    skiff.exec(container, ["ping", "-c", "3", "-i", "0.1", "-s", "1000", "10.211.0.1"])
    after = Metrics(skiff)
    for way in ("transmit", "receive"):
        grown = {
            what: after.value(pod, f"network_{way}_{what}_total") - before.value(pod, f"network_{way}_{what}_total")
            for what in ("bytes", "packets", "errors", "packets_dropped")
        }
        assert 3 * 1042 <= grown["bytes"] < 20000 and 3 <= grown["packets"] < 60, grown
        assert grown["errors"] == 0


def test_only_what_runs_is_listed(skiff):
    pod, other = skiff.run_pod(host_network=True), skiff.run_pod()
    running = skiff.run(pod, ["sleep", "60"])
    skiff.create(pod, ["true"])
    ended = skiff.run(pod, ["true"])
    skiff.wait_exited(ended)
    metrics = Metrics(skiff)
    assert metrics.of_pod == {pod: [running], other: []}
    assert not metrics.pods[pod]  # the host's interfaces are not the pod's
    skiff.restart()
    assert Metrics(skiff).of_pod == {pod: [running], other: []}
    skiff.cri.StopPodSandbox(pod_sandbox_id=pod)
    assert Metrics(skiff).of_pod == {other: []}
    skiff.remove_pod(other)
    assert not Metrics(skiff).of_pod


def test_containers_that_come_and_go_meanwhile(skiff):
    pod = skiff.run_pod(host_network=True)
    stays = skiff.run(pod, ["sleep", "300"])
    for _ in range(10):
        container = skiff.run(pod, ["true"])
        calls = [skiff.cri.future("ListPodSandboxMetrics") for _ in range(4)]
        removal = skiff.cri.future("RemoveContainer", container_id=container)
        for call in calls:
            pods = call.result().pod_metrics
            assert stays in [c.container_id for c in pods[0].container_metrics]
            for found in pods[0].container_metrics:
                assert len(found.metrics) > 20
        removal.result()


def test_odd_names_and_requests(skiff):
    config = skiff.pod_config(name="odd")
    config["metadata"]["namespace"] = 'ein "Name" \\ \n{ü:"€"}'
    pod = skiff.run_pod(config)
    for labels, _ in Metrics(skiff).pods[pod]["container_network_receive_bytes_total"]:
        assert labels["namespace"] == config["metadata"]["namespace"]
    path = "/runtime.v1.RuntimeService/ListPodSandboxMetrics"
    assert skiff.cri.raw(path, b"\x7a\x03abc")  # a field that a later version may have
    for garbage in (b"\xff\xff", b"\x0a\x7fshort"):
        code, details = harness.code_of(skiff.cri.raw, path, garbage)
        assert code == grpc.StatusCode.INVALID_ARGUMENT, details


@pytest.mark.skipif(not V2, reason="pressure is counted on cgroup v2")
def test_pressure_shows_on_v2(skiff):
    pod = skiff.run_pod()
    container = skiff.run(pod, ["sleep", "60"])
    metrics = Metrics(skiff)
    if not os.path.exists("/proc/pressure/cpu"):
        pytest.skip("the kernel has no PSI")
    for what in ("cpu", "memory", "io"):
        assert metrics.value(container, f"pressure_{what}_waiting_seconds_total") == 0
