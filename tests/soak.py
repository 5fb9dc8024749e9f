#!/usr/bin/python3
"""soak.py [LIVES] [AT_ONCE]: lives of pods, by hand: not part of the tests.

Half of LIVES (2000) pods, AT_ONCE (4) at a time, are run, exec'ed into, stopped and removed while skiffd is killed at random
moments and started again; the other half under one skiffd that lives through it. Then descriptors, threads, memory,
directories, records, cgroups, namespaces, mounts and leases must be as they were. Prints the figures; fails when one has grown.
$SKIFF_BUILD says whose programs (build/release here)."""

import os
import pathlib
import random
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
INSIDE = """
ip link set lo up
mkdir -p /run/netns /var/lib/cni
mount -t tmpfs -o mode=755 netns /run/netns
mount --make-shared /run/netns
mount -t tmpfs -o mode=755 cni /var/lib/cni
exec /usr/bin/python3 "$@"
"""
if "SKIFF_SOAK_INSIDE" not in os.environ:
    os.environ["SKIFF_SOAK_INSIDE"] = "1"
    os.environ.setdefault("SKIFF_BUILD", str(ROOT / "build/release"))
    arguments = ["unshare", "--net", "--mount", "--propagation", "private", "bash", "-c", INSIDE, "soak", *sys.argv]
    os.execvp("unshare", arguments)

sys.path.insert(0, str(ROOT / "tests/integration"))

import grpc  # noqa: E402

import harness  # noqa: E402

GONE = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED, grpc.StatusCode.UNKNOWN)
WARM_LIVES = 100
RSS_GROWTH_MAX_KB = 2048


class Soak:
    def __init__(self, skiff, at_once):
        self.skiff, self.at_once = skiff, at_once
        self.lock = threading.Lock()
        self.left = self.done = self.number = self.kills = self.retries = 0
        self.failures = []

    def insist(self, call):
        """Calls until skiffd lives long enough to answer."""
        until = time.monotonic() + 120
        while True:
            try:
                return call()
            except (grpc.RpcError, ValueError) as error:  # ValueError: a channel that was closed under us
                gone = isinstance(error, ValueError) or error.code() in GONE
                if not gone or time.monotonic() > until:
                    raise
            self.retries += 1
            time.sleep(0.02)

    def run_pod(self, name):
        """A call whose answer was lost may have made the pod: then it is told by its name."""
        config = self.skiff.pod_config(name, host_network=random.random() < 0.7, labels={"soak": name})
        try:
            return self.insist(lambda: self.skiff.run_pod(config))
        except grpc.RpcError as error:
            if error.code() != grpc.StatusCode.ALREADY_EXISTS:
                raise
        wanted = {"label_selector": {"soak": name}}
        return self.insist(lambda: self.skiff.cri.ListPodSandbox(filter=wanted)).items[0].id

    def create(self, pod, name):
        config = self.skiff.container_config(["sleep", "600"], name=name)
        try:
            return self.insist(lambda: self.skiff.create(pod, config=config))
        except grpc.RpcError as error:
            if error.code() != grpc.StatusCode.ALREADY_EXISTS:
                raise
        return self.insist(lambda: self.skiff.cri.ListContainers(filter={"pod_sandbox_id": pod})).containers[0].id

    def start(self, container):
        try:
            self.insist(lambda: self.skiff.cri.StartContainer(container_id=container))
        except grpc.RpcError as error:  # its answer was lost: it runs already
            if error.code() != grpc.StatusCode.FAILED_PRECONDITION:
                raise
        state = self.insist(lambda: self.skiff.status(container)).state
        assert state == 1, f"the container is in state {state}"

    def live(self, number):
        name = f"soak{number}"
        pod = self.run_pod(name)
        container = self.create(pod, name)
        self.start(container)
        assert self.insist(lambda: self.skiff.exec(container, ["true"])).exit_code == 0
        if number % 3 == 0:
            self.insist(lambda: self.skiff.cri.ListPodSandboxStats())
        if number % 2:
            self.insist(lambda: self.skiff.cri.StopContainer(container_id=container, timeout=0))
            self.insist(lambda: self.skiff.cri.RemoveContainer(container_id=container))
        self.insist(lambda: self.skiff.cri.StopPodSandbox(pod_sandbox_id=pod))
        self.insist(lambda: self.skiff.cri.RemovePodSandbox(pod_sandbox_id=pod))
        shutil.rmtree(self.skiff.logs / name, ignore_errors=True)

    def worker(self):
        while True:
            with self.lock:
                if not self.left or self.failures:
                    return
                self.left -= 1
                self.number += 1
                number = self.number
            try:
                self.live(number)
            except Exception as error:  # whatever it was, it is told at the end
                self.failures.append(f"pod {number}: {error}")
                return
            self.done += 1

    def lives(self, n, killing):
        self.left = n
        threads = [threading.Thread(target=self.worker, daemon=True) for _ in range(self.at_once)]
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads):
            time.sleep(random.uniform(0.05, 1.5) if killing else 0.2)
            if killing and self.left:
                self.skiff.restart()
                self.kills += 1
        if self.failures:
            raise SystemExit("\n".join(self.failures) + "\n" + self.skiff.log_text())


