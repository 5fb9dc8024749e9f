"""skiff-stream alone: what it refuses, what bad clients do to it, what it cannot do itself; TLS. See stream_program.py."""

import json
import os
import ssl
import subprocess

import pytest

from stream_program import *  # noqa: F403: the parts of a test


@pytest.fixture
def program():
    program = Program()
    yield program
    status, said = program.stop()
    assert (status, said) == (0, ""), said


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
    assert program.smaps("Pss") < PSS_MOST
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
    kinds = lambda: [os.readlink(proc / "fd" / fd).split(":")[0] for fd in os.listdir(proc / "fd")]
    until(lambda: kinds().count("socket") == 4)  # control, listener, the client, and when it has come the channel
    assert kinds().count("pipe") == 2  # stderr and the output
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


def test_few_descriptors_bound_sessions_and_pairs():
    limited = Program(limit=128)
    sessions, refused = [], 0
    for _ in range(40):
        sock = limited.connect()
        sock.sendall(spdy_request("/exec/" + limited.token(EXEC, ("in", "out", "err"))))
        status = answer_of(sock)[0]
        if status == 503:
            refused += 1
            sock.close()
            continue
        assert status == 101
        client, session = Spdy(sock), Session(("in", "out", "err"))
        for kind in ("error", "stdin", "stdout", "stderr"):
            client.open(kind)
        limited.opened(session)
        sessions.append((client, session))
    assert refused >= 10 and len(sessions) >= 5
    idle = [limited.connect() for _ in range(100)]
    for client, session in sessions:
        os.write(session.out_w, b"x")
        session.exit(0)
        assert Outcome(client, client.rest()).out == b"x"
        client.sock.close()
    for sock in idle:
        sock.close()
    until(lambda: limited.fds() < 10)
    client, session = spdy_forward(limited)
    pod = Pod(limited, session)
    answers = []
    for i in range(120):
        pair(client, pod.port, i, wait=False)
    session.channel.settimeout(1)
    with pytest.raises(TimeoutError):
        while True:
            pod.answer()
    while b"too many connections" not in (answers or [b""])[-1]:
        frame = client.next()
        answers.append(frame[2] if frame[0] == "data" else b"")
    client.sock.close()
    assert limited.stop() == (0, "")
