"""Port-forward. Covers: many connections and ports over one session, halves that end, resets, refused ports, a listener on ::1
alone, host network, WebSockets: the tunnel and the old channels."""

import contextlib
import ctypes
import hashlib
import os
import socket
import struct
import threading

import pytest

import harness
import spdy_client
import ws_client

CLONE_NEWNET = 0x40000000


class Listener:
    """In the pod's network: serve(connection) for each that comes, in a thread of its own. .open: those that have not ended."""

    def __init__(self, pid, port, serve, host):
        self.serve, self.open, self.lock = serve, 0, threading.Lock()
        self.listens, self.socket = threading.Event(), None
        threading.Thread(target=self._listen, args=(pid, port, host), daemon=True).start()
        assert self.listens.wait(10), f"no listener on {port}"

    def _listen(self, pid, port, host):
        with open(f"/proc/{pid}/ns/net", "rb") as namespace:
            assert ctypes.CDLL(None).setns(namespace.fileno(), CLONE_NEWNET) == 0  # of this thread alone
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self.socket = socket.create_server((host, port), family=family, backlog=128)
        self.listens.set()
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=self._serve, args=(self.socket.accept()[0],), daemon=True).start()

    def _serve(self, connection):
        with self.lock:
            self.open += 1
        try:
            with connection, contextlib.suppress(OSError):
                connection.settimeout(60 * harness.SLOW)
                self.serve(connection)
        finally:
            with self.lock:
                self.open -= 1


@pytest.fixture
def listen(skiff, pod):
    """listen(port, serve, host="127.0.0.1") in the pod."""
    pid = skiff.info(skiff.run(pod, ["sleep", "1000"]))["pid"]
    made = []

    def add(port, serve, host="127.0.0.1"):
        made.append(Listener(pid, port, serve, host))
        return made[-1]

    yield add
    for listener in made:
        listener.socket.shutdown(socket.SHUT_RDWR)
        listener.socket.close()


@pytest.fixture
def pod(skiff):
    return skiff.run_pod(name="forward")


def echo(connection):
    """All that comes, then "more"."""
    while got := connection.recv(65536):
        connection.sendall(got)
    connection.sendall(b"more")


def greet(connection):
    connection.sendall(b"hello")


def answer(connection):
    connection.sendall(b"got " + connection.makefile("rb").readline())


def test_a_connection_goes_both_ways_and_ends_by_halves(skiff, pod, listen):
    listen(80, echo)
    with spdy_client.forward(skiff.cri, pod) as forward:
        data, error = forward.connect(80)
        data.write(b"some ", fin=True)
        assert data.read_all() == b"some more" and data.fin
        assert error.read_all() == b""


def test_the_pod_may_end_its_half_first(skiff, pod, listen):
    heard = []

    def serve(connection):
        connection.sendall(b"hello")
        connection.shutdown(socket.SHUT_WR)
        heard.append(connection.makefile("rb").read())

    listen(80, serve)
    with spdy_client.forward(skiff.cri, pod) as forward:
        data, error = forward.connect(80)
        assert data.read_all() == b"hello" and data.fin
        data.write(b"to the very end", fin=True)
        assert error.read_all() == b""
    harness.wait_for(lambda: heard == [b"to the very end"], "the other half")


def test_many_connections_of_several_ports(skiff, pod, listen):
    for port in (80, 81, 82):
        listen(port, lambda connection, port=port: connection.sendall(b"%d " % port + connection.makefile("rb").readline()))
    with spdy_client.forward(skiff.cri, pod) as forward:
        pairs = [(port, number, forward.connect(port)) for number in range(15) for port in (80, 81, 82)]
        for port, number, (data, _) in reversed(pairs):
            data.write(b"%d\n" % number, fin=True)
        for port, number, (data, error) in pairs:
            assert (data.read_all(), error.read_all()) == (b"%d %d\n" % (port, number), b"")


def test_streams_may_be_opened_without_waiting(skiff, pod, listen):
    listen(80, greet)
    with spdy_client.forward(skiff.cri, pod) as forward:
        pairs = [forward.connect(80, wait=False) for _ in range(20)]
        assert [data.read_all() for data, _ in pairs] == [b"hello"] * 20


def test_megabytes(skiff, pod, listen):
    listen(80, echo)
    data = os.urandom(6 << 20)
    with spdy_client.forward(skiff.cri, pod) as forward:
        stream, _ = forward.connect(80)
        stream.write(data, fin=True)
        assert hashlib.sha256(stream.read_all(60 * harness.SLOW)).digest() == hashlib.sha256(data + b"more").digest()


