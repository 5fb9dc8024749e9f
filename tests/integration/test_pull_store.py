"""The store around pulls: what a kill, a full or a read-only disk leaves; names and layers of images in use; and the
skiff command's pull, images --tree, export, prune."""

import io
import json
import os
import subprocess
import tarfile
import time

import harness
import pull_harness
import pytest
import registry
from pull_harness import CODE
from registry import entry, file, folder, hardlink, node as device, symlink, xattr

HELLO = [[file("hello", b"hi")]]


def blob_path(made, i=0):
    return registry.digest_of(made.blobs[i])


def helpers(skiff):
    found = {}
    for pid, line in harness.processes().items():
        if ("skiff-pull" in line or "skiff-unpack" in line) and f"PPid:\t{skiff.process.pid}\n" in harness.read_proc(pid, "status"):
            found[pid] = line
    return found


@pytest.fixture
def alone(bare):
    """A daemon of the test's own, with a short patience."""
    bare.arguments = ["--pull-stall-seconds", "2"]
    bare.start()
    return pull_harness.Node(bare)


def begin_slow_pull(node, fake, seconds=20.0):
    """A pull in the middle of writing its layer."""
    made = fake.put("a/b", "slow", [[file(f"f{i:04}", os.urandom(3000)) for i in range(400)]])
    fake.fault(blob_path(made), "slow", seconds=seconds)
    call = node.cri.future("PullImage", image={"image": f"{fake.host}/a/b:slow"})
    partial = node.skiff.root / "layers" / (made.diff_ids[0].split(":")[1] + ".partial")
    harness.wait_for(lambda: partial.exists() and len(os.listdir(partial)) > 10, "files of the layer")
    return made, call


# --- kills ---


def test_skiffd_killed_in_mid_unpack(alone, fake):
    """Its helpers end, the next skiffd starts with a clean store, and the pull works."""
    made, _ = begin_slow_pull(alone, fake)
    left = helpers(alone.skiff)
    assert len(left) == 2
    alone.skiff.kill()
    alone.skiff.start()
    alone.cri = alone.skiff.cri
    for pid, line in left.items():
        assert not os.path.exists(f"/proc/{pid}") or harness.read_proc(pid, "cmdline").replace("\0", " ").strip() != line
    harness.wait_for(lambda: alone.contents() == ([], [], False), "an empty store")
    assert alone.pull(f"{fake.host}/a/b:slow") == made.id
    assert len(os.listdir(alone.layer(made))) == 400


@pytest.mark.parametrize("point", ["layer.unpacked", "layer.commit.before", "image.unpacked", "image.synced",
                                   "image.commit.before", "image.commit.after"])  # fmt: skip
def test_skiffd_killed_at_each_point_of_a_pull(alone, fake, point):
    if b"SKIFF_FAULT_FILE" not in (harness.BIN / "skiffd").read_bytes():
        pytest.skip("a build without fault points")
    made = fake.put("a/b", "1", [[file("one", b"1")], [file("two", b"2")]])
    alone.skiff.arm(point)
    call = alone.cri.future("PullImage", image={"image": f"{fake.host}/a/b:1"})
    alone.skiff.wait_killed()
    assert call.exception(timeout=10) is not None
    alone.skiff.disarm()
    alone.skiff.start()
    alone.cri = alone.skiff.cri
    whole = [f"{fake.host}/a/b:1"] if point == "image.commit.after" else []
    harness.wait_for(lambda: alone.contents()[0] == whole and not alone.contents()[2], "a clean store")
    assert len(alone.contents()[1]) == 2 * len(whole)
    assert alone.pull(f"{fake.host}/a/b:1") == made.id


@pytest.mark.parametrize("name", ["skiff-pull", "skiff-unpack"])
def test_a_killed_helper_fails_its_pull_alone(alone, fake, name):
    made, call = begin_slow_pull(alone, fake)
    for pid, line in helpers(alone.skiff).items():
        if name in line:
            os.kill(pid, 9)
    error = call.exception(timeout=20)
    assert name in error.details() or "ends early" in error.details() or "broken" in error.details(), error.details()
    harness.wait_for(lambda: alone.contents() == ([], [], False), "an empty store")
    assert alone.pull(f"{fake.host}/a/b:slow") == made.id


