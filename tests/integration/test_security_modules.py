"""AppArmor and seccomp. Covers: seccomp by CRI's field and the one that it deprecates, and what of a profile is refused; CRI's field for an AppArmor profile and the one that it deprecates, for pods and containers, what
they refuse and what counts without them; where the kernel has AppArmor also: the profile of a container's processes, execs and
sessions, that it denies what it says, a profile that is not loaded or vanishes, ours and who loads it, the OCI spec, a restart,
a user namespace, a pod of an older build."""

import json
import os
import pathlib
import shutil
import subprocess

import grpc
import harness
import pytest

UNCONFINED, LOCALHOST = 1, 2
ENABLED = pathlib.Path("/sys/module/apparmor/parameters/enabled")
PROFILES = pathlib.Path("/sys/kernel/security/apparmor/profiles")
HAS_APPARMOR = ENABLED.exists() and ENABLED.read_text().startswith("Y") and PROFILES.exists()
LOADS = HAS_APPARMOR and shutil.which("apparmor_parser") is not None
# Where the kernel has it the profile may be missing, elsewhere all may be: the words differ.
WHY_NOT = "is not loaded on this node" if HAS_APPARMOR else "has no AppArmor"

needs_apparmor = pytest.mark.skipif(not LOADS, reason="no AppArmor: the kernel has none, or there is no apparmor_parser")
without_apparmor = pytest.mark.skipif(HAS_APPARMOR, reason="this kernel has AppArmor")

DENYING = """
profile {name} flags=(attach_disconnected,mediate_deleted) {{
  file,
  capability,
  network,
  signal,
  deny /etc/group r,
  deny /secret* w,
}}
"""


def localhost(name):
    return {"apparmor": {"profile_type": LOCALHOST, "localhost_ref": name}}


def parser(option, text):
    subprocess.run(["apparmor_parser", option, "--skip-cache"], input=text, text=True, check=True, capture_output=True)


def loaded():
    return [line.rsplit(" (", 1)[0] for line in PROFILES.read_text().splitlines()]


@pytest.fixture
def denying():
    """A profile of the node's; the text is what unloads it too."""
    name = f"skiff-test-{os.getpid()}"
    text = DENYING.format(name=name)
    parser("--replace", text)
    yield name
    if name in loaded():
        parser("--remove", text)


def profile_of(skiff, container):
    return harness.read_proc(skiff.info(container)["pid"], "attr/current").strip()


def inside(skiff, container, script):
    done = skiff.exec(container, ["sh", "-c", script])
    return done.exit_code, done.stdout.decode().strip()


OWN = "cat /proc/self/attr/current"
SLEEP = ["sleep", "1000"]


# --- what is refused, and passed over, everywhere ---


@pytest.mark.parametrize(
    "security, code, words",
    [
        (localhost("never-loaded"), grpc.StatusCode.FAILED_PRECONDITION, ["security_context.apparmor:", "never-loaded", WHY_NOT]),
        ({"apparmor_profile": "localhost/never-loaded"}, grpc.StatusCode.FAILED_PRECONDITION,
         ["security_context.apparmor_profile:", "never-loaded", WHY_NOT]),
        (localhost(""), grpc.StatusCode.INVALID_ARGUMENT, ["security_context.apparmor.localhost_ref is missing"]),
        (localhost("localhost/"), grpc.StatusCode.INVALID_ARGUMENT, ["security_context.apparmor.localhost_ref is missing"]),
        (localhost("a\nb"), grpc.StatusCode.INVALID_ARGUMENT, ["is no name of an AppArmor profile"]),
        (localhost("x" * 2000), grpc.StatusCode.INVALID_ARGUMENT, ["is no name of an AppArmor profile"]),
        ({"apparmor": {"profile_type": 9}}, grpc.StatusCode.INVALID_ARGUMENT, ["security_context.apparmor.profile_type: 9"]),
        ({"apparmor_profile": "docker-default"}, grpc.StatusCode.INVALID_ARGUMENT, ['apparmor_profile: "docker-default"']),
        ({"apparmor_profile": "localhost/"}, grpc.StatusCode.INVALID_ARGUMENT, ['apparmor_profile: "localhost/"']),
        # The newer field counts, whatever the older says.
        ({**localhost("never-loaded"), "apparmor_profile": "unconfined"}, grpc.StatusCode.FAILED_PRECONDITION, ["never-loaded"]),
    ],
)  # fmt: skip
def test_bad_profiles_are_refused_and_leave_nothing(skiff, security, code, words):
    pod = skiff.run_pod(host_network=True)
    files = skiff.files()
    found, text = harness.code_of(skiff.create, pod, SLEEP, security=security)
    assert found == code and all(word in text for word in words), text
    assert not skiff.cri.ListContainers().containers and skiff.files() == files
    if "apparmor_profile" in security:
        return  # a pod has no such field
    found, text = harness.code_of(skiff.run_pod, name="refused", host_network=True, security=security)
    assert found == code and all(word in text for word in words), text
    assert len(skiff.cri.ListPodSandbox().items) == 1


