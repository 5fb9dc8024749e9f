"""What a status tells of a container beside what was asked, also after a restart. Covers: its image's name, its stop signal, its
user, the OCI spec in the verbose info, HOSTNAME, SELinux on a kernel without."""

import json
import os
import signal
import socket

import grpc
import harness
import pytest


def image_id(skiff):
    return skiff.cri.ImageStatus(image={"image": harness.IMAGE}).image.id


def test_the_image_of_a_container_made_by_id_has_its_name(skiff):
    pod = skiff.run_pod(host_network=True)
    number = image_id(skiff)
    for text in (number, number.removeprefix("sha256:"), number.removeprefix("sha256:")[:12]):
        container = skiff.create(pod, ["true"], image=text)
        assert skiff.status(container).image.image == harness.IMAGE
        assert skiff.status(container).image_id == number
    by_name = skiff.create(pod, ["true"], image="busybox")
    assert skiff.status(by_name).image.image == "busybox"
    skiff.restart()
    assert skiff.status(container).image.image == harness.IMAGE


def test_of_several_names_it_is_the_one_that_was_written(skiff, archive):
    skiff.import_image(archive, "registry.example/other:1")
    skiff.import_image(archive, "registry.example/zz:1")
    pod = skiff.run_pod(host_network=True)
    config = skiff.container_config(["true"])
    names = {
        "registry.example/zz:1": "registry.example/zz:1", "zz:1": "registry.example/zz:1", "busybox": harness.IMAGE,
        "z:1": harness.IMAGE, "": harness.IMAGE,
    }  # fmt: skip
    for i, (written, name) in enumerate(names.items()):
        config["metadata"]["name"] = f"c{i}"
        config["image"] = {"image": image_id(skiff), "user_specified_image": written}
        assert skiff.status(skiff.create(pod, config=config)).image.image == name, written


def test_the_stop_signal_is_what_will_be_sent(skiff):
    names = {value.name: value.number for value in skiff.cri_enum("Signal")}
    pod = skiff.run_pod(host_network=True)
    plain = skiff.create(pod, ["true"])
    asked = skiff.create(pod, ["true"], stop_signal=names["SIGNAL_SIGUSR1"])
    for _ in range(2):
        assert skiff.status(plain).stop_signal == names["SIGNAL_SIGTERM"]
        assert skiff.status(asked).stop_signal == names["SIGNAL_SIGUSR1"]
        skiff.restart()


def test_the_user_survives_a_restart(skiff):
    pod = skiff.run_pod(host_network=True)
    security = {"run_as_username": "user", "supplemental_groups": [3000]}
    container = skiff.run(pod, ["sleep", "1000"], security=security)
    for _ in range(2):
        user = skiff.status(container).user.linux
        assert (user.uid, user.gid, list(user.supplemental_groups)) == (1000, 1000, [1000, 2000, 3000])
        skiff.restart()


@pytest.mark.parametrize("policy, groups", [(0, [500, 2000, 3000]), (1, [500, 3000])])
def test_merged_groups_are_the_users_also_with_a_group_of_the_callers_choice(skiff, policy, groups):
    pod = skiff.run_pod(host_network=True)
    security = {
        "run_as_user": {"value": 1000}, "run_as_group": {"value": 500}, "supplemental_groups": [3000],
        "supplemental_groups_policy": policy,
    }  # fmt: skip
    container = skiff.run(pod, ["id", "-G"], security=security)
    skiff.wait_exited(container)
    assert sorted(map(int, skiff.text(container).split())) == groups
    assert list(skiff.status(container).user.linux.supplemental_groups) == groups


def test_hostname_is_in_the_environment(skiff):
    node = socket.gethostname()
    script = ["sh", "-c", "echo $HOSTNAME; hostname"]
    _, text = skiff.output_of(skiff.run_pod(host_network=True), script)
    assert text.split() == [node, node]
    config = skiff.pod_config(name="nameless")
    config["hostname"] = ""
    _, text = skiff.output_of(skiff.run_pod(config), script)
    assert text.split() == [node, node]
    _, text = skiff.output_of(skiff.run_pod(name="named"), script)
    assert text.split() == ["named", "named"]
    _, text = skiff.output_of(skiff.run_pod(name="own"), script, envs=[{"key": "HOSTNAME", "value": b"mine"}])
    assert text.split() == ["mine", "own"]


@pytest.mark.skipif(os.path.isdir("/sys/fs/selinux"), reason="this kernel has SELinux")
def test_an_selinux_label_is_passed_over_on_a_kernel_without(skiff):
    label = {"selinux_options": {"user": "u", "role": "r", "type": "t", "level": "s0:c1,c2"}}
    pod = skiff.run_pod(host_network=True, security=dict(label))
    status, text = skiff.output_of(pod, ["echo", "runs"], security=dict(label))
    assert (status.exit_code, text) == (0, "runs\n")


