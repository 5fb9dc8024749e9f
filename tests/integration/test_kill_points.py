"""kill -9 of skiffd before and after every step of every lifecycle, and during each CNI plugin's run; then a restart, the
call again, and nothing left. The steps are read from what skiffd itself reports, so a new step is tested without a change
here. Prints how many points passed."""

import time

import grpc
import harness
import pytest

# table -> the call that runs it; the steps come from verbose status, or here where an object is gone afterwards
TABLES = {
    "run_pod": ["record", "directory", "cgroup", "supervisor", "netns", "network", "ready"],
    "create_container": ["record", "rootfs", "spec", "cgroup", "created"],
    "start_container": ["volumes", "log", "rootfs", "process", "running"],
    "stop_container": ["signal", "kill"],
    "remove_container": ["process", "cgroup", "rootfs", "record"],
    "stop_pod": ["containers", "network", "netns", "supervisor", "stopped"],
    "remove_pod": ["containers", "supervisor", "cgroup", "directory", "record"],
}
POINTS = [
    f"{table}.{step}.{when}"
    for table, steps in TABLES.items()
    for step in steps
    for when in ("before", "after")
    if not (step == "record" and table in ("run_pod", "create_container") and when == "before")
]
passed = []


def faults_are_built():
    return b"SKIFF_FAULT_FILE" in (harness.BIN / "skiffd").read_bytes()


pytestmark = pytest.mark.skipif(not faults_are_built(), reason="a build without fault points")


@pytest.fixture(scope="module", autouse=True)
def tell(request):
    """Past pytest's capture, which would keep the line for failures alone."""
    yield
    with request.config.pluginmanager.getplugin("capturemanager").global_and_fixture_disabled():
        print(f"\npoints: {len(passed)} of {len(POINTS) + 6} fault points and plugin kills passed")


class Life:
    """One pod's life, step by step; every call may be made again after a restart."""

    def __init__(self, skiff):
        self.skiff = skiff
        self.config = skiff.pod_config(name="killed")
        self.pod = self.container = None
        self.container_config = skiff.container_config(["sleep", "1000"], name="main")

    def run_pod(self):
        try:
            self.pod = self.skiff.run_pod(self.config)
        except grpc.RpcError as error:
            if error.code() != grpc.StatusCode.ALREADY_EXISTS:
                raise
            self.pod = self.skiff.cri.ListPodSandbox().items[0].id  # it was made: only the answer was lost

    def create_container(self):
        try:
            self.container = self.skiff.create(self.pod, config=self.container_config)
        except grpc.RpcError as error:
            if error.code() != grpc.StatusCode.ALREADY_EXISTS:
                raise
            self.container = self.skiff.cri.ListContainers().containers[0].id

    def start_container(self):
        if self.skiff.status(self.container).state == 0:
            self.skiff.cri.StartContainer(container_id=self.container, _deadline=60)
        assert self.skiff.status(self.container).state == 1

    def stop_container(self):
        self.skiff.cri.StopContainer(container_id=self.container, timeout=1, _deadline=60)
        assert self.skiff.status(self.container).state == 2

    def remove_container(self):
        self.skiff.cri.RemoveContainer(container_id=self.container, _deadline=60)
        assert not self.skiff.cri.ListContainers().containers

    def stop_pod(self):
        self.skiff.cri.StopPodSandbox(pod_sandbox_id=self.pod, _deadline=60)

    def remove_pod(self):
        self.skiff.cri.RemovePodSandbox(pod_sandbox_id=self.pod, _deadline=60)
        assert not self.skiff.cri.ListPodSandbox().items

    def calls(self):
        return [getattr(self, table) for table in TABLES]


def test_the_tables_here_are_skiffds(skiff):
    life = Life(skiff)
    life.run_pod()
    life.create_container()
    life.start_container()
    assert ["record", *skiff.pod_info(life.pod)["runStepsNs"]] == TABLES["run_pod"]
    info = skiff.info(life.container)
    assert ["record", *info["createStepsNs"]] == TABLES["create_container"]
    within = ["log", "rootfs", "running"]  # in the step process: made while it is, and noted when it runs
    assert list(info["startStepsNs"]) == [step for step in TABLES["start_container"] if step not in within]
    life.stop_container()
    assert list(skiff.info(life.container)["stopStepsNs"]) == TABLES["stop_container"]
    life.stop_pod()
    assert list(skiff.pod_info(life.pod)["stopStepsNs"]) == TABLES["stop_pod"]


@pytest.mark.parametrize("table", list(TABLES))
def test_skiffd_killed_at_every_step(skiff, table):
    for point in [point for point in POINTS if point.startswith(table + ".")]:
        before = skiff.census()
        life = Life(skiff)
        for call in life.calls():
            if call.__name__ != table:
                call()
                continue
            skiff.arm(point)
            # The connection breaks under the call; a table that ends in the background dies a moment later.
            with pytest.raises(grpc.RpcError):
                call()
            skiff.wait_killed()
            skiff.disarm()
            skiff.start()
            call()
        skiff.assert_nothing_left(before)
        passed.append(point)


@pytest.mark.parametrize("command", ["ADD", "DEL"])
@pytest.mark.parametrize("name", ["bridge", "host-local", "portmap"])
def test_skiffd_killed_during_a_plugin(skiff, name, command):
    """A wrapper of the real plugin waits at its start, so that the kill falls into its run; what it does afterwards, as an
    orphan, must not leak."""
    directory = skiff.directory / "plugins"
    directory.mkdir()
    running, once = directory / "running", directory / "once"
    for real in ("bridge", "host-local", "portmap"):
        script = f'#!/bin/sh\nexec /usr/lib/cni/{real}\n'
        if real == name:
            script = (
                f'#!/bin/sh\nif [ "$CNI_COMMAND" = {command} ] && rm {once} 2>/dev/null; then touch {running}; sleep 0.4; fi\n'
                f'exec /usr/lib/cni/{real}\n'
            )  # fmt: skip
        (directory / real).write_text(script)
        (directory / real).chmod(0o755)
    skiff.arguments = ["--cni-bin-dir", str(directory)]
    skiff.restart()
    before = skiff.census()
    life = Life(skiff)
    if command == "DEL":
        life.run_pod()
    once.touch()
    call = life.run_pod if command == "ADD" else life.stop_pod
    method = "RunPodSandbox" if command == "ADD" else "StopPodSandbox"
    fields = {"config": life.config} if command == "ADD" else {"pod_sandbox_id": life.pod}
    future = skiff.cri.future(method, **fields)
    harness.wait_for(running.exists, "the plugin")
    skiff.kill()
    with pytest.raises(grpc.RpcError):
        future.result(timeout=10)
    skiff.start()
    call()
    life.remove_pod()
    time.sleep(0.6)  # fixed: longer than the orphan would have waited
    skiff.assert_nothing_left(before)
    passed.append(f"{name} {command}")
