"""Exec by streams. Covers: the calls (URLs, what they refuse, tokens), all combinations of streams, exit codes, bytes to the
last, terminals (size before anything runs, resize, TERM), what ends with the client and what outlives it, many sessions at once."""

import collections
import concurrent.futures
import hashlib
import os
import re
import time

import grpc
import pytest

import harness
import spdy_client
import ws_client
from spdy_client import exit_code

INVALID, NOT_FOUND = grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND
PRECONDITION, EXHAUSTED = grpc.StatusCode.FAILED_PRECONDITION, grpc.StatusCode.RESOURCE_EXHAUSTED
TOKENS_MAX = 1000


@pytest.fixture
def container(skiff):
    pod = skiff.run_pod(name="streams", host_network=True)
    return skiff.run(pod, ["sleep", "1000"], envs=[{"key": "WHO", "value": b"me"}])


def run(skiff, container, script, **more):
    return spdy_client.exec(skiff.cri, container, ["sh", "-c", script], **more)


def running(skiff, line):
    return line in harness.processes(skiff.cgroup_parent, skiff.process.pid).values()


# --- the calls ---


def test_a_url_is_on_the_loopback_and_its_token_is_long(skiff, container):
    url = spdy_client.exec_url(skiff.cri, container, ["true"])
    scheme, rest = url.split("://")
    host, kind, token = rest.split("/")
    assert scheme == "http" and host.startswith("127.0.0.1:") and kind == "exec" and len(token) >= 22
    assert url != spdy_client.exec_url(skiff.cri, container, ["true"])


def test_what_the_calls_refuse(skiff, container):
    pod = skiff.pod_of(container)
    exec_ = lambda **fields: harness.code_of(skiff.cri.Exec, **{"container_id": container, "cmd": ["true"], "stdout": True, **fields})[0]
    attach = lambda **fields: harness.code_of(skiff.cri.Attach, **{"container_id": container, "stdout": True, **fields})[0]
    assert exec_(container_id="nosuch") == attach(container_id="nosuch") == NOT_FOUND
    assert exec_(tty=True, stderr=True) == exec_(stdout=False) == exec_(cmd=[]) == INVALID
    assert attach(stdin=True) == attach(tty=True) == attach(stdout=False) == INVALID
    assert harness.code_of(skiff.cri.PortForward, pod_sandbox_id="nosuch")[0] == NOT_FOUND
    for port in (0, 65536, -1):
        assert harness.code_of(skiff.cri.PortForward, pod_sandbox_id=pod, port=[port])[0] == INVALID
    skiff.cri.StopContainer(container_id=container, timeout=0)
    assert exec_() == attach() == PRECONDITION
    skiff.cri.StopPodSandbox(pod_sandbox_id=pod)
    assert harness.code_of(skiff.cri.PortForward, pod_sandbox_id=pod)[0] == PRECONDITION


def test_a_token_is_good_once_and_for_its_own_path(skiff, container):
    url = spdy_client.exec_url(skiff.cri, container, ["true"])
    assert exit_code(spdy_client.Session(url).wait()[2]) == 0
    other = spdy_client.exec_url(skiff.cri, container, ["true"])
    for bad in (url, url[:-1], url[:-4] + "zzzz", url + "/x", url.replace("/exec/", "/attach/"), other.replace("/exec/", "/attach/")):
        with pytest.raises(spdy_client.Refused) as refused:
            spdy_client.connect(bad)
        assert refused.value.status == 404, bad


def test_open_tokens_are_bounded_and_come_back_when_used(skiff, container):
    urls = [spdy_client.exec_url(skiff.cri, container, ["true"]) for _ in range(TOKENS_MAX)]
    assert len(set(urls)) == TOKENS_MAX
    code, text = harness.code_of(spdy_client.exec_url, skiff.cri, container, ["true"])
    assert code == EXHAUSTED, text
    assert exit_code(spdy_client.Session(urls[0]).wait()[2]) == 0
    harness.wait_for(lambda: succeeds(spdy_client.exec_url, skiff.cri, container, ["true"]), "room for another")


def succeeds(call, *arguments):
    try:
        return bool(call(*arguments))
    except grpc.RpcError:
        return False


@pytest.mark.parametrize("headers, method, status", [((), "PUT", 405), ((("Content-Length", "5"),), "POST", 400)])
def test_other_requests_get_an_answer(skiff, container, headers, method, status):
    with pytest.raises(spdy_client.Refused) as refused:
        spdy_client.connect(spdy_client.exec_url(skiff.cri, container, ["true"]), method=method, headers=headers)
    assert refused.value.status == status


