"""Fixtures: `skiff` is a started daemon with busybox imported, and a census before and after; `archive` the image."""

import pathlib
import shutil
import subprocess

import pytest

import harness
import pull_harness
import registry

@pytest.fixture(scope="session")
def archive(tmp_path_factory):
    path = tmp_path_factory.mktemp("images") / "busybox.tar"
    subprocess.run([harness.ROOT / "deploy/busybox-image.sh", path], check=True)
    return path


@pytest.fixture
def bare(tmp_path):
    """A daemon that is not started yet and has no image."""
    daemon = harness.Skiff(tmp_path)
    yield daemon
    if daemon.process and daemon.process.poll() is None:
        daemon.stop()
    harness.remove_tree(tmp_path)


@pytest.fixture
def skiff(bare, archive):
    bare.start()
    bare.import_image(archive)
    before = bare.census()
    yield bare
    if bare.process.poll() is not None:
        bare.disarm()
        bare.start()
    bare.remove_all()
    bare.assert_nothing_left(before)
    bare.stop()
    assert not bare.sanitizers_found(), bare.sanitizers_found()


@pytest.fixture(scope="module")
def shared_daemon(tmp_path_factory):
    daemon = harness.Skiff(tmp_path_factory.mktemp("pulls"))
    daemon.arguments = ["--pull-stall-seconds", "1"]
    daemon.start()
    yield daemon
    daemon.stop()
    assert not daemon.sanitizers_found(), daemon.sanitizers_found()
    text = daemon.log_text()
    assert "secret" not in text and "c2VjcmV0" not in text, text
    harness.remove_tree(daemon.directory)


@pytest.fixture
def node(shared_daemon):
    """A daemon to pull with, of the whole module; its store is empty before and after."""
    made = pull_harness.Node(shared_daemon)
    yield made
    made.no_hosts()
    made.remove_all()


@pytest.fixture(scope="session")
def certificates(tmp_path_factory):
    return registry.Certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="session")
def debian(tmp_path_factory):
    """Debian's registry, over plain http."""
    with registry.DockerRegistry(tmp_path_factory.mktemp("docker")) as made:
        yield made


@pytest.fixture
def fake():
    with registry.Registry() as made:
        yield made


def stacks_of(pid):
    """What a process was doing, in the kernel, and with gdb, if it is there, outside."""
    for task in sorted(pathlib.Path(f"/proc/{pid}/task").glob("*")):
        try:
            yield f"{task.name} {(task / 'comm').read_text().strip()} {(task / 'stack').read_text().split()[1::2][:6]}"
        except OSError as error:  # it has just ended
            yield f"{task.name} {error}"
    if shutil.which("gdb"):
        command = ["gdb", "-batch", "-p", str(pid), "-ex", "thread apply all bt 12"]
        yield subprocess.run(command, capture_output=True, text=True, timeout=60, check=False).stdout


def pytest_exception_interact(call, report):
    """Of a test that hung (pytest-timeout): what each process of ours was doing."""
    if "Timeout >" not in str(call.excinfo.value):
        return
    for pid, line in harness.processes().items():
        if "skiff" in line and "pytest" not in line:
            report.sections.append((f"{pid} {line}"[:100], "\n".join(stacks_of(pid))))
