"""CDI devices. Covers: every kind of edit in a container, by CDI_devices and by annotations; what replaces what; names that are
not there, broken files, files that change; starts and execs after a restart of skiffd; user namespaces; devices of the
security context's owner."""

import json
import os


import grpc
import harness
import pytest

from test_userns import BASE, mapping, run_pod, security


@pytest.fixture
def cdi(tmp_path):
    """What writes a file: cdi(name, document) into the lower directory, cdi.high into the other."""
    low, high = tmp_path / "cdi-low", tmp_path / "cdi-high"
    low.mkdir()
    high.mkdir()

    def write(name, document, directory=low):
        text = document if isinstance(document, str) else json.dumps(document)
        (directory / f"{name}.new").write_text(text)
        (directory / f"{name}.new").rename(directory / name)

    write.low, write.high = low, high
    write.arguments = ["--cdi-spec-dirs", f"{low}:{high}"]
    return write


@pytest.fixture
def skiff(bare, archive, cdi):
    bare.arguments = cdi.arguments
    bare.start()
    bare.import_image(archive)
    before = bare.census()
    yield bare
    bare.remove_all()
    bare.assert_nothing_left(before)
    bare.stop()
    assert not bare.sanitizers_found(), bare.sanitizers_found()


def document(devices, edits=None, version="0.7.0"):
    listed = [{"name": name, "containerEdits": edits} for name, edits in devices.items()]
    return {"cdiVersion": version, "kind": "vendor.com/gpu", "containerEdits": edits or {}, "devices": listed}


def asked(*names):
    return {"CDI_devices": [{"name": f"vendor.com/gpu={name}"} for name in names]}


def sh(skiff, script, pod=None, **more):
    status, text = skiff.output_of(pod or skiff.run_pod(), ["sh", "-c", script], **more)
    assert status.exit_code == 0, (status.message, text)
    return text


def test_every_edit_is_in_the_container(skiff, cdi, tmp_path):
    (tmp_path / "lib").write_text("library\n")
    edits = {
        "env": ["DEVICE=one", "ASKED=by-cdi"],
        "deviceNodes": [{"path": "/dev/mine", "hostPath": "/dev/zero"}, {"path": "/dev/fifo", "type": "p", "fileMode": 0o600}],
        "mounts": [
            {"hostPath": str(tmp_path / "lib"), "containerPath": "/usr/lib/deep/lib.so", "options": ["ro", "nosuid", "nodev", "bind"]},
            {"hostPath": "scratch", "containerPath": "/scratch", "type": "tmpfs", "options": ["size=64k", "mode=700", "noexec"]},
        ],
        "additionalGids": [0, 4321],
    }
    cdi("one.json", document({"0": edits}, {"env": ["DEVICE=file", "FILE=yes"]}))
    script = "tr '\\0' '\\n' < /proc/1/environ; ls -ln /dev; head -c 1 /dev/mine | od -An -tx1; cat /usr/lib/deep/lib.so; cat /proc/self/mounts; id -G"
    text = sh(skiff, script, envs=[{"key": "ASKED", "value": b"by-client"}, {"key": "LAST", "value": b"1"}], **asked("0"))
    assert "DEVICE=one\n" in text and "FILE=yes\n" in text and "ASKED=by-cdi\n" in text and "by-client" not in text
    assert text.index("ASKED=") < text.index("LAST=") < text.index("FILE=")  # replaced in its place
    devices = {line.split()[-1]: line.split() for line in text.splitlines() if line[:1] in "cp"}
    assert devices["mine"][0] == "crw-rw-rw-" and devices["mine"][4:6] == ["1,", "5"]
    assert devices["fifo"][0] == "prw-------"
    assert " 00\n" in text and "library\n" in text
    seen = {line.split()[1]: line.split()[3].split(",") for line in text.splitlines() if "/" in line and len(line.split()) == 6}
    assert {"ro", "nosuid", "nodev"} <= set(seen["/usr/lib/deep/lib.so"])
    assert {"noexec", "size=64k", "mode=700"} <= set(seen["/scratch"])
    assert text.splitlines()[-1].split() == ["0", "4321"]


def test_a_device_may_be_used_as_far_as_its_permissions_go(skiff, cdi):
    """Rules are the cgroup's, where there is one for devices: kvm's number here, which no container has by itself."""
    nodes = {name: {"deviceNodes": [{"path": f"/dev/{name}", "type": "c", "major": 10, "minor": 232, "permissions": rights}]}
             for name, rights in (("all", ""), ("none", "none"))}  # fmt: skip
    cdi("one.json", document(nodes))
    script = "cat /dev/%s 2>&1; true"
    # Without a driver the answer is ENXIO or ENODEV; without permission it is EPERM.
    assert "not permitted" not in sh(skiff, script % "all", **asked("all"))
    assert "not permitted" in sh(skiff, script % "none", **asked("none"))


