"""CNI under a pod. Covers: NetworkReady and changes of the configuration, port mappings, loopback, a DEL from the record
when the configuration has gone, plugins that fail, hang and print rubbish, what they are told of traces and, now and then, of
pods."""

import json
import signal
import subprocess
import time

import grpc
import harness
import pytest


def network(skiff):
    conditions = {c.type: c for c in skiff.cri.Status().status.conditions}
    assert conditions["RuntimeReady"].status
    return conditions["NetworkReady"]


def plugin(skiff, script):
    directory = skiff.directory / "plugins"
    directory.mkdir(exist_ok=True)
    (directory / "odd").write_text(f"#!/bin/sh\n{script}\n")
    (directory / "odd").chmod(0o755)
    skiff.arguments = ["--cni-bin-dir", f"{directory}:/usr/lib/cni"]
    skiff.restart()
    skiff.write_conflist({"cniVersion": "1.0.0", "name": "odd", "plugins": [*harness.CONFLIST["plugins"][:1], {"type": "odd"}]})


def test_network_ready_follows_the_configuration(skiff):
    assert network(skiff).status
    conf = skiff.cni_conf / "10-test.conflist"
    text = conf.read_text()
    conf.unlink()
    missing = network(skiff)
    assert not missing.status and str(skiff.cni_conf) in missing.message and missing.reason
    (skiff.directory / "elsewhere").write_text(text)
    (skiff.directory / "elsewhere").rename(conf)
    assert network(skiff).status
    conf.write_text("{")
    assert "10-test.conflist" in network(skiff).message
    conf.write_text(text)
    assert network(skiff).status


# busybox's own wget crashes in Debian's static build, so a page is fetched by this, in the namespace of a pod or here.
FETCH = """
import socket, sys, time
until = time.monotonic() + 5
while True:
    try:
        with socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=1) as s:
            s.sendall(b"GET / HTTP/1.0\\r\\n\\r\\n")
            text = b"".join(iter(lambda: s.recv(4096), b""))
            print(text.decode().split("\\r\\n\\r\\n", 1)[1], end="")
            break
    except OSError:
        if time.monotonic() > until:
            raise
        time.sleep(0.05)
"""
SERVE = "mkdir /w; echo {} > /w/index.html; exec httpd -f -p 80 -h /w"


