"""ExecSync and the log. Covers: exit codes and both outputs, environment and user, time-outs with trees that hold the
pipes, big outputs, commands that do not exist; partial lines, long lines, rotation without loss."""

import os
import pathlib
import re
import time

import grpc
import harness
import pytest


@pytest.fixture
def container(skiff):
    pod = skiff.run_pod(name="exec", host_network=True)
    return skiff.run(pod, ["sleep", "1000"], envs=[{"key": "WHO", "value": b"me"}])


def test_exec_gives_code_and_both_outputs(skiff, container):
    done = skiff.exec(container, ["sh", "-c", "echo $WHO; echo bad >&2; exit 5"])
    assert (done.exit_code, done.stdout, done.stderr) == (5, b"me\n", b"bad\n")
    done = skiff.exec(container, ["sh", "-c", "grep Seccomp: /proc/self/status; ls /proc/self/fd; cat /proc/self/cgroup"])
    is_v2 = os.path.exists("/sys/fs/cgroup/cgroup.controllers")  # then the container's own is the root of what it sees
    assert b"Seccomp:\t2" in done.stdout and (b"0::/exec." if is_v2 else container.encode()) in done.stdout


def test_a_timeout_is_told_as_one_and_kills_the_tree(skiff, container):
    script = "setsid sh -c 'sleep 777 & sleep 777' & sleep 777"
    began = time.monotonic()
    code, _ = harness.code_of(skiff.exec, container, ["sh", "-c", script], timeout=1)
    assert code == grpc.StatusCode.DEADLINE_EXCEEDED and time.monotonic() - began < 6 * harness.SLOW
    harness.wait_for(lambda: "sleep 777" not in harness.processes().values(), "the end of the tree")


@pytest.mark.parametrize("timeout", [0, 60])
def test_a_child_in_the_background_that_holds_the_pipes_does_not_hold_the_answer(skiff, container, timeout):
    began = time.monotonic()
    done = skiff.exec(container, ["sh", "-c", "sleep 778 & echo started; echo too >&2; exit 4"], timeout=timeout)
    assert time.monotonic() - began < 4 * harness.SLOW
    assert (done.exit_code, done.stdout, done.stderr) == (4, b"started\n", b"too\n")
    harness.wait_for(lambda: "sleep 778" in harness.processes().values(), "the child, which may not have been exec'ed yet")


def test_outputs_are_bounded(skiff, container):
    done = skiff.exec(container, ["sh", "-c", "yes 0123456789abcdef | head -c 20000000"], timeout=60)
    assert len(done.stdout) + len(done.stderr) <= (16 << 20) - (64 << 10) and len(done.stdout) > (15 << 20)
    assert done.stderr.startswith(b"skiff: the output is cut: one exec's is at most")


def test_the_output_of_many_execs_is_bounded_in_all(skiff, container):
    script = "yes 0123456789abcdef | head -c 8000000"
    execs = [skiff.cri.future("ExecSync", container_id=container, cmd=["sh", "-c", script], timeout=120) for _ in range(64)]
    for done in (call.result(timeout=120) for call in execs):
        assert done.exit_code == 0 and len(done.stdout) >= 60000
        assert (len(done.stdout) < 8000000) == (b"all execs together hold too much" in done.stderr)
    status = harness.read_proc(skiff.process.pid, "status")
    peak_kib = int(status.split("VmHWM:")[1].split()[0])
    assert harness.SANITIZED or peak_kib < 300 << 10, peak_kib
    assert len(skiff.exec(container, ["sh", "-c", script], timeout=60).stdout) == 8000000  # all was given back


def test_a_command_that_is_not_there(skiff, container):
    try:
        done = skiff.exec(container, ["nosuchcommand"])
        assert done.exit_code in (126, 127) and b"nosuchcommand" in done.stderr
    except grpc.RpcError as error:
        assert "nosuchcommand" in error.details()


def test_exec_needs_a_running_container_and_a_command(skiff, container):
    code, text = harness.code_of(skiff.exec, container, [])
    assert code == grpc.StatusCode.INVALID_ARGUMENT and "cmd" in text
    skiff.cri.StopContainer(container_id=container, timeout=0)
    code, text = harness.code_of(skiff.exec, container, ["true"])
    assert code == grpc.StatusCode.FAILED_PRECONDITION and "not running" in text


