#!/usr/bin/python3
"""big_image.py DIRECTORY [--more N]: Debian's docker-registry on loopback with images to time pulls with, until SIGTERM.

All are made of this machine's own /usr: eight layers, about 200 MB, in all.
    bench/big:gzip   files up to 8 MB, as a real image has them; gzip -6
    bench/big:zstd   the same, zstd -3
    bench/small:gzip eight layers of files below 16 kB alone, about 60 MB
    bench/more:1..N  like bench/big:gzip, but no layer is one that another image has: for pulls at once
Prints 127.0.0.1:PORT once all are there.
"""

import concurrent.futures
import json
import os
import pathlib
import signal
import stat
import subprocess
import sys
import tarfile
import threading

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "integration"))
import registry  # noqa: E402

LAYERS = 8
OCI = "application/vnd.oci.image."
COMPRESS = {"gzip": ["gzip", "-6", "-n", "-c"], "zstd": ["zstd", "-q", "-3", "-c"]}


def add(archive, path):
    """The file, link or folder by its real mode, owner and time; False for what is neither."""
    info = archive.gettarinfo(path, path[1:])
    if info is None or not (info.isreg() or info.issym() or info.isdir()):
        return False
    info.type = tarfile.REGTYPE if info.islnk() else info.type
    info.mtime = int(info.mtime)  # else each entry has an extended header, which real layers do not have
    if not info.isreg():
        archive.addfile(info)
        return True
    with open(path, "rb") as content:
        archive.addfile(info, content)
    return True


class Layers:
    """Tars of about layer_bytes each, in the order in which /usr is walked."""

    def __init__(self, directory, layer_bytes, largest):
        self.directory, self.layer_bytes, self.largest = directory, layer_bytes, largest
        self.tars, self.archive, self.bytes, self.files = [], None, 0, 0

    def take(self, path, size):
        if self.archive is None:
            self.tars.append(self.directory / f"{len(self.tars)}.tar")
            self.archive, self.bytes = tarfile.open(self.tars[-1], "w", format=tarfile.PAX_FORMAT), 0
        if add(self.archive, path):
            self.files += 1
            self.bytes += size
        if self.bytes > self.layer_bytes:
            self.end()

    def end(self):
        if self.archive:
            self.archive.close()
            self.archive = None

    def fill(self):
        for top in ("/usr/share", "/usr/lib", "/usr/bin"):
            for folder, folders, names in os.walk(top):
                folders.sort()
                for path in [folder] + [os.path.join(folder, name) for name in sorted(names)]:
                    st = os.lstat(path)
                    size = st.st_size if stat.S_ISREG(st.st_mode) else 0
                    if size <= self.largest:
                        self.take(path, size)
                    if len(self.tars) == LAYERS and self.archive is None:
                        return self.tars
        self.end()
        return self.tars


def compressed(tar, how):
    return subprocess.run(COMPRESS[how] + [str(tar)], check=True, capture_output=True).stdout


def made_of(tars, blobs, how):
    """tars: their bytes' digests."""
    config = {"architecture": "amd64", "os": "linux", "config": {"Cmd": ["sh"]},
              "rootfs": {"type": "layers", "diff_ids": tars}}  # fmt: skip
    config = json.dumps(config).encode()
    layers = [{"mediaType": f"{OCI}layer.v1.tar+{how}", "digest": registry.digest_of(blob), "size": len(blob)} for blob in blobs]
    manifest = {"schemaVersion": 2, "mediaType": OCI + "manifest.v1+json",
                "config": {"mediaType": OCI + "config.v1+json", "digest": registry.digest_of(config), "size": len(config)},
                "layers": layers}  # fmt: skip
    return registry.Made(json.dumps(manifest).encode(), OCI + "manifest.v1+json", config, blobs, tars)


def different(tars, blobs, number):
    """The same layers with one more file each, before the others: a tar and a gzip stream may be two that follow."""
    diff_ids, changed = [], []
    for i, (tar, blob) in enumerate(zip(tars, blobs)):
        entry = registry.make_tar([registry.file("bench-number", f"{number} {i}\n".encode())])[:1024]  # without its end
        packed = subprocess.run(COMPRESS["gzip"], input=entry, check=True, capture_output=True).stdout
        diff_ids.append(registry.digest_of(entry + tar.read_bytes()))
        changed.append(packed + blob)
    return made_of(diff_ids, changed, "gzip")


def put(server, name, tag, tars, how):
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        blobs = list(pool.map(lambda tar: compressed(tar, how), tars))
    diff_ids = [registry.digest_of(tar.read_bytes()) for tar in tars]
    server.put_made(name, tag, made_of(diff_ids, blobs, how))
    plain, packed = sum(tar.stat().st_size for tar in tars), sum(map(len, blobs))
    print(f"{name}:{tag}: {plain / 1e6:.0f} MB of tars, {packed / 1e6:.0f} MB packed", file=sys.stderr)
    return blobs


def fill(server, directory, more):
    filled = directory / f"filled-{more}"  # a registry of an earlier run does as well
    if filled.exists():
        return
    for name, layer_bytes, largest in (("big", 25 << 20, 8 << 20), ("small", 8 << 20, 16 << 10)):
        where = directory / name
        where.mkdir(exist_ok=True)
        layers = Layers(where, layer_bytes, largest)
        tars = layers.fill()
        print(f"bench/{name}: {len(tars)} layers, {layers.files} entries", file=sys.stderr)
        gzipped = put(server, f"bench/{name}", "gzip", tars, "gzip")
        if name == "big":
            put(server, "bench/big", "zstd", tars, "zstd")
            for number in range(1, more + 1):
                server.put_made("bench/more", str(number), different(tars, gzipped, number))
        for tar in tars:
            tar.unlink()
    filled.touch()


def main():
    directory = pathlib.Path(sys.argv[1])
    more = int(sys.argv[sys.argv.index("--more") + 1]) if "--more" in sys.argv else 0
    ended = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: ended.set())
    with registry.DockerRegistry(directory) as server:
        fill(server, directory, more)
        print(server.host, flush=True)
        ended.wait()


main()
