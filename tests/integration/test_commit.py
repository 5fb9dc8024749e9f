"""skiff commit: what a container has written as a layer of a new image; its config; pausing; what goes wrong."""

import json
import os
import subprocess
import tarfile

import harness
import pytest

CHANGES = (
    "rm /etc/group; mkdir -p /data/deep; echo new > /data/deep/file; ln -s file /data/deep/link; ln /data/deep/file /data/hard;"
    " chown 7:8 /data/deep/file; chmod 4711 /data/deep/file; rm -r /etc/gone; mkdir /etc/gone; echo other > /etc/gone/one;"
    " mkfifo /data/pipe; touch -d '2001-02-03 04:05:06' /data/deep/file; echo done; sleep 1000"
)
LOOK = (
    "ls /etc/group 2>&1; cat /data/deep/file /data/deep/link; stat -c '%a %u %g %h %y' /data/hard; ls /etc/gone; test -p /data/pipe"
    " && echo pipe; cat /etc/kept"
)


def commit(skiff, *arguments, check=True):
    return skiff.cli("commit", *arguments, check=check)


@pytest.fixture
def worked(skiff):
    """A container that has changed its files, of an image with something to change."""
    pod = skiff.run_pod(host_network=True)
    first = skiff.run(pod, ["sh", "-c", "mkdir /etc/gone; echo old > /etc/gone/two; echo kept > /etc/kept; sleep 1000"])
    harness.wait_for(lambda: skiff.exec(first, ["cat", "/etc/kept"]).exit_code == 0, "the first files")
    commit(skiff, first, "test/base:1")
    second = skiff.run(pod, ["sh", "-c", CHANGES], image="docker.io/test/base:1")
    harness.wait_for(lambda: "done" in skiff.text(second), "the changes")
    return pod, second


def layers_of(skiff):
    return len(os.listdir(skiff.directory / "root/layers"))


def output(skiff, pod, image, script):
    container = skiff.run(pod, ["sh", "-c", script], image=image)
    skiff.wait_exited(container)
    return skiff.text(container)


def test_what_was_written_is_in_the_image(skiff, worked):
    pod, container = worked
    done = commit(skiff, "-m", "what for", "-a", "who", container, "test/made:2")
    assert done.stdout.startswith("sha256:") and len(done.stdout) == 72
    out = output(skiff, pod, "docker.io/test/made:2", LOOK)
    assert "ls: /etc/group: No such file" in out
    assert out.splitlines()[1:] == ["new", "new", "4711 7 8 2 2001-02-03 04:05:06.000000000 +0000", "one", "pipe", "kept"], out
    assert skiff.status(container).state == 1 and skiff.exec(container, ["true"]).exit_code == 0  # it goes on


def test_the_config_is_the_images_with_what_was_asked(skiff, worked):
    pod, container = worked
    changes = ["CMD [\"echo\", \"a b\"]", "ENV A=1 B='two words'", "ENV C three words", "LABEL who=me", "EXPOSE 80 53/udp",
               "VOLUME /data", "USER 7:8", "WORKDIR /data", "STOPSIGNAL SIGINT"]  # fmt: skip
    commit(skiff, *(part for change in changes for part in ("-c", change)), "-m", "why", container, "test/made")
    commit(skiff, "-c", "ENTRYPOINT exec sh", "-c", "ENV A=2", skiff.create(pod, ["true"], image="docker.io/test/made:latest"), "test/more")
    skiff.cli("export", "test/made", str(skiff.directory / "made.tar"))
    skiff.cli("export", "test/more", str(skiff.directory / "more.tar"))
    made, more = (oci_config(skiff.directory / f"{name}.tar") for name in ("made", "more"))
    assert made["config"] == {
        **made["config"], "Cmd": ["echo", "a b"], "Labels": {"who": "me"}, "ExposedPorts": {"80/tcp": {}, "53/udp": {}},
        "Volumes": {"/data": {}}, "User": "7:8", "WorkingDir": "/data", "StopSignal": "SIGINT",
    }  # fmt: skip
    assert made["config"]["Env"][-3:] == ["A=1", "B=two words", "C=three words"]
    assert [h.get("comment") for h in made["history"]] == [None, "why"] and len(made["rootfs"]["diff_ids"]) == 3
    assert "Cmd" not in more["config"] and more["config"]["Entrypoint"] == ["/bin/sh", "-c", "exec sh"]
    assert more["config"]["Env"][-3:] == ["A=2", "B=two words", "C=three words"]


def oci_config(path):
    with tarfile.open(path) as archive:
        read = lambda name: json.load(archive.extractfile(name))  # noqa: E731
        blob = lambda digest: read(f"blobs/sha256/{digest.removeprefix('sha256:')}")  # noqa: E731
        return blob(blob(read("index.json")["manifests"][0]["digest"])["config"]["digest"])


def test_one_that_has_ended_or_not_begun(skiff, worked):
    pod, container = worked
    skiff.cri.StopContainer(container_id=container, timeout=0)
    commit(skiff, container, "test/ended")
    assert "new" in output(skiff, pod, "docker.io/test/ended", LOOK)
    created = skiff.create(pod, ["true"])
    commit(skiff, created, "test/created")
    assert output(skiff, pod, "docker.io/test/created", "echo runs") == "runs\n"


