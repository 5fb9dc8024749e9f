"""The systemd cgroup driver, on a host with systemd and cgroup v2 (tests/vm/lane.sh systemd): scopes and slices, and what systemd
does to them: reloads, stops, an end without an answer."""

import concurrent.futures
import os
import pathlib
import socket
import subprocess
import uuid

import grpc
import pytest

import harness

CGROUPS = pathlib.Path("/sys/fs/cgroup")
PRIVATE = "/run/systemd/private"
SYSTEMD, CGROUPFS = 0, 1

pytestmark = pytest.mark.skipif(
    not os.path.isdir("/run/systemd/system") or not (CGROUPS / "cgroup.controllers").exists(),
    reason="systemd is not pid 1 here, or cgroups are not v2",
)


def slice_name():
    return f"skifftest-{uuid.uuid4().hex[:8]}.slice"


def path_of(name):
    parts = name.removesuffix(".slice").split("-")
    return "".join(f"/{'-'.join(parts[: i + 1])}.slice" for i in range(len(parts)))


@pytest.fixture
def bare(tmp_path):
    daemon = harness.Skiff(tmp_path)
    daemon.slice = slice_name()
    daemon.cgroup_parent = path_of(daemon.slice)
    yield daemon
    if daemon.process and daemon.process.poll() is None:
        daemon.stop()
    assert not (CGROUPS / "skifftest.slice").exists(), systemctl("status", "skifftest.slice", check=False)
    assert "skiff" not in systemctl("list-units", "--all", "skiff*"), systemctl("list-units", "--all", "skiff*")
    harness.remove_tree(tmp_path)


def systemctl(*arguments, check=True):
    done = subprocess.run(
        ["systemctl", "--no-pager", "--no-legend", *arguments], capture_output=True, text=True, check=False, timeout=200
    )
    assert not check or done.returncode == 0, (arguments, done.stdout, done.stderr)
    return done.stdout


def scope(pod):
    return f"skiff-{pod}.scope"


def shown(unit, *names):
    lines = systemctl("show", unit, *(f"-p{name}" for name in names)).splitlines()
    return dict(line.split("=", 1) for line in lines)


def home(skiff, pod):
    return CGROUPS / skiff.cgroup_parent[1:] / scope(pod)


def run_pod(skiff, **more):
    return skiff.run_pod(host_network=True, **more)


def cgroup_of(pid):
    return harness.read_proc(pid, "cgroup").strip().removeprefix("0::")


def is_ready(skiff, pod):
    return skiff.pod_status(pod).status.state == 0


def test_kubelet_is_told_which_driver(skiff):
    assert skiff.cri.RuntimeConfig().linux.cgroup_driver == SYSTEMD
    assert '"cgroupDriver":"systemd"' in skiff.cri.Status(verbose=True).info["info"]
    skiff.arguments = ["--cgroup-driver", "systemd"]
    skiff.restart()
    assert skiff.cri.RuntimeConfig().linux.cgroup_driver == SYSTEMD


def test_cgroupfs_is_possible_where_systemd_is(skiff):
    pod = run_pod(skiff)
    skiff.arguments = ["--cgroup-driver", "cgroupfs"]
    skiff.restart()
    assert skiff.cri.RuntimeConfig().linux.cgroup_driver == CGROUPFS
    container = skiff.run(pod, ["sleep", "1000"])  # a pod keeps what it was made with
    assert cgroup_of(skiff.info(container)["pid"]).endswith(f"{scope(pod)}/{container}")
    code, text = harness.code_of(run_pod, skiff, linux={"cgroup_parent": skiff.slice})
    assert code == grpc.StatusCode.INVALID_ARGUMENT and "cgroupDriver: cgroupfs" in text
    other = run_pod(skiff, linux={"cgroup_parent": "/skiff-plain/pod1"})
    assert (CGROUPS / "skiff-plain/pod1" / other).is_dir()
    skiff.remove_pod(other)
    assert not (CGROUPS / "skiff-plain").exists()
    skiff.remove_pod(pod)


