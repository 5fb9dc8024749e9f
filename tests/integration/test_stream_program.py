"""skiff-stream alone, over raw sockets: see stream_program.py."""

import json
import os
import ssl
import subprocess
import threading

import pytest

from stream_program import *  # noqa: F403: the parts of a test

IS_SANITIZED = b"__asan_init" in PROGRAM.read_bytes()


@pytest.fixture
def program():
    program = Program()
    yield program
    status, said = program.stop()
    assert (status, said) == (0, ""), said


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
    with pytest.raises(BrokenPipeError):
        os.write(session.out_w, b"y")


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
    assert program.smaps("Pss") < (64000 if IS_SANITIZED else 6000)
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


def websocket_exec(program, streams, protocols, kind=EXEC):
    client = WebSocket(program, f"/{PATHS[kind]}/" + program.token(kind, streams), protocols)
    assert client.status == 101
    session = Session([s for s in streams if s != "tty"], pty="tty" in streams, attach=kind == ATTACH)
    return client, session


@pytest.mark.parametrize(
    "protocols,version,coded",
    [
        (None, 1, False),
        (["channel.k8s.io"], 1, False),
        (["base64.channel.k8s.io"], 1, True),
        (["v4.channel.k8s.io"], 4, False),
        (["v4.base64.channel.k8s.io"], 4, True),
        (["v5.channel.k8s.io", "v4.channel.k8s.io"], 5, False),
        (["unknown", "v4.channel.k8s.io", "v5.channel.k8s.io"], 4, False),
    ],
)
def test_exec_over_websocket(program, protocols, version, coded):
    client, session = websocket_exec(program, ("in", "out", "err"), protocols)
    chosen = dict(client.fields).get("Sec-WebSocket-Protocol")
    assert dict(client.fields)["Sec-WebSocket-Accept"] == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
    assert "Sec-WebSocket-Extensions" not in dict(client.fields)
    assert chosen == (next(p for p in protocols if p != "unknown") if protocols else None)
    program.opened(session)

    def unpacked(frame):
        assert frame[0] == (1 if coded else 2)
        return (frame[1][0] - 48, base64.b64decode(frame[1][1:])) if coded else (frame[1][0], frame[1][1:])

    assert unpacked(client.next()) == (1, b"")
    client.send(0, b"typed", coded)
    assert os.read(session.in_r, 10) == b"typed"
    os.write(session.out_w, b"s" * 30000)
    os.write(session.err_w, b"warned")
    got = {1: b"", 2: b""}
    while (len(got[1]), len(got[2])) != (30000, 6):
        channel, data = unpacked(client.next())
        got[channel] += data
    if version == 5:
        client.send(255, b"\0")
        assert os.read(session.in_r, 10) == b""
    session.exit(0 if version == 4 else 9)
    *frames, close = client.rest()
    assert close == (8, struct.pack(">H", 1000))
    error = b"".join(data for channel, data in map(unpacked, frames) if channel == 3)
    if version == 4:
        assert error == b'{"metadata":{},"status":"Success"}'
    elif version == 5:
        assert json.loads(error)["details"]["causes"][0]["message"] == "9"
    else:
        assert error.endswith(b"exit code 9")


def test_websocket_fragments_with_pings_between(program):
    client, session = websocket_exec(program, ("in", "out", "tty"), ["v4.channel.k8s.io"])
    client.frame(2, b"\4" + b'{"Width":', fin=False)
    client.frame(9, b"are you there")
    client.frame(0, b"", fin=False)
    client.frame(0, b'50,"Height":20}')
    assert client.next() == (2, b"\1")
    assert client.next() == (10, b"are you there")
    program.opened(session)
    assert (session.rows, session.columns) == (20, 50)
    client.send(77, b"for nobody")
    client.send(0, b"a line\n")
    assert os.read(session.slave, 100) == b"a line\n"
    client.frame(8, struct.pack(">H", 1001) + b"bye")
    *_, close = client.rest()
    assert close == (8, struct.pack(">H", 1001))
    assert session.heard() is None


