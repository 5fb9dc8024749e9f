"""The bound of a container's writable layer. Covers: by config and by annotation, which is the smaller; that root in it is held
to it, and the others are not; what is counted; numbers that are never shared and free again, also over a restart; and, where
the filesystem has no project quotas, the sentences."""

import subprocess

import grpc
import harness
import pytest

MIB = 1 << 20
ANNOTATION = "skiff.io/rw-layer-max-bytes"


@pytest.fixture
def quotas(bare, archive, tmp_path):
    """A daemon whose root is on an ext4 with project quotas."""
    image, mount = tmp_path / "disk", tmp_path / "mounted"
    mount.mkdir()
    with open(image, "wb") as file:
        file.truncate(512 * MIB)
    subprocess.run(["mkfs.ext4", "-q", "-O", "quota,project", "-E", "quotatype=prjquota", image], check=True)
    done = subprocess.run(["mount", "-o", "loop,prjquota", image, mount], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip("this kernel's ext4 has no project quotas")
    bare.root = mount / "root"
    bare.arguments = ["--container-rw-layer-max-bytes", str(8 * MIB)]
    bare.start()
    bare.import_image(archive)
    yield bare
    bare.remove_all()
    bare.stop()
    subprocess.run(["umount", mount], check=True)
    assert not bare.sanitizers_found(), bare.sanitizers_found()


def writes(skiff, megabytes, pod=None, path="/file", **more):
    """How much of it a container could write, as MiB, and what it was told."""
    script = f"dd if=/dev/zero of={path} bs=64k count={megabytes * 16} 2>&1; du -m {path} | cut -f1"
    _, text = skiff.output_of(pod or skiff.run_pod(), ["sh", "-c", script], **more)
    return int(text.splitlines()[-1]), text


def projects(skiff):
    """Of each container, by id."""
    paths = list(skiff.root.glob("rootfs/*/*"))
    if not paths:
        return {}
    listed = subprocess.run(["lsattr", "-pd", *paths], capture_output=True, text=True, check=True).stdout
    return {line.split()[2].rsplit("/", 1)[1]: int(line.split()[0]) for line in listed.splitlines()}


def test_a_container_is_held_to_its_bound(quotas, tmp_path):
    (tmp_path / "volume").mkdir()
    written, text = writes(quotas, 20)
    assert 5 <= written <= 8 and "quota" in text.lower(), text
    written, text = writes(quotas, 20, path="/v/file", mounts=[{"container_path": "/v", "host_path": str(tmp_path / "volume")}])
    assert written == 20
    for where, value, most in (("container", str(3 * MIB), 3), ("pod", "4Mi", 4), ("pod", "1Gi", 8)):
        annotations = {ANNOTATION: value}
        pod = quotas.run_pod(annotations=annotations) if where == "pod" else None
        written, text = writes(quotas, 20, pod, **({"annotations": annotations} if where == "container" else {}))
        assert most / 2 <= written <= most and "quota" in text.lower(), (where, value, text)
    code, text = harness.code_of(quotas.create, quotas.run_pod(annotations={ANNOTATION: "much"}), ["true"])
    assert code == grpc.StatusCode.INVALID_ARGUMENT and ANNOTATION in text


def test_numbers_are_never_shared_and_come_back(quotas):
    pod = quotas.run_pod()
    first = [quotas.create(pod, ["sleep", "1000"]) for _ in range(3)]
    before = projects(quotas)
    assert len(set(before.values())) == 3 and all(number >= 1 << 30 for number in before.values())
    quotas.restart()
    second = [quotas.create(pod, ["sleep", "1000"]) for _ in range(3)]
    now = projects(quotas)
    assert set(now) == {*first, *second} and len(set(now.values())) == 6
    for container in first + second:
        quotas.cri.RemoveContainer(container_id=container, _deadline=60)
    limits = ["repquota", "-P", "-n", quotas.root.parent]

    def free():
        done = subprocess.run(limits, capture_output=True, text=True, check=False)
        return done.returncode == 0 and not any(f"#{number}" in done.stdout for number in now.values())

    if subprocess.run(["which", "repquota"], capture_output=True, check=False).returncode == 0:
        harness.wait_for(free, "numbers that are free again", 30)
    quotas.restart()
    assert projects(quotas) == {}
    again = quotas.create(pod, ["true"])
    assert projects(quotas)[again] in now.values()  # the first that is free


def test_without_project_quotas_it_is_refused_with_a_sentence(skiff):
    code, text = harness.code_of(skiff.create, skiff.run_pod(annotations={ANNOTATION: "100Mi"}), ["true"])
    assert code == grpc.StatusCode.FAILED_PRECONDITION and "project quotas" in text and "prjquota" in text
    assert not skiff.cri.ListContainers().containers
    skiff.stop()
    skiff.arguments = ["--container-rw-layer-max-bytes", "100000000"]
    skiff.start(wait=False)
    assert skiff.process.wait(30) != 0
    assert "container_rw_layer_max_bytes" in skiff.log_text() and "project quotas" in skiff.log_text()
    skiff.arguments = []
    skiff.start()
