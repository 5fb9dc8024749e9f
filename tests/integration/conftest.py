"""Fixtures: `skiff` is a started daemon with busybox imported, and a census before and after; `archive` the image."""

import os
import subprocess

import pytest

import harness

# gRPC's own library is not instrumented, and helpers are started by vfork.
os.environ.setdefault("TSAN_OPTIONS", "ignore_noninstrumented_modules=1 die_after_fork=0")


@pytest.fixture(scope="session")
def archive(tmp_path_factory):
    path = tmp_path_factory.mktemp("images") / "busybox.tar"
    subprocess.run([harness.ROOT / "deploy/busybox-image.sh", path], check=True)
    return path


@pytest.fixture
def bare(tmp_path):
    """A daemon that is not started yet and has no image."""
    daemon = harness.Skiff(tmp_path)
    yield daemon
    if daemon.process and daemon.process.poll() is None:
        daemon.stop()
    harness.remove_tree(tmp_path)


@pytest.fixture
def skiff(bare, archive):
    bare.start()
    bare.import_image(archive)
    before = bare.census()
    yield bare
    if bare.process.poll() is not None:
        bare.disarm()
        bare.start()
    bare.remove_all()
    bare.assert_nothing_left(before)
    bare.stop()
    text = bare.log_text()
    assert "ERROR: AddressSanitizer" not in text and "ERROR: LeakSanitizer" not in text, text
    assert "runtime error:" not in text and "WARNING: ThreadSanitizer" not in text, text