def test_a_protocol_is_chosen_by_the_clients_order(skiff, container):
    def choose(*protocols):
        with spdy_client.connect(spdy_client.exec_url(skiff.cri, container, ["true"]), protocols) as connection:
            return connection.protocol

    assert choose("v5.channel.k8s.io", "v4.channel.k8s.io", "v3.channel.k8s.io") in ("v5.channel.k8s.io", "v4.channel.k8s.io")
    assert choose("v9.channel.k8s.io", "v3.channel.k8s.io", "v4.channel.k8s.io") == "v3.channel.k8s.io"
    assert choose("v9.channel.k8s.io, v4.channel.k8s.io") == "v4.channel.k8s.io"
    for protocols, status in ((["v9.channel.k8s.io"], 403), ([], 400)):
        with pytest.raises(spdy_client.Refused) as refused:
            choose(*protocols)
        assert refused.value.status == status


# --- streams and exit codes ---


@pytest.mark.parametrize("stdin", [False, True])
@pytest.mark.parametrize("stdout", [False, True])
@pytest.mark.parametrize("stderr", [False, True])
def test_every_combination_of_streams(skiff, container, stdin, stdout, stderr):
    if not (stdin or stdout or stderr):
        return  # refused: test_what_the_calls_refuse
    with spdy_client.start(
        skiff.cri, container, ["sh", "-c", "echo out; echo err >&2; read x; echo got $x; exit 3"],
        stdin=stdin, stdout=stdout, stderr=stderr,
    ) as session:  # fmt: skip
        if stdin:
            session.feed(b"word\n")
        out, err, status = session.wait()
    assert exit_code(status) == 3
    assert out == (b"out\ngot word\n" if stdin else b"out\ngot\n") * stdout
    assert err == b"err\n" * stderr


@pytest.mark.parametrize("code", [0, 1, 7, 126, 255])
def test_exit_codes(skiff, container, code):
    assert exit_code(run(skiff, container, f"exit {code}")[2]) == code


@pytest.mark.parametrize("number", [1, 9, 15])
def test_a_signal_is_128_more(skiff, container, number):
    assert exit_code(run(skiff, container, f"kill -{number} $$")[2]) == 128 + number


@pytest.mark.parametrize("command, words", [("nosuch", "executable file not found in $PATH"), ("/etc/passwd", "permission denied")])
def test_a_command_that_cannot_be_run_is_told(skiff, container, command, words):
    for status in (
        spdy_client.exec(skiff.cri, container, [command])[2],
        ws_client.Session(spdy_client.exec_url(skiff.cri, container, [command])).wait()[2],
    ):
        assert status["status"] == "Failure" and status.get("reason") != "NonZeroExitCode", status
        assert words in status["message"] and command in status["message"], status


def test_the_last_bytes_come_before_the_exit_code(skiff, container):
    for turn in range(60):
        out, err, status = run(skiff, container, f"head -c {turn * 997} /dev/zero; printf end; printf last >&2; exit {turn}")
        assert (out[turn * 997 :], err, exit_code(status)) == (b"end", b"last", turn)


def test_eight_megabytes_both_ways(skiff, container):
    data = os.urandom(8 << 20)
    out, err, status = spdy_client.exec(skiff.cri, container, ["cat"], stdin=data, seconds=60 * harness.SLOW)
    assert hashlib.sha256(out).digest() == hashlib.sha256(data).digest()
    assert err == b"" and exit_code(status) == 0


def test_stdins_end_is_a_half_close(skiff, container):
    with spdy_client.start(skiff.cri, container, ["sh", "-c", "cat; echo more; echo err >&2"], stdin=True) as session:
        session.stdin.write(b"some ")
        assert session.stdout.read(5) == b"some "
        session.stdin.close()
        out, err, status = session.wait()
    assert (out, err, exit_code(status)) == (b"more\n", b"err\n", 0)


def test_a_program_that_closes_its_input_does_not_hold_the_rest(skiff, container):
    with spdy_client.start(skiff.cri, container, ["sh", "-c", "exec <&-; sleep 0.2; echo still; exit 4"], stdin=True) as session:
        session.feed(b"x" * (1 << 20))
        out, _, status = session.wait()
    assert (out, exit_code(status)) == (b"still\n", 4)


def test_a_program_that_ends_with_input_unread_ends_the_session(skiff, container):
    with spdy_client.start(skiff.cri, container, ["sh", "-c", "exit 6"], stdin=True) as session:
        session.feed(b"x" * (4 << 20))
        assert exit_code(session.wait()[2]) == 6


