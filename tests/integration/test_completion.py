"""What is made of the table of commands. Covers: every option in it is one that the command takes, and the other way round;
help for each command, with an example; the manual pages by mandoc, their commands and keys; completion in bash and zsh on a
terminal and in fish: commands, options, values, names of pods, containers and images, of another socket too."""

import os
import pty
import re
import select
import shutil
import subprocess

import harness
import pytest

PACKAGING = harness.BUILD / "packaging"
NOWHERE = "unix:///nonexistent/skiff.sock"
# What flags with a value take for one.
VALUES = {"SECONDS": "5", "KEYS": "ctrl-x", "HOST:PATH[:ro]": "/tmp:/t", "HOST:PORT[/udp]": "80:80", "KEY=VALUE": "A=b",
          "MEMORY": "64m", "HOST-ID": "131072", "USER": "1000"}  # fmt: skip


def skiff(*arguments):
    return subprocess.run(
        [harness.BIN / "skiff", "--endpoint", NOWHERE, *arguments], capture_output=True, text=True, stdin=subprocess.DEVNULL,
        check=False, timeout=60 * harness.SLOW,
    )  # fmt: skip


def commands():
    return re.findall(r"^  ([a-z-]+)  ", skiff("help").stdout, re.M)


def flags_of(command):
    """(letter or "", name, value or "") of each."""
    return re.findall(r"^  (?:-(\w), |    )--([a-z-]+)(?: (\S+))?  ", skiff("help", command).stdout, re.M)


def test_every_option_in_the_table_is_taken():
    n = 0
    for command in commands():
        # Who has no options at all takes it for an argument.
        assert skiff(command, "--no-such-option").returncode == os.EX_USAGE or not flags_of(command), command
        for letter, name, value in flags_of(command):
            for flag in [f"--{name}"] + ([f"-{letter}"] if letter else []):
                given = [flag, VALUES.get(value, "x")] if value else [flag]
                done = skiff(command, *given)
                assert "unknown" not in done.stderr and "too much" not in done.stderr, (command, given, done.stderr)
                n += 1
    assert n > 50


def test_every_option_that_is_taken_is_in_the_table():
    known = {name for command in commands() for _, name, _ in flags_of(command)} | {"endpoint", "help", "version"}
    taken = set()
    for path in (harness.ROOT / "cri/client").glob("*.c"):
        taken |= set(re.findall(r'\{ "([a-z-]+)",\s+(?:no|required)_argument', path.read_text()))
    assert taken - known == set() and len(taken) > 20


def test_help_of_each_command_has_examples():
    for command in commands():
        text = skiff("help", command).stdout
        assert text.startswith(f"usage: skiff {command}") and "\nexamples:\n  skiff " in text, command
        assert skiff(command, "--help").stdout == text
        for example in re.findall(r"^  skiff (\S+)", text.split("examples:")[1], re.M):
            assert example == command
    assert skiff("help", "nothing").returncode == os.EX_USAGE
    assert "completion" not in skiff("help").stdout


@pytest.mark.skipif(not shutil.which("mandoc"), reason="no mandoc")
def test_manual_pages_are_clean_and_whole():
    pages = [PACKAGING / "skiff.1", PACKAGING / "skiff.toml.5", *sorted((harness.ROOT / "deploy/man").glob("*.8"))]
    for page in pages:
        told = subprocess.run(["mandoc", "-T", "lint", page], capture_output=True, text=True, check=False)
        # Its database has our pages only when they are installed.
        left = [line for line in told.stdout.splitlines() if "referenced manual not found" not in line]
        assert left == [], left
    text = subprocess.run(["mandoc", "-T", "ascii", PACKAGING / "skiff.1"], capture_output=True, text=True, check=True).stdout
    text = re.sub(".\x08", "", text)  # printed twice: bold
    for command in commands():
        assert re.search(rf"^   {command}$", text, re.M), command
    keys = set(re.findall(r"^([a-z_]+) = ", (harness.ROOT / "deploy/skiff.toml").read_text(), re.M))
    assert set(re.findall(r"^\.It Ic ([a-z_]+) = ", (PACKAGING / "skiff.toml.5").read_text(), re.M)) == keys


# --- completion ---


