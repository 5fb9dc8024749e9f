"""skiff-stream alone, over raw sockets: see stream_program.py."""

import json
import os

import pytest

from stream_program import *  # noqa: F403: the parts of a test


@pytest.fixture
def program():
    program = Program()
    yield program
    assert program.stop() == 0, program.process.stderr


def spdy_exec(program, streams, kind=EXEC, protocols=ALL, **made):
    """A SPDY session whose process runs: (client, session)."""
    sock = program.connect()
    sock.sendall(spdy_request(f"/{PATHS[kind]}/" + program.token(kind, streams), protocols))
    status, fields, _ = answer_of(sock)
    assert status == 101, status
    client = Spdy(sock)
    client.fields = dict(fields)
    client.open("error")
    names = [{"in": "stdin", "out": "stdout", "err": "stderr", "tty": "resize"}[s] for s in streams]
    for name in names:
        setattr(client, name, client.open(name))
    session = Session([s for s in streams if s != "tty"], pty="tty" in streams, attach=kind == ATTACH)
    session.made = made
    return client, session


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
