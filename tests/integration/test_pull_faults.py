"""Registries that fail, lie and attack: a pull gets through where it can, else it fails with a sentence and leaves
nothing; and what one registry does never harms the next pull."""

import json
import os
import tarfile
import threading
import time

import harness
import pytest
import registry
from pull_harness import CODE
from registry import entry, file, folder, hardlink, make_image, make_tar, node as device, symlink, xattr

HELLO = [[file("hello", b"hi")]]
BIG = [[file("big", os.urandom(600_000))]]


def blob_path(made, i=0):
    return registry.digest_of(made.blobs[i])


# --- what passes ---


@pytest.mark.parametrize("status", [429, 500, 502, 503])
@pytest.mark.parametrize("where", ["/manifests/", "/blobs/"])
def test_a_failure_that_passes_is_outlived(node, fake, where, status):
    made = fake.put("a/b", "1", HELLO)
    fake.fault(where, "status", status=status, times=2)
    assert node.pull(f"{fake.host}/a/b:1") == made.id


def test_retry_after_is_heeded(node, fake):
    made = fake.put("a/b", "1", HELLO)
    fake.fault("/manifests/", "status", status=429, headers={"Retry-After": "1"})
    assert node.pull(f"{fake.host}/a/b:1") == made.id
    first, second = (request["at"] for request in fake.seen("/manifests/"))
    assert 0.95 < second - first < 2 * harness.SLOW


@pytest.mark.parametrize("action", ["cut", "closecut"])
def test_a_cut_connection_is_resumed_where_it_broke(node, fake, action):
    made = fake.put("a/b", "1", BIG)
    fake.fault(blob_path(made), action, times=3, after=150_000)
    assert node.pull(f"{fake.host}/a/b:1") == made.id
    ranges = [request["headers"].get("Range") for request in fake.seen(blob_path(made))]
    assert ranges == [None, "bytes=150000-", "bytes=300000-", "bytes=450000-"]


def test_a_cut_at_a_registry_that_cannot_resume(node, fake):
    made = fake.put("a/b", "1", BIG)
    fake.fault(blob_path(made), "cut", after=150_000)
    fake.fault(blob_path(made), "norange")
    assert node.pull(f"{fake.host}/a/b:1") == made.id


def test_a_registry_that_was_killed_in_mid_blob_and_came_back(node, tmp_path):
    """By a relay that dies: the same port answers again a moment later."""
    first = registry.Registry()
    made = first.put("a/b", "1", BIG)
    first.fault(blob_path(made), "cut", after=200_000)
    first.fault("/blobs/", "status", status=502, times=2)
    assert node.pull(f"{first.host}/a/b:1") == made.id
    first.stop()
    node.remove_all()
    node.refused(f"{first.host}/a/b:1", CODE.UNAVAILABLE, "RegistryUnavailable", "connect")


def test_a_registry_killed_in_mid_blob_for_good(node, fake):
    made = fake.put("a/b", "1", BIG)
    fake.fault(blob_path(made), "cut", times=99, after=10_000)
    node.refused(f"{fake.host}/a/b:1", CODE.UNAVAILABLE, "RegistryUnavailable", "layer sha256:", " tries: ")


def test_redirects_do_not_carry_credentials_along(node):
    with registry.Registry(auth="basic") as origin, registry.Registry() as store:
        made = origin.put("a/b", "1", HELLO)
        store.put_made("a/b", "1", made)
        origin.fault("/blobs/", "redirect", times=99, location=store.url)
        node.hosts(origin.host, f'server = "{origin.url}"\n[header]\nx-private = "header-secret"\n')
        assert node.pull(f"{origin.host}/a/b:1", username="user", password="secret") == made.id
        assert store.seen("/blobs/")
        for request in store.requests:
            assert "Authorization" not in request["headers"] and "x-private" not in request["headers"]
        assert origin.seen("/blobs/")[0]["headers"]["x-private"] == "header-secret"


