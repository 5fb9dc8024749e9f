"""SELinux, where the kernel has it and its policy has contexts for containers (`tests/vm/lane.sh selinux` boots such a guest). Covers: the
context of a container's processes and keys, of its root, its volumes, /dev, /dev/shm and the pod's files; a pair of categories of
each pod's own, its containers' too, and after a restart; what selinux_options change; relabelling; privileged; what is refused."""

import os
import pathlib
import re

import grpc
import harness
import pytest

CONTEXTS = [path for path in pathlib.Path("/etc/selinux").glob("*/contexts/lxc_contexts")]
LABELS = pathlib.Path("/sys/fs/selinux/context").exists() and bool(CONTEXTS)
pytestmark = pytest.mark.skipif(not LABELS, reason="no SELinux, or its policy has no contexts for containers")
PROCESS, FILE = "system_u:system_r:container_t", "system_u:object_r:container_file_t"
SLEEP = ["sleep", "1000"]


def asked(**options):
    return {"selinux_options": options}


def context_of(skiff, container):
    return harness.read_proc(skiff.info(container)["pid"], "attr/current").strip("\0\n")


def level_of(context):
    return context.split(":", 3)[3]


def label_of(skiff, container, path):
    """Of a file as the container has it."""
    return os.getxattr(f"/proc/{skiff.info(container)['pid']}/root{path}", "security.selinux").decode().strip("\0")


def inside(skiff, container, script):
    done = skiff.exec(container, ["sh", "-c", script])
    return done.exit_code, done.stdout.decode().strip("\0\n")


def test_processes_and_files_have_the_pods_pair(skiff):
    pods = [skiff.run_pod(name=f"pair-{i}") for i in range(3)]
    levels = []
    for pod in pods:
        first, second = skiff.run(pod, SLEEP), skiff.run(pod, SLEEP)
        context = context_of(skiff, first)
        assert re.fullmatch(PROCESS + r":s0:c\d+,c\d+", context)
        assert context_of(skiff, second) == context
        assert inside(skiff, first, "cat /proc/self/attr/current") == (0, context)
        level = level_of(context)
        for path in ("/", "/etc/passwd", "/dev", "/dev/null", "/dev/shm", "/dev/mqueue", "/dev/pts", "/etc/resolv.conf"):
            assert label_of(skiff, first, path) == f"{FILE}:{level}", path
        assert inside(skiff, first, "echo x > /new; echo x > /dev/shm/new")[0] == 0
        assert label_of(skiff, first, "/new") == f"{FILE}:{level}"
        spec = skiff.info(first)["runtimeSpec"]
        assert spec["process"]["selinuxLabel"] == context and spec["linux"]["mountLabel"] == f"{FILE}:{level}"
        levels.append(level)
    assert len(set(levels)) == len(levels)
    skiff.restart()
    for pod, level in zip(pods, levels):
        third = skiff.run(pod, SLEEP)
        assert context_of(skiff, third) == f"{PROCESS}:{level}"
        assert inside(skiff, third, "cat /proc/self/attr/current") == (0, f"{PROCESS}:{level}")
    assert level_of(context_of(skiff, skiff.run(skiff.run_pod(name="pair-9"), SLEEP))) not in levels


def test_what_is_asked_is_what_it_gets(skiff):
    pod = skiff.run_pod(security=asked(level="s0:c7,c9"))
    plain = skiff.run(pod, SLEEP)
    assert context_of(skiff, plain) == f"{PROCESS}:s0:c7,c9"
    other = skiff.run(pod, SLEEP, security=asked(type="spc_t", level="s0:c1"))
    assert context_of(skiff, other) == "system_u:system_r:spc_t:s0:c1"
    assert label_of(skiff, other, "/etc/passwd") == f"{FILE}:s0:c1"
    assert label_of(skiff, other, "/dev/shm") == f"{FILE}:s0:c7,c9"  # the pod's
    typed = skiff.run(pod, SLEEP, security=asked(type="spc_t"))
    assert context_of(skiff, typed) == "system_u:system_r:spc_t:s0:c7,c9"


def test_what_the_policy_does_not_have_is_refused(skiff):
    pod = skiff.run_pod(host_network=True)
    for options in ({"type": "nonsense_t"}, {"level": "s9"}, {"user": "a b"}):
        code, text = harness.code_of(skiff.create, pod, SLEEP, security=asked(**options))
        assert code == grpc.StatusCode.INVALID_ARGUMENT and "security_context.selinux_options" in text
        code, text = harness.code_of(skiff.run_pod, name="refused", host_network=True, security=asked(**options))
        assert code == grpc.StatusCode.INVALID_ARGUMENT and "security_context.selinux_options" in text
    assert not skiff.cri.ListContainers().containers


def test_a_volume_is_relabelled_when_that_is_asked(skiff, tmp_path):
    for name in ("asked", "left"):
        (tmp_path / name / "deep").mkdir(parents=True)
        (tmp_path / name / "deep/file").write_text("x")
    before = os.getxattr(tmp_path / "left/deep/file", "security.selinux")
    mounts = [
        {"container_path": "/asked", "host_path": str(tmp_path / "asked"), "selinux_relabel": True},
        {"container_path": "/left", "host_path": str(tmp_path / "left")},
    ]
    pod = skiff.run_pod(host_network=True)
    container = skiff.run(pod, SLEEP, mounts=mounts)
    level = level_of(context_of(skiff, container))
    for path in ("/asked", "/asked/deep", "/asked/deep/file"):
        assert label_of(skiff, container, path) == f"{FILE}:{level}"
    assert os.getxattr(tmp_path / "left/deep/file", "security.selinux") == before
    bad = [{"container_path": "/e", "host_path": "/etc", "selinux_relabel": True}]
    code, text = harness.code_of(skiff.create, pod, SLEEP, mounts=bad)
    assert code == grpc.StatusCode.INVALID_ARGUMENT and "config.mounts[0].selinux_relabel" in text


def test_a_privileged_container_has_what_its_supervisor_has(skiff):
    pod = skiff.run_pod(host_network=True, security={"privileged": True})
    container = skiff.run(pod, SLEEP, security={"privileged": True})
    assert context_of(skiff, container) == pathlib.Path("/proc/self/attr/current").read_text().strip("\0\n")
    container = skiff.run(pod, SLEEP, security={"privileged": True, **asked(type="spc_t")})
    assert context_of(skiff, container).startswith("system_u:system_r:spc_t:s0:c")


def test_a_terminal_and_a_users_program_have_it_too(skiff):
    pod = skiff.run_pod(host_network=True)
    security = {"run_as_user": {"value": 1000}, "no_new_privs": True}
    container = skiff.run(pod, ["sh", "-c", "cat /proc/self/attr/current; tty; sleep 1000"], tty=True, security=security)
    harness.wait_for(lambda: "/dev/pts/0" in skiff.text(container), "the terminal")
    assert PROCESS in skiff.text(container)