def test_owner_of_a_node(skiff, cdi):
    """The file's, or else the process's."""
    cdi("one.json", document({
        "own": {"deviceNodes": [{"path": "/dev/own", "hostPath": "/dev/null", "uid": 7, "gid": 8}]},
        "other": {"deviceNodes": [{"path": "/dev/other", "hostPath": "/dev/null"}]},
    }))  # fmt: skip
    user = {"run_as_user": {"value": 1234}, "run_as_group": {"value": 5678}}
    text = sh(skiff, "stat -c '%n %u %g' /dev/own /dev/other", security=user, **asked("own", "other"))
    assert text == "/dev/own 7 8\n/dev/other 1234 5678\n"


def test_edits_replace_what_the_client_asked_for(skiff, cdi, tmp_path):
    """A node and a mount of one path; and a mount below one of the client's lies in that, whatever the order."""
    for name in ("client", "vendor", "file"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "who").write_text(f"{name}\n")
    (tmp_path / "client" / "below").mkdir()
    edits = {
        "deviceNodes": [{"path": "/dev/same", "hostPath": "/dev/zero"}],
        "mounts": [
            {"hostPath": str(tmp_path / "vendor"), "containerPath": "/same/", "options": ["rbind"]},
            {"hostPath": str(tmp_path / "file"), "containerPath": "/data/below", "options": ["rbind"]},
        ],
    }
    cdi("one.json", document({"0": edits}))
    text = sh(
        skiff,
        "cat /same/who /data/who /data/below/who; ls -l /dev/same",
        mounts=[{"container_path": "/same", "host_path": str(tmp_path / "client")}, {"container_path": "/data", "host_path": str(tmp_path / "client")}],
        devices=[{"container_path": "/dev/same", "host_path": "/dev/null", "permissions": "rwm"}],
        **asked("0"),
    )
    assert text.startswith("vendor\nclient\nfile\n") and "1,   5" in text


def test_annotations_and_the_same_device_twice(skiff, cdi):
    cdi("one.json", document({"a": {"env": ["A=1", "WHO=a"]}, "b": {"env": ["B=1", "WHO=b"]}}))
    annotations = {"cdi.k8s.io/x": "vendor.com/gpu=b,vendor.com/gpu=a", "other.io/y": "vendor.com/gpu=none"}
    text = sh(skiff, "env", annotations=annotations, **asked("a", "a"))
    assert "A=1\n" in text and "B=1\n" in text and "WHO=b\n" in text  # a was first
    text = sh(skiff, "env", annotations={"cdi.k8s.io/x": "vendor.com/gpu=a"})
    assert "WHO=a\n" in text
    for value in ("", "gpu0", "vendor.com/gpu=a,", "vendor.com/gpu"):
        code, words = harness.code_of(skiff.create, skiff.run_pod(), ["true"], annotations={"cdi.k8s.io/x": value})
        assert code == grpc.StatusCode.INVALID_ARGUMENT and "cdi.k8s.io/x" in words


def test_unknown_devices_are_named_with_what_is_broken(skiff, cdi):
    cdi("good.yaml", document({"a": {"env": ["A=1"]}}))
    cdi("bad.yaml", "cdiVersion: 0.7.0\nkind: vendor.com/gpu\ndevices:\n- name: b\n  containerEdit: {}\n")
    pod = skiff.run_pod()
    code, text = harness.code_of(skiff.create, pod, ["true"], **asked("a", "b", "c"))
    assert code == grpc.StatusCode.INVALID_ARGUMENT
    assert "unresolvable CDI devices vendor.com/gpu=b, vendor.com/gpu=c" in text and 'bad.yaml: devices: line 5: unknown key "containerEdit"' in text
    assert not skiff.cri.ListContainers().containers
    assert "A=1\n" in sh(skiff, "env", pod, **asked("a"))
    problems = json.loads(skiff.cri.Status(verbose=True).info["info"])["cdiErrors"]
    assert len(problems) == 1 and str(cdi.low / "bad.yaml") in problems[0] and "line 5" in problems[0]
    assert "bad.yaml" in skiff.cli("info").stdout
    for kind, edits in (("intelRdt", {"intelRdt": {"closID": "x"}}), ("netDevices", {"netDevices": [{"hostInterfaceName": "e", "name": "f"}]})):
        cdi("good.yaml", document({"a": edits}, version="1.1.0"))
        code, text = harness.code_of(skiff.create, pod, ["true"], **asked("a"))
        assert code == grpc.StatusCode.UNIMPLEMENTED and kind in text


def test_files_are_read_again_when_they_change(skiff, cdi):
    pod = skiff.run_pod()
    for i in range(3):
        cdi("one.yaml", document({"a": {"env": [f"A={i}"]}}))
        assert f"A={i}\n" in sh(skiff, "env", pod, **asked("a"))
    cdi("one.json", document({"a": {"env": ["A=high"]}}), cdi.high)
    assert "A=high\n" in sh(skiff, "env", pod, **asked("a"))
    os.unlink(cdi.high / "one.json")
    assert "A=2\n" in sh(skiff, "env", pod, **asked("a"))


