"""skiff-stream alone, without skiffd: this plays skiffd (tokens, descriptors) and clients (raw SPDY and WebSocket)."""

import array
import base64
import contextlib
import ctypes
import fcntl
import os
import pathlib
import re
import secrets
import socket
import struct
import subprocess
import time
import zlib

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
BUILD = pathlib.Path(os.environ.get("SKIFF_BUILD", ROOT / "build/debug"))
PROGRAM = BUILD / "bin/skiff-stream"
IS_SANITIZED = b"__asan_init" in PROGRAM.read_bytes()
PSS_MOST = float("inf") if IS_SANITIZED else 6000  # kB; ASan keeps what was freed
UID = 65533

START, TOKEN, OPEN, OPENED, FAILED = 1, 2, 3, 4, 5
EXEC, ATTACH, FORWARD = 1, 2, 3
PATHS = {EXEC: "exec", ATTACH: "attach", FORWARD: "portforward"}
EXIT, RESIZE, STDIN_END, DIAL, DIALED, STDIN_ENDED = 1, 2, 3, 4, 5, 6


class Streams(ctypes.Structure):
    _fields_ = [(name, ctypes.c_bool) for name in ("in_", "out", "err", "tty")] + [
        ("rows", ctypes.c_uint16),
        ("columns", ctypes.c_uint16),
    ]


class Control(ctypes.Structure):
    _fields_ = [
        ("type", ctypes.c_uint32),
        ("kind", ctypes.c_uint32),
        ("token", ctypes.c_char * 33),
        ("streams", Streams),
        ("has_in", ctypes.c_bool),
        ("has_out", ctypes.c_bool),
        ("has_err", ctypes.c_bool),
        ("n_ports", ctypes.c_uint32),
        ("ports", ctypes.c_uint16 * 64),
    ]


class Message(ctypes.Structure):
    _fields_ = [
        ("kind", ctypes.c_uint32),
        ("id", ctypes.c_uint32),
        ("value", ctypes.c_int32),
        ("first", ctypes.c_uint16),
        ("second", ctypes.c_uint16),
    ]


def with_fds(sock, data, fds):
    sock.sendmsg([data], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else [])


class Program:
    """The program, started as skiffd starts it."""

    def __init__(self, pem=(), uid=UID, program=PROGRAM, limit=None):
        self.control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.control.settimeout(10)
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
        self.listener.setblocking(False)
        self.port = self.listener.getsockname()[1]
        high = [fcntl.fcntl(fd, fcntl.F_DUPFD, 100) for fd in (theirs.fileno(), self.listener.fileno())]
        self.process = subprocess.Popen(
            ["/bin/bash", "-c", f'{f"ulimit -n {limit};" if limit else ""} exec "$0" "$1" 3<&{high[0]} 4<&{high[1]} {high[0]}<&- {high[1]}<&-', str(program), str(uid)],
            pass_fds=high,
            stderr=subprocess.PIPE,
        )
        for fd in high:
            os.close(fd)
        theirs.close()
        with contextlib.suppress(BrokenPipeError):  # one that refuses its arguments does not wait for it
            self.send(START, fds=pem)

    def send(self, type_, text="", fds=(), **fields):
        message = Control(type=type_, **fields)
        with_fds(self.control, bytes(message) + text.encode('latin1'), list(fds))

    def token(self, kind=EXEC, streams=(), text="[sh -c exit 7]", ports=()):
        token = secrets.token_hex(16)
        s = Streams(in_="in" in streams, out="out" in streams, err="err" in streams, tty="tty" in streams)
        list_of = (ctypes.c_uint16 * 64)(*ports)
        self.send(TOKEN, text, kind=kind, token=token.encode(), streams=s, n_ports=len(ports), ports=list_of)
        return token

    def asked(self):
        data = self.control.recv(4096)
        return Control.from_buffer_copy(data)

    def opened(self, session):
        """Answers the next CONTROL_OPEN with the session's descriptors."""
        asked = self.asked()
        assert asked.type == OPEN
        session.rows, session.columns = asked.streams.rows, asked.streams.columns
        fds = [session.theirs_channel.fileno()] + [fd for fd in (session.in_w, session.out_r, session.err_r) if fd is not None]
        self.send(
            OPENED,
            token=asked.token,
            fds=fds,
            has_in=session.in_w is not None,
            has_out=session.out_r is not None,
            has_err=session.err_r is not None,
        )
        session.handed_over()

    def connect(self):
        client = socket.create_connection(("127.0.0.1", self.port))
        client.settimeout(10)
        return client

    def stop(self):
        self.control.close()
        try:
            _, said = self.process.communicate(timeout=10)
        finally:
            self.process.kill()
            self.process.wait()
            self.listener.close()
        return self.process.returncode, said.decode()

    def smaps(self, name):
        text = pathlib.Path(f"/proc/{self.process.pid}/smaps_rollup").read_text()
        return next(int(line.split()[1]) for line in text.splitlines() if line.startswith(name + ":"))

    def fds(self):
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))