def test_a_large_message_is_never_kept(program):
    client, session = websocket_exec(program, ("in", "out"), ["v4.channel.k8s.io"])
    program.opened(session)
    data = os.urandom(5 << 20)
    cat = subprocess.Popen(["cat"], stdin=session.in_r, stdout=session.out_w)
    session.close_outs()
    sender = threading.Thread(target=lambda: client.send(0, data))
    sender.start()
    out = b""
    while len(out) < len(data):
        out += client.next()[1][1:]
    sender.join()
    assert out == data
    assert program.smaps("Pss") < (64000 if IS_SANITIZED else 6000)
    client.sock.close()
    assert cat.wait(10) == 0


@pytest.mark.parametrize(
    "bad",
    [
        b"\x82\x05hello",  # not masked
        b"\xc2\x81\0\0\0\0x",  # a reserved bit
        b"\x80\x81\0\0\0\0x",  # continues nothing
        b"\x83\x81\0\0\0\0x",  # an unknown opcode
        b"\x09\x81\0\0\0\0x",  # a ping in fragments
        b"\x89\xfe\x00\x80\0\0\0\0",  # a long ping
        b"\x82\xff\xff\xff\xff\xff\xff\xff\xff\xff\0\0\0\0",  # a length past 2^63
    ],
)
def test_bad_websocket_frames_end_the_session(program, bad):
    client, session = websocket_exec(program, ("in", "out"), ["v4.channel.k8s.io"])
    program.opened(session)
    client.sock.sendall(bad)
    assert client.rest() == [(2, b"\1"), (8, struct.pack(">H", 1002))]
    assert session.heard() is None


class Pod:
    """Listens where a pod would, and answers SESSION_DIAL as skiff-pod does."""

    def __init__(self, program, session):
        self.program, self.session = program, session
        self.server = socket.create_server(("127.0.0.1", 0))
        self.port = self.server.getsockname()[1]
        self.dials = []

    def answer(self, connects=True):
        asked = self.session.heard()
        assert asked.kind == DIAL
        self.dials.append((asked.first, asked.second))
        sock = socket.socket(socket.AF_INET if asked.second == 4 else socket.AF_INET6)
        sock.setblocking(False)
        try:
            errnum = sock.connect_ex(("127.0.0.1" if asked.second == 4 else "::1", asked.first))
            refused = errnum not in (0, 115)
            self.session.say(DIALED, fd=None if refused else sock.fileno(), id=asked.id, value=errnum if refused else 0)
        finally:
            sock.close()

    def accept(self):
        self.answer()
        sock, _ = self.server.accept()
        sock.settimeout(10)
        return sock


def spdy_forward(program):
    sock = program.connect()
    sock.sendall(spdy_request("/portforward/" + program.token(FORWARD, text="pod-1"), ["portforward.k8s.io"]))
    assert answer_of(sock)[0] == 101
    session = Session(())
    program.opened(session)
    return Spdy(sock), session


def tunnel_forward(program):
    client = WebSocket(program, "/portforward/" + program.token(FORWARD, text="pod-1"), ["SPDY/3.1+portforward.k8s.io"])
    assert client.status == 101
    assert "X-Stream-Protocol-Version" not in dict(client.fields)

    def recv(_):
        frame = client.next()
        return frame[1] if frame and frame[0] == 2 else b""

    session = Session(())
    program.opened(session)
    return Spdy(client.sock, lambda data: [client.frame(2, data[i : i + 5]) for i in range(0, len(data), 5)], recv), session


def pair(client, port, request, wait=True):
    fields = {"port": str(port)}
    if request is not None:
        fields["requestid"] = str(request)
    error = client.open("error", wait=wait, **fields)
    client.data(error, fin=True)
    return error, client.open("data", wait=wait, **fields)


