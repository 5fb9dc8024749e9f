"""Containers. Covers: merging of image and CRI config, users and groups, mounts, devices, capabilities, seccomp, limits,
stop signals and grace, exit codes and reasons, start errors, what is echoed, what is refused."""

import os
import subprocess
import pathlib
import shutil
import signal
import time

import grpc
import harness
import pytest


@pytest.fixture
def pod(skiff):
    return skiff.run_pod(name="host", host_network=True)


def test_a_container_lives_from_create_to_remove(skiff, pod):
    config = skiff.container_config(
        ["sh", "-c", "echo out; echo err >&2; exit 3"], labels={"a": "b"}, annotations={"c": "d"}
    )
    container = skiff.create(pod, config=config)
    assert skiff.status(container).state == 0
    skiff.cri.StartContainer(container_id=container)
    status = skiff.wait_exited(container)
    assert (status.exit_code, status.reason) == (3, "Error")
    assert status.created_at <= status.started_at <= status.finished_at
    assert dict(status.labels) == {"a": "b"} and dict(status.annotations) == {"c": "d"}
    assert skiff.text(container, "stdout") == "out\n" and skiff.text(container, "stderr") == "err\n"
    assert {"rootfs", "spec", "cgroup", "created"} == set(skiff.info(container)["createStepsNs"])
    skiff.cri.RemoveContainer(container_id=container)
    skiff.cri.RemoveContainer(container_id=container)
    assert harness.code_of(skiff.status, container)[0] == grpc.StatusCode.NOT_FOUND


def test_completed_and_lists(skiff, pod):
    container, _ = skiff.run(pod, ["true"], labels={"k": "v"}), skiff.run(pod, ["sleep", "100"])
    assert skiff.wait_exited(container).reason == "Completed"

    def listed(**filter):
        return [c.id for c in skiff.cri.ListContainers(filter=filter).containers]

    assert len(listed()) == 2 and listed(state={"state": 2}) == [container]
    assert listed(label_selector={"k": "v"}) == [container] and listed(pod_sandbox_id="f" * 64) == []
    item = skiff.cri.ListContainers(filter={"id": container}).containers[0]
    assert item.pod_sandbox_id == pod and item.image.image == harness.IMAGE and item.image_id.startswith("sha256:")


def test_image_and_cri_config_are_merged(skiff, pod):
    config = skiff.container_config([])
    config["args"] = ["sh", "-c", "echo $0 $A $PATH; pwd", "zero"]
    config["envs"] = [{"key": "A", "value": b"1"}]
    config["working_dir"] = "/made/here"
    container = skiff.create(pod, config=config)
    skiff.cri.StartContainer(container_id=container)
    skiff.wait_exited(container)
    assert skiff.text(container) == "zero 1 /bin\n/made/here\n"


@pytest.mark.parametrize(
    "security, expected",
    [
        ({}, "uid=0(root) gid=0(root) groups=0(root)"),
        ({"run_as_user": {"value": 1000}}, "uid=1000(user) gid=1000(user) groups=1000(user),2000(extra)"),
        ({"run_as_username": "user"}, "uid=1000(user) gid=1000(user) groups=1000(user),2000(extra)"),
        (
            {"run_as_user": {"value": 1000}, "run_as_group": {"value": 2000}, "supplemental_groups": [77]},
            "uid=1000(user) gid=2000(extra) groups=77,2000(extra)",
        ),
        (
            {"run_as_user": {"value": 1000}, "supplemental_groups": [77], "supplemental_groups_policy": 1},
            "uid=1000(user) gid=1000(user) groups=77,1000(user)",
        ),
        ({"run_as_user": {"value": 4242}}, "uid=4242 gid=0(root) groups=0(root)"),
    ],
)
def test_users_and_groups(skiff, pod, security, expected):
    container = skiff.run(pod, ["id"], security=security)
    status = skiff.wait_exited(container)
    text = skiff.text(container).strip()
    assert text.split(" groups=")[0] == expected.split(" groups=")[0]
    assert set(text.split("groups=")[1].split(",")) == set(expected.split("groups=")[1].split(","))
    assert status.user.linux.uid == int(expected.split("uid=")[1].split("(")[0].split()[0])


