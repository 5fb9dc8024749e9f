"""What a container, an image or an odd moment can plant. Covers: fifos, devices and links at the log's path, links in an
image that lead a mount into /proc, a container that freezes itself, a supervisor that does not answer, and a pod whose name
an earlier one had whose undo failed."""

import os
import signal
import time

import grpc
import harness
import pytest


def planted(skiff, pod_name, container):
    path = skiff.logs / pod_name / container
    path.mkdir(parents=True)
    return path / "0.log"


@pytest.mark.parametrize("kind", ["fifo", "device", "link", "directory"])
def test_what_is_planted_at_the_logs_path_is_refused_at_once(skiff, kind):
    pod = skiff.run_pod(name="plant", host_network=True)
    path = planted(skiff, "plant", "evil")
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "device":
        os.mknod(path, 0o20666, os.makedev(1, 11))
    elif kind == "link":
        path.symlink_to("/etc/motd")
    else:
        path.mkdir()
    container = skiff.create(pod, ["echo", "x"], name="evil")
    began = time.monotonic()
    code, text = harness.code_of(skiff.cri.StartContainer, container_id=container, _deadline=20)
    assert code in (grpc.StatusCode.FAILED_PRECONDITION, grpc.StatusCode.INTERNAL) and "0.log" in text
    assert time.monotonic() - began < 5
    skiff.remove_pod(pod)