@pytest.mark.parametrize("begin", [spdy_forward, tunnel_forward])
@pytest.mark.parametrize("request_id", [0, None])
def test_forward(program, begin, request_id):
    client, session = begin(program)
    pod = Pod(program, session)
    error, data = pair(client, pod.port, request_id)
    client.data(data, b"early")
    sock = pod.accept()
    assert pod.dials == [(pod.port, 4)]
    assert sock.recv(100) == b"early"
    sock.sendall(b"answer")
    assert client.next() == ("data", data, b"answer", False)
    client.data(data, b"more", fin=True)
    assert sock.recv(100) == b"more"
    assert sock.recv(100) == b""
    sock.sendall(b"after the client's end")
    sock.close()
    assert client.next() == ("data", data, b"after the client's end", False)
    assert sorted([client.next(), client.next()]) == sorted([("data", data, b"", True), ("data", error, b"", True)])
    # and another
    error, data = pair(client, pod.port, None if request_id is None else 1)
    sock = pod.accept()
    sock.sendall(b"x")
    assert client.next() == ("data", data, b"x", False)
    fds = program.fds()
    sock.close()
    assert client.next() == ("data", data, b"", True)
    client.control(3, struct.pack(">II", data, 5))
    assert client.next() == ("data", error, b"", True)
    until(lambda: program.fds() == fds - 1)
    session.close()
    assert [frame[0] for frame in client.rest()] == ["goaway", "end"]


def test_a_refused_port_is_told_and_ends_nothing_else(program):
    client, session = spdy_forward(program)
    pod = Pod(program, session)
    free = socket.create_server(("127.0.0.1", 0))
    port = free.getsockname()[1]
    free.close()
    error, data = pair(client, port, 0)
    pod.answer()
    pod.answer()
    assert pod.dials == [(port, 4), (port, 6)]
    assert client.next() == ("data", data, b"", True)
    told = client.next()
    text = f"error forwarding port {port} to pod pod-1, uid : connect to localhost:{port} in the pod: connection refused"
    assert told == ("data", error, text.encode(), False)
    assert client.next() == ("reset", data, 5)
    assert client.next() == ("data", error, b"", True)
    _, data = pair(client, pod.port, 1)
    sock = pod.accept()
    sock.sendall(b"still here")
    assert client.next() == ("data", data, b"still here", False)
    sock.close()
    session.close()


def test_ipv6_is_the_second_try(program):
    client, session = spdy_forward(program)
    server = socket.create_server(("::1", 0), family=socket.AF_INET6)
    pod = Pod(program, session)
    _, data = pair(client, server.getsockname()[1], 0)
    client.data(data, b"kept over both tries")
    pod.answer()
    pod.answer()
    sock, _ = server.accept()
    assert sock.recv(100) == b"kept over both tries"
    session.close()


def test_resets_end_one_connection_each_way(program):
    client, session = spdy_forward(program)
    pod = Pod(program, session)
    pairs = [pair(client, pod.port, i) for i in range(3)]
    socks = [pod.accept() for _ in pairs]
    for i, sock in enumerate(socks):
        sock.sendall(b"%d" % i)
        assert client.next() == ("data", pairs[i][1], b"%d" % i, False)
    client.control(3, struct.pack(">II", pairs[0][1], 5))
    with pytest.raises(ConnectionResetError):
        socks[0].recv(1)
    assert client.next() == ("data", pairs[0][0], b"", True)
    socks[1].setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    socks[1].close()
    assert client.next() == ("reset", pairs[1][1], 5)
    assert client.next() == ("data", pairs[1][0], b"", True)
    socks[2].sendall(b"lives")
    assert client.next() == ("data", pairs[2][1], b"lives", False)
    session.close()


@pytest.mark.parametrize(
    "headers", [{"port": "0"}, {"port": "65536"}, {"port": ""}, {"port": "80x"}, {}, {"port": "99999999999"}]
)
def test_bad_ports_are_refused(program, headers):
    client, session = spdy_forward(program)
    stream = client.open("error", wait=False, **headers)
    assert client.next() == ("reset", stream, 1)
    stream = client.open("whatever", wait=False, port="80")
    assert client.next() == ("reset", stream, 1)
    session.close()


