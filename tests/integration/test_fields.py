"""Fields of CRI that no other test shows, one by one, and the table of all (tests/data/cri-coverage.tsv): every field and call
of tests/data/cri-v1.tsv has the test that shows its effect, or why it has none."""

import ast
import json
import pathlib
import subprocess
import time

import grpc
import pytest

import cri_client
import harness
from registry import folder, make_image

DATA = harness.ROOT / "tests/data"
HERE = pathlib.Path(__file__).parent
WAYS = {"shown", "refused", "passed-over"}
WINDOWS = ("Windows", "windows")


# --- the table ---


def rows(name):
    for line in (DATA / name).read_text().splitlines():
        if line and not line.startswith("#"):
            yield line.split("\t")


def fields_and_calls():
    """MESSAGE.FIELD and the names of calls, but for what is Windows's."""
    for row in rows("cri-v1.tsv"):
        if row[0] == "field" and not any(word in name for word in WINDOWS for name in row[1:3]):
            yield f"{row[1]}.{row[2]}"
        elif row[0] == "rpc":
            yield row[2]


def covered():
    """Name -> (way, test, why) of each line of the table."""
    found = {}
    for name, way, test, *why in rows("cri-coverage.tsv"):
        owner, dot, fields = name.partition(".")
        for field in fields.split(",") if dot else [""]:
            key = owner + dot + field
            assert key not in found, f"{key} is there twice"
            found[key] = (way, test, why[0] if why else "")
    return found


def names_in(module):
    tree = ast.parse((HERE / f"test_{module}.py").read_text())
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


def test_every_field_and_call_has_its_test_or_its_reason():
    table = covered()
    schema = {
        f"{message.name}.{field.name}"
        for file in cri_client.descriptors().file if file.package == "runtime.v1"
        for message in file.message_type
        for field in message.field
    }  # fmt: skip
    assert {name for name in fields_and_calls() if "." in name} <= schema
    missing = set(fields_and_calls()) - set(table)
    assert not missing, f"neither a test nor a reason: {sorted(missing)}"
    unknown = set(table) - set(fields_and_calls())
    assert not unknown, f"CRI has none of that name: {sorted(unknown)}"


def test_the_tables_tests_are_there():
    known = {}
    for name, (way, test, why) in covered().items():
        assert way in WAYS, (name, way)
        assert bool(why) == (way != "shown"), f"{name}: what is not shown has a reason, what is has none"
        if test == "-":
            assert way == "passed-over", f"{name}: {way} by no test"
            continue
        module, _, function = test.partition(".")
        known.setdefault(module, names_in(module))
        assert f"test_{function}" in known[module], f"{name}: test_{module}.py has no test_{function}"


# --- the node ---


def test_version_says_who_it_is(bare):
    bare.start()
    version = bare.cri.Version(version="v1")
    assert (version.version, version.runtime_name, version.runtime_api_version) == ("0.1.0", "skiff", "v1")
    assert version.runtime_version and version.runtime_version in bare.cli("--version").stdout


def test_features_and_conditions(skiff):
    status = skiff.cri.Status()
    conditions = {c.type: c for c in status.status.conditions}
    assert conditions["RuntimeReady"].status and conditions["NetworkReady"].status
    assert [handler.name for handler in status.runtime_handlers] == [""]
    assert status.runtime_handlers[0].features.recursive_read_only_mounts
    assert status.features.supplemental_groups_policy
    assert not status.info and json.loads(skiff.cri.Status(verbose=True).info["info"])["version"]
    for name in skiff.cni_conf.iterdir():
        name.unlink()
    network = [c for c in skiff.cri.Status().status.conditions if c.type == "NetworkReady"][0]
    assert not network.status and network.reason == "NetworkPluginNotReady" and str(skiff.cni_conf) in network.message


def test_both_filesystems_are_told(skiff):
    pod = skiff.run_pod(host_network=True)
    container = skiff.run(pod, ["sh", "-c", "dd if=/dev/zero of=/filled bs=1M count=4 2>/dev/null; sleep 100"])

    def used():
        info = skiff.cri.ImageFsInfo()
        image, containers = info.image_filesystems[0], info.container_filesystems[0]
        assert image.fs_id.mountpoint == containers.fs_id.mountpoint and image.timestamp and containers.timestamp
        assert image.used_bytes.value > 0 and image.inodes_used.value > 0
        return containers.used_bytes.value >= 4 << 20 and containers.inodes_used.value > 0

    # It is counted from the walks that stats make.
    harness.wait_for(lambda: skiff.cri.ContainerStats(container_id=container) and used(), "the writable layer", 25)


