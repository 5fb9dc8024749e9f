"""The packages, installed for real on an overlay of this machine's root. Covers: the Debian package's way from install over
an upgrade with running pods and a removal that leaves them to a purge after which no file and no process is left; an idle
removal; a tarball that is moved. tests/package/run.sh makes what is installed here."""

import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import time

import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT / "tests/integration"))

import cri_client  # noqa: E402
import harness  # noqa: E402

PACKAGES = pathlib.Path(os.environ.get("SKIFF_PACKAGES", "/nonexistent"))
pytestmark = pytest.mark.skipif(not PACKAGES.exists(), reason="tests/package/run.sh makes the packages first")
READY_SECONDS = 5
INSTALLED_MAX_KB = 30000
# Kernel's, dpkg's own records, and what apt and dpkg log and cache.
NOT_COMPARED = ("proc", "sys", "dev", "run", "tmp", "var/log", "var/cache", "var/lib/dpkg", "var/lib/apt")
# What tests/package/run.sh does not bring along in PATH.
PATH = "/usr/sbin:/usr/bin:/sbin:/bin"


def run(*command, check=True, **more):
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True, check=False, **more)
    assert not check or done.returncode == 0, (command, done.returncode, done.stdout, done.stderr)
    return done


class Node(harness.Skiff):
    """A root like this machine's, whose changes are its own. skiffd in it has its standard places."""

    def __init__(self, directory):
        self.top = pathlib.Path(directory) / "root"
        self.top.mkdir()
        run("mount", "-t", "tmpfs", "-o", "mode=755", "node", self.top)
        for name in ("proc", "sys", "dev", "run", "tmp", "root", "var/lib/systemd", "var/log", "var/tmp", "var/cache/apt/archives/partial", "overlay"):
            (self.top / name).mkdir(parents=True)
        for name in ("bin", "sbin", "lib", "lib64"):
            (self.top / name).symlink_to(f"usr/{name}")
        for name in ("usr", "etc", "opt"):
            above, work, here = (self.top / f"{kind}{name}" for kind in ("overlay/", "overlay/work-", ""))
            for path in (above, work, here):
                path.mkdir()
            run("mount", "-t", "overlay", "-o", f"lowerdir=/{name},upperdir={above},workdir={work}", "node", here)
        shutil.copytree("/var/lib/dpkg", self.top / "var/lib/dpkg", symlinks=True)
        (self.top / "var/lib/apt/lists/partial").mkdir(parents=True)
        for name in ("proc", "sys", "dev"):
            run("mount", "--rbind", f"/{name}", self.top / name)
            run("mount", "--make-rslave", self.top / name)  # or what is unmounted there is here
        run("mount", "-t", "tmpfs", "-o", "mode=755", "run", self.top / "run")
        (self.top / "run/netns").mkdir()
        run("mount", "--bind", self.top / "run/netns", self.top / "run/netns")
        run("mount", "--make-shared", self.top / "run/netns")
        super().__init__(self.top / "tmp")
        self.cni_conf = self.top / "etc/cni/net.d"
        self.cni_conf.mkdir(parents=True, exist_ok=True)
        self.logs = pathlib.Path("/var/log/pods")
        self.state = self.top / "run/skiff"
        self.endpoint = f"unix://{self.state}/skiff.sock"
        self.binaries = self.top / "usr/sbin"

    def command(self):
        return ["chroot", self.top, "/usr/sbin/skiffd"]

    def within(self, *command, **more):
        environment = {"PATH": PATH, "DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C.UTF-8", "HOME": "/root"}
        return run("chroot", self.top, *command, env=environment, **more)

    def files(self):
        skip = [part for name in NOT_COMPARED for part in ("-path", f"./{name}/*", "-prune", "-o")]
        found = run("find", ".", "-path", "./overlay", "-prune", "-o", *skip, "-print", cwd=self.top).stdout.splitlines()
        return set(found)

    def installed_version(self):
        return self.within("dpkg-query", "-W", "-f", "${Status} ${Version}", "skiff", check=False).stdout

    def unmount(self):
        run("umount", "--recursive", "--lazy", self.top)