def test_a_pod_is_one_scope(skiff):
    pod = run_pod(skiff, linux={"cgroup_parent": skiff.slice, "resources": {"cpu_shares": 2048}})
    containers = [skiff.run(pod, ["sleep", "1000"]) for _ in range(2)]
    wanted = {
        "Slice": skiff.slice, "Delegate": "yes", "TasksMax": "infinity", "ActiveState": "active",
        "OOMPolicy": "continue", "DefaultDependencies": "no", "CollectMode": "inactive-or-failed", "DevicePolicy": "auto",
        "ControlGroup": str(home(skiff, pod)).removeprefix(str(CGROUPS)),
    }  # fmt: skip
    assert shown(scope(pod), *wanted) == wanted
    assert int(shown(scope(pod), "CPUWeight")["CPUWeight"]) > 100
    assert (home(skiff, pod) / "cgroup.procs").read_text() == ""
    assert (home(skiff, pod) / pod / "cgroup.procs").read_text().split()
    assert sorted(p.name for p in home(skiff, pod).iterdir() if p.is_dir()) == sorted([pod, *containers])
    for container in containers:
        assert CGROUPS / cgroup_of(skiff.info(container)["pid"])[1:] == home(skiff, pod) / container
    assert len(systemctl("list-units", "skiff-*.scope").splitlines()) == 1
    if "hugetlb" in (CGROUPS / "cgroup.controllers").read_text():
        assert "hugetlb" in (home(skiff, pod) / containers[0] / "cgroup.controllers").read_text()
    skiff.remove_pod(pod)
    assert not home(skiff, pod).parent.exists()


def test_the_weight_follows_the_pods_resources(skiff):
    pod = run_pod(skiff, linux={"cgroup_parent": skiff.slice, "resources": {"cpu_shares": 2048}})
    container = skiff.run(pod, ["sleep", "1000"])
    weights = [int(shown(scope(pod), "CPUWeight")["CPUWeight"])]
    for shares in (1024, 512, 262144, 0, 77):
        skiff.cri.UpdatePodSandboxResources(pod_sandbox_id=pod, resources={"cpu_shares": shares})
        weights.append(shown(scope(pod), "CPUWeight")["CPUWeight"])
        wanted = "100" if weights[-1] == "[not set]" else weights[-1]
        harness.wait_for(lambda: (home(skiff, pod) / "cpu.weight").read_text() == f"{wanted}\n", "the scope's weight")  # noqa: B023
    assert weights == [174, "100", "59", "10000", "[not set]", "14"]
    systemctl("daemon-reload")
    assert (home(skiff, pod) / "cpu.weight").read_text() == "14\n"
    skiff.restart()
    assert skiff.pod_info(pod)["resources"] == {"cpu_shares": 77} and skiff.status(container).state == 1


def test_an_update_without_systemd_changes_nothing(skiff, deaf_systemd):
    pod = run_pod(skiff, linux={"cgroup_parent": skiff.slice, "resources": {"cpu_shares": 512}})
    deaf_systemd("refused")
    code, text = harness.code_of(
        skiff.cri.UpdatePodSandboxResources, pod_sandbox_id=pod, overhead={"cpu_shares": 3}, resources={"cpu_shares": 1024}
    )
    assert code == grpc.StatusCode.UNAVAILABLE and "systemd" in text, text
    told = skiff.pod_info(pod)
    assert told["resources"] == {"cpu_shares": 512} and told["overhead"] is None
    # What systemd does not have to be asked for needs no systemd.
    skiff.cri.UpdatePodSandboxResources(pod_sandbox_id=pod, overhead={"cpu_shares": 3})
    skiff.restart()
    told = skiff.pod_info(pod)
    assert told["resources"] == {"cpu_shares": 512} and told["overhead"] == {"cpu_shares": 3}
    deaf_systemd.end()
    assert shown(scope(pod), "CPUWeight") == {"CPUWeight": "59"}


def test_containers_see_their_own_cgroup_and_privileged_ones_the_hosts(skiff):
    pod = run_pod(skiff, security={"privileged": True})
    view = ["sh", "-c", "cat /proc/self/cgroup; ls /sys/fs/cgroup"]
    _, own = skiff.output_of(pod, view)
    assert own.startswith("0::/\n") and "skifftest.slice" not in own and "cgroup.procs" in own
    _, hosts = skiff.output_of(pod, view, security={"privileged": True})
    assert hosts.startswith(f"0::{skiff.cgroup_parent}/") and "skifftest.slice" in hosts
    container = skiff.run(pod, ["sleep", "1000"])
    assert skiff.exec(container, ["cat", "/proc/self/cgroup"]).stdout.decode().startswith("0::/exec.")


