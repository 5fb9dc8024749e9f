"""Streams when something goes wrong. Covers: kill -9 of skiffd, skiff-stream and skiff-pod in mid-session; clients that break the
protocol, send slowly, never read, or come by the hundred; what skiff-stream may do, and which descriptors it holds."""

import contextlib
import os
import pathlib
import signal
import socket
import struct
import time
import zlib

import grpc
import pytest

import harness
import spdy_client
import ws_client
from spdy_client import exit_code


@pytest.fixture
def container(skiff):
    pod = skiff.run_pod(name="faults")
    return skiff.run(pod, ["sleep", "1000"])


def stream_pid(skiff):
    """The skiff-stream of this skiffd."""
    found = [pid for pid, line in harness.processes(skiff.cgroup_parent, skiff.process.pid).items() if "skiff-stream" in line.split()[0]]
    assert len(found) == 1, found
    return found[0]


def pod_pid(skiff, container):
    """The skiff-pod that is the parent of a container."""
    return int(harness.read_proc(skiff.info(container)["pid"], "stat").rsplit(")", 1)[1].split()[1])


def running(line):
    return line in harness.processes().values()


def works(skiff, container):
    out, _, status = spdy_client.exec(skiff.cri, container, ["sh", "-c", "echo works; exit 3"])
    return (out, exit_code(status)) == (b"works\n", 3)


def start(skiff, container, script, **more):
    return spdy_client.start(skiff.cri, container, ["sh", "-c", script], **more)


# --- deaths ---


def test_sessions_outlive_skiffd(skiff, container):
    with start(skiff, container, "while read x; do echo got $x; done; exit 5", stdin=True) as session:
        session.stdin.write(b"one\n")
        session.stdout.read_until(b"got one\n")
        skiff.kill()
        session.stdin.write(b"two\n")
        session.stdout.read_until(b"got two\n")
        skiff.start()
        assert works(skiff, container)
        session.stdin.write(b"three\n")
        session.stdout.read_until(b"got three\n")
        session.stdin.close()
        assert exit_code(session.wait()[2]) == 5
    harness.wait_for(lambda: stream_pid(skiff), "one skiff-stream")


def test_a_url_dies_with_skiffd(skiff, container):
    url = spdy_client.exec_url(skiff.cri, container, ["true"])
    skiff.kill()
    with pytest.raises((spdy_client.Refused, spdy_client.Ended, OSError)):
        spdy_client.Session(url).wait()
    skiff.start()
    assert works(skiff, container)


def test_skiff_streams_death_hangs_up_and_the_next_session_works(skiff, container):
    with start(skiff, container, "trap 'exit 0' HUP; echo up; sleep 791 & wait", stdin=True) as session:
        session.stdout.read_until(b"up\n")
        before = stream_pid(skiff)
        os.kill(before, signal.SIGKILL)
        session.connection.wait_ended()
        harness.wait_for(lambda: not running("sleep 791"), "the end of its process")
    harness.wait_for(lambda: tries(skiff, container), "a new skiff-stream")
    assert stream_pid(skiff) != before
    assert skiff.status(container).state == 1


def tries(skiff, container):
    try:
        return works(skiff, container)
    except (grpc.RpcError, OSError, spdy_client.Refused, spdy_client.Ended):
        return False


def test_skiff_streams_death_over_and_over(skiff, container):
    for _ in range(4):
        os.kill(stream_pid(skiff), signal.SIGKILL)
        harness.wait_for(lambda: tries(skiff, container), "a new skiff-stream")


def test_skiff_pods_death_ends_its_sessions(skiff, container):
    pod = skiff.pod_of(container)
    attached = skiff.run(pod, ["sh", "-c", "while read x; do echo $x; done"], stdin=True)
    with start(skiff, container, "echo up; sleep 792") as session, spdy_client.attach(skiff.cri, attached, stdin=True) as attach:
        with spdy_client.forward(skiff.cri, pod) as forward:
            session.stdout.read_until(b"up\n")
            attach.stdin.write(b"there\n")
            attach.stdout.read_until(b"there\n")
            forward.connect(7999)[1].read_all()
            os.kill(pod_pid(skiff, container), signal.SIGKILL)
            out, _, status = session.wait()
            assert status is None or exit_code(status) == 137 or status["status"] == "Failure"
            attach.stdout.read_all()
            forward.connection.wait_ended()
    harness.wait_for(lambda: not running("sleep 792"), "its processes' end")
    other = skiff.run_pod(name="other")
    assert works(skiff, skiff.run(other, ["sleep", "1000"]))