@pytest.mark.parametrize(
    "security",
    [{"apparmor": {"profile_type": UNCONFINED}}, {"apparmor_profile": "unconfined"},
     {"apparmor": {"profile_type": UNCONFINED}, "apparmor_profile": "localhost/never-loaded"}],
)  # fmt: skip
def test_unconfined_is_taken_everywhere(skiff, security):
    pod_security = {key: value for key, value in security.items() if key == "apparmor"}
    pod = skiff.run_pod(host_network=True, security=pod_security)
    container = skiff.run(pod, SLEEP, security=dict(security))
    assert "apparmorProfile" not in skiff.info(container)["runtimeSpec"]["process"]
    if HAS_APPARMOR:
        assert profile_of(skiff, container) == "unconfined"


@without_apparmor
@pytest.mark.parametrize("security", [{"apparmor": {"profile_type": 0}}, {"apparmor_profile": "runtime/default"}])
def test_the_default_is_passed_over_on_a_kernel_without_apparmor(skiff, security):
    pod_security = {key: value for key, value in security.items() if key == "apparmor"}
    pod = skiff.run_pod(host_network=True, security=pod_security)
    status, text = skiff.output_of(pod, ["echo", "runs"], security=dict(security))
    assert (status.exit_code, text) == (0, "runs\n")


# --- where the kernel has it ---


@needs_apparmor
@pytest.mark.parametrize("security", [{}, {"apparmor": {"profile_type": 0}}, {"apparmor_profile": "runtime/default"}])
def test_the_default_is_ours_for_main_process_exec_and_spec(skiff, security):
    pod = skiff.run_pod(security={key: value for key, value in security.items() if key == "apparmor"})
    container = skiff.run(pod, SLEEP, security=dict(security))
    for _ in range(2):
        assert profile_of(skiff, container) == "skiff-default (enforce)"
        assert inside(skiff, container, OWN) == (0, "skiff-default (enforce)")
        assert skiff.info(container)["runtimeSpec"]["process"]["apparmorProfile"] == "skiff-default"
        skiff.restart()
    # It can be signalled, and by its own.
    assert inside(skiff, container, "sleep 60 & kill -TERM $!; wait $!; echo $?")[1].endswith("143")
    skiff.cri.StopContainer(container_id=container, timeout=0)
    assert skiff.status(container).exit_code == 137


