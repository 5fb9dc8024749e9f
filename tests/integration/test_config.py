"""skiffd's configuration while it runs, and the command that shows it. Covers: what `skiff config show` prints is TOML, says
where each key is from, and is taken by skiffd; `skiff config check` and its exit codes; SIGHUP: keys that count at once, keys
that are told to need a restart, a broken file that changes nothing, reloads while containers are started."""

import os
import signal
import tomllib

import harness

import pytest


class Configured(harness.Skiff):
    """Its options are in a file and drop-ins, as on a node; flags win over all, so there is none but --config."""

    def __init__(self, directory):
        super().__init__(directory)
        self.file = self.directory / "skiff.toml"
        self.drop_ins = self.directory / "skiff.toml.d"
        self.drop_ins.mkdir()
        self.file.write_text(
            f'root = "{self.root}"\nstate = "{self.state}"\nlisten = "{self.endpoint}"\ncni_conf_dir = "{self.cni_conf}"\n'
            f'cni_bin_dir = "{self.cni_bin}"\nregistry_config_dir = "{self.certs}"\n'
        )

    def command(self):
        return [self.binaries / "skiffd", "--config", self.file]

    def drop_in(self, text, name="50-test.toml"):
        (self.drop_ins / name).write_text(text)

    def lines_of(self, *words):
        return [line for line in self.output.read_text().splitlines() if all(word in line for word in words)]

    def reload(self, word="configuration read anew"):
        """Waits until the log says how it ended; what was logged of it."""
        before = len(self.output.read_text())
        self.process.send_signal(signal.SIGHUP)
        harness.wait_for(lambda: word in self.output.read_text()[before:], word)
        # What comes behind the first line is told by the same thread before it takes a signal again.
        self.process.send_signal(signal.SIGHUP)
        harness.wait_for(lambda: self.output.read_text()[before:].count(word) == 2, word)
        return self.output.read_text()[before:]


@pytest.fixture
def node(tmp_path, archive):
    made = Configured(tmp_path).start()
    made.import_image(archive)
    yield made
    made.remove_all()
    made.stop()
    assert not made.sanitizers_found(), made.sanitizers_found()
    harness.remove_tree(tmp_path)


def test_what_is_shown_is_taken(bare):
    node = Configured(bare.directory)
    node.drop_in('pinned_images = ["a", "b"]\n\npull_stall_seconds = 5\n')
    shown = node.cli("config", "show", "--config", node.file).stdout
    values = tomllib.loads(shown)
    assert values["pull_stall_seconds"] == 5 and values["pinned_images"] == ["a", "b"] and values["root"] == str(node.root)
    assert f"pull_stall_seconds = 5  # {node.drop_ins}/50-test.toml:3\n" in shown
    assert f'root = "{node.root}"  # {node.file}:1\n' in shown
    assert "stream_uid = 60718  # default\n" in shown
    again = node.directory / "again.toml"
    again.write_text(shown)
    assert node.cli("config", "check", "--config", again).returncode == 0
    assert tomllib.loads(node.cli("config", "show", "--config", again).stdout) == values


def test_a_check_says_what_is_wrong_and_where(bare):
    node = Configured(bare.directory)
    assert "as skiffd wants them" in node.cli("config", "check", "--config", node.file).stdout
    node.drop_in("# x\nlog_level = 3\n")
    done = node.cli("config", "check", "--config", node.file, check=False)
    assert done.returncode == os.EX_CONFIG and done.stdout == ""
    assert done.stderr == (
        f"skiff config: {node.drop_ins}/50-test.toml: line 2: log_level: a whole number where a string should be\n"
    )
    assert node.cli("config", check=False).returncode == os.EX_USAGE
    assert node.cli("config", "check", "--conf", check=False).returncode == os.EX_USAGE
    assert node.cli("config", "check", "--config", "/nonexistent", check=False).returncode == os.EX_CONFIG


def test_a_reload_changes_what_can_change(node):
    pod = node.run_pod()
    assert not node.lines_of("debug", "rpc") and not node.cri.ImageStatus(image={"image": "busybox"}).image.pinned
    node.drop_in('log_level = "debug"\npinned_images = ["busybox"]\nmax_container_log_line_size = 2000\npull_uid = 4242\n')
    told = node.reload()
    for key in ("log_level", "pinned_images", "max_container_log_line_size"):
        assert told.count(f"reloaded key={key}\n") == 1, told
    assert told.count("needs a restart of skiffd") == 2 and "key=pull_uid" in told  # at each reload, for it still is so
    assert node.cri.ImageStatus(image={"image": "busybox"}).image.pinned
    container = node.run(pod, ["sh", "-c", "printf %05000d 7"])
    node.wait_exited(container)
    assert [(tag, len(text)) for _, _, tag, text in node.lines(container)][0] == ("P", 2000)
    assert node.lines_of(" debug ")

    (node.drop_ins / "50-test.toml").unlink()  # and back
    told = node.reload()
    assert "reloaded key=pinned_images" in told and "pull_uid" not in told
    assert not node.cri.ImageStatus(image={"image": "busybox"}).image.pinned


def test_a_broken_file_changes_nothing(node):
    node.drop_in('pinned_images = ["busybox"]\n')
    node.drop_in("log_level = \n", "60-broken.toml")
    told = node.reload("not reloaded")
    assert f"{node.drop_ins}/60-broken.toml: line 1" in told and "reloaded key" not in told
    assert not node.cri.ImageStatus(image={"image": "busybox"}).image.pinned
    node.drop_in('pinned_images = ["no image name:::"]\n', "60-broken.toml")
    assert "pinned image" in node.reload("not reloaded")
    assert node.cri.Status().status.conditions[0].status
    (node.drop_ins / "60-broken.toml").unlink()
    node.reload()
    assert node.cri.ImageStatus(image={"image": "busybox"}).image.pinned


def test_reloads_while_containers_start(node):
    pod = node.run_pod()
    for turn in range(20):
        node.drop_in(f'pinned_images = ["busybox:{turn}"]\ncontainer_log_max_bytes = {turn}000\npull_stall_seconds = {turn + 1}\n')
        node.process.send_signal(signal.SIGHUP)
        container = node.run(pod, ["echo", "x"])
        assert node.wait_exited(container).exit_code == 0
        node.cri.ListImages()
    node.drop_in("")
    node.reload()
