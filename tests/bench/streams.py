#!/usr/bin/python3
"""streams.py [PART...]: what exec, attach and port-forward cost at two CRI endpoints in turns, in one run. Run by peers.sh:

    BENCH_SHELL='tests/bench/streams.py' tests/bench/peers.sh          # skiffd beside Debian's containerd + runc

Parts: out and in (a gigabyte through a session), forward (the same from and to a server in the pod's network), idle (memory
of an open session that does nothing); how long an exec takes is cri-bench's. A client of its own reads and writes frames without looking into them; digests are compared
apart. CPU is that of the runtime's own processes: all in its cgroups but the workload."""

import contextlib
import hashlib
import os
import pathlib
import statistics
import struct
import subprocess
import sys
import time
import uuid

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "integration"))
import cri_client  # noqa: E402
import spdy_client  # noqa: E402

IMAGE = "docker.io/library/busybox:latest"
BLOCKS = 3
PIECE, PIECES = 64 << 20, 16  # a file in the container, and how often it goes through
TOTAL = PIECE * PIECES
IDLE = 200
TICK_S = 1 / os.sysconf("SC_CLK_TCK")
WORKLOAD = ("cat", "sh", "yes", "head", "sleep", "true", "864213")
CHUNK = memoryview(bytearray(1 << 20))


class Side:
    """An endpoint, a pod on the host's network there, and a container that sleeps."""

    def __init__(self, name, endpoint, cgroup, directory):
        self.name, self.cgroup, self.directory = name, cgroup, directory
        self.cri = cri_client.Cri(endpoint)
        self.log_directory = pathlib.Path(directory) / f"logs-{name}"
        self.log_directory.mkdir()
        self.config = {
            "metadata": {"name": "streams", "uid": uuid.uuid4().hex, "namespace": "bench", "attempt": 0},
            "log_directory": str(self.log_directory),
            "linux": {"cgroup_parent": f"{cgroup}/pods", "security_context": {"namespace_options": {"network": 2}}},
        }
        self.pod = self.cri.RunPodSandbox(config=self.config, _deadline=60).pod_sandbox_id
        self.made = 0
        self.container = self.run(["sleep", "864213"])

    def run(self, command):
        self.made += 1
        config = {
            "metadata": {"name": f"c{self.made}", "attempt": 0},
            "image": {"image": IMAGE},
            "command": command,
            "log_path": f"{self.made}.log",
            "linux": {"security_context": {"namespace_options": {"network": 2, "pid": 1}}},
        }
        request = {"pod_sandbox_id": self.pod, "config": config, "sandbox_config": self.config}
        container = self.cri.CreateContainer(_deadline=60, **request).container_id
        self.cri.StartContainer(container_id=container, _deadline=60)
        return container

    def remove(self):
        self.cri.StopPodSandbox(pod_sandbox_id=self.pod, _deadline=60)
        self.cri.RemovePodSandbox(pod_sandbox_id=self.pod, _deadline=60)

    def processes(self):
        """pid -> command line of the runtime's own."""
        found = {}
        for tasks in pathlib.Path(f"/sys/fs/cgroup/cpuacct{self.cgroup}").rglob("cgroup.procs"):
            for pid in tasks.read_text().split():
                try:
                    words = pathlib.Path(f"/proc/{pid}/cmdline").read_bytes().decode().split("\0")
                except OSError:
                    continue
                if words[0].rsplit("/", 1)[-1] not in WORKLOAD and "864213" not in words and words[0] != "/pause":
                    found[int(pid)] = " ".join(words)
        return found

    def cpu_s(self):
        """Of processes that live at both ends of what is measured: those of all our measurements do."""
        total = 0
        for pid in self.processes():
            try:
                fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
            except OSError:
                continue
            total += (int(fields[11]) + int(fields[12])) * TICK_S
        return total

    def pss_kb(self, only=""):
        total = 0
        for pid, line in self.processes().items():
            if only not in line:
                continue
            text = pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text()
            total += int(text.split("\nPss:")[1].split()[0])
        return total


def table(title, unit, results, better):
    """results: side -> list of figures. The ratio is of medians: how many times better the first is."""
    medians = {name: statistics.median(values) for name, values in results.items()}
    first, *others = medians
    line = "  ".join(f"{name} {value:.4g}" for name, value in medians.items())
    ratios = [medians[first] / medians[o] if better == "more" else medians[o] / medians[first] for o in others if medians[first] and medians[o]]
    print(f"{title:44} {unit:10} {line}" + "".join(f"   {ratio:.1f} x" for ratio in ratios), flush=True)


# --- a gigabyte through ---


def drain(connection, number, total):
    """Reads frames from the transport itself, behind what the paused reader has, until stream `number` has brought total bytes."""
    have, at, inside, left, got = len(connection.unread), 0, False, 0, 0
    CHUNK[:have] = bytes(connection.unread)
    while got < total:
        if left == 0 and have - at >= 8:
            first, second = struct.unpack_from("!II", CHUNK, at)
            at, left, inside = at + 8, second & 0xFFFFFF, first == number
        step = min(left, have - at)
        got, at, left = got + (step if inside else 0), at + step, left - step
        if got >= total or (left == 0 and have - at >= 8):
            continue
        rest = bytes(CHUNK[at:have])
        CHUNK[: len(rest)] = rest
        count = connection.transport.recv_into(CHUNK[len(rest) :])
        assert count, f"the connection ended after {got} of {total} bytes"
        have, at = len(rest) + count, 0


def timed(side, work):
    """(MB/s, CPU seconds a GB) of TOTAL bytes."""
    cpu, began = side.cpu_s(), time.perf_counter()
    work()
    took, cpu = time.perf_counter() - began, side.cpu_s() - cpu
    return TOTAL / took / 1e6, cpu * (1 << 30) / TOTAL