def test_a_redirect_from_https_to_http_is_refused(node, certificates):
    with registry.Registry(tls=certificates.server) as origin, registry.Registry() as store:
        store.put_made("a/b", "1", origin.put("a/b", "1", HELLO))
        origin.fault("/blobs/", "redirect", times=99, location=store.url)
        node.hosts(origin.host, f'server = "{origin.url}"\nca = "{certificates.ca}"\n')
        node.refused(f"{origin.host}/a/b:1", CODE.UNAVAILABLE, "from https to http")
        assert not store.requests


@pytest.mark.parametrize("location", ["file:///etc/passwd", "gopher://127.0.0.1/x"])
def test_a_redirect_to_what_is_not_http_is_refused(node, fake, location):
    fake.put("a/b", "1", HELLO)
    fake.fault("/blobs/", "redirect", times=99, location=location)
    node.refused(f"{fake.host}/a/b:1", CODE.UNAVAILABLE, "neither http nor https")


def test_redirects_in_a_circle_end(node, fake):
    fake.put("a/b", "1", HELLO)
    fake.fault("/blobs/", "redirect", times=99, location=fake.url)
    node.refused(f"{fake.host}/a/b:1", CODE.UNAVAILABLE, "redirects")


@pytest.mark.parametrize("where", ["/manifests/", "/blobs/"])
def test_a_registry_that_stalls_is_given_up(node, fake, where):
    fake.put("a/b", "1", BIG)
    fake.fault(where, "stall", times=9, after=100, seconds=6)
    began = time.monotonic()
    node.refused(f"{fake.host}/a/b:1", CODE.UNAVAILABLE, "RegistryUnavailable", "stalled")
    assert time.monotonic() - began < 6 * harness.SLOW


def test_a_slow_registry_is_not_given_up(node, fake):
    made = fake.put("a/b", "1", BIG)
    fake.fault(blob_path(made), "slow", seconds=2)
    assert node.pull(f"{fake.host}/a/b:1") == made.id


# --- what is not there ---


def test_what_is_not_there_is_not_found(node, fake):
    made = fake.put("a/b", "1", HELLO)
    node.refused(f"{fake.host}/a/b:2", CODE.NOT_FOUND, "HTTP 404")
    node.refused(f"{fake.host}/a/none:1", CODE.NOT_FOUND, "HTTP 404")
    node.refused(f"{fake.host}/a/b@sha256:{'0' * 64}", CODE.NOT_FOUND)
    del fake.blobs[blob_path(made)]
    node.refused(f"{fake.host}/a/b:1", CODE.NOT_FOUND, f"layer {blob_path(made)}")


@pytest.mark.parametrize("reference", ["", "UPPER/Case", "a b", "a:b:c", "a/b@sha256:12", "http://host/a", "host/../a", "a" * 300])
def test_malformed_references(node, reference):
    node.refused(reference, CODE.INVALID_ARGUMENT)


# --- lies ---


@pytest.mark.parametrize(
    "action, options, texts",
    [
        *(("wrong", {"after": at}, ["the blob has digest"]) for at in (0, 3, 10, 300_000, *range(-24, -13), -8, -3)),
        ("truncate", {"after": 100_000}, ["ends after 100000 of"]),
        ("truncate", {"after": 0}, ["ends after 0 of"]),
    ],
)
def test_bad_bytes_fail_one_pull_and_never_the_next(node, fake, action, options, texts):
    made = fake.put("a/b", "1", BIG)
    fake.fault(blob_path(made), action, times=9, **options)
    node.refused(f"{fake.host}/a/b:1", CODE.DATA_LOSS, f"layer {blob_path(made)}", *texts)
    fake.faults.clear()
    assert node.pull(f"{fake.host}/a/b:1") == made.id