def test_a_stop_of_skiffd_lets_sessions_be(skiff, container):
    """And a second skiffd serves new ones beside the old skiff-stream."""
    with start(skiff, container, "echo up; read x; echo got $x; exit 6", stdin=True) as session:
        session.stdout.read_until(b"up\n")  # until skiffd is not between any more
        skiff.stop()
        skiff.start()
        session.stdin.write(b"word\n")
        out, _, status = session.wait()
    assert (out, exit_code(status)) == (b"got word\n", 6)
    assert works(skiff, container)


# --- clients that break the protocol ---


def connected(skiff, container, command=("cat",), **flags):
    return spdy_client.connect(spdy_client.exec_url(skiff.cri, container, list(command), **{"stdin": True, **flags}))


BAD = {
    "a short SYN_STREAM": spdy_client.control(spdy_client.SYN_STREAM, b"abc"),
    "rubbish in a header block": spdy_client.control(spdy_client.SYN_STREAM, struct.pack("!IIH", 1, 0, 0) + b"rubbish" * 9),
    "another version": struct.pack("!HHI", 0x8002, 1, 10) + bytes(10),
    "data of no stream": spdy_client.data_frame(99, b"x"),
    "data of stream 0": spdy_client.data_frame(0, b"x"),
    "an even stream": spdy_client.control(spdy_client.SYN_STREAM, struct.pack("!IIH", 2, 0, 0)),
    "a huge control frame": struct.pack("!HHI", 0x8003, 1, 0xFFFFFF) + bytes(100000),
    "a short ping": spdy_client.control(spdy_client.PING, b"x"),
    "rubbish": b"GET / HTTP/1.1\r\n\r\n" * 50,
}


@pytest.mark.parametrize("frame", BAD.values(), ids=[name.replace(" ", "_") for name in BAD])
def test_a_bad_frame_harms_nobody_else(skiff, container, frame):
    with start(skiff, container, "read x; echo got $x", stdin=True) as good, connected(skiff, container) as bad:
        bad.send(frame)
        good.stdin.write(b"word\n")
        assert good.wait()[0] == b"got word\n"
    assert works(skiff, container) and stream_pid(skiff)


def test_rubbish_in_headers_ends_the_connection(skiff, container):
    with connected(skiff, container) as connection:
        connection.send(BAD["rubbish in a header block"])
        connection.wait_ended()


def rss_kib(pid):
    return int(harness.read_proc(pid, "status").split("VmRSS:")[1].split()[0])


def peak_kib(pid):
    return int(harness.read_proc(pid, "status").split("VmHWM:")[1].split()[0])


def test_a_bomb_of_headers_takes_no_memory(skiff, container):
    before = rss_kib(stream_pid(skiff))
    deflate = zlib.compressobj(zdict=spdy_client.DICTIONARY)
    bomb = deflate.compress(struct.pack("!II", 1, 1 << 30) + bytes(256 << 20)) + deflate.flush(zlib.Z_SYNC_FLUSH)
    assert len(bomb) < 1 << 19
    with connected(skiff, container) as connection:
        connection.send(spdy_client.control(spdy_client.SYN_STREAM, struct.pack("!IIH", 1, 0, 0) + bomb))
        try:
            connection.wait_ended()
        except TimeoutError:
            pass
    assert works(skiff, container)
    assert harness.SANITIZED or peak_kib(stream_pid(skiff)) - before < 32 << 10


def test_missing_streams_are_waited_for_a_while_only(skiff, container):
    """The fact of the peer: 30 s, and the connection stayed open for ever."""
    with connected(skiff, container) as connection:
        connection.open({"streamtype": "error"})
        connection.wait_ended(45 * harness.SLOW)
    assert works(skiff, container)


