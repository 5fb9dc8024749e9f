"""skiff-stream alone: exec over WebSocket, and port-forward over all it comes in. See stream_program.py."""

import json
import os
import subprocess
import threading

import pytest

from stream_program import *  # noqa: F403: the parts of a test


def exactly(sock, count):
    """A socket with a timeout does not wait for all, whatever the flag says."""
    got = b""
    while len(got) < count:
        piece = sock.recv(count - len(got))
        assert piece, f"the end after {got!r}"
        got += piece
    return got



@pytest.fixture
def program():
    program = Program()
    yield program
    status, said = program.stop()
    assert (status, said) == (0, ""), said


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
    assert program.smaps("Pss") < PSS_MOST
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


@pytest.mark.parametrize("begin", [spdy_forward, tunnel_forward])
@pytest.mark.parametrize("request_id", [0, None])
def test_forward(program, begin, request_id):
    client, session = begin(program)
    pod = Pod(program, session)
    error, data = pair(client, pod.port, request_id)
    client.data(data, b"early")
    sock = pod.accept()
    assert pod.dials == [(pod.port, 4)]
    assert exactly(sock, 5) == b"early"
    sock.sendall(b"answer")
    assert client.next() == ("data", data, b"answer", False)
    client.data(data, b"more", fin=True)
    assert exactly(sock, 4) == b"more"
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
    assert exactly(sock, 20) == b"kept over both tries"
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
    assert exactly(sock, 10) == b"to the pod"
    assert message()[0] == 3
    sock.sendall(b"from the pod")
    assert message() == (0, b"from the pod")
    sock.close()
    assert client.rest() == [(8, struct.pack(">H", 1000))]