@pytest.mark.parametrize("protocol", ["v4.channel.k8s.io", "v4.base64.channel.k8s.io", "channel.k8s.io", "base64.channel.k8s.io", ""])
def test_websockets_know_the_same(skiff, container, protocol):
    command = ["sh", "-c", "read x; echo got $x; echo err >&2; exit 5"]
    url = spdy_client.exec_url(skiff.cri, container, command, stdin=True)
    with ws_client.Session(url, protocol) as session:
        session.write(b"word\n")
        out, err, status = session.wait()
        assert (out, err, session.close_code) == (b"got word\n", b"err\n", 1000)
        assert session.messages[0] == (ws_client.STDOUT, b"")
    if protocol.startswith("v4"):
        assert exit_code(status) == 5
    else:
        assert status["status"] == "Failure" and "exit code 5" in status["message"]


def test_a_websockets_messages_may_be_fragments_and_pings_are_answered(skiff, container):
    with ws_client.Session(spdy_client.exec_url(skiff.cri, container, ["head", "-c", "70000"], stdin=True)) as session:
        session.ping()
        session.send(ws_client.STDIN, b"a" * 40000, fragments=7)
        session.send(9, b"to nobody")
        session.send(ws_client.STDIN, b"b" * 30000)
        out, _, status = session.wait()
    assert out == b"a" * 40000 + b"b" * 30000 and exit_code(status) == 0


def test_v5_half_closes(skiff, container):
    url = spdy_client.exec_url(skiff.cri, container, ["sh", "-c", "cat; echo more"], stdin=True)
    with ws_client.Session(url, "v5.channel.k8s.io") as session:
        session.write(b"some ")
        session.end_stdin()
        out, _, status = session.wait()
    assert out == b"some more\n" and exit_code(status) == 0


# --- terminals ---


def test_a_terminals_size_is_there_before_the_program(skiff, container):
    for turn in range(10):
        with spdy_client.start(skiff.cri, container, ["sh", "-c", "stty size"], tty=True, stdin=True, size=(101, 33)) as session:
            out, err, status = session.wait()
            assert (out, err, exit_code(status)) == (b"33 101\r\n", b"", 0), turn


def test_a_terminal_is_one_and_its_resizes_arrive(skiff, container):
    script = "trap 'stty size' WINCH; tty; echo $TERM; test -t 0 && test -t 1 && test -t 2 && echo terminal; while :; do sleep 0.05; done"
    with spdy_client.start(skiff.cri, container, ["sh", "-c", script], tty=True, stdin=True, size=(80, 24)) as session:
        began = session.stdout.read_until(b"terminal\r\n").decode().split()
        assert began[0].startswith("/dev/pts/") and began[1:] == ["xterm", "terminal"]
        session.resize(132, 50)
        session.stdout.read_until(b"50 132\r\n")
        session.stdin.write(b"\x03")
        assert exit_code(session.wait()[2]) == 130


def test_a_size_that_is_none_harms_nobody(skiff, container):
    with spdy_client.start(skiff.cri, container, ["sh"], tty=True, stdin=True, size=(80, 24)) as session:
        for text in (b"{}\n", b'{"Width":70000,"Height":1}\n', b"rubbish\n", b'{"Width":-1,"Height":5}\n', b"[" * 5000):
            session.resize_stream.write(text)
        session.stdin.write(b"echo al''ive; exit 2\n")
        out, _, status = session.wait()
    assert b"alive" in out and exit_code(status) == 2


@pytest.mark.parametrize("stdin", [None, "open", "ended"])
def test_a_program_may_leave_its_terminal_and_come_back(skiff, container, stdin):
    script = "exec </dev/null >/dev/null 2>&1; sleep 1; echo back >/dev/tty; exit 3"
    command = ["sh", "-c", script]
    with spdy_client.start(skiff.cri, container, command, tty=True, stdin=bool(stdin), size=(80, 24)) as session:
        if stdin == "ended":
            session.stdin.close()
        out, _, status = session.wait()
    assert (out, spdy_client.exit_code(status)) == (b"back\r\n", 3)


# --- what ends with whom ---


def test_a_client_that_vanishes_hangs_up_its_process(skiff, container):
    with spdy_client.start(skiff.cri, container, ["sh", "-c", "trap 'exit 0' HUP; echo up; sleep 781 & wait"]) as session:
        session.stdout.read_until(b"up\n")
    harness.wait_for(lambda: not running(skiff, "sleep 781"), "the end of what it had started")


def test_a_client_that_vanishes_behind_input_that_nobody_reads_is_seen(skiff, container):
    session = spdy_client.start(skiff.cri, container, ["sleep", "4711"], stdin=True)
    harness.wait_for(lambda: running(skiff, "sleep 4711"), "the process")
    transport = session.connection.transport
    transport.setblocking(False)
    piece = spdy_client.data_frame(session.stdin.number, bytes(32768))
    sent = 1
    try:
        while sent:
            sent = transport.send(piece)  # until its end, which comes behind all of it, cannot come
            piece = piece[sent:] or spdy_client.data_frame(session.stdin.number, bytes(32768))
    except BlockingIOError:
        pass
    session.connection.close()
    harness.wait_for(lambda: not running(skiff, "sleep 4711"), "its end", 20)