def test_a_client_that_never_reads_takes_no_memory(skiff, container):
    pid = stream_pid(skiff)
    before = rss_kib(pid)
    with start(skiff, container, "yes a long line of text that nobody will ever read") as session:
        session.stdout.read(100000)
        session.connection.pause()
        spawned = time.monotonic()
        while time.monotonic() - spawned < 2:
            assert harness.SANITIZED or rss_kib(pid) - before < 16 << 10
            time.sleep(0.1)
        assert works(skiff, container), "others are served meanwhile"


def test_input_that_nobody_reads_takes_no_memory(skiff, container):
    pid = stream_pid(skiff)
    before = rss_kib(pid)
    with start(skiff, container, "sleep 793", stdin=True) as session:
        session.connection.transport.settimeout(1)
        sent = 0
        with pytest.raises((TimeoutError, BlockingIOError, OSError)):
            while sent < 64 << 20:
                session.connection.transport.sendall(spdy_client.data_frame(session.stdin.number, bytes(32768)))
                sent += 32768
        assert sent < 32 << 20, "it was held back"
        assert harness.SANITIZED or rss_kib(pid) - before < 16 << 10
        assert works(skiff, container)


def test_hundreds_of_slow_clients(skiff, container):
    url = spdy_client.exec_url(skiff.cri, container, ["true"])
    host, port = url.split("/")[2].split(":")
    slow = []
    try:
        for _ in range(300):
            slow.append(socket.create_connection((host, int(port)), timeout=10))
            slow[-1].sendall(b"POST /exec/x HTT")
        assert works(skiff, container)
        for made in slow:
            try:
                made.sendall(b"P")
            except OSError:
                pass
        assert works(skiff, container)
    finally:
        for made in slow:
            made.close()
    assert works(skiff, container)


def test_websocket_frames_that_are_none(skiff, container):
    for frame in (b"\xff" * 40, b"\x82\x01\x00", b"\x82\xff" + b"\xff" * 12, b"\x03\x80abcd"):
        with ws_client.Session(spdy_client.exec_url(skiff.cri, container, ["cat"], stdin=True)) as session:
            session.socket.sock.sendall(frame)
            session.wait_for(lambda: session.ended, "the end")  # pylint: disable=cell-var-from-loop
    assert works(skiff, container)


# --- what skiff-stream may do ---


def test_skiff_stream_has_no_rights(skiff, container):
    pid = stream_pid(skiff)
    with start(skiff, container, "echo up; sleep 794") as session:
        session.stdout.read_until(b"up\n")
        status = dict(line.split(":\t") for line in harness.read_proc(pid, "status").splitlines() if ":\t" in line)
        assert set(status["Uid"].split()) & {"0"} == set() and set(status["Gid"].split()) & {"0"} == set(), status["Uid"]
        assert int(status["CapEff"], 16) == int(status["CapPrm"], 16) == int(status["CapBnd"], 16) == int(status["CapAmb"], 16) == 0
        assert status["NoNewPrivs"].strip() == "1"
        assert harness.SANITIZED or status["Seccomp"].strip() == "2"
        assert status["Groups"].strip() == ""
        kinds = sorted(os.readlink(path) for path in pathlib.Path(f"/proc/{pid}/fd").iterdir())
        files = [kind for kind in kinds if not kind.startswith(("socket:", "pipe:", "anon_inode:")) and kind != "/dev/null"]
        assert all(name.endswith("skiffd.log") for name in files), "no file, directory or device but where it logs: " + str(files)


def test_no_session_leaves_a_descriptor(skiff, container):
    def some(turns):
        for turn in range(turns):
            with start(skiff, container, "cat", stdin=True, tty=turn % 2 == 1) as session:
                session.stdin.write(b"x\n")
                session.stdout.read_until(b"x")

    def held():
        pids = [skiff.process.pid, stream_pid(skiff), pod_pid(skiff, container)]
        return [fds_of(pid) for pid in pids]

    some(4)
    harness.wait_for(lambda: not running("cat"), "their end")
    before = [len(names) for names in held()]
    some(30)
    try:
        harness.wait_for(lambda: all(len(now) <= then for now, then in zip(held(), before)), "the descriptors' end")
    except AssertionError as error:
        raise AssertionError(f"{before} before, now {held()}") from error


def fds_of(pid):
    """What each descriptor of a process is."""
    found = []
    for path in pathlib.Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(OSError):  # closed meanwhile
            found.append(os.readlink(path).split("[")[0])
    return sorted(found)
