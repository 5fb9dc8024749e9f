"""The skiff command's streams, as people type them. Covers: exec -i, run -i, cp, port-forward by pipes; exec -it, run -it, attach and
its detach keys, resize, Ctrl-C, suspension and the terminal's modes in tmux; what ends when skiff is ended."""

import concurrent.futures
import contextlib
import hashlib
import os
import shutil
import signal
import socket
import subprocess
import time
import uuid

import pytest

import harness
from test_cli import EX_NOINPUT, EX_USAGE, logs_left

EX_DATAERR = 65


@pytest.fixture
def web(skiff):
    """A pod called web that sleeps."""
    skiff.cli("run", "-d", "--name", "web", "busybox", "--", "sleep", "1000")
    yield skiff
    skiff.cli("rm", "-f", "web", check=False)
    assert logs_left() == []


def command(skiff, *arguments):
    return [harness.BIN / "skiff", "--endpoint", skiff.endpoint, *arguments]


def piped(skiff, *arguments, stdin=b"", timeout=60):
    return subprocess.run(command(skiff, *arguments), input=stdin, capture_output=True, timeout=timeout * harness.SLOW, check=False)


# --- exec ---


def test_exec_shows_output_as_it_comes(web):
    running = subprocess.Popen(command(web, "exec", "web", "sh", "-c", "echo first; read x < /dev/null; sleep 797"), stdout=subprocess.PIPE)
    assert running.stdout.readline() == b"first\n"
    running.send_signal(signal.SIGINT)
    assert running.wait(20 * harness.SLOW) == -signal.SIGINT
    harness.wait_for(lambda: "sleep 797" not in harness.processes().values(), "the end of what it ran")


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_a_standard_descriptor_may_be_closed(web, closed):
    shell = f'exec "$@" {closed}'
    words = [str(word) for word in command(web, "exec", "web", "sh", "-c", "echo hi; echo err >&2; exit 3")]
    done = subprocess.run(["sh", "-c", shell, "sh", *words], capture_output=True, timeout=20 * harness.SLOW, check=False)
    assert done.returncode == 3
    assert done.stdout == (b"" if " >&-" in f" {closed}" else b"hi\n")


@pytest.mark.parametrize("end", ["kill", "stop"])
def test_a_run_and_who_follows_its_log_outlive_skiffd(skiff, end):
    script = "i=0; while [ $i -lt 30 ]; do echo $i; i=$((i+1)); sleep 0.1; done; exit 9"
    words = command(skiff, "run", "--name", "web", "busybox", "--", "sh", "-c", script)
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as run:
        assert run.stdout.readline() == "0\n"
        with subprocess.Popen(command(skiff, "logs", "-f", "web"), stdout=subprocess.PIPE, text=True) as logs:
            assert logs.stdout.readline() == "0\n"
            getattr(skiff, end)()
            time.sleep(0.5)  # fixed: longer than either asks
            skiff.start()
            out, err = run.communicate(timeout=30 * harness.SLOW)
            assert (run.returncode, out, err) == (9, "".join(f"{i}\n" for i in range(1, 30)), "")
            assert logs.communicate(timeout=30 * harness.SLOW)[0] == out
    assert not skiff.cri.ListPodSandbox().items


def test_exec_is_binary_and_of_any_size(web):
    data = os.urandom(20 << 20)
    done = piped(web, "exec", "-i", "web", "cat", stdin=data, timeout=120)
    assert (done.returncode, done.stderr) == (0, b"") and hashlib.sha256(done.stdout).digest() == hashlib.sha256(data).digest()


@pytest.mark.parametrize("nth", range(20))
def test_exec_loses_no_last_byte(web, nth):
    done = piped(web, "exec", "web", "sh", "-c", f"head -c {nth * 4099} /dev/zero; printf last; printf err >&2; exit {nth}")
    assert (done.returncode, done.stdout[nth * 4099 :], done.stderr) == (nth, b"last", b"err")


