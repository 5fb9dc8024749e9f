"""Pods with a user namespace (hostUsers: false). Covers: which ids processes, image files, volumes and the pod's own files
have; what is mounted and masked; sysctls, network, groups; exec, streams and terminals in it; two containers of one pod; a
restart; what is refused; what its root cannot do to the host."""

import contextlib
import os
import pathlib
import stat
import subprocess
import time

import grpc
import harness
import pytest

BASE, LENGTH = 200000, 65536
UNCONFINED = {"profile_type": 1}  # by AppArmor, whose default lets nobody mount, or write to /proc/sys/net
NOBODY = 65534
pytestmark = pytest.mark.skipif(
    harness.KERNEL < (6, 3) and os.environ.get("SKIFF_TEST_FILES") != "ext4",
    reason="user namespaces: this kernel cannot map the ids of a tmpfs; SKIFF_TEST_FILES=ext4 has the files elsewhere",
)


def mapping(base=BASE, length=LENGTH, container=0):
    return [{"host_id": base, "container_id": container, "length": length}]


def userns(uids=None, gids=None):
    return {"mode": 0, "uids": mapping() if uids is None else uids, "gids": mapping() if gids is None else gids}


def run_pod(skiff, options=None, **more):
    security = {"namespace_options": {"userns_options": options or userns()}, **more.pop("security", {})}
    return skiff.run_pod(security=security, **more)


# What kubelet sends but with procMount: Unmasked.
MASKED = ["/proc/acpi", "/proc/kcore", "/proc/keys", "/proc/timer_list", "/proc/interrupts", "/proc/scsi", "/sys/firmware"]
READONLY = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"]


def security(**more):
    options = {"pid": more.pop("pid", 1), "userns_options": userns()}
    return {"namespace_options": options, "masked_paths": MASKED, "readonly_paths": READONLY, **more}


def start(skiff, pod, command, **more):
    return skiff.run(pod, command, security=security(**more.pop("security", {})), **more)


def sh(skiff, pod, script, code=0, **more):
    """The output of a container that runs a script."""
    container = start(skiff, pod, ["sh", "-c", script], **more)
    status = skiff.wait_exited(container)
    text = skiff.text(container)
    assert code is None or status.exit_code == code, (status.exit_code, status.message, text)
    return text


def volume(path, target, mapped=True, **more):
    ids = {"uidMappings": mapping(), "gidMappings": mapping()} if mapped else {}
    return {"host_path": str(path), "container_path": target, **ids, **more}


def pid_of(skiff, container):
    return skiff.info(container)["pid"]


def in_exec(skiff, container, script):
    done = skiff.exec(container, ["sh", "-c", script])
    return done.exit_code, done.stdout.decode(), done.stderr.decode()


@pytest.fixture(params=["detached", "attached"])
def either(skiff, request):
    """skiffd on a kernel that takes detached idmapped directories for an overlay, and on one that does not (before 6.15)."""
    if request.param == "attached":
        skiff.stop()
        skiff.arm("images.map.detached", "fail")
        skiff.start()
        assert not skiff.fault_file.exists()
    return skiff


# --- ids ---


def test_root_inside_is_somebody_else_outside(skiff):
    pod = run_pod(skiff)
    container = start(skiff, pod, ["sh", "-c", "id; cat /proc/self/uid_map /proc/self/gid_map; sleep 60"])
    pid = pid_of(skiff, container)
    harness.wait_for(lambda: len(skiff.lines(container)) >= 3, "the output")
    assert "uid=0(root) gid=0(root)" in skiff.text(container)
    for name in ("uid_map", "gid_map"):
        assert harness.read_proc(pid, name).split() == ["0", str(BASE), str(LENGTH)]
    status = dict(line.split(":\t", 1) for line in harness.read_proc(pid, "status").splitlines())
    assert set(status["Uid"].split()) == {str(BASE)} and set(status["Gid"].split()) == {str(BASE)}
    assert status["CapInh"] == "0000000000000000" and status["Seccomp"] == "2"
    own, host = (os.stat(f"/proc/{which}/ns/user").st_ino for which in (pid, "self"))
    assert own != host