def test_the_pods_figures_are_the_scopes(skiff):
    pod = run_pod(skiff)
    container = skiff.run(pod, ["sh", "-c", "head -c 20m /dev/zero | tail -c 20m > /dev/shm/x; sleep 1000"])
    harness.wait_for(
        lambda: skiff.cri.ContainerStats(container_id=container).stats.memory.working_set_bytes.value > 15 << 20, "its use"
    )
    figures = skiff.cri.PodSandboxStats(pod_sandbox_id=pod).stats.linux
    assert figures.memory.working_set_bytes.value > 15 << 20 and figures.process.process_count.value >= 2
    assert figures.cpu.usage_core_nano_seconds.value > 0


FILES = ("memory.max", "pids.max", "cpu.max", "cpu.weight", "cgroup.subtree_control")


def values(skiff, pod):
    found = {}
    for directory in [home(skiff, pod), *(p for p in home(skiff, pod).iterdir() if p.is_dir())]:
        found.update({f"{directory.name}/{file}": (directory / file).read_text() for file in FILES})
    return found


def test_a_container_without_a_limit_is_not_held_to_its_neighbours(skiff):
    """kubelet sends as a pod's limits the sum of those that are declared, and leaves its slice without one where one is not."""
    limits = {"memory_limit_in_bytes": 16 << 20, "cpu_quota": 10000, "cpu_period": 100000}
    pod = run_pod(skiff, linux={"cgroup_parent": skiff.slice, "resources": limits})
    skiff.run(pod, ["sleep", "1000"], resources=limits)
    free = skiff.run(pod, ["sh", "-c", "head -c 33554432 /dev/zero | tail | wc -c; sleep 1000"])
    harness.wait_for(lambda: "33554432" in skiff.text(free), "twice as much as the other one has", 60)
    skiff.cri.UpdatePodSandboxResources(pod_sandbox_id=pod, resources=limits)
    wanted = {"MemoryMax": "infinity", "CPUQuotaPerSecUSec": "infinity"}
    assert shown(scope(pod), *wanted) == wanted and skiff.status(free).state == 1


def test_reloads_change_nothing(skiff):
    pod = run_pod(skiff)
    limits = {"memory_limit_in_bytes": 64 << 20, "cpu_quota": 1500, "cpu_period": 100000, "cpu_shares": 77}
    container = skiff.run(pod, ["sleep", "1000"], resources=limits)
    before = values(skiff, pod)
    assert before[f"{container}/memory.max"] == f"{64 << 20}\n" and before[f"{container}/cpu.max"] == "1500 100000\n"
    for command in ("daemon-reload", "daemon-reexec", "daemon-reload"):
        systemctl(command)
        harness.wait_for(lambda: systemctl("is-active", scope(pod), check=False) == "active\n", "systemd")
        assert values(skiff, pod) == before, command
        devices = ["sh", "-c", "echo > /dev/null && head -c 1 /dev/urandom > /dev/null"]
        assert skiff.exec(container, devices, timeout=50).exit_code == 0  # it has 1.5 % of a cpu
        skiff.cri.UpdateContainerResources(container_id=container, linux={"memory_limit_in_bytes": 48 << 20})
        assert (home(skiff, pod) / container / "memory.max").read_text() == f"{48 << 20}\n"
        skiff.cri.UpdateContainerResources(container_id=container, linux={"memory_limit_in_bytes": 64 << 20})
    assert is_ready(skiff, pod) and skiff.status(container).state == 1


def test_pods_start_while_systemd_starts_anew(skiff):
    """Whoever has asked when systemd executes itself anew gets no answer, and asks again."""
    configs = [skiff.pod_config(host_network=True) for _ in range(8)]
    with concurrent.futures.ThreadPoolExecutor(9) as threads:
        pods = [threads.submit(skiff.run_pod, config) for config in configs]
        reexec = threads.submit(systemctl, "daemon-reexec")
        pods = [pod.result() for pod in pods]
        reexec.result()
        assert all(is_ready(skiff, pod) for pod in pods)
        again = threads.submit(systemctl, "daemon-reexec")
        list(threads.map(skiff.remove_pod, pods))
        again.result()


