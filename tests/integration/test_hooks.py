"""OCI hooks of CDI devices. Covers: what each stage sees and may do, and its state and bundle; what a vendor's program does to a
container's root; hooks that fail, are not there, or take too long, and that nothing is left of their containers; that nothing
of a hook's world is in the container; user namespaces; descriptors; a restart."""

import json
import os
import pathlib
import subprocess

import grpc
import harness
import pytest

from test_cdi import asked, cdi, document, skiff  # noqa: F401 fixtures
from test_userns import BASE, run_pod, security


@pytest.fixture
def hook(tmp_path, cdi):  # noqa: F811
    """hook(stage, script, ...) makes a program of the host, which has its state in $1 (a file), and the device that runs it."""
    folder = tmp_path / "hooks"
    folder.mkdir()

    def make(*stages, env=None, timeout=None):
        listed = []
        for i, (stage, script) in enumerate(stages):
            program = folder / f"{stage}-{i}"
            program.write_text(f"#!/bin/sh\nset -e\nstate={folder}/state-{stage}-{i}\ncat > $state\n{script}\n")
            program.chmod(0o755)
            one = {"hookName": stage, "path": str(program), "args": [program.name, "one", "two words"]}
            one.update({"env": env} if env else {}, **({"timeout": timeout} if timeout else {}))
            listed.append(one)
        cdi("hooks.json", document({"h": {"hooks": listed}}))
        return folder

    return make


FIND_ROOT = """bundle=$(sed 's/.*"bundle":"\\([^"]*\\)".*/\\1/' $state)
root=$bundle/$(sed 's/.*"root":{"path":"\\([^"]*\\)".*/\\1/' $bundle/config.json)
"""


def state_of(folder, stage, i=0):
    return json.loads((folder / f"state-{stage}-{i}").read_text())


def run(skiff, script="true", pod=None, **more):  # noqa: F811
    return skiff.output_of(pod or skiff.run_pod(), ["sh", "-c", script], **asked("h"), **more)


def host_mounts():
    return pathlib.Path("/proc/self/mountinfo").read_text()


def test_a_vendors_program_changes_the_containers_root(skiff, hook, tmp_path):  # noqa: F811
    """Links, a cache, modes, and a mount over a file of the kernel's: what nvidia-cdi-hook does, and none of it on the host."""
    (tmp_path / "params").write_text("ModifyDeviceFiles: 0\n")
    script = FIND_ROOT + f"""
test -x $root/bin/sh && test -d $root/proc/1 && test -c $root/dev/null
mkdir -p $root/usr/lib/deep
ln -s libcuda.so.1 $root/usr/lib/deep/libcuda.so
echo cache > $root/etc/ld.so.cache
chmod 0700 $root/dev
mkdir -p $root/run/scratch && mount -t tmpfs -o size=4k none $root/run/scratch
cat {tmp_path}/params > $root/run/scratch/params
mount --bind $root/run/scratch/params $root/proc/version
mount -t tmpfs none /mnt
"""
    folder = hook(("createContainer", script))
    pod = skiff.run_pod()
    before = host_mounts()
    status, text = run(skiff, "readlink /usr/lib/deep/libcuda.so; cat /etc/ld.so.cache /proc/version; stat -c %a /dev; cat /proc/self/mounts; ls /", pod)
    assert status.exit_code == 0, (status.message, text)
    assert text.startswith("libcuda.so.1\ncache\nModifyDeviceFiles: 0\n700\n")
    mounts = [line.split()[1] for line in text.splitlines() if len(line.split()) == 6]
    assert "/run/scratch" in mounts and "/mnt" not in mounts and not any(str(skiff.directory) in path for path in mounts)
    assert host_mounts() == before
    state = state_of(folder, "createContainer")
    assert state["status"] == "created" and state["ociVersion"] and state["pid"] > 0 and len(state["id"]) == 64
    assert pathlib.Path(state["bundle"]).is_relative_to(os.path.realpath(skiff.state))


