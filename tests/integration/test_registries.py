"""Where a registry is reached, and what is said when it is not. Covers: hosts.toml as containerd reads it, certificates as
Docker lays them out, http and https on the loopback, proxies of the environment and of a host, credentials with a line's end
in them, and the error that says most."""

import shutil

import pytest
import registry
from proxy import Proxy
from pull_harness import CODE, Node
from registry import file

HELLO = [[file("hello", b"hello")]]


def named(origin):
    """A registry by a name that only a proxy can reach."""
    return f"registry.example:{origin.url.rsplit(':', 1)[1]}"


def test_https_and_http_on_the_loopback_need_no_file(node, certificates, tmp_path, debian):
    plain = debian.put("test/plain", "1", HELLO)
    assert node.pull(f"{debian.host}/test/plain:1") == plain.id
    node.remove_all()
    with registry.DockerRegistry(tmp_path / "r", tls=certificates.server) as secure:
        made = secure.put("test/tls", "1", HELLO)
        assert node.pull(f"{secure.host}/test/tls:1") == made.id
        name = secure.host.replace("127.0.0.1", "localhost")
        assert node.pull(f"{name}/test/tls:1") == made.id


def test_an_http_url_with_settings_for_tls_means_either(node, certificates, tmp_path, debian):
    plain = debian.put("test/either", "1", HELLO)
    node.hosts("registry.example", f'server = "{debian.url}"\nskip_verify = true\n')
    assert node.pull("registry.example/test/either:1") == plain.id
    node.remove_all()
    with registry.DockerRegistry(tmp_path / "r", tls=certificates.server) as secure:
        made = secure.put("test/tls", "1", HELLO)
        node.hosts("registry.example", f'server = "http://{secure.host}"\nca = "{certificates.ca}"\n')
        assert node.pull("registry.example/test/tls:1") == made.id


def test_certificates_as_docker_lays_them_out(node, certificates, tmp_path):
    with registry.DockerRegistry(tmp_path / "r", tls=certificates.server, client_ca=certificates.ca) as secure:
        made = secure.put("test/tls", "1", HELLO)
        reference = f"{secure.host}/test/tls:1"
        directory = node.skiff.certs / secure.host
        directory.mkdir()
        shutil.copy(certificates.ca, directory / "ca.crt")
        node.refused(reference, CODE.UNAVAILABLE, "alert")
        certificate, key = certificates.client
        shutil.copy(certificate, directory / "client.cert")
        shutil.copy(key, directory / "client.key")
        assert node.pull(reference) == made.id
        node.remove_all()
        (directory / "hosts.toml").touch()  # an empty file is as none
        assert node.pull(reference) == made.id


def test_a_directory_may_be_named_without_a_colon(node, debian):
    made = debian.put("test/name", "1", HELLO)
    node.hosts("registry.example_5001_", f'server = "{debian.url}"\n')
    assert node.pull("registry.example:5001/test/name:1") == made.id


@pytest.mark.parametrize("path", ["", "/", "/v2", "/v2/"])
def test_a_url_may_end_in_the_apis_root(node, debian, path):
    made = debian.put("test/path", "1", HELLO)
    node.hosts("registry.example", f'server = "http://127.0.0.1:1"\n[host."{debian.url}{path}"]\n')
    assert node.pull("registry.example/test/path:1") == made.id


def test_what_is_not_known_in_a_file_is_a_warning(node, debian):
    made = debian.put("test/unknown", "1", HELLO)
    node.hosts(
        "registry.example",
        f'server = "{debian.url}"\nfuture = true\n[host."{debian.url}"]\ncapabilities = ["Pull", "resolve", "referrers"]\n'
        'dial_timeout = "1.5s"\n',
    )
    assert node.pull("registry.example/test/unknown:1") == made.id
    log = node.skiff.log_text()
    assert "hosts.toml: line 2: key" in log and "future" in log
    assert "hosts.toml: line 4: capability" in log and "referrers" in log
    node.hosts("registry.example", 'dial_timeout = "soon"\n')
    node.refused("registry.example/test/unknown:1", CODE.FAILED_PRECONDITION, "hosts.toml", "line 1", "soon")
    node.hosts("registry.example", "this is no TOML\n")
    node.refused("registry.example/test/unknown:1", CODE.FAILED_PRECONDITION, "hosts.toml", "line 1")


def test_a_default_without_server_is_the_registry_itself(node, debian):
    made = debian.put("test/default", "1", HELLO)
    node.hosts("_default", '[host."http://127.0.0.1:1"]\n')
    assert node.pull(f"{debian.host}/test/default:1") == made.id