# --- disks ---


@pytest.fixture
def small(tmp_path):
    """A daemon whose root is a 48 MiB ext4."""
    daemon = harness.Skiff(tmp_path)
    daemon.root.mkdir()
    disk = tmp_path / "disk"
    subprocess.run(["mkfs.ext4", "-q", "-m", "0", disk, "48m"], check=True)
    subprocess.run(["mount", "-o", "loop,errors=remount-ro", disk, daemon.root], check=True)
    daemon.start()
    yield pull_harness.Node(daemon)
    if daemon.process.poll() is None:
        daemon.stop()
    subprocess.run(["umount", daemon.root], check=True)


def test_a_full_disk(small, fake):
    fake.put("a/b", "big", [[file(f"f{i}", os.urandom(10 << 20))] for i in range(6)])
    little = fake.put("a/b", "1", HELLO)
    small.refused(f"{fake.host}/a/b:big", CODE.RESOURCE_EXHAUSTED, "layer sha256:", "space")
    harness.wait_for(lambda: os.statvfs(small.skiff.root).f_bavail > 5000, "the room back")
    assert small.pull(f"{fake.host}/a/b:1") == little.id


def test_a_disk_without_inodes(small, fake):
    fake.put("a/b", "many", [[file(f"d{i % 50}/f{i}") for i in range(14000)]])
    small.refused(f"{fake.host}/a/b:many", CODE.RESOURCE_EXHAUSTED, "space")


def test_a_disk_that_has_become_read_only(small, fake):
    made = fake.put("a/b", "1", HELLO)
    other = fake.put("a/b", "2", [[file("other", b"o")]])
    small.pull(f"{fake.host}/a/b:1")
    device = subprocess.run(["findmnt", "-no", "SOURCE", small.skiff.root], capture_output=True, text=True, check=True).stdout.strip()
    with open(f"/sys/fs/ext4/{os.path.basename(device)}/trigger_fs_error", "w", encoding="ascii") as trigger:
        trigger.write("an error of the test\n")  # mounted with errors=remount-ro: this is what a failing disk does
    code, text = harness.code_of(small.pull, f"{fake.host}/a/b:2")
    assert code in (CODE.INTERNAL, CODE.FAILED_PRECONDITION) and "ead-only file system" in text, (code, text)
    code, text = harness.code_of(small.cri.RemoveImage, image={"image": made.id})
    assert "read" in text.lower() or "disk" in text.lower(), text
    assert small.cri.ImageStatus(image={"image": made.id}).image.id == made.id
    small.skiff.kill()
    subprocess.run(["umount", small.skiff.root], check=True)
    subprocess.run(["mount", "-o", "loop", small.skiff.directory / "disk", small.skiff.root], check=True)
    small.skiff.start()
    small.cri = small.skiff.cri
    assert small.pull(f"{fake.host}/a/b:2") == other.id
    assert [image.id for image in small.cri.ListImages().images] == sorted([made.id, other.id])


# --- images ---


def test_an_image_in_use_can_be_untagged_but_keeps_its_layers(skiff, fake):
    program = pathlib_bytes("/bin/busybox")
    layers = [[folder("bin"), file("bin/busybox", program, mode=0o755), symlink("bin/sleep", "busybox")], [file("top", b"t")]]
    made = fake.put("a/b", "1", layers)
    node = pull_harness.Node(skiff)
    node.pull(f"{fake.host}/a/b:1")
    pod = skiff.run_pod(host_network=True)
    container = skiff.run(pod, ["/bin/sleep", "1000"], image=made.id)
    skiff.cri.RemoveImage(image={"image": f"{fake.host}/a/b:1"})
    assert not skiff.cri.ImageStatus(image={"image": made.id}).HasField("image")
    assert node.layer(made, 1).exists()
    skiff.restart()
    node.cri = skiff.cri
    assert node.layer(made, 0).exists() and node.layer(made, 1).exists()
    assert skiff.exec(container, ["/bin/busybox", "cat", "/top"]).stdout == b"t"
    skiff.remove_pod(pod)
    harness.wait_for(lambda: not node.layer(made, 0).exists() and not node.layer(made, 1).exists(), "the layers to go")