def test_each_stage_in_its_order_and_its_namespaces(skiff, hook, tmp_path):  # noqa: F811
    log = tmp_path / "order"
    note = f"echo %s $(readlink /proc/self/ns/mnt /proc/self/ns/net /proc/self/ns/uts) $0 $# >> {log}"
    (tmp_path / "inside").write_text("#!/bin/sh\ncat > /state; echo $0 $# $(id -u) $A >> /order\n")
    (tmp_path / "inside").chmod(0o755)
    folder = hook(*[(stage, note % stage) for stage in ("poststop", "poststart", "createContainer", "createRuntime", "prestart")])
    cdi_file = json.loads((tmp_path / "cdi-low" / "hooks.json").read_text())
    edits = cdi_file["devices"][0]["containerEdits"]
    edits["hooks"].append({"hookName": "startContainer", "path": "/inside", "args": ["inside", "x"], "env": ["A=b"]})
    edits["mounts"] = [{"hostPath": str(tmp_path / "inside"), "containerPath": "/inside", "options": ["ro", "rbind"]}]
    (tmp_path / "cdi-low" / "hooks.json").write_text(json.dumps(cdi_file))
    pod = skiff.run_pod()
    container = skiff.run(pod, ["sh", "-c", "cat /order /state; echo; readlink /proc/self/ns/net; readlink /proc/self/ns/uts; sleep 1000"], annotations={"a.b/c": 'd"e'}, **asked("h"))
    lines = [line.split() for line in log.read_text().splitlines()]
    assert [line[0] for line in lines] == ["prestart", "createRuntime", "createContainer", "poststart"]
    here = [os.readlink(f"/proc/{skiff.process.pid}/ns/{name}") for name in ("mnt", "net", "uts")]
    prestart, runtime, create, poststart = (line[1:4] for line in lines)
    assert prestart[1:] == runtime[1:] == here[1:]
    of_container = os.readlink(f"/proc/{skiff.info(container)['pid']}/ns/mnt")
    for one in (prestart, runtime, create):  # the container's root is at its place in a namespace that is neither's
        assert one[0] not in (here[0], of_container)
    assert poststart == here
    assert lines[0][5] == "2"
    harness.wait_for(lambda: "net:" in skiff.text(container) and "uts:" in skiff.text(container), "what is inside")
    text = skiff.text(container).splitlines()
    assert text[0] == "/inside 1 0 b"
    inside = json.loads(text[1])
    assert inside["pid"] == 1 and inside["status"] == "created" and inside["annotations"] == {"a.b/c": 'd"e'}
    assert create[1:] == text[2:4]
    assert state_of(folder, "prestart", 4)["status"] == "creating"
    listed = skiff.info(container)["runtimeSpec"]["hooks"]
    assert [one["path"] for one in listed["startContainer"]] == ["/inside"] and len(listed) == 6
    running = state_of(folder, "poststart", 1)
    assert running["status"] == "running" and os.path.isdir(f"/proc/{running['pid']}")
    assert (pathlib.Path(running["bundle"]) / "config.json").exists()
    skiff.cri.StopContainer(container_id=container, timeout=0, _deadline=30)
    stopped = harness.wait_for(lambda: (folder / "state-poststop-0").exists() and (folder / "state-poststop-0").read_text(), "poststop")
    assert json.loads(stopped)["status"] == "stopped"
    skiff.cri.RemoveContainer(container_id=container, _deadline=30)
    harness.wait_for(lambda: not list((skiff.state / "pods" / pod).glob("bundle-*")), "the end of the bundle")


@pytest.mark.parametrize("stage", ["prestart", "createRuntime", "createContainer", "poststart"])
def test_a_hook_that_fails_fails_the_start_with_its_words(skiff, hook, stage):  # noqa: F811
    hook((stage, "echo out; echo no such GPU >&2; exit 3"), (stage, "touch $state.second"))
    pod = skiff.run_pod()
    before = host_mounts()
    container = skiff.create(pod, ["sleep", "1000"], **asked("h"))
    code, text = harness.code_of(skiff.cri.StartContainer, container_id=container, _deadline=30)
    assert code == grpc.StatusCode.FAILED_PRECONDITION
    assert f"error running {stage} hook #0" in text and "exit status 3: no such GPU" in text
    status = skiff.status(container)
    assert (status.state, status.exit_code, status.reason) == (2, 128, "StartError") and "no such GPU" in status.message
    harness.wait_for(lambda: not [p for p, line in harness.processes(skiff.cgroup_parent).items() if line == "sleep 1000"], "its end")
    assert host_mounts() == before
    assert skiff.output_of(pod, ["echo", "next"])[1] == "next\n"


def test_a_hook_in_the_container_that_fails(skiff, hook, cdi):  # noqa: F811
    def start(hooks):
        cdi("hooks.json", document({"h": {"hooks": hooks}}))
        container = skiff.create(pod, ["sleep", "1000"], **asked("h"))
        return harness.code_of(skiff.cri.StartContainer, container_id=container, _deadline=30)

    pod = skiff.run_pod()
    inside = {"hookName": "startContainer", "path": "/bin/sh"}
    code, text = start([{**inside, "args": ["sh", "-c", "echo sad >&2; exit 4"]}])
    assert code == grpc.StatusCode.FAILED_PRECONDITION and "startContainer hook #0 (/bin/sh): exit status 4: sad" in text
    code, text = start([{**inside, "args": ["sh", "-c", "true"]}, {**inside, "path": "/nowhere"}])
    assert "startContainer hook #1 (/nowhere): exit status 127: No such file" in text
    code, text = start([{**inside, "args": ["sh", "-c", "sleep 1000"], "timeout": 1}])
    assert "startContainer hook #0 (/bin/sh): it took too long" in text


