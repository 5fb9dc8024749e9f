"""The WebSocket ways of exec, attach and port-forward, over Debian's python3-websocket: v4, v5, their base64 forms, no
subprotocol at all, channels of the old port-forward, and SPDY in a tunnel.

    with Session(url, "v5.channel.k8s.io") as session:
        session.write(b"hello"); session.end_stdin(); out, err, status = session.wait()
    with tunnel(url) as forward: data, error = forward.connect(80)        # a spdy_client.Forward
"""

import base64
import json
import socket
import struct
import threading

import websocket

import spdy_client

PATIENCE_S = spdy_client.PATIENCE_S
STDIN, STDOUT, STDERR, ERROR, RESIZE, CLOSE = 0, 1, 2, 3, 4, 255
TUNNEL = "SPDY/3.1+portforward.k8s.io"


def connect(url, protocols=(), **more):
    """A websocket.WebSocket. Errors: spdy_client.Refused. more: header=[...], origin=..., of create_connection."""
    address = "ws" + url.removeprefix("http")
    try:
        made = websocket.create_connection(address, timeout=PATIENCE_S, subprotocols=list(protocols) or None, **more)
    except websocket.WebSocketBadStatusException as error:
        raise spdy_client.Refused(error.status_code, {}, str(error).encode()) from None
    made.settimeout(None)
    made.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", int(PATIENCE_S), 0))
    return made


class Session:
    """Channels: .received[n] has the bytes of channel n; .messages each message as it came, (channel, bytes)."""

    def __init__(self, url, protocol="v4.channel.k8s.io", protocols=None, **more):
        self.socket = connect(url, protocols or ([protocol] if protocol else []), **more)
        self.protocol = self.socket.getsubprotocol() or ""
        self.is_base64 = "base64" in self.protocol
        self.changed = threading.Condition()
        self.received, self.messages, self.pongs = {}, [], []
        self.ended, self.close_code, self.why = False, None, ""
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        """Goes away without a word."""
        try:
            self.socket.sock.shutdown(socket.SHUT_RDWR)
        except (OSError, AttributeError):
            pass
        self.reader.join(PATIENCE_S)
        self.socket.shutdown()

    # --- what the client says ---

    def send(self, channel, data, fragments=1):
        """One message; fragments: in how many frames."""
        opcode = websocket.ABNF.OPCODE_TEXT if self.is_base64 else websocket.ABNF.OPCODE_BINARY
        body = str(channel).encode() + base64.b64encode(data) if self.is_base64 else bytes([channel]) + data
        size = -(-len(body) // fragments)
        for turn in range(fragments):
            piece, last = body[turn * size : (turn + 1) * size], turn == fragments - 1
            kind = opcode if turn == 0 else websocket.ABNF.OPCODE_CONT
            self.socket.send_frame(websocket.ABNF.create_frame(piece, kind, int(last)))

    def write(self, data):
        for at in range(0, len(data), 32768):
            self.send(STDIN, data[at : at + 32768])

    def end_stdin(self):
        """v5 alone knows a half-close."""
        self.socket.send_binary(bytes([CLOSE, STDIN]))

    def resize(self, columns, rows):
        self.send(RESIZE, json.dumps({"Width": columns, "Height": rows}).encode() + b"\n")

    def ping(self, data=b"ping"):
        self.socket.ping(data)
        self.wait_for(lambda: data in self.pongs, "a pong")

    # --- what the server says ---

    def _read(self):
        try:
            while not self.ended:
                opcode, data = self.socket.recv_data(control_frame=True)
                with self.changed:
                    self._handle(opcode, data)
                    self.changed.notify_all()
        except (OSError, ValueError, websocket.WebSocketException) as error:
            with self.changed:
                self.ended, self.why = True, repr(error)
                self.changed.notify_all()

    def _handle(self, opcode, data):
        if opcode == websocket.ABNF.OPCODE_CLOSE:
            self.ended, self.close_code = True, struct.unpack("!H", data[:2])[0] if len(data) >= 2 else None
        elif opcode == websocket.ABNF.OPCODE_PONG:
            self.pongs.append(data)
        elif opcode in (websocket.ABNF.OPCODE_BINARY, websocket.ABNF.OPCODE_TEXT):
            channel = int(data[:1]) if self.is_base64 else data[0]
            body = base64.b64decode(data[1:], validate=True) if self.is_base64 else data[1:]
            self.messages.append((channel, body))
            self.received.setdefault(channel, bytearray()).extend(body)

    def wait_for(self, check, what, seconds=PATIENCE_S):
        with self.changed:
            self.changed.wait_for(lambda: check() or self.ended, seconds)
            if not check():
                raise TimeoutError(f"no {what}; ended: {self.ended}, {self.close_code}, {self.why}; {self.received}")

    def bytes_of(self, channel):
        return bytes(self.received.get(channel, b""))

    def wait(self, seconds=PATIENCE_S):
        """(stdout, stderr, status) when the server has closed. The status of protocols before v4 is text or nothing."""
        self.wait_for(lambda: self.ended, "end", seconds)
        text = self.bytes_of(ERROR).decode()
        if self.protocol.startswith(("v4.", "v5.")):
            status = json.loads(text) if text else None
        else:
            status = {"status": "Failure", "message": text} if text else {"status": "Success"}
        return self.bytes_of(STDOUT), self.bytes_of(STDERR), status


class _Tunnel:
    """A WebSocket as a byte stream: the transport of a spdy_client.Connection."""

    def __init__(self, made):
        self.made = made

    def recv(self, _size):
        data, opcode = b"", None
        try:
            while not data and opcode != websocket.ABNF.OPCODE_CLOSE:
                opcode, data = self.made.recv_data(control_frame=False)
        except websocket.WebSocketConnectionClosedException:
            return b""
        return b"" if opcode == websocket.ABNF.OPCODE_CLOSE else data

    def sendall(self, data):
        self.made.send_binary(data)

    def shutdown(self, how):
        self.made.sock.shutdown(how)

    def close(self):
        self.made.shutdown()


def tunnel(url):
    """A spdy_client.Forward through a WebSocket."""
    return spdy_client.Forward(connection=spdy_client.Connection(_Tunnel(connect(url, [TUNNEL])), None))