def test_an_oom_kill_is_the_containers_own(skiff):
    pod = run_pod(skiff)
    neighbour = skiff.run(pod, ["sleep", "1000"])
    greedy = skiff.run(pod, ["sh", "-c", "tail /dev/zero"], resources={"memory_limit_in_bytes": 16 << 20})
    status = skiff.wait_exited(greedy, 60)
    assert status.exit_code == 137 and status.reason == "OOMKilled"
    assert skiff.exec(neighbour, ["true"]).exit_code == 0 and is_ready(skiff, pod)
    assert shown(scope(pod), "ActiveState", "Result") == {"ActiveState": "active", "Result": "success"}


@pytest.mark.parametrize("what", ["scope", "slice"])
def test_a_stop_behind_our_back_ends_the_pod(skiff, what):
    pod, other = run_pod(skiff), run_pod(skiff, linux={"cgroup_parent": "skifftest-other.slice"})
    container = skiff.run(pod, ["sleep", "1000"])
    systemctl("stop", scope(pod) if what == "scope" else skiff.slice)
    harness.wait_for(lambda: not is_ready(skiff, pod), "the pod to be not ready")
    assert skiff.wait_exited(container).exit_code in (137, 143)
    code, text = harness.code_of(skiff.create, pod, ["true"])
    assert code == grpc.StatusCode.FAILED_PRECONDITION and "not ready" in text
    assert is_ready(skiff, other)
    skiff.remove_pod(pod)
    skiff.remove_pod(other)
    assert skiff.run_pod(host_network=True)


def test_a_killed_skiffd_finds_its_scopes_again(skiff):
    pod = run_pod(skiff)
    container = skiff.run(pod, ["sleep", "1000"])
    before = shown(scope(pod), "ActiveEnterTimestampMonotonic", "InvocationID")
    skiff.restart()
    assert is_ready(skiff, pod) and skiff.status(container).state == 1
    assert shown(scope(pod), "ActiveEnterTimestampMonotonic", "InvocationID") == before
    assert skiff.exec(container, ["true"]).exit_code == 0
    second = skiff.run(pod, ["sleep", "1000"])
    assert CGROUPS / cgroup_of(skiff.info(second)["pid"])[1:] == home(skiff, pod) / second
    assert "leaks" not in skiff.cli("check", "--leaks").stdout or "nothing is left over" in skiff.cli("check", "--leaks").stdout


def test_scopes_outlive_the_unit_that_skiffd_is_in(skiff):
    skiff.stop()
    unit = f"skifftestd-{uuid.uuid4().hex[:8]}.service"
    command = ["nsenter", "-t", os.getpid(), "-m", "-n", "--", *skiff.command()]  # files and network are the tests' own
    start = ["systemd-run", "-q", f"--unit={unit}", "-pDelegate=yes", "-pKillMode=process", "-pTasksMax=infinity"]
    start += [str(part) for part in command]
    cri = harness.cri_client.Cri(skiff.endpoint)
    try:
        subprocess.run(start, check=True)
        cri.wait_ready(60)
        config = {**skiff.pod_config(host_network=True), "log_directory": ""}
        pod = cri.RunPodSandbox(config=config, _deadline=60).pod_sandbox_id
        supervisor = (home(skiff, pod) / pod / "cgroup.procs").read_text().split()[0]
        systemctl("stop", unit)
        assert systemctl("is-active", scope(pod)) == "active\n" and os.path.exists(f"/proc/{supervisor}")
    finally:
        systemctl("stop", unit, check=False)
        systemctl("reset-failed", unit, check=False)
        cri.close()
    skiff.start()
    assert is_ready(skiff, pod)


@pytest.mark.parametrize("point", ["run_pod.cgroup.after", "run_pod.supervisor.before", "run_pod.supervisor.after"])
def test_a_kill_in_a_start_leaves_nothing(skiff, point):
    before = skiff.census()
    skiff.arm(point)
    harness.code_of(run_pod, skiff)
    skiff.wait_killed()
    skiff.start()
    harness.wait_for(lambda: not (CGROUPS / "skifftest.slice").exists(), "the slices to go", 30)
    skiff.assert_nothing_left(before, 30)