def test_a_tree_that_ignores_the_hang_up_is_killed(skiff, container):
    script = "trap '' HUP TERM; setsid sh -c \"trap '' HUP TERM; echo up; sleep 782; sleep 782\" & sleep 782; sleep 782"
    began = time.monotonic()
    with spdy_client.start(skiff.cri, container, ["sh", "-c", script], stdin=True, tty=True) as session:
        session.stdout.read_until(b"up\r\n")
    harness.wait_for(lambda: not running(skiff, "sleep 782"), "its end")
    assert time.monotonic() - began < 8 * harness.SLOW


def test_a_child_in_the_background_does_not_hold_the_session(skiff, container):
    began = time.monotonic()
    out, _, status = run(skiff, container, "sleep 783 & echo started; exit 4")
    assert (out, exit_code(status)) == (b"started\n", 4) and time.monotonic() - began < 4 * harness.SLOW
    assert running(skiff, "sleep 783"), "as with docker and runc it lives on"


def test_what_ends_in_the_background_leaves_no_cgroup_for_good(skiff, container):
    before = harness.cgroups(skiff.cgroup_parent)
    for _ in range(12):
        run(skiff, container, "sleep 1.5 > /dev/null 2>&1 &")
    harness.wait_for(lambda: not running(skiff, "sleep 1.5"), "their end")
    for _ in range(3):
        run(skiff, container, "true")
    harness.wait_for(lambda: harness.cgroups(skiff.cgroup_parent) == before, "their cgroups' end")


def test_nothing_of_an_exec_is_left(skiff, container):
    before = harness.cgroups(skiff.cgroup_parent)
    run(skiff, container, "true")  # skiffd and skiff-stream have all of their own open
    files = open_files(skiff)
    for _ in range(10):
        run(skiff, container, "true")
    with spdy_client.start(skiff.cri, container, ["sleep", "784"]) as session:
        harness.wait_for(lambda: running(skiff, "sleep 784"), "the exec")
        assert session.stdout
    harness.wait_for(lambda: not running(skiff, "sleep 784"), "its end")
    harness.wait_for(lambda: harness.cgroups(skiff.cgroup_parent) == before, "its cgroup's end")
    try:
        harness.wait_for(lambda: open_files(skiff).total() <= files.total(), "its descriptors' end")
    except AssertionError:
        assert open_files(skiff) == files  # says which


def open_files(skiff):
    """What skiffd and its helpers have open, how many of each kind, a program; but for the database, which has one more while
    two speak with it."""
    helpers = {pid: line.split()[0] for pid, line in harness.processes(skiff.cgroup_parent, skiff.process.pid).items() if "skiff-" in line}
    links = collections.Counter(
        (program, re.sub(r"\d+", "N", os.readlink(f"/proc/{pid}/fd/{fd}")))
        for pid, program in {skiff.process.pid: "skiffd", **helpers}.items()
        for fd in os.listdir(f"/proc/{pid}/fd")
    )
    return collections.Counter({key: count for key, count in links.items() if not key[1].endswith(".db")})


def test_a_container_that_is_stopped_ends_its_execs(skiff, container):
    with spdy_client.start(skiff.cri, container, ["sleep", "785"]) as session:
        harness.wait_for(lambda: running(skiff, "sleep 785"), "the exec")
        skiff.cri.StopContainer(container_id=container, timeout=0)
        assert exit_code(session.wait()[2]) == 137


def test_many_sessions_at_once(skiff, container):
    def one(number):
        data = bytes([number % 256]) * 3000
        return spdy_client.exec(skiff.cri, container, ["sh", "-c", f"cat; exit {number}"], stdin=data, seconds=120 * harness.SLOW)

    with concurrent.futures.ThreadPoolExecutor(40) as pool:
        for number, (out, err, status) in enumerate(pool.map(one, range(120))):
            assert (out, err, exit_code(status)) == (bytes([number % 256]) * 3000, b"", number)


def test_a_hundred_open_sessions_all_answer(skiff, container):
    sessions = []
    try:
        for number in range(100):
            sessions.append(spdy_client.start(skiff.cri, container, ["cat"], stdin=True))
            sessions[-1].stdin.write(b"%d\n" % number)
        for number, session in enumerate(sessions):
            assert session.stdout.read_until(b"\n") == b"%d\n" % number
        for session in sessions:
            session.stdin.close()
        assert all(exit_code(session.wait()[2]) == 0 for session in sessions)
    finally:
        for session in sessions:
            session.connection.close()