def test_an_unknown_user_is_said(skiff, pod):
    code, text = harness.code_of(skiff.run, pod, ["true"], security={"run_as_username": "nosuch"})
    assert code == grpc.StatusCode.INVALID_ARGUMENT and "nosuch" in text and "passwd" in text


def test_mounts(skiff, pod, tmp_path):
    source = tmp_path / "data"
    source.mkdir()
    (source / "file").write_text("from the host")
    mounts = [
        {"container_path": "/data", "host_path": str(source)},
        {"container_path": "/ro", "host_path": str(source), "readonly": True},
        {"container_path": "/etc/one", "host_path": str(source / "file")},
    ]
    script = "cat /data/file /etc/one; echo back > /data/new; echo no > /ro/x; echo $?"
    container = skiff.run(pod, ["sh", "-c", script], mounts=mounts)
    status = skiff.wait_exited(container)
    assert skiff.text(container, "stdout") == "from the hostfrom the host1\n"
    assert (source / "new").read_text() == "back\n" and not (source / "x").exists()
    assert [(m.container_path, m.host_path, m.readonly) for m in status.mounts] == [
        (m["container_path"], m["host_path"], m.get("readonly", False)) for m in mounts
    ]
    # As at other runtimes, which kubelet relies on for a hostPath without a type.
    missing = skiff.directory / "not" / "there"
    skiff.output_of(pod, ["touch", "/x/y"], mounts=[{"container_path": "/x", "host_path": str(missing)}])
    assert (missing / "y").exists()
    code, text = harness.code_of(
        skiff.create, pod, ["true"], mounts=[{"container_path": "/x", "host_path": "/dev/null/path"}]
    )
    assert code == grpc.StatusCode.INVALID_ARGUMENT and "/dev/null/path" in text


def test_a_read_only_root(skiff, pod):
    _, text = skiff.output_of(
        pod, ["sh", "-c", "echo x > /file || echo refused; echo y > /dev/shm/y && echo shm"], security={"readonly_rootfs": True}
    )
    assert "refused" in text and "shm" in text


def test_what_a_container_may_not_do(skiff, pod):
    script = (
        "grep -E 'CapEff|CapBnd|CapInh|NoNewPrivs|Seccomp:' /proc/self/status; mknod /tmp/d b 254 0 && cat /tmp/d;"
        "cat /proc/kcore; echo x > /proc/sys/kernel/panic; mount -t tmpfs t /tmp; ls /dev; ls /proc/self/fd"
    )
    _, text = skiff.output_of(pod, ["sh", "-c", script], security={"no_new_privs": True})
    assert "CapEff:\t00000000a80425fb" in text and "CapInh:\t0000000000000000" in text
    assert "NoNewPrivs:\t1" in text and "Seccomp:\t2" in text
    assert "can't open '/tmp/d': Operation not permitted" in text
    assert "panic: Read-only file system" in text
    assert "permission denied" in text.lower() or "operation not permitted" in text.lower()


def test_capabilities(skiff, pod):
    def effective(**security):
        _, text = skiff.output_of(pod, ["grep", "CapEff", "/proc/self/status"], security=security)
        return int(text.split()[1], 16)

    assert effective(capabilities={"drop_capabilities": ["ALL"]}) == 0
    assert effective(capabilities={"drop_capabilities": ["ALL"], "add_capabilities": ["NET_BIND_SERVICE"]}) == 1 << 10
    assert effective(capabilities={"add_capabilities": ["CAP_SYS_PTRACE"]}) >> 19 & 1
    allowed = skiff.run_pod(host_network=True, security={"privileged": True})
    _, text = skiff.output_of(allowed, ["grep", "CapEff", "/proc/self/status"], security={"privileged": True})
    assert int(text.split()[1], 16) >> 21 & 1
    code, text = harness.code_of(
        skiff.create, pod, ["true"], security={"capabilities": {"add_capabilities": ["NO_SUCH"]}}
    )
    assert code == grpc.StatusCode.INVALID_ARGUMENT and "NO_SUCH" in text