def test_exec_without_i_has_no_input(web):
    assert piped(web, "exec", "web", "cat", stdin=b"not passed on").stdout == b""
    assert piped(web, "exec", "-i", "web", "--", "sh", "-c", "cat; echo end", stdin=b"some\n").stdout == b"some\nend\n"
    assert piped(web, "exec", "-i", "web", "true", stdin=b"x" * (4 << 20)).returncode == 0


@pytest.mark.parametrize(
    "what, code, text", [("nosuch", 127, "executable file not found in $PATH"), ("/nosuch", 127, "/nosuch"), ("/etc/passwd", 126, "permission denied")]
)
def test_a_command_that_is_not_there(web, what, code, text):
    for flags in ([], ["-i"], ["--timeout", "9"]):
        done = piped(web, "exec", *flags, "web", what)
        assert done.returncode == code and text in done.stderr.decode(), (flags, done)


def test_wrong_usage_is_told_before_any_call(skiff):
    nobody = "unix:///nonexistent/skiff.sock"
    for arguments in (["exec", "-it", "web", "sh"], ["exec", "-t", "web", "sh"], ["run", "-it", "busybox", "sh"]):
        done = subprocess.run(
            [harness.BIN / "skiff", "--endpoint", nobody, *arguments], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=20, check=False
        )
        assert done.returncode == EX_USAGE and "the input is not a terminal" in done.stderr, done
    for arguments, text in (
        (["exec", "-i", "--timeout", "3", "web", "sh"], "--timeout goes with neither"),
        (["exec", "web"], "a container and a command are needed"),
        (["attach"], "one container is needed"),
        (["attach", "--detach-keys", "ctrl-", "web"], "are no keys"),
        (["port-forward", "web"], "a pod and one to"),
        (["port-forward", "web", "0"], "is not [LOCAL:]REMOTE"),
        (["cp", "a", "b"], "CONTAINER:PATH and a local path"),
        (["cp", "a:/x", "b:/x"], "CONTAINER:PATH and a local path"),
    ):
        done = skiff.cli(*arguments, check=False)
        assert done.returncode == EX_USAGE and text in done.stderr and f"usage: skiff {arguments[0]}" in done.stderr, done


# --- run ---


def test_run_i_passes_its_input_on(skiff):
    done = piped(skiff, "run", "-i", "--rm", "busybox", "sh", "-c", "while read x; do echo got $x; done; echo err >&2; exit 4", stdin=b"a\nb\n")
    assert (done.returncode, done.stdout, done.stderr) == (4, b"got a\ngot b\n", b"err\n")
    data = b"0123456789abcde\n" * (1 << 16)
    done = piped(skiff, "run", "-i", "busybox", "sha256sum", stdin=data)
    assert done.stdout.split()[0].decode() == hashlib.sha256(data).hexdigest()
    assert skiff.cli("pods", "--json").stdout == "[]\n" and logs_left() == []


def test_run_i_of_what_ends_at_once(skiff):
    for _ in range(5):
        done = piped(skiff, "run", "-i", "busybox", "echo", "quick", stdin=b"unread")
        assert (done.returncode, done.stdout) == (0, b"quick\n"), done


# --- cp ---


@pytest.fixture
def tree(tmp_path):
    made = tmp_path / "tree"
    (made / "a b").mkdir(parents=True)
    (made / "a b/-dash").write_text("dash")
    (made / "new\nline").write_text("line")
    (made / ("n" * 150)).write_text("long")
    (made / "big").write_bytes(os.urandom(5 << 20))
    (made / "empty").touch()
    (made / "script").write_text("#!/bin/sh\n")
    (made / "script").chmod(0o750)
    (made / "link").symlink_to("../nowhere")
    return made