def test_what_was_settled_at_creation_survives_the_file_and_skiffd(skiff, cdi, tmp_path):
    """A container that runs, and one that was created only."""
    (tmp_path / "lib").write_text("library\n")
    edits = {"env": ["A=1"], "deviceNodes": [{"path": "/dev/mine", "hostPath": "/dev/zero"}],
             "mounts": [{"hostPath": str(tmp_path / "lib"), "containerPath": "/lib.so"}], "additionalGids": [77]}  # fmt: skip
    cdi("one.json", document({"a": edits}))
    pod = skiff.run_pod()
    running = skiff.run(pod, ["sleep", "1000"], **asked("a"))
    script = "env; cat /lib.so; ls -l /dev/mine; id -G"
    created = skiff.create(pod, ["sh", "-c", script], **asked("a"))
    os.unlink(cdi.low / "one.json")
    skiff.restart()
    assert "A=1\n" in skiff.exec(running, ["sh", "-c", script]).stdout.decode()
    assert "77" in skiff.exec(running, ["id", "-G"]).stdout.decode().split()
    skiff.cri.StartContainer(container_id=created, _deadline=60)
    assert skiff.wait_exited(created).exit_code == 0
    text = skiff.text(created)
    assert "A=1\n" in text and "library\n" in text and "1,   5" in text and "77" in text.splitlines()[-1].split()


def test_in_a_user_namespace_mounts_have_its_ids(skiff, cdi, tmp_path):
    (tmp_path / "lib").write_text("library\n")
    os.chown(tmp_path / "lib", 5, 6)
    edits = {"mounts": [{"hostPath": str(tmp_path / "lib"), "containerPath": "/lib.so"}], "deviceNodes": [{"path": "/dev/mine", "hostPath": "/dev/zero"}]}
    edits["deviceNodes"].append({"path": "/dev/theirs", "hostPath": "/dev/zero", "uid": 7, "gid": 8})
    cdi("one.json", document({"a": edits}))
    pod = run_pod(skiff)
    text = sh(skiff, "stat -c '%u %g' /lib.so /dev/mine /dev/theirs; ls -l /dev/mine; head -c 1 /dev/mine | wc -c", pod, security=security(), **asked("a"))
    assert text.startswith("5 6\n0 0\n7 8\n") and "1,   5" in text and text.endswith("1\n")


@pytest.mark.parametrize("path", ["/", "/x/..", "/proc", "/proc/sys", "/x/../proc/self"])
def test_mounts_that_take_masks_away_are_refused(skiff, cdi, tmp_path, path):
    for mount in ({"hostPath": str(tmp_path)}, {"hostPath": "tmpfs", "type": "tmpfs"}):
        cdi("one.json", document({"a": {"mounts": [{"containerPath": path, **mount}]}}))
        code, text = harness.code_of(skiff.create, skiff.run_pod(), ["true"], **asked("a"))
        assert code == grpc.StatusCode.INVALID_ARGUMENT and f"CDI mount at {path}" in text


@pytest.mark.parametrize("path", ["/dev", "/dev/fd", "/dev/ptmx", "/dev/pts/0", "/dev/shm/x"])
def test_nodes_where_a_container_has_its_own_are_refused(skiff, cdi, path):
    cdi("one.json", document({"a": {"deviceNodes": [{"path": path, "hostPath": "/dev/zero"}]}}))
    code, text = harness.code_of(skiff.create, skiff.run_pod(), ["true"], **asked("a"))
    assert code == grpc.StatusCode.INVALID_ARGUMENT and path in text


@pytest.mark.parametrize("path", ["/etc/passwd", "/dev/null"])
def test_a_node_where_something_else_is_fails_the_start(skiff, cdi, path):
    cdi("one.json", document({"a": {"deviceNodes": [{"path": path, "hostPath": "/dev/zero"}]}}))
    container = skiff.create(skiff.run_pod(), ["true"], **asked("a"))
    code, text = harness.code_of(skiff.cri.StartContainer, container_id=container)
    assert code == grpc.StatusCode.FAILED_PRECONDITION and path in text and "exists" in text


def test_devices_belong_to_the_security_contexts_user(bare, archive):
    """Where the node is set up so: a device, and those of a directory; not what a container has anyway."""
    user = {"run_as_user": {"value": 1234}, "run_as_group": {"value": 5678}}
    devices = [{"container_path": "/dev/fuse", "host_path": "/dev/null", "permissions": "rw"}]
    for arguments, owner in ((["--device-ownership-from-security-context", "true"], "1234 5678"), ([], "0 0")):
        bare.arguments = arguments
        bare.start()
        bare.import_image(archive)
        text = sh(bare, "stat -c '%u %g' /dev/fuse /dev/zero; echo x > /dev/fuse", security=user, devices=devices)
        assert text == f"{owner}\n0 0\n"
        bare.remove_all()
        bare.stop()


def test_a_mount_whose_source_is_not_there_fails_the_start(skiff, cdi, tmp_path):
    missing = str(tmp_path / "missing")
    cdi("one.json", document({"a": {"mounts": [{"hostPath": missing, "containerPath": "/x"}]}}))
    container = skiff.create(skiff.run_pod(), ["true"], **asked("a"))
    code, text = harness.code_of(skiff.cri.StartContainer, container_id=container)
    assert code == grpc.StatusCode.FAILED_PRECONDITION and missing in text
