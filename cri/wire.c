#include "cri/wire.h"
#include "base/utf8.h"
#include <stdbool.h>
#include <stdint.h>

enum wire_type { WIRE_VARINT, WIRE_64, WIRE_BYTES, WIRE_GROUP, WIRE_GROUP_END, WIRE_32 };

struct cursor {
        const uint8_t *at, *end;
};

struct walk {
        size_t elements_left;
};

static struct error *malformed(const char *what)
{
        return error_new(ERROR_INVALID_ARGUMENT, "malformed message: %s", what);
}

static struct error *take_elements(struct walk *walk, size_t n)
{
        if (n > walk->elements_left)
                return error_new(ERROR_RESOURCE_EXHAUSTED, "message has more than %d elements",
                                 WIRE_ELEMENTS_MAX);
        walk->elements_left -= n;
        return NULL;
}

static struct error *read_varint(struct cursor *c, uint64_t *out)
{
        uint64_t value = 0;
        for (unsigned shift = 0; shift < 70; shift += 7) {
                if (c->at == c->end)
                        return malformed("it ends inside a number");
                uint8_t byte = *c->at++;
                if (shift < 64)
                        value |= (uint64_t) (byte & 0x7f) << shift;
                if (!(byte & 0x80)) {
                        *out = value;
                        return NULL;
                }
        }
        return malformed("a number is too long");
}

static struct error *skip(struct cursor *c, size_t n_bytes)
{
        if ((size_t) (c->end - c->at) < n_bytes)
                return malformed("it ends inside a field");
        c->at += n_bytes;
        return NULL;
}

static bool is_packable(const ProtobufCFieldDescriptor *field)
{
        return field->label == PROTOBUF_C_LABEL_REPEATED && field->type != PROTOBUF_C_TYPE_STRING &&
               field->type != PROTOBUF_C_TYPE_BYTES && field->type != PROTOBUF_C_TYPE_MESSAGE;
}

/* Elements of a packed array: a varint ends with its first byte below 0x80, and the fixed sizes have at least 4 bytes,
 * for which counting such bytes is no less than a fair guess. */
static size_t count_packed(struct cursor c)
{
        size_t n = 0;
        for (; c.at < c.end; c.at++)
                n += !(*c.at & 0x80);
        return n;
}

static struct error *check_message(struct walk *walk, const ProtobufCMessageDescriptor *message,
                                   struct cursor c, unsigned depth);

static struct error *check_bytes(struct walk *walk, const ProtobufCFieldDescriptor *field, struct cursor c,
                                 unsigned depth)
{
        if (!field)
                return NULL; /* unknown: kept as it is */
        if (field->type == PROTOBUF_C_TYPE_STRING && !utf8_is_text(c.at, (size_t) (c.end - c.at)))
                return error_new(ERROR_INVALID_ARGUMENT, "%s is not valid UTF-8, or has a NUL in it",
                                 field->name);
        if (field->type == PROTOBUF_C_TYPE_MESSAGE)
                TRY_WRAP(check_message(walk, field->descriptor, c, depth + 1), "%s", field->name);
        if (is_packable(field))
                TRY(take_elements(walk, count_packed(c)));
        return NULL;
}

static struct error *check_field(struct walk *walk, const ProtobufCFieldDescriptor *field,
                                 enum wire_type type, struct cursor *c, unsigned depth)
{
        uint64_t value = 0;
        switch (type) {
        case WIRE_VARINT:
                return read_varint(c, &value);
        case WIRE_64:
                return skip(c, 8);
        case WIRE_32:
                return skip(c, 4);
        case WIRE_BYTES: {
                TRY(read_varint(c, &value));
                struct cursor inside = { .at = c->at };
                TRY(skip(c, value > SIZE_MAX ? SIZE_MAX : (size_t) value));
                inside.end = c->at;
                return check_bytes(walk, field, inside, depth);
        }
        case WIRE_GROUP:
        case WIRE_GROUP_END:
        default:
                return malformed("a group, or no field type at all");
        }
}

static struct error *check_message(struct walk *walk, const ProtobufCMessageDescriptor *message,
                                   struct cursor c, unsigned depth)
{
        if (depth > WIRE_DEPTH_MAX)
                return error_new(ERROR_INVALID_ARGUMENT, "nested deeper than %d", WIRE_DEPTH_MAX);
        while (c.at < c.end) {
                uint64_t key = 0;
                TRY(read_varint(&c, &key));
                if (key >> 3 == 0 || key >> 3 > 0x1fffffff)
                        return malformed("a field number out of range");
                TRY(take_elements(walk, 1));
                const ProtobufCFieldDescriptor *field =
                        protobuf_c_message_descriptor_get_field(message, (unsigned) (key >> 3));
                TRY(check_field(walk, field, (enum wire_type)(key & 7), &c, depth));
        }
        return NULL;
}

struct error *wire_check(const ProtobufCMessageDescriptor *message, const void *bytes, size_t len_bytes)
{
        static const uint8_t nothing[1];
        const uint8_t *start = bytes ? bytes : nothing;
        struct walk walk = { .elements_left = WIRE_ELEMENTS_MAX };
        return check_message(&walk, message, (struct cursor){ start, start + len_bytes }, 1);
}