def test_a_scope_without_a_record_is_found_and_removed(skiff):
    pod = run_pod(skiff)
    skiff.kill()
    records = list(skiff.directory.glob("*/pods.db*"))
    assert records
    for path in records:
        path.unlink()
    skiff.start()
    harness.wait_for(lambda: not home(skiff, pod).exists(), "the sweep", 30)
    harness.wait_for(lambda: not (CGROUPS / "skifftest.slice").exists(), "the slices to go", 30)


@pytest.mark.parametrize(
    "parent", ["a--b.slice", "-a.slice", "a b.slice", "a@b.slice", "/kubepods/podX", "x.scope", "/a/../b.slice", "x" * 250 + ".slice"]
)
def test_bad_slices_are_refused(skiff, parent):
    code, text = harness.code_of(run_pod, skiff, linux={"cgroup_parent": parent})
    assert code == grpc.StatusCode.INVALID_ARGUMENT and "cgroup_parent" in text, text
    assert skiff.files() == [] and not skiff.cri.ListPodSandbox().items


def test_without_a_parent_it_is_the_systems_slice(skiff):
    pod = run_pod(skiff, linux={"cgroup_parent": ""})
    assert shown(scope(pod), "Slice") == {"Slice": "system.slice"}
    skiff.remove_pod(pod)
    assert not (CGROUPS / "system.slice" / scope(pod)).exists() and (CGROUPS / "system.slice").exists()


def test_a_slice_that_was_there_stays(skiff):
    holder = f"skifftestd-{uuid.uuid4().hex[:8]}"
    subprocess.run(["systemd-run", "-q", f"--unit={holder}", f"--slice={skiff.slice}", "sleep", "1000"], check=True)
    try:
        skiff.remove_pod(run_pod(skiff))
        assert systemctl("is-active", skiff.slice) == "active\n" and systemctl("is-active", holder) == "active\n"
    finally:
        systemctl("stop", holder, check=False)
        systemctl("stop", "skifftest.slice")


@pytest.fixture
def deaf_systemd(tmp_path):
    """In our mount namespace alone: a socket in systemd's place. Called with how: "silent" or "refused"."""
    mounted = []
    listener = socket.socket(socket.AF_UNIX)
    path = tmp_path / "deaf"
    listener.bind(str(path))

    def begin(how):
        if how == "silent":
            listener.listen(100)
        subprocess.run(["mount", "--bind", path, PRIVATE], check=True)
        mounted.append(PRIVATE)

    def end():
        while mounted:
            subprocess.run(["umount", mounted.pop()], check=True)

    begin.end = end
    yield begin
    end()
    listener.close()


@pytest.mark.parametrize("how, word", [("silent", "has not answered"), ("refused", "refused")])
def test_a_systemd_that_does_not_answer_is_an_error_that_passes(skiff, deaf_systemd, how, word):
    pod, before = run_pod(skiff), skiff.census()
    config = skiff.pod_config(host_network=True)
    deaf_systemd(how)
    code, text = harness.code_of(skiff.run_pod, config, _deadline=100)
    assert code == grpc.StatusCode.UNAVAILABLE and word in text and "systemd" in text, text
    now = skiff.census()
    assert {key: now[key] for key in now if key != "mounts"} == {key: before[key] for key in now if key != "mounts"}
    assert is_ready(skiff, pod)
    skiff.remove_pod(skiff_pod_of(skiff, config, deaf_systemd))


def skiff_pod_of(skiff, config, deaf):
    """The same pod again, with systemd back."""
    deaf.end()
    return skiff.run_pod(config)


def test_many_at_once(skiff):
    configs = [skiff.pod_config(host_network=True) for _ in range(16)]
    with concurrent.futures.ThreadPoolExecutor(8) as threads:
        for _ in range(2):
            pods = list(threads.map(skiff.run_pod, configs))
            assert len(systemctl("list-units", "skiff-*.scope").splitlines()) == len(pods)
            list(threads.map(skiff.remove_pod, pods))
            assert not (CGROUPS / "skifftest.slice").exists()