def fetch_from(inside, address, port):
    """inside: the words before a command that runs it in a namespace."""
    command = [*inside, "/usr/bin/python3", "-c", FETCH, address, str(port)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def fetch(address, port, pod=None):
    return fetch_from(["nsenter", f"--net=/run/netns/skiff-{pod}"] if pod else [], address, port)


def test_pods_reach_each_other_and_themselves(skiff):
    server = skiff.run_pod(name="server")
    address = skiff.pod_status(server).status.network.ip
    skiff.run(server, ["sh", "-c", SERVE.format("served")])
    client = skiff.run_pod(name="client")
    assert fetch(address, 80, client) == "served\n"
    assert fetch("127.0.0.1", 80, server) == "served\n"
    assert fetch(address, 80) == "served\n"


def test_port_mappings(skiff):
    pod = skiff.run_pod(name="ports", port_mappings=[{"container_port": 80, "host_port": 18080}])
    skiff.run(pod, ["sh", "-c", SERVE.format("mapped")])
    assert fetch("10.211.0.1", 18080) == "mapped\n"


def test_del_uses_the_record_when_the_configuration_has_gone(skiff):
    before = skiff.census()
    pod = skiff.run_pod(name="gone")
    (skiff.cni_conf / "10-test.conflist").unlink()
    skiff.restart()
    skiff.remove_pod(pod)
    skiff.assert_nothing_left(before)


def test_a_plugin_that_fails_fails_the_pod_with_its_words(skiff):
    before = skiff.census()
    words = json.dumps({"cniVersion": "1.0.0", "code": 7, "msg": "no more addresses", "details": "pool x"})
    plugin(skiff, f"[ $CNI_COMMAND = ADD ] || exit 0; echo '{words}'; exit 1")
    code, text = harness.code_of(skiff.run_pod, name="fails")
    assert "no more addresses" in text and "odd" in text and code != grpc.StatusCode.NOT_FOUND
    skiff.assert_nothing_left(before)


def test_a_plugin_that_prints_rubbish_fails_the_pod(skiff):
    before = skiff.census()
    plugin(skiff, "[ $CNI_COMMAND = ADD ] || exit 0; echo 'not json'")
    _, text = harness.code_of(skiff.run_pod, name="rubbish")
    assert "odd" in text
    skiff.assert_nothing_left(before)


@pytest.mark.parametrize("answer", [{"cniVersion": "1.0.0"}, {"cniVersion": "1.0.0", "ips": []}, {"code": 3, "msg": "m"}])
def test_a_network_that_gives_no_address_fails_the_pod(skiff, answer):
    before = skiff.census()
    plugin(skiff, f"[ $CNI_COMMAND = ADD ] || exit 0; echo '{json.dumps(answer)}'")
    code, text = harness.code_of(skiff.run_pod, name="nowhere")
    assert code == grpc.StatusCode.INTERNAL and "eth0" in text and "address" in text
    skiff.assert_nothing_left(before)


def test_a_plugin_that_hangs_ends_with_the_calls_deadline(skiff):
    before = skiff.census()
    plugin(skiff, "[ $CNI_COMMAND = ADD ] || exit 0; sleep 987")
    began = time.monotonic()
    code, _ = harness.code_of(skiff.run_pod, name="hangs", _deadline=2)
    assert code == grpc.StatusCode.DEADLINE_EXCEEDED and time.monotonic() - began < 10
    skiff.assert_nothing_left(before)
    assert "sleep 987" not in harness.processes().values()


# Passes the previous result on, and fails DEL while the flag file is there.
PASSES = """#!/usr/bin/python3
import json, os, sys
conf = json.load(sys.stdin)
if os.environ["CNI_COMMAND"] == "DEL" and os.path.exists("{flag}"):
    sys.exit("cannot DEL now")
if os.environ["CNI_COMMAND"] == "ADD":
    json.dump(conf["prevResult"], sys.stdout)
"""


def test_a_del_that_fails_is_told_and_can_be_tried_again(skiff):
    flag = skiff.directory / "broken"
    plugin(skiff, "")
    (skiff.directory / "plugins/odd").write_text(PASSES.format(flag=flag))
    pod = skiff.run_pod(name="del")
    flag.touch()
    _, text = harness.code_of(skiff.cri.StopPodSandbox, pod_sandbox_id=pod)
    assert "cannot DEL now" in text
    flag.unlink()
    skiff.remove_pod(pod)


def test_a_missing_plugin_makes_the_network_not_ready_and_leaves_nothing(skiff):
    before = skiff.census()
    skiff.write_conflist({**harness.CONFLIST, "plugins": [harness.CONFLIST["plugins"][0], {"type": "nosuchplugin"}]})
    assert not network(skiff).status and "nosuchplugin" in network(skiff).message
    code, text = harness.code_of(skiff.run_pod, name="missing")
    assert code == grpc.StatusCode.FAILED_PRECONDITION and "nosuchplugin" in text
    skiff.assert_nothing_left(before)
    skiff.write_conflist(harness.CONFLIST)
    assert network(skiff).status


@pytest.mark.parametrize("field", ["name", "namespace", "uid"])
def test_a_name_that_plugins_cannot_be_told_is_refused_and_leaves_nothing(skiff, field):
    config = skiff.pod_config(name="odd")
    config["metadata"][field] = "a;K8S_POD_NAME=b"
    code, details = harness.code_of(skiff.run_pod, config)
    assert code == grpc.StatusCode.INVALID_ARGUMENT and "has a ';' or '=' in it" in details
    assert "undo" not in details
    assert not skiff.cri.ListPodSandbox().items
    # Not at once: nothing of it may wait to be undone.
    skiff.remove_pod(skiff.run_pod(skiff.pod_config(name="odd")))


def recorder(skiff, capabilities):
    """A plugin that keeps what it is given in a file, after the bridge."""
    script = "import json,sys; json.dump(json.load(sys.stdin)['prevResult'], sys.stdout)"
    plugin(
        skiff,
        f"cat > {skiff.directory}/$CNI_COMMAND.json; [ $CNI_COMMAND != ADD ] || /usr/bin/python3 -c \"{script}\" < {skiff.directory}/ADD.json",
    )
    skiff.write_conflist(
        {
            "cniVersion": "1.0.0", "name": "odd",
            "plugins": [*harness.CONFLIST["plugins"][:1], {"type": "odd", "capabilities": dict.fromkeys(capabilities, True)}],
        }  # fmt: skip
    )


def test_bandwidth_and_annotations_reach_the_plugins_that_ask_for_them(skiff):
    recorder(skiff, ["bandwidth", "io.kubernetes.cri.pod-annotations"])
    annotations = {"kubernetes.io/ingress-bandwidth": "10M", "kubernetes.io/egress-bandwidth": "1.5Mi", "x": "y"}
    pod = skiff.run_pod(name="limited", annotations=annotations)
    want = {"ingressRate": 10000000, "ingressBurst": 4294967295, "egressRate": 1572864, "egressBurst": 4294967295}
    given = json.loads((skiff.directory / "ADD.json").read_text())["runtimeConfig"]
    assert given == {"bandwidth": want, "io.kubernetes.cri.pod-annotations": annotations}
    skiff.remove_pod(pod)
    assert json.loads((skiff.directory / "DEL.json").read_text())["runtimeConfig"] == given


def test_nonsense_in_a_bandwidth_annotation_is_refused(skiff):
    before = skiff.census()
    for name in ("ingress", "egress"):
        for text in ("fast", "", "-1M", "10", "2P"):
            code, words = harness.code_of(skiff.run_pod, annotations={f"kubernetes.io/{name}-bandwidth": text})
            assert code == grpc.StatusCode.INVALID_ARGUMENT and name in words
    skiff.assert_nothing_left(before)


def test_network_ready_is_what_the_plugins_say(skiff):
    answer = skiff.directory / "answer"
    plugin(skiff, f"[ $CNI_COMMAND = STATUS ] || exit 0; cat {answer} && exit 1; exit 0")
    skiff.write_conflist({"cniVersion": "1.1.0", "name": "odd", "plugins": [{"type": "odd"}]})
    harness.wait_for(lambda: network(skiff).status, "NetworkReady")
    answer.write_text('{"cniVersion": "1.1.0", "code": 50, "msg": "no route to the fabric"}')
    harness.wait_for(lambda: "no route to the fabric" in network(skiff).message, "what the plugin says")
    answer.unlink()
    harness.wait_for(lambda: network(skiff).status, "NetworkReady")


def test_at_the_start_plugins_are_told_which_pods_there_are(skiff):
    """And what was half done before gets its DEL, after that."""
    script = "import json,sys; json.dump(json.load(sys.stdin)['prevResult'], sys.stdout)"
    calls = skiff.directory / "calls"
    plugin(
        skiff,
        f"cat > {skiff.directory}/$CNI_COMMAND.json; [ $CNI_COMMAND = STATUS ] || echo $CNI_COMMAND $CNI_CONTAINERID >> {calls}; "
        f"[ $CNI_COMMAND != ADD ] || /usr/bin/python3 -c \"{script}\" < {skiff.directory}/ADD.json",
    )
    relay = skiff.directory / "plugins" / "old-bridge"  # Debian's knows no 1.1.0
    relay.write_text(
        "#!/bin/sh\ncase $CNI_COMMAND in STATUS | GC) exit 0 ;; esac\n"
        "sed 's/\"type\":\"old-bridge\"/\"type\":\"bridge\"/; s/1\\.1\\.0/1.0.0/g' | /usr/lib/cni/bridge | sed 's/1\\.0\\.0/1.1.0/'\n"
    )
    relay.chmod(0o755)
    bridge = {**harness.CONFLIST["plugins"][0], "type": "old-bridge"}
    skiff.write_conflist({"cniVersion": "1.1.0", "name": "odd", "plugins": [bridge, {"type": "odd"}]})
    stays = skiff.run_pod(name="stays")
    skiff.run_pod(name="host", host_network=True)
    goes = skiff.run_pod(name="goes")
    skiff.cri.StopPodSandbox(pod_sandbox_id=goes)
    skiff.arm("run_pod.ready.before")
    harness.code_of(skiff.run_pod, name="half")
    skiff.wait_killed()
    skiff.disarm()
    half = calls.read_text().split()[-1]
    calls.unlink()
    skiff.start()
    harness.wait_for(lambda: f"DEL {half}" in calls.read_text(), "the undo")
    assert calls.read_text().splitlines()[0] == "GC"
    given = json.loads((skiff.directory / "GC.json").read_text())
    assert given["cni.dev/valid-attachments"] == [{"containerID": stays, "ifname": "eth0"}]


def test_update_runtime_config_checks_its_cidr(skiff):
    def update(cidr):
        return skiff.cri.UpdateRuntimeConfig(runtime_config={"network_config": {"pod_cidr": cidr}})

    for cidr in ("", "10.0.0.0/8", "fd00::/64", "10.0.0.0/16,fd00::/48"):
        update(cidr)
    skiff.cri.UpdateRuntimeConfig()
    for cidr in ("10.0.0.0", "10.0.0.0/33", "fd00::/129", "10.0.0/8", "x", "10.0.0.0/8,", "10.0.0.0/-1", "10.0.0.0/8x"):
        code, text = harness.code_of(update, cidr)
        assert code == grpc.StatusCode.INVALID_ARGUMENT and "pod_cidr" in text


def test_an_interface_by_odd_bytes_spoils_no_answer(skiff):
    pod = skiff.run_pod(name="bytes")
    name = b"a\xff\xfeb"
    subprocess.run(["ip", "-n", f"skiff-{pod}", "link", "add", name, "type", "bridge"], check=True)
    stats = skiff.cri.PodSandboxStats(pod_sandbox_id=pod).stats
    assert "a??b" in [i.name for i in stats.linux.network.interfaces]
    metrics = skiff.cri.ListPodSandboxMetrics().pod_metrics
    assert "a??b" in str(metrics)


def test_a_lock_on_the_directory_of_namespaces_stops_no_pod(skiff):
    """Any user can open that directory and hold it."""
    skiff.remove_pod(skiff.run_pod(name="first"))
    holder = subprocess.Popen(["setpriv", "--reuid=65534", "--clear-groups", "flock", "--no-fork", "-x", "/run/netns", "sh", "-c", "echo up; exec sleep 1000"], stdout=subprocess.PIPE)
    try:
        assert holder.stdout.readline() == b"up\n"
        skiff.run_pod(name="second", _deadline=5 * harness.SLOW)
    finally:
        holder.kill()
        holder.wait()


SLOW_DEL = """#!/bin/sh
# As portmap with iptables: what leads to the rule goes first, and a DEL that does not find it does nothing.
cat >/dev/null
case $CNI_COMMAND in
VERSION) echo '{"cniVersion":"1.0.0","supportedVersions":["1.0.0"]}' ;;
ADD) touch DIR/chain DIR/rule; echo '{"cniVersion":"1.0.0","interfaces":[],"ips":[{"address":"10.9.8.7/24"}]}' ;;
DEL) [ -e DIR/chain ] || exit 0; rm DIR/chain; while [ ! -e DIR/go ]; do sleep 0.02; done; rm DIR/rule ;;
esac
"""


def in_a_slow_del(skiff, tmp_path):
    """A pod that is being stopped, in the middle of its plugin's DEL, which goes on when the file "go" is there."""
    plugin = tmp_path / "bin" / "slowdel"
    plugin.parent.mkdir()
    plugin.write_text(SLOW_DEL.replace("DIR", str(tmp_path)))
    plugin.chmod(0o755)
    skiff.cni_bin = f"{plugin.parent}:{skiff.cni_bin}"
    skiff.write_conflist({"cniVersion": "1.0.0", "name": "slow", "plugins": [{"type": "slowdel"}]})
    skiff.restart()
    pod = skiff.run_pod()
    assert (tmp_path / "rule").exists()
    stop = skiff.cri.future("StopPodSandbox", pod_sandbox_id=pod)
    harness.wait_for(lambda: not (tmp_path / "chain").exists() and not stop.done(), "the DEL's first half")
    return pod


@pytest.mark.parametrize("how", ["kill", "stop"])
def test_a_del_under_way_finishes_when_skiffd_ends(skiff, tmp_path, how):
    pod = in_a_slow_del(skiff, tmp_path)
    began = time.monotonic()
    skiff.process.send_signal(signal.SIGKILL if how == "kill" else signal.SIGTERM)
    assert skiff.process.wait(20) == (-signal.SIGKILL if how == "kill" else 0)
    assert time.monotonic() - began < 10 * harness.SLOW
    skiff.start(wait=False)
    (tmp_path / "go").touch()
    skiff.wait_ready()
    assert not (tmp_path / "rule").exists()  # before anything is undone
    skiff.remove_pod(pod)


def test_a_del_that_hangs_does_not_keep_skiffd_for_ever(skiff, tmp_path):
    pod = in_a_slow_del(skiff, tmp_path)
    skiff.kill()
    began = time.monotonic()
    skiff.start()
    assert 9 < time.monotonic() - began < 15 * harness.SLOW
    skiff.remove_pod(pod)


TOLD = """#!/bin/sh
conf=$(cat)
echo "$CNI_COMMAND $CNI_CONTAINERID $TRACEPARENT $TRACESTATE" >> DIR/calls
case $CNI_COMMAND in
GC) echo "$conf" > DIR/gc.new; mv DIR/gc.new DIR/gc ;;
ADD) while [ -e DIR/hold ]; do sleep 0.02; done; echo '{"cniVersion":"1.1.0","ips":[{"address":"10.9.8.7/24"}]}' ;;
esac
"""
TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


def told(skiff, tmp_path, *arguments):
    """A plugin that notes what it is called with, and gives an address once there is no file "hold"."""
    (tmp_path / "told").write_text(TOLD.replace("DIR", str(tmp_path)))
    (tmp_path / "told").chmod(0o755)
    skiff.cni_bin = f"{tmp_path}:{skiff.cni_bin}"
    skiff.arguments = [*arguments]
    skiff.write_conflist({"cniVersion": "1.1.0", "name": "told", "plugins": [{"type": "told"}]})
    skiff.restart()
    return lambda: [line.split(" ") for line in (tmp_path / "calls").read_text().splitlines()]


def test_plugins_are_told_the_trace_of_the_request(skiff, tmp_path):
    calls = told(skiff, tmp_path)
    headers = (("traceparent", TRACE), ("tracestate", "vendor=1"))
    traced = skiff.cri.RunPodSandbox(config=skiff.pod_config(name="traced"), _headers=headers).pod_sandbox_id
    plain = skiff.run_pod(name="plain")
    skiff.cri.StopPodSandbox(pod_sandbox_id=traced, _headers=headers)
    skiff.remove_pod(plain)
    of = {(command, pod): [parent, state] for command, pod, parent, state in calls()}
    assert of["ADD", traced] == of["DEL", traced] == [TRACE, "vendor=1"]
    made = [of["ADD", plain], of["DEL", plain]]
    assert all(len(parent) == len(TRACE) and parent.startswith("00-") and not state for parent, state in made)
    assert len({parent.split("-")[1] for parent, _ in [*made, [TRACE, ""]]}) == 3
    assert all(parent for _, _, parent, _ in calls())  # STATUS and GC too


def test_plugins_are_told_now_and_then_which_pods_there_are(skiff, tmp_path):
    calls = told(skiff, tmp_path, "--cni-gc-seconds", "1")
    stays = skiff.run_pod(name="stays")
    gone = skiff.run_pod(name="gone")
    skiff.remove_pod(gone)

    def valid():
        text = (tmp_path / "gc").read_text() if (tmp_path / "gc").exists() else "{}"
        return [one["containerID"] for one in json.loads(text).get("cni.dev/valid-attachments", [])]

    harness.wait_for(lambda: valid() == [stays], "a GC", 20)
    # None while a pod is being attached; the one after that knows it.
    (tmp_path / "hold").touch()
    making = skiff.cri.future("RunPodSandbox", config=skiff.pod_config(name="making"))
    harness.wait_for(lambda: calls()[-1][0] == "ADD", "the ADD")
    before = len(calls())
    until = time.monotonic() + 2.5
    harness.wait_for(lambda: time.monotonic() > until or "GC" in [call[0] for call in calls()[before:]], "two turns")
    assert "GC" not in [call[0] for call in calls()[before:]]
    (tmp_path / "hold").unlink()
    made = making.result().pod_sandbox_id
    harness.wait_for(lambda: sorted(valid()) == sorted([stays, made]), "the GC after it", 20)
