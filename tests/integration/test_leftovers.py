"""What cannot be removed at the start. Covers: mounts and immutable files in root and state, each logged and passed over, and
taken away by a later start when it can be."""

import os
import subprocess

import harness


def chattr(flag, path):
    subprocess.run(["chattr", flag, path], check=True)


def test_a_leftover_that_cannot_be_removed_is_passed_over(skiff):
    pod = skiff.run_pod(host_network=True)
    container = skiff.run(pod, ["sleep", "1000"])
    skiff.stop()
    ids = [digit * 64 for digit in "abcdef"]
    mounted = [skiff.state / "pods" / ids[0], skiff.root / "rootfs" / "b" / ids[1], skiff.root / "layers" / ids[2]]
    immutable = [skiff.state / "pods" / ids[3], skiff.root / "rootfs" / "e" / ids[4], skiff.root / "layers" / ids[5]]
    plain = [skiff.state / "pods" / ("1" * 64), skiff.root / "rootfs" / "2" / ("2" * 64), skiff.root / "layers" / ("3" * 64)]
    for path in mounted + immutable + plain:
        path.mkdir(parents=True)
    for path in mounted:
        subprocess.run(["mount", "-t", "tmpfs", "leftover", path], check=True)
        (path / "file").write_text("not ours")
    for path in immutable:
        (path / "file").touch()
        chattr("+i", path / "file")
        chattr("+i", path)
    try:
        skiff.start()
        assert skiff.status(container).state == 1
        assert skiff.exec(container, ["echo", "me"]).stdout == b"me\n"
        harness.wait_for(lambda: not any(path.exists() for path in plain), "what can be removed to be removed")
        for path in mounted + immutable:
            assert (path / "file").exists()
            harness.wait_for(lambda path=path: path.name in skiff.log_text(), f"a line on {path}")
        skiff.run(pod, ["true"])
    finally:
        for path in mounted:
            subprocess.run(["umount", path], check=True)
        for path in immutable:
            chattr("-i", path)
            chattr("-i", path / "file")
    skiff.restart()
    harness.wait_for(lambda: not any(os.path.lexists(path) for path in mounted + immutable), "the rest to be removed")
