"""Volumes that an image declares (VOLUME). Covers: content, mode and owner of the image, writing under a read-only root, a path
that the image does not have, another container's view, what the client mounts there instead, and that all goes with the
container. Beside them what else such an image's config says oddly: ENTRYPOINT [""], a stop signal's older name, WORKDIR with
".."; and the figures of a writable layer that nobody writes to."""

import pathlib

import pytest

import harness
import registry
from registry import file, folder, make_image

BUSYBOX = pathlib.Path("/bin/busybox").read_bytes()
LAYER = [
    folder("bin"),
    file("bin/busybox", BUSYBOX, mode=0o755),
    *(registry.symlink(f"bin/{name}", "busybox") for name in ("sh", "sleep", "cat", "stat", "touch", "ls", "pwd")),
    folder("data", mode=0o2770, uid=12, gid=34),
    file("data/seed", b"seed\n", uid=12),
]
CONFIG = {
    "Entrypoint": [""],
    "Cmd": ["/bin/sleep", "1000"],
    "Volumes": {"/data/": {}, "/not/there": {}, "/proc/x": {}, "/asked": {}, "/etc/hostname": {}, "/bin/busybox": {}},
    "WorkingDir": "/bin/../data/./",
    "StopSignal": "SIGCLD",
    "Env": ["PATH=/bin"],
}


SIGCHLD = 4  # of CRI's enum


@pytest.fixture
def image(skiff, fake):
    fake.put_made("test/volumes", "1", make_image([LAYER], config={"config": CONFIG}))
    name = f"{fake.host}/test/volumes:1"
    skiff.cri.PullImage(image={"image": name})
    yield name
    skiff.cri.RemoveImage(image={"image": name})


@pytest.fixture
def pod(skiff):
    return skiff.run_pod(host_network=True)


def said(skiff, container, *command):
    done = skiff.exec(container, list(command))
    assert done.exit_code == 0, done.stderr
    return done.stdout.decode().strip()


@pytest.mark.parametrize("readonly", [False, True])
def test_a_volume_has_the_images_content_and_can_be_written(skiff, image, pod, tmp_path, readonly):
    asked = tmp_path / "asked"
    asked.mkdir()
    (asked / "mine").write_text("mine")
    mounts = [{"container_path": "/asked", "host_path": str(asked)}]
    more = {"image": image, "security": {"readonly_rootfs": readonly}, "mounts": mounts}
    container = skiff.run(pod, [], **more)
    assert said(skiff, container, "cat", "/data/seed") == "seed"
    assert said(skiff, container, "stat", "-c", "%a %u %g", "/data") == "2770 12 34"
    assert said(skiff, container, "pwd") == "/data"
    assert skiff.status(container).stop_signal == SIGCHLD
    said(skiff, container, "sh", "-c", "echo new > /data/new && echo other > /data/seed && touch /not/there/x")
    assert said(skiff, container, "cat", "/data/new", "/data/seed") == "new\nother"
    assert said(skiff, container, "ls", "/asked") == "mine"
    assert (skiff.exec(container, ["touch", "/bin/x"]).exit_code != 0) == readonly
    other = skiff.run(pod, [], **more)
    assert said(skiff, other, "cat", "/data/seed") == "seed"
    for one in (container, other):
        skiff.cri.RemoveContainer(container_id=one, _deadline=60)
        assert not list((skiff.root / "rootfs").glob(f"*/{one}"))
    assert list(asked.iterdir()) == [asked / "mine"]


def layer_of(skiff, container):
    stats = skiff.cri.ContainerStats(container_id=container).stats.writable_layer
    return stats.used_bytes.value, stats.inodes_used.value, stats.timestamp


def test_the_figure_of_an_idle_layer_is_of_now_and_one_that_changes_is_counted_again(skiff, image, pod):
    container = skiff.run(pod, [], image=image)
    bytes_before, inodes, stamp = layer_of(skiff, container)
    harness.wait_for(lambda: layer_of(skiff, container)[2] > stamp, "a figure of later")
    assert layer_of(skiff, container)[:2] == (bytes_before, inodes)
    said(skiff, container, "sh", "-c", "for i in 1 2 3; do touch /bin/new$i; done; echo x > /data/new")
    harness.wait_for(lambda: layer_of(skiff, container)[1] >= inodes + 4, "the new files to be counted", 30)


SPELLINGS = [
    ("SIGIO", "29"), ("SIGPOLL", "29"), ("SIGIOT", "6"), ("CLD", "17"), ("RTMIN+3", "37"), ("sigquit", "3"),
    ("SIGINFO", "SIGTERM"), (" SIGTERM", "15"), ("65", "SIGTERM"), ("0", "SIGTERM"),
]  # fmt: skip


def test_signals_as_images_spell_them(skiff, fake, pod):
    """Each is the signal of that number; one that there is not is SIGTERM."""

    def sent(text):
        made = make_image([LAYER], config={"config": {**CONFIG, "StopSignal": text}})
        fake.put_made("test/signals", "1", made)
        skiff.cri.PullImage(image={"image": f"{fake.host}/test/signals:1"})
        container = skiff.create(pod, [], image=f"{fake.host}/test/signals:1")
        signal = skiff.status(container).stop_signal
        skiff.cri.RemoveContainer(container_id=container)
        return signal

    for text, number in SPELLINGS:
        assert sent(text) == sent(number), text
