"""A SPDY/3.1 client written from the protocol's text (draft-mbelshe-httpbis-spdy-00 and 3.1's notes), as Kubernetes uses it
for exec, attach and port-forward: an oracle that shares nothing with cri/client or cri/stream.

    out, err, status = exec(cri, container, ["sh", "-c", "cat; exit 3"], stdin=b"hello")
    assert exit_code(status) == 3
    with Session(url, stdin=True, tty=True, size=(101, 33)) as session: session.stdin.write(b"exit\\n"); session.wait()
    with Forward(url) as forward: data, error = forward.connect(80)
    with connect(url, ["v4.channel.k8s.io"]) as connection: stream = connection.open({"streamtype": "error"})

A thread for each connection reads frames, without a bound, until pause(). Every wait ends after PATIENCE_S with TimeoutError.
"""

import json
import socket
import ssl
import struct
import threading
import time
import urllib.parse
import zlib

import harness

PATIENCE_S = 20 * harness.SLOW
V4 = ["v4.channel.k8s.io"]
PORT_FORWARD = ["portforward.k8s.io"]
SYN_STREAM, SYN_REPLY, RST_STREAM, SETTINGS, PING, GOAWAY, HEADERS, WINDOW_UPDATE = 1, 2, 3, 4, 6, 7, 8, 9
FIN = 1
CANCEL = 5

# 2.6.10.1: words, each after its length, and then a text without any.
WORDS = (
    "options head post put delete trace accept accept-charset accept-encoding accept-language accept-ranges age allow "
    "authorization cache-control connection content-base content-encoding content-language content-length "
    "content-location content-md5 content-range content-type date etag expect expires from host if-match "
    "if-modified-since if-none-match if-range if-unmodified-since last-modified location max-forwards pragma "
    "proxy-authenticate proxy-authorization range referer retry-after server te trailer transfer-encoding upgrade "
    "user-agent vary via warning www-authenticate method get status 200_OK version HTTP/1.1 url public set-cookie "
    "keep-alive origin"
)
TEXT = (
    "100101201202205206300302303304305306307402405406407408409410411412413414415416417502504505"
    "203 Non-Authoritative Information204 No Content301 Moved Permanently400 Bad Request401 Unauthorized403 Forbidden"
    "404 Not Found500 Internal Server Error501 Not Implemented503 Service Unavailable"
    "Jan Feb Mar Apr May Jun Jul Aug Sept Oct Nov Dec 00:00:00 Mon, Tue, Wed, Thu, Fri, Sat, Sun, GMT"
    "chunked,text/html,image/png,image/jpg,image/gif,application/xml,application/xhtml+xml,text/plain,text/javascript,public"
    "privatemax-age=gzip,deflate,sdchcharset=utf-8charset=iso-8859-1,utf-,*,enq=0."
)
DICTIONARY = b"".join(struct.pack("!I", len(word)) + word.replace("_", " ").encode() for word in WORDS.split()) + TEXT.encode()
assert zlib.adler32(DICTIONARY) == 0xE3C6A7C2


class Refused(Exception):
    """An answer to the upgrade that is not 101."""

    def __init__(self, status, headers, body):
        super().__init__(f"{status}: {body[:500]!r}")
        self.status, self.headers, self.body = status, headers, body


class Ended(Exception):
    """The stream or its connection ended before what was waited for."""


# --- frames ---


def control(kind, payload, flags=0):
    return struct.pack("!HHI", 0x8003, kind, flags << 24 | len(payload)) + payload


def data_frame(number, data, flags=0):
    return struct.pack("!II", number, flags << 24 | len(data)) + data


def header_block(pairs):
    """Not compressed."""
    flat = [text.encode() for pair in pairs.items() for text in pair]
    return struct.pack("!I", len(pairs)) + b"".join(struct.pack("!I", len(text)) + text for text in flat)


def header_pairs(block):
    at, found = 4, []
    for _ in range(2 * struct.unpack_from("!I", block)[0]):
        (length,) = struct.unpack_from("!I", block, at)
        found.append(block[at + 4 : at + 4 + length].decode())
        at += 4 + length
    return dict(zip(found[::2], found[1::2]))