def rows(path, tables):
    database = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    return {table: database.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in tables}


def tables(path):
    database = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    return [row[0] for row in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]


def figures(skiff):
    pid = skiff.process.pid
    status = dict(line.split(":\t", 1) for line in harness.read_proc(pid, "status").splitlines() if ":\t" in line)
    census = {key: len(value) for key, value in skiff.census().items()}
    pods, images = skiff.root / "pods.db", skiff.root / "images.db"
    return {
        "descriptors": len(os.listdir(f"/proc/{pid}/fd")),
        "threads": int(status["Threads"]),
        "rss kB": int(status["VmRSS"].split()[0]),
        "trash": len(list((skiff.root / "trash").glob("*"))),
        **{f"left {key}": value for key, value in census.items()},
        **{f"rows {key}": value for path in (pods, images) for key, value in rows(path, tables(path)).items()},
    }


def settled(skiff, before=None):
    """The pool's idle threads end after a while, and the trash is emptied in the background."""
    now = figures(skiff)
    until = time.monotonic() + 30
    while time.monotonic() < until:
        time.sleep(1)
        last, now = now, figures(skiff)
        same = {key for key in now if now[key] == last[key] or key == "rss kB"}
        if len(same) == len(now) and not now["trash"] and (not before or not grown(before, now)):
            return now
    return now


def grown(before, now):
    slack = {"rss kB": RSS_GROWTH_MAX_KB, "threads": 1}  # a pool's thread that another call has just woken
    return [key for key in now if now[key] > before.get(key, 0) + slack.get(key, 0)]


def main():
    n = int(sys.argv[1]) if len(sys.argv) > 1 else 2000
    at_once = int(sys.argv[2]) if len(sys.argv) > 2 else 4
    directory = pathlib.Path(tempfile.mkdtemp(prefix="skiff-soak."))
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4g", "soak", directory], check=True)
    archive = directory / "busybox.tar"
    subprocess.run([ROOT / "deploy/busybox-image.sh", archive], check=True, stdout=subprocess.DEVNULL)
    skiff = harness.Skiff(directory / "skiff", pathlib.Path(os.environ["SKIFF_BUILD"]) / "bin").start()
    try:
        skiff.import_image(archive)
        soak = Soak(skiff, at_once)
        began = time.monotonic()
        empty = settled(skiff)
        soak.lives(n // 2, killing=True)
        print(f"{soak.done} lives, {soak.kills} kills, {soak.retries} calls tried again,", end=" ")
        print(f"{time.monotonic() - began:.0f} s")
        skiff.restart()
        soak.lives(min(WARM_LIVES, n // 4), killing=False)
        warm = settled(skiff)
        began, done = time.monotonic(), soak.done
        soak.lives(n - n // 2, killing=False)
        took = time.monotonic() - began
        print(f"{soak.done - done} lives without a kill, {took:.0f} s, {(soak.done - done) / took:.1f} a second")
        last = settled(skiff, warm)
        print(f"{'':24}{'empty':>10}{'warm':>10}{'end':>10}")
        for key in last:
            print(f"{key:24}{empty.get(key, 0):>10}{warm.get(key, 0):>10}{last[key]:>10}")
        leaks = skiff.cli("check", "--leaks", check=False).stdout
        print(leaks, end="")
        left = [key for key in last if key.startswith(("left", "rows")) and last[key] > empty.get(key, 0)]
        bad = grown(warm, last) + left
        skiff.stop()
        sys.exit(f"grown: {', '.join(bad)}" if bad else 0)
    finally:
        if skiff.process.poll() is None:
            skiff.stop()
        subprocess.run(["umount", "-l", directory], check=False)
        directory.rmdir()


if __name__ == "__main__":
    main()
