#include "cri/client/message_json.h"
#include "base/json.h"
#include "base/utf8.h"
#include <inttypes.h>
#include <stdbool.h>
#include <string.h>

/* Every member of a generated struct lies at the offset that its descriptor says. */
static const void *member(const ProtobufCMessage *message, unsigned offset)
{
        return (const char *) message + offset;
}

static struct error *put_base64(const ProtobufCBinaryData *data, struct buf *out)
{
        static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        for (size_t i = 0; i < data->len; i += 3) {
                size_t left = data->len - i;
                uint32_t bits = (uint32_t) data->data[i] << 16 |
                                (left > 1 ? (uint32_t) data->data[i + 1] << 8 : 0) |
                                (left > 2 ? data->data[i + 2] : 0);
                char four[4] = { digits[bits >> 18], digits[bits >> 12 & 63],
                                 left > 1 ? digits[bits >> 6 & 63] : '=',
                                 left > 2 ? digits[bits & 63] : '=' };
                TRY(buf_append(out, four, sizeof(four)));
        }
        return NULL;
}

static struct error *put_bytes(const ProtobufCBinaryData *data, struct buf *out)
{
        if (!data->data) /* then there are none */
                return buf_append_text(out, "\"\"");
        if (utf8_is_text(data->data, data->len)) {
                _cleanup_(freep) char *text = dup_bytes(data->data, data->len);
                return json_put_text(out, text);
        }
        TRY(buf_append_text(out, "\""));
        TRY(put_base64(data, out));
        return buf_append_text(out, "\"");
}

static struct error *put_enum(const ProtobufCEnumDescriptor *descriptor, int value, struct buf *out)
{
        const ProtobufCEnumValue *known = protobuf_c_enum_descriptor_get_value(descriptor, value);
        return known ? json_put_text(out, known->name) : buf_append_format(out, "%d", value);
}

/* One value at its place in the struct, or in the array of a repeated field. */
static struct error *put_value(const ProtobufCFieldDescriptor *field, const void *at, struct buf *out)
{
        switch (field->type) {
        case PROTOBUF_C_TYPE_STRING:
                return json_put_text(out, *(const char *const *) at);
        case PROTOBUF_C_TYPE_BYTES:
                return put_bytes(at, out);
        case PROTOBUF_C_TYPE_MESSAGE:
                return message_json(*(const ProtobufCMessage *const *) at, out);
        case PROTOBUF_C_TYPE_ENUM:
                return put_enum(field->descriptor, *(const int *) at, out);
        case PROTOBUF_C_TYPE_BOOL:
                return buf_append_text(out, *(const protobuf_c_boolean *) at ? "true" : "false");
        case PROTOBUF_C_TYPE_DOUBLE:
                return buf_append_format(out, "%.17g", *(const double *) at);
        case PROTOBUF_C_TYPE_FLOAT:
                return buf_append_format(out, "%.9g", (double) *(const float *) at);
        case PROTOBUF_C_TYPE_UINT32:
        case PROTOBUF_C_TYPE_FIXED32:
                return buf_append_format(out, "%" PRIu32, *(const uint32_t *) at);
        case PROTOBUF_C_TYPE_UINT64:
        case PROTOBUF_C_TYPE_FIXED64:
                return buf_append_format(out, "%" PRIu64, *(const uint64_t *) at);
        case PROTOBUF_C_TYPE_INT64:
        case PROTOBUF_C_TYPE_SINT64:
        case PROTOBUF_C_TYPE_SFIXED64:
                return buf_append_format(out, "%" PRId64, *(const int64_t *) at);
        default:
                return buf_append_format(out, "%" PRId32, *(const int32_t *) at);
        }
}

static size_t value_size(const ProtobufCFieldDescriptor *field)
{
        switch (field->type) {
        case PROTOBUF_C_TYPE_STRING:
        case PROTOBUF_C_TYPE_MESSAGE:
                return sizeof(void *);
        case PROTOBUF_C_TYPE_BYTES:
                return sizeof(ProtobufCBinaryData);
        case PROTOBUF_C_TYPE_BOOL:
                return sizeof(protobuf_c_boolean);
        case PROTOBUF_C_TYPE_INT64:
        case PROTOBUF_C_TYPE_UINT64:
        case PROTOBUF_C_TYPE_SINT64:
        case PROTOBUF_C_TYPE_FIXED64:
        case PROTOBUF_C_TYPE_SFIXED64:
        case PROTOBUF_C_TYPE_DOUBLE:
                return 8;
        default:
                return 4;
        }
}

