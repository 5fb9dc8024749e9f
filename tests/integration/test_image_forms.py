"""Images as builders write them: what lies beside an image, types that nobody knows, nulls, platforms and their names; and
what a pull of an image that is here asks the registry for. From a registry and from archives."""

import concurrent.futures
import hashlib
import json

import harness
import pytest
import registry
from pull_harness import CODE
from registry import TYPES, Made, file, make_image, make_index

HELLO = [[file("hello", b"hello")]]
AMD64 = {"os": "linux", "architecture": "amd64"}


def artifact(kind="application/spdx+json"):
    """A bill of materials, as a manifest of its own."""
    empty = {"mediaType": "application/vnd.oci.empty.v1+json", "digest": registry.digest_of(b"{}"), "size": 2}
    manifest = {"schemaVersion": 2, "mediaType": TYPES["oci"]["manifest"], "artifactType": kind, "config": empty, "layers": [empty]}
    return Made(json.dumps(manifest).encode(), TYPES["oci"]["manifest"], b"{}", [], [])


def layout(index, *made):
    """An OCI layout as a tar."""
    entries = [file("oci-layout", b'{"imageLayoutVersion": "1.0.0"}'), file("index.json", json.dumps(index).encode())]
    for blob in {blob for one in made for blob in (one.manifest, one.config, *one.blobs)}:
        entries.append(file(f"blobs/sha256/{hashlib.sha256(blob).hexdigest()}", blob))
    return registry.make_tar(entries)


def described(made, **more):
    return {"mediaType": made.media_type, "digest": made.digest, "size": len(made.manifest), **more}


@pytest.fixture
def imports(node, tmp_path):
    def run(archive, name=""):
        path = tmp_path / "archive.tar"
        path.write_bytes(archive)
        return node.skiff.import_image(path, name)

    return run


# --- from a registry ---


@pytest.mark.parametrize("first", [True, False])
def test_what_lies_beside_an_image_is_passed_over(node, fake, first):
    made, other = make_image(HELLO), artifact()
    fake.put_made("a/b", "image", made)
    fake.put_manifest("a/b", "sbom", other.manifest, other.media_type)
    attestation = described(other, platform={"os": "unknown", "architecture": "unknown"})
    entries = [described(other), attestation, {**described(made), "annotations": None}]
    index = {"schemaVersion": 2, "manifests": entries if first else entries[::-1]}
    fake.put_manifest("a/b", "1", json.dumps(index).encode(), TYPES["oci"]["index"])
    assert node.pull(f"{fake.host}/a/b:1") == made.id
    node.refused(f"{fake.host}/a/b:sbom", CODE.UNIMPLEMENTED, "not a container image", "spdx")


@pytest.mark.parametrize("changes", [{"config_type": "application/json"}, {"config_type": ""}, {"layer_types": ["application/octet-stream"]}])
@pytest.mark.parametrize("how", ["gzip", "zstd", "none"])
def test_types_that_nobody_knows(node, fake, changes, how):
    made = fake.put("a/b", "1", HELLO, how=how, **changes)
    assert node.pull(f"{fake.host}/a/b:1") == made.id


def test_an_odd_type_is_told_where_it_is_no_image(node, fake):
    fake.put("a/chart", "1", HELLO, config_type="application/vnd.cncf.helm.config.v1+json", config=b'{"name": "chart"}')
    node.refused(f"{fake.host}/a/chart:1", CODE.UNIMPLEMENTED, "not a container image", "helm")
    fake.put("a/odd", "1", [b"no tar at all" * 100], layer_types=["application/vnd.odd"])
    details = node.refused(f"{fake.host}/a/odd:1", CODE.DATA_LOSS, "application/vnd.odd")
    assert "layer sha256:" in details


def test_null_stands_for_an_empty_list(node, fake):
    made = make_image([], config=b'{"config": null, "history": null, "rootfs": {"type": "layers", "diff_ids": null}}')
    whole = json.loads(made.manifest)
    whole["layers"] = None
    fake.put_made("a/b", "0", made)
    fake.put_manifest("a/b", "1", json.dumps(whole).encode(), made.media_type)
    assert node.pull(f"{fake.host}/a/b:1") == made.id