def test_files_of_the_image_and_of_the_pod_are_roots(either):
    skiff = either
    pod = run_pod(skiff)
    owners = sh(
        skiff, pod,
        "mkdir /new; touch /new/file /bin/in-a-layer; chmod 700 /bin/busybox; "
        "stat -c '%n %u:%g' / /bin /bin/busybox /etc /new /new/file /bin/in-a-layer /proc /sys /dev /dev/null /dev/pts "
        "/dev/shm /etc/resolv.conf /etc/hostname /proc/self /work; touch /dev/shm/x /tmp/x; chown 1000:1000 /new/file; "
        "stat -c '%u' /new/file",
        working_dir="/work",
    )  # fmt: skip
    lines = dict(line.rsplit(" ", 1) for line in owners.splitlines()[:-1])
    hosts = {"/proc", "/proc/self", "/sys", "/dev/pts"}  # the kernel gives these to nobody
    assert {name for name, owner in lines.items() if owner != "0:0"} <= hosts, owners
    assert owners.splitlines()[-1] == "1000"


def test_the_writable_layer_belongs_to_the_mapped_ids_on_the_host(either):
    skiff = either
    pod = run_pod(skiff)
    container = start(skiff, pod, ["sh", "-c", "touch /by-root; touch /by-user; chown 1000:1001 /by-user; sleep 60"])
    upper = skiff.root / "rootfs" / container[0] / container / "upper"
    harness.wait_for(lambda: (upper / "by-user").exists() and (upper / "by-user").stat().st_uid != BASE, "the files")
    assert (upper.stat().st_uid, (upper / "by-root").stat().st_uid) == (BASE, BASE)
    assert ((upper / "by-user").stat().st_uid, (upper / "by-user").stat().st_gid) == (BASE + 1000, BASE + 1001)
    layers = [path for path in (skiff.root / "layers").glob("*/*") if path.is_dir()]
    assert all(path.lstat().st_uid == 0 for layer in layers for path in layer.rglob("*"))


def test_a_user_and_supplemental_groups(skiff):
    pod = run_pod(skiff)
    container = start(
        skiff, pod, ["sleep", "60"],
        security={"run_as_user": {"value": 1000}, "run_as_group": {"value": 2000}, "supplemental_groups": [3000, 4000]},
    )  # fmt: skip
    status = dict(line.split(":\t", 1) for line in harness.read_proc(pid_of(skiff, container), "status").splitlines())
    assert set(status["Uid"].split()) == {str(BASE + 1000)} and set(status["Gid"].split()) == {str(BASE + 2000)}
    assert set(status["Groups"].split()) == {str(BASE + id) for id in (2000, 3000, 4000)}
    code, out, _ = in_exec(skiff, container, "id -u; id -g; id -G")
    assert code == 0 and out.split()[:2] == ["1000", "2000"] and set(out.split()[2:]) == {"2000", "3000", "4000"}
    assert skiff.status(container).user.linux.uid == 1000


def test_an_id_past_the_range_is_refused(skiff):
    pod = run_pod(skiff)
    for ids in ({"run_as_user": {"value": LENGTH}}, {"supplemental_groups": [LENGTH]}):
        code, text = harness.code_of(skiff.create, pod, ["true"], security=security(**ids))
        assert code == grpc.StatusCode.INVALID_ARGUMENT and f"{LENGTH} is not among" in text


def test_what_it_mounts_cannot_be_on_the_host(skiff, tmp_path):
    mount = volume(tmp_path, "/v", propagation=2)
    code, text = harness.code_of(skiff.create, run_pod(skiff), ["true"], mounts=[mount], security=security())
    assert code == grpc.StatusCode.INVALID_ARGUMENT and "propagation" in text


# --- mounts ---