def same(one, other):
    diff = subprocess.run(["diff", "-r", "--no-dereference", one, other], capture_output=True, text=True, check=False)
    modes = [{p.relative_to(top): p.lstat().st_mode for p in top.rglob("*")} for top in (one, other)]
    return diff.returncode == 0 and modes[0] == modes[1] or (diff.stdout, modes)


def test_cp_there_and_back(web, tree, tmp_path):
    web.cli("cp", str(tree), "web:/tmp")
    assert web.cli("exec", "web", "readlink", "/tmp/tree/link").stdout == "../nowhere\n"
    web.cli("cp", "web:/tmp/tree", str(tmp_path / "back"))
    assert same(tree, tmp_path / "back") is True
    (tmp_path / "into").mkdir()
    web.cli("cp", "web:/tmp/tree", str(tmp_path / "into"))
    assert same(tree, tmp_path / "into/tree") is True
    web.cli("cp", "web:/tmp/tree/.", str(tmp_path / "into"))
    assert (tmp_path / "into/empty").exists()


def test_cp_one_file_under_another_name(web, tree, tmp_path):
    web.cli("cp", str(tree / "big"), "web:/tmp/renamed")
    text = web.cli("exec", "web", "sha256sum", "/tmp/renamed").stdout.split()[0]
    assert text == hashlib.sha256((tree / "big").read_bytes()).hexdigest()
    web.cli("cp", "web:/tmp/renamed", f"{tmp_path}/again")
    assert (tmp_path / "again").read_bytes() == (tree / "big").read_bytes()


def test_cp_a_stream(web, tree, tmp_path):
    made = subprocess.run(["tar", "-C", tree, "-cf", "-", "empty", "script"], capture_output=True, check=True).stdout
    assert piped(web, "cp", "-", "web:/tmp", stdin=made).returncode == 0
    done = piped(web, "cp", "web:/tmp/script", "-")
    listed = subprocess.run(["tar", "-tvf", "-"], input=done.stdout, capture_output=True, check=True).stdout.decode()
    assert "-rwxr-x---" in listed and "script" in listed


def test_cp_says_what_is_wrong(web, tree, tmp_path):
    for arguments, code, text in (
        (["web:/nosuch", str(tmp_path)], 1, "tar in the container ended with 1"),
        ([str(tmp_path / "nosuch"), "web:/tmp"], EX_NOINPUT, "nosuch: No such file"),
        (["web:/etc/passwd", f"{tmp_path}/nodir/x"], EX_NOINPUT, "nodir: No such file"),
        ([str(tree / "empty"), "web:/nodir/"], EX_NOINPUT, "is no directory in the container"),
        ([str(tree / "empty"), "web:/nodir/x"], 1, "tar in the container ended with 1"),
        (["nosuch:/etc/passwd", str(tmp_path)], EX_NOINPUT, "there is no"),
    ):
        done = web.cli("cp", *arguments, check=False)
        assert done.returncode == code and text in done.stderr, (arguments, done)
    web.cli("exec", "web", "rm", "/bin/tar")
    done = web.cli("cp", "web:/etc/passwd", str(tmp_path), check=False)
    assert done.returncode == EX_DATAERR and "the container has no tar" in done.stderr
    assert not (tmp_path / "passwd").exists()


def test_a_containers_tar_cannot_write_elsewhere(web, tmp_path):
    """A container whose tar is its own."""
    target = tmp_path / "target"
    target.mkdir()
    for script in (
        "mkdir -p /w/top; ln -s ../../.. /w/top/l; /bin/busybox tar -C /w -cf /evil.tar top/l; rm /w/top/l; mkdir /w/top/l; echo x > /w/top/l/evil; "
        "/bin/busybox tar -C /w -rf /evil.tar top/l/evil 2>/dev/null || { /bin/busybox tar -C /w -cf /second.tar top/l/evil; "
        "head -c 512 /evil.tar > /joined; cat /second.tar >> /joined; mv /joined /evil.tar; }",
        "mkdir -p /w; echo x > /w/evil; /bin/busybox tar -C /w -cf /evil.tar evil",
    ):
        web.cli("exec", "web", "sh", "-c", script)
        web.cli("exec", "web", "sh", "-c", "rm -f /bin/tar; printf '#!/bin/sh\\ncat /evil.tar\\n' > /bin/tar; chmod 755 /bin/tar")
        done = web.cli("cp", "web:/w/top", str(target), check=False)
        assert done.returncode == 77, done
        assert "links are not followed" in done.stderr or "does not lie in what was asked for" in done.stderr
        assert not [*target.rglob("evil"), *tmp_path.glob("evil"), *tmp_path.parent.glob("evil")]


