"""The skiff command against a real skiffd. Covers: run in the foreground (output, both streams, exit codes, what is left),
run -d, Ctrl-C, names and prefixes of ids, listings for people and as JSON, logs and logs -f, exec, stop, rm, rmi, inspect,
info, version, check, and what it says when something is wrong."""

import json
import os
import pathlib
import signal
import subprocess
import time

import pytest

import harness

LOGS = pathlib.Path("/var/log/pods")
EX_USAGE, EX_DATAERR, EX_NOINPUT, EX_UNAVAILABLE, EX_CANTCREAT = 64, 65, 66, 69, 73


def two_images(archive, directory):
    """The same archive, whose one image is there twice."""
    work = directory / "two"
    work.mkdir()
    subprocess.run(["tar", "-C", work, "-xf", archive], check=True)
    manifest = json.loads((work / "manifest.json").read_text())
    (work / "manifest.json").write_text(json.dumps(manifest * 2))
    subprocess.run(["tar", "-C", work, "-cf", directory / "two.tar", *os.listdir(work)], check=True)
    return directory / "two.tar"


def logs_left():
    """Log directories of the pods that these tests make; another skiffd's are its own business."""
    return sorted([*LOGS.glob("skiff_web_*"), *LOGS.glob("skiff_busybox-*")])


@pytest.fixture
def detached(skiff):
    """A pod called web whose container counts; gone afterwards."""
    done = skiff.cli("run", "-d", "--name", "web", "busybox", "--", "sh", "-c", "i=0; while :; do echo $i; i=$((i+1)); sleep 0.05; done")
    yield done.stdout.strip()
    skiff.cli("rm", "-f", "web", check=False)
    assert logs_left() == []


def test_run_shows_what_the_container_writes_and_ends_with_its_code(skiff):
    done = skiff.cli("run", "busybox", "--", "sh", "-c", "echo out; echo err >&2; exit 7", check=False)
    assert (done.returncode, done.stdout, done.stderr) == (7, "out\n", "err\n")
    assert skiff.cli("pods", "--json").stdout == "[]\n"
    assert logs_left() == []


def test_run_passes_its_arguments_on(skiff, tmp_path):
    (tmp_path / "data").mkdir()
    done = skiff.cli(
        "run", "--host-network", "-e", "GREETING=good day", "-v", f"{tmp_path}/data:/data", "-w", "/data", "-m", "64m",
        "busybox", "--", "sh", "-c", "echo $GREETING; pwd; echo made > file",
    )  # fmt: skip
    assert done.stdout == "good day\n/data\n"
    assert (tmp_path / "data/file").read_text() == "made\n"


def test_a_read_only_mount_and_root_are_that(skiff, tmp_path):
    done = skiff.cli(
        "run", "--host-network", "--read-only", "-v", f"{tmp_path}:/data:ro",
        "busybox", "--", "sh", "-c", "touch /data/x || touch /x || exit 9", check=False,
    )  # fmt: skip
    assert done.returncode == 9
    assert done.stderr.count("Read-only file system") == 2


def test_a_command_that_does_not_exist_leaves_nothing(skiff):
    for command, code, text in (
        ("/nonexistent", 127, "/nonexistent: no such file"),
        ("nonexistent", 127, "executable file not found in $PATH"),
        ("/etc/passwd", 126, "permission denied"),
        ("/etc", 126, '"/etc"'),
    ):
        done = skiff.cli("run", "busybox", "--", command, check=False)
        assert done.returncode == code, done
        assert done.stderr.startswith("skiff run: start container ") and text in done.stderr
    # What is wrong is not the command.
    done = skiff.cli("run", "-w", "/etc/passwd", "busybox", "--", "true", check=False)
    assert done.returncode not in (0, 126, 127), done
    assert skiff.cli("pods", "--json").stdout == "[]\n"
    assert logs_left() == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT])
def test_ctrl_c_stops_the_container_and_removes_the_pod(skiff, number):
    command = [harness.BIN / "skiff", "--endpoint", skiff.endpoint, "run", "busybox", "--",
               "sh", "-c", "trap 'echo asked; exit 3' TERM; echo ready; while :; do sleep 0.05; done"]  # fmt: skip
    running = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert running.stdout.readline() == "ready\n"
    running.send_signal(number)
    assert running.stdout.read() == "asked\n"
    assert running.wait(30) == 3
    assert skiff.cli("pods", "--json").stdout == "[]\n"
    assert logs_left() == []