def test_volumes_are_mapped_where_it_is_asked(skiff, tmp_path):
    pod = run_pod(skiff)
    mapped, plain = tmp_path / "mapped", tmp_path / "plain"
    for path in (mapped, plain):
        path.mkdir()
        path.chmod(0o777)
        (path / "of-root").write_text("x")
        (path / "of-1000").write_text("x")
        os.chown(path / "of-1000", 1000, 1000)
    out = sh(
        skiff, pod,
        "for v in mapped plain; do touch /$v/new; stat -c %u /$v /$v/of-root /$v/of-1000 /$v/new; done; "
        "touch /mapped/by-1000; chown 1000:1000 /mapped/by-1000",
        mounts=[volume(mapped, "/mapped"), volume(plain, "/plain", mapped=False)],
    )  # fmt: skip
    assert out.split() == ["0", "0", "1000", "0", str(NOBODY), str(NOBODY), str(NOBODY), "0"]
    assert (mapped / "new").stat().st_uid == 0 and (mapped / "by-1000").stat().st_uid == 1000
    assert (plain / "new").stat().st_uid == BASE and (plain / "of-root").stat().st_uid == 0


def test_a_mapped_file_and_read_only_volumes(skiff, tmp_path):
    pod = run_pod(skiff)
    (tmp_path / "file").write_text("content\n")
    (tmp_path / "hosts").write_text("10.1.2.3 name\n")
    mounts = [volume(tmp_path / "hosts", "/etc/hosts"), volume(tmp_path / "file", "/file", readonly=True)]
    out = sh(skiff, pod, "cat /file /etc/hosts; stat -c %u /file /etc/hosts; echo x > /file || echo no", mounts=mounts)
    assert out.splitlines()[:4] == ["content", "10.1.2.3 name", "0", "0"] and out.splitlines()[-1] == "no"


def test_a_volume_that_cannot_be_mapped_is_refused_by_name(skiff):
    pod = run_pod(skiff)
    container = skiff.create(pod, ["true"], security=security(), mounts=[volume("/proc/sys", "/host-sys")])
    code, text = harness.code_of(skiff.cri.StartContainer, container_id=container)
    assert code == grpc.StatusCode.FAILED_PRECONDITION
    assert "/proc/sys" in text and "/host-sys" in text and "user namespace" in text


def test_an_image_volume_is_roots(either):
    skiff = either
    pod = run_pod(skiff)
    mount = {"image": {"image": harness.IMAGE}, "container_path": "/image", "readonly": True}
    part = {**mount, "container_path": "/part", "image_sub_path": "bin"}
    out = sh(skiff, pod, "stat -c %u:%g /image /image/bin/busybox /part /part/busybox; touch /image/x || echo no",
             mounts=[mount, part])  # fmt: skip
    assert out.split()[:4] == ["0:0"] * 4 and "no" in out


def test_what_the_kernel_mounts_is_there_and_masked(skiff):
    pod = run_pod(skiff)
    out = sh(
        skiff, pod,
        "for i in proc sysfs tmpfs devpts mqueue cgroup; do grep -qE \" $i|/$i| - ${i}2? \" /proc/mounts && echo $i; done; "
        "echo $$; ls /sys/class/net; wc -c < /proc/kcore; ls /sys/firmware | wc -l; "
        "echo 1 > /proc/sys/kernel/panic || echo readonly; mount | grep -c masked; "
        "for d in null zero full random urandom tty; do test -c /dev/$d && echo $d; done; "
        "echo x > /dev/null && head -c 4 /dev/urandom | wc -c",
    )  # fmt: skip
    words = out.split()
    assert {"proc", "sysfs", "tmpfs", "devpts", "mqueue", "cgroup", "lo", "eth0", "readonly"} <= set(words), out
    assert words[-1] == "4" and {"null", "zero", "full", "random", "urandom", "tty"} <= set(words)


