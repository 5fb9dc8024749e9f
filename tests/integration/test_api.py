"""api/cri.proto against tests/data/cri-v1.tsv, as protoc sees it: above all which calls stream, which the C descriptors
(tests/unit/api_test.c) do not tell."""

import cri_client

TABLE = cri_client.ROOT / "tests/data/cri-v1.tsv"


def table_calls():
    for line in TABLE.read_text().splitlines():
        columns = line.split("\t")
        if columns[0] == "rpc":
            yield columns[1], columns[2], columns[4], columns[5]


def compiled_calls():
    for file in cri_client.descriptors().file:
        if file.package != "runtime.v1":
            continue
        for service in file.service:
            for method in service.method:
                assert not method.client_streaming
                answer = ("stream " if method.server_streaming else "") + method.output_type.rsplit(".", 1)[1]
                yield service.name, method.name, method.input_type.rsplit(".", 1)[1], answer


def test_every_call_streams_as_the_table_says():
    assert sorted(compiled_calls()) == sorted(table_calls())
    assert len(list(compiled_calls())) == 43


def test_the_package_is_the_one_on_the_wire():
    assert cri_client.methods()["Version"][0] == "/runtime.v1.RuntimeService/Version"