@pytest.fixture
def node(tmp_path):
    made = Node(tmp_path)
    yield made
    if made.process and made.process.poll() is None:
        made.stop()
    for pid in programs_of(made.top):
        os.kill(pid, signal.SIGKILL)
    made.unmount()


def programs_of(top):
    """Processes whose program was started in the node, removed since or not: pid -> path."""
    found = {}
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            root, program = os.readlink(f"/proc/{pid}/root"), os.readlink(f"/proc/{pid}/exe")
        except OSError:
            continue
        if root == str(top) or program.startswith(f"{top}/"):
            found[int(pid)] = program
    return found


def deb():
    (path,) = PACKAGES.glob("skiff_*.deb")
    return path


def newer(path, into):
    """The same package in a higher version."""
    tree = into / "newer"
    run("dpkg-deb", "-R", path, tree)
    control = (tree / "DEBIAN/control").read_text()
    (tree / "DEBIAN/control").write_text(re.sub(r"^Version: .*$", "Version: 99.0", control, flags=re.M))
    run("dpkg-deb", "-b", "-Znone", tree, into / "newer.deb")
    shutil.rmtree(tree)
    return into / "newer.deb"


def put(node, path):
    return shutil.copy(path, node.top / "tmp") and f"/tmp/{path.name}"


def install(node, path):
    return node.within("apt-get", "install", "-y", "-q", "--no-install-recommends", put(node, path))


def test_what_it_is(node):
    (version,) = re.findall(r"^project\(skiff VERSION ([0-9.]+)", (ROOT / "CMakeLists.txt").read_text(), re.M)
    fields = run("dpkg-deb", "-f", deb(), "Version", "Architecture", "Depends", "Installed-Size").stdout
    assert f"Version: {version}\n" in fields and "libc6 (>=" in fields
    assert deb().name == f"skiff_{version}_{re.search('Architecture: (.*)', fields)[1]}.deb"
    assert int(re.search("Installed-Size: (.*)", fields)[1]) < INSTALLED_MAX_KB
    before = node.files()
    install(node, deb())
    paths = {path for path in node.files() - before if not (node.top / path).is_dir()}
    programs = {pathlib.Path(p).name for p in paths if re.match(r"./(usr/s?bin|opt/cni/bin)/", p)}
    assert programs == {"skiffd", "skiff", "skiff-pod", "skiff-pull", "skiff-unpack", "skiff-stream", "skiff-bridge"}
    pages = {path.split("/")[-1] for path in paths if path.startswith("./usr/share/man/")}
    assert {"skiff.1.gz", "skiff.toml.5.gz", "skiffd.8.gz"} | {f"{p}.8.gz" for p in programs if "-" in p} - {"skiff-bridge.8.gz"} == pages
    assert {f"./usr/share/{path}" for path in ("bash-completion/completions/skiff", "zsh/vendor-completions/_skiff",
                                               "fish/vendor_completions.d/skiff.fish")} <= paths  # fmt: skip
    assert "./etc/systemd/system/multi-user.target.wants/skiff.service" in paths
    assert "ExecStart=/usr/sbin/skiffd\n" in (node.top / "usr/lib/systemd/system/skiff.service").read_text()
    assert (node.top / "etc/skiff/skiff.toml").read_text() == (ROOT / "deploy/skiff.toml").read_text()
    node.within("dpkg", "--purge", "skiff")
    assert node.files() == before


