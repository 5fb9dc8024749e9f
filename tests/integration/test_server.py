"""cri/server.c under Python's client: tests/server_program.c serves CRI's descriptors with handlers that each show one
thing. Covers: plain calls, unknown methods and methods without a handler, no payload, garbage, invalid UTF-8, floods of
empty elements, messages past 16 MiB both ways, long and odd error texts, deadline, cancel, a killed client, streams fast,
slow and idle, 2,000 calls at once, compressed requests, the socket's mode, bad endpoints, shutdown with calls under way."""

import os
import pathlib
import signal
import stat
import subprocess
import sys
import time

import grpc
import pytest

import cri_client

BUILD = pathlib.Path(os.environ.get("SKIFF_BUILD", cri_client.ROOT / "build/debug"))
PROGRAM = BUILD / "bin/server_program"
SLOW = float(os.environ.get("SKIFF_SLOW", 3 if any(name in str(BUILD) for name in ("asan", "tsan")) else 1))


class Server:
    def __init__(self, directory):
        self.path = directory / "cri.sock"
        self.endpoint = f"unix://{self.path}"
        # ASan keeps what was freed, up to 256 MB: the tests that look at memory would measure that.
        options = ":".join(filter(None, [os.environ.get("ASAN_OPTIONS"), "quarantine_size_mb=2"]))
        self.process = subprocess.Popen([PROGRAM, self.endpoint], env=dict(os.environ, ASAN_OPTIONS=options))
        self.cri = cri_client.Cri(self.endpoint)
        self.cri.wait_ready(20)

    def counters(self):
        text = self.cri.Version(version="v1").runtime_version
        return {key: int(value) for key, value in (pair.split("=") for pair in text.split())}

    def wait_counter(self, name, value, seconds=10):
        until = time.monotonic() + seconds * SLOW
        while self.counters()[name] != value:
            assert time.monotonic() < until, self.counters()
            time.sleep(0.01)

    def code(self):
        """Of a call that takes no time."""
        try:
            self.counters()
        except grpc.RpcError as error:
            return error.code()
        return grpc.StatusCode.OK

    def stop(self):
        self.cri.close()
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(60) == 0


@pytest.fixture
def server(tmp_path):
    running = Server(tmp_path)
    yield running
    if running.process.poll() is None:
        running.stop()
    assert running.process.returncode == 0


def code_of(call):
    with pytest.raises(grpc.RpcError) as caught:
        call()
    return caught.value.code(), caught.value.details()


def test_a_call_answers(server):
    answer = server.cri.Version(version="v1")
    assert (answer.version, answer.runtime_name) == ("v1", "test")
    assert server.counters() == {"cancelled": 0, "live": 1}


def test_the_socket_is_its_owners_alone(server):
    assert stat.S_IMODE(server.path.stat().st_mode) == 0o600


def test_what_is_not_implemented_says_its_name(server):
    assert code_of(lambda: server.cri.ListContainers()) == (
        grpc.StatusCode.UNIMPLEMENTED,
        "ListContainers is not implemented",
    )
    assert code_of(lambda: list(server.cri.StreamPodSandboxes())) == (
        grpc.StatusCode.UNIMPLEMENTED,
        "StreamPodSandboxes is not implemented",
    )


def test_every_method_of_the_schema_answers_at_once(server):
    for name, (path, request, _, streams) in cri_client.methods().items():
        if name in ("Status", "GetContainerEvents", "StreamContainers") or "Admin" in path:
            continue
        call = server.cri.callable(name)
        try:
            list(call(request(), timeout=20)) if streams else call(request(), timeout=20)
        except grpc.RpcError as e:
            assert e.code() in (
                grpc.StatusCode.UNIMPLEMENTED,
                grpc.StatusCode.NOT_FOUND,
                grpc.StatusCode.INTERNAL,
            ), name


@pytest.mark.parametrize("path", ["/runtime.v1.RuntimeService/Nonsense", "/runtime.v1alpha2.RuntimeService/Version", "/x/y"])
def test_an_unknown_method_says_its_name(server, path):
    code, details = code_of(lambda: server.cri.raw(path, b"", _deadline=5))
    assert (code, details) == (grpc.StatusCode.UNIMPLEMENTED, f"unknown method {path}")