def pathlib_bytes(path):
    with open(path, "rb") as opened:
        return opened.read()


def test_names_digests_ids_and_the_last_tag(node, fake):
    made = fake.put("a/b", "1", HELLO)
    fake.put_made("a/b", "2", made)
    fake.put_made("a/other", "1", made)
    for name in ("a/b:1", "a/b:2", "a/other:1"):
        node.pull(f"{fake.host}/{name}")
    for name in (f"{fake.host}/a/b:1", f"{fake.host}/a/b@{made.digest}", made.id, made.id[7:], made.id[7:20]):
        assert node.cri.ImageStatus(image={"image": name}).image.id == made.id
    node.cri.RemoveImage(image={"image": f"{fake.host}/a/b:1"})
    image = node.cri.ImageStatus(image={"image": made.id}).image
    assert list(image.repo_digests) == [f"{fake.host}/a/b@{made.digest}", f"{fake.host}/a/other@{made.digest}"]
    node.cri.RemoveImage(image={"image": f"{fake.host}/a/b:2"})
    image = node.cri.ImageStatus(image={"image": made.id}).image
    assert list(image.repo_digests) == [f"{fake.host}/a/other@{made.digest}"]
    assert list(image.repo_tags) == [f"{fake.host}/a/other:1"]
    node.cri.RemoveImage(image={"image": made.id[7:]})
    assert not node.cri.ListImages().images


def test_a_tag_that_moves_leaves_the_old_image_by_its_digest(node, fake):
    old = fake.put("a/b", "1", HELLO)
    node.pull(f"{fake.host}/a/b:1")
    new = fake.put("a/b", "1", [[file("new", b"n")]])
    assert node.pull(f"{fake.host}/a/b:1") == new.id
    assert not node.cri.ImageStatus(image={"image": old.id}).image.repo_tags
    assert node.cri.ImageStatus(image={"image": f"{fake.host}/a/b:1"}).image.id == new.id


def test_pinned_images_and_prune(bare, fake):
    kept = fake.put("a/pinned", "1", HELLO)
    gone = fake.put("a/b", "1", [[file("x", b"x")]])
    bare.arguments = ["--pinned-images", f"{fake.host}/a/pinned:1"]
    node = pull_harness.Node(bare.start())
    node.pull(f"{fake.host}/a/pinned:1")
    node.pull(f"{fake.host}/a/b:1")
    assert {image.id: image.pinned for image in bare.cri.ListImages().images} == {kept.id: True, gone.id: False}
    assert bare.cli("prune").stdout == f"{fake.host}/a/b:1\n"
    assert [image.id for image in bare.cri.ListImages().images] == [kept.id]
    harness.wait_for(lambda: node.contents() == ([f"{fake.host}/a/pinned:1"], [kept.diff_ids[0][7:]], False), "the layer to go")


def test_image_fs_info_follows_and_does_not_walk(node, fake):
    empty = node.cri.ImageFsInfo().image_filesystems[0]
    fake.put("a/b", "1", [[file(f"f{i}", b"x" * 5000) for i in range(3000)]])
    node.pull(f"{fake.host}/a/b:1")
    began = time.monotonic()
    full = node.cri.ImageFsInfo().image_filesystems[0]
    assert time.monotonic() - began < 0.1 * harness.SLOW
    assert full.inodes_used.value - empty.inodes_used.value == 3001
    assert full.used_bytes.value - empty.used_bytes.value >= 3000 * 8192
    node.remove_all()
    now = node.cri.ImageFsInfo().image_filesystems[0]
    assert (now.used_bytes.value, now.inodes_used.value) == (empty.used_bytes.value, empty.inodes_used.value)


def test_removal_returns_at_once_and_the_trash_is_emptied(node, fake):
    made = fake.put("a/b", "1", [[file(f"f{i}") for i in range(8000)]])
    node.pull(f"{fake.host}/a/b:1")
    began = time.monotonic()
    node.cri.RemoveImage(image={"image": made.id})
    assert time.monotonic() - began < 0.1 * harness.SLOW
    assert not node.layer(made).exists()
    harness.wait_for(lambda: node.contents() == ([], [], False), "the trash to be emptied")


# --- the skiff command ---