def out_once(side):
    command = ["sh", "-c", f"read go; for i in $(seq {PIECES}); do cat /piece; done; read end"]
    with spdy_client.start(side.cri, side.container, command, stdin=True) as session:
        session.connection.pause()
        session.stdin.write(b"go\n")
        time.sleep(0.3)  # fixed: the reader is in a recv, which gives once more
        left = TOTAL - len(session.stdout.received)
        return timed(side, lambda: drain(session.connection, session.stdout.number, left))


def in_once(side):
    number = None
    with spdy_client.start(side.cri, side.container, ["sh", "-c", "cat > /dev/null; echo done"], stdin=True) as session:
        number = session.stdin.number
        frames = b"".join(spdy_client.data_frame(number, bytes(32768)) for _ in range(32))

        def work():
            for _ in range(TOTAL // (32 * 32768)):
                session.connection.transport.sendall(frames)
            session.stdin.close()
            session.stdout.read_until(b"done\n", 120)

        return timed(side, work)


def digests(side):
    """What comes out is what lies in the container, and what goes in what came."""
    there = spdy_client.exec(side.cri, side.container, ["sha256sum", "/piece"])[0].split()[0].decode()
    out, _, status = spdy_client.exec(side.cri, side.container, ["cat", "/piece"], seconds=120)
    assert spdy_client.exit_code(status) == 0 and hashlib.sha256(out).hexdigest() == there, "out"
    back = spdy_client.exec(side.cri, side.container, ["sha256sum"], stdin=out, seconds=120)[0].split()[0].decode()
    assert back == there, "in"


def measure_through(sides, title, once):
    speeds, cpus = {s.name: [] for s in sides}, {s.name: [] for s in sides}
    for _ in range(BLOCKS):
        for side in sides:
            speed, cpu = once(side)
            speeds[side.name].append(speed)
            cpus[side.name].append(cpu)
    table(f"{title}, throughput", "MB/s", speeds, "more")
    table(f"{title}, processor time", "s a GB", cpus, "less")


def measure_out(sides):
    for side in sides:
        made = spdy_client.exec(side.cri, side.container, ["sh", "-c", f"head -c {PIECE} /dev/urandom > /piece"], seconds=120)
        assert spdy_client.exit_code(made[2]) == 0, made
        digests(side)
    measure_through(sides, "1 GB out of a session", out_once)


def measure_in(sides):
    measure_through(sides, "1 GB into a session", in_once)


# --- port-forward ---


SERVER = """
import socket, sys
listener = socket.create_server(("127.0.0.1", 0))
print(listener.getsockname()[1], flush=True)
connection, chunk, total = listener.accept()[0], bytearray(1 << 20), int(sys.argv[2])
if sys.argv[1] == "send":
    connection.recv(1)
    for _ in range(total >> 20):
        connection.sendall(chunk)
else:
    while total:
        total -= connection.recv_into(chunk)
print("done", flush=True)
"""


@contextlib.contextmanager
def server(what):
    """A process of its own that serves one connection; gives its port and its stdout."""
    with subprocess.Popen([sys.executable, "-c", SERVER, what, str(TOTAL)], stdout=subprocess.PIPE, text=True) as process:
        try:
            yield int(process.stdout.readline()), process.stdout
        finally:
            process.kill()


def forward_out(side):
    with server("send") as (port, _), spdy_client.forward(side.cri, side.pod) as forward:
        data, _ = forward.connect(port)
        forward.connection.pause()
        data.write(b"x")
        time.sleep(0.3)  # fixed: the reader is in a recv, which gives once more
        left = TOTAL - len(data.received)
        return timed(side, lambda: drain(forward.connection, data.number, left))


def forward_in(side):
    with server("receive") as (port, output), spdy_client.forward(side.cri, side.pod) as forward:
        data, _ = forward.connect(port)
        frames = b"".join(spdy_client.data_frame(data.number, bytes(32768)) for _ in range(32))

        def work():
            for _ in range(TOTAL // (32 * 32768)):
                forward.connection.transport.sendall(frames)
            assert output.readline() == "done\n"

        return timed(side, work)


def measure_forward(sides):
    measure_through(sides, "1 GB out of a port-forward", forward_out)
    measure_through(sides, "1 GB into a port-forward", forward_in)


# --- memory ---


def measure_idle(sides):
    for side in sides:
        spdy_client.exec(side.cri, side.container, ["true"])
        before, stream = side.pss_kb(), side.pss_kb("skiff-stream")
        sessions = [spdy_client.start(side.cri, side.container, ["cat"], stdin=True) for _ in range(IDLE)]
        for session in sessions:
            session.stdin.write(b"x")
            session.stdout.read(1)
        time.sleep(1)  # fixed: what is measured is what stays
        each = (side.pss_kb() - before) / IDLE
        for session in sessions:
            session.connection.close()
        print(f"idle session, PSS of all of the runtime              {side.name}: {each:.1f} kB; skiff-stream before: {stream} kB", flush=True)


PARTS = {"out": measure_out, "in": measure_in, "forward": measure_forward, "idle": measure_idle}


def main():
    directory, group = os.environ["BENCH_DIR"], os.environ["CGROUP"]
    sides = [Side("skiff", os.environ["SKIFF"], f"{group}/a", directory)] if os.environ.get("SKIFF") else []
    if os.environ.get("PEER"):
        sides.append(Side("peer", os.environ["PEER"], f"{group}/b", directory))
    try:
        for name in sys.argv[1:] or PARTS:
            PARTS[name](sides)
    finally:
        for side in sides:
            side.remove()


main()
