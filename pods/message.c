#include "pods/message.h"
#include <string.h>

void message_pack(const ProtobufCMessage *message, void **out, size_t *len_bytes)
{
        size_t size_bytes = protobuf_c_message_get_packed_size(message);
        uint8_t *bytes = new_zeroed(1, size_bytes ? size_bytes : 1);
        *len_bytes = protobuf_c_message_pack(message, bytes);
        *out = bytes;
}

struct error *message_unpack(const ProtobufCMessageDescriptor *type, const void *bytes, size_t len_bytes,
                             void *out)
{
        ProtobufCMessage *message = protobuf_c_message_unpack(type, NULL, len_bytes, bytes);
        if (!message)
                return error_new(ERROR_DATA_LOSS, "the record's %s cannot be read", type->short_name);
        *(void **) out = message;
        return NULL;
}

void *message_copy(const void *message)
{
        const ProtobufCMessage *from = message;
        _cleanup_(freep) void *bytes = NULL;
        size_t len_bytes = 0;
        message_pack(from, &bytes, &len_bytes);
        void *copy = protobuf_c_message_unpack(from->descriptor, NULL, len_bytes, bytes);
        if (!copy)
                abort(); /* what was just packed cannot be unpacked: memory is out */
        return copy;
}

void message_free(void *message)
{
        if (message)
                protobuf_c_message_free_unpacked(message, NULL);
}

int message_equal(const ProtobufCMessage *a, const ProtobufCMessage *b)
{
        _cleanup_(freep) void *bytes_a = NULL;
        _cleanup_(freep) void *bytes_b = NULL;
        size_t len_a, len_b;
        message_pack(a, &bytes_a, &len_a);
        message_pack(b, &bytes_b, &len_b);
        return len_a == len_b && memcmp(bytes_a, bytes_b, len_a) == 0;
}
