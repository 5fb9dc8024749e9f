"""Attach. Covers: output with and without a terminal, input and its end (stdin_once or not), several clients, a client that does not
read, what is in the log, leaving and coming back, the last answer."""

import re

import grpc
import pytest

import harness
import spdy_client
import ws_client
from spdy_client import exit_code


@pytest.fixture
def pod(skiff):
    return skiff.run_pod(name="attach", host_network=True)


def sh(skiff, pod, script, **more):
    return skiff.run(pod, ["sh", "-c", script], **more)


def attach(skiff, container, **more):
    return spdy_client.attach(skiff.cri, container, **more)


def echoing(session, word):
    """Writes a word until the container echoes it: then the session is joined."""
    session.stdin.write(word + b"\n")
    return session.stdout.read_until(word)


ECHO = "while read x; do echo got $x; done; echo end; exit 5"


def test_both_outputs_come_and_the_end_is_a_success(skiff, pod):
    container = sh(skiff, pod, "read x; echo out $x; echo err >&2; exit 3", stdin=True)
    with attach(skiff, container, stdin=True) as session:
        session.stdin.write(b"word\n")
        out, err, status = session.wait()
    assert (out, err, exit_code(status)) == (b"out word\n", b"err\n", 0)
    assert skiff.wait_exited(container).exit_code == 3
    assert skiff.text(container, "stdout") == "out word\n" and skiff.text(container, "stderr") == "err\n"


def test_a_terminal(skiff, pod):
    script = "trap 'stty size' WINCH; tty; test -t 0 && test -t 1 && test -t 2 && echo is one; while :; do sleep 0.05; done"
    container = sh(skiff, pod, script, stdin=True, tty=True)
    harness.wait_for(lambda: "is one" in skiff.text(container), "the log of what it wrote before")
    with attach(skiff, container, stdin=True, tty=True, size=(91, 31)) as session:
        session.stdout.read_until(b"31 91\r\n")
        session.resize(120, 40)
        session.stdout.read_until(b"40 120\r\n")
        session.stdin.write(b"\x03")
        assert exit_code(session.wait()[2]) == 0
    assert skiff.wait_exited(container).exit_code == 130
    assert "/dev/pts/" in skiff.text(container) or "/dev/console" in skiff.text(container)
    assert skiff.text(container, "stderr") == ""


def test_what_the_container_has_not_is_refused(skiff, pod):
    plain = sh(skiff, pod, "sleep 100")
    code, text = harness.code_of(spdy_client.attach_url, skiff.cri, plain, stdin=True)
    assert code == grpc.StatusCode.INVALID_ARGUMENT and "stdin" in text
    assert harness.code_of(spdy_client.attach_url, skiff.cri, plain, tty=True)[0] == grpc.StatusCode.INVALID_ARGUMENT


def test_the_end_of_input_once(skiff, pod):
    container = sh(skiff, pod, ECHO, stdin=True, stdin_once=True)
    with attach(skiff, container, stdin=True) as session:
        session.feed(b"one\ntwo\n")
        out, _, status = session.wait()
    assert (out, exit_code(status)) == (b"got one\ngot two\nend\n", 0)
    assert skiff.wait_exited(container).exit_code == 5


def test_without_stdin_once_the_input_stays_open(skiff, pod):
    container = sh(skiff, pod, ECHO, stdin=True)
    for word in (b"first", b"second"):
        with attach(skiff, container, stdin=True) as session:
            echoing(session, word)
            session.stdin.close()
    harness.wait_for(lambda: skiff.text(container) == "got first\ngot second\n", "both")
    assert skiff.status(container).state == 1


def test_the_last_answer_is_not_lost(skiff, pod):
    """The client ends its input and the container answers only then."""
    for turn in range(10):
        container = sh(skiff, pod, "read x; sleep 0.1; echo answer to $x; exit 0", stdin=True, stdin_once=True)
        with attach(skiff, container, stdin=True) as session:
            session.feed(b"%d\n" % turn)
            assert session.wait()[0] == b"answer to %d\n" % turn


