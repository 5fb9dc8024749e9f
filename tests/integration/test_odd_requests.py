"""Requests at the edges of what is allowed. Covers: nothing but what must be there, very large environments and argument
lists, many mounts, non-UTF-8 values, unknown fields, wide characters, duplicates, the same call many times at once."""

import concurrent.futures
import os
import time

import cri_client
import grpc
import harness
import pytest


def test_the_least_that_a_pod_and_a_container_need(skiff):
    config = {"metadata": {"name": "least", "uid": "u", "namespace": "n"}}
    pod = skiff.cri.RunPodSandbox(config=config).pod_sandbox_id
    container = skiff.cri.CreateContainer(
        pod_sandbox_id=pod, config={"metadata": {"name": "c"}, "image": {"image": "busybox"}, "command": ["true"]}
    ).container_id
    skiff.cri.StartContainer(container_id=container)
    status = skiff.wait_exited(container)
    assert (status.exit_code, status.log_path) == (0, "")
    assert skiff.pod_status(pod).status.network.ip


def test_an_environment_near_the_kernels_limit_and_long_arguments(skiff):
    pod = skiff.run_pod(name="big", host_network=True)
    envs = [{"key": f"SERVICE_{i}", "value": b"x" * 1000} for i in range(1700)]  # argv and env share 2 MiB
    container = skiff.run(pod, ["sh", "-c", "env | grep -c SERVICE_; echo ${#0}", "y" * 100000], envs=envs)
    assert skiff.wait_exited(container).exit_code == 0
    assert skiff.text(container) == "1700\n100000\n"
    done = skiff.exec(container := skiff.run(pod, ["sleep", "100"], envs=envs), ["sh", "-c", "env | grep -c SERVICE_"])
    assert done.stdout == b"1700\n" and container


def test_an_environment_past_the_kernels_limit_is_a_start_error(skiff):
    pod = skiff.run_pod(name="huge", host_network=True)
    envs = [{"key": f"E{i}", "value": b"x" * 100000} for i in range(100)]
    container = skiff.create(pod, ["true"], envs=envs)
    code, text = harness.code_of(skiff.cri.StartContainer, container_id=container)
    assert code == grpc.StatusCode.FAILED_PRECONDITION and "rgument list too long" in text
    skiff.remove_pod(pod)


def test_many_mounts(skiff, tmp_path):
    pod = skiff.run_pod(name="mounts", host_network=True)
    mounts = []
    for i in range(300):
        (tmp_path / f"m{i}").mkdir()
        (tmp_path / f"m{i}" / "name").write_text(f"{i}\n")
        mounts.append({"container_path": f"/m/{i}", "host_path": str(tmp_path / f"m{i}"), "readonly": True})
    _, text = skiff.output_of(pod, ["sh", "-c", "cat /m/*/name | wc -l"], mounts=mounts)
    assert text.strip() == "300"


def test_an_environment_value_need_not_be_utf8(skiff):
    pod = skiff.run_pod(name="bytes", host_network=True)
    container = skiff.run(pod, ["sh", "-c", "printf $X | od -An -tx1"], envs=[{"key": "X", "value": b"\xff\xfe"}])
    skiff.wait_exited(container)
    assert skiff.text(container).split() == ["ff", "fe"]
    code, text = harness.code_of(skiff.create, pod, ["true"], envs=[{"key": "X", "value": b"a\0b"}])
    assert code == grpc.StatusCode.INVALID_ARGUMENT and "envs[0]" in text


def test_labels_of_any_script_are_echoed(skiff):
    labels = {"名前": "значение", "k": "v" * 5000}
    pod = skiff.run_pod(name="wide", host_network=True, labels=labels)
    container = skiff.create(pod, ["true"], labels=labels)
    skiff.restart()
    assert dict(skiff.pod_status(pod).status.labels) == labels
    assert dict(skiff.status(container).labels) == labels


def test_unknown_fields_are_kept(skiff):
    """A newer kubelet's fields come back, in what is echoed: here field 4242 of a mount."""
    pod = skiff.run_pod(name="newer", host_network=True)
    request_class = cri_client.methods()["CreateContainer"][1]
    config = skiff.container_config(["true"], mounts=[{"container_path": "/x", "host_path": "/tmp"}])
    mount_class = cri_client.message_class("runtime.v1.Mount")
    mount = mount_class(container_path="/x", host_path="/tmp")
    unknown = b"\x92\x89\x02\x05hello"  # field 4242, length-delimited
    request = request_class(pod_sandbox_id=pod, config=config)
    del request.config.mounts[:]
    request.config.mounts.append(mount_class.FromString(mount.SerializeToString() + unknown))
    container = skiff.cri.callable("CreateContainer")(request).container_id
    skiff.restart()
    assert unknown in skiff.status(container).mounts[0].SerializeToString()