class Stream:
    """One stream. received: all bytes that came and were not taken by a read."""

    def __init__(self, connection, number):
        self.connection, self.number = connection, number
        self.received = bytearray()
        self.replied = self.fin = False
        self.reset = None  # a RST_STREAM's status
        self.fin_at = None

    @property
    def ended(self):
        return self.fin or self.reset is not None or self.connection.ended

    def write(self, data, fin=False):
        for at in range(0, max(len(data), 1), 32768):
            piece = data[at : at + 32768]
            self.connection.send(data_frame(self.number, piece, FIN if fin and at + 32768 >= len(data) else 0))

    def close(self):
        """Half: what the other side writes still comes."""
        self.connection.send(data_frame(self.number, b"", FIN))

    def cancel(self, status=CANCEL):
        self.connection.send(control(RST_STREAM, struct.pack("!II", self.number, status)))

    def _wait(self, check, what, seconds):
        self.connection.wait(lambda: check() or self.ended, what, seconds)
        if not check():
            raise Ended(f"stream {self.number} ended before {what}: {bytes(self.received[-2000:])!r}")

    def take(self, size):
        with self.connection.changed:
            taken = bytes(self.received[:size])
            del self.received[:size]
        return taken

    def read(self, size, seconds=PATIENCE_S):
        """Exactly so many bytes."""
        self._wait(lambda: len(self.received) >= size, f"{size} bytes", seconds)
        return self.take(size)

    def read_until(self, text, seconds=PATIENCE_S):
        """All up to and with the text."""
        self._wait(lambda: text in self.received, repr(text), seconds)
        return self.take(self.received.index(text) + len(text))

    def read_all(self, seconds=PATIENCE_S):
        self.connection.wait(lambda: self.ended, f"the end of stream {self.number}", seconds)
        return self.take(len(self.received))


class Connection:
    """An upgraded connection. transport: what has recv, sendall, shutdown and close."""

    def __init__(self, transport, protocol, early=b""):
        self.transport, self.protocol = transport, protocol
        self.deflate = zlib.compressobj(zdict=DICTIONARY)
        self.inflate = zlib.decompressobj(zdict=DICTIONARY)
        self.changed = threading.Condition(threading.RLock())
        self.sending = threading.Lock()
        self.reading = threading.Event()
        self.reading.set()
        self.streams, self.next_number = {}, 1
        self.pings, self.goaway, self.ended, self.why = [], None, False, ""
        self.frames = []  # (kind or None, stream or None, length) of each that came
        self.unread = bytearray(early)
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        """Goes away without a word."""
        self.reading.set()
        try:
            self.transport.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self.reader.join(PATIENCE_S)
        self.transport.close()

    def pause(self):
        """Reads no more until resume(); what a recv under way gives still comes."""
        self.reading.clear()

    def resume(self):
        self.reading.set()

    def wait(self, check, what, seconds=PATIENCE_S):
        with self.changed:
            if not self.changed.wait_for(check, seconds):
                raise TimeoutError(f"no {what} within {seconds} s; connection ended: {self.ended} {self.why}")

    def send(self, frame):
        with self.sending:
            self.transport.sendall(frame)

    def open(self, pairs, wait=True, flags=0):
        """A stream with these headers; wait: for its SYN_REPLY."""
        with self.sending:
            stream = Stream(self, self.next_number)
            self.next_number += 2
            with self.changed:
                self.streams[stream.number] = stream
            block = self.deflate.compress(header_block(pairs)) + self.deflate.flush(zlib.Z_SYNC_FLUSH)
            payload = struct.pack("!IIH", stream.number, 0, 0) + block
            self.transport.sendall(control(SYN_STREAM, payload, flags))
        if wait:
            stream._wait(lambda: stream.replied, "a SYN_REPLY", PATIENCE_S)
        return stream

    def ping(self, number=1):
        """Sends one and waits for its echo."""
        self.send(control(PING, struct.pack("!I", number)))
        self.wait(lambda: number in self.pings or self.ended, "the echo of a ping")
        if number not in self.pings:
            raise Ended("no echo of a ping")

    def wait_ended(self, seconds=PATIENCE_S):
        """Until the server has closed the connection."""
        self.wait(lambda: self.ended, "the end of the connection", seconds)

    # --- the reader ---

    def _read(self):
        why = "FIN"
        try:
            while True:
                self._handle_all()
                self.reading.wait()
                got = self.transport.recv(65536)
                if not got:
                    break
                self.unread += got
        except (OSError, ValueError) as error:
            why = repr(error)
        except Exception as error:  # a frame that is none: the waiting test is told
            why = f"the server broke the protocol: {error!r}"
        with self.changed:
            self.ended, self.why = True, why
            self.changed.notify_all()

    def _handle_all(self):
        while len(self.unread) >= 8:
            first, second = struct.unpack_from("!II", self.unread)
            flags, length = second >> 24, second & 0xFFFFFF
            if len(self.unread) < 8 + length:
                return
            payload = bytes(self.unread[8 : 8 + length])
            del self.unread[: 8 + length]
            with self.changed:
                if first >> 31:
                    assert first >> 16 == 0x8003, f"version {first >> 16 & 0x7FFF}"
                    self._handle_control(first & 0xFFFF, flags, payload)
                else:
                    self._handle_data(first, flags, payload)
                self.changed.notify_all()

    def _handle_data(self, number, flags, payload):
        stream = self.streams[number]
        assert not stream.fin, f"data after FIN on stream {number}"
        self.frames.append((None, number, len(payload)))
        stream.received += payload
        self._handle_fin(stream, flags)

    @staticmethod
    def _handle_fin(stream, flags):
        if flags & FIN:
            stream.fin, stream.fin_at = True, time.monotonic()

    def _handle_control(self, kind, flags, payload):
        number = struct.unpack_from("!I", payload)[0] & 0x7FFFFFFF
        self.frames.append((kind, number, len(payload)))
        if kind == SYN_REPLY:
            header_pairs(self.inflate.decompress(payload[4:]))
            self.streams[number].replied = True
            self._handle_fin(self.streams[number], flags)
        elif kind == RST_STREAM and number in self.streams:
            self.streams[number].reset = struct.unpack_from("!I", payload, 4)[0]
        elif kind == PING and number % 2:
            self.pings.append(number)
        elif kind == PING:
            threading.Thread(target=self.send, args=(control(PING, payload),), daemon=True).start()
        elif kind == GOAWAY:
            self.goaway = struct.unpack_from("!II", payload)