def test_seccomp(skiff, pod, tmp_path):
    def mode(**security):
        _, text = skiff.output_of(pod, ["sh", "-c", "grep Seccomp: /proc/self/status; mkdir /tmp/d"], security=security)
        return text

    assert "Seccomp:\t2" in mode()
    assert "Seccomp:\t0" in mode(seccomp={"profile_type": 1})
    profile = tmp_path / "no-mkdir.json"
    profile.write_text(
        '{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["mkdir","mkdirat"],"action":"SCMP_ACT_ERRNO"}]}'
    )
    text = mode(seccomp={"profile_type": 2, "localhost_ref": str(profile)})
    assert "Seccomp:\t2" in text and "Operation not permitted" in text
    profile.write_text('{"defaultAction":"SCMP_ACT_NONSENSE"}')
    code, text = harness.code_of(mode, seccomp={"profile_type": 2, "localhost_ref": str(profile)})
    assert code == grpc.StatusCode.INVALID_ARGUMENT and "SCMP_ACT_NONSENSE" in text


def test_devices(skiff, pod):
    devices = [{"host_path": "/dev/null", "container_path": "/dev/mine", "permissions": "rw"}]
    _, text = skiff.output_of(pod, ["sh", "-c", "echo x > /dev/mine && ls -l /dev/mine"], devices=devices)
    assert "1,   3" in text
    code, text = harness.code_of(
        skiff.create, pod, ["true"],
        devices=[{"host_path": "/dev/null", "container_path": "/dev/mine", "permissions": "x"}],
    )  # fmt: skip
    assert code == grpc.StatusCode.INVALID_ARGUMENT and "permissions" in text


def test_mount_options(skiff, pod, tmp_path):
    """What is asked for holds for the volume and what is mounted below it; the client is told what it asked."""
    (tmp_path / "below").mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", tmp_path / "below"], check=True)
    try:
        options = ["noexec", "nosuid", "nodev", "noatime", "nodiratime", "nosuid"]
        mounts = [
            {"container_path": "/a", "host_path": str(tmp_path), "mount_options": options},
            {"container_path": "/b", "host_path": str(tmp_path), "mount_options": ["ro", "strictatime"]},
            {"container_path": "/c", "host_path": str(tmp_path)},
        ]
        script = "for d in /a /a/below; do cp /bin/busybox $d; $d/busybox true || echo refused; done; /c/busybox true && echo runs"
        container = skiff.run(pod, ["sh", "-c", f"{script}; touch /b/y; cat /proc/self/mounts"], mounts=mounts)
        skiff.wait_exited(container)
        text = skiff.text(container)
    finally:
        subprocess.run(["umount", tmp_path / "below"], check=True)
    assert text.count("refused\n") == 2 and "runs\n" in text and "Read-only file system" in text
    seen = {line.split()[1]: set(line.split()[3].split(",")) for line in text.splitlines() if line.startswith(("/", "tmpfs", "work"))}
    for path in ("/a", "/a/below"):
        assert {"rw", "noexec", "nosuid", "nodev", "noatime", "nodiratime"} <= seen[path], (path, seen)
    assert "ro" in seen["/b"] and not {"noatime", "relatime", "noexec"} & seen["/b"]
    assert "rw" in seen["/b/below"] and "noexec" not in seen["/c"]
    assert list(skiff.status(container).mounts[0].mount_options) == options
    assert skiff.cri.Status().features.mount_options


