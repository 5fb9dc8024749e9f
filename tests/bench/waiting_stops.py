#!/usr/bin/python3
"""waiting_stops.py BUILD...: what stops in their grace cost, for each build (a directory with bin/) in turn, in one run.

A thousand containers that ignore SIGTERM, in ten pods; then a StopContainer with a grace of two minutes for each, over one
connection as kubelet has it. Prints how much memory skiffd and the skiff-pods have grown by a stop, skiffd's threads, the p50
of other calls before and meanwhile (a deadline of three seconds: "-" where most did not make it), and how long SIGTERM takes.
Run as root, in namespaces: unshare --net --mount --propagation private."""

import statistics
import subprocess
import time

import builds
import grpc
from builds import harness

PODS, EACH, GRACE, ROUNDS, DEADLINE = 10, 100, 120, 40, 3
SETTLE_S = 20  # idle threads of the pool end after 10 s, and every 15 s what is free goes back to the kernel
IGNORES = ["sh", "-c", "trap '' TERM; while :; do sleep 1000; done"]


def kib(pid, field):
    text = harness.read_proc(pid, "smaps_rollup")
    return int(text.split(f"\n{field}:")[1].split()[0])


def memory(skiff, supervisors):
    return kib(skiff.process.pid, "Rss"), sum(kib(pid, "Pss") for pid in supervisors)


def p50_ms(call):
    times, failed = [], 0
    for _ in range(ROUNDS):
        began = time.monotonic()
        try:
            call()
            times.append(time.monotonic() - began)
        except grpc.RpcError:
            failed += 1
            if failed == 3:
                return "-"
    return f"{statistics.median(times) * 1000:.2f}"


def others(skiff, pod, container):
    cri = skiff.cri
    resources = {"cpu_shares": 512}
    return {
        "Status": lambda: cri.Status(_deadline=DEADLINE),
        "ContainerStatus": lambda: cri.ContainerStatus(container_id=container, _deadline=DEADLINE),
        "ListContainers": lambda: cri.ListContainers(_deadline=DEADLINE),
        "Update": lambda: cri.UpdateContainerResources(container_id=container, linux=resources, _deadline=DEADLINE),
        "ExecSync": lambda: cri.ExecSync(container_id=container, cmd=["true"], timeout=2, _deadline=DEADLINE),
        "Run+StopPod": lambda: run_and_stop(skiff),
    }


def run_and_stop(skiff):
    pod = skiff.run_pod(host_network=True, _deadline=DEADLINE)
    skiff.cri.StopPodSandbox(pod_sandbox_id=pod, _deadline=DEADLINE)
    skiff.cri.RemovePodSandbox(pod_sandbox_id=pod, _deadline=DEADLINE)


def end(skiff):
    began = time.monotonic()
    skiff.process.terminate()
    try:
        return f"exit code {skiff.process.wait(20)} after {time.monotonic() - began:.2f} s"
    except subprocess.TimeoutExpired:
        skiff.kill()
        return "has not ended it in 20 s"


def measure(build, skiff):
    pods = [skiff.run_pod(host_network=True) for _ in range(PODS)]
    containers = [skiff.run(pod, IGNORES) for pod in pods for _ in range(EACH)]
    supervisors = [skiff.pod_info(pod)["supervisorPid"] for pod in pods]
    victim = skiff.run(pods[0], ["sleep", "100000"])
    calls = others(skiff, pods[0], victim)
    before = {name: p50_ms(call) for name, call in calls.items()}
    time.sleep(SETTLE_S)  # fixed: what is measured is what stays
    old = memory(skiff, supervisors)
    half = len(containers) // 2
    stops = [skiff.cri.future("StopContainer", container_id=c, timeout=GRACE) for c in containers[:half]]
    time.sleep(SETTLE_S)  # fixed: what is measured is what stays
    middle = memory(skiff, supervisors)
    stops += [skiff.cri.future("StopContainer", container_id=c, timeout=GRACE) for c in containers[half:]]
    time.sleep(SETTLE_S)  # fixed: what is measured is what stays
    new = memory(skiff, supervisors)
    threads = harness.read_proc(skiff.process.pid, "status").split("Threads:")[1].split()[0]
    meanwhile = {name: p50_ms(call) for name, call in calls.items()}
    waiting = sum(not stop.done() for stop in stops)
    n = len(stops)
    print(f"{build}: {waiting} of {n} stops wait; skiffd +{(new[0] - old[0]) / n:.2f} kB a stop ({old[0]}, {middle[0]} with half, {new[0]} kB), "
          f"skiff-pods {(new[1] - old[1]) / n:+.2f} kB a stop, {threads} threads; SIGTERM {end(skiff)}")  # fmt: skip
    for name, value in before.items():
        print(f"    {name:16} p50 {value:>8} ms before, {meanwhile[name]:>8} ms meanwhile")
    skiff.start()
    for pod in pods:
        skiff.remove_pod(pod)


builds.each(measure, "stops")