class Session:
    """skiff-pod's ends of a session with these streams."""

    def __init__(self, streams=("out",), pty=False, attach=False):
        self.channel, self.theirs_channel = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.channel.settimeout(10)
        self.theirs_channel.setblocking(False)
        self.in_r = self.in_w = self.out_r = self.out_w = self.err_r = self.err_w = self.slave = None
        if pty:
            master, self.slave = os.openpty()
            self.in_w = os.dup(master) if "in" in streams else None
            if not attach:
                self.out_r = os.dup(master) if "out" in streams else None
            os.close(master)
        elif "in" in streams:
            self.in_r, self.in_w = os.pipe()
        if "out" in streams and self.out_r is None:
            self.out_r, self.out_w = os.pipe()
        if "err" in streams:
            self.err_r, self.err_w = os.pipe()
        for fd in (self.in_w, self.out_r, self.err_r):
            if fd is not None:
                os.set_blocking(fd, False)

    def handed_over(self):
        self.theirs_channel.close()
        for name in ("in_w", "out_r", "err_r"):
            if getattr(self, name) is not None:
                os.close(getattr(self, name))
                setattr(self, name, None)

    def say(self, kind, fd=None, **fields):
        with_fds(self.channel, bytes(Message(kind=kind, **fields)), [fd] if fd is not None else [])

    def heard(self):
        data = self.channel.recv(64)
        return Message.from_buffer_copy(data) if data else None

    def exit(self, code):
        """As skiff-pod: the process is dead, its ends are closed, then its code is said."""
        self.close_outs()
        self.say(EXIT, value=code)

    def close_outs(self):
        for name in ("in_r", "out_w", "err_w", "slave"):
            if getattr(self, name) is not None:
                os.close(getattr(self, name))
                setattr(self, name, None)

    def close(self):
        self.close_outs()
        self.channel.close()


DICTIONARY = None


def dictionary():
    """Out of the program's source: the names and the text of spdy_dictionary.c."""
    global DICTIONARY
    if DICTIONARY is None:
        text = (ROOT / "cri/stream/spdy_dictionary.c").read_text()
        text = text[text.index("clang-format off") :].replace("NAME(", '"\\0\\0\\0" ').replace('", "', '" "')
        whole = b""
        for part in re.findall(r'"((?:[^"\\]|\\.)*)"', text):
            whole += re.sub(rb"\\([0-7]{1,3})", lambda m: bytes([int(m[1], 8)]), part.encode())
        DICTIONARY = whole
        assert len(whole) == 1423
    return DICTIONARY


def answer_of(sock):
    """The head of an HTTP answer, read byte by byte: what follows is not HTTP."""
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        byte = sock.recv(1)
        if not byte:
            break
        head += byte
    lines = head.decode().split("\r\n")
    return int(lines[0].split()[1]), [tuple(line.split(": ", 1)) for line in lines[1:] if line], head


def body_of(sock):
    body = b""
    while True:
        part = sock.recv(65536)
        if not part:
            return body
        body += part


def request(method, path, **fields):
    lines = [f"{method} {path} HTTP/1.1", "Host: 127.0.0.1:16443"]
    for name, value in fields.items():
        for one in value if isinstance(value, (list, tuple)) else [value]:
            lines.append(f"{name.replace('_', '-')}: {one}")
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


ALL = ["v5.channel.k8s.io", "v4.channel.k8s.io", "v3.channel.k8s.io", "v2.channel.k8s.io", "channel.k8s.io"]


def spdy_request(path, protocols=ALL, method="POST"):
    fields = {"X_Stream_Protocol_Version": protocols} if protocols else {}
    return request(method, path, Connection="Upgrade", Upgrade="SPDY/3.1", Content_Length=0, **fields)


class Spdy:
    """A SPDY client over send and receive functions."""

    def __init__(self, sock, send=None, recv=None):
        self.sock, self.write, self.read_some = sock, send or sock.sendall, recv or sock.recv
        self.deflate = zlib.compressobj(zdict=dictionary())
        self.inflate = zlib.decompressobj(zdict=dictionary())
        self.buffer, self.next_id, self.ids, self.frames = b"", 1, {}, []

    def control(self, kind, body, flags=0):
        self.write(struct.pack(">HHI", 0x8003, kind, flags << 24 | len(body)) + body)

    def block(self, headers):
        data = struct.pack(">I", len(headers))
        for name, value in headers.items():
            data += struct.pack(">I", len(name)) + name.encode() + struct.pack(">I", len(value)) + value.encode()
        return self.deflate.compress(data) + self.deflate.flush(zlib.Z_SYNC_FLUSH)

    def open(self, kind, flags=0, wait=True, **headers):
        stream, self.next_id = self.next_id, self.next_id + 2
        self.ids[stream] = kind
        self.control(1, struct.pack(">IIH", stream, 0, 0) + self.block({"streamtype": kind, **headers}), flags)
        if wait:
            frame = self.next()
            assert frame[0] == "reply" and frame[1] == stream, frame
        return stream

    def data(self, stream, data=b"", fin=False):
        self.write(struct.pack(">II", stream, (1 << 24 if fin else 0) | len(data)) + data)

    def take(self, n):
        while len(self.buffer) < n:
            part = self.read_some(max(65536, n - len(self.buffer)))
            if not part:
                return None
            self.buffer += part
        out, self.buffer = self.buffer[:n], self.buffer[n:]
        return out

    def next(self):
        """("data", stream, bytes, fin), ("reply", stream), ("reset", stream, status), ("ping", id), ("goaway", last), ..."""
        head = self.take(8)
        if head is None:
            return ("end",)
        first, second = struct.unpack(">II", head)
        body = self.take(second & 0xFFFFFF)
        assert body is not None, "a frame is cut"
        if not first & 0x80000000:
            return ("data", first, body, bool(second >> 24 & 1))
        assert first >> 16 == 0x8003
        kind = first & 0xFFFF
        words = struct.unpack_from(f">{len(body) // 4}I", body)
        if kind == 2:
            assert self.inflate.decompress(body[4:]) == b"\0\0\0\0"
            return ("reply", words[0])
        name = {3: "reset", 4: "settings", 6: "ping", 7: "goaway", 9: "window"}[kind]
        return (name, *words)

    def rest(self):
        """All frames to the end, told by stream names."""
        frames = []
        while True:
            frame = self.next()
            frames.append(frame)
            if frame[0] == "end":
                return frames


