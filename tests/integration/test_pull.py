"""Pulls that work: forms of images, platforms, TLS, credentials, hosts.toml. Most of them from Debian's registry."""

import json
import os
import stat
import tarfile
import time

import harness
import pytest
import registry
from pull_harness import CODE
from registry import file, folder, hardlink, node as device, symlink, xattr

HELLO = [[file("hello", b"hi")]]


@pytest.mark.parametrize("family", ["oci", "docker"])
@pytest.mark.parametrize("how", ["none", "gzip", "zstd"])
def test_all_compressions_of_both_families(node, debian, family, how):
    made = debian.put("test/forms", f"{family}-{how}", [[file("first", b"1" * 70000)], [file("second", b"2")]], how=how, family=family)
    assert node.pull(f"{debian.host}/test/forms:{family}-{how}") == made.id
    assert (node.layer(made) / "first").read_bytes() == b"1" * 70000
    assert (node.layer(made, 1) / "second").read_bytes() == b"2"


def test_by_digest_by_tag_and_by_both(node, debian):
    made = debian.put("test/refs", "1", HELLO)
    for reference in (f"test/refs@{made.digest}", "test/refs:1", f"test/refs:1@{made.digest}"):
        assert node.pull(f"{debian.host}/{reference}") == made.id
    image = node.cri.ImageStatus(image={"image": made.id}).image
    assert list(image.repo_tags) == [f"{debian.host}/test/refs:1"]
    assert list(image.repo_digests) == [f"{debian.host}/test/refs@{made.digest}"]
    assert f"pulled image={debian.host}/test/refs:1 id={made.id} ms=" in node.skiff.log_text()


@pytest.mark.parametrize("family", ["oci", "docker"])
def test_of_an_index_the_image_for_this_machine_is_taken(node, debian, family):
    ours = registry.make_image(HELLO, family=family)
    others = [registry.make_image([[file(name, b"x")]], family=family, config={"architecture": name}) for name in ("arm64", "s390x")]
    windows = registry.make_image([[file("windows", b"x")]], family=family, config={"os": "windows"})
    for made in (ours, *others, windows):
        debian.put_made("test/index", "part", made)
    entries = [(windows, {"os": "windows", "architecture": "amd64"})]
    entries += [(made, {"os": "linux", "architecture": name}) for made, name in zip(others, ("arm64", "s390x"))]
    entries += [(ours, {"os": "linux", "architecture": "amd64"})]
    body, kind = registry.make_index(entries, family)
    debian.put_manifest("test/index", family, body, kind)
    assert node.pull(f"{debian.host}/test/index:{family}") == ours.id
    digests = node.cri.ImageStatus(image={"image": ours.id}).image.repo_digests
    assert list(digests) == [f"{debian.host}/test/index@{registry.digest_of(body)}"]


def test_an_index_without_this_machine_says_so(node, fake):
    made = fake.put("test/index", "arm", HELLO)
    body, kind = registry.make_index([(made, {"os": "linux", "architecture": "arm64"})])
    fake.put_manifest("test/index", "other", body, kind)
    node.refused(f"{fake.host}/test/index:other", CODE.NOT_FOUND, "linux/amd64")
    assert f'pull failed image={fake.host}/test/index:other error=' in node.skiff.log_text()


def test_everything_a_layer_may_hold(node, debian):
    layer = [
        folder("d", mode=0o1777),
        file("d/plain", b"x" * 5000, mode=0o640, uid=1234, gid=70000, mtime=1234567890),
        file("d/set", b"#!", mode=0o6755),
        hardlink("d/hard", "d/plain"),
        symlink("d/soft", "../../../etc/passwd"),
        device("d/null", tarfile.CHRTYPE, 1, 3),
        device("d/disk", tarfile.BLKTYPE, 259, 70000, mode=0o600),
        registry.entry("d/pipe", tarfile.FIFOTYPE),
        file("d/attributes", b"a", pax=xattr("user.note", "kept")),
        file("n" * 255, b"long"),
        file("/".join(["deep" * 20] * 20), b"deep"),
        file("ü.txt", b"name"),
        file("d/empty"),
    ]
    made = debian.put("test/odd", "1", [layer])
    node.pull(f"{debian.host}/test/odd:1")
    top = node.layer(made)
    plain = os.stat(top / "d/plain")
    assert (plain.st_uid, plain.st_gid, plain.st_mode & 0o7777, plain.st_mtime, plain.st_nlink) == (1234, 70000, 0o640, 1234567890, 2)
    assert os.stat(top / "d").st_mode & 0o7777 == 0o1777
    assert os.stat(top / "d/set").st_mode & 0o7777 == 0o6755
    assert os.readlink(top / "d/soft") == "../../../etc/passwd"
    assert os.stat(top / "d/null").st_rdev == os.makedev(1, 3)
    assert os.stat(top / "d/disk").st_rdev == os.makedev(259, 70000)
    assert stat.S_ISFIFO(os.stat(top / "d/pipe").st_mode)
    assert os.getxattr(top / "d/attributes", "user.note") == b"kept"
    assert (top / ("n" * 255)).read_bytes() == b"long"
    assert (top / "/".join(["deep" * 20] * 20)).read_bytes() == b"deep"
    assert (top / "ü.txt").read_bytes() == b"name"
    assert (top / "d/empty").stat().st_size == 0


