#!/usr/bin/python3
"""idle_layers.py BUILD...: what ListContainerStats costs where writable layers are large, for each build (a directory with
bin/) in turn, in one run.

A hundred containers that sleep, with 10,000 files each in their writable layers; then ListContainerStats every eleven seconds,
as kubelet asks. Prints skiffd's processor time of the first call and of each later one, and whether the figures are right.
Run as root, in namespaces, with TMPDIR on a tmpfs of 6 GB: unshare --net --mount --propagation private."""

import os
import time

import builds
from builds import harness

CONTAINERS, FILES, CALLS, EVERY_S = 100, 10000, 4, 11


def fill(skiff, container):
    (home,) = (skiff.root / "rootfs").glob(f"*/{container}")
    top = home / "upper" / "many"
    top.mkdir(parents=True)
    for i in range(FILES):
        os.close(os.open(top / str(i), os.O_CREAT | os.O_WRONLY, 0o644))


def processor_ms(skiff):
    fields = harness.read_proc(skiff.process.pid, "stat").rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) * 1000 / os.sysconf("SC_CLK_TCK")


def measure(build, skiff):
    pod = skiff.run_pod(host_network=True)
    for _ in range(CONTAINERS):
        fill(skiff, skiff.run(pod, ["sleep", "100000"]))
    costs = []
    for _ in range(CALLS):
        before = processor_ms(skiff)
        stats = skiff.cri.ListContainerStats(_deadline=60).stats
        costs.append(processor_ms(skiff) - before)
        right = all(one.writable_layer.inodes_used.value >= FILES for one in stats)
        time.sleep(EVERY_S)  # fixed: the interval is what is measured
    print(f"{build}: first {costs[0]:.0f} ms, later {', '.join(f'{cost:.0f}' for cost in costs[1:])} ms of processor time; "
          f"figures {'right' if right else 'WRONG'}")  # fmt: skip
    skiff.remove_pod(pod)


builds.each(measure, "layers")