@pytest.mark.parametrize("name", ["amd64", "x86_64", "x86-64", "AMD64"])
def test_architectures_as_others_write_them(node, fake, name):
    made = fake.put("a/b", "1", HELLO, config={"architecture": name})
    other = fake.put("a/b", "2", [[file("other")]], config={"architecture": "arm64"})
    body, kind = make_index([(other, {"os": "linux", "architecture": "aarch64"}), (made, {"os": "linux", "architecture": name})])
    fake.put_manifest("a/b", "3", body, kind)
    assert node.pull(f"{fake.host}/a/b:1") == made.id
    assert node.pull(f"{fake.host}/a/b:3") == made.id


def test_an_image_for_another_machine_is_refused_by_name(node, fake, imports):
    made = fake.put("a/b", "1", HELLO, config={"architecture": "arm64", "variant": "v8"})
    node.refused(f"{fake.host}/a/b:1", CODE.FAILED_PRECONDITION, "linux/arm64", "linux/amd64")
    index = {"schemaVersion": 2, "manifests": [described(made)]}
    for archive in (layout(index, made), docker_archive(made)):
        code, details = harness.code_of(imports, archive)
        assert code == CODE.FAILED_PRECONDITION and "linux/arm64" in details and "linux/amd64" in details
    index["manifests"][0]["platform"] = {"os": "linux", "architecture": "arm64"}
    code, details = harness.code_of(imports, layout(index, made))
    assert code == CODE.INVALID_ARGUMENT and "linux/amd64" in details


# --- what is asked ---


def test_an_image_that_is_here_takes_one_request(node, fake):
    made = fake.put("a/b", "1", HELLO)
    body, kind = make_index([(made, AMD64)])
    fake.put_manifest("a/b", "index", body, kind)
    for tag, again in (("1", 1), ("index", 1)):
        assert node.pull(f"{fake.host}/a/b:{tag}") == made.id
        fake.requests.clear()
        assert node.pull(f"{fake.host}/a/b:{tag}") == made.id
        assert len(fake.requests) == again, fake.requests
    fake.put_made("a/b", "other", made)
    fake.requests.clear()
    assert node.pull(f"{fake.host}/a/b:other") == made.id  # only its name is new
    assert len(fake.requests) == 1
    assert f"{fake.host}/a/b:other" in node.contents()[0]
    fake.put_made("c/d", "1", made)
    fake.requests.clear()
    assert node.pull(f"{fake.host}/c/d:1") == made.id  # by its config's digest
    assert not fake.seen("/blobs/") and len(fake.requests) == 1


def test_many_pulls_of_one_image_ask_once(node, fake):
    made = fake.put("a/b", "1", HELLO)
    fake.fault("/manifests/1", "slow", seconds=0.5)
    with concurrent.futures.ThreadPoolExecutor(20) as many:
        ids = list(many.map(lambda _: node.pull(f"{fake.host}/a/b:1"), range(20)))
    assert set(ids) == {made.id}
    assert len(fake.seen("/manifests/1")) == 1 and len(fake.seen(f"/blobs/{made.id}")) == 1


def test_a_pull_whose_leader_is_cancelled_goes_on_for_the_others(node, fake):
    made = fake.put("a/b", "1", HELLO)
    fake.fault("/manifests/1", "stall", after=1, seconds=20)
    first = node.cri.future("PullImage", image={"image": f"{fake.host}/a/b:1"}, _deadline=60)
    harness.wait_for(lambda: fake.seen("/manifests/1"), "the first pull's request")
    second = node.cri.future("PullImage", image={"image": f"{fake.host}/a/b:1"}, _deadline=60)
    first.cancel()
    assert second.result(timeout=30).image_ref == made.id


def test_credentials_are_not_shared(node):
    with registry.Registry(auth="basic") as private:
        made = private.put("a/b", "1", HELLO)
        reference = f"{private.host}/a/b:1"
        private.fault("/manifests/1", "slow", seconds=0.3)
        with concurrent.futures.ThreadPoolExecutor(2) as two:
            good = two.submit(node.pull, reference, username="user", password="secret")
            bad = two.submit(harness.code_of, node.pull, reference, username="user", password="secret-but-wrong")
            assert good.result() == made.id
            assert bad.result()[0] == CODE.UNAUTHENTICATED


def test_a_repository_lists_all_of_its_tags(node, fake):
    one, two = fake.put("a/b", "1", HELLO), fake.put("a/b", "2", [[file("two")]])
    fake.put("a/bc", "1", [[file("three")]])
    for name in ("a/b:1", "a/b:2", "a/bc:1"):
        node.pull(f"{fake.host}/{name}")

    def listed(text):
        return {image.id for image in node.cri.ListImages(filter={"image": {"image": text}}).images}

    assert listed(f"{fake.host}/a/b") == {one.id, two.id}
    assert listed(f"{fake.host}/a/b:2") == {two.id}
    assert listed(f"{fake.host}/a/b@{one.digest}") == {one.id}
    assert listed(one.id) == {one.id} and listed(one.id[7:20]) == {one.id}
    assert listed(f"{fake.host}/a") == set() and listed(f"{fake.host}/a/b:3") == set()