def test_a_cancelled_exec_is_killed(skiff, container):
    call = skiff.cri.future("ExecSync", container_id=container, cmd=["sleep", "779"], timeout=0)
    harness.wait_for(lambda: "sleep 779" in harness.processes().values(), "the exec")
    call.cancel()
    harness.wait_for(lambda: "sleep 779" not in harness.processes().values(), "its end")


def test_log_lines_have_the_cri_form(skiff):
    pod = skiff.run_pod(name="log", host_network=True)
    container = skiff.run(pod, ["sh", "-c", "echo one; echo two >&2; printf three"])
    skiff.wait_exited(container)
    lines = skiff.lines(container)
    assert sorted((stream, tag, text) for _, stream, tag, text in lines) == [
        ("stderr", "F", "two"), ("stdout", "F", "one"), ("stdout", "P", "three"),
    ]  # fmt: skip
    assert all(len(when) == 30 and when.endswith("Z") and when[10] == "T" for when, *_ in lines)
    assert oct(os.stat(skiff.status(container).log_path).st_mode & 0o777) in ("0o640", "0o600", "0o644")


def test_a_line_without_its_newline_arrives_within_a_second(skiff):
    pod = skiff.run_pod(name="partial", host_network=True)
    container = skiff.run(pod, ["sh", "-c", "printf 'no newline yet'; sleep 100"])
    began = time.monotonic()
    harness.wait_for(lambda: skiff.lines(container), "a partial line", 3)
    assert time.monotonic() - began < 1.5 * harness.SLOW
    assert skiff.lines(container)[0][2:] == ("P", "no newline yet")


def test_long_lines_are_cut_into_partial_ones(skiff):
    pod = skiff.run_pod(name="long", host_network=True)
    container = skiff.run(pod, ["sh", "-c", "head -c 40000 /dev/zero | tr '\\0' x; echo; echo end"])
    skiff.wait_exited(container)
    lines = skiff.lines(container)
    assert "".join(text for *_, text in lines) == "x" * 40000 + "end"
    assert all(len(text) <= 16384 for *_, text in lines) and lines[-1][2] == "F"


def test_rotation_loses_no_line(skiff):
    pod = skiff.run_pod(name="rotate", host_network=True)
    script = "i=0; while [ $i -lt 3000 ]; do echo line $i; i=$((i+1)); done; sleep 1000"
    container = skiff.run(pod, ["sh", "-c", script])
    path = skiff.status(container).log_path
    found = []
    for turn in range(5):
        time.sleep(0.02)
        os.rename(path, f"{path}.{turn}")
        skiff.cri.ReopenContainerLog(container_id=container)
        found.append(f"{path}.{turn}")

    def all_lines():
        text = "".join(open(name, encoding="utf-8").read() for name in [*found, path])
        return [line.split(" ", 3)[3] for line in text.splitlines()]

    harness.wait_for(lambda: len(all_lines()) >= 3000, "all lines")
    assert all_lines() == [f"line {i}" for i in range(3000)]


def test_a_log_that_is_as_long_as_it_may_be(bare, archive):
    """The container goes on, what it writes is dropped, and the file that comes after a rotation says how much."""
    bare.arguments = ["--container-log-max-bytes", "100000"]
    bare.start()
    bare.import_image(archive)
    script = "i=0; while [ $i -lt 40000 ]; do echo line $i of many; i=$((i+1)); done; touch /done; while [ ! -e /more ]; do sleep 0.05; done; echo after"
    container = bare.run(bare.run_pod(), ["sh", "-c", script])
    path = pathlib.Path(bare.status(container).log_path)
    harness.wait_for(lambda: bare.exec(container, ["ls", "/done"]).exit_code == 0, "all that it writes", 30)
    size = path.stat().st_size
    assert 100000 <= size < 100000 + (192 << 10), size
    before = bare.lines(container)
    path.rename(path.with_suffix(".1"))
    bare.cri.ReopenContainerLog(container_id=container, _deadline=10)
    bare.exec(container, ["touch", "/more"])
    bare.wait_exited(container)
    marker, after = bare.lines(container)
    lost = re.fullmatch(r"skiff: (\d+) lines of the log were lost here, (\d+) bytes", marker[3])
    assert after[3] == "after" and int(lost[1]) == 40000 - len(before)
    whole = sum(len(f"{before[0][0]} stdout F line {i} of many\n") for i in range(len(before), 40000))
    assert int(lost[2]) == whole
    bare.remove_all()