# --- port-forward ---


@contextlib.contextmanager
def forwarding(skiff, *arguments, count=1):
    """The process and the local ports of 127.0.0.1 that it told."""
    process = subprocess.Popen(command(skiff, "port-forward", *arguments), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        ports = []
        while len(ports) < count:
            line = process.stdout.readline()
            assert line.startswith("Forwarding from "), (line, process.poll() is not None and process.stderr.read())
            if "127.0.0.1:" in line:
                ports.append(int(line.split(":")[1].split()[0]))
        yield process, ports
    finally:
        process.kill()
        process.wait()


def stopped(process):
    """What it said, once it was ended."""
    process.kill()
    return process.communicate()


def fetch(port, path="/passwd"):
    with socket.create_connection(("127.0.0.1", port), timeout=20 * harness.SLOW) as connection:
        connection.sendall(f"GET {path} HTTP/1.0\r\n\r\n".encode())
        connection.shutdown(socket.SHUT_WR)
        return connection.makefile("rb").read()


@pytest.fixture
def server(skiff):
    skiff.cli("run", "-d", "--name", "web", "busybox", "httpd", "-f", "-p", "80", "-h", "/etc")
    yield skiff
    skiff.cli("rm", "-f", "web", check=False)


def test_port_forward(server):
    with forwarding(server, "web", ":80", ":80", ":7999", count=3) as (process, ports):
        assert len(set(ports)) == 3
        with concurrent.futures.ThreadPoolExecutor(6) as pool:  # busybox's httpd has a backlog of 9
            results = list(pool.map(lambda number: fetch(ports[number % 2]), range(30)))
        assert all(result and b"root:" in result for result in results), (results, stopped(process))
        with contextlib.suppress(OSError):
            assert fetch(ports[2]) == b""
        assert b"root:" in fetch(ports[0])  # a refused one ends nobody else
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=20 * harness.SLOW)
        assert process.returncode == 0 and "port 7999: " in err and "refused" in err.lower()
        assert out.count("Handling connection for ") >= 31


def test_a_port_that_is_taken_and_a_pod_that_is_not_there(server):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = server.cli("port-forward", "web", f"{port}:80", check=False)
        assert done.returncode == 73 and f"127.0.0.1:{port}: the port is taken" in done.stderr
    assert server.cli("port-forward", "nosuch", "80", check=False).returncode == EX_NOINPUT


def test_a_pod_that_goes_ends_its_port_forward(server):
    with forwarding(server, "web", ":80") as (process, ports):
        assert b"root:" in fetch(ports[0])
        server.cli("rm", "-f", "web")
        _, err = process.communicate(timeout=20 * harness.SLOW)
        assert process.returncode == 69 and "lost" in err


# --- terminals ---