def test_checkpoints_are_refused_by_name(skiff):
    for name in ("CheckpointContainer", "CheckpointPod", "RestorePod"):
        code, text = harness.code_of(getattr(skiff.cri, name))
        assert code == grpc.StatusCode.UNIMPLEMENTED and name in text


# --- pods ---


def test_a_pods_names_and_times_are_told(skiff):
    config = skiff.pod_config(name="told", host_network=True, labels={"l": "1"}, annotations={"a": "2"})
    config["metadata"]["attempt"] = 3
    before = time.time_ns()
    pod = skiff.run_pod(config)
    listed = [item for item in skiff.cri.ListPodSandbox().items if item.id == pod][0]
    for told in (skiff.pod_status(pod).status, listed):
        metadata = told.metadata
        assert (metadata.name, metadata.uid, metadata.namespace, metadata.attempt) == ("told", "uid-told", "default", 3)
        assert before <= told.created_at <= time.time_ns() and told.runtime_handler == ""
        assert (told.id, told.state, dict(told.labels), dict(told.annotations)) == (pod, 0, {"l": "1"}, {"a": "2"})
    config["metadata"]["attempt"] = 4  # another pod
    assert skiff.run_pod(config) != pod


def test_a_pods_status_has_its_containers(skiff):
    pod = skiff.run_pod(host_network=True)
    container = skiff.run(pod, ["sh", "-c", "exit 9"])
    skiff.wait_exited(container)
    answer = skiff.pod_status(pod)
    assert answer.timestamp and [(c.id, c.exit_code) for c in answer.containers_statuses] == [(container, 9)]


def test_every_address_of_a_pod_is_told(skiff):
    plugin = dict(harness.CONFLIST["plugins"][0])
    plugin["ipam"] = {
        "type": "host-local",
        "ranges": [[{"subnet": "10.211.0.0/20"}], [{"subnet": "fd00:211::/64"}]],
    }
    skiff.write_conflist(dict(harness.CONFLIST, plugins=[plugin]))
    network = skiff.pod_status(skiff.run_pod(name="both")).status.network
    assert network.ip.startswith("10.211.")
    assert [more.ip[:10] for more in network.additional_ips] == ["fd00:211::"]


def test_port_mappings_have_an_address_and_a_protocol(skiff):
    """As the plugins are told them."""
    directory = skiff.directory / "plugins"
    directory.mkdir()
    (directory / "told").write_text(
        f"#!/bin/sh\n[ $CNI_COMMAND = ADD ] && cat > {skiff.directory}/told.json || exit 0\n"
        'echo \'{"cniVersion": "1.0.0", "ips": [{"address": "10.9.9.9/24"}]}\'\n'
    )
    (directory / "told").chmod(0o755)
    skiff.cni_bin = f"{directory}:{skiff.cni_bin}"
    skiff.write_conflist(dict(harness.CONFLIST, plugins=[{"type": "told", "capabilities": {"portMappings": True}}]))
    skiff.restart()
    asked = [
        {"protocol": 1, "container_port": 53, "host_port": 5353, "host_ip": "127.0.0.1"},
        {"container_port": 80, "host_port": 8080},
        {"container_port": 90},  # of no host port: nothing to map
    ]
    skiff.run_pod(name="ports", port_mappings=asked)
    told = json.loads((skiff.directory / "told.json").read_text())["runtimeConfig"]["portMappings"]
    assert told[0] == {"hostPort": 5353, "containerPort": 53, "protocol": "udp", "hostIP": "127.0.0.1"}
    assert told[1]["protocol"] == "tcp" and not told[1].get("hostIP") and len(told) == 2


def test_interfaces_are_counted_both_ways(skiff):
    pod = skiff.run_pod(name="counts")
    container = skiff.run(pod, ["sleep", "100"])

    def interface():
        usage = skiff.cri.PodSandboxStats(pod_sandbox_id=pod).stats.linux.network
        assert usage.timestamp and not usage.interfaces
        return usage.default_interface

    before = interface()
    skiff.exec(container, ["ping", "-c", "2", "-i", "0.1", "10.211.0.1"])
    after = interface()
    assert after.rx_bytes.value - before.rx_bytes.value >= 2 * 98 and after.tx_bytes.value > before.tx_bytes.value
    assert after.HasField("rx_errors") and after.HasField("tx_errors")