@needs_apparmor
def test_the_default_denies_what_a_container_must_not(skiff):
    """With all capabilities and no seccomp program, masks or read-only paths: what is left is the profile."""
    pod = skiff.run_pod()
    bare = {
        "capabilities": {"add_capabilities": ["ALL"]}, "seccomp": {"profile_type": 1},
        "masked_paths": ["/none"], "readonly_paths": ["/none"],
    }  # fmt: skip
    script = """
        try() { "$@" 2>/dev/null && echo "did: $*"; }
        try mount -t tmpfs t /tmp
        try dd if=/proc/kcore of=/dev/null bs=1 count=1
        write() { ( echo "$2" > $1 ) 2>/dev/null && echo "wrote $1"; }
        write /proc/sys/kernel/panic "$(cat /proc/sys/kernel/panic)"
        write /proc/sys/vm/swappiness "$(cat /proc/sys/vm/swappiness)"
        write /proc/sysrq-trigger h
        write /sys/kernel/mm/ksm/run "$(cat /sys/kernel/mm/ksm/run)"
        write /sys/fs/cgroup/none 1
        echo 0 > /proc/self/oom_score_adj && echo own
        echo x > /tmp/file && cat /tmp/file && ls / > /dev/null && echo fine
    """
    denied = skiff.run(pod, ["sh", "-c", script], security=dict(bare))
    skiff.wait_exited(denied)
    assert skiff.text(denied).split("\n") == ["own", "x", "fine", ""]
    free = skiff.run(pod, ["sh", "-c", script], security={**bare, "apparmor": {"profile_type": UNCONFINED}})
    skiff.wait_exited(free)
    assert "did: mount -t tmpfs t /tmp" in skiff.text(free) and "wrote /proc/sys/kernel/panic" in skiff.text(free)


@needs_apparmor
@pytest.mark.parametrize("how", ["bare", "prefixed", "deprecated"])
def test_a_profile_of_the_node_denies_what_it_says(skiff, denying, how):
    prefixed = f"localhost/{denying}"
    security = {"bare": localhost(denying), "prefixed": localhost(prefixed), "deprecated": {"apparmor_profile": prefixed}}[how]
    pod = skiff.run_pod(host_network=True)
    container = skiff.run(pod, SLEEP, security=dict(security))
    assert profile_of(skiff, container) == f"{denying} (enforce)"
    assert inside(skiff, container, OWN) == (0, f"{denying} (enforce)")
    assert inside(skiff, container, "cat /etc/passwd > /dev/null && echo read") == (0, "read")
    assert inside(skiff, container, "cat /etc/group")[0] == 1
    assert inside(skiff, container, "echo x > /secret-one")[0] == 1
    assert inside(skiff, container, "echo x > /other; cat /other") == (0, "x")
    other = skiff.run(pod, SLEEP, security={"apparmor": {"profile_type": UNCONFINED}})
    assert inside(skiff, other, "cat /etc/group > /dev/null && echo read") == (0, "read")


@needs_apparmor
def test_it_holds_with_no_new_privileges(skiff, denying):
    pod = skiff.run_pod(host_network=True)
    container = skiff.run(pod, SLEEP, security={**localhost(denying), "no_new_privs": True, "run_as_user": {"value": 1000}})
    assert profile_of(skiff, container) == f"{denying} (enforce)"
    assert inside(skiff, container, OWN) == (0, f"{denying} (enforce)")


@needs_apparmor
def test_it_holds_in_a_user_namespace(skiff, denying):
    if not skiff.cri.Status().runtime_handlers[0].features.user_namespaces:
        pytest.skip("no user namespaces for pods on this kernel")
    ids = [{"host_id": 200000, "container_id": 0, "length": 65536}]
    options = {"userns_options": {"mode": 0, "uids": ids, "gids": ids}}
    pod = skiff.run_pod(security={"namespace_options": options})
    container = skiff.run(pod, SLEEP, security={**localhost(denying), "namespace_options": {"pid": 1, **options}})
    assert profile_of(skiff, container) == f"{denying} (enforce)"
    assert inside(skiff, container, OWN) == (0, f"{denying} (enforce)")


