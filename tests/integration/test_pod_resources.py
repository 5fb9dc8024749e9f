"""UpdatePodSandboxResources: kubelet has resized a pod. Covers: what is told afterwards, also after a restart and a kill on
the way; what is left out; bad requests, which change nothing. What systemd then has of it: test_systemd.py."""

import grpc
import harness
import pytest

MIB = 1 << 20
OVERHEAD = {"cpu_shares": 51, "memory_limit_in_bytes": 20 * MIB}
RESOURCES = {
    "cpu_period": 100000, "cpu_quota": 150000, "cpu_shares": 1536, "memory_limit_in_bytes": 256 * MIB,
    "memory_swap_limit_in_bytes": 300 * MIB, "cpuset_cpus": "0", "cpuset_mems": "0", "oom_score_adj": 7,
    "hugepage_limits": [{"page_size": "2MB", "limit": 4 * MIB}], "unified": {"memory.high": "100000000"},
}  # fmt: skip


def told(skiff, pod):
    info = skiff.pod_info(pod)
    return info["overhead"], info["resources"]


@pytest.fixture
def pod(skiff):
    linux = {"overhead": OVERHEAD, "resources": {"cpu_shares": 512, "memory_limit_in_bytes": 64 * MIB}}
    return skiff.run_pod(host_network=True, linux={"cgroup_parent": skiff.cgroup_parent, **linux})


def test_what_a_pod_was_made_with_and_then_given_is_told(skiff, pod):
    assert told(skiff, pod) == (OVERHEAD, {"cpu_shares": 512, "memory_limit_in_bytes": 64 * MIB})
    container = skiff.run(pod, ["sleep", "1000"])
    skiff.cri.UpdatePodSandboxResources(pod_sandbox_id=pod, overhead={"cpu_shares": 2}, resources=RESOURCES)
    assert told(skiff, pod) == ({"cpu_shares": 2}, RESOURCES)
    assert skiff.status(container).state == 1
    skiff.restart()
    assert told(skiff, pod) == ({"cpu_shares": 2}, RESOURCES)
    assert skiff.pod_status(pod).status.state == 0 and skiff.status(container).state == 1
    skiff.cri.UpdatePodSandboxResources(pod_sandbox_id=pod[:12], resources={"cpu_shares": 3})
    assert told(skiff, pod) == ({"cpu_shares": 2}, {"cpu_shares": 3})
    skiff.cri.UpdatePodSandboxResources(pod_sandbox_id=pod, overhead={})
    assert told(skiff, pod) == ({}, {"cpu_shares": 3})


def test_a_pod_that_said_nothing(skiff):
    pod = skiff.run_pod(host_network=True)
    assert told(skiff, pod) == (None, None)
    skiff.cri.UpdatePodSandboxResources(pod_sandbox_id=pod)
    assert told(skiff, pod) == (None, None)
    skiff.cri.UpdatePodSandboxResources(pod_sandbox_id=pod, overhead=OVERHEAD)
    skiff.restart()
    assert told(skiff, pod) == (OVERHEAD, None)


@pytest.mark.parametrize("field", ["overhead", "resources"])
@pytest.mark.parametrize(
    "bad",
    [
        {"cpu_quota": -2}, {"cpu_quota": 999}, {"cpu_period": 7}, {"cpu_period": 2000000}, {"cpu_shares": -1},
        {"memory_limit_in_bytes": -2}, {"oom_score_adj": 1001}, {"cpuset_cpus": "0,,1"},
        {"cpuset_mems": "1-0"}, {"memory_limit_in_bytes": 64 * MIB, "memory_swap_limit_in_bytes": 32 * MIB},
        {"hugepage_limits": [{"page_size": "../x", "limit": 0}]},
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused_and_changes_nothing(skiff, pod, field, bad):
    before = told(skiff, pod)
    request = {"overhead": {"cpu_shares": 9}, "resources": {"cpu_shares": 9}, field: {"cpu_shares": 9, **bad}}
    code, text = harness.code_of(skiff.cri.UpdatePodSandboxResources, pod_sandbox_id=pod, **request)
    assert code == grpc.StatusCode.INVALID_ARGUMENT and field in text, text
    assert told(skiff, pod) == before
    config = skiff.pod_config(host_network=True, linux={"cgroup_parent": skiff.cgroup_parent, field: bad})
    code, text = harness.code_of(skiff.run_pod, config)
    assert code == grpc.StatusCode.INVALID_ARGUMENT and f"config.linux.{field}" in text, text


def test_only_a_pod_that_is_ready_has_resources(skiff, pod):
    for unknown in ("e" * 64, "no id"):
        code, _ = harness.code_of(skiff.cri.UpdatePodSandboxResources, pod_sandbox_id=unknown, resources={})
        assert code == grpc.StatusCode.NOT_FOUND
    code, _ = harness.code_of(skiff.cri.UpdatePodSandboxResources, resources={})
    assert code == grpc.StatusCode.INVALID_ARGUMENT
    before = told(skiff, pod)
    skiff.cri.StopPodSandbox(pod_sandbox_id=pod)
    code, text = harness.code_of(skiff.cri.UpdatePodSandboxResources, pod_sandbox_id=pod, resources={"cpu_shares": 9})
    assert code == grpc.StatusCode.FAILED_PRECONDITION and "not ready" in text
    assert told(skiff, pod) == before
