"""Registries for tests: Registry, written here, honest until a Fault tells it not to be; and DockerRegistry, Debian's.

    with Registry() as registry:
        registry.put("a/b", "1", [[file("hello", b"hi")]])
        registry.fault("/blobs/", "cut", times=2, after=1000)
        skiff.cri.PullImage(image={"image": f"{registry.host}/a/b:1"})
        registry.seen("/blobs/")            # requests so far: path, headers

Both are filled with the same images: layers are lists of tar entries, each a (TarInfo, bytes) made by file(), folder(), ...
"""

import base64
import dataclasses
import gzip
import hashlib
import http.server
import io
import json
import pathlib
import socket
import ssl
import subprocess
import tarfile
import threading
import time
import urllib.parse
import urllib.request

OCI = "application/vnd.oci.image."
DOCKER = "application/vnd.docker."
TYPES = {
    "oci": {
        "manifest": OCI + "manifest.v1+json",
        "index": OCI + "index.v1+json",
        "config": OCI + "config.v1+json",
        "none": OCI + "layer.v1.tar",
        "gzip": OCI + "layer.v1.tar+gzip",
        "zstd": OCI + "layer.v1.tar+zstd",
    },
    "docker": {
        "manifest": DOCKER + "distribution.manifest.v2+json",
        "index": DOCKER + "distribution.manifest.list.v2+json",
        "config": DOCKER + "container.image.v1+json",
        "none": DOCKER + "image.rootfs.diff.tar",
        "gzip": DOCKER + "image.rootfs.diff.tar.gzip",
        "zstd": DOCKER + "image.rootfs.diff.tar.zstd",
    },
}
SCHEMA_1 = DOCKER + "distribution.manifest.v1+prettyjws"


def digest_of(data):
    return "sha256:" + hashlib.sha256(data).hexdigest()


# --- tar entries ---


def entry(name, kind=tarfile.REGTYPE, data=b"", mode=0o644, **more):
    info = tarfile.TarInfo(name)
    info.type, info.mode, info.mtime, info.size = kind, mode, 1700000000, len(data)
    pax = more.pop("pax", None)
    if pax:
        info.pax_headers = pax
    for key, value in more.items():
        setattr(info, key, value)
    return info, data


def file(name, data=b"", **more):
    return entry(name, data=data, **more)


def folder(name, mode=0o755, **more):
    return entry(name, tarfile.DIRTYPE, mode=mode, **more)


def symlink(name, target):
    return entry(name, tarfile.SYMTYPE, mode=0o777, linkname=target)


def hardlink(name, target):
    return entry(name, tarfile.LNKTYPE, linkname=target)


def node(name, kind, major, minor, mode=0o666):
    return entry(name, kind, mode=mode, devmajor=major, devminor=minor)


def xattr(key, value):
    return {"SCHILY.xattr." + key: value}


def make_tar(entries):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for info, data in entries:
            tar.addfile(info, io.BytesIO(data) if info.isreg() else None)
    return out.getvalue()


def pack(data, how):
    if how == "gzip":
        return gzip.compress(data, 1, mtime=0)
    if how == "zstd":
        return subprocess.run(["zstd", "-q", "-1"], input=data, capture_output=True, check=True).stdout
    return data


@dataclasses.dataclass
class Made:
    """An image as it lies in a registry."""

    manifest: bytes
    media_type: str
    config: bytes
    blobs: list  # of the layers, packed
    diff_ids: list

    @property
    def digest(self):
        return digest_of(self.manifest)

    @property
    def id(self):
        return digest_of(self.config)