# --- the upgrade ---


def dial(url, tls=None):
    """A socket to the URL's host, and the URL's path. A sendall that finds no room for PATIENCE_S fails."""
    parts = urllib.parse.urlsplit(url)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    made = socket.create_connection((parts.hostname, port), timeout=PATIENCE_S)
    if parts.scheme == "https":
        made = (tls or ssl._create_unverified_context()).wrap_socket(made, server_hostname=parts.hostname)
    made.settimeout(None)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", int(PATIENCE_S), 0))
    return made, parts.path + (f"?{parts.query}" if parts.query else ""), parts.netloc


def read_answer(transport):
    """(status, headers, what came behind the empty line)."""
    received = b""
    while b"\r\n\r\n" not in received:
        got = transport.recv(65536)
        if not got:
            raise Ended(f"the server closed in the middle of its answer: {received!r}")
        received += got
    head, rest = received.split(b"\r\n\r\n", 1)
    lines = head.decode("latin-1").split("\r\n")
    headers = {}
    for name, value in (line.split(":", 1) for line in lines[1:]):
        headers.setdefault(name.strip().lower(), []).append(value.strip())
    return int(lines[0].split(" ")[1]), headers, rest


def read_body(transport, headers, rest):
    size = int(headers.get("content-length", ["-1"])[0])
    while size < 0 or len(rest) < size:
        got = transport.recv(65536)
        if not got:
            break
        rest += got
    return rest


def connect(url, protocols=V4, method="POST", headers=(), tls=None):
    """The upgraded connection. headers: further lines, (name, value). Errors: Refused."""
    transport, path, host = dial(url, tls)
    lines = [f"{method} {path} HTTP/1.1", f"Host: {host}", "Connection: Upgrade", "Upgrade: SPDY/3.1", "Content-Length: 0"]
    lines += [f"X-Stream-Protocol-Version: {protocol}" for protocol in protocols]
    lines += [f"{name}: {value}" for name, value in headers]
    try:
        transport.settimeout(PATIENCE_S)
        transport.sendall("".join(f"{line}\r\n" for line in [*lines, ""]).encode())
        status, answered, rest = read_answer(transport)
        if status != 101:
            raise Refused(status, answered, read_body(transport, answered, rest))
        transport.settimeout(None)
    except BaseException:
        transport.close()
        raise
    assert answered["upgrade"] == ["SPDY/3.1"], answered
    return Connection(transport, answered.get("x-stream-protocol-version", [None])[0], rest)