def test_hooks_that_cannot_run_or_take_too_long(skiff, hook, cdi, tmp_path):  # noqa: F811
    pod = skiff.run_pod()
    cdi("hooks.json", document({"h": {"hooks": [{"hookName": "createContainer", "path": "/nowhere/hook"}]}}))
    container = skiff.create(pod, ["true"], **asked("h"))
    code, text = harness.code_of(skiff.cri.StartContainer, container_id=container, _deadline=30)
    assert code == grpc.StatusCode.FAILED_PRECONDITION and "/nowhere/hook" in text and "No such file" in text
    hook(("createContainer", "sleep 7301"), timeout=1)
    container = skiff.create(pod, ["true"], **asked("h"))
    code, text = harness.code_of(skiff.cri.StartContainer, container_id=container, _deadline=30)
    assert code == grpc.StatusCode.FAILED_PRECONDITION and "it took too long" in text
    harness.wait_for(lambda: not any("sleep 7301" in line for line in harness.processes().values()), "the hook's end")


def test_a_start_that_is_given_up_ends_its_hook(skiff, hook, tmp_path):  # noqa: F811
    folder = hook(("createContainer", "sleep 7302"))
    pod = skiff.run_pod()
    container = skiff.create(pod, ["true"], **asked("h"))
    call = skiff.cri.future("StartContainer", container_id=container)
    harness.wait_for((folder / "state-createContainer-0").exists, "the hook")
    call.cancel()
    harness.wait_for(lambda: not any("sleep 7302" in line for line in harness.processes().values()), "the hook's end")
    harness.wait_for(lambda: skiff.status(container).state == 0, "a container that is created again")
    (folder / "createContainer-0").write_text("#!/bin/sh\ncat\n")
    skiff.cri.StartContainer(container_id=container, _deadline=30)
    assert skiff.wait_exited(container).exit_code == 0


def test_a_hook_has_nothing_of_skiffd(skiff, hook, tmp_path):  # noqa: F811
    """Its three streams, its own environment, no blocked or ignored signal; and as much of the host as root has."""
    script = f"""ls -l /proc/self/fd > {tmp_path}/fds; env > {tmp_path}/env; grep Sig /proc/self/status > {tmp_path}/signals
ls {tmp_path} > /dev/null; test -d /proc/{os.getpid()}; id -u > {tmp_path}/id"""
    hook(("createContainer", script), env=["PATH=/bin:/usr/bin", "A=b"])
    assert run(skiff)[0].exit_code == 0
    names = [line.split()[-3] for line in (tmp_path / "fds").read_text().splitlines() if "->" in line]
    assert set(names) - {"3"} == {"0", "1", "2"}  # ls's own
    variables = set((tmp_path / "env").read_text().split())
    assert {"A=b", "PATH=/bin:/usr/bin"} <= variables and not any(v.startswith(("SKIFF", "ASAN", "HOME")) for v in variables)
    signals = dict(line.split() for line in (tmp_path / "signals").read_text().splitlines())
    assert int(signals["SigBlk:"], 16) == 0 and int(signals["SigIgn:"], 16) == 0
    assert (tmp_path / "id").read_text() == "0\n"


def test_what_a_hook_leaves_behind_sees_the_host_and_the_container_nothing_of_it(skiff, hook, tmp_path):  # noqa: F811
    """Its root stays the host's when the container begins, whose programs it must never run."""
    script = f"setsid sh -c 'touch {tmp_path}/left; while [ -e {tmp_path}/left ]; do sleep 0.1; done; test -e {tmp_path} && echo host > {tmp_path}/seen' > /dev/null 2>&1 &"
    hook(("createRuntime", script))
    pod = skiff.run_pod()
    container = skiff.run(pod, ["sleep", "1000"], **asked("h"))
    harness.wait_for((tmp_path / "left").exists, "what the hook leaves")
    mounts = harness.read_proc(skiff.info(container)["pid"], "mountinfo")
    assert str(skiff.directory) not in mounts.replace(str(skiff.root), "")
    assert "shared:" not in mounts and "master:" not in mounts
    (tmp_path / "left").unlink()
    harness.wait_for((tmp_path / "seen").exists, "its end")