class Screen:
    """A shell in tmux."""

    def __init__(self, directory):
        self.socket, self.directory = f"skiff-{uuid.uuid4().hex[:8]}", directory
        self.tmux("-f", "/dev/null", "new-session", "-d", "-x", "100", "-y", "40", "env", "-i", "TERM=screen", "PS1=host> ", f"PATH={os.environ['PATH']}", "sh")
        self.wait("host>")

    def tmux(self, *arguments):
        return subprocess.run(["tmux", "-L", self.socket, *arguments], capture_output=True, text=True, timeout=20, check=True).stdout

    def type(self, text):
        self.tmux("send-keys", "-l", text)
        self.tmux("send-keys", "Enter")

    def keys(self, *keys):
        self.tmux("send-keys", *keys)

    def text(self):
        return self.tmux("capture-pane", "-p", "-J", "-S", "-500")

    def wait(self, text, seconds=20, count=1):
        try:
            harness.wait_for(lambda: self.text().count(text) >= count, text, seconds)
        except AssertionError:
            raise AssertionError(f"no {text!r} on the screen:\n{self.text()}") from None

    def modes(self):
        """Of the terminal, by stty, when the shell is back."""
        harness.wait_for(lambda: self.text().rstrip().endswith("host>"), "the prompt")
        path = self.directory / uuid.uuid4().hex
        self.type(f"stty -a > {path}.new; mv {path}.new {path}")
        harness.wait_for(path.exists, "stty")
        return [line for line in path.read_text().splitlines() if "rows" not in line]

    def close(self):
        subprocess.run(["tmux", "-L", self.socket, "kill-server"], capture_output=True, check=False)


@pytest.fixture
def screen(tmp_path):
    if not shutil.which("tmux"):
        pytest.skip("no tmux")
    made = Screen(tmp_path)
    yield made
    made.close()


def line(skiff, *arguments):
    return " ".join(str(word) for word in command(skiff, *arguments))


def test_exec_it_is_a_terminal(web, screen):
    before = screen.modes()
    screen.type(line(web, "exec", "-it", "web", "sh"))
    screen.wait("/ #")
    screen.type("stty size; tty; echo $TERM")
    screen.wait("40 100")
    screen.wait("/dev/pts/")
    screen.tmux("resize-window", "-x", "90", "-y", "30")
    screen.type("sleep 0.3; stty size")
    screen.wait("30 90")
    screen.type("echo begun; sleep 500")
    screen.wait("begun", count=2)
    screen.keys("C-c")
    screen.type("echo code $?")
    screen.wait("code 130")
    screen.type("exit 9")
    screen.wait("host>", count=2)
    screen.type("echo code $?")
    screen.wait("code 9")
    assert screen.modes() == before


def test_the_size_is_there_from_the_start(web, screen):
    screen.type(line(web, "exec", "-it", "web", "stty", "size"))
    screen.wait("40 100")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGQUIT])
def test_the_terminal_is_as_before_whatever_ends_skiff(web, screen, number):
    before = screen.modes()
    screen.type(line(web, "exec", "-it", "web", "sh"))
    screen.wait("/ #")
    screen.type("sleep 501")
    harness.wait_for(lambda: "sleep 501" in harness.processes().values(), "the program")
    os.kill(pid_of("exec -it web"), number)
    harness.wait_for(lambda: "sleep 501" not in harness.processes().values(), "its end")
    screen.keys("Enter")
    assert screen.modes() == before


def pid_of(words):
    return next(pid for pid, text in harness.processes().items() if "bin/skiff " in text and text.endswith(words + " sh"))


def test_a_lost_connection_restores_the_terminal(web, screen):
    before = screen.modes()
    screen.type(line(web, "exec", "-it", "web", "sh"))
    screen.wait("/ #")
    for pid, text in harness.processes(web.cgroup_parent, web.process.pid).items():
        if "skiff-stream" in text:
            os.kill(pid, signal.SIGKILL)
    screen.wait("skiff exec: ")
    screen.type("echo code $?")
    screen.wait("code 69")
    assert screen.modes() == before


def test_suspended_from_outside_and_continued(web, screen):
    before = screen.modes()
    screen.type(line(web, "exec", "-it", "web", "sh"))
    screen.wait("/ #")
    os.kill(pid_of("exec -it web"), signal.SIGTSTP)
    screen.wait("host>", count=2)
    assert screen.modes() == before
    screen.type("fg")
    screen.type("echo still $((40+2))")
    screen.wait("still 42")
    screen.keys("C-d")
    assert screen.modes() == before