@needs_apparmor
def test_a_privileged_container_is_unconfined_unless_it_names_a_profile(skiff, denying):
    pod = skiff.run_pod(host_network=True, security={"privileged": True})
    for security in ({}, {"apparmor": {"profile_type": 0}}, {"apparmor_profile": "runtime/default"}):
        container = skiff.run(pod, SLEEP, security={"privileged": True, **security})
        assert profile_of(skiff, container) == "unconfined"
    container = skiff.run(pod, SLEEP, security={"privileged": True, **localhost(denying)})
    assert profile_of(skiff, container) == f"{denying} (enforce)"


@needs_apparmor
def test_a_profile_that_vanishes_before_the_start_is_said_and_leaves_nothing(skiff, denying):
    pod = skiff.run_pod(host_network=True)
    container = skiff.create(pod, SLEEP, security=localhost(denying))
    parser("--remove", DENYING.format(name=denying))
    code, text = harness.code_of(skiff.cri.StartContainer, container_id=container)
    assert code == grpc.StatusCode.FAILED_PRECONDITION and denying in text and "is not loaded" in text
    status = skiff.status(container)
    assert (status.state, status.exit_code, status.reason) == (2, 128, "StartError") and denying in status.message
    skiff.cri.RemoveContainer(container_id=container)
    assert not skiff.cri.ListContainers().containers
    code, text = harness.code_of(skiff.create, pod, SLEEP, security=localhost(denying))
    assert code == grpc.StatusCode.FAILED_PRECONDITION and "is not loaded on this node" in text


@needs_apparmor
def test_ours_is_loaded_at_the_start_and_missed_when_it_goes(skiff):
    text = (harness.ROOT / "deploy/apparmor/skiff-default").read_text()
    pod = skiff.run_pod(host_network=True)
    assert "skiff-default" in loaded()
    parser("--remove", text)
    try:
        for security in ({}, {"apparmor": {"profile_type": 0}}):
            code, why = harness.code_of(skiff.create, pod, SLEEP, security=security)
            assert code == grpc.StatusCode.FAILED_PRECONDITION and "apparmor_parser -r /etc/apparmor.d/skiff-default" in why
        skiff.restart()
        assert "skiff-default" in loaded()
        assert profile_of(skiff, skiff.run(pod, SLEEP)) == "skiff-default (enforce)"
    finally:
        if "skiff-default" not in loaded():
            parser("--add", text)


@needs_apparmor
@pytest.mark.skipif(b"SKIFF_PROTOCOL" not in (harness.BIN / "skiffd").read_bytes(), reason="a build without fault points")
def test_a_pod_of_an_older_build_refuses_what_it_does_not_know(skiff, denying, monkeypatch):
    monkeypatch.setenv("SKIFF_PROTOCOL", "2-4")
    skiff.restart()
    pod = skiff.run_pod(host_network=True)
    monkeypatch.delenv("SKIFF_PROTOCOL")
    skiff.restart()
    container = skiff.create(pod, SLEEP, security=localhost(denying))
    code, text = harness.code_of(skiff.cri.StartContainer, container_id=container)
    assert code == grpc.StatusCode.FAILED_PRECONDITION and "the pod has to be made anew" in text
    # What nobody asked for it never had.
    plain = skiff.run(pod, SLEEP)
    assert profile_of(skiff, plain) == "unconfined" and inside(skiff, plain, "echo runs") == (0, "runs")


@needs_apparmor
def test_the_profile_that_we_ship_is_the_one_that_runs(skiff):
    """The file, loaded by hand as its head says, gives the kernel the same bytes as skiffd does."""
    path = harness.ROOT / "deploy/apparmor/skiff-default"
    skiff.run_pod(host_network=True)
    digests = "/sys/kernel/security/apparmor/policy/profiles"
    names = [name for name in os.listdir(digests) if name.startswith("skiff-default")]
    assert len(names) == 1
    before = pathlib.Path(digests, names[0], "sha1").read_text()
    abi = "abi <abi/3.0>,\n" if os.path.exists("/etc/apparmor.d/abi/3.0") else ""
    parser("--replace", abi + path.read_text())
    names = [name for name in os.listdir(digests) if name.startswith("skiff-default")]
    assert pathlib.Path(digests, names[0], "sha1").read_text() == before