def test_the_same_run_at_once_is_one_pod(skiff):
    config = skiff.pod_config(name="same")
    calls = [skiff.cri.future("RunPodSandbox", config=config) for _ in range(6)]
    ids, refused = set(), 0
    for call in calls:
        try:
            ids.add(call.result(timeout=30).pod_sandbox_id)
        except grpc.RpcError as error:
            assert error.code() == grpc.StatusCode.ALREADY_EXISTS
            refused += 1
    assert len(ids) == 1 and len(skiff.cri.ListPodSandbox().items) == 1


def test_stop_and_remove_race_with_everything(skiff):
    for turn in range(6):
        pod = skiff.run_pod(name=f"race{turn}", host_network=True)
        container = skiff.create(pod, ["sleep", "1000"])
        with concurrent.futures.ThreadPoolExecutor(12) as workers:
            jobs = [workers.submit(skiff.cri.StartContainer, container_id=container)]
            jobs += [workers.submit(skiff.cri.StopContainer, container_id=container, timeout=0) for _ in range(3)]
            jobs += [workers.submit(skiff.cri.StopPodSandbox, pod_sandbox_id=pod) for _ in range(2)]
            jobs += [workers.submit(skiff.cri.RemoveContainer, container_id=container) for _ in range(2)]
            jobs += [workers.submit(skiff.cri.RemovePodSandbox, pod_sandbox_id=pod) for _ in range(2)]
            for job in jobs[1:]:
                job.result(timeout=60)
        assert not skiff.cri.ListPodSandbox().items and not skiff.cri.ListContainers().containers


def test_a_stop_cancels_a_run_under_way(skiff):
    directory = skiff.directory / "plugins"
    directory.mkdir()
    (directory / "slow").write_text("#!/bin/sh\n[ $CNI_COMMAND = ADD ] && sleep 55\nexit 0\n")
    (directory / "slow").chmod(0o755)
    skiff.arguments = ["--cni-bin-dir", f"{directory}:/usr/lib/cni"]
    skiff.write_conflist({"cniVersion": "1.0.0", "name": "x", "plugins": [{"type": "slow"}]})
    skiff.restart()
    call = skiff.cri.future("RunPodSandbox", config=skiff.pod_config(name="slow"))
    harness.wait_for(lambda: any("sleep 55" in line for line in harness.processes().values()), "the plugin")
    assert not skiff.cri.ListPodSandbox().items  # it is nobody's business yet
    call.cancel()
    harness.wait_for(lambda: not any("sleep 55" in line for line in harness.processes().values()), "its end")
    skiff.write_conflist(harness.CONFLIST)


@pytest.mark.parametrize("count", [200])
def test_lists_and_status_under_load(skiff, count):
    pod = skiff.run_pod(name="load", host_network=True)
    with concurrent.futures.ThreadPoolExecutor(8) as workers:
        made = list(workers.map(lambda i: skiff.create(pod, ["true"], name=f"c{i}"), range(count)))
        assert len(set(made)) == count
        lists = list(workers.map(lambda _: len(skiff.cri.ListContainers().containers), range(50)))
    assert set(lists) == {count}
    skiff.restart()
    assert len(skiff.cri.ListContainers().containers) == count


def test_a_start_that_has_happened_is_not_taken_back(skiff):
    """Cancelled in the moment after its process ran, it counts: an undo's kill could be told as the next start's exit.
    The fault file is a fifo, so each fault point waits until it is let pass."""
    pod = skiff.run_pod(host_network=True)
    container = skiff.create(pod, ["sleep", "1000"])
    os.mkfifo(skiff.fault_file)
    starting = skiff.cri.future("StartContainer", container_id=container, _deadline=60)

    def let_pass(path):
        """The fault point that waits there. The next one finds another pipe, or it would see the end of this one."""
        with open(path, "wb") as fault:
            fresh = skiff.fault_file.with_suffix(".fresh")
            os.mkfifo(fresh)
            fresh.rename(path)
            fault.write(b"none=none\n")

    for _ in range(7):  # log and volumes, the process before, the root filesystem before and after
        let_pass(skiff.fault_file)
    harness.wait_for(lambda: [x for x in skiff.census()["processes"] if "sleep" in x], "its process", 5)
    starting.cancel()
    time.sleep(0.2)  # fixed: nothing tells when skiffd has heard of it
    aside = skiff.fault_file.with_suffix(".aside")
    skiff.fault_file.rename(aside)
    let_pass(aside)
    harness.wait_for(lambda: skiff.status(container).state == 1, "a container that runs", 5)
    code, _ = harness.code_of(skiff.cri.StartContainer, container_id=container)
    assert code == grpc.StatusCode.FAILED_PRECONDITION
    skiff.cri.StopContainer(container_id=container, timeout=0)
    assert skiff.status(container).exit_code == 137
    assert not [x for x in skiff.census()["processes"] if "sleep" in x]