def make_image(layers, how="gzip", family="oci", config=None, **changes):
    """changes: diff_ids, layer_types, sizes, digests, config_type in place of the honest ones."""
    types = TYPES[family]
    tars = [layer if isinstance(layer, bytes) else make_tar(layer) for layer in layers]
    hows = how if isinstance(how, list) else [how] * len(tars)
    blobs = [pack(tar, one) for tar, one in zip(tars, hows)]
    diff_ids = changes.get("diff_ids", [digest_of(tar) for tar in tars])
    if not isinstance(config, bytes):
        whole = {"architecture": "amd64", "os": "linux", "config": {}, **(config or {})}
        config = json.dumps({**whole, "rootfs": {"type": "layers", "diff_ids": diff_ids}}).encode()
    described = []
    for i, blob in enumerate(blobs):
        described.append(
            {
                "mediaType": changes.get("layer_types", [types[one] for one in hows])[i],
                "digest": changes.get("digests", {}).get(i, digest_of(blob)),
                "size": changes.get("sizes", {}).get(i, len(blob)),
            }
        )
    manifest = {
        "schemaVersion": 2,
        "mediaType": types["manifest"],
        "config": {"mediaType": changes.get("config_type", types["config"]), "digest": digest_of(config), "size": len(config)},
        "layers": described,
    }
    return Made(json.dumps(manifest).encode(), types["manifest"], config, blobs, diff_ids)


def make_index(entries, family="oci"):
    """entries: (Made, platform dict or None)."""
    manifests = []
    for made, platform in entries:
        one = {"mediaType": made.media_type, "digest": made.digest, "size": len(made.manifest)}
        manifests.append({**one, "platform": platform} if platform else one)
    kind = TYPES[family]["index"]
    return json.dumps({"schemaVersion": 2, "mediaType": kind, "manifests": manifests}).encode(), kind


# --- a registry that misbehaves on demand ---


