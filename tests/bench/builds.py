"""What the programs share that measure one build after another: a busybox, and the integration tests' harness."""

import pathlib
import subprocess
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "integration"))
import harness  # noqa: E402


def each(measure, name):
    """measure(build, skiff) for each build that the command line names, with a skiffd that has busybox."""
    with tempfile.TemporaryDirectory(prefix=f"skiff-{name}.") as top:
        archive = pathlib.Path(top) / "busybox.tar"
        subprocess.run([harness.ROOT / "deploy/busybox-image.sh", archive], check=True)
        for build in sys.argv[1:]:
            with tempfile.TemporaryDirectory(prefix=f"skiff-{name}.") as directory:
                skiff = harness.Skiff(directory, pathlib.Path(build) / "bin").start()
                skiff.import_image(archive)
                measure(build, skiff)
                skiff.stop()