# --- exec and attach ---


def exit_code(status):
    """The command's; the text of a status that has none is an AssertionError."""
    if status is not None and status["status"] == "Success":
        return 0
    assert status is not None and status.get("reason") == "NonZeroExitCode", status
    return int([cause["message"] for cause in status["details"]["causes"] if cause["reason"] == "ExitCode"][0])


class Session:
    """An exec's or attach's streams: .error, .stdin, .stdout, .stderr, .resize_stream, None where not asked for. The flags
    are those of the CRI call. size: (columns, rows)."""

    def __init__(self, url, stdin=False, stdout=True, stderr=True, tty=False, size=None, protocols=V4, **more):
        self.connection = connect(url, protocols, **more)
        try:
            asked = {"error": True, "stdin": stdin, "stdout": stdout, "stderr": stderr and not tty, "resize": tty}
            opened = {name: self.connection.open({"streamtype": name}) for name, wanted in asked.items() if wanted}
            self.error, self.stdin, self.stdout = opened["error"], opened.get("stdin"), opened.get("stdout")
            self.stderr, self.resize_stream = opened.get("stderr"), opened.get("resize")
            if size:
                self.resize(*size)
        except BaseException:
            self.connection.close()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.connection.close()

    def resize(self, columns, rows):
        self.resize_stream.write(json.dumps({"Width": columns, "Height": rows}).encode() + b"\n")

    def feed(self, data):
        """Writes all of stdin and ends it. A process that ends first leaves the rest unwritten."""
        try:
            self.stdin.write(data, fin=True)
        except (BrokenPipeError, ConnectionResetError):
            pass

    def status(self, seconds=PATIENCE_S):
        """What is on the error stream when the session has ended, parsed; None for nothing."""
        text = self.error.read_all(seconds).decode()
        if self.connection.protocol in ("v4.channel.k8s.io", "v5.channel.k8s.io"):
            return json.loads(text) if text else None
        return {"status": "Failure", "message": text} if text else {"status": "Success"}

    def wait(self, seconds=PATIENCE_S):
        """(stdout, stderr, status) of a session that ends by itself."""
        out = self.stdout.read_all(seconds) if self.stdout else b""
        err = self.stderr.read_all(seconds) if self.stderr else b""
        return out, err, self.status(seconds)


def exec_url(cri, container, cmd, stdin=False, stdout=True, stderr=True, tty=False):
    flags = {"stdin": stdin, "stdout": stdout, "stderr": stderr and not tty, "tty": tty}
    return cri.Exec(container_id=container, cmd=cmd, **flags).url


def attach_url(cri, container, stdin=False, stdout=True, stderr=True, tty=False):
    flags = {"stdin": stdin, "stdout": stdout, "stderr": stderr and not tty, "tty": tty}
    return cri.Attach(container_id=container, **flags).url


def start(cri, container, cmd, size=None, protocols=V4, **flags):
    """A Session of an exec."""
    return Session(exec_url(cri, container, cmd, **flags), size=size, protocols=protocols, **flags)


def attach(cri, container, size=None, protocols=V4, **flags):
    """A Session of an attach."""
    return Session(attach_url(cri, container, **flags), size=size, protocols=protocols, **flags)


def exec(cri, container, cmd, stdin=None, seconds=PATIENCE_S, **more):
    """(stdout, stderr, status) of a command run to its end. stdin: bytes, all of it; None: none is asked for."""
    with start(cri, container, cmd, stdin=stdin is not None, **more) as session:
        if stdin is not None:
            session.feed(stdin)
        return session.wait(seconds)


# --- port-forward ---


class Forward:
    """A port-forward's connection; connect() as often as one likes. transport: see ws_client.tunnel."""

    def __init__(self, url=None, connection=None):
        self.connection = connection or connect(url, PORT_FORWARD)
        self.requests = 0

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.connection.close()

    def connect(self, port, wait=True):
        """(data stream, error stream) of a connection to the port."""
        pairs = {"port": str(port), "requestid": str(self.requests)}
        self.requests += 1
        error = self.connection.open({"streamtype": "error", **pairs}, wait)
        error.close()
        return self.connection.open({"streamtype": "data", **pairs}, wait), error


def forward(cri, pod, ports=()):
    """A Forward into a pod. ports: of the CRI call, which names none as a rule."""
    return Forward(cri.PortForward(pod_sandbox_id=pod, port=list(ports)).url)