def test_owners_in_a_user_namespace(skiff):
    ids = {"users": [{"host_id": 300000, "container_id": 0, "length": 65536}]}
    options = {"pid": 1, "userns_options": {"mode": 0, "uids": ids["users"], "gids": ids["users"]}}
    linux = {"cgroup_parent": skiff.cgroup_parent, "security_context": {"namespace_options": options}}
    pod = skiff.run_pod(linux=linux)
    script = "touch /root-s /seven; chown 7:9 /seven; mkdir /d; echo done; sleep 1000"
    container = skiff.run(pod, ["sh", "-c", script], security={"namespace_options": options})
    harness.wait_for(lambda: "done" in skiff.text(container), "the files")
    commit(skiff, container, "test/mapped")
    plain = skiff.run_pod(host_network=True)
    assert output(skiff, plain, "docker.io/test/mapped", "stat -c '%u:%g' /root-s /seven /d").split() == ["0:0", "7:9", "0:0"]


def test_what_runs_stands_still_while_it_is_read(skiff):
    """Two files that are always written as a pair never differ in the image."""
    pod = skiff.run_pod(host_network=True)
    script = "i=0; while :; do i=$((i+1)); echo $i > /1; mv /1 /one; echo $i > /2; mv /2 /two; done"
    container = skiff.run(pod, ["sh", "-c", script])
    harness.wait_for(lambda: skiff.exec(container, ["cat", "/two"]).exit_code == 0, "the first pair")
    for _ in range(5):
        commit(skiff, container, "test/pair")
        one, two = output(skiff, pod, "docker.io/test/pair", "cat /one /two").split()
        assert int(one) - int(two) in (0, 1)
    before = skiff.exec(container, ["cat", "/one"]).stdout
    harness.wait_for(lambda: skiff.exec(container, ["cat", "/one"]).stdout != before, "it to go on")
    assert not os.listdir(skiff.state / "paused")


def test_a_kill_while_it_stands_still(skiff):
    pod = skiff.run_pod(host_network=True)
    container = skiff.run(pod, ["sh", "-c", "head -c 50000000 /dev/urandom > /big; echo done; while :; do date +%N > /now; done"])
    harness.wait_for(lambda: "done" in skiff.text(container), "the file")
    layers = layers_of(skiff)
    pid = skiff.info(container)["pid"]
    client = subprocess.Popen([skiff.binaries / "skiff", "--endpoint", skiff.endpoint, "commit", container, "test/killed"],
                              stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # fmt: skip
    harness.wait_for(lambda: list((skiff.state / "paused").glob("*")), "the pause")
    skiff.kill()
    client.wait()
    skiff.start()
    state = lambda: harness.read_proc(pid, "stat").rsplit(")", 1)[1].split()[0]  # noqa: E731
    harness.wait_for(lambda: state() in "RS", "it to go on")
    assert skiff.exec(container, ["cat", "/now"], timeout=10).exit_code == 0
    assert not os.listdir(skiff.state / "paused")
    assert "test/killed" not in skiff.cli("images").stdout
    harness.wait_for(lambda: layers_of(skiff) == layers, "nothing to be left")


@pytest.mark.parametrize(
    "arguments, code, words",
    [
        (["{c}"], 64, "a container and the new image's name are needed"),
        (["{c}", "Bad:Name:1"], 64, "Bad:Name:1"),
        (["{c}", "a@sha256:" + "0" * 64], 64, "has a digest"),
        (["nobody", "test/x"], 66, "nobody"),
        (["-c", "RUN true", "{c}", "test/x"], 64, "RUN is none of CMD"),
        (["-c", "CMD", "{c}", "test/x"], 64, "nothing follows"),
        (["-c", "CMD [1]", "{c}", "test/x"], 64, "not a list of words"),
        (["-c", "CMD [", "{c}", "test/x"], 64, "line 1"),
        (["-c", "ENV 'a=b", "{c}", "test/x"], 64, "not closed"),
        (["-c", "ENV =b", "{c}", "test/x"], 64, "KEY=VALUE"),
        (["-c", "WORKDIR here", "{c}", "test/x"], 64, "not an absolute path"),
        (["-c", "VOLUME here", "{c}", "test/x"], 64, "not an absolute path"),
        (["--pause=perhaps", "{c}", "test/x"], 64, "true or false"),
    ],
)
def test_what_cannot_be_is_said_and_leaves_nothing(skiff, arguments, code, words):
    pod = skiff.run_pod(host_network=True)
    container = skiff.run(pod, ["sleep", "1000"])
    before = (skiff.cli("images").stdout, layers_of(skiff))
    done = commit(skiff, *(a.replace("{c}", container) for a in arguments), check=False)
    assert (done.returncode, done.stdout) == (code, "") and words in done.stderr, done
    harness.wait_for(lambda: (skiff.cli("images").stdout, layers_of(skiff)) == before, "nothing to be left")


def test_an_image_that_is_gone_is_said(skiff, worked):
    _, container = worked
    skiff.cli("rmi", "test/base:1")
    done = commit(skiff, container, "test/x", check=False)
    assert done.returncode == 65 and "has been removed" in done.stderr


def test_names_move(skiff, worked):
    pod, container = worked
    first = commit(skiff, container, "test/same").stdout
    skiff.exec(container, ["sh", "-c", "echo more > /more"])
    second = commit(skiff, container, "test/same").stdout
    assert first != second and output(skiff, pod, "docker.io/test/same", "cat /more") == "more\n"