def test_a_pod_that_cannot_be_entered_is_told_to_each_pair(program):
    sock = program.connect()
    sock.sendall(spdy_request("/portforward/" + program.token(FORWARD, text="pod-1"), ["portforward.k8s.io"]))
    answer_of(sock)
    client = Spdy(sock)
    program.send(FAILED, "sandbox is not ready", token=program.asked().token)
    error, data = pair(client, 80, 0)
    assert client.next() == ("data", data, b"", True)
    assert client.next() == ("data", error, b"error forwarding port 80 to pod pod-1, uid : sandbox is not ready", False)
    assert [frame[0] for frame in client.rest()] == ["reset", "data", "goaway", "end"]


@pytest.mark.parametrize("coded", [False, True])
def test_forward_by_channels(program, coded):
    servers = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
    ports = [server.getsockname()[1] for server in servers]
    servers[1].close()
    protocol = "v4.base64.channel.k8s.io" if coded else "v4.channel.k8s.io"
    client = WebSocket(program, "/portforward/" + program.token(FORWARD, ports=ports), [protocol])
    session = Session(())
    program.opened(session)
    pod = Pod(program, session)
    for _ in range(3):
        pod.answer()
    sock, _ = servers[0].accept()

    def message():
        frame = client.next()
        return (frame[1][0] - 48, base64.b64decode(frame[1][1:])) if coded else (frame[1][0], frame[1][1:])

    first = sorted(message() for _ in range(4))
    assert first == [(i, struct.pack("<H", ports[i // 2])) for i in range(4)]
    client.send(0, b"to the pod", coded)
    assert sock.recv(100) == b"to the pod"
    assert message()[0] == 3
    sock.sendall(b"from the pod")
    assert message() == (0, b"from the pod")
    sock.close()
    assert client.rest() == [(8, struct.pack(">H", 1000))]


def ask(program, head):
    sock = program.connect()
    sock.sendall(head)
    status, fields, _ = answer_of(sock)
    return status, fields, body_of(sock)


def test_what_is_refused_and_how(program):
    assert ask(program, spdy_request("/exec/" + "0" * 32))[0::2] == (404, b"404 page not found\n")
    assert ask(program, request("GET", "/"))[0] == 404
    status, fields, _ = ask(program, request("PUT", "/exec/" + program.token()))
    assert (status, dict(fields)["Allow"]) == (405, "GET, POST")
    status, _, text = ask(program, spdy_request("/exec/" + program.token(), []))
    assert status == 400 and b"header X-Stream-Protocol-Version does not exist in request" in text
    status, fields, text = ask(program, spdy_request("/exec/" + program.token(), ["v9", "v8"]))
    assert [value for name, value in fields if name == "X-Accepted-Stream-Protocol-Versions"] == ALL
    assert status == 403 and b"client supports [v9 v8], server accepts [v5.channel.k8s.io v4" in text
    assert ask(program, b"rubbish\r\n\r\n")[0] == 400
    assert ask(program, b"GET /exec/x HTTP/1.1\r\nA: " + b"a" * 20000)[0] == 431
    assert ask(program, b"GET /exec/x HTTP/1.1\r\nA: " + b"a" * 17000 + b"\r\n\r\n")[0] == 431
    assert WebSocket(program, "/exec/" + program.token(), ["v9.channel.k8s.io"]).status == 403


def test_a_token_opens_one_session_of_its_kind(program):
    token = program.token(EXEC, ("out",))
    assert ask(program, spdy_request("/attach/" + token))[0] == 404
    assert ask(program, spdy_request("/exec/" + token))[0] == 404
    token = program.token(EXEC, ("out",))
    sock = program.connect()
    sock.sendall(spdy_request(f"/exec/{token}?"))
    assert answer_of(sock)[0] == 101
    assert ask(program, spdy_request("/exec/" + token))[0] == 404
    tokens = [program.token() for _ in range(1001)]
    assert ask(program, spdy_request("/exec/" + tokens[0]))[0] == 404
    sock = program.connect()
    sock.sendall(spdy_request("/exec/" + tokens[1]))
    assert answer_of(sock)[0] == 101


def test_what_follows_the_head_at_once_is_not_lost(program):
    sock = program.connect()
    early = []
    client = Spdy(sock, send=early.append)
    for kind in ("error", "stdin", "stdout"):
        setattr(client, kind, client.open(kind, wait=False))
    client.data(client.stdin, b"early", fin=True)
    sock.sendall(spdy_request("/exec/" + program.token(EXEC, ("in", "out"))) + b"".join(early))
    assert answer_of(sock)[0] == 101
    session = Session(("in", "out"))
    program.opened(session)
    assert [client.next()[0] for _ in range(3)] == ["reply"] * 3
    assert os.read(session.in_r, 100) == b"early"
    assert os.read(session.in_r, 100) == b""
    session.exit(0)
    assert Outcome(client, client.rest()).order[-1] == "end"


def test_a_thousand_heads_that_never_end_shut_nobody_out(program):
    idle = [program.connect() for _ in range(1000)]
    for sock in idle[::2]:
        sock.sendall(b"POST /exec/x HTTP/1.1\r\nA: ")
    client, session = spdy_exec(program, ("out",))
    program.opened(session)
    assert program.fds() < 300
    session.exit(0)
    assert Outcome(client, client.rest()).order[-1] == "end"
    assert idle[0].recv(1) == b""
    for sock in idle:
        sock.close()


def test_heads_and_streams_that_do_not_come_are_given_up(program):
    head = program.connect()
    head.sendall(b"POST /exec/x HTTP/1.1\r\n")
    sock = program.connect()
    sock.sendall(spdy_request("/exec/" + program.token(EXEC, ("in", "out"))))
    answer_of(sock)
    client = Spdy(sock)
    client.open("error")
    forward, session = spdy_forward(program)
    half = forward.open("error", port="80", requestid="0")
    for one in (head, sock, forward.sock):
        one.settimeout(40)
    began = time.monotonic()
    assert head.recv(1) == b""
    assert 9 < time.monotonic() - began < 12
    assert client.next() == ("end",)
    assert 29 < time.monotonic() - began < 33
    assert forward.next()[1:3] == (half, b"error forwarding port 80 to pod pod-1, uid : timed out waiting for streams")
    session.close()


@pytest.mark.parametrize("begin", [spdy_forward, tunnel_forward])
@pytest.mark.parametrize(
    "bad",
    [
        b"\x80\x03\0\1\0\0\0\3abc",  # SYN_STREAM, cut
        b"\x80\x03\0\1\0\0\0\x20" + b"\0\0\0\1" + b"\xee" * 28,  # rubbish in a header block
        b"\x80\x03\0\1\0\0\0\x0a" + b"\0\0\0\2" + b"\0" * 6,  # a server's stream
        b"\x80\x03\0\1\0\xff\0\0",  # a header block of 16 MB
        b"\x80\x02\0\6\0\0\0\4\0\0\0\1",  # SPDY/2
        b"\0\0\0\0\0\0\0\0",  # data for stream 0
    ],
)
def test_bad_frames_end_the_session(program, begin, bad):
    client, session = begin(program)
    client.write(bad)
    assert [frame[0] for frame in client.rest()] == ["goaway", "end"]
    assert session.heard() is None


def test_a_header_bomb_ends_the_session(program):
    client, session = spdy_forward(program)
    block = client.deflate.compress(struct.pack(">II", 1, 1 << 24) + b"a" * (1 << 24))
    block += client.deflate.flush(zlib.Z_SYNC_FLUSH)
    client.control(1, struct.pack(">IIH", 1, 0, 0) + block)
    assert [frame[0] for frame in client.rest()] == ["goaway", "end"]
    session.close()


def test_streams_that_were_not_asked_for_are_refused(program):
    client, session = spdy_exec(program, ("out",))
    program.opened(session)
    for i in range(100):
        stream = client.open("stderr", wait=False)
        assert client.next() == ("reset", stream, 3)
    session.exit(0)
    assert Outcome(client, client.rest()).order[-1] == "end"


def test_a_flood_of_streams_is_bounded(program):
    client, session = spdy_forward(program)
    for i in range(2100):
        client.open("error", wait=False, port="80", requestid=str(i))
    answers = [client.next()[0] for _ in range(2100)]
    assert (answers.count("reply"), answers.count("reset")) == (2000, 100)
    client.sock.close()
    assert session.heard() is None


def test_a_client_that_never_reads_is_cut_off_or_waits(program):
    client, session = spdy_exec(program, ("out",))
    program.opened(session)
    other, other_session = spdy_exec(program, ("out",))
    program.opened(other_session)
    yes = subprocess.Popen(["yes"], stdout=session.out_w)
    with pytest.raises((ConnectionError, TimeoutError)):
        client.sock.settimeout(3)
        while True:  # each asks for an answer that is never read
            client.sock.sendall(struct.pack(">HHII", 0x8003, 6, 4, 1) * 10000)
    assert program.smaps("Pss") < (64000 if IS_SANITIZED else 6000)
    other_session.exit(0)
    assert Outcome(other, other.rest()).order[-1] == "end"
    client.sock.close()
    yes.kill()
    yes.wait()


def test_skiffd_goes_and_sessions_stay():
    program = Program()
    client, session = spdy_exec(program, ("in", "out"))
    program.opened(session)
    waiting = program.connect()
    token = program.token(EXEC, ("out",))
    asking, _ = spdy_exec(program, ("out",))
    program.asked()
    program.control.close()
    assert json.loads(Outcome(asking, asking.rest()).error)["reason"] == "InternalError"
    assert waiting.recv(1) == b""
    late = program.connect()
    program.listener.close()
    with pytest.raises(ConnectionError):
        late.sendall(spdy_request("/exec/" + token))
        late.recv(1)
    client.data(client.stdin, b"still")
    assert os.read(session.in_r, 10) == b"still"
    os.write(session.out_w, b"here")
    assert program.process.poll() is None
    session.exit(0)
    end = Outcome(client, client.rest())
    assert (end.out, end.order[-2:]) == (b"here", ["goaway", "end"])
    client.sock.close()
    assert program.stop() == (0, "")


@pytest.mark.skipif(IS_SANITIZED, reason="sanitizers need what the walls keep out")
def test_the_walls(program):
    client, session = spdy_exec(program, ("out",))
    program.opened(session)
    proc = pathlib.Path(f"/proc/{program.process.pid}")
    status = dict(line.split(":\t", 1) for line in (proc / "status").read_text().splitlines() if ":\t" in line)
    assert status["Uid"].split() == status["Gid"].split() == [str(UID)] * 4
    assert status["Groups"].strip() == ""
    for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
        assert int(status[name], 16) == 0
    assert (status["NoNewPrivs"], status["Seccomp"], status["Threads"]) == ("1", "2", "1")
    mounts = (proc / "mountinfo").read_text().splitlines()
    assert len(mounts) == 1 and " ro" in mounts[0].split(" - ")[0] and mounts[0].split(" - ")[1].startswith("tmpfs")
    assert os.listdir(proc / "root") == []
    limits = (proc / "limits").read_text()
    soft, hard = next(line.split()[3:5] for line in limits.splitlines() if line.startswith("Max open files"))
    assert soft == hard
    kinds = sorted(os.readlink(proc / "fd" / fd).split(":")[0] for fd in os.listdir(proc / "fd"))
    assert kinds.count("socket") == 4  # control, listener, the client, the channel
    assert kinds.count("pipe") == 2  # stderr and the output
    assert os.stat(proc / "ns/mnt").st_ino != os.stat("/proc/self/ns/mnt").st_ino
    assert os.stat(proc / "ns/net").st_ino != os.stat("/proc/self/ns/net").st_ino
    session.close()


@pytest.mark.parametrize("uid", ["0", "x", "", "4294967295"])
def test_root_and_nonsense_are_refused(uid):
    program = Program(uid=uid)
    _, said = program.process.communicate(timeout=10)
    assert (program.process.returncode, said) == (64, b"skiff-stream: skiffd starts this\n")
    program.listener.close()


@pytest.fixture(scope="module")
def pem(tmp_path_factory):
    """A CA, and certificates of a server and a client."""
    folder = tmp_path_factory.mktemp("pem")

    def openssl(*words):
        subprocess.run(["openssl", *words], cwd=folder, check=True, capture_output=True)

    curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    openssl("req", "-x509", *curve, "-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=ca", "-days", "2")
    for name in ("server", "client"):
        openssl("req", *curve, "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", f"/CN={name}",
                "-addext", "subjectAltName=IP:127.0.0.1")  # fmt: skip
        openssl("x509", "-req", "-in", f"{name}.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial",
                "-out", f"{name}.pem", "-days", "2", "-copy_extensions", "copy")  # fmt: skip
    return folder


def tls_program(pem, *names):
    fds = [os.memfd_create(name) for name in names]
    for fd, name in zip(fds, names):
        os.write(fd, (pem / name).read_bytes())
    program = Program(pem=fds)
    for fd in fds:
        os.close(fd)
    return program


def tls_connect(program, pem, client=None):
    context = ssl.create_default_context(cafile=str(pem / "ca.pem"))
    if client:
        context.load_cert_chain(pem / f"{client}.pem", pem / f"{client}.key")
    sock = context.wrap_socket(socket.create_connection(("127.0.0.1", program.port)), server_hostname="127.0.0.1")
    sock.settimeout(10)
    return sock


@pytest.mark.parametrize("with_ca", [False, True])
def test_tls(pem, with_ca):
    program = tls_program(pem, "server.pem", "server.key", *(["ca.pem"] if with_ca else []))
    slow = program.connect()  # never begins its handshake
    connect = program.connect
    program.connect = lambda: tls_connect(program, pem, "client" if with_ca else None)
    client, session = spdy_exec(program, ("in", "out"))
    program.opened(session)
    data = os.urandom(3 << 20)
    cat = subprocess.Popen(["cat"], stdin=session.in_r, stdout=session.out_w)
    session.close_outs()

    out = b""
    for at in range(0, len(data), 32768):
        client.data(client.stdin, data[at : at + 32768])
        while len(out) < at:
            out += client.next()[2]
    client.data(client.stdin, fin=True)
    while len(out) < len(data):
        out += client.next()[2]
    assert out == data
    assert cat.wait(10) == 0
    session.exit(4)
    end = Outcome(client, client.rest())
    assert json.loads(end.error)["details"]["causes"][0]["message"] == "4"
    assert end.order[-2:] == ["goaway", "end"]
    program.connect = connect
    if with_ca:
        refused = tls_connect(program, pem)
        with pytest.raises(ssl.SSLError):
            refused.sendall(b"GET / HTTP/1.1\r\n\r\n")
            refused.recv(1)
    plain = program.connect()
    plain.sendall(request("GET", "/exec/x"))
    with pytest.raises(ConnectionResetError):
        assert not plain.recv(100).startswith(b"HTTP")
        plain.recv(100)
    slow.close()
    assert program.stop() == (0, "")


def test_certificates_that_are_none_are_told(pem):
    program = tls_program(pem, "server.key", "server.key")
    _, said = program.process.communicate(timeout=10)
    assert program.process.returncode == 1
    assert said.startswith(b"skiff-stream: TLS: certificate: ")
    program.listener.close()