def test_no_directory_is_made_through_a_planted_link(skiff, tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    pod = skiff.run_pod(name="links", host_network=True)
    (skiff.logs / "links").mkdir(parents=True)
    (skiff.logs / "links" / "evil").symlink_to(outside)
    container = skiff.create(pod, ["true"], log_path="evil/made/by/root/0.log")
    harness.code_of(skiff.cri.StartContainer, container_id=container)
    assert not list(outside.iterdir())


@pytest.mark.parametrize("path", ["../x", "a//b", "./x", "a/", ".", "x" * 300, "a\nb"])
def test_log_paths_are_clean(skiff, path):
    pod = skiff.run_pod(name="clean", host_network=True)
    code, text = harness.code_of(skiff.create, pod, ["true"], log_path=path)
    assert code == grpc.StatusCode.INVALID_ARGUMENT and "log_path" in text


@pytest.mark.parametrize("target", ["/proc", "/proc/sys", "/proc/self/attr"])
def test_a_link_does_not_lead_a_mount_into_proc(skiff, tmp_path, target):
    volume = tmp_path / "volume"
    volume.mkdir()
    (volume / "data").symlink_to(target)
    pod = skiff.run_pod(name="proc", host_network=True)
    mounts = [
        {"container_path": "/v", "host_path": str(volume)},
        {"container_path": "/v/data", "host_path": str(tmp_path)},
    ]
    container = skiff.create(pod, ["true"], mounts=mounts)
    code, text = harness.code_of(skiff.cri.StartContainer, container_id=container)
    assert code == grpc.StatusCode.FAILED_PRECONDITION and "/v/data" in text


def test_a_container_that_freezes_itself_is_stopped_and_removed(skiff):
    if os.path.exists("/sys/fs/cgroup/cgroup.controllers"):
        pytest.skip("cgroup v1 only: no freezer hierarchy here")
    pod = skiff.run_pod(name="frozen", host_network=True, security={"privileged": True})
    script = "sleep 0.3; echo FROZEN > /sys/fs/cgroup/freezer/freezer.state; sleep 1000"
    container = skiff.run(pod, ["sh", "-c", script], security={"privileged": True})
    state = f"/sys/fs/cgroup/freezer{skiff.cgroup_parent}/{container}/freezer.state"
    harness.wait_for(lambda: "FROZEN" in open(state, encoding="utf-8").read(), "the freeze")
    skiff.cri.StopContainer(container_id=container, timeout=0, _deadline=20)
    assert skiff.status(container).exit_code == 137
    skiff.remove_pod(pod)


def test_cgroups_of_any_depth_end_with_their_container(skiff):
    """With the processes in them, which no pid namespace takes along."""
    is_v2 = os.path.exists("/sys/fs/cgroup/cgroup.controllers")
    top = "/sys/fs/cgroup/$(sed -n s/^0:://p /proc/self/cgroup)" if is_v2 else "/sys/fs/cgroup/freezer"
    security = {"namespace_options": {"pid": 2, "network": 2}, "privileged": True}
    pod = skiff.run_pod(name="deep", host_network=True, security=dict(security))
    down = "i=0; while [ $i -lt 100 ]; do mkdir d e && cd d || exit; i=$((i + 1)); done"
    script = f"cd {top}; {down}; sleep 1000 & echo $! >cgroup.procs && echo below $!; wait"
    container = skiff.run(pod, ["sh", "-c", script], security=security)
    harness.wait_for(lambda: "below" in skiff.text(container), "a process a hundred levels down")
    below = int(skiff.text(container).split("below")[1].split()[0])
    assert os.path.exists(f"/proc/{below}")
    skiff.cri.StopContainer(container_id=container, timeout=0, _deadline=20)
    harness.wait_for(lambda: not os.path.exists(f"/proc/{below}"), "its end")
    skiff.cri.RemoveContainer(container_id=container, _deadline=20)
    skiff.remove_pod(pod)


def test_a_privileged_container_needs_a_privileged_pod(skiff):
    pod = skiff.run_pod(name="plain", host_network=True)
    code, text = harness.code_of(skiff.create, pod, ["true"], security={"privileged": True})
    assert code == grpc.StatusCode.INVALID_ARGUMENT and "not privileged" in text
    assert not skiff.cri.ListContainers().containers
    allowed = skiff.run_pod(name="allowed", host_network=True, security={"privileged": True})
    assert skiff.output_of(allowed, ["echo", "runs"], security={"privileged": True})[1] == "runs\n"
    assert skiff.output_of(allowed, ["echo", "plain"])[1] == "plain\n"


@pytest.mark.parametrize("privileged", [False, True])
@pytest.mark.parametrize("pid", [0, 1, 2])
def test_nobody_holds_the_hosts_null_device(skiff, privileged, pid):
    """By /proc/PID/fd one changes the mode and the owner of what a process has open: of all that a container sees but the
    host's own processes, nothing is the host's node."""
    security = {"namespace_options": {"pid": pid, "network": 2}, "privileged": privileged}
    pod = skiff.run_pod(host_network=True, security=dict(security))
    node = os.stat("/dev/null")
    look = "for f in /proc/$$/fd/[0-2]; do stat -L -c %d:%i $f; done; [ $# = 0 ] || for f in /proc/[0-9]*/fd/*; do stat -L -c %d:%i $f; done"
    everywhere = [] if pid == 2 else ["all"]
    container = skiff.run(pod, ["sh", "-c", f"{look}; echo done; sleep 1000", "sh", *everywhere], security=security)
    harness.wait_for(lambda: "done" in skiff.text(container), "its look")
    done = skiff.exec(container, ["sh", "-c", look, "sh", *everywhere])
    seen = skiff.text(container).split() + done.stdout.decode().split()
    assert len(seen) >= 6 and f"{node.st_dev}:{node.st_ino}" not in seen


def test_a_supervisor_that_does_not_answer_does_not_keep_its_pod(skiff):
    pod = skiff.run_pod(name="silent", host_network=True)
    container = skiff.run(pod, ["sleep", "1000"])
    os.kill(skiff.pod_info(pod)["supervisorPid"], signal.SIGSTOP)
    skiff.cri.StopPodSandbox(pod_sandbox_id=pod, _deadline=60)
    skiff.cri.RemovePodSandbox(pod_sandbox_id=pod, _deadline=60)
    assert container not in [c.id for c in skiff.cri.ListContainers().containers]


def test_a_pod_keeps_its_place_though_an_earlier_one_of_its_name_is_not_undone_yet(skiff):
    """ADD and then the undo's DEL fail; the same name is made again, and skiffd restarts before the retry got through."""
    directory, broken = skiff.directory / "plugins", skiff.directory / "broken"
    directory.mkdir()
    (directory / "flaky").write_text(
        "#!/usr/bin/python3\nimport json, os, sys\nconf = json.load(sys.stdin)\n"
        f"if os.path.exists('{broken}'):\n    sys.exit('flaky')\n"
        "if os.environ['CNI_COMMAND'] == 'ADD':\n    json.dump(conf['prevResult'], sys.stdout)\n"
    )
    (directory / "flaky").chmod(0o755)
    skiff.arguments = ["--cni-bin-dir", f"{directory}:/usr/lib/cni"]
    skiff.write_conflist({**harness.CONFLIST, "plugins": [harness.CONFLIST["plugins"][0], {"type": "flaky"}]})
    skiff.restart()
    config = skiff.pod_config(name="net")
    broken.touch()
    harness.code_of(skiff.run_pod, config)
    broken.unlink()
    pod = skiff.run_pod(config)
    container = skiff.run(pod, ["sleep", "1000"])
    broken.touch()
    skiff.restart()
    assert [p.id for p in skiff.cri.ListPodSandbox().items] == [pod]
    assert skiff.status(container).state == 1
    broken.unlink()
    skiff.remove_pod(pod)


@pytest.mark.parametrize("parent", ["/x/./y", "/x/.", "/x//y", "/x/../y", "/x\ny", "/" + "n" * 300])
def test_cgroup_parents_are_clean(skiff, parent):
    config = skiff.pod_config(host_network=True)
    config["linux"]["cgroup_parent"] = parent
    code, text = harness.code_of(skiff.run_pod, config)
    assert code == grpc.StatusCode.INVALID_ARGUMENT and "cgroup_parent" in text
    assert skiff.files() == []


@pytest.mark.parametrize("host_network", [True, False])
def test_a_pod_that_was_frozen_is_stopped_and_removed(skiff, host_network):
    if os.path.exists("/sys/fs/cgroup/cgroup.controllers"):
        pytest.skip("cgroup v1 only: no freezer hierarchy here")
    pod = skiff.run_pod(name="frozen", host_network=host_network)
    with open(f"/sys/fs/cgroup/freezer{skiff.cgroup_parent}/{pod}/freezer.state", "w", encoding="utf-8") as state:
        state.write("FROZEN")
    skiff.cri.StopPodSandbox(pod_sandbox_id=pod, _deadline=20)
    skiff.cri.RemovePodSandbox(pod_sandbox_id=pod, _deadline=20)


def test_mounts_of_a_privileged_container_stay_in_it(skiff):
    """Also on what it has of the host's: /dev/shm of a pod with the host's IPC came from a shared mount."""
    options = {"network": 2, "pid": 1, "ipc": 2}
    pod = skiff.run_pod(security={"namespace_options": options, "privileged": True})
    before = harness.mounts()
    security = {"namespace_options": options, "privileged": True}
    command = ["sh", "-c", "for at in /dev/shm /mnt /sys /dev; do mkdir -p $at; mount -t tmpfs inside $at && echo $at; done; sleep 60"]
    container = skiff.run(pod, command, security=security)
    harness.wait_for(lambda: skiff.text(container).count("\n") == 4, "four mounts")
    assert harness.mounts() == before
    assert "inside" not in open("/proc/self/mountinfo", encoding="utf-8").read()