def test_another_container_with_ptrace_does_not_reach_the_host_by_it(skiff, hook, tmp_path):  # noqa: F811
    secret = tmp_path / "secret"
    secret.write_text("the host's")
    hook(("createRuntime", f"touch {tmp_path}/began; while [ ! -e {tmp_path}/go ]; do sleep 0.1; done"))
    shared = {"namespace_options": {"pid": 0}}
    pod = skiff.run_pod(security=shared)
    script = f"for p in /proc/[0-9]*; do cat $p/root{secret} $p/root/..{secret} $p/cwd{secret} 2> /dev/null; ls $p/root/bin > /dev/null 2>&1 && echo looked; done"
    looker = skiff.run(pod, ["sleep", "1000"], security={**shared, "capabilities": {"add_capabilities": ["SYS_PTRACE"]}})
    created = skiff.create(pod, ["sleep", "1000"], security=shared, **asked("h"))
    call = skiff.cri.future("StartContainer", container_id=created)
    harness.wait_for((tmp_path / "began").exists, "the hook")
    seen = skiff.exec(looker, ["sh", "-c", script]).stdout.decode()
    (tmp_path / "go").touch()
    call.result(timeout=30)
    assert seen.count("looked") >= 2 and "the host's" not in seen


def test_volumes_with_propagation_keep_it(skiff, hook, tmp_path):  # noqa: F811
    source = tmp_path / "source"
    (source / "below").mkdir(parents=True)
    subprocess.run(["mount", "--bind", source, source], check=True)
    subprocess.run(["mount", "--make-shared", source], check=True)
    try:
        hook(("createContainer", "true"))
        mounts = [
            {"host_path": str(source), "container_path": "/from", "propagation": 1},
            {"host_path": str(source), "container_path": "/both", "propagation": 2},
            {"host_path": "/var", "container_path": "/both/below"},
        ]
        pod = skiff.run_pod()
        container = skiff.run(pod, ["sleep", "1000"], mounts=mounts, **asked("h"))
        lines = harness.read_proc(skiff.info(container)["pid"], "mountinfo").splitlines()
        tags = {line.split()[4]: line.split(" - ")[0].split()[6:] for line in lines}
        assert [tag.split(":")[0] for tag in tags["/from"]] == ["master"]
        assert [tag.split(":")[0] for tag in tags["/both"]] == ["shared"] and "/both/below" in tags
        assert not any(tag for target, tag in tags.items() if not target.startswith(("/from", "/both")))
        skiff.remove_pod(pod)
    finally:
        subprocess.run(["umount", "-l", source], check=True)


def test_in_a_user_namespace(skiff, hook):  # noqa: F811
    """It is the host's root, and finds the container's root as that has it."""
    hook(("createContainer", FIND_ROOT + "stat -c %u $root/etc > $root/seen\nln -s b $root/a; mkdir $root/srv; mount -t tmpfs none $root/srv"))
    pod = run_pod(skiff)
    status, text = run(skiff, "cat /seen; readlink /a; stat -c %u /seen /a; grep srv /proc/self/mounts", pod, security=security())
    assert status.exit_code == 0, (status.message, text)
    assert text.startswith(f"{BASE}\nb\n") or text.startswith("0\nb\n")
    assert "/srv" in text


def test_after_a_restart_a_container_that_was_created_starts_with_its_hooks(skiff, hook, cdi):  # noqa: F811
    hook(("createContainer", FIND_ROOT + "touch $root/hooked"))
    pod = skiff.run_pod()
    container = skiff.create(pod, ["ls", "/hooked"], **asked("h"))
    os.unlink(cdi.low / "hooks.json")
    skiff.restart()
    skiff.cri.StartContainer(container_id=container, _deadline=30)
    assert skiff.wait_exited(container).exit_code == 0


@pytest.mark.skipif("NVIDIA_CDI_HOOK" not in os.environ, reason="NVIDIA_CDI_HOOK names no nvidia-cdi-hook")
def test_the_real_one(skiff, cdi, tmp_path):  # noqa: F811
    program = os.environ["NVIDIA_CDI_HOOK"]
    (tmp_path / "libcuda.so.1").write_text("library")

    def real(*arguments):
        return {"hookName": "createContainer", "path": program, "args": ["nvidia-cdi-hook", *arguments], "env": ["NVIDIA_CTK_DEBUG=false"]}

    edits = {
        "mounts": [{"hostPath": str(tmp_path / "libcuda.so.1"), "containerPath": "/usr/lib64/libcuda.so.1", "options": ["ro", "nosuid", "nodev", "rbind", "rprivate"]}],
        "hooks": [
            real("create-symlinks", "--link", "libcuda.so.1::/usr/lib64/libcuda.so"),
            real("chmod", "--mode", "755", "--path", "/srv"),
            real("update-ldcache", "--folder", "/usr/lib64"),
            real("disable-device-node-modification"),
        ],
    }
    cdi("nvidia.yaml", document({"h": edits}))
    status, text = run(skiff, "ls -l /usr/lib64; cat /etc/ld.so.conf.d/*; ls -l /etc/ld.so.cache")
    assert status.exit_code == 0, (status.message, text)
    assert "libcuda.so -> libcuda.so.1" in text and "/usr/lib64\n" in text
