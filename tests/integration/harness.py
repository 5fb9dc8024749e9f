"""A skiffd under test: its own root, state, socket, cgroup parent and CNI configuration, and a census of what is left.

    def test_x(skiff):                      # the fixture of conftest.py: started, busybox imported, checked at the end
        pod = skiff.run_pod()
        container = skiff.run(pod, ["echo", "hello"])
        assert skiff.wait_exited(container).exit_code == 0
        skiff.remove_pod(pod)
"""

import glob
import json
import os
import pathlib
import shutil
import signal
import subprocess
import time
import uuid

import grpc

import cri_client

ROOT = cri_client.ROOT
BUILD = pathlib.Path(os.environ.get("SKIFF_BUILD", ROOT / "build/debug"))
BIN = BUILD / "bin"
SANITIZED = any(name in str(BUILD) for name in ("asan", "tsan"))
# How many times slower than an ordinary machine: an emulated one says so by SKIFF_SLOW.
SLOW = float(os.environ.get("SKIFF_SLOW", 4 if SANITIZED else 1))
KERNEL = tuple(int(part) for part in os.uname().release.split("-")[0].split(".")[:2])
IMAGE = "docker.io/library/busybox:latest"
CGROUP_ROOTS = [path for path in glob.glob("/sys/fs/cgroup/*") if os.path.isdir(path) and not os.path.islink(path)]
LEASES = pathlib.Path("/var/lib/cni/networks")
RUNTIME_DEFAULT = {"profile_type": 0}

CONFLIST = {
    "cniVersion": "1.0.0",
    "name": "skiff-test",
    "plugins": [
        {
            "type": "bridge",
            "bridge": "skifftest0",
            "isGateway": True,
            "ipMasq": False,
            "hairpinMode": True,
            "ipam": {"type": "host-local", "ranges": [[{"subnet": "10.211.0.0/20"}]], "routes": [{"dst": "0.0.0.0/0"}]},
        },
        {"type": "portmap", "capabilities": {"portMappings": True}},
    ],
}


def wait_for(check, what, seconds=10):
    """Polls check() until it is true, and returns what it gave."""
    until = time.monotonic() + seconds * SLOW
    while True:
        value = check()
        if value:
            return value
        assert time.monotonic() < until, f"timed out waiting for {what}"
        time.sleep(0.005)


def read_proc(pid, name):
    with open(f"/proc/{pid}/{name}", encoding="utf-8", errors="replace") as file:
        return file.read()


def processes(parent_cgroup=None, daemon=None):
    """pid -> command line of every process but kernel threads; with arguments only of a daemon's: in its cgroups, or its
    children, or plugins in this network namespace."""
    found = {}
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            line = read_proc(pid, "cmdline").replace("\0", " ").strip()
            state, ppid = read_proc(pid, "stat").rsplit(")", 1)[1].split()[:2]
            ours = parent_cgroup is None or parent_cgroup in read_proc(pid, "cgroup") or ppid == str(daemon)
            if "/usr/lib/cni/" in line:
                ours = os.readlink(f"/proc/{pid}/ns/net") == os.readlink("/proc/self/ns/net")
        except OSError:
            continue
        if line and state != "Z" and ours:
            found[int(pid)] = line
    return found


def mounts():
    with open("/proc/self/mountinfo", encoding="utf-8") as file:
        return sorted(line.split()[4] for line in file)


def links():
    out = subprocess.run(["ip", "-o", "link"], capture_output=True, text=True, check=True).stdout
    names = {line.split(": ")[1].split("@")[0] for line in out.splitlines()}
    return names - {"skifftest0"}  # the bridge is the plugin's, and stays by design


def leases():
    """What host-local keeps, but for the files that it leaves by design, and what skiff-bridge's index says of it."""
    kept = [p for p in LEASES.glob("*/*") if p.name not in ("lock", ".interfaces") and not p.name.startswith("last_reserved_ip.")]
    return sorted(map(str, [*kept, *LEASES.glob("*/.interfaces/*")]))


def cgroups(parent):
    return sorted(path for root in CGROUP_ROOTS for path in glob.glob(f"{root}{parent}*/**/", recursive=True))


