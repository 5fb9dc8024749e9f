/* A request's way through the server without gRPC: check, decode into a small arena, encode again. What passes the check
 * and decodes must be valid on the wire when it is encoded. The first byte chooses the message. */
#include "api/cri.pb-c.h"
#include "cri/arena.h"
#include "cri/wire.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len_bytes);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len_bytes)
{
        const ProtobufCServiceDescriptor *service = &cri__runtime_service__descriptor;
        if (len_bytes == 0)
                return 0;
        const ProtobufCMessageDescriptor *input = service->methods[bytes[0] % service->n_methods].input;
        struct error *e = wire_check(input, bytes + 1, len_bytes - 1);
        if (e) {
                error_free(e);
                return 0;
        }
        struct arena arena;
        arena_init(&arena, (size_t) 1 << 20);
        ProtobufCMessage *message =
                protobuf_c_message_unpack(input, &arena.allocator, len_bytes - 1, bytes + 1);
        if (message) {
                size_t packed_bytes = protobuf_c_message_get_packed_size(message);
                uint8_t *packed = malloc(packed_bytes + 1);
                if (packed && protobuf_c_message_pack(message, packed) != packed_bytes)
                        abort();
                struct error *again = packed ? wire_check(input, packed, packed_bytes) : NULL;
                if (again && error_code_of(again) != ERROR_RESOURCE_EXHAUSTED)
                        abort();
                error_free(again);
                free(packed);
        }
        arena_done(&arena);
        return 0;
}