def test_a_reader_that_goes_away_leaves_no_pod(skiff):
    """As in `skiff run ... | head -1`."""
    command = [harness.BIN / "skiff", "--endpoint", skiff.endpoint, "run", "busybox", "--",
               "sh", "-c", "while echo line; do sleep 0.05; done"]  # fmt: skip
    running = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert running.stdout.readline() == "line\n"
    running.stdout.close()
    assert "Broken pipe" in running.stderr.read()
    assert running.wait(30) != 0
    assert skiff.cli("pods", "--json").stdout == "[]\n"
    assert logs_left() == []


@pytest.mark.parametrize("presses", [1, 2])
def test_ctrl_c_ends_a_program_that_does_not_listen(skiff, presses):
    command = [harness.BIN / "skiff", "--endpoint", skiff.endpoint, "run", "busybox", "--",
               "sh", "-c", "trap 'echo asked' TERM; echo ready; while :; do sleep 0.05; done"]  # fmt: skip
    running = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert running.stdout.readline() == "ready\n"
    started = time.monotonic()
    running.send_signal(signal.SIGINT)
    if presses == 2:  # once the first has arrived: before that the two are one
        container = skiff.cri.ListContainers().containers[0].id
        harness.wait_for(lambda: "asked" in skiff.text(container), "the first", 1.5)
        running.send_signal(signal.SIGINT)
    assert running.wait(30) == 128 + signal.SIGKILL
    passed = time.monotonic() - started
    assert passed < 1.8 * harness.SLOW if presses == 2 else 1.9 < passed < 5 * harness.SLOW
    assert skiff.cli("pods", "--json").stdout == "[]\n"
    assert logs_left() == []


def test_a_name_is_there_once(skiff, detached):
    for more in ([], ["-d"]):
        done = skiff.cli("run", *more, "--name", "web", "busybox", "--", "true", check=False)
        assert done.returncode == EX_CANTCREAT and not done.stdout
        assert done.stderr.startswith("skiff run: there is a pod called web already; `skiff rm -f web` removes it: ")
        assert detached in done.stderr
    assert [pod["id"] for pod in json.loads(skiff.cli("pods", "--json").stdout)] == [detached]
    harness.wait_for(lambda: "1\n" in skiff.cli("logs", "web").stdout, "its log, which is where it was")
    skiff.cli("rm", "-f", "web")
    assert skiff.cli("run", "--name", "web", "busybox", "--", "echo", "again").stdout == "again\n"


def test_a_pod_of_run_looks_like_kubelets(skiff, detached):
    pod = json.loads(skiff.cli("pods", "--json").stdout)[0]
    container = json.loads(skiff.cli("ps", "--json").stdout)[0]
    of_pod = {
        "io.kubernetes.pod.name": "web",
        "io.kubernetes.pod.namespace": "skiff",
        "io.kubernetes.pod.uid": pod["metadata"]["uid"],
    }
    assert pod["labels"] == of_pod
    assert container["labels"] == {**of_pod, "io.kubernetes.container.name": "web"}


def test_ps_shows_what_a_container_ended_with(skiff):
    skiff.cli("run", "-d", "--name", "web", "--host-network", "busybox", "--", "sh", "-c", "exit 3")
    harness.wait_for(lambda: "exited (3)" in skiff.cli("ps", "-a").stdout, "the end")
    assert "exited" not in skiff.cli("ps").stdout
    skiff.cli("rm", "-f", "web")


def test_listings(skiff, detached):
    assert json.loads(skiff.cli("pods", "--json").stdout)[0]["metadata"]["name"] == "web"
    container = json.loads(skiff.cli("ps", "--json").stdout)[0]
    assert container["state"] == "CONTAINER_RUNNING" and container["pod_sandbox_id"] == detached
    heading, row = skiff.cli("pods").stdout.splitlines()
    assert heading.split()[0] == "POD" and row.split()[0] == detached[:13] and "ready" in row
    row = skiff.cli("ps").stdout.splitlines()[1]
    assert row.split()[0] == container["id"][:13] and row.split()[-1] == "busybox"
    image = json.loads(skiff.cli("images", "--json").stdout)[0]
    assert image["repo_tags"] == [harness.IMAGE]
    assert skiff.cli("images").stdout.splitlines()[1].split()[0] == harness.IMAGE
    skiff.cli("stop", "-t", "0", container["id"])
    assert skiff.cli("ps", "--json").stdout == "[]\n"
    assert json.loads(skiff.cli("ps", "-a", "--json").stdout)[0]["state"] == "CONTAINER_EXITED"


