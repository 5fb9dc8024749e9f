"""skiff-stream alone, over raw SPDY: exec and attach. See stream_program.py."""

import json
import os
import subprocess
import threading

import pytest

from stream_program import *  # noqa: F403: the parts of a test


@pytest.fixture
def program():
    program = Program()
    yield program
    status, said = program.stop()
    assert (status, said) == (0, ""), said


def test_exec_exits(program):
    client, session = spdy_exec(program, ("out", "err"))
    program.opened(session)
    assert client.fields["X-Stream-Protocol-Version"] == "v5.channel.k8s.io"
    os.write(session.out_w, b"hello")
    os.write(session.err_w, b"oops")
    session.exit(7)
    end = Outcome(client, client.rest())
    assert (end.out, end.err) == (b"hello", b"oops")
    assert json.loads(end.error)["details"]["causes"] == [{"reason": "ExitCode", "message": "7"}]
    assert sorted(end.order[:2]) == ["fin stderr", "fin stdout"]
    assert end.order[2:] == ["status", "reset error", "goaway", "end"]


def test_input_goes_in_and_ends(program):
    client, session = spdy_exec(program, ("in", "out"))
    program.opened(session)
    client.data(client.stdin, b"one")
    client.data(client.stdin, b"two", fin=True)
    got = b""
    while part := os.read(session.in_r, 100):
        got += part
    assert got == b"onetwo"
    session.exit(0)
    end = Outcome(client, client.rest())
    assert end.error == b'{"metadata":{},"status":"Success"}'


def test_a_command_that_cannot_start(program):
    client, _ = spdy_exec(program, ("in", "out", "err"))
    program.send(FAILED, 'no "such"\n\x80 file', token=program.asked().token)
    end = Outcome(client, client.rest())
    status = json.loads(end.error)
    assert (status["code"], status["reason"]) == (500, "InternalError")
    assert status["message"] == 'Internal error occurred: error executing command in container: no "such"\n? file'
    assert end.order == ["status"] + [f"reset {name}" for name in ("stdin", "stdout", "stderr", "error")] + ["goaway", "end"]


STREAMS = [
    tuple(s for s, on in zip(("in", "out", "err", "tty"), bits) if on)
    for bits in [(i & 1, i & 2, i & 4, i & 8) for i in range(16)]
    if any(bits[:3]) and not (bits[2] and bits[3])
]


@pytest.mark.parametrize("protocol", [ALL, ALL[1:], ALL[2:], ALL[3:], ALL[4:]])
@pytest.mark.parametrize("streams", STREAMS, ids="-".join)
def test_exec_with_every_set_of_streams(program, streams, protocol):
    sock = program.connect()
    sock.sendall(spdy_request("/exec/" + program.token(EXEC, streams), protocol))
    status, fields, _ = answer_of(sock)
    assert (status, dict(fields)["X-Stream-Protocol-Version"]) == (101, protocol[0])
    client = Spdy(sock)
    names = {"in": "stdin", "out": "stdout", "err": "stderr", "tty": "resize"}
    for s in streams:
        if s != "tty" or protocol[0][1] not in "2h":
            setattr(client, names[s], client.open(names[s]))
    client.open("error")
    session = Session([s for s in streams if s != "tty"], pty="tty" in streams)
    program.opened(session)
    if "in" in streams:
        client.data(client.stdin, b"typed\n", fin="tty" not in streams)
        assert os.read(session.slave or session.in_r, 100) == b"typed\n"
    if "out" in streams:
        os.write(session.slave or session.out_w, b"said")
    if "err" in streams:
        os.write(session.err_w, b"warned")
    session.exit(3)
    end = Outcome(client, client.rest())
    expected = (b"said" if "out" in streams else b"", b"warned" if "err" in streams else b"")
    assert (end.out[-4:], end.err) == expected
    text = "command terminated with non-zero exit code: error executing command [sh -c exit 7], exit code 3"
    assert (json.loads(end.error)["message"] if protocol[0] in ALL[:2] else end.error.decode()) == text
    assert end.order[-2:] == ["goaway", "end"]
    assert "fin error" not in end.order


def test_v1_says_nothing_of_success(program):
    client, session = spdy_exec(program, ("out",), protocols=["nonsense", "channel.k8s.io,v4.channel.k8s.io"])
    program.opened(session)
    session.exit(0)
    assert Outcome(client, client.rest()).error == b""


def test_megabytes_both_ways_without_windows(program):
    client, session = spdy_exec(program, ("in", "out"))
    program.opened(session)
    data = os.urandom(3 << 20)
    cat = subprocess.Popen(["cat"], stdin=session.in_r, stdout=session.out_w)
    session.close_outs()

    def send():
        for at in range(0, len(data), 32768):
            client.data(client.stdin, data[at : at + 32768])
        client.data(client.stdin, fin=True)

    sender = threading.Thread(target=send)
    sender.start()
    out = b""
    while True:
        frame = client.next()
        out += frame[2]
        if frame[3]:
            break
    sender.join()
    assert cat.wait(10) == 0
    assert out == data
    session.exit(0)
    assert Outcome(client, client.rest()).error.endswith(b'"Success"}')