@pytest.mark.parametrize(
    "changes, code, texts",
    [
        ({"sizes": {0: 10}}, CODE.DATA_LOSS, ["longer than the 10 bytes"]),
        ({"sizes": {0: 10_000_000}}, CODE.DATA_LOSS, ["of 10000000 bytes"]),
        ({"sizes": {0: -1}}, CODE.INVALID_ARGUMENT, ["size"]),
        ({"sizes": {0: "ten"}}, CODE.INVALID_ARGUMENT, ["size"]),
        ({"diff_ids": ["sha256:" + "1" * 64]}, CODE.DATA_LOSS, ["not sha256:1111"]),
        ({"diff_ids": []}, CODE.INVALID_ARGUMENT, ["the manifest has 1 layers, the config 0"]),
        ({"diff_ids": ["../../etc"]}, CODE.INVALID_ARGUMENT, ["diff_ids"]),
        ({"config_type": "application/vnd.cncf.helm.config.v1+json", "config": b"{}"}, CODE.UNIMPLEMENTED, ["helm"]),
        ({"config": b'{"architecture": "sparc64", "rootfs": {"diff_ids": []}}'}, CODE.FAILED_PRECONDITION, ["linux/sparc64"]),
        ({"config": b'{"config": {"Env": "A=B"}, "rootfs": {"diff_ids": []}}'}, CODE.INVALID_ARGUMENT, ['"Env"']),
        ({"config": b'{"config": [1], "rootfs": {"diff_ids": []}}'}, CODE.INVALID_ARGUMENT, ['"config" is not an object']),
        ({"config": b"[]"}, CODE.INVALID_ARGUMENT, ["config"]),
        ({"config": b'{"config": '}, CODE.INVALID_ARGUMENT, ["config"]),
        ({"config": b"[" * 100_000}, CODE.INVALID_ARGUMENT, ["config"]),
        ({"config": b'{"os": "windows", "rootfs": {"diff_ids": []}}'}, CODE.FAILED_PRECONDITION, ["windows"]),
        ({"config": b'{"x": "' + b"a" * (5 << 20) + b'"}'}, CODE.RESOURCE_EXHAUSTED, ["larger than"]),
    ],
)
def test_manifests_and_configs_that_lie(node, fake, changes, code, texts):
    fake.put("a/b", "1", HELLO, **changes)
    node.refused(f"{fake.host}/a/b:1", code, *texts)


@pytest.mark.parametrize(
    "body, kind, code, text",
    [
        (b"{", "", CODE.INVALID_ARGUMENT, "manifest 1"),
        (b"[]", "", CODE.INVALID_ARGUMENT, "manifest 1"),
        (b"null", "application/vnd.oci.image.manifest.v1+json", CODE.INVALID_ARGUMENT, "manifest 1"),
        (b"<html>", "text/html", CODE.INVALID_ARGUMENT, "manifest 1"),
        (b'{"schemaVersion": 1, "name": "x", "fsLayers": []}', registry.SCHEMA_1, CODE.UNIMPLEMENTED, "schema 1"),
        (b'{"schemaVersion": 2, "mediaType": "application/x-what"}', "", CODE.UNIMPLEMENTED, "application/x-what"),
        (b'{"schemaVersion": 2, "layers": [], "manifests": [], "config": {}}', "", CODE.INVALID_ARGUMENT, "manifest 1"),
        (b'{"schemaVersion": 2, "pad": "' + b"x" * (5 << 20) + b'"}', "", CODE.RESOURCE_EXHAUSTED, "larger than"),
    ],
)
def test_manifests_that_are_none(node, fake, body, kind, code, text):
    fake.put_manifest("a/b", "1", body, kind)
    node.refused(f"{fake.host}/a/b:1", code, text)


def test_more_layers_than_overlayfs_takes(node, fake):
    one = make_image(HELLO)
    whole = json.loads(one.manifest)
    whole["layers"] *= 501
    body = json.dumps(whole).encode()
    fake.put_manifest("a/b", "1", body, one.media_type)
    node.refused(f"{fake.host}/a/b:1", CODE.INVALID_ARGUMENT, "500")


def test_a_manifest_that_says_it_is_something_else(node, fake):
    made = make_image(HELLO)
    whole = json.loads(made.manifest)
    whole["mediaType"] = "application/vnd.weird+json"
    fake.put_made("a/b", "0", made)
    fake.put_manifest("a/b", "1", json.dumps(whole).encode(), "application/vnd.weird+json")
    node.refused(f"{fake.host}/a/b:1", CODE.UNIMPLEMENTED, 'unknown media type "application/vnd.weird+json"')


