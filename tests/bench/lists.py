#!/usr/bin/python3
"""lists.py BUILD...: what lists of a thousand cost, for each build (a directory with bin/) in turn, in one run.

A hundred pods with ten containers each. Prints the p50 of each List... call, of its Stream... beside it (in turns, both
read as a stream of bytes: so what a client makes of them is the same), and of `skiff ps -a`, `skiff pods` and `skiff images`. Run as root, in
namespaces: unshare --net --mount --propagation private."""

import statistics
import subprocess
import time

import builds
from builds import harness

PODS, EACH, ROUNDS = 100, 10, 60
LISTS = {"ListPodSandbox": "StreamPodSandboxes", "ListContainers": "StreamContainers", "ListImages": "StreamImages",
         "ListContainerStats": "StreamContainerStats", "ListPodSandboxStats": "StreamPodSandboxStats"}  # fmt: skip
COMMANDS = (["ps", "-a"], ["pods"], ["images"])


def calls(skiff):
    """name -> a call that drains its answer."""
    methods, channel = harness.cri_client.methods(), skiff.cri.channel
    made = {}
    for name in [*LISTS, *LISTS.values()]:
        path, request, _, _ = methods[name]
        made[name] = (lambda call, empty: sum(map(len, call(empty))), channel.unary_stream(path), request().SerializeToString())
    for command in COMMANDS:
        arguments = [skiff.binaries / "skiff", "--endpoint", skiff.endpoint, *command]
        made["skiff " + " ".join(command)] = (lambda arguments, _: len(subprocess.check_output(arguments)), arguments, None)
    return made


def measure(build, skiff):
    pods = [skiff.run_pod(host_network=True) for _ in range(PODS)]
    for pod in pods:
        for _ in range(EACH):
            skiff.create(pod, ["sleep", "1"])
    times, sizes = {}, {}
    made = calls(skiff)
    for _ in range(ROUNDS):
        for name, (call, first, second) in made.items():
            began = time.monotonic()
            sizes[name] = call(first, second)
            times.setdefault(name, []).append((time.monotonic() - began) * 1000)
    print(f"{build}: {PODS} pods, {PODS * EACH} containers")
    for name in made:
        p50 = statistics.median(times[name])
        stream = LISTS.get(name)
        beside = f"; {stream} {statistics.median(times[stream]):.2f} ms, {statistics.median(times[stream]) / p50:.2f}x" if stream else ""
        if name not in LISTS.values():
            print(f"    {name:20} p50 {p50:7.2f} ms, {sizes[name]:8} bytes{beside}")
    for pod in pods:
        skiff.remove_pod(pod)


builds.each(measure, "lists")