def mounted(text):
    """target -> filesystem, the last of each, as /proc/self/mounts has them."""
    return {line.split()[1]: line.split()[2] for line in text.splitlines() if " " in line}


@pytest.mark.parametrize("propagation", [0, 1, 2])
@pytest.mark.parametrize("path", ["/dev", "/dev/shm", "/sys"])
def test_the_hosts_own_directories_in_a_container(skiff, pod, path, propagation):
    """On top of the host's are the container's own cgroups, terminals and shm; but nothing of it reaches the host."""
    before = harness.mounts()
    mount = {"container_path": path, "host_path": path, "propagation": propagation}
    script = "cat /proc/self/mounts; echo x > /dev/null && echo null; ls /sys/fs/cgroup > /dev/null && echo cgroup"
    container = skiff.run(pod, ["sh", "-c", f"{script}; sleep 1000"], mounts=[mount])
    harness.wait_for(lambda: "cgroup\n" in skiff.text(container), "its look")
    assert "null\n" in skiff.text(container)
    seen = mounted(skiff.text(container))
    if propagation != 2:
        assert seen["/dev/pts"] == "devpts" and "/dev/mqueue" in seen or path == "/dev" and not os.path.isdir("/dev/mqueue")
        assert seen["/sys/fs/cgroup"] in ("cgroup2", "tmpfs")
        options = [line for line in skiff.text(container).splitlines() if line.split()[1:2] == ["/sys/fs/cgroup"]][-1].split()[3]
        assert options.split(",")[0] == "ro"
        if seen["/sys/fs/cgroup"] == "tmpfs":  # v1: its own cgroups, each as the root of its hierarchy
            listed = skiff.exec(container, ["sh", "-c", "ls -d /sys/fs/cgroup/*/*"]).stdout.decode()
            assert skiff.cgroup_parent.strip("/") not in listed and "/sys/fs/cgroup/memory/memory.limit_in_bytes" in listed
    assert harness.mounts() == before
    assert oct(os.stat("/dev/null").st_mode & 0o777) == "0o666"


def test_devices_of_the_host_and_the_pods_shm(skiff, pod):
    """/dev of the host with the pod's shm on it: two containers meet there, and not on the host."""
    mount = [{"container_path": "/dev", "host_path": "/dev"}]
    skiff.output_of(pod, ["sh", "-c", "echo here > /dev/shm/skiff-test"], mounts=mount)
    assert skiff.output_of(pod, ["cat", "/dev/shm/skiff-test"])[1] == "here\n"
    assert not os.path.exists("/dev/shm/skiff-test")


def test_limits_are_in_the_cgroup(skiff, pod):
    resources = {
        "memory_limit_in_bytes": 64 << 20, "cpu_quota": 50000, "cpu_period": 100000, "cpu_shares": 512,
    }  # fmt: skip
    container = skiff.run(pod, ["sleep", "100"], resources=resources)
    path = f"{skiff.cgroup_parent}/{container}"
    assert skiff.info(container)["cgroup"] == path
    if os.path.exists("/sys/fs/cgroup/cgroup.controllers"):
        with open(f"/sys/fs/cgroup{path}/memory.max", encoding="utf-8") as file:
            assert int(file.read()) == 64 << 20
    else:
        with open(f"/sys/fs/cgroup/memory{path}/memory.limit_in_bytes", encoding="utf-8") as file:
            assert int(file.read()) == 64 << 20
        with open(f"/sys/fs/cgroup/cpu{path}/cpu.cfs_quota_us", encoding="utf-8") as file:
            assert int(file.read()) == 50000
    skiff.cri.UpdateContainerResources(container_id=container, linux={"memory_limit_in_bytes": 128 << 20})
    assert skiff.status(container).resources.linux.memory_limit_in_bytes == 128 << 20
    assert skiff.status(container).resources.linux.cpu_quota == 50000