def test_a_second_interface_is_counted_by_itself(skiff):
    pod = skiff.run_pod(name="two")
    config = skiff.container_config(["sh", "-c", "ip link add more0 type bridge && sleep 100"])
    config["linux"]["security_context"]["capabilities"] = {"add_capabilities": ["NET_ADMIN"]}
    container = skiff.run(pod, [], config=config)

    def others():
        network = skiff.cri.PodSandboxStats(pod_sandbox_id=pod).stats.linux.network
        return network.default_interface.name, [interface.name for interface in network.interfaces]

    try:
        harness.wait_for(lambda: others() == ("eth0", ["more0"]), "the second interface")
    except AssertionError:
        assert others() == ("eth0", ["more0"]), skiff.text(container)


def test_a_pods_own_seccomp_is_not_its_containers(skiff, tmp_path):
    profile = tmp_path / "profile.json"
    profile.write_text(json.dumps({"defaultAction": "SCMP_ACT_ALLOW"}))
    for own in ({"seccomp": {"profile_type": 0}}, {"seccomp_profile_path": "runtime/default"}):
        pod = skiff.run_pod(host_network=True, security=own)
        _, text = skiff.output_of(pod, ["grep", "Seccomp:", "/proc/self/status"], security={"seccomp": None})
        assert int(text.split()[1]) == 0


# --- containers ---


def test_a_containers_names_and_files_are_told(skiff):
    pod = skiff.run_pod(name="pod1", host_network=True)
    config = skiff.container_config(["true"], name="told", mounts=[{"container_path": "/m", "host_path": "/var", "readonly": True}])
    config["metadata"]["attempt"] = 5
    container = skiff.create(pod, config=config)
    listed = [c for c in skiff.cri.ListContainers().containers if c.id == container][0]
    status = skiff.status(container)
    image = skiff.cri.ImageStatus(image={"image": harness.IMAGE}).image
    for told in (status, listed):
        assert (told.metadata.name, told.metadata.attempt) == ("told", 5)
        assert (told.image.image, told.image_id, told.id) == (harness.IMAGE, image.id, container)
        assert told.image_ref in (image.id, *image.repo_digests, *image.repo_tags)
    mount = [m for m in status.mounts if m.container_path == "/m"][0]
    assert (mount.host_path, mount.readonly) == ("/var", True)
    assert status.log_path == f"{skiff.logs}/pod1/told/0.log"
    assert status.message == "" and status.started_at == 0 and status.finished_at == 0


def test_a_containers_labels_and_time_are_listed(skiff):
    pod = skiff.run_pod(host_network=True)
    before = time.time_ns()
    skiff.create(pod, ["true"], labels={"a": "1"}, annotations={"b": "2"})
    listed = skiff.cri.ListContainers().containers[0]
    assert (dict(listed.labels), dict(listed.annotations)) == ({"a": "1"}, {"b": "2"})
    assert before <= listed.created_at <= time.time_ns()


def test_a_failed_start_has_a_message(skiff):
    pod = skiff.run_pod(host_network=True)
    container = skiff.create(pod, ["/no/such"])
    harness.code_of(skiff.cri.StartContainer, container_id=container)
    status = skiff.wait_exited(container)
    assert "/no/such" in status.message and status.reason and status.exit_code != 0


def test_a_mount_is_read_only_down_to_its_last(skiff, tmp_path):
    below = tmp_path / "below"
    below.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "below", below], check=True)
    try:
        pod = skiff.run_pod(host_network=True)
        mount = {"container_path": "/m", "host_path": str(tmp_path), "readonly": True}
        plain = skiff.run(pod, ["sleep", "100"], mounts=[mount])
        whole = skiff.run(pod, ["sleep", "100"], mounts=[dict(mount, recursive_read_only=True)])
        assert skiff.exec(plain, ["touch", "/m/below/x"]).exit_code == 0
        assert skiff.exec(whole, ["touch", "/m/below/x"]).exit_code != 0
        assert skiff.status(whole).mounts[0].recursive_read_only
        wrong = dict(mount, readonly=False, recursive_read_only=True)
        code, text = harness.code_of(skiff.create, pod, ["true"], mounts=[wrong])
        assert code == grpc.StatusCode.INVALID_ARGUMENT and "recursive_read_only" in text
        skiff.remove_pod(pod)
    finally:
        subprocess.run(["umount", below], check=True)