@pytest.mark.parametrize("capabilities", [["SYS_ADMIN"], ["ALL"]])
def test_masks_do_not_come_off(skiff, capabilities):
    pod = run_pod(skiff)
    out = sh(
        skiff, pod,
        "for p in $(cut -d' ' -f5 /proc/self/mountinfo | grep -E '^/(proc|sys)/'); do umount $p && echo BAD $p; done; "
        "mount -o remount,rw /proc/sys && echo BAD; mount -o remount,bind,rw /proc/sys && echo BAD; "
        "cut -d' ' -f5 /proc/self/mountinfo | grep -cE '^/(proc|sys)/'; mkdir /t; mount -t tmpfs t /t && touch /t/x && echo own",
        security={"capabilities": {"add_capabilities": capabilities}, "apparmor": UNCONFINED},
    )  # fmt: skip
    assert "BAD" not in out and out.split()[-1] == "own" and int(out.split()[-2]) >= 4, out


def test_unmasked_proc(skiff):
    pod = run_pod(skiff)
    container = start(
        skiff, pod,
        ["sh", "-c", "grep -c ' /proc/' /proc/self/mountinfo; echo 1 > /proc/sys/kernel/panic; echo $?; "
         "echo 100 > /proc/sys/net/ipv4/tcp_keepalive_intvl; echo $?"],
        security={"masked_paths": [], "readonly_paths": [], "apparmor": UNCONFINED,
                  "capabilities": {"add_capabilities": ["NET_ADMIN"]}},
    )  # fmt: skip
    skiff.wait_exited(container)
    assert skiff.text(container, "stdout").split() == ["0", "1", "0"]
    _, masked = skiff.output_of(skiff.run_pod(), ["grep", "-c", " /proc/", "/proc/self/mountinfo"])  # without one, never
    assert int(masked) >= 4


# --- namespaces ---


def test_two_containers_share_what_is_the_pods(skiff):
    pod = run_pod(skiff, name="both")
    a, b = (start(skiff, pod, ["sleep", "60"]) for _ in range(2))
    for name in ("user", "net", "ipc", "uts"):
        inodes = {os.stat(f"/proc/{pid_of(skiff, c)}/ns/{name}").st_ino for c in (a, b)}
        assert len(inodes) == 1 and os.stat(f"/proc/self/ns/{name}").st_ino not in inodes
    assert in_exec(skiff, a, "hostname; echo shared > /dev/shm/file")[:2] == (0, "both\n")
    assert in_exec(skiff, b, "cat /dev/shm/file; stat -c %u /dev/shm/file")[:2] == (0, "shared\n0\n")


def test_a_shared_pid_namespace(skiff):
    pod = skiff.run_pod(security={"namespace_options": {"pid": 0, "userns_options": userns()}})
    a = start(skiff, pod, ["sleep", "61"], security={"pid": 0})
    b = start(skiff, pod, ["sleep", "62"], security={"pid": 0})
    code, out, _ = in_exec(skiff, a, "ps -o args; kill -9 1; ls -l /proc/1/root /proc/1/fd; echo still")
    assert code == 0 and "sleep 62" in out and "still" in out
    assert skiff.status(a).state == 1 and skiff.status(b).state == 1


def test_sysctls_are_the_namespaces(skiff):
    sysctls = {"net.ipv4.ping_group_range": "0 1000", "kernel.shmmni": "1234", "net.ipv4.ip_unprivileged_port_start": "80",
               "net.ipv4.conf.eth0.forwarding": "1"}  # fmt: skip
    pod = run_pod(skiff, linux={"sysctls": sysctls})
    out = sh(skiff, pod, "cat /proc/sys/net/ipv4/ping_group_range /proc/sys/kernel/shmmni "
             "/proc/sys/net/ipv4/ip_unprivileged_port_start /proc/sys/net/ipv4/conf/eth0/forwarding")  # fmt: skip
    assert out.split() == ["0", "1000", "1234", "80", "1"]
    code, text = harness.code_of(run_pod, skiff, linux={"sysctls": {"net.ipv4.no_such": "1"}})
    assert code in (grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.FAILED_PRECONDITION) and "no_such" in text