def test_skiff_pull_tells_how_far_it_is(node, fake):
    made = fake.put("a/b", "1", [[file("big", os.urandom(400_000))], [file("more", os.urandom(200_000))]])
    fake.fault(blob_path(made), "slow", seconds=1.2)
    done = node.skiff.cli("pull", f"{fake.host}/a/b:1")
    assert done.stdout == made.id + "\n"
    lines = done.stderr.splitlines()
    assert any("of 2 layers" in line and "/s" in line and "s left" in line for line in lines), lines
    assert lines[-1].startswith("2 of 2 layers"), lines
    node.remove_all()
    assert node.skiff.cli("pull", "-q", f"{fake.host}/a/b:1").stderr == ""
    refused = node.skiff.cli("pull", f"{fake.host}/a/none:1", check=False)
    assert refused.returncode == 66 and "HTTP 404" in refused.stderr


def test_pull_progress_grows_and_ends_when_its_client_goes(node, fake):
    made = fake.put("a/b", "1", [[file("big", os.urandom(400_000))]])
    fake.fault(blob_path(made), "slow", seconds=1)
    steps = list(node.cri.PullProgress(image=f"{fake.host}/a/b:1"))
    assert steps[-1].image_id == made.id
    counts = [step.done_bytes for step in steps[:-1]]
    assert counts == sorted(counts) and len(set(counts)) >= 3 and counts[-1] == len(made.blobs[0])
    assert {step.total_bytes for step in steps[:-1]} == {len(made.blobs[0])}
    node.remove_all()
    fake.fault(blob_path(made), "slow", seconds=20)
    stream = node.cri.PullProgress(image=f"{fake.host}/a/b:1")
    next(stream)
    stream.cancel()
    harness.wait_for(lambda: node.contents() == ([], [], False) and not helpers(node.skiff), "the pull's end")


def test_skiff_pull_with_a_password_from_stdin(node):
    with registry.Registry(auth="basic") as private:
        made = private.put("a/b", "1", HELLO)
        command = [harness.BIN / "skiff", "--endpoint", node.skiff.endpoint, "pull", "-q", "-u", "user", f"{private.host}/a/b:1"]
        done = subprocess.run(command, input="secret\n", capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout) == (0, made.id + "\n"), done.stderr


def test_images_as_a_tree(node, fake):
    shared = [file("shared", b"s" * 9000)]
    one, two = (fake.put("a/b", str(i), [shared, [file("own", str(i).encode())]]) for i in (1, 2))
    node.pull(f"{fake.host}/a/b:1")
    node.pull(f"{fake.host}/a/b:2")
    text = node.skiff.cli("images", "--tree").stdout
    assert text.count("shared by 2") == 2
    for made in (one, two):
        assert made.id[7:20] in text
        for diff_id in made.diff_ids:
            assert diff_id[7:20] in text


ODD = [
    folder("d", mode=0o1777, mtime=1500000000),
    file("d/plain", b"x" * 5000, mode=0o640, uid=1234, gid=3_000_000, mtime=1234567890),
    file("d/set", b"#!", mode=0o6755),
    hardlink("d/zhard", "d/plain"),
    symlink("d/soft", "../../../etc/passwd"),
    symlink("d/long", "x/" * 100 + "y"),
    device("d/null", tarfile.CHRTYPE, 1, 3),
    entry("d/pipe", tarfile.FIFOTYPE),
    file("d/attributes", b"a", pax={**xattr("user.note", "kept"), **xattr("user.more", "line\nline")}),
    file("n" * 255, b"long"),
    file("/".join(["deep" * 20] * 20), b"deep"),
    file("ü" * 120 + ".txt", b"name"),
    file("empty"),
    file(".wh.gone"),
    folder("hidden"),
    file("hidden/.wh..wh..opq"),
]


def names_of(archive):
    with tarfile.open(archive) as layout:
        index = json.load(layout.extractfile("index.json"))
        read = lambda digest: layout.extractfile("blobs/sha256/" + digest.split(":")[1]).read()  # noqa: E731
        manifest = json.loads(read(index["manifests"][0]["digest"]))
        for member in layout:
            if member.name.startswith("blobs/"):
                assert registry.digest_of(layout.extractfile(member).read()).endswith(member.name.rsplit("/", 1)[1])
        config = json.loads(read(manifest["config"]["digest"]))
        layers = [tarfile.open(fileobj=io.BytesIO(read(layer["digest"]))) for layer in manifest["layers"]]
        assert config["rootfs"]["diff_ids"] == [layer["digest"] for layer in manifest["layers"]]
        return index, config, [{member.name: member for member in layer} for layer in layers]