def test_capabilities_a_user_keeps(skiff):
    pod = skiff.run_pod(host_network=True)
    security = {"run_as_user": {"value": 1000}, "capabilities": {"add_ambient_capabilities": ["NET_BIND_SERVICE"]}}
    _, text = skiff.output_of(pod, ["grep", "Cap", "/proc/self/status"], security=security)
    sets = {line.split(":")[0]: int(line.split()[1], 16) for line in text.splitlines()}
    bit = 1 << 10
    assert sets["CapAmb"] == bit and sets["CapEff"] == bit and sets["CapPrm"] == bit and sets["CapInh"] == bit
    plain = {"run_as_user": {"value": 1000}}
    _, text = skiff.output_of(pod, ["grep", "CapEff", "/proc/self/status"], security=plain)
    assert int(text.split()[1], 16) == 0


def test_paths_are_masked_and_read_only_as_asked(skiff):
    pod = skiff.run_pod(host_network=True)
    security = {"masked_paths": ["/proc/version", "/etc"], "readonly_paths": ["/proc/sys", "/tmp"]}
    container = skiff.run(pod, ["sleep", "100"], security=security)
    assert skiff.exec(container, ["cat", "/proc/version"]).stdout == b""
    assert skiff.exec(container, ["ls", "-A", "/etc"]).stdout == b""
    assert skiff.exec(container, ["touch", "/tmp/x"]).exit_code != 0
    assert skiff.exec(container, ["sh", "-c", "echo x > /proc/sys/kernel/domainname"]).exit_code != 0


@pytest.mark.parametrize(
    "path, mode", [("", 0), ("unconfined", 0), ("runtime/default", 2), ("docker/default", 2), ("localhost/%s", 2)]
)
def test_a_seccomp_profile_by_the_old_field(skiff, tmp_path, path, mode):
    profile = tmp_path / "profile.json"
    profile.write_text(json.dumps({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["syslog"], "action": "SCMP_ACT_ERRNO"}]}))
    pod = skiff.run_pod(host_network=True)
    security = {"seccomp": None, "seccomp_profile_path": path % profile if "%" in path else path}
    _, text = skiff.output_of(pod, ["grep", "Seccomp:", "/proc/self/status"], security=security)
    assert int(text.split()[1]) == mode


def test_what_stands_in_a_request_for_other_runtimes_changes_nothing(skiff):
    """CreateContainer's and PullImage's copy of the pod's config, and the pod's own settings for a process that it has not."""
    config = skiff.pod_config(host_network=True)
    config["linux"]["security_context"].update(
        run_as_user={"value": 1000}, run_as_group={"value": 1000}, readonly_rootfs=True, supplemental_groups=[7]
    )
    pod = skiff.run_pod(config)
    request = {"config": skiff.container_config(["sh", "-c", "id -u; touch /x"]), "sandbox_config": {"hostname": "other"}}
    container = skiff.cri.CreateContainer(pod_sandbox_id=pod, **request).container_id
    skiff.cri.StartContainer(container_id=container)
    assert (skiff.wait_exited(container).exit_code, skiff.text(container)) == (0, "0\n")


def test_an_updates_annotations_change_nothing(skiff):
    container = skiff.create(skiff.run_pod(host_network=True), ["true"], annotations={"a": "1"})
    more = {"a": "2", "io.kubernetes.cri.rdt-class": "fast"}
    skiff.cri.UpdateContainerResources(container_id=container, linux={"cpu_shares": 512}, annotations=more)
    assert dict(skiff.status(container).annotations) == {"a": "1"}
    assert skiff.status(container).resources.linux.cpu_shares == 512


# --- figures ---


def test_stats_carry_labels(skiff):
    pod = skiff.run_pod(name="marked", host_network=True, labels={"a": "1"}, annotations={"b": "2"})
    container = skiff.run(pod, ["sleep", "100"], name="one", labels={"c": "3"}, annotations={"d": "4"})
    told = skiff.cri.PodSandboxStats(pod_sandbox_id=pod).stats
    assert (told.attributes.id, told.attributes.metadata.name) == (pod, "marked")
    assert (dict(told.attributes.labels), dict(told.attributes.annotations)) == ({"a": "1"}, {"b": "2"})
    for one in (told.linux.containers[0], skiff.cri.ContainerStats(container_id=container).stats):
        assert (one.attributes.id, one.attributes.metadata.name) == (container, "one")
        assert (dict(one.attributes.labels), dict(one.attributes.annotations)) == ({"c": "3"}, {"d": "4"})