def test_from_install_to_purge(node, archive, tmp_path):
    before = node.files()
    higher = newer(deb(), tmp_path)
    began = time.monotonic()
    install(node, deb())
    node.start()
    assert {c.type: c.status for c in node.cri.Status().status.conditions}["RuntimeReady"]
    assert time.monotonic() - began < READY_SECONDS * harness.SLOW
    node.write_conflist((ROOT / "deploy/10-skiff.conflist").read_text().replace("cni0", "skiffpack0").replace("10.88", "10.212"))
    shutil.copy(archive, node.top / "tmp/busybox.tar")
    node.within("skiff", "import", "/tmp/busybox.tar")
    pod = node.run_pod(log_directory="/var/log/pods/upgraded")
    container = node.run(pod, ["sh", "-c", "echo up; sleep 10000"])
    pid = node.info(container)["pid"]

    install(node, higher)  # nothing restarts skiffd here: no systemd
    assert node.installed_version().endswith(" 99.0")
    assert node.process.poll() is None
    node.stop()
    node.start()
    assert node.info(container)["pid"] == pid and node.status(container).state == 1
    assert node.exec(container, ["echo", "here"]).stdout == b"here\n"

    removed = node.within("dpkg", "--remove", "skiff").stdout
    assert len(re.findall("^skiff: ", removed, re.M)) == 1 and "pods run on" in removed
    assert node.process.wait(30) == 0
    assert os.path.exists(f"/proc/{pid}") and (node.top / "var/lib/skiff/pods.db").exists()
    assert not (node.top / "usr/sbin/skiffd").exists() and (node.top / "etc/skiff/skiff.toml").exists()

    node.within("dpkg", "--purge", "skiff")
    assert not os.path.exists(f"/proc/{pid}")
    assert programs_of(node.top) == {}
    assert os.listdir(node.top / "run/netns") == [] and not (node.top / "run/skiff").exists()
    left = {path for path in node.files() - before if not re.match(r"./(etc|var/lib)/cni(/|$)", path)}
    assert left == set() and before - node.files() == set()
    assert node.within("dpkg-query", "-W", "skiff", check=False).returncode != 0
    assert harness.cgroups(node.cgroup_parent) in ([], harness.cgroups("/nonexistent"))


def test_an_upgrade_keeps_a_changed_configuration(node, tmp_path):
    install(node, deb())
    with open(node.top / "etc/skiff/skiff.toml", "a", encoding="utf-8") as file:
        file.write("# ours\n")
    install(node, newer(deb(), tmp_path))
    assert (node.top / "etc/skiff/skiff.toml").read_text().endswith("# ours\n")
    removed = node.within("dpkg", "--remove", "skiff").stdout
    assert "pods run on" not in removed
    assert not (node.top / "var/lib/skiff").exists()


def test_a_purge_empties_a_disk_that_is_mounted_there(node):
    root = node.top / "var/lib/skiff"
    root.mkdir()
    run("mount", "-t", "tmpfs", "skiff", root)
    install(node, deb())
    node.start()
    node.within("dpkg", "--purge", "skiff")
    assert os.path.ismount(root) and os.listdir(root) == []


def test_a_tarball_runs_from_anywhere(tmp_path, archive):
    (path,) = PACKAGES.glob("skiff-*.tar.gz")
    run("tar", "-xzf", path, "-C", tmp_path)
    (folder,) = tmp_path.glob("skiff-*")
    folder = folder.rename(tmp_path / "any where")
    for program in ("skiffd", "skiff", "skiff-pull", "skiff-unpack", "skiff-stream"):
        loaded = run("ldd", folder / "sbin" / program).stdout
        outside = [line for line in loaded.splitlines() if "=>" in line and str(folder) not in line]
        assert all(re.match(r"\s*lib(c|m|resolv|dl|rt|pthread)\.so", line) for line in outside), outside
    daemon = harness.Skiff(tmp_path / "node", folder / "sbin")
    daemon.start()
    daemon.import_image(archive)
    before = daemon.census()
    pod = daemon.run_pod()
    status, text = daemon.output_of(pod, ["echo", "from a tarball"])
    assert status.exit_code == 0 and text == "from a tarball\n"
    daemon.remove_pod(pod)
    daemon.assert_nothing_left(before)

    def programs():
        checks = json.loads(daemon.cli("check", "--json", check=False).stdout)
        return [check for check in checks if check["name"] == "programs"][0]

    assert programs()["result"] == "ok"
    run("patchelf", "--replace-needed", "libisal.so.2", "libnone.so.2", folder / "sbin/skiff-unpack")
    assert programs()["result"] == "failed" and "skiff-unpack: libnone.so.2 => not found" in programs()["detail"]
    (folder / "sbin/skiff-pod").unlink()
    assert "sbin/skiff-pod: No such file" in programs()["detail"]
    daemon.stop()