def test_network_and_its_capabilities(skiff):
    pod = run_pod(skiff)
    address = skiff.pod_status(pod).status.network.ip
    server = start(skiff, pod, ["sh", "-c", "mkdir /w; echo served > /w/index.html; httpd -f -p 8080 -h /w"])
    assert skiff.status(server).state == 1

    def served(url):
        return lambda: in_exec(skiff, server, f"wget -qO- {url}")[1] == "served\n"

    harness.wait_for(served("http://127.0.0.1:8080/index.html"), "loopback")
    got = subprocess.run(["curl", "-s", "-m", "5", f"http://{address}:8080/index.html"], capture_output=True, check=True)
    assert got.stdout == b"served\n"
    admin = {"capabilities": {"add_capabilities": ["NET_ADMIN"]}}
    out = sh(skiff, pod, "ip link add d0 type dummy; ip link set lo mtu 1400 && ip link show lo", security=admin)
    assert "mtu 1400" in out


# --- exec and streams ---


def test_exec_is_in_it(skiff):
    pod = run_pod(skiff)
    container = start(skiff, pod, ["sleep", "60"])
    code, out, err = in_exec(skiff, container, "id -u; cat /proc/self/uid_map; touch /by-exec; stat -c %u /by-exec")
    assert code == 0 and out.split() == ["0", "0", str(BASE), str(LENGTH), "0"], (out, err)
    code, out, _ = in_exec(skiff, container, "readlink /proc/self/ns/user; readlink /proc/1/ns/user")
    assert code == 0 and len(out.split()) == 2 and len(set(out.split())) == 1
    assert skiff.cli("exec", container, "id", "-u").stdout.strip() == "0"


def test_a_terminal_is_the_users(skiff):
    pod = run_pod(skiff)
    script = "tty; stat -c '%u:%g' /dev/pts/0 /dev/console; test -t 0 && echo terminal > /dev/tty"
    out = sh(skiff, pod, script, tty=True)
    assert out.replace("\r", "").split() == ["/dev/pts/0", "0:5", "0:5", "terminal"]
    user = {"run_as_user": {"value": 1000}}
    out = sh(skiff, pod, "stat -c '%u:%g' /dev/pts/0; echo x > /dev/tty", tty=True, security=user)
    assert out.replace("\r", "").split() == ["1000:5", "x"]