def test_a_handler_without_an_answer_is_internal(server):
    assert code_of(lambda: server.cri.RemoveContainer())[0] == grpc.StatusCode.INTERNAL


VERSION = "/runtime.v1.RuntimeService/Version"
RUN = "/runtime.v1.RuntimeService/RunPodSandbox"


def test_an_empty_message_is_one_with_defaults(server):
    assert server.cri.raw(VERSION, b"")


@pytest.mark.parametrize(
    "payload, text",
    [
        (b"\xff" * 40, "too long"),
        (b"\x0a\x05ab", "ends inside a field"),
        (b"\x0b", "group"),
        (b"\x0a\x02a\xff", "version is not valid UTF-8"),
        (b"\x0a\x03a\0b", "version is not valid UTF-8, or has a NUL"),
        (b"\x08\x01", "no runtime.v1.VersionRequest"),
    ],
)
def test_garbage_is_refused_and_named(server, payload, text):
    code, details = code_of(lambda: server.cri.raw(VERSION, payload))
    assert code == grpc.StatusCode.INVALID_ARGUMENT
    assert text in details


def test_a_flood_of_empty_elements_costs_nothing(server):
    payload = b"\x2a\x00" * (7 << 20)  # config.port_mappings
    length = len(payload)
    varint = bytes([length & 0x7F | 0x80, length >> 7 & 0x7F | 0x80, length >> 14 & 0x7F | 0x80, length >> 21])
    code, details = code_of(lambda: server.cri.raw(RUN, b"\x0a" + varint + payload))
    assert code == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "elements" in details
    status = pathlib.Path(f"/proc/{server.process.pid}/status").read_text()
    peak_kb = int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1])
    assert peak_kb < 200_000 or SLOW > 1


def test_17_mib_are_refused_and_the_connection_lives(server):
    assert code_of(lambda: server.cri.raw(VERSION, b"\x0a" + b"x" * (17 << 20)))[0] == (
        grpc.StatusCode.RESOURCE_EXHAUSTED
    )
    assert server.cri.Version()


def test_an_answer_of_up_to_16_mib_arrives_and_a_larger_one_says_so(server):
    assert len(server.cri.ExecSync(timeout=(16 << 20) - 65536).stdout) == (16 << 20) - 65536
    code, details = code_of(lambda: server.cri.ExecSync(timeout=17 << 20))
    assert code == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "the answer has" in details


def test_compressed_requests_are_refused_before_they_are_inflated(server):
    call = server.cri.channel.unary_unary(VERSION)
    code, _ = code_of(lambda: call(b"\x0a\x01x" * 100000, timeout=10, compression=grpc.Compression.Gzip))
    assert code == grpc.StatusCode.UNIMPLEMENTED


def test_an_error_arrives_with_its_text(server):
    code, details = code_of(lambda: server.cri.ContainerStatus(container_id="ünï"))
    assert code == grpc.StatusCode.NOT_FOUND
    assert details == 'container "ünï" 100%\nsecond line'


def test_a_long_text_is_cut_on_a_character(server):
    code, details = code_of(lambda: server.cri.ContainerStatus(container_id="x", verbose=True))
    assert code == grpc.StatusCode.NOT_FOUND
    assert details.startswith("grüße aus € ?!: grüße")
    assert details.endswith("...") and 2000 < len(details.encode()) <= 2048


def test_a_deadline_ends_the_call_on_both_sides(server):
    started = time.monotonic()
    assert code_of(lambda: server.cri.Status(_deadline=0.2))[0] == grpc.StatusCode.DEADLINE_EXCEEDED
    assert time.monotonic() - started < 2 * SLOW
    server.wait_counter("cancelled", 1)
    server.wait_counter("live", 1)


def test_a_cancel_reaches_the_handler(server):
    call = server.cri.future("Status")
    server.wait_counter("live", 2)
    call.cancel()
    server.wait_counter("cancelled", 1)
    server.wait_counter("live", 1)


def test_a_killed_client_ends_its_calls(server):
    code = f"import cri_client; cri_client.Cri({server.endpoint!r}).Status()"
    client = subprocess.Popen([sys.executable, "-c", code], cwd=pathlib.Path(__file__).parent)
    server.wait_counter("live", 2, 20)
    client.kill()
    client.wait()
    server.wait_counter("cancelled", 1)