def test_the_verbose_info_has_the_oci_spec(skiff, tmp_path):
    volume = tmp_path / "volume"
    volume.mkdir()
    pod = skiff.run_pod(name="spec")
    security = {
        "run_as_username": "user", "no_new_privs": True, "readonly_rootfs": True,
        "capabilities": {"drop_capabilities": ["ALL"], "add_capabilities": ["NET_RAW"]},
    }  # fmt: skip
    resources = {"memory_limit_in_bytes": 64 << 20, "cpu_shares": 512, "cpu_quota": 50000, "cpu_period": 100000, "oom_score_adj": 99}
    container = skiff.run(
        pod, ["sleep", "1000"], security=security, resources=resources, working_dir="/tmp",
        envs=[{"key": "A", "value": b"\xff\"quoted\"\n"}],
        annotations={"example/key": "value"},
        mounts=[{"container_path": "/v", "host_path": str(volume), "readonly": True, "propagation": 1}],
        devices=[{"host_path": "/dev/null", "container_path": "/dev/mine", "permissions": "rw"}],
    )  # fmt: skip
    for _ in range(2):
        spec = skiff.info(container)["runtimeSpec"]
        process = spec["process"]
        assert spec["ociVersion"].startswith("1.") and spec["hostname"] == "spec"
        assert (process["args"], process["cwd"], process["terminal"]) == (["sleep", "1000"], "/tmp", False)
        assert process["user"] == {"uid": 1000, "gid": 1000, "umask": 0o22, "additionalGids": [1000, 2000]}
        assert "HOSTNAME=spec" in process["env"] and any(e.startswith("A=") and '"quoted"\n' in e for e in process["env"])
        assert process["noNewPrivileges"] and process["oomScoreAdj"] == 99
        assert process["capabilities"]["bounding"] == ["CAP_NET_RAW"] and process["capabilities"]["ambient"] == []
        assert spec["root"]["readonly"] is True
        mounts = {m["destination"]: m for m in spec["mounts"]}
        assert mounts["/proc"]["type"] == "proc" and "noexec" in mounts["/proc"]["options"]
        assert mounts["/dev"]["type"] == "tmpfs" and "size=65536k" in mounts["/dev"]["options"]
        assert mounts["/v"]["source"] == str(volume) and {"rbind", "ro", "rslave"} <= set(mounts["/v"]["options"])
        linux = spec["linux"]
        assert linux["cgroupsPath"] == f"{skiff.cgroup_parent}/{container}"
        assert linux["resources"]["memory"] == {"limit": 64 << 20, "swap": 64 << 20}
        assert linux["resources"]["cpu"] == {"shares": 512, "quota": 50000, "period": 100000}
        assert {"allow": False, "type": "a", "access": "rwm"} in linux["resources"]["devices"]
        assert {"allow": True, "type": "c", "major": 1, "minor": 3, "access": "rw"} in linux["resources"]["devices"]
        assert [d for d in linux["devices"] if d["path"] == "/dev/mine"][0]["major"] == 1
        namespaces = {n["type"]: n.get("path") for n in linux["namespaces"]}
        assert set(namespaces) == {"mount", "pid", "ipc", "uts", "network"}
        assert os.stat(namespaces["network"]).st_ino == os.stat(f"/proc/{skiff.info(container)['pid']}/ns/net").st_ino
        assert "/proc/keys" in linux["maskedPaths"] and "/proc/sys" in linux["readonlyPaths"]
        seccomp = linux["seccomp"]
        assert seccomp["defaultAction"] == "SCMP_ACT_ERRNO" and seccomp["syscalls"]
        assert all("includes" not in rule and rule["names"] and rule["action"] for rule in seccomp["syscalls"])
        assert not any("mount" in rule["names"] and rule["action"] == "SCMP_ACT_ALLOW" for rule in seccomp["syscalls"])
        assert spec["annotations"] == {"example/key": "value"}
        skiff.cri.ContainerStatus(container_id=container, verbose=True)
        skiff.restart()


def test_the_oci_spec_of_a_privileged_container_on_the_hosts_namespaces(skiff):
    options = {"network": 2, "pid": 2, "ipc": 2}
    pod = skiff.run_pod(host_network=True, security={"namespace_options": options, "privileged": True})
    container = skiff.run(pod, ["sleep", "1000"], security={"namespace_options": options, "privileged": True})
    spec = skiff.info(container)["runtimeSpec"]
    assert [n["type"] for n in spec["linux"]["namespaces"]] == ["mount"]
    assert "seccomp" not in spec["linux"] and spec["linux"]["maskedPaths"] == [] and "hostname" not in spec
    assert spec["linux"]["resources"]["devices"] == [{"allow": True, "type": "a", "access": "rwm"}]


def test_a_spec_too_large_for_an_answer_is_left_out(skiff):
    pod = skiff.run_pod(host_network=True)
    envs = [{"key": f"E{i}", "value": b"\x01" * 100000} for i in range(18)]  # six bytes each, as JSON has them
    container = skiff.create(pod, ["true"], envs=envs)
    info = skiff.info(container)
    assert info["runtimeSpec"] is None and info["sandboxID"] == pod