def test_terminals_of_exec_and_attach(skiff):
    pod = run_pod(skiff)
    container = start(skiff, pod, ["sh", "-c", "read line; echo got $line; sleep 60"], stdin=True, tty=True)
    command = [skiff.binaries / "skiff", "--endpoint", skiff.endpoint]
    done = subprocess.run(
        ["script", "-qec", " ".join(map(str, [*command, "exec", "-it", container, "sh", "-c", "'tty; id -u'"])), "/dev/null"],
        capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL, check=False,
    )  # fmt: skip
    assert "/dev/pts/1" in done.stdout and done.stdout.rstrip().endswith("0"), (done.stdout, done.stderr)  # after an echo
    attach = subprocess.Popen([*command, "attach", container], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    attach.stdin.write(b"hello\n")
    attach.stdin.flush()
    harness.wait_for(lambda: "got hello" in skiff.text(container), "what was typed")
    attach.kill()
    attach.wait()


# --- the daemon's own matters ---


def test_it_is_published(skiff):
    status = skiff.cri.Status()
    assert all(handler.features.user_namespaces for handler in status.runtime_handlers)
    assert not status.features.user_namespaces_host_network


def test_a_pod_lives_through_a_restart(skiff, tmp_path):
    pod = run_pod(skiff)
    before = start(skiff, pod, ["sleep", "60"])
    created = skiff.create(pod, ["sh", "-c", "stat -c %u /bin; touch /x; stat -c %u /x"], security=security())
    skiff.restart()
    assert skiff.status(before).state == 1
    assert in_exec(skiff, before, "id -u; stat -c %u /bin")[:2] == (0, "0\n0\n")
    skiff.cri.StartContainer(container_id=created)
    skiff.wait_exited(created)
    assert skiff.text(created).split() == ["0", "0"]
    options = skiff.pod_status(pod).status.linux.namespaces.options.userns_options
    assert options.uids[0].host_id == BASE
    assert sh(skiff, pod, "id -u", mounts=[volume(tmp_path, "/v")]) == "0\n"


@pytest.mark.parametrize("point", ["userns.hold.after", "run_pod.supervisor.after", "start_container.rootfs.before",
                                   "start_container.rootfs.after"])  # fmt: skip
def test_a_kill_on_the_way_leaves_nothing(skiff, point):
    before = skiff.census()
    if not point.startswith("start_container"):
        skiff.arm(point)
        harness.code_of(run_pod, skiff)
    else:
        container = skiff.create(run_pod(skiff), ["sleep", "60"], security=security())
        skiff.arm(point)
        harness.code_of(skiff.cri.StartContainer, container_id=container)
    skiff.wait_killed()
    skiff.disarm()
    harness.wait_for(lambda: not any(str(skiff.state) in line for line in harness.processes().values()), "all of it to end")
    skiff.start()
    skiff.remove_all()
    skiff.assert_nothing_left(before, 15)


def test_nothing_of_it_stays_open(skiff):
    def descriptors():
        """But those of the database, which has one more while two speak with it."""
        links = []
        for name in os.listdir(f"/proc/{skiff.process.pid}/fd"):
            with contextlib.suppress(FileNotFoundError):
                links.append(os.readlink(f"/proc/{skiff.process.pid}/fd/{name}"))
        return len([link for link in links if not link.endswith(".db")])

    def once():
        pod = run_pod(skiff)
        assert sh(skiff, pod, "true") == ""
        skiff.remove_pod(pod)

    once()
    before = descriptors()
    for _ in range(5):
        once()
    harness.wait_for(lambda: descriptors() <= before, "descriptors to be closed")


def test_stats_count_it(skiff):
    pod = run_pod(skiff)
    container = start(skiff, pod, ["sh", "-c", "head -c 3000000 /dev/zero > /big; sleep 60"])

    def counted():
        stats = skiff.cri.ContainerStats(container_id=container).stats
        return stats.writable_layer.used_bytes.value >= 3000000 and stats.cpu.usage_core_nano_seconds.value > 0

    harness.wait_for(counted, "the layer's size", 15)


def test_the_command_line_has_it(skiff, tmp_path):
    tmp_path.chmod(0o755)
    done = skiff.cli("run", "--userns", "300000", "-v", f"{tmp_path}:/v", harness.IMAGE, "sh", "-c",
                     "cat /proc/self/uid_map; touch /v/file; grep -c ' /proc/' /proc/self/mountinfo")  # fmt: skip
    assert done.stdout.split()[:3] == ["0", "300000", "65536"] and int(done.stdout.split()[3]) >= 4
    assert (tmp_path / "file").stat().st_uid == 0
    assert skiff.cli("run", "--userns", "5", harness.IMAGE, check=False).returncode != 0


# --- what is refused ---


@pytest.mark.parametrize(
    "options, words",
    [
        ({"mode": 0}, "exactly one mapping"),
        (userns(uids=mapping() * 2), "exactly one mapping"),
        (userns(gids=[]), "exactly one mapping"),
        (userns(gids=mapping(BASE + 1)), "must be the same"),
        (userns(mapping(length=70000), mapping()), "must be the same"),
        (userns(mapping(0), mapping(0)), "host_id 0"),
        (userns(mapping(container=1), mapping(container=1)), "container_id"),
        (userns(mapping(length=65535), mapping(length=65535)), "65536"),
        (userns(mapping(2**32 - 65536), mapping(2**32 - 65536)), "more than there are"),
        (userns(mapping(BASE, 2**32 - 1), mapping(BASE, 2**32 - 1)), "more than there are"),
        ({"mode": 1}, "mode"),
    ],
)
def test_wrong_ranges_are_refused(skiff, options, words):
    code, text = harness.code_of(run_pod, skiff, options)
    assert code == grpc.StatusCode.INVALID_ARGUMENT and words in text and "userns_options" in text, text
    assert not skiff.cri.ListPodSandbox().items


@pytest.mark.skipif(harness.KERNEL >= (6, 3), reason="this kernel maps the ids of a tmpfs too")
def test_an_image_store_whose_ids_cannot_be_mapped_is_said(bare, archive):
    bare.root.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "store", bare.root], check=True)
    try:
        bare.start()
        bare.import_image(archive)
        code, text = harness.code_of(run_pod, bare)
        assert code == grpc.StatusCode.FAILED_PRECONDITION and "the filesystem of the image store" in text, text
        assert not any(handler.features.user_namespaces for handler in bare.cri.Status().runtime_handlers)
        assert bare.run_pod(host_network=True)
        bare.remove_all()
        bare.stop()
    finally:
        subprocess.run(["umount", "-l", bare.root], check=True)