def test_oom_is_told_for_the_main_process_and_for_a_child(skiff, pod):
    resources = {"memory_limit_in_bytes": 32 << 20, "memory_swap_limit_in_bytes": 32 << 20}
    hog = "dd if=/dev/zero of=/dev/null bs=200M count=1"
    status, _ = skiff.output_of(pod, ["sh", "-c", f"exec {hog}"], resources=resources)
    assert (status.reason, status.exit_code) == ("OOMKilled", 137)
    status, _ = skiff.output_of(pod, ["sh", "-c", f"{hog}; exit 0"], resources=resources)
    assert (status.reason, status.exit_code) == ("OOMKilled", 0)


def test_stop_signal_then_grace_then_kill(skiff, pod):
    polite = skiff.run(pod, ["sh", "-c", "trap 'echo bye; exit 7' TERM; echo up; while :; do sleep 0.1; done"])
    harness.wait_for(lambda: "up" in skiff.text(polite), "the trap")
    skiff.cri.StopContainer(container_id=polite, timeout=20)
    assert skiff.status(polite).exit_code == 7 and "bye" in skiff.text(polite)
    stubborn = skiff.run(pod, ["sh", "-c", "trap '' TERM; echo up; while :; do sleep 0.1; done"])
    harness.wait_for(lambda: "up" in skiff.text(stubborn), "the trap")
    began = time.monotonic()
    skiff.cri.StopContainer(container_id=stubborn, timeout=1)
    assert 0.9 < time.monotonic() - began < 8 * harness.SLOW
    assert skiff.status(stubborn).exit_code == 137
    skiff.cri.StopContainer(container_id=stubborn, timeout=1)
    skiff.cri.StopContainer(container_id="e" * 64, timeout=1)


def test_a_second_stop_with_less_grace_shortens_the_first(skiff, pod):
    stubborn = skiff.run(pod, ["sh", "-c", "trap 'echo asked' TERM; echo up; while :; do sleep 0.1; done"])
    harness.wait_for(lambda: "up" in skiff.text(stubborn), "the trap")
    first = skiff.cri.future("StopContainer", container_id=stubborn, timeout=600)
    harness.wait_for(lambda: "asked" in skiff.text(stubborn), "the first stop's signal")
    skiff.cri.StopContainer(container_id=stubborn, timeout=0, _deadline=20)
    first.result(timeout=20)


@pytest.mark.parametrize("number, name", [(2, "USR1")])
def test_the_stop_signal_may_be_cris(skiff, pod, number, name):
    signals = {value.name: value.number for value in skiff.cri_enum("Signal")}
    wanted = [v for k, v in signals.items() if k.endswith("SIG" + name)][0]
    script = f"trap 'exit 9' {name}; trap 'exit 8' TERM; echo up; while :; do sleep 0.1; done"
    container = skiff.run(pod, ["sh", "-c", script], stop_signal=wanted)
    harness.wait_for(lambda: "up" in skiff.text(container), "the trap")
    skiff.cri.StopContainer(container_id=container, timeout=20)
    assert skiff.status(container).exit_code == 9


@pytest.mark.parametrize(
    "command, words",
    [
        (["nosuchcommand"], 'exec: "nosuchcommand": executable file not found in $PATH'),
        (["/etc/passwd"], "permission denied"),
        (["/no/such/file"], "no such file or directory"),
        (["/etc"], "permission denied"),
    ],
)
def test_a_start_that_fails_says_why_in_words_users_know(skiff, pod, command, words):
    container = skiff.create(pod, command)
    code, text = harness.code_of(skiff.cri.StartContainer, container_id=container)
    assert code == grpc.StatusCode.FAILED_PRECONDITION and words in text
    status = skiff.status(container)
    assert (status.state, status.exit_code, status.reason) == (2, 128, "StartError") and words in status.message
    skiff.cri.RemoveContainer(container_id=container)


