"""A disk that is full: an import fails with a sentence and leaves nothing; Stop and Remove work, after a restart too; logs
lose lines, never the container; and all is well again when there is room."""

import os
import subprocess
import time

import grpc
import harness
import pytest


@pytest.fixture
def small(tmp_path, archive):
    """A skiffd whose root is a 64 MiB ext4 of its own."""
    daemon = harness.Skiff(tmp_path)
    daemon.root.mkdir()
    disk = tmp_path / "disk"
    subprocess.run(["mkfs.ext4", "-q", "-m", "0", "-O", "^has_journal", disk, "64m"], check=True)
    subprocess.run(["mount", "-o", "loop", disk, daemon.root], check=True)
    daemon.start()
    daemon.import_image(archive)
    yield daemon
    daemon.stop()
    subprocess.run(["umount", daemon.root], check=True)


def fill(path, name="filler"):
    """Takes all that is left, to the last byte."""
    with open(path / name, "wb", buffering=0) as file:
        size = 1 << 20
        while size:
            try:
                file.write(b"x" * size)
            except OSError:
                size //= 2
    left = os.statvfs(path)
    assert left.f_bavail == 0


def test_stop_and_remove_work_on_a_full_disk_and_after_a_restart(small):
    before = small.census()
    first, second = small.run_pod(name="first"), small.run_pod(name="second", host_network=True)
    containers = [small.run(pod, ["sleep", "1000"]) for pod in (first, second)]
    fill(small.root)
    small.cri.StopContainer(container_id=containers[0], timeout=0)
    small.cri.RemoveContainer(container_id=containers[0])
    small.remove_pod(first)
    small.restart()
    assert small.status(containers[1]).state == 1
    small.remove_pod(second)
    os.unlink(small.root / "filler")
    small.assert_nothing_left(before)
    small.remove_pod(small.run_pod(name="third", host_network=True))
    small.restart()
    assert not small.cri.ListPodSandbox().items
    small.assert_nothing_left(before)


def test_making_fails_on_a_full_disk_with_a_sentence_and_leaves_nothing(small):
    pod = small.run_pod(name="pod", host_network=True)
    fill(small.root)
    made, failed = [], 0
    for _ in range(600):  # the ballast is used up first
        try:
            made.append(small.create(pod, ["true"]))
        except grpc.RpcError as error:
            assert error.code() == grpc.StatusCode.RESOURCE_EXHAUSTED, error.details()
            assert "No space left" in error.details() or "is full" in error.details()
            failed += 1
            if failed == 10:
                break
    assert failed
    assert len(small.files()) == len(made) + 1
    small.remove_pod(pod)
    os.unlink(small.root / "filler")


def test_a_trash_without_room_for_one_more_name_holds_nothing_up(small):
    before = small.census()
    pod = small.run_pod(name="pod", host_network=True)
    container = small.run(pod, ["sleep", "1000"])
    fill(small.root)
    os.unlink(small.root / "pods.db.ballast")
    fill(small.root, "second")
    # What cannot be removed, until its directory would need another block.
    stuck = []
    with pytest.raises(OSError):
        for i in range(10000):
            stuck.append(small.root / "trash" / f"{i:064}")
            stuck[-1].touch()
    subprocess.run(["chattr", "+i", *stuck[:-1]], check=True)
    small.cri.RemoveContainer(container_id=container)
    small.remove_pod(pod)
    assert not list((small.root / "rootfs").glob("*/*"))
    subprocess.run(["chattr", "-i", *stuck[:-1]], check=True)
    os.unlink(small.root / "filler")
    os.unlink(small.root / "second")
    small.assert_nothing_left(before)


def test_an_import_into_a_full_disk_leaves_no_partial_layer(small, tmp_path):
    big = tmp_path / "big"
    big.mkdir()
    (big / "data").write_bytes(os.urandom(80 << 20))
    archive = tmp_path / "big.tar"
    layer = tmp_path / "layer.tar"
    subprocess.run(["tar", "-C", big, "-cf", layer, "."], check=True)
    make_docker_archive(archive, layer, "big:1")
    layers = sorted(os.listdir(small.root / "layers"))
    code, text = harness.code_of(small.import_image, archive)
    assert code == grpc.StatusCode.RESOURCE_EXHAUSTED and "space" in text.lower()
    harness.wait_for(lambda: sorted(os.listdir(small.root / "layers")) == layers, "the store to be clean")
    assert [tag for image in small.cri.ListImages().images for tag in image.repo_tags] == [harness.IMAGE]
    harness.wait_for(lambda: os.statvfs(small.root).f_bavail > 8000, "the trash to be emptied")


def make_docker_archive(archive, layer, name):
    import hashlib
    import io
    import json
    import tarfile

    digest = hashlib.sha256(layer.read_bytes()).hexdigest()
    config = json.dumps(
        {"architecture": "amd64", "os": "linux", "config": {}, "rootfs": {"type": "layers", "diff_ids": ["sha256:" + digest]}}
    ).encode()
    manifest = json.dumps([{"Config": "config.json", "RepoTags": [name], "Layers": ["layer.tar"]}]).encode()
    with tarfile.open(archive, "w") as tar:
        for entry, data in (("config.json", config), ("manifest.json", manifest)):
            info = tarfile.TarInfo(entry)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
        tar.add(layer, "layer.tar")


def test_a_container_writes_on_when_its_logs_disk_is_full(skiff, tmp_path):
    logs = tmp_path / "smalllogs"
    logs.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "logs", logs], check=True)
    try:
        pod = skiff.run_pod(name="chatty", host_network=True, log_directory=str(logs))
        script = "i=0; while [ $i -lt 40000 ]; do echo line $i of many that fill the disk; i=$((i+1)); done; echo done > /finished; sleep 1000"
        container = skiff.run(pod, ["sh", "-c", script])
        harness.wait_for(lambda: skiff.exec(container, ["cat", "/finished"]).exit_code == 0, "the writer", 60)
        for _, stream, tag, text in skiff.lines(container):
            assert stream in ("stdout", "stderr") and tag in ("F", "P") and text
        skiff.remove_pod(pod)
    finally:
        subprocess.run(["umount", logs], check=True)


def test_an_exit_that_found_the_state_directory_full_is_told_once_there_is_room(bare, archive):
    bare.state.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m,mode=711", "state", bare.state], check=True)
    try:
        bare.start()
        bare.import_image(archive)
        pod = bare.run_pod(host_network=True)
        containers = [bare.run(pod, ["sh", "-c", f"sleep {0.5 * i}; exit {7 + i}"]) for i in (1, 2)]
        with pytest.raises(OSError), open(bare.state / "filler", "wb", buffering=0) as filler:
            while filler.write(b"x" * 4096):
                pass
        pids = [bare.info(container)["pid"] for container in containers]
        bare.kill()
        for pid in pids:
            harness.wait_gone(pid)
        bare.start(wait=False)  # on the full disk: not even its pid can be written
        bare.cri.wait_ready(20)
        for i, container in enumerate(containers):
            assert bare.wait_exited(container).exit_code == 8 + i
        os.unlink(bare.state / "filler")
        bare.restart()
        for i, container in enumerate(containers):
            status = bare.status(container)
            assert (status.state, status.exit_code) == (2, 8 + i)
        bare.remove_pod(pod)
        bare.stop()
    finally:
        if bare.process.poll() is None:
            bare.kill()
        subprocess.run(["umount", "-l", bare.state], check=True)
