"""The image, as the integration tests have it."""

import pathlib
import subprocess

import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent


@pytest.fixture(scope="session")
def archive(tmp_path_factory):
    path = tmp_path_factory.mktemp("images") / "busybox.tar"
    subprocess.run([ROOT / "deploy/busybox-image.sh", path], check=True)
    return path