def test_an_index_that_lies_about_a_size(node, fake):
    made = fake.put("a/b", "1", HELLO)
    body, kind = registry.make_index([(made, {"os": "linux", "architecture": "amd64"})])
    whole = json.loads(body)
    whole["manifests"][0]["size"] += 1
    fake.put_manifest("a/b", "longer", json.dumps(whole).encode(), kind)
    node.refused(f"{fake.host}/a/b:longer", CODE.DATA_LOSS, "by the index")


def test_an_index_in_an_index_and_one_that_names_itself(node, fake):
    made = fake.put("a/b", "1", HELLO)
    inner, kind = registry.make_index([(made, {"os": "linux", "architecture": "amd64"})])
    fake.put_manifest("a/b", "inner", inner, kind)
    as_made = registry.Made(inner, kind, b"", [], [])
    outer, kind = registry.make_index([(as_made, None)])
    fake.put_manifest("a/b", "outer", outer, kind)
    assert node.pull(f"{fake.host}/a/b:outer") == made.id
    deep = registry.Made(outer, kind, b"", [], [])
    for _ in range(4):
        body, kind = registry.make_index([(deep, None)])
        fake.put_manifest("a/b", "deep", body, kind)
        deep = registry.Made(body, kind, b"", [], [])
    node.refused(f"{fake.host}/a/b:deep", CODE.INVALID_ARGUMENT, "indexes inside indexes")


def test_a_manifest_that_is_not_what_its_digest_says(node, fake):
    made = fake.put("a/b", "1", HELLO)
    fake.manifests["a/b", made.digest] = (made.media_type, made.manifest + b" ")
    node.refused(f"{fake.host}/a/b@{made.digest}", CODE.DATA_LOSS, "digest")
    fake.blobs[made.id] = made.config + b" "
    node.refused(f"{fake.host}/a/b:1", CODE.DATA_LOSS, "config")


# --- hostile archives: none reaches anything outside its layer ---

ESCAPES = {
    "dotdot": [file("../escape", b"x")],
    "absolute": [file("/escape", b"x")],
    "through a link": [symlink("link", "/"), file("link/escape", b"x")],
    "through a link up": [symlink("link", ".."), file("link/escape", b"x")],
    "hard link out": [hardlink("escape", "../../etc/passwd")],
    "hard link through a link": [symlink("link", "/etc"), hardlink("escape", "link/passwd")],
    "whiteout out": [file("../.wh.escape")],
    "whiteout of nothing": [file(".wh.")],
    "whiteout of dotdot": [file(".wh...")],
    "below a whiteout": [file(".wh.a/b", b"x")],
    "opaque by attribute": [file("escape", b"x", pax=xattr("trusted.overlay.opaque", "y"))],
    "redirect by attribute": [folder("d", pax=xattr("trusted.overlay.redirect", "/etc"))],
    "node of overlayfs": [device("escape", tarfile.CHRTYPE, 0, 0)],
    "file over a directory": [folder("d"), file("d/x", b"x"), file("d", b"y")],
    "file below a file": [file("f", b"x"), file("f/escape", b"y")],
    "root is a link": [symlink("./", "/etc")],
    "long name": [file("n" * 256, b"x")],
}


LEFT_OUT = {
    "whiteout of nothing",
    "whiteout of dotdot",
    "below a whiteout",
    "opaque by attribute",
    "redirect by attribute",
    "node of overlayfs",
    "long name",
}


@pytest.mark.parametrize("name", list(ESCAPES))
def test_hostile_layers(node, fake, name):
    made = fake.put("a/b", "1", [[*ESCAPES[name], file("last", b"x")]])
    if name.startswith("hard link"):
        details = node.refused(f"{fake.host}/a/b:1", CODE.DATA_LOSS, "layer sha256:", "entry ")
        assert "skiff-unpack" not in details
        assert not list(node.skiff.directory.rglob("escape"))
        return
    assert node.pull(f"{fake.host}/a/b:1") == made.id
    layer = node.layer(made, 0)
    assert (layer / "last").exists()
    assert all(layer in path.parents for path in node.skiff.directory.rglob("escape"))
    told = [line for line in node.skiff.log_text().splitlines() if "left_out=1" in line and made.diff_ids[0] in line]
    assert len(told) == (name in LEFT_OUT)


