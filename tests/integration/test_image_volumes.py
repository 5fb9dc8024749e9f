"""Image volumes. Covers: whole and by sub path (a directory, a file), read-only and executable, its id told in the status,
the volume after its image was removed and skiffd was killed, and every refusal."""

import grpc
import pytest

import harness


@pytest.fixture
def pod(skiff):
    return skiff.run_pod(host_network=True)


def volume(path="/volume", image=harness.IMAGE, **more):
    return {"container_path": path, "readonly": True, "image": {"image": image}, **more}


def test_an_image_is_seen_and_cannot_be_written(skiff, pod):
    container = skiff.run(pod, ["sleep", "60"], mounts=[volume()])
    assert skiff.exec(container, ["/volume/bin/busybox", "echo", "runs"]).stdout == b"runs\n"
    done = skiff.exec(container, ["touch", "/volume/x"])
    assert done.exit_code != 0 and b"Read-only" in done.stderr
    image = skiff.cri.ImageStatus(image={"image": harness.IMAGE}).image.id
    mount = skiff.status(container).mounts[0]
    assert (mount.image.image, mount.image.image_ref) == (harness.IMAGE, image)


def test_sub_paths(skiff, pod):
    mounts = [volume("/d", image_sub_path="bin"), volume("/f/busybox", image_sub_path="bin/busybox"), volume("/all")]
    container = skiff.run(pod, ["sleep", "60"], mounts=mounts)
    assert skiff.exec(container, ["test", "-f", "/d/busybox"]).exit_code == 0
    assert skiff.exec(container, ["/f/busybox", "true"]).exit_code == 0
    assert skiff.exec(container, ["test", "-d", "/all/bin"]).exit_code == 0
    assert skiff.exec(container, ["touch", "/d/x"]).exit_code != 0
    # Nothing of the moment in which the whole was attached is left.
    table = skiff.exec(container, ["cat", "/proc/self/mounts"]).stdout.decode()
    assert [line.split()[1] for line in table.splitlines()].count("/") == 1


def test_it_outlives_its_image_and_skiffd(skiff, archive, pod):
    container = skiff.create(pod, ["sleep", "60"], mounts=[volume(image_sub_path="bin")])
    skiff.restart()
    skiff.cri.RemoveImage(image={"image": harness.IMAGE})
    other = harness.code_of(skiff.create, pod, ["true"], mounts=[volume()])
    assert other[0] == grpc.StatusCode.FAILED_PRECONDITION
    try:
        skiff.cri.StartContainer(container_id=container)
        assert skiff.exec(container, ["test", "-f", "/volume/busybox"]).exit_code == 0
    finally:
        skiff.import_image(archive)


@pytest.mark.parametrize(
    "change, code, word",
    [
        ({"readonly": False}, grpc.StatusCode.INVALID_ARGUMENT, "mounts[0].readonly"),
        ({"host_path": "/tmp"}, grpc.StatusCode.INVALID_ARGUMENT, "mounts[0].host_path"),
        ({"propagation": 2}, grpc.StatusCode.INVALID_ARGUMENT, "mounts[0].propagation"),
        ({"image_sub_path": "../bin"}, grpc.StatusCode.INVALID_ARGUMENT, "mounts[0].image_sub_path"),
        ({"image_sub_path": "/bin"}, grpc.StatusCode.INVALID_ARGUMENT, "mounts[0].image_sub_path"),
        ({"image": {"image": "nothing:here"}}, grpc.StatusCode.FAILED_PRECONDITION, "nothing:here"),
        ({"image_sub_path": "no/such"}, grpc.StatusCode.INVALID_ARGUMENT, "ImageVolumeMountFailed"),
        ({"image_sub_path": "bin/busybox/x"}, grpc.StatusCode.INVALID_ARGUMENT, "ImageVolumeMountFailed"),
        ({"image_sub_path": "n" * 300}, grpc.StatusCode.INVALID_ARGUMENT, "ImageVolumeMountFailed"),
        ({"image": {}, "host_path": "/tmp", "image_sub_path": "x"}, grpc.StatusCode.INVALID_ARGUMENT, "no image"),
    ],
)
def test_what_cannot_be_is_refused(skiff, pod, change, code, word):
    got, text = harness.code_of(skiff.create, pod, ["true"], mounts=[{**volume(), **change}])
    assert got == code and word in text, text
    assert not skiff.cri.ListContainers().containers
