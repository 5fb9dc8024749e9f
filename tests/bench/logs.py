"""logs.py - lines that a container logs for a second of CPU of its runtime: skiffd and skiff-pod beside containerd and its
shim. Run by peers.sh: BENCH_SHELL='python3 tests/bench/logs.py [lines]' tests/bench/peers.sh"""

import os
import pathlib
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "integration"))
import cri_client  # noqa: E402

LINES = int(sys.argv[1]) if len(sys.argv) > 1 else 300000
TEXT = "x" * 90
# A write a line, as a program does that flushes each; and 4 kB a write, as one does that does not.
WRITERS = {
    "a write a line": f"i=0; while [ $i -lt {LINES} ]; do echo {TEXT}; i=$((i+1)); done",
    "a line of 11 a write": f"i=0; while [ $i -lt {LINES} ]; do echo 0123456789; i=$((i+1)); done",
    "blocks": f"yes {TEXT} | head -n {LINES * 10}",
}
IMAGE = "docker.io/library/busybox:latest"


def cpu_seconds(names, of):
    """Of all processes of these names whose command line or cgroup has one of the texts `of`."""
    used_ns = 0
    for proc in pathlib.Path("/proc").glob("[0-9]*"):
        try:
            comm = (proc / "comm").read_text().strip()
            told = (proc / "cmdline").read_text() + (proc / "cgroup").read_text()
            if comm.startswith(tuple(names)) and any(text in told for text in of):
                used_ns += sum(int(task.read_text().split()[0]) for task in proc.glob("task/*/schedstat"))
        except OSError:
            pass  # it has ended
    return used_ns / 1e9


def measure(name, endpoint, daemons, bench_dir, cgroup):
    with cri_client.Cri(endpoint) as cri:
        pod_config = {
            "metadata": {"name": name, "uid": name, "namespace": "default"},
            "log_directory": str(bench_dir / f"{name}-logs"),
            "linux": {"cgroup_parent": cgroup, "security_context": {"namespace_options": {"network": 2, "pid": 1}}},
        }
        pod = cri.RunPodSandbox(config=pod_config).pod_sandbox_id
        try:
            all_writers(name, cri, daemons, bench_dir, cgroup, pod, pod_config)
        finally:
            cri.RemovePodSandbox(pod_sandbox_id=pod)
            for path in pathlib.Path("/sys/fs/cgroup").glob(f"*{cgroup}"):
                path.rmdir()


def all_writers(name, cri, daemons, bench_dir, cgroup, pod, pod_config):
    logs = bench_dir / f"{name}-logs"
    for attempt, (what, script) in enumerate(WRITERS.items()):
        config = {
            "metadata": {"name": "c", "attempt": attempt},
            "image": {"image": IMAGE},
            "command": ["sh", "-c", script],
            "log_path": f"{attempt}.log",
            "linux": {"security_context": {"namespace_options": {"network": 2, "pid": 1}}},
        }
        container = cri.CreateContainer(pod_sandbox_id=pod, config=config, sandbox_config=pod_config).container_id
        before, began = cpu_seconds(daemons, [str(bench_dir), cgroup, pod]), time.monotonic()
        cri.StartContainer(container_id=container)
        while cri.ContainerStatus(container_id=container).status.state != 2:
            time.sleep(0.2)
        took = time.monotonic() - began
        used = cpu_seconds(daemons, [str(bench_dir), cgroup, pod]) - before
        with open(logs / f"{attempt}.log", "rb") as log:
            lines = sum(1 for _ in log)
        (logs / f"{attempt}.log").unlink()
        print(f"{name:10} {what:22} {lines:8} lines, {lines / took:9.0f} a second, {lines / used:9.0f} "
              f"for a second of CPU ({used:.3f} s)", flush=True)  # fmt: skip
        cri.RemoveContainer(container_id=container)


def main():
    bench_dir = pathlib.Path(os.environ["BENCH_DIR"])
    measure("skiff", os.environ["SKIFF"], ["skiffd", "skiff-pod"], bench_dir, "/skiff-logs-a")
    if os.environ.get("PEER"):
        measure("containerd", os.environ["PEER"], ["containerd"], bench_dir, "/skiff-logs-b")


main()