@pytest.mark.parametrize(
    "name, layer",
    [
        ("no tar", b"this is no archive at all" * 100),
        ("half a tar", make_tar([file("f", b"x" * 5000)])[:3000]),
        ("broken header", b"\0" * 100 + b"x" * 412 + b"\0" * 512),
    ],
)
def test_what_is_no_tar(node, fake, name, layer):
    fake.put("a/b", "1", [layer])
    node.refused(f"{fake.host}/a/b:1", CODE.DATA_LOSS, "layer sha256:")


def test_broken_and_unknown_compressions(node, fake):
    made = make_image(HELLO)
    broken = made.blobs[0][:-12] + b"\0" * 12
    for blob, code, text in (
        (broken, CODE.DATA_LOSS, "stream"),
        (b"\x1f\x8b" + b"\xff" * 100, CODE.DATA_LOSS, "stream"),
        (b"\x28\xb5\x2f\xfd" + b"\xff" * 100, CODE.DATA_LOSS, "zstd"),
        (b"BZh91AY" + b"\0" * 100, CODE.UNIMPLEMENTED, "bzip2"),
    ):
        lying = registry.Made(
            made.manifest.replace(registry.digest_of(made.blobs[0]).encode(), registry.digest_of(blob).encode()).replace(
                b'"size": %d}]' % len(made.blobs[0]), b'"size": %d}]' % len(blob)
            ),
            made.media_type, made.config, [blob], made.diff_ids,
        )  # fmt: skip
        fake.put_made("a/b", "1", lying)
        node.refused(f"{fake.host}/a/b:1", code, text)


# --- pulls at once ---


def test_layers_come_in_parallel(node, fake):
    made = fake.put("a/b", "1", [[file(f"f{i}", os.urandom(50_000))] for i in range(4)])
    for i in range(4):
        fake.fault(blob_path(made, i), "slow", seconds=0.5)
    began = time.monotonic()
    assert node.pull(f"{fake.host}/a/b:1") == made.id
    assert fake.live_max >= 2
    assert time.monotonic() - began < 1.8 * harness.SLOW


def test_two_pulls_that_share_a_layer_download_it_once(node, fake):
    shared = [file("shared", os.urandom(200_000))]
    images = [fake.put("a/b", str(i), [shared, [file("own", str(i).encode())]]) for i in range(3)]
    fake.fault(blob_path(images[0]), "slow", seconds=0.7)
    calls = [node.cri.future("PullImage", image={"image": f"{fake.host}/a/b:{i}"}) for i in range(3)]
    assert [call.result(timeout=30).image_ref for call in calls] == [made.id for made in images]
    assert len(fake.seen(blob_path(images[0]))) == 1


def test_cancelling_one_does_not_harm_the_other(node, fake):
    """The waiter takes the layer over, with a skiff-pull of its own."""
    shared = [file("shared", os.urandom(400_000))]
    first = fake.put("a/b", "1", [shared])
    second = fake.put("a/other", "2", [shared, [file("more", b"m")]])
    fake.fault(blob_path(first), "stall", after=100_000, seconds=0.9)
    one = node.cri.future("PullImage", image={"image": f"{fake.host}/a/b:1"})
    harness.wait_for(lambda: fake.seen(blob_path(first)), "the first pull")
    two = node.cri.future("PullImage", image={"image": f"{fake.host}/a/other:2"})
    harness.wait_for(lambda: fake.seen(blob_path(second, 1)), "the second pull")
    one.cancel()
    assert two.result(timeout=20).image_ref == second.id
    assert len(fake.seen(f"/v2/a/other/blobs/{blob_path(first)}")) == 1
    assert node.contents()[0] == [f"{fake.host}/a/other:2"]


