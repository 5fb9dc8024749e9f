"""vmlinux.py BZIMAGE OUT: the kernel itself out of a compressed one, which spares an emulated machine some ten seconds."""

import pathlib
import subprocess
import sys

CODECS = ((b"\x28\xb5\x2f\xfd", ["zstd", "-dc"]), (b"\xfd7zXZ\x00", ["xz", "-dc", "--single-stream"]), (b"\x1f\x8b\x08", ["gzip", "-dc"]))


def main(image, out):
    data = pathlib.Path(image).read_bytes()
    for magic, command in CODECS:
        at = data.find(magic)
        while at >= 0:
            done = subprocess.run(command, input=data[at:], capture_output=True, check=False)  # ends with what follows it
            if done.stdout.startswith(b"\x7fELF"):
                pathlib.Path(out).write_bytes(done.stdout)
                return
            at = data.find(magic, at + 1)
    sys.exit(f"{image}: no kernel found in it")


main(*sys.argv[1:])