def test_a_root_filesystem_that_cannot_be_mounted_fails_the_start(skiff, pod):
    """It is mounted while the process is being made, which must not wait for it for ever, nor run without it."""
    container = skiff.create(pod, ["sleep", "1000"])
    shutil.rmtree(skiff.root / "rootfs" / container[0] / container / "upper")
    code, text = harness.code_of(skiff.cri.StartContainer, container_id=container, _deadline=20)
    assert code != grpc.StatusCode.DEADLINE_EXCEEDED and "upper" in text
    status = skiff.status(container)
    assert (status.state, status.exit_code, status.reason) == (2, 128, "StartError") and "upper" in status.message
    assert not [name for name in skiff.census()["processes"] if "sleep" in name]
    skiff.cri.RemoveContainer(container_id=container)
    assert skiff.output_of(pod, ["echo", "the pod goes on"])[1] == "the pod goes on\n"


def test_a_container_with_a_terminal(skiff, pod):
    say = "tty; stty size; echo $TERM; test -c /dev/console && echo console; id -u; stat -c %u $(tty)"
    script = f"{say}; while [ ! -e /tmp/go ]; do sleep 0.05; done; echo on; exit 5"
    user = {"run_as_user": {"value": 1000}}
    container = skiff.run(pod, ["sh", "-c", script], tty=True, stdin=True, security=user)
    harness.wait_for(lambda: skiff.text(container).count("\n") == 6, "its first lines")
    assert skiff.text(container) == "/dev/pts/0\r\n24 80\r\nxterm\r\nconsole\r\n1000\r\n1000\r\n"
    skiff.restart()  # its terminal is no part of the daemon
    assert skiff.exec(container, ["touch", "/tmp/go"]).exit_code == 0
    assert skiff.wait_exited(container).exit_code == 5
    assert skiff.text(container).endswith("1000\r\non\r\n") and skiff.text(container, "stderr") == ""
    other = skiff.run(pod, ["sh", "-c", "echo $TERM"], tty=True, envs=[{"key": "TERM", "value": b"vt100"}])
    assert skiff.wait_exited(other).exit_code == 0 and skiff.text(other) == "vt100\r\n"


def test_what_cannot_be_done_twice(skiff, pod):
    container = skiff.run(pod, ["sleep", "100"], name="only")
    code, _ = harness.code_of(skiff.cri.StartContainer, container_id=container)
    assert code == grpc.StatusCode.FAILED_PRECONDITION
    code, text = harness.code_of(skiff.create, pod, ["true"], name="only")
    assert code == grpc.StatusCode.ALREADY_EXISTS and container in text


@pytest.mark.parametrize(
    "change, code, word",
    [
        ({"image": {"image": "nosuch:1"}}, grpc.StatusCode.FAILED_PRECONDITION, "nosuch:1"),
        ({"image": {"image": ""}}, grpc.StatusCode.INVALID_ARGUMENT, "config.image.image"),
        ({"metadata": {"name": ""}}, grpc.StatusCode.INVALID_ARGUMENT, "config.metadata.name"),
        ({"working_dir": "relative"}, grpc.StatusCode.INVALID_ARGUMENT, "absolute"),
        ({"log_path": "../escape"}, grpc.StatusCode.INVALID_ARGUMENT, "log_path"),
        ({"mounts": [{"container_path": "x", "host_path": "/tmp"}]}, grpc.StatusCode.INVALID_ARGUMENT, "mounts[0]"),
        (
            {"mounts": [{"container_path": "/x", "host_path": "/tmp", "mount_options": ["noexec", "sync", "exec", "shared"]}]},
            grpc.StatusCode.INVALID_ARGUMENT,
            'mounts[0].mount_options: "sync", "exec", "shared"',
        ),
        (
            {"mounts": [{"container_path": "/x", "host_path": "/tmp", "readonly": True, "mount_options": ["rw"]}]},
            grpc.StatusCode.INVALID_ARGUMENT,
            "readonly",
        ),
        (
            {"mounts": [{"container_path": "/x", "host_path": "/tmp", "uidMappings": [{"host_id": 1, "container_id": 0, "length": 1}]}]},
            grpc.StatusCode.INVALID_ARGUMENT,
            "uidMappings",
        ),
        ({"mounts": [{"container_path": "/x/../proc/self", "host_path": "/tmp"}]}, grpc.StatusCode.INVALID_ARGUMENT, "/proc"),
        ({"mounts": [{"container_path": "/proc", "host_path": "/tmp"}]}, grpc.StatusCode.INVALID_ARGUMENT, "procfs"),
        ({"mounts": [{"container_path": "//", "host_path": "/tmp"}]}, grpc.StatusCode.INVALID_ARGUMENT, "root"),
    ],
)
def test_bad_containers_are_refused_by_field(skiff, pod, change, code, word):
    got, text = harness.code_of(skiff.create, pod, config={**skiff.container_config(["true"]), **change})
    assert got == code and word in text
    assert not skiff.cri.ListContainers().containers