def test_whiteouts_and_opaque_directories(node, debian):
    lower = [folder("gone"), file("gone/x", b"x"), folder("hidden"), file("hidden/old", b"o"), file("kept", b"k")]
    upper = [file(".wh.gone"), folder("hidden"), file("hidden/.wh..wh..opq"), file("hidden/new", b"n")]
    made = debian.put("test/whiteouts", "1", [lower, upper])
    node.pull(f"{debian.host}/test/whiteouts:1")
    top = node.layer(made, 1)
    gone = os.lstat(top / "gone")
    assert stat.S_ISCHR(gone.st_mode) and gone.st_rdev == 0
    assert os.getxattr(top / "hidden", "trusted.overlay.opaque") == b"y"
    assert os.listdir(top / "hidden") == ["new"]


def test_128_layers_some_of_them_equal(node, debian):
    layers = [[file(f"f{i % 100}", str(i % 100).encode())] for i in range(128)]
    made = debian.put("test/many", "1", layers)
    assert node.pull(f"{debian.host}/test/many:1", _deadline=60) == made.id
    assert len(os.listdir(node.skiff.root / "layers")) == 100
    pod = node.skiff.run_pod(host_network=True)
    code, text = harness.code_of(node.skiff.run, pod, ["/none"], image=made.id)
    assert "none" in text and code is not None  # there is no program in it, but the root was mounted
    node.skiff.remove_all()


def test_an_image_without_layers_and_one_with_an_empty_layer(node, debian):
    assert debian.put("test/none", "1", []).id == node.pull(f"{debian.host}/test/none:1")
    assert debian.put("test/none", "2", [[]]).id == node.pull(f"{debian.host}/test/none:2")


def test_a_foreign_config_field_of_odd_case_is_kept(node, debian):
    config = {"config": {"Labels": {"a": "b"}, "User": "7", "Unknown": {"deep": [1, None]}}, "history": [{"created_by": "x"}]}
    made = debian.put("test/config", "1", HELLO, config=config)
    node.pull(f"{debian.host}/test/config:1")
    status = node.cri.ImageStatus(image={"image": made.id}, verbose=True)
    assert json.loads(status.info["info"])["imageSpec"] == json.loads(made.config)
    assert status.image.uid.value == 7


# --- TLS ---


def test_https_with_a_ca_of_ones_own(node, certificates, tmp_path):
    with registry.DockerRegistry(tmp_path / "r", tls=certificates.server) as secure:
        made = secure.put("test/tls", "1", HELLO)
        reference = f"{secure.host}/test/tls:1"
        server = f'server = "{secure.url}"\n'
        node.hosts(secure.host, server)
        node.refused(reference, CODE.UNAVAILABLE, "RegistryUnavailable", "certificate")
        node.hosts(secure.host, server + f'ca = "{certificates.ca}"\n')
        assert node.pull(reference) == made.id
        node.remove_all()
        node.hosts(secure.host, server + "skip_verify = true\n")
        assert node.pull(reference) == made.id


@pytest.mark.parametrize("form", ["pair", "one"])
def test_a_client_certificate(node, certificates, tmp_path, form):
    with registry.DockerRegistry(tmp_path / "r", tls=certificates.server, client_ca=certificates.ca) as secure:
        made = secure.put("test/tls", "1", HELLO)
        server = f'server = "{secure.url}"\nca = "{certificates.ca}"\n'
        node.hosts(secure.host, server)
        node.refused(f"{secure.host}/test/tls:1", CODE.UNAVAILABLE, "alert")
        certificate, key = certificates.client
        both = node.skiff.certs / secure.host / "both.pem"
        both.write_bytes(certificate.read_bytes() + key.read_bytes())
        client = '"both.pem"' if form == "one" else f'[["{certificate}", "{key}"]]'
        node.hosts(secure.host, server + f"client = {client}\n")
        assert node.pull(f"{secure.host}/test/tls:1") == made.id


# --- credentials ---


@pytest.mark.parametrize("auth", [{"username": "user", "password": "secret"}, {"auth": "dXNlcjpzZWNyZXQ="}])
@pytest.mark.parametrize("way", ["basic", "bearer"])
def test_name_and_password(node, way, auth):
    with registry.Registry(auth=way) as private:
        made = private.put("test/private", "1", HELLO)
        reference = f"{private.host}/test/private:1"
        node.refused(reference, CODE.UNAUTHENTICATED)
        node.refused(reference, CODE.UNAUTHENTICATED, username="user", password="secret-but-wrong")
        node.refused(reference, CODE.UNAUTHENTICATED, **auth, server_address="https://elsewhere.example")
        assert node.pull(reference, **auth) == made.id
        assert node.pull(reference, **auth, server_address=private.host) == made.id


