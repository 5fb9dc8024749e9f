"""A small CRI client, built at run time from api/*.proto: no generated code, only protoc and Debian's grpcio.

    cri = Cri("unix:///run/skiff/skiff.sock")
    cri.Version().runtime_name
    cri.ExecSync(container_id=id, cmd=["true"], timeout=5, _deadline=10).exit_code
    for event in cri.GetContainerEvents(): ...
    call = cri.future("RunPodSandbox", config={...}); call.cancel()

Keyword arguments are the request's fields (dicts and lists where messages are nested). Errors are grpc.RpcError.
"""

import functools
import pathlib
import subprocess
import tempfile

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
MESSAGE_MAX_BYTES = 16 << 20  # what kubelet takes


@functools.lru_cache(maxsize=None)
def descriptors():
    """The FileDescriptorSet of api/*.proto."""
    with tempfile.NamedTemporaryFile() as out:
        protos = ["api/cri.proto", "api/admin.proto"]
        command = ["protoc", f"-I{ROOT}", "-I/usr/include", "--include_imports", f"--descriptor_set_out={out.name}"]
        subprocess.run(command + protos, check=True)
        return descriptor_pb2.FileDescriptorSet.FromString(out.read())


@functools.lru_cache(maxsize=None)
def pool():
    made = descriptor_pool.DescriptorPool()
    for file in descriptors().file:
        made.Add(file)
    return made


@functools.lru_cache(maxsize=None)
def message_class(full_name):
    """The class of a message by its full name: message_class("runtime.v1.PodSandboxConfig")."""
    return message_factory.MessageFactory(pool()).GetPrototype(pool().FindMessageTypeByName(full_name))


@functools.lru_cache(maxsize=None)
def methods():
    """name -> (path, request class, response class, whether the answer is a stream)."""
    found = {}
    for file in descriptors().file:
        for service in file.service:
            for method in service.method:
                path = f"/{file.package}.{service.name}/{method.name}"
                request, response = message_class(method.input_type[1:]), message_class(method.output_type[1:])
                found[method.name] = (path, request, response, method.server_streaming)
    return found


class Cri:
    """Every rpc of RuntimeService, ImageService and Admin is a method of this."""

    def __init__(self, endpoint):
        options = [
            ("grpc.max_receive_message_length", MESSAGE_MAX_BYTES),
            ("grpc.max_send_message_length", -1),
            ("grpc.use_local_subchannel_pool", 1),
            ("grpc.enable_http_proxy", 0),
            ("grpc.initial_reconnect_backoff_ms", 20),
            ("grpc.min_reconnect_backoff_ms", 20),
            ("grpc.max_reconnect_backoff_ms", 200),
        ]
        self.channel = grpc.insecure_channel(endpoint, options=options)

    def close(self):
        self.channel.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def callable(self, name):
        path, request, response, streams = methods()[name]
        make = self.channel.unary_stream if streams else self.channel.unary_unary
        return make(path, request_serializer=request.SerializeToString, response_deserializer=response.FromString)

    def future(self, name, _deadline=None, **fields):
        """Starts a call; .cancel(), .result(), .code(), .details()."""
        return self.callable(name).future(methods()[name][1](**fields), timeout=_deadline)

    def raw(self, path, payload, _deadline=20):
        """Sends bytes as they are to any path; the answer's bytes."""
        return self.channel.unary_unary(path, request_serializer=lambda b: b, response_deserializer=lambda b: b)(
            payload, timeout=_deadline
        )

    def wait_ready(self, seconds=10):
        grpc.channel_ready_future(self.channel).result(timeout=seconds)

    def __getattr__(self, name):
        if name not in methods():
            raise AttributeError(name)

        def call(_deadline=120, _headers=None, **fields):
            return self.callable(name)(methods()[name][1](**fields), timeout=_deadline, metadata=_headers)

        return call