class Terminal:
    """A shell on a terminal, with our programs first in its PATH."""

    def __init__(self, shell, directory):
        start = {"bash": self.bash, "zsh": self.zsh}[shell](directory)
        environment = {"PATH": f"{harness.BIN}:{os.environ['PATH']}", "TERM": "dumb", "HOME": str(directory), "ZDOTDIR": str(directory),
                       "LC_ALL": "C.UTF-8"}  # fmt: skip
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.chdir(directory)
            os.execvpe(start[0], start, environment)
        self.read_until("READY> ")

    @staticmethod
    def bash(directory):
        (directory / "rc").write_text(
            f"source {PACKAGING}/skiff.bash; PS1='READY> '\n"
            "bind 'set show-all-if-ambiguous on'; bind 'set enable-bracketed-paste off'; bind 'set page-completions off'\n"
        )
        return ["bash", "--rcfile", str(directory / "rc"), "-i"]

    @staticmethod
    def zsh(directory):
        shutil.copy(PACKAGING / "skiff.zsh", directory / "_skiff")
        (directory / ".zshrc").write_text(
            f"fpath=({directory} $fpath); autoload -U compinit; compinit -D -u; unsetopt zle_bracketed_paste; PS1='READY> '\n"
            "zstyle ':completion:*' list-prompt ''; LISTMAX=1000; unset zle_bracketed_paste\n"
        )
        return ["zsh", "-i"]

    def read_until(self, *words):
        text = ""

        def came():
            nonlocal text
            while select.select([self.fd], [], [], 0.02)[0]:
                text += os.read(self.fd, 65536).decode(errors="replace")
            return all(word in text for word in words)

        try:
            harness.wait_for(came, f"{words}", 20)
        except AssertionError:
            raise AssertionError((words, text)) from None
        return text

    def offers(self, typed, *words):
        """Types it and tab; waits for the words. Not Ctrl-C to go on: it would end what the shell may still be asking."""
        os.write(self.fd, f"{typed}\t".encode())
        text = self.read_until(*words)
        os.write(self.fd, b"\x15\r")
        self.read_until("READY> ")
        return text

    def close(self):
        os.kill(self.pid, 9)
        os.waitpid(self.pid, 0)
        os.close(self.fd)


@pytest.fixture(params=["bash", "zsh"])
def terminal(request, tmp_path):
    if not shutil.which(request.param):
        pytest.skip(f"no {request.param}")
    directory = tmp_path / "home"
    directory.mkdir()
    (directory / "layout.tar").touch()
    made = Terminal(request.param, directory)
    yield made
    made.close()


def test_on_a_terminal(terminal, skiff):
    pod = skiff.run_pod(skiff.pod_config(name="web-pod"))
    skiff.run(pod, ["sleep", "1000"], name="web-container")
    at = f"skiff --endpoint {skiff.endpoint}"
    terminal.offers("skiff im", "images", "import")
    terminal.offers("skiff run --re", "--read-only")
    terminal.offers("skiff config ", "show", "check")
    terminal.offers("skiff import --name x lay", "layout.tar")
    terminal.offers(f"{at} stop web-", "web-pod", "web-container")
    terminal.offers(f"{at} logs -f web", "web-container")
    terminal.offers(f"{at} port-forward we", "web-pod")
    terminal.offers(f"{at} run -d busybox:la", "test")
    terminal.offers(f"{at} export bus", "busybox:latest")
    terminal.offers(f"{at} export busybox:latest lay", "layout.tar")
    terminal.offers(f"{at} cp web", "web-container:")
    skiff.remove_pod(pod)


@pytest.mark.skipif(not shutil.which("fish"), reason="no fish")
def test_in_fish(skiff, tmp_path):
    def offered(line):
        script = f"source {PACKAGING}/skiff.fish; complete -C {line!r}"
        environment = {**os.environ, "PATH": f"{harness.BIN}:{os.environ['PATH']}", "HOME": str(tmp_path)}
        done = subprocess.run(["fish", "--no-config", "-c", script], capture_output=True, text=True, env=environment, check=True,
                              cwd=tmp_path, timeout=60 * harness.SLOW)  # fmt: skip
        return [word.split("\t")[0] for word in done.stdout.splitlines()]

    (tmp_path / "layout.tar").touch()
    pod = skiff.run_pod(skiff.pod_config(name="web-pod"))
    skiff.run(pod, ["sleep", "1000"], name="web-container")
    at = f"skiff --endpoint {skiff.endpoint}"
    assert set(offered("skiff ")) == set(commands())
    assert offered("skiff run --read") == ["--read-only"]
    assert set(offered("skiff config ")) == {"show", "check"}
    assert offered("skiff import lay") == ["layout.tar"]
    assert set(offered(f"{at} stop web-")) == {"web-pod", "web-container"}
    assert offered(f"{at} logs web") == ["web-container"]
    assert offered(f"{at} run bus") == ["busybox:latest"]
    assert offered(f"{at} export busybox:latest lay") == ["layout.tar"]
    assert "web-container:" in offered(f"{at} cp web")
    skiff.remove_pod(pod)