def test_the_first_size_is_there_before_anything_runs(program):
    client, session = spdy_exec(program, ("in", "out", "tty"))
    client.data(client.resize, b'{"Width":101,"Height":33}\n')
    program.opened(session)
    assert (session.rows, session.columns) == (33, 101)
    client.data(client.resize, b'{"Width":80')
    client.data(client.resize, b',"Height":25}\n{"Width":90,"Height":26}')
    until(lambda: tuple(os.get_terminal_size(session.slave)) == (90, 26))
    session.exit(0)
    assert Outcome(client, client.rest()).order[-2:] == ["goaway", "end"]


def test_a_client_that_sends_no_size_does_not_wait(program):
    began = time.monotonic()
    _, session = spdy_exec(program, ("out", "tty"))
    program.opened(session)
    assert time.monotonic() - began < 1
    assert (session.rows, session.columns) == (0, 0)
    session.close()


def test_a_child_that_keeps_the_pipe_does_not_keep_the_session(program):
    client, session = spdy_exec(program, ("out",))
    program.opened(session)
    held = os.dup(session.out_w)
    os.write(held, b"x" * 50000)
    session.exit(0)
    end = Outcome(client, client.rest())
    assert end.out == b"x" * 50000
    assert end.order[:2] == ["fin stdout", "status"]
    with pytest.raises(BrokenPipeError):
        os.write(held, b"y")
    os.close(held)


def test_a_supervisor_that_dies_means_killed(program):
    client, session = spdy_exec(program, ("out",))
    program.opened(session)
    session.close()
    assert json.loads(Outcome(client, client.rest()).error)["details"]["causes"][0]["message"] == "137"


def test_a_client_that_goes_ends_its_session(program):
    client, session = spdy_exec(program, ("in", "out"))
    program.opened(session)
    client.sock.close()
    assert session.heard() is None
    assert os.read(session.in_r, 1) == b""
    until(lambda: is_broken(session.out_w))  # they are closed one after another


def is_broken(pipe):
    try:
        os.write(pipe, b"y")
    except BrokenPipeError:
        return True
    return False


def test_pings_are_answered_and_input_waits_while_nobody_reads_it(program):
    client, session = spdy_exec(program, ("in", "out"))
    program.opened(session)
    for _ in range(3):
        client.data(client.stdin, b"i" * 32768)
    client.control(6, struct.pack(">I", 77))
    while (frame := client.next())[0] != "ping":
        pass
    assert frame == ("ping", 77)
    client.sock.setblocking(False)
    sent = 0
    with pytest.raises(BlockingIOError):
        for _ in range(10000):
            sent += client.sock.send(struct.pack(">II", client.stdin, 1 << 20) + b"j" * (1 << 20))
    assert program.smaps("Pss") < PSS_MOST
    # A FIN would stand behind all that the kernel still has to send: only a reset overtakes it.
    client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.sock.close()
    assert session.heard() is None


def test_a_peer_that_keeps_windows_gets_no_more_than_they_say(program):
    client, session = spdy_exec(program, ("out",))
    client.control(4, struct.pack(">III", 1, 7, 1000))
    client.control(6, struct.pack(">I", 1))
    assert client.next() == ("ping", 1)
    program.opened(session)
    os.write(session.out_w, b"o" * 3000)
    assert client.next()[2] == b"o" * 1000
    client.control(6, struct.pack(">I", 3))
    assert client.next() == ("ping", 3)
    client.control(9, struct.pack(">II", client.stdout, 500))
    assert client.next()[2] == b"o" * 500
    client.control(9, struct.pack(">II", client.stdout, 5000))
    assert client.next()[2] == b"o" * 1500
    session.exit(0)
    assert Outcome(client, client.rest()).order[-1] == "end"


def test_attach_ends_after_the_answer_to_the_last_line(program):
    client, session = spdy_exec(program, ("in", "out"), ATTACH)
    program.opened(session)
    client.data(client.stdin, b"question\n", fin=True)
    assert os.read(session.in_r, 100) == b"question\n"
    assert session.heard().kind == STDIN_END
    time.sleep(0.5)  # fixed: the answer comes later than containerd waits
    os.write(session.out_w, b"answer")
    end = Outcome(client, client.rest())
    assert (end.out, json.loads(end.error)["status"]) == (b"answer", "Success")
    session.close()


def test_attach_goes_on_when_the_container_lost_its_input_with_it(program):
    client, session = spdy_exec(program, ("in", "out"), ATTACH)
    program.opened(session)
    client.data(client.stdin, fin=True)
    assert session.heard().kind == STDIN_END
    session.say(STDIN_ENDED)
    time.sleep(1.5)  # fixed: longer than the quiet that ends others
    os.write(session.out_w, b"late")
    session.close()
    end = Outcome(client, client.rest())
    assert (end.out, json.loads(end.error)["status"]) == (b"late", "Success")


def test_attach_to_a_terminal_says_sizes_to_the_supervisor(program):
    client, session = spdy_exec(program, ("in", "out", "tty"), ATTACH)
    client.data(client.resize, b'{"Width":101,"Height":33}\n')
    program.opened(session)
    client.data(client.resize, b'{"Width":102,"Height":34}\n')
    heard = session.heard()
    assert (heard.kind, heard.first, heard.second) == (RESIZE, 34, 102)
    session.close()
    assert Outcome(client, client.rest()).order[-1] == "end"