def test_a_stream_gives_all_and_ends(server):
    assert [answer.images[0].id for answer in server.cri.StreamImages()] == ["one", "two", "three"]


def test_a_stream_runs_until_the_client_cancels(server):
    stream = server.cri.GetContainerEvents()
    for expected, event in zip(range(2000), stream):
        assert event.created_at == expected
    stream.cancel()
    server.wait_counter("cancelled", 1)
    server.wait_counter("live", 1)


def test_a_slow_client_of_a_stream_costs_no_memory(server):
    def rss_kb():
        return int(pathlib.Path(f"/proc/{server.process.pid}/statm").read_text().split()[1]) * 4

    stream = server.cri.GetContainerEvents()
    next(stream)
    before = rss_kb()
    for _ in range(200):
        time.sleep(0.005)
        next(stream)
    assert rss_kb() - before < 8000 * SLOW
    stream.cancel()
    server.wait_counter("live", 1)


def test_an_idle_stream_learns_of_the_clients_end(server):
    stream = server.cri.StreamContainers()
    server.wait_counter("live", 2)
    stream.cancel()
    server.wait_counter("cancelled", 1)


def test_waiting_calls_do_not_hold_up_quick_ones(server):
    waiting = [server.cri.future("StopContainer") for _ in range(64)]
    server.wait_counter("live", 65)
    took = []
    for _ in range(20):
        started = time.monotonic()
        server.cri.Version()
        took.append(time.monotonic() - started)
    assert sorted(took)[10] < 0.1 * SLOW
    for call in waiting:
        call.result(timeout=60)


def test_2000_calls_at_once(server):
    clients = [cri_client.Cri(server.endpoint) for _ in range(4)]
    calls = [clients[i % 4].future("Version", version=str(i)) for i in range(2000)]
    assert [call.result(timeout=120).version for call in calls] == [str(i) for i in range(2000)]
    for client in clients:
        client.close()
    server.wait_counter("live", 1)


def test_too_many_calls_are_refused_and_the_rest_go_on(server):
    clients = [cri_client.Cri(server.endpoint) for _ in range(4)]
    for client in clients:  # a call fails with its connection's first attempt, which has 20 ms
        client.wait_ready(20 * SLOW)
    # Each waits until its client is gone, and no other call is under way: so the first 2,500 that arrive stay, and all the
    # others are refused, however fast they come.
    calls = [clients[i % 4].future("Status") for i in range(2800)]
    until = time.monotonic() + 60 * SLOW
    while sum(call.done() for call in calls) < 300:
        assert time.monotonic() < until, "too few are refused"
        time.sleep(0.1)
    refused = [call for call in calls if call.done()]
    assert len(refused) == 300
    assert {(call.code(), call.details()) for call in refused} == {
        (grpc.StatusCode.RESOURCE_EXHAUSTED, "more than 2500 calls are under way")
    }
    for call in calls:
        call.cancel()
    while server.code() != grpc.StatusCode.OK:
        assert time.monotonic() < until, "there is no room for one more"
        time.sleep(0.01)
    server.wait_counter("live", 1, 60)
    for client in clients:
        client.close()


def test_it_stops_with_calls_and_streams_under_way(server):
    calls = [server.cri.future("Status") for _ in range(5)]
    stream = server.cri.GetContainerEvents()
    next(stream)
    server.wait_counter("live", 7)
    started = time.monotonic()
    server.process.send_signal(signal.SIGTERM)
    assert server.process.wait(30) == 0
    assert time.monotonic() - started < 3 * SLOW
    assert not server.path.exists()
    for call in calls:
        assert call.exception(timeout=10) is not None


def test_a_call_under_way_ends_in_peace_within_the_grace(server):
    call = server.cri.future("ExecSync", timeout=1 << 20)
    call.result(timeout=20)
    server.stop()


@pytest.mark.parametrize(
    "endpoint, text",
    [
        ("tcp://127.0.0.1:1", "is not unix:///PATH"),
        ("unix://relative", "is not unix:///PATH"),
        ("unix:///" + "x" * 200, "at most 107 bytes"),
        ("unix:///nonexistent-directory/sock", "listen on"),
    ],
)
def test_a_bad_endpoint_says_what_is_wrong(endpoint, text):
    done = subprocess.run([PROGRAM, endpoint], capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert text in done.stderr
