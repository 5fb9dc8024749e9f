#include "cri/batches.h"
#include <string.h>

/* Tag and length of an item: six bytes at most. */
#define ITEM_OVERHEAD_BYTES 6

void batches_done(struct batches *batches)
{
        for (size_t i = 0; i < batches->n; i++)
                buf_done(&batches->parts[i]);
        free(batches->parts);
        *batches = BATCHES_NONE;
}

/* Room for one more, of len_bytes; *out points to where they go. */
static struct error *part_add(struct batches *batches, size_t len_bytes, char **out)
{
        if (batches->n == batches->size) {
                batches->size = batches->size ? 2 * batches->size : 8;
                batches->parts = grow_array(batches->parts, batches->size, sizeof(*batches->parts));
        }
        struct buf *part = &batches->parts[batches->n++];
        buf_init(part, SERVER_MESSAGE_MAX_BYTES);
        TRY(buf_reserve(part, len_bytes, out));
        buf_added(part, len_bytes);
        return NULL;
}

/* The list of an answer: its only field. */
struct list {
        const ProtobufCMessage *answer;
        size_t n, *n_at; /* where n is in a copy of the answer */
        ProtobufCMessage **items, ***items_at;
        ProtobufCMessage *copy;
};

static struct error *list_open(const ProtobufCMessage *answer, struct list *out)
{
        const ProtobufCFieldDescriptor *field = answer->descriptor->fields;
        if (answer->descriptor->n_fields != 1 || field->label != PROTOBUF_C_LABEL_REPEATED ||
            field->type != PROTOBUF_C_TYPE_MESSAGE)
                return error_new(ERROR_INTERNAL, "%s is no list", answer->descriptor->name);
        out->answer = answer;
        out->copy = new_zeroed(1, answer->descriptor->sizeof_message);
        memcpy(out->copy, answer, answer->descriptor->sizeof_message);
        out->n_at = (size_t *) (void *) ((char *) out->copy + field->quantifier_offset);
        out->items_at = (ProtobufCMessage ***) (void *) ((char *) out->copy + field->offset);
        out->n = *out->n_at;
        out->items = *out->items_at;
        return NULL;
}

/* How many items from `first` on make a batch. */
static size_t batch_of(const struct list *list, size_t first)
{
        size_t n = 0, bytes = 0;
        while (first + n < list->n) {
                bytes += protobuf_c_message_get_packed_size(list->items[first + n]) + ITEM_OVERHEAD_BYTES;
                if (n && bytes > BATCH_BYTES)
                        break;
                n++;
        }
        return n;
}

struct error *batches_take(void *context, const ProtobufCMessage *answer)
{
        struct batches *batches = context;
        struct list list = { 0 };
        struct error *e = NULL;
        TRY(list_open(answer, &list));
        for (size_t first = 0, n = 0; first < list.n && !e; first += n) {
                char *bytes = NULL;
                n = batch_of(&list, first);
                *list.n_at = n;
                *list.items_at = list.items + first;
                e = part_add(batches, protobuf_c_message_get_packed_size(list.copy), &bytes);
                if (!e)
                        (void) protobuf_c_message_pack(list.copy, (uint8_t *) bytes);
        }
        free(list.copy);
        return e;
}

struct error *batches_send(struct batches *batches, struct rpc_call *call)
{
        for (size_t i = 0; i < batches->n; i++) {
                bool is_last = i + 1 == batches->n;
                TRY((is_last ? rpc_send_last_packed : rpc_send_packed)(call, batches->parts[i].bytes,
                                                                       batches->parts[i].len_bytes));
                buf_done(&batches->parts[i]);
        }
        return NULL;
}