def test_export_gives_an_image_that_imports_as_it_was(node, fake, tmp_path):
    config = {"config": {"Env": ["A=B"], "Cmd": ["x"]}, "history": [{"created_by": "tests"}]}
    made = fake.put("a/b", "1", [[folder("gone"), file("hidden/old", b"o")], ODD, [file("last", b"l")]], config=config)
    node.pull(f"{fake.host}/a/b:1")
    first, second = tmp_path / "first.tar", tmp_path / "second.tar"
    done = node.skiff.cli("export", f"{fake.host}/a/b:1", first)
    assert "another id" in done.stderr
    index, exported, layers = names_of(first)
    assert exported["config"] == config["config"] and exported["history"] == config["history"]
    assert index["manifests"][0]["annotations"]["io.containerd.image.name"] == f"{fake.host}/a/b:1"
    odd = layers[1]
    assert odd[".wh.gone"].size == 0 and odd["hidden/.wh..wh..opq"].size == 0
    assert odd["d/zhard"].islnk() and odd["d/zhard"].linkname == "d/plain"
    assert (odd["d/plain"].uid, odd["d/plain"].gid, odd["d/plain"].mode, odd["d/plain"].mtime) == (1234, 3_000_000, 0o640, 1234567890)
    assert odd["d/set"].mode == 0o6755 and odd["d"].mode == 0o1777 and odd["d"].mtime == 1500000000
    assert odd["d/attributes"].pax_headers["SCHILY.xattr.user.more"] == "line\nline"
    assert ("d/null" in odd) and (odd["d/null"].devmajor, odd["d/null"].devminor) == (1, 3)
    node.remove_all()
    assert node.skiff.cli("import", first).stdout == done.stdout
    again = node.skiff.cli("export", f"{fake.host}/a/b:1", second)
    assert again.stdout == done.stdout and again.stderr == ""
    assert first.read_bytes() == second.read_bytes()
    refused = node.skiff.cli("export", f"{fake.host}/a/b:1", second, check=False)
    assert refused.returncode != 0 and "File exists" in refused.stderr
    assert made.id != done.stdout.strip()


def test_an_image_of_two_names(node, fake, tmp_path):
    """Exported by a name it has that one, by its id both; lists and prune tell all."""
    made = fake.put("a/b", "1", [[file("f", b"f")]])
    fake.put_made("c/d", "2", made)
    names = [f"{fake.host}/a/b:1", f"{fake.host}/c/d:2"]
    for name in names:
        node.pull(name)

    def exported(what, path):
        node.skiff.cli("export", what, path)
        return sorted(m["annotations"]["io.containerd.image.name"] for m in names_of(path)[0]["manifests"])

    assert exported(names[1], tmp_path / "one.tar") == [names[1]]
    assert exported(made.id, tmp_path / "both.tar") == names
    assert [line.split()[0] for line in node.skiff.cli("images", "--tree").stdout.splitlines() if "/" in line] == names
    assert node.skiff.cli("prune").stdout.splitlines() == names
    refused = node.skiff.cli("import", tmp_path, check=False)
    assert refused.returncode != 0 and "is a directory" in refused.stderr
    refused = node.skiff.cli("export", names[0], "-", check=False)
    assert refused.returncode == 64 and "path" in refused.stderr


def test_an_export_that_fails_leaves_no_file(node, fake, tmp_path):
    fake.put("a/b", "1", [[file("big", os.urandom(3 << 20))]])
    node.pull(f"{fake.host}/a/b:1")
    full = tmp_path / "full"
    full.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "full", full], check=True)
    try:
        refused = node.skiff.cli("export", f"{fake.host}/a/b:1", full / "image.tar", check=False)
        assert "space" in refused.stderr and not os.listdir(full)
    finally:
        subprocess.run(["umount", full], check=True)
    assert node.skiff.cli("export", "none:1", tmp_path / "x", check=False).returncode == 66