def test_run_it(skiff, screen):
    before = screen.modes()
    screen.type(line(skiff, "run", "-it", "--rm", "busybox", "sh", "-c", "'echo early; stty size; exec sh'"))
    screen.wait("/ #")
    screen.type("echo late $((1+1)); exit 7")
    screen.wait("late 2")
    screen.type("echo code $?")
    screen.wait("code 7")
    text = screen.text()
    assert text.count("\nearly") == 1 and text.index("\nearly") < text.index("/ #"), text
    assert screen.modes() == before
    assert skiff.cli("pods", "--json").stdout == "[]\n" and logs_left() == []


@pytest.mark.parametrize("nth", range(5))
def test_run_it_loses_and_doubles_nothing(skiff, screen, nth):
    script = f"'i=0; while [ $i -lt 25 ]; do echo number $i.; i=$((i+1)); [ $((i % 5)) = 0 ] && sleep 0.0{nth}; done; exit 3'"
    screen.type(line(skiff, "run", "-it", "busybox", "sh", "-c", script) + "; echo code $?")
    screen.wait("code 3")
    shown = [word for word in screen.text().splitlines() if word.startswith("number ") and "$" not in word]
    assert shown == [f"number {i}." for i in range(25)]


def test_detaching_leaves_it_running(skiff, screen):
    before = screen.modes()
    screen.type(line(skiff, "run", "-it", "--name", "web", "busybox", "sh"))
    screen.wait("/ #")
    screen.type("x=kept")
    screen.wait("/ #", count=2)  # busybox asks the terminal where its cursor is, and the answer must not come in between
    screen.keys("C-p", "C-q")
    screen.wait("web runs on")
    assert screen.modes() == before
    assert "web" in skiff.cli("ps").stdout
    screen.type(line(skiff, "attach", "--detach-keys", "ctrl-a,d", "web"))
    screen.type("echo is $x")
    screen.wait("is kept")
    screen.keys("C-a")
    screen.keys("d")
    screen.wait("skiff attach: web runs on")
    assert screen.modes() == before
    screen.type(line(skiff, "attach", "web") + "; echo code $?")
    screen.type("exit 11")
    screen.wait("code 11")
    skiff.cli("rm", "-f", "web")


def test_run_it_ends_when_its_terminal_is_gone(skiff, screen):
    screen.type(line(skiff, "run", "-it", "busybox", "sh"))
    screen.wait("/ #")
    screen.close()
    harness.wait_for(lambda: skiff.cli("pods", "--json").stdout == "[]\n", "the pod's removal", 30)


def test_attach_without_a_terminal(skiff):
    skiff.cli("run", "-d", "-i", "--name", "web", "busybox", "sh", "-c", "while read x; do echo got $x; done")
    attached = subprocess.Popen(command(skiff, "attach", "web"), stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    attached.stdin.write(b"word\n")
    attached.stdin.flush()
    assert attached.stdout.readline() == b"got word\n"
    attached.terminate()
    assert attached.wait(20) == -signal.SIGTERM
    watching = subprocess.Popen(command(skiff, "attach", "--no-stdin", "web"), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
    other = subprocess.Popen(command(skiff, "attach", "web"), stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    until = time.monotonic() + 20 * harness.SLOW
    while True:  # until the watcher has joined
        other.stdin.write(b"again\n")
        other.stdin.flush()
        assert other.stdout.readline() == b"got again\n" and time.monotonic() < until
        os.set_blocking(watching.stdout.fileno(), False)
        if watching.stdout.read():
            break
        time.sleep(0.02)
    skiff.cli("stop", "-t", "0", "web")
    assert watching.wait(20 * harness.SLOW) == 137 and other.wait(20 * harness.SLOW) == 137
    skiff.cli("rm", "-f", "web")
