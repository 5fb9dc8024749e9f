"""Deaths. Covers: kill -9 of skiffd (containers, logs, exits and OOMs meanwhile, exec), of skiff-pod, of infra; SIGTERM;
a second skiffd on the same root; a changed boot id."""

import os
import signal
import sqlite3
import subprocess
import time

import pytest

import harness


def test_pods_outlive_skiffd(skiff):
    pod = skiff.run_pod(name="outlives")
    address = skiff.pod_status(pod).status.network.ip
    counter = skiff.run(pod, ["sh", "-c", "i=0; while :; do echo $i; i=$((i+1)); sleep 0.01; done"])
    ends = skiff.run(pod, ["sh", "-c", "sleep 0.5; echo last words; exit 42"])
    hungry = skiff.run(
        pod,
        ["sh", "-c", "sleep 0.3; exec dd if=/dev/zero of=/dev/null bs=200M count=1"],
        resources={"memory_limit_in_bytes": 32 << 20, "memory_swap_limit_in_bytes": 32 << 20},
    )
    pid = skiff.info(counter)["pid"]
    ending = [skiff.info(container)["pid"] for container in (ends, hungry)]
    skiff.kill()
    for one in ending:
        harness.wait_gone(one)
    skiff.start()
    assert skiff.status(counter).state == 1 and skiff.info(counter)["pid"] == pid
    assert skiff.pod_status(pod).status.state == 0 and skiff.pod_status(pod).status.network.ip == address
    status = skiff.status(ends)
    assert (status.state, status.exit_code, status.reason) == (2, 42, "Error")
    assert skiff.text(ends) == "last words\n"
    assert (skiff.status(hungry).exit_code, skiff.status(hungry).reason) == (137, "OOMKilled")
    assert skiff.exec(counter, ["echo", "at once"]).stdout == b"at once\n"
    numbers = [int(text) for *_, text in skiff.lines(counter)]
    assert numbers == list(range(len(numbers))) and len(numbers) > 20
    skiff.cri.StopContainer(container_id=counter, timeout=0)
    assert skiff.status(counter).exit_code == 137


def test_sigterm_leaves_pods_running(skiff):
    pod = skiff.run_pod(name="term", host_network=True)
    container = skiff.run(pod, ["sleep", "1000"])
    created = skiff.create(pod, ["echo", "later"])
    skiff.stop()
    assert not skiff.socket.exists()
    skiff.start()
    assert skiff.status(container).state == 1
    skiff.cri.StartContainer(container_id=created)
    assert skiff.wait_exited(created).exit_code == 0


def test_a_killed_supervisor_takes_its_containers_along(skiff):
    for host_pid in (False, True):
        options = {"namespace_options": {"pid": 2 if host_pid else 1}}
        pod = skiff.run_pod(name=f"lost{host_pid}", host_network=True, security=dict(options))
        container = skiff.run(pod, ["sleep", f"78{host_pid:d}1"], security=dict(options))
        os.kill(skiff.pod_info(pod)["supervisorPid"], signal.SIGKILL)
        harness.wait_for(lambda: skiff.pod_status(pod).status.state == 1, "NOTREADY")
        status = skiff.wait_exited(container)
        assert (status.exit_code, status.reason) == (137, "Error") and "supervisor was killed" in status.message
        harness.wait_for(lambda: f"sleep 78{host_pid:d}1" not in harness.processes().values(), "the end of the process")


def test_a_supervisor_killed_while_skiffd_is_away(skiff):
    for host_pid in (False, True):
        options = {"namespace_options": {"pid": 2 if host_pid else 1}}
        pod = skiff.run_pod(name=f"away{host_pid}", host_network=True, security=dict(options))
        container = skiff.run(pod, ["sleep", f"79{host_pid:d}1"], security=dict(options))
        supervisor = skiff.pod_info(pod)["supervisorPid"]
        skiff.kill()
        os.kill(supervisor, signal.SIGKILL)
        time.sleep(0.2)
        skiff.start()
        assert skiff.pod_status(pod).status.state == 1
        assert (skiff.status(container).state, skiff.status(container).exit_code) == (2, 137)
        harness.wait_for(lambda: f"sleep 79{host_pid:d}1" not in harness.processes().values(), "the end of the process")


@pytest.mark.parametrize("share_pid", [False, True])
def test_a_pod_whose_keeper_is_killed_is_not_ready_and_is_cleaned(skiff, share_pid):
    """The process that holds its namespaces: infra, where they include a pid namespace, else the supervisor."""
    before = skiff.census()
    pod = skiff.run_pod(name="keeper", linux={"security_context": {"namespace_options": {"pid": 0 if share_pid else 1}}})
    container = skiff.run(pod, ["sleep", "1000"])
    os.kill(skiff.pod_info(pod)["pid"], signal.SIGKILL)
    harness.wait_for(lambda: skiff.pod_status(pod).status.state == 1, "NOTREADY")
    assert skiff.wait_exited(container).exit_code == 137
    harness.wait_for(lambda: skiff.census()["leases"] == before["leases"], "the lease to be given back")