static bool is_map(const ProtobufCFieldDescriptor *field)
{
        if (field->type != PROTOBUF_C_TYPE_MESSAGE)
                return false;
        const char *name = ((const ProtobufCMessageDescriptor *) field->descriptor)->short_name;
        size_t len = strlen(name);
        return len > 5 && strcmp(name + len - 5, "Entry") == 0;
}

/* Verbose answers carry JSON documents as strings in a map called info; people want them as JSON. */
static struct error *put_info(const char *text, struct buf *out)
{
        _cleanup_(json_freep) struct json *tree = NULL;
        struct error *e = json_parse(text, strlen(text), &tree);
        if (e) {
                error_ignore(e); /* plain text is fine too */
                return json_put_text(out, text);
        }
        return json_write(tree, out);
}

static struct error *put_map(const ProtobufCFieldDescriptor *field, ProtobufCMessage *const *entries,
                             size_t n, struct buf *out)
{
        const ProtobufCMessageDescriptor *entry = field->descriptor;
        bool info = strcmp(field->name, "info") == 0 && entry->fields[1].type == PROTOBUF_C_TYPE_STRING;
        TRY(buf_append_text(out, "{"));
        for (size_t i = 0; i < n; i++) {
                const void *value = member(entries[i], entry->fields[1].offset);
                TRY(buf_append_text(out, i ? "," : ""));
                TRY(put_value(&entry->fields[0], member(entries[i], entry->fields[0].offset), out));
                TRY(buf_append_text(out, ":"));
                TRY(info ? put_info(*(const char *const *) value, out)
                         : put_value(&entry->fields[1], value, out));
        }
        return buf_append_text(out, "}");
}

static struct error *put_repeated(const ProtobufCMessage *message, const ProtobufCFieldDescriptor *field,
                                  struct buf *out)
{
        size_t n = *(const size_t *) member(message, field->quantifier_offset);
        const char *values = *(const char *const *) member(message, field->offset);
        if (is_map(field))
                return put_map(field, (ProtobufCMessage *const *) (const void *) values, n, out);
        TRY(buf_append_text(out, "["));
        for (size_t i = 0; i < n; i++) {
                TRY(buf_append_text(out, i ? "," : ""));
                TRY(put_value(field, values + i * value_size(field), out));
        }
        return buf_append_text(out, "]");
}

/* Absent messages and empty strings say nothing. */
static bool is_absent(const ProtobufCMessage *message, const ProtobufCFieldDescriptor *field)
{
        if (field->label == PROTOBUF_C_LABEL_REPEATED)
                return *(const size_t *) member(message, field->quantifier_offset) == 0;
        if (field->type == PROTOBUF_C_TYPE_BYTES)
                return ((const ProtobufCBinaryData *) member(message, field->offset))->len == 0;
        if (field->type != PROTOBUF_C_TYPE_STRING && field->type != PROTOBUF_C_TYPE_MESSAGE)
                return false;
        const char *pointer = *(const char *const *) member(message, field->offset);
        return !pointer || (field->type == PROTOBUF_C_TYPE_STRING && !*pointer);
}

struct error *message_json(const ProtobufCMessage *message, struct buf *out)
{
        bool first = true;
        TRY(buf_append_text(out, "{"));
        for (unsigned i = 0; i < message->descriptor->n_fields; i++) {
                const ProtobufCFieldDescriptor *field = &message->descriptor->fields[i];
                if (is_absent(message, field))
                        continue;
                TRY(buf_append_format(out, "%s\"%s\":", first ? "" : ",", field->name));
                if (field->label == PROTOBUF_C_LABEL_REPEATED)
                        TRY(put_repeated(message, field, out));
                else
                        TRY(put_value(field, member(message, field->offset), out));
                first = false;
        }
        return buf_append_text(out, "}");
}
