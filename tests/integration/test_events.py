"""What happens, told to who listens; lists as streams. Covers: the events of a pod's life in their order, with the statuses of
that moment; a burst with nothing lost; several listeners, one of which does not read; skiffd's end; each Stream... call against
its List... call, cut into batches."""

import subprocess
import threading
import time

import grpc
import harness

CREATED, STARTED, STOPPED, DELETED = range(4)


class Listener(threading.Thread):
    """Takes events until the call ends; ready once skiffd has said that it listens."""

    def __init__(self, skiff):
        super().__init__(daemon=True)
        self.call = skiff.cri.GetContainerEvents(_deadline=None)
        self.call.initial_metadata()
        self.events, self.error = [], None
        self.start()

    def run(self):
        try:
            for event in self.call:
                self.events.append(event)
        except grpc.RpcError as error:
            self.error = error

    def of(self, *ids):
        """(index in ids, type) in the order that they came."""
        return [(ids.index(e.container_id), e.container_event_type) for e in list(self.events) if e.container_id in ids]

    def wait(self, ids, count, seconds=20):
        harness.wait_for(lambda: len(self.of(*ids)) >= count, f"{count} events", seconds)
        return self.of(*ids)

    def event(self, container, kind):
        return [e for e in self.events if e.container_id == container and e.container_event_type == kind][0]


def test_a_life_is_told_in_order_with_the_statuses_of_then(skiff):
    listener = Listener(skiff)
    pod = skiff.run_pod(host_network=True)
    container = skiff.run(pod, ["sh", "-c", "exit 3"])
    skiff.wait_exited(container)
    skiff.cri.RemoveContainer(container_id=container)
    skiff.remove_pod(pod)
    told = listener.wait((pod, container), 8)
    assert told == [
        (0, CREATED), (0, STARTED), (1, CREATED), (1, STARTED), (1, STOPPED), (1, DELETED), (0, STOPPED), (0, DELETED)
    ]  # fmt: skip
    assert [e.created_at for e in listener.events] == sorted(e.created_at for e in listener.events)
    states = [[s.state for s in listener.event(container, kind).containers_statuses] for kind in range(4)]
    assert states == [[0], [1], [2], []]
    stopped = listener.event(container, STOPPED).containers_statuses[0]
    assert (stopped.id, stopped.exit_code) == (container, 3)
    assert all(e.pod_sandbox_status.id == pod for e in listener.events)
    assert listener.event(pod, STARTED).pod_sandbox_status.state == 0
    assert listener.event(pod, STOPPED).pod_sandbox_status.state == 1
    listener.call.cancel()
    listener.join(20)


def test_a_container_that_cannot_start_and_a_pod_that_dies_are_told(skiff):
    listener = Listener(skiff)
    pod = skiff.run_pod(host_network=True)
    broken = skiff.create(pod, ["no such program"])
    code, _ = harness.code_of(skiff.cri.StartContainer, container_id=broken)
    assert code == grpc.StatusCode.FAILED_PRECONDITION
    assert listener.wait((broken,), 2) == [(0, CREATED), (0, STOPPED)]
    runs = skiff.run(pod, ["sleep", "1000"])
    skiff.remove_pod(pod)
    told = listener.wait((pod, runs), 8)
    assert told.index((1, STOPPED)) < told.index((0, STOPPED)) and told[-1] == (0, DELETED)
    listener.call.cancel()


def test_a_burst_loses_nothing_and_who_does_not_read_holds_nobody_up(skiff):
    asleep = skiff.cri.GetContainerEvents(_deadline=None)
    asleep.initial_metadata()
    listeners = [Listener(skiff) for _ in range(3)]
    pod = skiff.run_pod(host_network=True)
    made = []
    began = time.monotonic()
    for _ in range(25):
        made.append(skiff.run(pod, ["true"]))
    for container in made:
        skiff.wait_exited(container)
        skiff.cri.RemoveContainer(container_id=container)
    assert time.monotonic() - began < 60 * harness.SLOW
    for listener in listeners:
        told = listener.wait(tuple(made), 100)
        assert len(told) == 100
        for i in range(25):
            assert [kind for index, kind in told if index == i] == [CREATED, STARTED, STOPPED, DELETED]
        listener.call.cancel()
    first = next(asleep)
    assert first.container_id == pod and first.container_event_type == CREATED
    asleep.cancel()


def test_skiffds_end_ends_the_listening(skiff):
    listener = Listener(skiff)
    skiff.stop()
    listener.join(20)
    assert listener.error.code() == grpc.StatusCode.UNAVAILABLE


def test_streams_of_lists_are_the_lists(skiff):
    big = {"note": "x" * 60000}
    pods = [skiff.run_pod(host_network=True, annotations=big) for _ in range(6)]
    containers = [skiff.run(pod, ["sleep", "1000"], annotations=big) for pod in pods]
    cri = skiff.cri
    calls = [
        (cri.ListPodSandbox, "items", cri.StreamPodSandboxes, "pod_sandboxes", {}),
        (cri.ListPodSandbox, "items", cri.StreamPodSandboxes, "pod_sandboxes", {"filter": {"id": pods[2]}}),
        (cri.ListContainers, "containers", cri.StreamContainers, "containers", {}),
        (cri.ListContainers, "containers", cri.StreamContainers, "containers", {"filter": {"id": "0" * 64}}),
        (cri.ListImages, "images", cri.StreamImages, "images", {}),
        (cri.ListPodSandboxStats, "stats", cri.StreamPodSandboxStats, "pod_sandbox_stats", {}),
        (cri.ListContainerStats, "stats", cri.StreamContainerStats, "container_stats", {}),
        (cri.ListPodSandboxMetrics, "pod_metrics", cri.StreamPodSandboxMetrics, "pod_sandbox_metrics", {}),
    ]

    def key(item):
        return getattr(item, "id", "") or getattr(item, "pod_sandbox_id", "") or item.attributes.id

    for whole, name, parts, part_name, fields in calls:
        wanted = sorted(key(item) for item in getattr(whole(**fields), name))
        messages = list(parts(**fields))
        assert sorted(key(item) for message in messages for item in getattr(message, part_name)) == wanted
    batches = list(cri.StreamContainers())
    assert len(batches) == 2 and sum(len(b.containers) for b in batches) == len(containers)
    assert max(b.ByteSize() for b in batches) <= 256 << 10


def test_the_command_shows_them(skiff):
    command = [skiff.binaries / "skiff", "--endpoint", skiff.endpoint, "events"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as shown:
        lines = []
        reader = threading.Thread(target=lambda: lines.extend(iter(shown.stdout.readline, "")), daemon=True)
        reader.start()
        # It listens a moment after it was started: what it has missed is not told.
        harness.wait_for(lambda: skiff.run_pod(host_network=True) and len(lines) >= 2, "a pod's two lines", 20)
        pod = skiff.run_pod(name="watched", host_network=True)
        container = skiff.run(pod, ["true"], name="short")
        harness.wait_for(lambda: any(container[:13] in line and "stopped" in line for line in lines), "its end", 20)
        assert any(" pod " in line and "started" in line and line.endswith("watched\n") for line in lines)
        assert any(" container " in line and "created" in line and line.endswith("short (pod watched)\n") for line in lines)
        shown.terminate()