def test_a_second_skiffd_on_the_same_root_refuses(skiff):
    done = subprocess.run(skiff.command(), capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 78 and f"process {skiff.process.pid}" in done.stderr
    assert skiff.cri.Version().runtime_name == "skiff"


def test_two_daemons_live_side_by_side(skiff, tmp_path, archive):
    other = harness.Skiff(tmp_path / "other")
    other.start()
    other.import_image(archive)
    a, b = skiff.run_pod(name="same"), other.run_pod(name="same")
    assert [p.id for p in skiff.cri.ListPodSandbox().items] == [a]
    other.restart()
    assert [p.id for p in other.cri.ListPodSandbox().items] == [b] and skiff.pod_status(a).status.state == 0
    other.remove_all()
    other.stop()


def test_after_a_reboot_old_pods_are_not_ready_and_can_be_removed(skiff):
    before = skiff.census()
    pod = skiff.run_pod(name="boot")
    container = skiff.run(pod, ["sleep", "1000"])
    created = skiff.create(pod, ["true"])
    supervisor = skiff.pod_info(pod)["supervisorPid"]
    skiff.stop()
    os.kill(supervisor, signal.SIGKILL)
    subprocess.run(["umount", f"/run/netns/skiff-{pod}"], check=True)
    os.unlink(f"/run/netns/skiff-{pod}")
    harness.remove_tree(skiff.state / "pods")
    with sqlite3.connect(skiff.root / "pods.db") as db:
        db.execute("UPDATE pod SET boot_id='11111111-2222-3333-4444-555555555555'")
    db.close()
    harness.wait_for(lambda: not [x for x in skiff.census()["processes"] if "skiff-pod" in x], "the pod's end")
    skiff.start()
    assert skiff.pod_status(pod).status.state == 1
    assert (skiff.status(container).state, skiff.status(container).exit_code) == (2, 255)
    assert skiff.status(created).state in (0, 2)
    harness.wait_for(lambda: skiff.census()["leases"] == before["leases"], "the lease to be given back")
    skiff.remove_pod(pod)


def test_what_a_container_was_made_from_may_go_while_it_runs(skiff, tmp_path, archive):
    """Its image removed, its volume's source gone: after a restart an exec and a graceful stop still work."""
    source = tmp_path / "volume"
    source.mkdir()
    pod = skiff.run_pod(name="orphaned", host_network=True)
    script = "trap 'exit 7' TERM; echo up; while :; do sleep 0.1; done"
    container = skiff.run(
        pod, ["sh", "-c", script], mounts=[{"container_path": "/v", "host_path": str(source)}],
        envs=[{"key": "A", "value": b"kept"}],
    )  # fmt: skip
    harness.wait_for(lambda: "up" in skiff.text(container), "the trap")
    skiff.cri.RemoveImage(image={"image": harness.IMAGE})
    source.rmdir()
    assert not skiff.cri.ListImages().images
    skiff.restart()
    assert skiff.exec(container, ["sh", "-c", "echo $A"]).stdout == b"kept\n"
    skiff.cri.StopContainer(container_id=container, timeout=20)
    assert skiff.status(container).exit_code == 7
    skiff.remove_pod(pod)
    harness.wait_for(lambda: not list((skiff.root / "layers").glob("*")), "the unused layer to be collected")
    skiff.import_image(archive)


def test_a_live_socket_is_not_taken_away(skiff, tmp_path):
    other = harness.Skiff(tmp_path / "other")
    other.endpoint = skiff.endpoint
    (other.directory / "none.toml").touch()
    done = subprocess.run(other.command(), capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 78 and "answers there already" in done.stderr
    assert skiff.socket.exists() and skiff.cri.Version().runtime_name == "skiff"


def test_an_exit_whose_output_somebody_holds_is_told_after_a_restart(skiff):
    """The supervisor waits a moment for the end of the output, and in that moment skiffd is killed."""
    security = {"namespace_options": {"pid": 0}, "privileged": True}
    pod = skiff.run_pod(host_network=True, security={"namespace_options": {"pid": 0}, "privileged": True})
    ends = skiff.run(pod, ["sh", "-c", "sleep 1; exit 7"], security=security)
    find = "for p in /proc/[0-9]*; do grep -q 'exit 7' $p/cmdline && [ ${p#/proc/} != $$ ] && exec 5>$p/fd/1 && break; done"
    holds = skiff.run(pod, ["sh", "-c", f"{find}; echo holds; sleep 1000"], security=security)
    harness.wait_for(lambda: "holds" in skiff.text(holds), "its hand on the output")
    pid = skiff.info(ends)["pid"]
    harness.wait_for(lambda: not os.path.exists(f"/proc/{pid}/exe"), "its end")
    skiff.restart()
    assert skiff.wait_exited(ends).exit_code == 7
    skiff.remove_pod(pod)
