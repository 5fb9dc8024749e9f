"""Stops that wait. Covers: nothing that is asked of a container meanwhile waits; no thread is held, however many wait; a
second stop with less grace, a removal, an exit and a client that leaves; SIGTERM of skiffd under them."""

import signal
import socket
import time

import grpc
import harness
import pytest

IGNORES = ["sh", "-c", "trap '' TERM; echo up; while :; do sleep 0.1; done"]
OBEYS = ["sh", "-c", "trap 'exit 7' TERM; echo up; while :; do sleep 0.05; done"]


def started(skiff, command, **more):
    pod = skiff.run_pod(host_network=True)
    container = skiff.run(pod, command, **more)
    harness.wait_for(lambda: "up" in skiff.text(container), "the trap")
    return container


def threads(skiff):
    return int(harness.read_proc(skiff.process.pid, "status").split("Threads:")[1].split()[0])


def asked(skiff, container):
    """The signal has been sent: from then on only the grace is waited for."""
    harness.wait_for(lambda: "signal" in (skiff.info(container)["stopStepsNs"] or {}), "the stop signal")


def timed(call, *arguments, **keywords):
    began = time.monotonic()
    call(*arguments, **keywords)
    return time.monotonic() - began


def test_nothing_waits_for_a_stop_in_its_grace(skiff):
    container = started(skiff, IGNORES)
    stop = skiff.cri.future("StopContainer", container_id=container, timeout=60)
    asked(skiff, container)
    resources = {"memory_limit_in_bytes": 64 << 20}
    assert timed(skiff.cri.UpdateContainerResources, container_id=container, linux=resources) < 2 * harness.SLOW
    status = skiff.status(container)
    assert status.state == 1 and status.resources.linux.memory_limit_in_bytes == 64 << 20
    assert skiff.exec(container, ["echo", "yes"]).stdout == b"yes\n"
    assert not stop.done()
    assert timed(skiff.cri.RemoveContainer, container_id=container) < 10 * harness.SLOW
    stop.result(timeout=10)  # its end is what the stop waited for, whoever brought it about


def test_a_call_gets_the_end_of_its_own_kind(skiff):
    """Removals wait for each other's end. An update that comes in between, and is refused, is not that end."""
    pod = skiff.run_pod(name="ends")
    resources = {"memory_limit_in_bytes": 50 << 20}
    for _ in range(20):
        container = skiff.run(pod, ["sleep", "1000"])
        calls = [("RemoveContainer", {}), ("UpdateContainerResources", {"linux": resources})] * 2
        futures = [(name, skiff.cri.future(name, container_id=container, **more)) for name, more in calls]
        for name, future in futures:
            if name == "RemoveContainer":
                future.result(timeout=10 * harness.SLOW)
            else:
                future.exception(timeout=10 * harness.SLOW)


def test_an_exit_ends_all_stops_that_wait(skiff):
    container = started(skiff, OBEYS)
    stops = [skiff.cri.future("StopContainer", container_id=container, timeout=60) for _ in range(20)]
    for stop in stops:
        stop.result(timeout=10 * harness.SLOW)
    assert skiff.status(container).exit_code == 7


def test_a_second_stop_with_less_grace_brings_the_kill_forward(skiff):
    container = started(skiff, IGNORES)
    first = skiff.cri.future("StopContainer", container_id=container, timeout=600)
    asked(skiff, container)
    longer = skiff.cri.future("StopContainer", container_id=container, timeout=900)
    assert 0.9 < timed(skiff.cri.StopContainer, container_id=container, timeout=1, _deadline=60) < 8 * harness.SLOW
    first.result(timeout=5)
    longer.result(timeout=5)
    assert skiff.status(container).exit_code == 137
    skiff.cri.StopContainer(container_id=container, timeout=600, _deadline=5)  # it has ended: nothing to wait for


def test_a_stop_goes_on_when_its_client_leaves(skiff):
    container = started(skiff, IGNORES)
    leaves = skiff.cri.future("StopContainer", container_id=container, timeout=3)
    asked(skiff, container)
    leaves.cancel()
    code, _ = harness.code_of(skiff.cri.StopContainer, container_id=container, timeout=60, _deadline=0.5)
    assert code == grpc.StatusCode.DEADLINE_EXCEEDED
    assert skiff.status(container).state == 1
    assert skiff.wait_exited(container).exit_code == 137


def test_a_thousand_stops_that_wait_hold_no_thread(skiff):
    container, other = started(skiff, IGNORES), started(skiff, OBEYS)
    stops = [skiff.cri.future("StopContainer", container_id=container, timeout=600) for _ in range(1000)]
    asked(skiff, container)
    # All have come, over one connection: the last one is answered with the others below.
    harness.wait_for(lambda: threads(skiff) < 60, "threads to be given back", 30)
    assert timed(skiff.cri.StopContainer, container_id=other, timeout=60, _deadline=60) < 5 * harness.SLOW
    done = [stop for stop in stops if stop.done()]
    assert not done, done[0].exception()
    skiff.cri.StopContainer(container_id=container, timeout=0, _deadline=60)
    for stop in stops:
        stop.result(timeout=30)


@pytest.mark.parametrize("grace", [60, 0])
def test_sigterm_under_stops_that_wait_ends_in_a_second(skiff, grace):
    container = started(skiff, IGNORES)
    stops = [skiff.cri.future("StopContainer", container_id=container, timeout=60) for _ in range(50)]
    asked(skiff, container)
    if grace == 0:
        stops += [skiff.cri.future("StopContainer", container_id=container, timeout=0)]
    began = time.monotonic()
    skiff.process.send_signal(signal.SIGTERM)
    assert skiff.process.wait(20) == 0, skiff.log_text()
    assert time.monotonic() - began < 1.5 * harness.SLOW
    for stop in stops:
        # What had not arrived yet is cancelled with the connection.
        ends = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED)
        assert grace == 0 or stop.exception(timeout=10).code() in ends
    skiff.start()
    if grace:
        assert skiff.status(container).state == 1
    skiff.cri.StopContainer(container_id=container, timeout=1, _deadline=60)
    assert skiff.status(container).exit_code == 137


def test_connections_do_not_keep_a_stop(skiff):
    """kubelet has one open all the time, mostly without a call; another says nothing at all."""
    took = []
    for _ in range(3):
        with socket.socket(socket.AF_UNIX) as silent:
            silent.connect(str(skiff.socket))
            skiff.cri.Version()
            began = time.monotonic()
            skiff.process.send_signal(signal.SIGTERM)
            assert skiff.process.wait(20) == 0, skiff.log_text()
            took.append(time.monotonic() - began)
        skiff.start()
    assert min(took) < 0.3 * harness.SLOW, took