def test_unknown_ids_are_not_found(skiff):
    unknown = "a" * 64
    for call, fields in [
        (skiff.cri.PodSandboxStatus, {"pod_sandbox_id": unknown}),
        (skiff.cri.ContainerStatus, {"container_id": unknown}),
        (skiff.cri.StartContainer, {"container_id": unknown}),
        (skiff.cri.ExecSync, {"container_id": unknown, "cmd": ["true"]}),
        (skiff.cri.ReopenContainerLog, {"container_id": unknown}),
        (skiff.cri.CreateContainer, {"pod_sandbox_id": unknown, "config": skiff.container_config(["true"])}),
    ]:
        assert harness.code_of(call, **fields)[0] == grpc.StatusCode.NOT_FOUND


def test_signals_that_skiffd_was_started_without_are_there_in_a_container(bare, archive):
    """A script's `skiffd &`, or nohup, has it ignore some."""
    ignored = (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP)
    before = [signal.signal(number, signal.SIG_IGN) for number in ignored]
    try:
        bare.start()
    finally:
        for number, handler in zip(ignored, before):
            signal.signal(number, handler)
    bare.import_image(archive)
    pod = bare.run_pod(host_network=True)
    container = bare.run(pod, ["grep", "SigIgn", "/proc/self/status"])
    bare.wait_exited(container)
    assert bare.text(container).split() == ["SigIgn:", "0000000000000000"]
    bare.remove_pod(pod)


def test_what_a_short_life_wrote_is_all_there(skiff):
    """The log is on its way to the supervisor while the process is being made."""
    pod = skiff.run_pod(host_network=True)
    for i in range(40):
        container = skiff.run(pod, ["sh", "-c", f"echo first {i}; echo -n last {i} >&2"])
        assert skiff.wait_exited(container).exit_code == 0
        assert sorted(skiff.text(container).splitlines()) == [f"first {i}", f"last {i}"]
        skiff.cri.RemoveContainer(container_id=container)


def test_a_start_whose_log_cannot_be_made_fails_and_runs_nothing(skiff):
    pod = skiff.run_pod(host_network=True)
    shared = [{"container_path": "/shared", "host_path": str(skiff.directory)}]
    container = skiff.create(pod, ["touch", "/shared/ran"], mounts=shared)
    directory = pathlib.Path(skiff.status(container).log_path).parent
    directory.parent.mkdir(parents=True, exist_ok=True)
    directory.write_text("in the way")
    _, details = harness.code_of(skiff.cri.StartContainer, container_id=container)
    assert f"log {directory}/0.log: " in details
    assert skiff.status(container).state == 2 and skiff.status(container).exit_code == 128
    assert not (skiff.directory / "ran").exists()
    directory.unlink()
