"""skiffd and skiff-pod of different versions, and skiff-pods that do not answer. Covers: every pair within the ranges; a
pair without a version in common (left running, said, stopped with its grace, removed); many frozen supervisors at the start;
one that is frozen at the start and answers later. A skiffd pretends to another version by SKIFF_PROTOCOL, and the skiff-pods
that it starts are of that version too."""

import os
import signal
import time

import grpc
import harness
import pytest

pytestmark = pytest.mark.skipif(
    b"SKIFF_PROTOCOL" not in (harness.BIN / "skiffd").read_bytes(), reason="a build without fault points"
)

OLD, BEFORE, OURS, NEWER, NEWEST, STRANGE = "2-2", "2-4", "2-5", "3-6", "5-7", "8-9"
OBEYS = ["sh", "-c", "trap 'echo bye; exit 7' TERM; echo up; while :; do sleep 0.05; done"]


def restart_as(skiff, versions, monkeypatch):
    monkeypatch.setenv("SKIFF_PROTOCOL", versions)
    skiff.restart()


def driven(skiff, pod, container):
    """All that goes over the protocol."""
    assert skiff.pod_status(pod).status.state == 0 and skiff.status(container).state == 1
    assert skiff.exec(container, ["echo", "at once"]).stdout == b"at once\n"
    started = skiff.run(pod, ["sh", "-c", "echo started; exit 3"], envs=[{"key": "A", "value": b"B"}])
    assert skiff.wait_exited(started).exit_code == 3 and skiff.text(started) == "started\n"
    skiff.cri.ReopenContainerLog(container_id=container)


@pytest.mark.parametrize(("made_by", "driven_by"), [
    (OLD, OURS), (OURS, OLD), (BEFORE, OURS), (OURS, BEFORE), (NEWER, OURS), (NEWEST, OURS), (OURS, NEWER),
    (OURS, NEWEST), (OLD, OLD),
])  # fmt: skip
def test_versions_with_one_in_common_drive_each_other(skiff, monkeypatch, made_by, driven_by):
    restart_as(skiff, made_by, monkeypatch)
    pod = skiff.run_pod()
    container = skiff.run(pod, OBEYS)
    driven(skiff, pod, container)
    restart_as(skiff, driven_by, monkeypatch)
    driven(skiff, pod, container)
    skiff.cri.StopContainer(container_id=container, timeout=20)
    assert skiff.status(container).exit_code == 7
    skiff.remove_pod(pod)


@pytest.mark.parametrize(("made_by", "met_by"), [(STRANGE, OURS), (OURS, STRANGE)])
def test_one_that_cannot_be_driven_runs_on_and_can_be_stopped(skiff, monkeypatch, made_by, met_by):
    before = skiff.census()
    restart_as(skiff, made_by, monkeypatch)
    pod = skiff.run_pod()
    container, ends, stubborn = skiff.run(pod, OBEYS), skiff.run(pod, OBEYS), skiff.run(pod, ["sleep", "1000"])
    created = skiff.create(pod, ["true"])
    pid = skiff.info(container)["pid"]
    harness.wait_for(lambda: all("up" in skiff.text(c) for c in (container, ends)), "the traps")
    ends_pid = skiff.info(ends)["pid"]
    restart_as(skiff, met_by, monkeypatch)
    # To kubelet it is what it was: what it cannot see it must not replace.
    assert skiff.pod_status(pod).status.state == 0 and skiff.status(container).state == 1
    assert os.path.exists(f"/proc/{pid}/exe")
    assert "speaks the versions" in skiff.pod_info(pod)["notice"] and "speaks the versions" in skiff.log_text()
    code, text = harness.code_of(skiff.exec, container, ["true"])
    assert code == grpc.StatusCode.UNAVAILABLE and "speaks the versions" in text
    code, text = harness.code_of(skiff.cri.StartContainer, container_id=created)
    assert code == grpc.StatusCode.UNAVAILABLE and skiff.status(created).state == 0
    os.kill(ends_pid, signal.SIGTERM)
    assert skiff.wait_exited(ends).exit_code == 7  # from the exits file
    skiff.cri.StopContainer(container_id=container, timeout=60, _deadline=100)
    assert skiff.status(container).exit_code == 7 and "bye" in skiff.text(container)
    skiff.cri.StopContainer(container_id=stubborn, timeout=0, _deadline=30)
    assert skiff.status(stubborn).exit_code == 137
    # Whoever speaks its version has it all again.
    restart_as(skiff, made_by, monkeypatch)
    assert skiff.status(container).exit_code == 7
    skiff.cri.StartContainer(container_id=created)
    restart_as(skiff, met_by, monkeypatch)
    skiff.remove_pod(pod)
    skiff.assert_nothing_left(before)
    harness.wait_for(lambda: not os.path.exists(f"/proc/{pid}/exe"), "its end")


def test_a_supervisor_that_cannot_be_driven_dies_like_any_other(skiff, monkeypatch):
    restart_as(skiff, STRANGE, monkeypatch)
    pod = skiff.run_pod()
    container = skiff.run(pod, ["sleep", "1000"])
    supervisor = skiff.pod_info(pod)["supervisorPid"]
    restart_as(skiff, OURS, monkeypatch)
    assert skiff.pod_info(pod)["supervisorPid"] == supervisor
    os.kill(supervisor, signal.SIGKILL)
    harness.wait_for(lambda: skiff.pod_status(pod).status.state == 1, "NOTREADY")
    assert skiff.wait_exited(container).exit_code == 137


def test_frozen_supervisors_cost_the_start_no_time_and_nothing_dies(skiff):
    pods = [skiff.run_pod(host_network=True) for _ in range(12)]
    containers = [skiff.run(pod, ["sleep", "1000"]) for pod in pods]
    supervisors = [skiff.pod_info(pod)["supervisorPid"] for pod in pods]
    pids = [skiff.info(container)["pid"] for container in containers]
    skiff.kill()
    for supervisor in supervisors[1:]:
        os.kill(supervisor, signal.SIGSTOP)
    began = time.monotonic()
    skiff.start()
    took = time.monotonic() - began
    try:
        assert took < 4 * harness.SLOW, took
        for pod, container in zip(pods, containers):
            assert skiff.pod_status(pod).status.state == 0 and skiff.status(container).state == 1
        assert skiff.exec(containers[0], ["echo", "me"]).stdout == b"me\n"
        assert "has not answered" in skiff.pod_info(pods[1])["notice"]
        # One is removed as it is.
        skiff.remove_pod(pods[1])
    finally:
        for supervisor in supervisors[2:]:
            os.kill(supervisor, signal.SIGCONT)
    for pod, container, pid in list(zip(pods, containers, pids))[2:]:
        harness.wait_for(lambda: "not answered" not in (skiff.pod_info(pod)["notice"] or ""), "its answer")
        assert skiff.exec(container, ["echo", "me"]).stdout == b"me\n"
        assert skiff.info(container)["pid"] == pid
    skiff.cri.StopContainer(container_id=containers[5], timeout=0)
    assert skiff.status(containers[5]).exit_code == 137