def test_a_proxy_of_the_environment(bare, certificates, tmp_path, monkeypatch):
    with registry.Registry() as origin, Proxy() as proxy:
        made = origin.put("test/proxied", "1", HELLO)
        monkeypatch.setenv("HTTP_PROXY", f"http://user:proxy-secret@{proxy.host}")
        monkeypatch.setenv("HTTPS_PROXY", f"http://{proxy.host}")
        monkeypatch.setenv("NO_PROXY", "other.example,.internal.example")
        bare.start()
        node = Node(bare)
        name = named(origin)
        node.hosts(name, f'server = "http://{name}"\n')
        assert node.pull(f"{name}/test/proxied:1") == made.id
        assert all(way == "GET" and path.startswith(f"http://{name}/v2/") and auth for way, path, auth in proxy.seen)
        node.remove_all()
        count = len(proxy.seen)
        assert node.pull(f"{origin.host}/test/proxied:1") == made.id  # the loopback is never proxied
        assert len(proxy.seen) == count
        passed = name.replace("registry.example", "a.internal.example")
        node.hosts(passed, f'server = "http://{passed}"\n')
        details = node.refused(f"{passed}/test/proxied:1", CODE.UNAVAILABLE, "no such host")
        assert "proxy-secret" not in details and len(proxy.seen) == count
        with registry.DockerRegistry(tmp_path / "r", tls=certificates.server) as secure:
            made = secure.put("test/tunnel", "1", HELLO)
            name = f"registry.example:{secure.url.rsplit(':', 1)[1]}"
            node.hosts(name, f'server = "https://{name}"\nskip_verify = true\n')
            assert node.pull(f"{name}/test/tunnel:1") == made.id
            assert proxy.seen[-1][:2] == ("CONNECT", name)
        assert "proxy-secret" not in bare.log_text()


OTHER_DISTRIBUTION = """
        mount -t overlay -o "lowerdir=/etc,upperdir=$1/upper,workdir=$1/work" etc /etc
        mkdir -p "$(dirname "$2")" && mount -t tmpfs certs /etc/ssl/certs && cp "$3" "$2"
        shift 3 && exec "$@"
"""


@pytest.mark.parametrize("place", ["/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/ca-bundle.pem"])
def test_authorities_where_other_distributions_have_them(bare, certificates, tmp_path, place):
    for name in ("upper", "work"):
        (tmp_path / name).mkdir()
    bare.wrapper = ["unshare", "--mount", "sh", "-ec", OTHER_DISTRIBUTION, "sh", tmp_path, place, certificates.ca]
    bare.start()
    node = Node(bare)
    with registry.DockerRegistry(tmp_path / "r", tls=certificates.server) as secure:
        made = secure.put("test/tls", "1", HELLO)
        node.hosts(secure.host, f'server = "{secure.url}"\n')
        assert node.pull(f"{secure.host}/test/tls:1") == made.id
    node.remove_all()


def test_a_proxy_of_one_host(node):
    with registry.Registry() as origin, Proxy() as proxy:
        made = origin.put("test/proxied", "1", HELLO)
        name = named(origin)
        node.hosts(name, f'server = "http://{name}"\nproxy = "http://{proxy.host}"\n')
        assert node.pull(f"{name}/test/proxied:1") == made.id
        assert proxy.seen


@pytest.mark.parametrize("field", ["username", "password", "auth", "identity_token", "registry_token"])
@pytest.mark.parametrize("end", ["\r", "\n"])
def test_a_lines_end_in_a_credential_is_refused(node, field, end):
    with registry.Registry(auth="bearer") as private:
        private.put("test/private", "1", HELLO)
        auth = {"username": "user", "password": "secret", field: f"secret{end}X-Injected: 1"}
        node.refused(f"{private.host}/test/private:1", CODE.INVALID_ARGUMENT, field, **auth)
        assert not private.requests


def test_what_says_most_is_told_and_each_host_once(node):
    with registry.Registry() as first, registry.Registry(auth="basic") as second:
        second.put("test/none", "1", HELLO)
        dead = '[host."http://127.0.0.1:1"]\n'
        node.hosts("registry.example", f'server = "http://127.0.0.1:1"\n{dead}[host."{first.url}"]\n')
        details = node.refused("registry.example/test/none:1", CODE.NOT_FOUND, "HTTP 404", "Connection refused")
        assert details.count(first.host) == 1
        node.hosts("registry.example", f'server = "http://127.0.0.1:2"\n[host."{second.url}"]\n')
        node.refused("registry.example/test/none:1", CODE.UNAUTHENTICATED, "also: http://127.0.0.1:2/")


def test_refused_unreachable_and_no_such_host_are_told_apart(node):
    node.hosts("refused.example", 'server = "http://127.0.0.1:1"\n')
    node.refused("refused.example/a:1", CODE.UNAVAILABLE, "Connection refused")
    node.hosts("unreachable.example", 'server = "http://192.0.2.1"\n')  # no route leads out of this namespace
    node.refused("unreachable.example/a:1", CODE.UNAVAILABLE, "Network is unreachable")
    node.refused("none.invalid/a:1", CODE.UNAVAILABLE, "no such host", "none.invalid")