def test_streams_are_filtered(skiff):
    pods = [skiff.run_pod(name=name, host_network=True) for name in ("one", "two")]
    containers = [skiff.run(pod, ["sleep", "100"]) for pod in pods]
    cri = skiff.cri
    assert [s.attributes.id for b in cri.StreamPodSandboxStats(filter={"id": pods[1]}) for s in b.pod_sandbox_stats] == [pods[1]]
    found = [s.attributes.id for b in cri.StreamContainerStats(filter={"pod_sandbox_id": pods[0]}) for s in b.container_stats]
    assert found == [containers[0]]
    for name, count in ((harness.IMAGE, 1), ("registry.example/none:1", 0)):
        assert len([i for b in cri.StreamImages(filter={"image": {"image": name}}) for i in b.images]) == count


def test_memory_and_its_faults(skiff):
    pod = skiff.run_pod(host_network=True)
    container = skiff.run(pod, ["sh", "-c", "x=$(head -c 4000000 /dev/zero | tr '\\0' x); sleep 100"])

    seen = []

    def memory():
        seen.append(skiff.cri.ContainerStats(container_id=container).stats.memory)
        return seen[-1]

    try:
        grown = harness.wait_for(lambda: memory().rss_bytes.value > 2_000_000 and memory(), "the memory")
    except AssertionError:
        raise AssertionError((seen[-1], skiff.status(container), (harness.cgroups(skiff.cgroup_parent)))) from None
    assert grown.page_faults.value > 400 and grown.HasField("major_page_faults")
    assert not grown.HasField("available_bytes") or grown.available_bytes.value == 0  # it has no limit


def test_swap_is_told_where_it_is_counted(skiff):
    pod = skiff.run_pod(host_network=True)
    limits = {"memory_limit_in_bytes": 64 << 20, "memory_swap_limit_in_bytes": 96 << 20}
    container = skiff.run(pod, ["sleep", "100"], resources=limits)
    stats = skiff.cri.ContainerStats(container_id=container).stats
    counted = any(
        pathlib.Path(f"{directory}/{name}").exists()
        for directory in harness.cgroups(skiff.cgroup_parent)
        for name in ("memory.memsw.usage_in_bytes", "memory.swap.current")
    )
    assert stats.HasField("swap") == counted
    if counted:
        assert stats.swap.timestamp and stats.swap.swap_usage_bytes.value == 0
        assert stats.swap.swap_available_bytes.value == 32 << 20


def test_pressure_is_told_on_v2(skiff):
    if not pathlib.Path("/sys/fs/cgroup/cgroup.controllers").exists():
        pytest.skip("pressure is counted on cgroup v2")
    pod = skiff.run_pod(host_network=True)
    container = skiff.run(pod, ["sh", "-c", "while :; do :; done"])
    for kind in ("cpu", "memory", "io"):
        figures = getattr(skiff.cri.ContainerStats(container_id=container).stats, kind)
        if not pathlib.Path(f"/proc/pressure/{kind}").exists():
            pytest.skip("this kernel counts no pressure")
        assert figures.timestamp and figures.HasField("psi")
        for share in (figures.psi.Some, figures.psi.Full):
            assert 0 <= share.Avg10 <= 100 and 0 <= share.Avg60 <= 100 and 0 <= share.Avg300 <= 100 and share.Total >= 0


# --- images ---


def test_an_images_spec_and_user(skiff):
    request = {"image": harness.IMAGE, "annotations": {"a": "b"}, "runtime_handler": "other", "user_specified_image": "x"}
    image = skiff.cri.ImageStatus(image=request).image
    assert image.spec.image == image.id and image.size > 0 and harness.IMAGE in image.repo_tags
    assert not image.pinned and image.username == "" and not image.HasField("uid")
    assert list(skiff.cri.ListImages(filter={"image": request}).images) == [image]


def test_an_images_user_is_told(skiff, fake):
    for user, name, number in (("1000:5", "", 1000), ("someone", "someone", None), ("0", "", 0)):
        made = make_image([[folder("etc")]], config={"config": {"User": user}})
        fake.put_made("test/users", "1", made)
        skiff.cri.PullImage(image={"image": f"{fake.host}/test/users:1"})
        image = skiff.cri.ImageStatus(image={"image": f"{fake.host}/test/users:1"}).image
        assert image.username == name and (image.uid.value if image.HasField("uid") else None) == number
        skiff.cri.RemoveImage(image={"image": image.id})
