"""Devices and huge pages. Covers: a block device, and what its permissions allow; a directory of devices; /dev/fuse; a volume of
huge pages, held to the container's limit; in a user namespace too."""

import os
import pathlib
import stat
import subprocess

import harness
import pytest

from test_userns import run_pod, security

MIB = 1 << 20


@pytest.fixture
def loop(tmp_path):
    """A block device whose first bytes are known."""
    disk = tmp_path / "disk"
    disk.write_bytes(b"first sector".ljust(MIB, b"\0"))
    done = subprocess.run(["losetup", "--find", "--show", disk], capture_output=True, text=True, check=True)
    path = done.stdout.strip()
    yield path, disk
    subprocess.run(["losetup", "--detach", path], check=True)


def sh(skiff, script, pod=None, **more):
    status, text = skiff.output_of(pod or skiff.run_pod(), ["sh", "-c", script], **more)
    return status.exit_code, text


def device(host, container="", rights="rwm"):
    return {"host_path": str(host), "container_path": container or str(host), "permissions": rights}


def test_a_block_device(skiff, loop):
    path, disk = loop
    write = "printf changed | dd of=/dev/disk conv=fsync 2>&1"
    code, text = sh(skiff, f"ls -l /dev/disk; head -c 12 /dev/disk; {write}", devices=[device(path, "/dev/disk")])
    assert code == 0 and text.startswith("b") and "first sector" in text, text
    assert disk.read_bytes()[:12] == b"changedector"
    code, text = sh(skiff, f"head -c 7 /dev/disk; {write}", devices=[device(path, "/dev/disk", "r")])
    assert code != 0 and "changed" in text and "not permitted" in text
    code, text = sh(skiff, f"mknod /d b {os.major(os.stat(path).st_rdev)} {os.minor(os.stat(path).st_rdev)} && head -c 7 /d")
    assert code != 0 and "not permitted" in text  # one that it was not given


def test_a_directory_of_devices(skiff, tmp_path):
    (tmp_path / "bus" / "deep").mkdir(parents=True)
    os.mknod(tmp_path / "bus" / "zero", 0o622 | stat.S_IFCHR, os.makedev(1, 5))
    os.mknod(tmp_path / "bus" / "deep" / "full", 0o666 | stat.S_IFCHR, os.makedev(1, 7))
    os.chmod(tmp_path / "bus" / "zero", 0o622)
    (tmp_path / "bus" / "file").touch()
    code, text = sh(skiff, "cd /dev/bus; find . ; stat -c %a zero; head -c 1 zero | od -An -tx1; echo x > deep/full", devices=[device(tmp_path / "bus", "/dev/bus")])
    assert sorted(text.splitlines()[:4]) == [".", "./deep", "./deep/full", "./zero"], text
    assert "622\n 00\n" in text and "No space left" in text and code != 0


@pytest.mark.skipif(not os.path.exists("/dev/fuse"), reason="this machine has no /dev/fuse")
@pytest.mark.parametrize("in_userns", [False, True])
def test_fuse(skiff, tmp_path, in_userns):
    """As udev has it, for everybody: in a user namespace a node of the host's root alone is nobody's."""
    if in_userns and not skiff.cri.Status().runtime_handlers[0].features.user_namespaces:
        pytest.skip("no user namespaces here")
    more = {"security": security()} if in_userns else {}
    pod = run_pod(skiff) if in_userns else skiff.run_pod()
    os.mknod(tmp_path / "fuse", stat.S_IFCHR, os.stat("/dev/fuse").st_rdev)
    os.chmod(tmp_path / "fuse", 0o666)
    code, text = sh(skiff, "exec 3<> /dev/fuse && echo open", pod, devices=[device(tmp_path / "fuse", "/dev/fuse")], **more)
    assert (code, text) == (0, "open\n")
    assert sh(skiff, "test -e /dev/fuse", pod, **more)[0] == 1


@pytest.fixture
def huge(tmp_path):
    """A directory of huge pages, of which the machine has four more meanwhile."""
    knob = pathlib.Path("/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages")
    if not knob.exists():
        pytest.skip("this kernel has no huge pages of 2 MiB")
    before = int(knob.read_text())
    knob.write_text(str(before + 4))
    try:
        if int(knob.read_text()) < before + 4:
            pytest.skip("this machine has no four huge pages")
        (tmp_path / "huge").mkdir()
        subprocess.run(["mount", "-t", "hugetlbfs", "-o", "pagesize=2M", "none", tmp_path / "huge"], check=True)
        yield tmp_path / "huge"
        subprocess.run(["umount", tmp_path / "huge"], check=True)
    finally:
        knob.write_text(str(before))


def test_a_volume_of_huge_pages(skiff, huge):
    """Held to the container's limit, where the host has the controller."""
    with open("/proc/self/cgroup", encoding="utf-8") as file:
        has_controller = "hugetlb" in file.read() or os.path.exists("/sys/fs/cgroup/cgroup.controllers")
    limits = {"hugepage_limits": [{"page_size": "2MB", "limit": 4 * MIB}]} if has_controller else {}
    mounts = [{"container_path": "/hugepages", "host_path": str(huge)}]
    script = "grep /hugepages /proc/self/mounts; fallocate -l 4194304 /hugepages/two && echo two; fallocate -l 2097152 /hugepages/third || echo refused"
    code, text = sh(skiff, script, mounts=mounts, resources=limits)
    assert code == 0 and " hugetlbfs " in text and "two\n" in text, text
    assert (huge / "two").stat().st_size == 4 * MIB
    assert ("refused\n" in text) == has_controller, text