@pytest.mark.parametrize("namespace", ["network", "pid", "ipc"])
def test_with_a_namespace_of_the_hosts_it_is_refused(skiff, namespace):
    options = {"userns_options": userns(), namespace: 2}
    code, text = harness.code_of(skiff.run_pod, security={"namespace_options": options})
    assert code == grpc.StatusCode.UNIMPLEMENTED and namespace in text and "user namespace" in text


def test_container_and_mounts_must_agree_with_the_pod(skiff, tmp_path):
    with_it, without = run_pod(skiff), skiff.run_pod()
    other = {"namespace_options": {"pid": 1, "userns_options": userns(mapping(300000), mapping(300000))}}
    own = {"namespace_options": {"pid": 1, "userns_options": userns()}}
    none = {"namespace_options": {"pid": 1, "userns_options": {"mode": 2}}}
    for pod, context in ((with_it, other), (with_it, none), (without, own)):
        code, text = harness.code_of(skiff.create, pod, ["true"], security=context)
        assert code == grpc.StatusCode.INVALID_ARGUMENT and "not that of its pod" in text
    wrong = volume(tmp_path, "/v", uidMappings=mapping(300000), gidMappings=mapping(300000))
    for pod, mount in ((with_it, wrong), (without, volume(tmp_path, "/v"))):
        code, text = harness.code_of(skiff.create, pod, ["true"], mounts=[mount])
        assert code == grpc.StatusCode.INVALID_ARGUMENT and "config.mounts[0]" in text
    assert skiff.wait_exited(skiff.run(with_it, ["true"])).exit_code == 0  # one that says nothing has its pod's
    assert skiff.wait_exited(skiff.run(without, ["true"], security=none)).exit_code == 0


# --- attacks ---

PRIVILEGED = {"privileged": True}


def privileged_pod(skiff, **more):
    return run_pod(skiff, security={"privileged": True}, **more)


@pytest.mark.parametrize("context", [{"capabilities": {"add_capabilities": ["ALL"]}, "seccomp": {"profile_type": 1}},
                                     PRIVILEGED])  # fmt: skip
def test_its_root_does_nothing_to_the_host(skiff, context):
    pod = privileged_pod(skiff)
    victim = subprocess.Popen(["sleep", "60"])
    disk = next((path for path in sorted(pathlib.Path("/dev").iterdir()) if path.is_block_device()), None)
    number = f"{os.major(disk.stat().st_rdev)} {os.minor(disk.stat().st_rdev)}" if disk else "8 0"
    panic = pathlib.Path("/proc/sys/kernel/panic").read_text()
    script = f"""
        mknod /disk b {number} && echo BAD mknod block
        mknod /mem c 1 1 && echo BAD mknod char
        mkdir -p /mnt
        for d in /dev/sd* /dev/vd* /dev/nvme* /dev/loop* /dev/mem /dev/kmsg /dev/port /dev/kcore; do
                [ -e $d ] || continue
                head -c 1 $d >/dev/null 2>&1 && [ "$(head -c 1 $d 2>/dev/null | wc -c)" = 1 ] && echo BAD read $d
                chown 0:0 $d 2>/dev/null && echo BAD chown $d
                chmod 666 $d 2>/dev/null && echo BAD chmod $d
                [ -b $d ] && mount $d /mnt 2>/dev/null && echo BAD mount $d
        done
        for f in kernel/panic kernel/core_pattern kernel/modprobe vm/drop_caches fs/protected_hardlinks; do
                echo 7 > /proc/sys/$f && echo BAD sysctl $f
        done
        mount -o remount,rw /proc 2>/dev/null
        echo c > /proc/sysrq-trigger && echo BAD sysrq
        kill -9 {victim.pid} && echo BAD kill
        mount -t debugfs d /mnt && echo BAD debugfs
        mount -t cgroup -o memory m /mnt && echo BAD cgroup
        date -s 2001-01-01
        swapoff -a 2>&1 | grep -q denied || true
        reboot -f && echo BAD reboot
        echo 1 > /sys/kernel/uevent_seqnum && echo BAD sysfs
        insmod /nothing.ko && echo BAD module
        dmesg -c >/dev/null 2>&1 && echo BAD dmesg
        nsenter -t 1 -n -u -i true 2>/dev/null
        echo over
    """
    text = sh(skiff, pod, script, code=None, security=context)
    assert "over" in text and "BAD" not in text, text
    assert time.time() > 10**9 + 10**8
    assert victim.poll() is None and pathlib.Path("/proc/sys/kernel/panic").read_text() == panic
    victim.kill()
    victim.wait()