class Skiff:
    def __init__(self, directory, binaries=BIN):
        self.directory = pathlib.Path(directory)
        self.binaries = pathlib.Path(binaries)
        self.root = self.directory / "root"
        self.state = self.directory / "state"
        self.logs = self.directory / "logs"
        self.cni_conf = self.directory / "net.d"
        self.cni_bin = "/usr/lib/cni"
        self.certs = self.directory / "certs.d"
        self.fault_file = self.directory / "fault"
        self.output = self.directory / "skiffd.log"
        self.socket = self.directory / "skiff.sock"
        self.endpoint = f"unix://{self.socket}"
        self.cgroup_parent = f"/skiff-test-{os.getpid()}-{uuid.uuid4().hex[:8]}"
        self.process = None
        self.cri = None
        self.attempt = 0
        self.arguments = []
        self.wrapper = []  # what skiffd is started by
        for path in (self.logs, self.cni_conf, self.certs):
            path.mkdir(parents=True, exist_ok=True)
        self.write_conflist(CONFLIST)

    # --- the daemon ---

    def write_conflist(self, conflist, name="10-test.conflist"):
        text = conflist if isinstance(conflist, str) else json.dumps(conflist)
        (self.cni_conf / name).write_text(text)

    def command(self):
        return [
            *self.wrapper, self.binaries / "skiffd",
            "--root", self.root, "--state", self.state, "--listen", self.endpoint,
            "--cni-conf-dir", self.cni_conf, "--cni-bin-dir", self.cni_bin,
            "--registry-config-dir", self.certs, "--config", self.directory / "none.toml",
            *self.arguments,
        ]  # fmt: skip

    def start(self, wait=True):
        environment = dict(os.environ, SKIFF_FAULT_FILE=str(self.fault_file))
        environment.setdefault("ASAN_OPTIONS", "detect_leaks=1:abort_on_error=0")
        environment.setdefault("UBSAN_OPTIONS", "print_stacktrace=1")
        (self.directory / "none.toml").touch()
        with open(self.output, "ab") as output:
            self.process = subprocess.Popen(self.command(), env=environment, stdout=output, stderr=output)
        if self.cri:
            self.cri.close()
        self.cri = cri_client.Cri(self.endpoint)
        if wait:
            self.wait_ready()
        return self

    def wait_ready(self):
        def ready():
            assert self.process.poll() is None, self.log_text()
            pid = self.state / "skiffd.pid"
            return pid.exists() and pid.read_text().strip() == str(self.process.pid)

        wait_for(ready, "skiffd", 20)
        self.cri.wait_ready(20)

    def log_text(self):
        return self.output.read_text(errors="replace")[-8000:] if self.output.exists() else ""

    def sanitizers_found(self):
        """The first report of a sanitizer in all that was written, by those too that were killed afterwards."""
        text = self.output.read_text(errors="replace") if self.output.exists() else ""
        signs = ("ERROR: AddressSanitizer", "ERROR: LeakSanitizer", "WARNING: ThreadSanitizer", "runtime error:")
        found = [text.index(sign) for sign in signs if sign in text]
        return text[min(found) :][:8000] if found else ""

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def wait_killed(self, seconds=20):
        """Waits for a death by a fault point."""
        code = self.process.wait(seconds * SLOW)
        assert code == -signal.SIGKILL, (code, self.log_text())

    def stop(self):
        if self.process and self.process.poll() is None:
            self.process.terminate()
            code = self.process.wait(60)
            assert code == 0, (code, self.log_text())

    def restart(self):
        if self.process.poll() is None:
            self.kill()
        return self.start()

    def arm(self, point, action="kill"):
        """The fault point that the daemon will meet: see base/fault.h."""
        temporary = self.fault_file.with_suffix(".new")
        temporary.write_text(f"{point}={action}\n")
        temporary.rename(self.fault_file)

    def disarm(self):
        self.fault_file.unlink(missing_ok=True)

    def cli(self, *arguments, check=True, timeout=60):
        done = subprocess.run(
            [self.binaries / "skiff", "--endpoint", self.endpoint, *arguments],
            capture_output=True, text=True, timeout=timeout * SLOW, check=False,
        )  # fmt: skip
        assert not check or done.returncode == 0, (arguments, done.returncode, done.stdout, done.stderr)
        return done

    def import_image(self, archive, name=""):
        return list(self.cri.ImportImage(path=str(archive), name=name, _deadline=60).image_ids)

    # --- pods and containers ---

    def pod_config(self, name=None, host_network=False, **more):
        self.attempt += 1
        name = name or f"pod{self.attempt}"
        security = more.pop("security", {})
        options = {"network": 2 if host_network else 0, "pid": 1, **security.pop("namespace_options", {})}
        config = {
            "metadata": {"name": name, "uid": f"uid-{name}", "namespace": "default", "attempt": 0},
            "hostname": name,
            "log_directory": str(self.logs / name),
            "linux": {
                "cgroup_parent": self.cgroup_parent,
                "security_context": {"namespace_options": options, **security},
                **more.pop("linux", {}),
            },
        }
        config.update(more)
        return config

    def run_pod(self, config=None, _deadline=60, **more):
        config = config or self.pod_config(**more)
        return self.cri.RunPodSandbox(config=config, _deadline=_deadline).pod_sandbox_id

    def container_config(self, command, name=None, image=IMAGE, security=None, resources=None, **more):
        self.attempt += 1
        name = name or f"c{self.attempt}"
        context = {"namespace_options": {"pid": 1}, "seccomp": RUNTIME_DEFAULT, **(security or {})}
        return {
            "metadata": {"name": name, "attempt": 0},
            "image": {"image": image},
            "command": command,
            "log_path": f"{name}/0.log",
            "linux": {"security_context": context, "resources": resources or {}},
            **more,
        }

    def create(self, pod, command=None, config=None, _deadline=60, **more):
        config = config or self.container_config(command, **more)
        request = {"pod_sandbox_id": pod, "config": config}
        return self.cri.CreateContainer(_deadline=_deadline, **request).container_id

    def run(self, pod, command, **more):
        container = self.create(pod, command, **more)
        self.cri.StartContainer(container_id=container, _deadline=60)
        return container

    def status(self, container):
        return self.cri.ContainerStatus(container_id=container).status

    def pod_of(self, container):
        """The id of a container's pod."""
        return [c for c in self.cri.ListContainers().containers if c.id == container][0].pod_sandbox_id

    def pod_status(self, pod, verbose=False):
        return self.cri.PodSandboxStatus(pod_sandbox_id=pod, verbose=verbose)

    def info(self, container):
        return json.loads(self.cri.ContainerStatus(container_id=container, verbose=True).info["info"])

    @staticmethod
    def cri_enum(name):
        return cri_client.pool().FindEnumTypeByName(f"runtime.v1.{name}").values

    def pod_info(self, pod):
        return json.loads(self.pod_status(pod, verbose=True).info["info"])

    def wait_exited(self, container, seconds=15):
        def exited():
            status = self.status(container)
            return status if status.state == 2 else None

        return wait_for(exited, f"the end of {container}", seconds)

    def exec(self, container, command, timeout=10, **more):
        return self.cri.ExecSync(container_id=container, cmd=command, timeout=timeout, _deadline=60, **more)

    def output_of(self, pod, command, **more):
        """Runs a container to its end: its status, and its log's text, both streams."""
        container = self.run(pod, command, **more)
        status = self.wait_exited(container)
        return status, self.text(container)

    def lines(self, container):
        """(time, stream, tag, text) of each line of the log."""
        path = pathlib.Path(self.status(container).log_path)
        found = []
        for line in path.read_bytes().split(b"\n")[:-1]:
            when, stream, tag, text = line.split(b" ", 3)
            found.append((when.decode(), stream.decode(), tag.decode(), text.decode(errors="replace")))
        return found

    def text(self, container, stream=None):
        return "".join(
            text + ("\n" if tag == "F" else "")
            for _, source, tag, text in self.lines(container)
            if stream in (None, source)
        )

    def remove_pod(self, pod):
        self.cri.StopPodSandbox(pod_sandbox_id=pod, _deadline=120)
        self.cri.RemovePodSandbox(pod_sandbox_id=pod, _deadline=120)

    def remove_all(self):
        for pod in self.cri.ListPodSandbox().items:
            self.remove_pod(pod.id)

    # --- the census ---

    def files(self):
        """What lies in root and state for pods."""
        found = [str(p.relative_to(self.directory)) for p in (self.state / "pods").glob("*")]
        found += [str(p.relative_to(self.directory)) for p in (self.root / "rootfs").glob("*/*")]
        return sorted(found)

    def census(self):
        return {
            "mounts": mounts(),
            "namespaces": sorted(os.listdir("/run/netns")),
            "links": sorted(links()),
            "leases": leases(),
            "cgroups": cgroups(self.cgroup_parent),
            "files": self.files(),
            "processes": sorted(processes(self.cgroup_parent, self.process.pid).values()),
        }

    def assert_nothing_left(self, before, seconds=5):
        """Some things end a moment later than the call: v1 cgroups, the trash."""

        def clean():
            return self.census() == before

        try:
            wait_for(clean, "a clean census", seconds)
        except AssertionError:
            now = self.census()
            left = {key: (before[key], now[key]) for key in now if now[key] != before[key]}
            raise AssertionError(f"left over: {left}") from None


def wait_gone(pid, seconds=20):
    """Until a process has ended and was reaped."""
    wait_for(lambda: not os.path.exists(f"/proc/{pid}"), f"the end of process {pid}", seconds)


def code_of(call, *arguments, **keywords):
    """(code, details) of a call that must fail."""
    try:
        call(*arguments, **keywords)
    except grpc.RpcError as error:
        return error.code(), error.details()
    raise AssertionError("the call did not fail")


def remove_tree(path):
    shutil.rmtree(path, ignore_errors=True)