def test_exec(skiff, detached):
    done = skiff.cli("exec", "web", "sh", "-c", "echo out; echo err >&2; exit 5", check=False)
    assert (done.returncode, done.stdout, done.stderr) == (5, "out\n", "err\n")
    assert skiff.cli("exec", detached[:6], "--", "echo", "-n", "x").stdout == "x"
    done = skiff.cli("exec", "--timeout", "1", "web", "sleep", "30", check=False)
    assert done.returncode == 75
    assert done.stderr.startswith("skiff exec in container ") and "timed out" in done.stderr


def test_logs(skiff, detached):
    harness.wait_for(lambda: "3\n" in skiff.cli("logs", "web").stdout, "lines")
    assert skiff.cli("logs", detached).stdout.startswith("0\n1\n2\n3\n")
    assert skiff.cli("logs", "-t", "web").stdout.splitlines()[0].endswith("Z 0")
    following = subprocess.Popen(
        [harness.BIN / "skiff", "--endpoint", skiff.endpoint, "logs", "-f", "web"], stdout=subprocess.PIPE, text=True
    )
    for expected in range(20):
        assert following.stdout.readline() == f"{expected}\n"
    skiff.cli("stop", "-t", "0", "web")
    following.stdout.read()
    assert following.wait(20) == 0


def test_stop_and_rm(skiff, detached):
    done = skiff.cli("rm", "web", check=False)
    assert done.returncode == EX_DATAERR and "stop it first" in done.stderr
    assert skiff.cli("stop", "-t", "0", "web").stdout.strip() == detached
    assert "not ready" in skiff.cli("pods").stdout
    assert skiff.cli("rm", "web").stdout.strip() == detached
    assert skiff.cli("pods", "--json").stdout == "[]\n"


def test_quiet_lists_are_ids_alone(skiff, detached):
    assert skiff.cli("pods", "-q").stdout.strip() == detached
    assert skiff.cli("ps", "-q").stdout.strip() == json.loads(skiff.cli("ps", "--json").stdout)[0]["id"]
    assert skiff.cli("images", "-q").stdout.startswith("sha256:")


def test_inspect(skiff, detached):
    pod = json.loads(skiff.cli("inspect", "web").stdout)
    assert pod["status"]["id"] == detached and pod["status"]["state"] == "SANDBOX_READY"
    assert set(pod["info"]["info"]["runStepsNs"]) >= {"cgroup", "supervisor", "ready"}
    container = json.loads(skiff.cli("ps", "--json").stdout)[0]["id"]
    assert json.loads(skiff.cli("inspect", container[:10]).stdout)["status"]["id"] == container
    image = json.loads(skiff.cli("inspect", "busybox").stdout)
    assert image["image"]["repo_tags"] == [harness.IMAGE]


def test_what_an_id_fits_is_asked_for_exactly(skiff, detached):
    for command in (["inspect", "nosuch"], ["logs", "nosuch"], ["stop", "nosuch"], ["rm", "-f", "nosuch"], ["rmi", "nosuch"]):
        done = skiff.cli(*command, check=False)
        assert done.returncode == EX_NOINPUT, done
        assert "there is no " in done.stderr and '"nosuch"' in done.stderr
    others = [skiff.cli("run", "-d", "--host-network", "busybox", "--", "sleep", "60").stdout.strip() for _ in range(20)]
    first = {}
    for pod in others:
        first.setdefault(pod[0], []).append(pod)
    twice = next(pods for pods in first.values() if len(pods) > 1)
    done = skiff.cli("stop", twice[0][0], check=False)
    assert done.returncode == EX_USAGE and "fits " in done.stderr
    skiff.cli("rm", "-f", *others)