def test_an_identity_token_and_a_registry_token(node):
    with registry.Registry(auth="bearer") as private:
        made = private.put("test/private", "1", HELLO)
        reference = f"{private.host}/test/private:1"
        assert node.pull(reference, identity_token="identity-secret") == made.id
        form = [request["form"] for request in private.seen("/token") if request["form"]][0]
        assert form["grant_type"] == "refresh_token" and form["scope"] == "repository:test/private:pull"
        node.refused(reference, CODE.UNAUTHENTICATED, identity_token="identity-secret-wrong")
        node.remove_all()
        assert node.pull(reference, registry_token=private.new_token()) == made.id
        node.refused(reference, CODE.UNAUTHENTICATED, registry_token="secret-wrong")


def test_a_token_that_ends_in_mid_pull_is_fetched_anew(node):
    with registry.Registry(auth="bearer") as private:
        made = private.put("test/private", "1", [[file(f"f{i}", os.urandom(200000))] for i in range(4)])
        honest = private.new_token
        private.new_token = lambda: honest(0.3)
        for i in range(4):
            private.fault(made.diff_ids and registry.digest_of(made.blobs[i]), "slow", seconds=0.4)
        assert node.pull(f"{private.host}/test/private:1", username="user", password="secret") == made.id
        assert len(private.seen("/token")) > 1


def test_a_private_repository_of_a_token_server_refuses_by_name(node):
    with registry.Registry(auth="bearer") as private:
        private.fault("/manifests/", "status", times=9, status=403)
        private.put("test/private", "1", HELLO)
        node.refused(f"{private.host}/test/private:1", CODE.PERMISSION_DENIED, "HTTP 403", username="user", password="secret")


# --- hosts.toml ---


def test_mirrors_in_order_capabilities_and_headers(node, debian):
    made = debian.put("test/mirrored", "1", HELLO)
    with registry.Registry() as first, registry.Registry() as second:
        second.put_made("test/mirrored", "1", made)
        node.hosts(
            "registry.example",
            f'server = "{debian.url}"\n'
            '[host."http://127.0.0.1:1"]\n'
            f'[host."{first.url}"]\ncapabilities = ["pull"]\n[host."{first.url}".header]\nx-one = "1"\nx-two = ["2", "3"]\n'
            f'[host."{second.url}/v2"]\noverride_path = true\n',
        )
        began = time.monotonic()
        assert node.pull("registry.example/test/mirrored:1", username="user", password="secret") == made.id
        assert time.monotonic() - began < 3  # the dead mirror costs no back-off
        assert not first.seen("/manifests/1") and first.seen("/blobs/")
        headers = first.seen("/blobs/")[0]["headers"]
        assert headers["x-one"] == "1" and "x-two" in headers
        assert second.seen("/manifests/1") and second.seen("/blobs/")
        # a mirror of several registries is told which is meant
        assert all("ns=registry.example" in request["path"] for request in first.requests + second.requests)
        assert not any("Authorization" in request["headers"] for request in first.requests + second.requests)


def test_why_a_mirror_did_not_serve_is_told_too(node):
    """Behind a firewall the registry itself is always out of reach: what the mirror said is what helps."""
    with registry.Registry() as mirror:
        node.hosts(
            "registry.example",
            f'server = "http://127.0.0.1:1"\n[host."http://127.0.0.1:2"]\n[host."{mirror.url}"]\n',
        )
        node.refused(
            "registry.example/test/none:1",
            CODE.NOT_FOUND,
            f"{mirror.url}/v2/test/none/manifests/1",
            "HTTP 404",
            "also: http://127.0.0.1:2/v2/",
            "http://127.0.0.1:1/v2/",
        )


def test_hosts_toml_is_read_again_when_it_changes(node, debian):
    made = debian.put("test/reread", "1", HELLO)
    node.hosts("_default", 'server = "http://127.0.0.1:1"\n')
    node.refused("any.example/test/reread:1", CODE.UNAVAILABLE, "RegistryUnavailable")
    node.hosts("_default", f'server = "{debian.url}"\n')
    assert node.pull("any.example/test/reread:1") == made.id
    node.hosts("any.example", "server = 1\n")
    node.refused("any.example/test/reread:1", CODE.FAILED_PRECONDITION, "hosts.toml", "line 1")


def test_a_mirror_that_breaks_off_is_continued_at_the_registry(node):
    with registry.Registry() as mirror, registry.Registry() as origin:
        made = mirror.put("test/broken", "1", [[file("big", os.urandom(500000))]])
        origin.put_made("test/broken", "1", made)
        mirror.fault(registry.digest_of(made.blobs[0]), "cut", times=9, after=200000)
        node.hosts("registry.example", f'server = "{origin.url}"\n[host."{mirror.url}"]\n')
        assert node.pull("registry.example/test/broken:1") == made.id
        assert origin.seen("/blobs/")[0]["headers"]["Range"] == "bytes=200000-"