# --- seccomp ---

STATUS = "grep -w Seccomp /proc/self/status | tr -d '\\t'; mkdir /made 2>/dev/null; echo $?"
NO_MKDIR = {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO"}]}


def with_seccomp(skiff, pod, security):
    """A container with just that, for the harness asks for the default."""
    config = skiff.container_config(SLEEP)
    del config["linux"]["security_context"]["seccomp"]
    config["linux"]["security_context"].update(security)
    return skiff.create(pod, config=config)


@pytest.mark.parametrize("deprecated", [False, True])
def test_seccomp_is_what_is_asked_for_main_process_and_exec(skiff, tmp_path, deprecated):
    path = tmp_path / "profile.json"
    path.write_text(json.dumps(NO_MKDIR))
    if deprecated:
        asked = {
            "default": {"seccomp_profile_path": "runtime/default"}, "docker": {"seccomp_profile_path": "docker/default"},
            "none": {"seccomp_profile_path": "unconfined"}, "empty": {},
            "local": {"seccomp_profile_path": f"localhost/{path}"},
        }  # fmt: skip
    else:
        asked = {
            "default": {"seccomp": {"profile_type": 0}, "seccomp_profile_path": "unconfined"},
            "none": {"seccomp": {"profile_type": 1}, "seccomp_profile_path": "runtime/default"},
            "local": {"seccomp": {"profile_type": LOCALHOST, "localhost_ref": str(path)}},
            "privileged": {"seccomp": {"profile_type": 0}, "privileged": True},
        }  # fmt: skip
    modes = {"default": 2, "docker": 2, "none": 0, "empty": 0, "local": 2, "privileged": 0}
    pod = skiff.run_pod(host_network=True, security={"privileged": True})
    for name, security in asked.items():
        container = with_seccomp(skiff, pod, security)
        skiff.cri.StartContainer(container_id=container)
        status = harness.read_proc(skiff.info(container)["pid"], "status")
        assert f"\nSeccomp:\t{modes[name]}\n" in status, name
        # mkdir works but where the profile says otherwise.
        assert inside(skiff, container, STATUS) == (0, f"Seccomp:{modes[name]}\n{int(name == 'local')}"), name


@pytest.mark.parametrize(
    "profile, words",
    [
        (None, "No such file"),
        ("{", "line 1"),
        ({"defaultAction": "SCMP_ACT_ALLOW", "flags": ["SECCOMP_FILTER_FLAG_LOG"]}, "SECCOMP_FILTER_FLAG_LOG"),
        ({"defaultAction": "SCMP_ACT_ALLOW", "listenerPath": "/run/x"}, "listenerPath"),
        ({"defaultAction": "SCMP_ACT_NOTIFY"}, "SCMP_ACT_NOTIFY"),
    ],
)
def test_a_seccomp_profile_that_cannot_be_is_refused(skiff, tmp_path, profile, words):
    path = tmp_path / "profile.json"
    if profile is not None:
        path.write_text(profile if isinstance(profile, str) else json.dumps(profile))
    pod = skiff.run_pod(host_network=True)
    for security in ({"seccomp": {"profile_type": LOCALHOST, "localhost_ref": str(path)}}, {"seccomp_profile_path": f"localhost/{path}"}):
        code, text = harness.code_of(with_seccomp, skiff, pod, security)
        assert code == grpc.StatusCode.INVALID_ARGUMENT and words in text and "seccomp profile" in text, text
    for security in ({"seccomp": {"profile_type": 9}}, {"seccomp_profile_path": "mine"}, {"seccomp": {"profile_type": LOCALHOST}}):
        code, text = harness.code_of(with_seccomp, skiff, pod, security)
        assert code == grpc.StatusCode.INVALID_ARGUMENT and "security_context.seccomp" in text, text
    assert not skiff.cri.ListContainers().containers