def test_all_clients_see_all(skiff, pod):
    container = sh(skiff, pod, ECHO, stdin=True)
    sessions = [attach(skiff, container, stdin=True) for _ in range(5)]
    try:
        for number, session in enumerate(sessions):
            echoing(session, b"joined %d" % number)
        for number, session in enumerate(sessions):
            session.stdin.write(b"hello from %d\n" % number)
        hellos = [b"got hello from %d\n" % number for number in range(len(sessions))]
        for session in sessions:
            session.connection.wait(lambda one=session: all(hello in one.stdout.received for hello in hellos), "all")
        sessions.pop().connection.close()
        echoing(sessions[0], b"once more")
        sessions[1].stdout.read_until(b"once more\n")
    finally:
        for session in sessions:
            session.connection.close()


def test_a_slow_client_holds_nobody_and_is_told_what_it_missed(skiff, pod):
    script = "read x; i=0; while [ $i -lt 60000 ]; do echo line $i of the many lines that there are; i=$((i+1)); done; echo done; read x"
    container = sh(skiff, pod, script, stdin=True)
    with attach(skiff, container, stdin=True) as slow, attach(skiff, container) as quick:
        slow.connection.pause()
        slow.stdin.write(b"go\n")
        quick_got = quick.stdout.read_until(b"done\n", 60 * harness.SLOW)
        harness.wait_for(lambda: skiff.text(container).endswith("done\n"), "the log", 60)
        slow.connection.resume()
        slow_got = slow.stdout.read_until(b"done\n", 20 * harness.SLOW) if b"done\n" in quick_got else b""
    everything = "".join(f"line {i} of the many lines that there are\n" for i in range(60000)) + "done\n"
    assert skiff.text(container) == everything, "the log has it all"
    told = re.search(rb"skiff: .*?(\d+) bytes", slow_got)
    assert told or slow_got.decode() == everything, slow_got[-300:]
    if told:
        assert 0 < int(told[1]) < len(everything)


def test_leaving_leaves_it_running_and_one_may_come_back(skiff, pod):
    container = sh(skiff, pod, ECHO, stdin=True)
    for turn in range(5):
        with attach(skiff, container, stdin=True) as session:
            echoing(session, b"turn %d" % turn)
    assert skiff.status(container).state == 1
    assert skiff.text(container) == "".join(f"got turn {turn}\n" for turn in range(5))


def test_one_who_only_watches_sees_the_end(skiff, pod):
    container = sh(skiff, pod, "for i in $(seq 30); do echo $i; sleep 0.05; done; printf last; exit 1")
    with attach(skiff, container) as session:
        out, _, status = session.wait()
    assert out.endswith(b"30\nlast") and exit_code(status) == 0
    skiff.wait_exited(container)
    code, _ = harness.code_of(spdy_client.attach_url, skiff.cri, container)
    assert code == grpc.StatusCode.FAILED_PRECONDITION


def test_a_websocket(skiff, pod):
    container = sh(skiff, pod, "read x; echo got $x; exit 2", stdin=True, stdin_once=True)
    with ws_client.Session(spdy_client.attach_url(skiff.cri, container, stdin=True)) as session:
        session.write(b"word\n")
        out, _, status = session.wait()
    assert (out, exit_code(status), session.close_code) == (b"got word\n", 0, 1000)


def test_it_outlives_skiffd(skiff, pod):
    container = sh(skiff, pod, ECHO, stdin=True)
    with attach(skiff, container, stdin=True) as session:
        echoing(session, b"before")
        skiff.kill()
        echoing(session, b"between")
        skiff.start()
        echoing(session, b"after")
        with attach(skiff, container, stdin=True) as other:
            echoing(other, b"new")
            session.stdout.read_until(b"new")


def test_with_stdin_once_an_answer_may_take_its_time(skiff, pod):
    container = sh(skiff, pod, "cat > /dev/null; sleep 4; echo late", stdin=True, stdin_once=True)
    with attach(skiff, container, stdin=True) as session:
        session.feed(b"all that there is")
        assert session.wait(30)[0] == b"late\n"