def test_info_version_and_check(skiff):
    info = json.loads(skiff.cli("info", "--json").stdout)
    assert {condition["type"] for condition in info["status"]["conditions"]} == {"RuntimeReady", "NetworkReady"}
    assert "RuntimeReady     yes" in skiff.cli("info").stdout
    assert json.loads(skiff.cli("version", "--json").stdout)["runtime_name"] == "skiff"
    checks = json.loads(skiff.cli("check", "--json").stdout)
    root_mount = next(check["detail"] for check in checks if check["name"] == "root mount")
    assert root_mount.startswith("/ is private" if os.environ.get("SKIFF_ROOT_MOUNT") == "private" else "/ is shared")
    assert {check["name"] for check in checks} >= {"kernel", "cgroups", "overlayfs", "seccomp", "RuntimeReady", "NetworkReady"}
    assert all(check["result"] == "ok" or check["remedy"] for check in checks)
    assert "nothing is left over" in skiff.cli("check", "--leaks").stdout


def test_import_names_and_rmi(skiff, archive, tmp_path):
    assert skiff.cli("rmi", "busybox").stdout == "busybox\n"
    assert skiff.cli("images", "--json").stdout == "[]\n"
    # The archive calls it busybox; who gives a name means that one.
    image = skiff.cli("import", "--name", "example.org/other:1", str(archive)).stdout.strip()
    assert image.startswith("sha256:")
    assert json.loads(skiff.cli("images", "--json").stdout)[0]["repo_tags"] == ["example.org/other:1"]
    assert skiff.cli("run", image[7:19], "--", "echo", "by id").stdout == "by id\n"
    skiff.import_image(archive)
    tree = json.loads(skiff.cli("images", "--tree", "--json").stdout)
    assert json.loads(skiff.cli("images", "--json", "--tree").stdout) == tree
    assert [image_["id"] for image_ in tree["images"]] == [image] and tree["other_layers"] == []
    assert sorted(tree["images"][0]["repo_tags"]) == [harness.IMAGE, "example.org/other:1"]
    assert all(layer["bytes"] > 0 and layer["images"] == 1 for layer in tree["images"][0]["layers"])
    assert "`- " in skiff.cli("images", "--tree").stdout
    assert skiff.cli("rmi", image).stdout == f"{image}\n"
    assert skiff.cli("images", "--json").stdout == "[]\n"
    (tmp_path / "no.tar").write_bytes(b"no archive")
    done = skiff.cli("import", str(tmp_path / "no.tar"), check=False)
    assert done.stderr.startswith(f"skiff import {tmp_path}/no.tar: the archive cannot be read")
    done = skiff.cli("import", "--name", "x:1", str(two_images(archive, tmp_path)), check=False)
    assert done.returncode == EX_USAGE and "the archive has 2 images" in done.stderr
    done = skiff.cli("import", "/nonexistent.tar", check=False)
    assert done.returncode == EX_NOINPUT and "/nonexistent.tar: No such file" in done.stderr
    skiff.import_image(archive)


def test_usage_is_told_and_no_daemon_is_unavailable(tmp_path):
    def cli(*arguments):
        return subprocess.run([harness.BIN / "skiff", *arguments], capture_output=True, text=True, timeout=20, check=False)

    assert cli().returncode == EX_USAGE
    assert cli("--help").returncode == 0 and "run" in cli("--help").stdout
    assert "usage: skiff logs" in cli("logs", "--help").stdout
    done = cli("bogus")
    assert done.returncode == EX_USAGE and 'no command "bogus"' in done.stderr
    done = cli("logs")
    assert done.returncode == EX_USAGE and "usage: skiff logs [-f]" in done.stderr
    done = cli("--endpoint", f"unix://{tmp_path}/none.sock", "pods")
    assert done.returncode == EX_UNAVAILABLE and "nobody answers at" in done.stderr and "--endpoint" in done.stderr
    done = cli("--endpoint", "tcp://1.2.3.4:5", "pods")
    assert done.returncode == EX_USAGE and "is not unix:///PATH" in done.stderr
    check = cli("--endpoint", f"unix://{tmp_path}/none.sock", "check")
    assert check.returncode == 0 and "warning  skiffd" in check.stdout


def test_a_foreground_run_is_quick(skiff):
    started = time.monotonic()
    for _ in range(5):
        skiff.cli("run", "--host-network", "busybox", "--", "true")
    assert (time.monotonic() - started) / 5 < 0.5 * harness.SLOW