class Outcome:
    """What the frames of an exec's end come to."""

    def __init__(self, spdy, frames):
        self.out = self.err = self.error = b""
        self.order = []
        for frame in frames:
            name = spdy.ids.get(frame[1]) if len(frame) > 1 and frame[0] in ("data", "reset") else None
            if frame[0] == "data":
                if name == "stdout":
                    self.out += frame[2]
                elif name == "stderr":
                    self.err += frame[2]
                elif name == "error":
                    self.error += frame[2]
                if frame[3]:
                    self.order.append(f"fin {name}")
                elif name == "error":
                    self.order.append("status")
            elif frame[0] == "reset":
                self.order.append(f"reset {name}")
                assert frame[2] == 5
            else:
                self.order.append(frame[0])


def mask(data, key=b"\x11\x22\x33\x44"):
    whole = int.from_bytes(data, "big") ^ int.from_bytes((key * (len(data) // 4 + 1))[: len(data)], "big")
    return whole.to_bytes(len(data), "big")


class WebSocket:
    """A WebSocket client, frame by frame."""

    def __init__(self, program, path, protocols, **fields):
        self.sock = program.connect()
        if protocols is not None:
            fields["Sec_WebSocket_Protocol"] = ", ".join(protocols)
        self.sock.sendall(
            request("GET", path, Connection="Upgrade", Upgrade="websocket", Sec_WebSocket_Version=13,
                    Sec_WebSocket_Key="dGhlIHNhbXBsZSBub25jZQ==", Origin="https://elsewhere", **fields)
        )  # fmt: skip
        self.status, self.fields, _ = answer_of(self.sock)
        self.buffer = b""

    def frame(self, opcode, data, fin=True, key=b"\x11\x22\x33\x44"):
        head = bytes([(0x80 if fin else 0) | opcode])
        if len(data) < 126:
            head += bytes([0x80 | len(data)])
        elif len(data) < 65536:
            head += bytes([0x80 | 126]) + struct.pack(">H", len(data))
        else:
            head += bytes([0x80 | 127]) + struct.pack(">Q", len(data))
        self.sock.sendall(head + key + mask(data, key))

    def send(self, channel, data, text=False):
        if text:
            self.frame(1, str(channel).encode() + base64.b64encode(data))
        else:
            self.frame(2, bytes([channel]) + data)

    def take(self, n):
        while len(self.buffer) < n:
            part = self.sock.recv(65536)
            if not part:
                return None
            self.buffer += part
        out, self.buffer = self.buffer[:n], self.buffer[n:]
        return out

    def next(self):
        """(opcode, payload), or None at the end."""
        head = self.take(2)
        if head is None:
            return None
        assert not head[1] & 0x80 and head[0] & 0x80, "a server's frame is whole and not masked"
        n = head[1] & 127
        if n == 126:
            n = struct.unpack(">H", self.take(2))[0]
        elif n == 127:
            n = struct.unpack(">Q", self.take(8))[0]
        return head[0] & 15, self.take(n)

    def rest(self):
        frames = []
        while (frame := self.next()) is not None:
            frames.append(frame)
        return frames


def until(condition, seconds=10):
    by = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < by, "it does not come"
        time.sleep(0.01)


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


def websocket_exec(program, streams, protocols, kind=EXEC):
    client = WebSocket(program, f"/{PATHS[kind]}/" + program.token(kind, streams), protocols)
    assert client.status == 101
    session = Session([s for s in streams if s != "tty"], pty="tty" in streams, attach=kind == ATTACH)
    return client, session


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


def pair(client, port, request, wait=True):
    fields = {"port": str(port)}
    if request is not None:
        fields["requestid"] = str(request)
    error = client.open("error", wait=wait, **fields)
    client.data(error, fin=True)
    return error, client.open("data", wait=wait, **fields)