# --- from archives ---


def docker_archive(made, tags=("example.org/a/b:1",), extra=()):
    manifest = [{"Config": "config.json", "RepoTags": list(tags) or None, "Layers": ["layer.tar"]}]
    layer = registry.make_tar(HELLO[0])
    entries = [file("config.json", made.config), file("layer.tar", layer), file("manifest.json", json.dumps(manifest).encode())]
    return registry.make_tar([*entries, *extra])


def test_a_layout_with_a_signature_beside_the_image(node, imports):
    made, other = make_image(HELLO), artifact("application/vnd.dev.cosign.artifact.sig.v1+json")
    for entries in ([described(made), described(other)], [described(other), described(made)]):
        index = {"schemaVersion": 2, "manifests": entries}
        assert imports(layout(index, made, other), "example.org/signed:1") == [made.id]
        node.remove_all()
    code, details = harness.code_of(imports, layout({"schemaVersion": 2, "manifests": [described(other)]}, other))
    assert code == CODE.UNIMPLEMENTED and "not a container image" in details


SIGNATURE = make_image(
    [b'{"critical": {}}'], how="none", config={"architecture": "", "os": ""},
    layer_types=["application/vnd.dev.cosign.simplesigning.v1+json"],
)  # fmt: skip


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize(
    "beside",
    [
        SIGNATURE,
        make_image([], config={"architecture": "unknown", "os": "unknown"}),
        make_image([], config=b"{}", config_type="application/vnd.cncf.notary.signature"),
        make_image([], config=b"{}"),
        make_image([[file("arm")]], config={"architecture": "arm64"}),
    ],
    ids=["cosign", "in-toto", "notary", "nothing", "arm64"],
)
def test_what_lies_beside_the_image_of_a_layout_is_passed_over(node, imports, beside, first):
    made = make_image(HELLO)
    entries = [described(beside), described(made)] if first else [described(made), described(beside)]
    assert imports(layout({"schemaVersion": 2, "manifests": entries}, made, beside), "example.org/a:1") == [made.id]
    assert node.contents()[0] == ["example.org/a:1"]


def test_a_layer_of_a_type_that_nobody_knows_alone_in_a_layout(node, imports):
    made = make_image(HELLO, layer_types=["application/x-own-layer"])
    assert imports(layout({"schemaVersion": 2, "manifests": [described(made)]}, made)) == [made.id]


def test_an_archive_for_another_platform_is_refused_by_its_name(node, imports):
    made = make_image(HELLO, config={"architecture": "arm64"})
    for more in ({}, {"platform": {"os": "linux", "architecture": "arm64"}}):
        code, details = harness.code_of(imports, layout({"schemaVersion": 2, "manifests": [described(made, **more)]}, made))
        assert code in (CODE.FAILED_PRECONDITION, CODE.INVALID_ARGUMENT) and "linux/arm64" in details and "linux/amd64" in details


def test_a_layout_with_an_index_in_an_index(node, imports):
    made = make_image(HELLO)
    inner, kind = make_index([(make_image([[file("arm")]]), {"os": "linux", "architecture": "arm64"}), (made, AMD64)])
    middle = Made(inner, kind, b"", [], [])
    outer, kind = make_index([(middle, None)])
    top = Made(outer, kind, b"", [], [])
    index = {"schemaVersion": 2, "manifests": [described(top, annotations={"org.opencontainers.image.ref.name": "x.example/a:1"})]}
    assert imports(layout(index, top, middle, made)) == [made.id]
    assert node.contents()[0] == ["x.example/a:1"]


@pytest.mark.parametrize("index", [b'{"schemaVersion": 2, "manifests": null}', b'{"schemaVersion": 2, "manifests": []}'])
def test_an_empty_index_beside_dockers_manifest(node, imports, index):
    made = make_image(HELLO)
    assert imports(docker_archive(made, extra=[file("index.json", index)])) == [made.id]
    assert node.contents()[0] == ["example.org/a/b:1"]


def test_a_docker_archive_without_tags(node, imports):
    made = make_image(HELLO)
    assert imports(docker_archive(made, tags=())) == [made.id]
    assert node.contents()[0] == []