def test_host_files_stay_the_hosts(skiff, tmp_path):
    """A volume that is not mapped: what is the host's root's is nobody's, and a setuid file is not root's."""
    pod = run_pod(skiff)
    tmp_path.chmod(0o777)
    (tmp_path / "secret").write_text("secret")
    (tmp_path / "secret").chmod(0o600)
    out = sh(
        skiff, pod,
        "cat /v/secret && echo BAD; chown 0 /v/secret && echo BAD; chmod 644 /v/secret && echo BAD; "
        "cp /bin/busybox /v/suid && chmod 4755 /v/suid; mknod /v/null c 1 3 && echo BAD; ln /v/secret /v/hard && echo BAD; "
        "echo over",
        mounts=[volume(tmp_path, "/v", mapped=False)],
    )  # fmt: skip
    assert "BAD" not in out and "secret\n" not in out.replace("/v/secret", "") and "over" in out, out
    made = (tmp_path / "suid").stat()
    assert made.st_uid == BASE and made.st_mode & stat.S_ISUID


def test_another_pods_files_and_processes_are_out_of_reach(skiff):
    other_ids = userns(mapping(BASE + LENGTH), mapping(BASE + LENGTH))
    one, other = run_pod(skiff), run_pod(skiff, other_ids)
    theirs = {"namespace_options": {"pid": 1, "userns_options": other_ids}}
    victim = skiff.run(other, ["sh", "-c", "umask 077; echo secret > /secret; sleep 60"], security=theirs)
    upper = skiff.root / "rootfs" / victim[0] / victim / "upper"
    harness.wait_for((upper / "secret").exists, "the secret")
    out = sh(
        skiff, one, "cat /v/secret && echo BAD; ls -ln /v; touch /v/x && echo BAD; echo over",
        mounts=[volume(upper, "/v", mapped=False)],
    )  # fmt: skip
    assert "BAD" not in out and "over" in out and str(NOBODY) in out, out
    assert skiff.status(victim).state == 1


def test_nobody_looks_into_the_supervisor(skiff):
    pod = skiff.run_pod(security={"namespace_options": {"pid": 0, "userns_options": userns()}})
    all_of_it = {"pid": 0, "capabilities": {"add_capabilities": ["ALL"]}, "seccomp": {"profile_type": 1}}
    container = start(skiff, pod, ["sleep", "60"], security=all_of_it)
    code, out, _ = in_exec(
        skiff, container,
        "ls /proc/1/root/ && echo BAD; cat /proc/1/environ && echo BAD; ls /proc/1/fd/ && echo BAD; kill -9 1; "
        "nsenter -t 1 -m true && echo BAD; nsenter -t 1 -U true && echo BAD; echo over",
    )  # fmt: skip
    assert code == 0 and "BAD" not in out and "over" in out, out