def test_bad_bytes_of_one_pull_do_not_reach_who_waits_for_it(node, fake):
    shared = [file("shared", os.urandom(400_000))]
    with registry.Registry() as liar:
        made = liar.put("a/b", "1", [shared])
        fake.put_made("a/b", "1", made)
        spoiled = bytearray(made.blobs[0])
        spoiled[len(spoiled) // 2] ^= 1
        liar.blobs[blob_path(made)] = bytes(spoiled)
        liar.fault(blob_path(made), "slow", seconds=0.8)
        bad = node.cri.future("PullImage", image={"image": f"{liar.host}/a/b:1"})
        harness.wait_for(lambda: liar.seen(blob_path(made)), "the liar's pull")
        good = node.cri.future("PullImage", image={"image": f"{fake.host}/a/b:1"})
        assert good.result(timeout=20).image_ref == made.id
        assert bad.exception(timeout=20).code() == CODE.DATA_LOSS
    assert (node.layer(made) / "shared").read_bytes() == shared[0][1]


def test_many_pulls_of_one_image_at_once(node, fake):
    made = fake.put("a/b", "1", [[file(f"f{i}", os.urandom(50_000))] for i in range(3)])
    calls = [node.cri.future("PullImage", image={"image": f"{fake.host}/a/b:1"}) for _ in range(12)]
    assert {call.result(timeout=30).image_ref for call in calls} == {made.id}
    for i in range(3):
        assert len(fake.seen(blob_path(made, i))) == 1


def test_a_cancelled_pull_leaves_nothing_and_no_process(node, fake):
    made = fake.put("a/b", "1", BIG)
    fake.fault(blob_path(made), "slow", seconds=20)
    call = node.cri.future("PullImage", image={"image": f"{fake.host}/a/b:1"})
    harness.wait_for(lambda: fake.seen(blob_path(made)), "the blob")
    call.cancel()
    harness.wait_for(lambda: node.contents() == ([], [], False), "an empty store")
    harness.wait_for(lambda: not helpers(node), "no helper")


def test_removal_while_a_pull_shares_the_layer(node, fake):
    shared = [file("shared", b"s")]
    fake.put("a/b", "1", [shared])
    second = fake.put("a/b", "2", [shared, [file("more", os.urandom(100_000))]])
    node.pull(f"{fake.host}/a/b:1")
    fake.fault(blob_path(second, 1), "slow", seconds=0.5)
    call = node.cri.future("PullImage", image={"image": f"{fake.host}/a/b:2"})
    harness.wait_for(lambda: fake.seen(blob_path(second, 1)), "the second pull")
    node.cri.RemoveImage(image={"image": f"{fake.host}/a/b:1"})
    assert call.result(timeout=20).image_ref == second.id
    assert (node.layer(second) / "shared").read_bytes() == b"s"
    assert len(fake.seen(blob_path(second))) == 1


def helpers(node):
    """pid -> arguments of the skiff-pull and skiff-unpack of this daemon."""
    every = harness.processes(node.skiff.cgroup_parent, node.skiff.process.pid)
    return {pid: line for pid, line in every.items() if "skiff-pull" in line or "skiff-unpack" in line}


def test_skiff_pull_has_no_privilege_and_shows_no_credential(node):
    with registry.Registry(auth="basic") as private:
        made = private.put("a/b", "1", BIG)
        private.fault(blob_path(made), "slow", seconds=1.5)
        call = node.cri.future("PullImage", image={"image": f"{private.host}/a/b:1"}, auth={"username": "user", "password": "secret"})
        harness.wait_for(lambda: private.seen(blob_path(made)), "the blob")
        (pid,) = [pid for pid, line in helpers(node).items() if "skiff-pull" in line]
        status = dict(line.split(":\t", 1) for line in harness.read_proc(pid, "status").splitlines() if ":\t" in line)
        assert status["Uid"].split() == ["60717"] * 4 and status["Gid"].split() == ["60717"] * 4
        assert status["Groups"].strip() == "" and status["NoNewPrivs"] == "1"
        assert {status[key] for key in ("CapEff", "CapPrm", "CapInh", "CapAmb")} == {"0" * 16}
        for other in helpers(node):
            for name in ("cmdline", "environ"):
                assert "secret" not in harness.read_proc(other, name) and "c2VjcmV0" not in harness.read_proc(other, name)
        assert call.result(timeout=20).image_ref == made.id
    assert "secret" not in node.skiff.output.read_text(errors="replace")