def test_a_refused_port_is_told_and_ends_nobody_else(skiff, pod, listen):
    listen(80, answer)
    with spdy_client.forward(skiff.cri, pod) as forward:
        good, _ = forward.connect(80)
        bad, error = forward.connect(7999)
        text = error.read_all().decode()
        assert "7999" in text and "refused" in text.lower(), text
        assert bad.read_all() == b""
        good.write(b"x\n")
        assert good.read_all() == b"got x\n"
        forward.connection.ping()


def test_a_listener_on_v6_alone_is_found(skiff, pod, listen):
    listen(80, greet, "::1")
    with spdy_client.forward(skiff.cri, pod) as forward:
        assert forward.connect(80)[0].read_all() == b"hello"


def test_a_reset_of_one_ends_no_other(skiff, pod, listen):
    listener = listen(80, echo)
    with spdy_client.forward(skiff.cri, pod) as forward:
        first, second = forward.connect(80)[0], forward.connect(80)[0]
        first.write(b"a")
        assert first.read(1) == b"a"
        first.cancel()
        second.write(b"b")
        assert second.read(1) == b"b"
        harness.wait_for(lambda: listener.open == 1, "the end of the first in the pod")
        second.write(b"c")
        assert second.read(1) == b"c"


def test_bad_headers_are_answered_by_a_reset(skiff, pod, listen):
    listen(80, greet)
    with spdy_client.forward(skiff.cri, pod) as forward:
        for pairs in (
            {"streamtype": "data", "port": "0", "requestid": "90"},
            {"streamtype": "data", "port": "65536", "requestid": "91"},
            {"streamtype": "data", "requestid": "92"},
            {"streamtype": "nosuch", "port": "80", "requestid": "93"},
        ):
            stream = forward.connection.open(pairs, wait=False)
            stream._wait(lambda: stream.reset is not None, "a reset", spdy_client.PATIENCE_S)
        assert forward.connect(80)[0].read_all() == b"hello"


def test_a_removed_pod_ends_it(skiff, pod):
    container = skiff.run(pod, ["nc", "-ll", "-p", "80", "-e", "cat"])
    pid = skiff.info(container)["pid"]
    harness.wait_for(lambda: ":0050 " in harness.read_proc(pid, "net/tcp6") + harness.read_proc(pid, "net/tcp"), "a listener")
    with spdy_client.forward(skiff.cri, pod) as forward:
        data, _ = forward.connect(80)
        data.write(b"x")
        assert data.read(1) == b"x"
        skiff.remove_pod(pod)
        data.read_all()
        forward.connection.wait_ended()


def test_host_network(skiff):
    pod = skiff.run_pod(name="hostnet", host_network=True)
    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=lambda: server.accept()[0].sendall(b"host"), daemon=True).start()
        with spdy_client.forward(skiff.cri, pod) as forward:
            assert forward.connect(server.getsockname()[1])[0].read_until(b"host") == b"host"


def test_a_tunnel(skiff, pod, listen):
    listen(80, echo)
    with ws_client.tunnel(skiff.cri.PortForward(pod_sandbox_id=pod).url) as forward:
        data, error = forward.connect(80)
        data.write(b"x" * 100000, fin=True)
        assert data.read_all() == b"x" * 100000 + b"more" and error.read_all() == b""
        assert "refused" in forward.connect(7999)[1].read_all().decode().lower()


def test_the_old_channels(skiff, pod, listen):
    listen(80, answer)
    url = skiff.cri.PortForward(pod_sandbox_id=pod, port=[80, 7999]).url
    with ws_client.Session(url, "v4.channel.k8s.io") as session:
        session.wait_for(lambda: {0, 1, 2, 3} <= set(session.received), "the ports")
        for channel, port in ((0, 80), (1, 80), (2, 7999), (3, 7999)):
            assert session.bytes_of(channel)[:2] == struct.pack("<H", port)
        session.send(0, b"word\n")
        session.wait_for(lambda: session.bytes_of(0)[2:] == b"got word\n", "an answer")
        session.wait_for(lambda: b"refused" in session.bytes_of(3).lower(), "the refusal")


def test_a_hundred_short_connections_leave_nothing(skiff, pod, listen):
    listener = listen(80, answer)
    with spdy_client.forward(skiff.cri, pod) as forward:
        for number in range(100):
            data, error = forward.connect(80)
            data.write(b"%d\n" % number, fin=True)
            assert (data.read_all(), error.read_all()) == (b"got %d\n" % number, b"")
        harness.wait_for(lambda: listener.open == 0, "their end")