@dataclasses.dataclass
class Fault:
    path: str  # a part of the path
    action: str  # cut, status, redirect, stall, wrong, truncate, slow, norange, close
    times: int = 1
    after: int = 0  # bytes that go out before a cut or stall; of wrong: which byte (from the end if negative)
    status: int = 500
    headers: dict = dataclasses.field(default_factory=dict)
    location: str = ""
    seconds: float = 0


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def answer(self, status, body=b"", kind="application/json", **headers):
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        for key, value in headers.items():
            self.send_header(key.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def do_POST(self):
        length = int(self.headers.get("Content-Length", 0))
        form = dict(urllib.parse.parse_qsl(self.rfile.read(length).decode()))
        self.server.registry.note(self, form)
        self.server.registry.post(self, form)

    def do_GET(self):
        registry = self.server.registry
        registry.note(self, {})
        try:
            registry.get(self)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True


class Registry:
    """auth: None, "basic" or "bearer" (which is its own token server), with the name and password "user", "secret"."""

    def __init__(self, auth=None, tls=None, client_ca=None):
        self.blobs, self.manifests, self.faults, self.requests = {}, {}, [], []
        self.auth, self.tokens, self.lock = auth, {}, threading.Lock()
        self.token_url = None
        self.live, self.live_max = 0, 0
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.server.registry = self
        self.server.handle_error = lambda *_: None
        self.scheme = "http"
        if tls:
            self.scheme = "https"
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*tls)
            if client_ca:
                context.load_verify_locations(client_ca)
                context.verify_mode = ssl.CERT_REQUIRED
            self.server.socket = context.wrap_socket(self.server.socket, server_side=True, do_handshake_on_connect=False)
        self.port = self.server.server_address[1]
        self.host = f"127.0.0.1:{self.port}"
        self.url = f"{self.scheme}://{self.host}"
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True)
        self.thread.start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()

    def stop(self):
        self.server.shutdown()
        self.server.server_close()

    def put(self, repository, tag, layers, **options):
        return self.put_made(repository, tag, make_image(layers, **options))

    def put_made(self, repository, tag, made):
        for blob in [made.config, *made.blobs]:
            self.blobs[digest_of(blob)] = blob
        self.put_manifest(repository, tag, made.manifest, made.media_type)
        return made

    def put_manifest(self, repository, tag, body, kind):
        for reference in (tag, digest_of(body)):
            self.manifests[repository, reference] = (kind, body)

    def fault(self, path, action, **options):
        self.faults.append(Fault(path, action, **options))

    def seen(self, part=""):
        return [request for request in self.requests if part in request["path"]]

    def note(self, handler, form):
        with self.lock:
            self.requests.append({"path": handler.path, "headers": dict(handler.headers), "form": form, "at": time.monotonic()})

    # --- answering ---

    def allowed(self, handler):
        given = handler.headers.get("Authorization", "")
        if self.auth == "basic":
            return given == "Basic " + base64.b64encode(b"user:secret").decode()
        if self.auth == "bearer":
            return given.startswith("Bearer ") and self.tokens.get(given[7:], 0) > time.monotonic()
        return True

    def challenge(self, handler):
        if self.auth == "basic":
            return 'Basic realm="test"'
        repository = handler.path.split("/v2/")[1].rsplit("/", 2)[0]
        where = self.token_url or self.url + "/token"
        return f'Bearer realm="{where}",service="test",scope="repository:{repository}:pull"'

    def new_token(self, seconds=60):
        token = f"token{len(self.tokens)}"
        self.tokens[token] = time.monotonic() + seconds
        return token

    def post(self, handler, form):
        if form.get("grant_type") == "refresh_token" and form.get("refresh_token") == "identity-secret":
            handler.answer(200, json.dumps({"access_token": self.new_token()}).encode())
        else:
            handler.answer(401, b'{"error":"no such token"}')

    def give_token(self, handler):
        given = handler.headers.get("Authorization")
        if given and given != "Basic " + base64.b64encode(b"user:secret").decode():
            handler.answer(401, b'{"errors":[]}')
        elif not given:
            handler.answer(200, b'{"token":"anonymous"}')
        else:
            handler.answer(200, json.dumps({"token": self.new_token()}).encode())

    def take_fault(self, path):
        with self.lock:
            for fault in self.faults:
                if fault.path in path and fault.times > 0:
                    fault.times -= 1
                    return fault
        return None

    def get(self, handler):
        path = handler.path.split("?")[0]
        if path == "/token":
            self.give_token(handler)
            return
        fault = self.take_fault(path)
        if fault and fault.action == "status":
            handler.answer(fault.status, b"no", **fault.headers)
            return
        if fault and fault.action == "redirect":
            handler.answer(307, b"", Location=fault.location + path)
            return
        if not self.allowed(handler):
            handler.answer(401, b'{"errors":[]}', WWW_Authenticate=self.challenge(handler))
            return
        kind, body = self.find(path)
        if body is None:
            handler.answer(404, b'{"errors":[{"code":"UNKNOWN"}]}')
            return
        with self.lock:
            self.live += 1
            self.live_max = max(self.live_max, self.live)
        try:
            self.give(handler, kind, body, fault)
        finally:
            with self.lock:
                self.live -= 1

    def find(self, path):
        parts = path.removeprefix("/v2/").rsplit("/", 2)
        if len(parts) == 3 and parts[1] == "manifests":
            return self.manifests.get((parts[0], parts[2]), (None, None))
        if len(parts) == 3 and parts[1] == "blobs":
            return "application/octet-stream", self.blobs.get(parts[2])
        return None, None

    def give(self, handler, kind, body, fault):
        action = fault.action if fault else ""
        start, asked = 0, handler.headers.get("Range")
        if action == "wrong":
            at = fault.after % len(body)
            body = body[:at] + bytes([body[at] ^ 1]) + body[at + 1 :]
        if action == "truncate":
            body = body[: fault.after]
        if asked and action != "norange":
            start = int(asked.removeprefix("bytes=").rstrip("-"))
            if start >= len(body):
                handler.answer(416, b"")
                return
        handler.send_response(206 if start else 200)
        if kind:
            handler.send_header("Content-Type", kind)
        if start:
            handler.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
        if action in ("close", "closecut"):
            handler.send_header("Connection", "close")
        else:
            handler.send_header("Content-Length", str(len(body) - start))
        handler.end_headers()
        self.send(handler, body[start:], fault, action)

    @staticmethod
    def send(handler, body, fault, action):
        if action in ("cut", "closecut"):
            handler.wfile.write(body[: fault.after])
            handler.wfile.flush()
            handler.close_connection = True
            if action == "cut":
                handler.connection.shutdown(socket.SHUT_RDWR)
        elif action == "stall":
            handler.wfile.write(body[: fault.after])
            handler.wfile.flush()
            time.sleep(fault.seconds)  # fixed: the fault itself
            handler.close_connection = True
        elif action == "slow":
            step = max(1, len(body) // 20)
            for at in range(0, len(body), step):
                handler.wfile.write(body[at : at + step])
                handler.wfile.flush()
                time.sleep(fault.seconds / 20)
        else:
            handler.wfile.write(body)
            handler.close_connection = action == "close"


# --- Debian's registry ---


class DockerRegistry:
    def __init__(self, directory, tls=None, client_ca=None):
        """tls: (certificate, key) files."""
        self.directory = pathlib.Path(directory)
        self.directory.mkdir(parents=True, exist_ok=True)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        http_options = {"addr": f"127.0.0.1:{self.port}"}
        if tls:
            http_options["tls"] = {"certificate": str(tls[0]), "key": str(tls[1])}
            if client_ca:
                http_options["tls"]["clientcas"] = [str(client_ca)]
        options = {
            "version": 0.1,
            "log": {"level": "error", "accesslog": {"disabled": True}},
            "storage": {"filesystem": {"rootdirectory": str(self.directory / "data")}},
            "http": http_options,
        }
        (self.directory / "registry.yml").write_text(json.dumps(options))  # JSON is YAML
        self.host = f"127.0.0.1:{self.port}"
        self.url = f"{'https' if tls else 'http'}://{self.host}"
        with open(self.directory / "log", "wb") as log:
            command = ["docker-registry", "serve", self.directory / "registry.yml"]
            self.process = subprocess.Popen(command, stdout=log, stderr=log)
        until = time.monotonic() + 20
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                break
            except OSError:
                assert time.monotonic() < until and self.process.poll() is None, (self.directory / "log").read_text()
                time.sleep(0.02)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()

    def stop(self):
        self.process.kill()
        self.process.wait()

    def store(self, path, data):
        where = self.directory / "data/docker/registry/v2" / path
        where.parent.mkdir(parents=True, exist_ok=True)
        where.write_bytes(data)

    def put_blob(self, repository, data):
        """Straight into its storage: no push, so no credentials and no TLS are in the way."""
        digest = digest_of(data)
        hexed = digest.split(":")[1]
        self.store(f"blobs/sha256/{hexed[:2]}/{hexed}/data", data)
        self.store(f"repositories/{repository}/_layers/sha256/{hexed}/link", digest.encode())
        return digest

    def put_manifest(self, repository, tag, body, _kind=None):
        digest = self.put_blob(repository, body)
        self.store(f"repositories/{repository}/_manifests/revisions/sha256/{digest.split(':')[1]}/link", digest.encode())
        self.store(f"repositories/{repository}/_manifests/tags/{tag}/current/link", digest.encode())

    def put_made(self, repository, tag, made):
        for blob in [made.config, *made.blobs]:
            self.put_blob(repository, blob)
        self.put_manifest(repository, tag, made.manifest)
        return made

    def put(self, repository, tag, layers, **options):
        return self.put_made(repository, tag, make_image(layers, **options))


# --- certificates ---


def openssl(*arguments):
    subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True)


class Certificates:
    """A CA, a server certificate for 127.0.0.1 and localhost, and a client certificate."""

    def __init__(self, directory):
        self.directory = pathlib.Path(directory)
        self.ca, ca_key = self.directory / "ca.crt", self.directory / "ca.key"
        key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
        openssl("req", "-x509", *key, "-keyout", ca_key, "-out", self.ca, "-subj", "/CN=test CA", "-days", 2)
        self.server = self.issue("server", ca_key, key, "subjectAltName=IP:127.0.0.1,DNS:localhost")
        self.client = self.issue("client", ca_key, key, "extendedKeyUsage=clientAuth")

    def issue(self, name, ca_key, key, extension):
        request, secret, certificate = (self.directory / f"{name}.{end}" for end in ("csr", "key", "crt"))
        (self.directory / "extensions").write_text(extension + "\n")
        openssl("req", "-new", *key, "-keyout", secret, "-out", request, "-subj", f"/CN={name}")
        openssl("x509", "-req", "-in", request, "-CA", self.ca, "-CAkey", ca_key, "-CAcreateserial", "-days", 2,
                "-extfile", self.directory / "extensions", "-out", certificate)  # fmt: skip
        return certificate, secret
