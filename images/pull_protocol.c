#include "images/pull_protocol.h"
#include "base/buf.h"
#include "base/socket.h"
#include <string.h>

struct error *pull_send(int fd, const struct pull_message *message, const char *const *texts,
                        const void *data, size_t data_bytes, const int *fds, size_t n_fds,
                        const struct wait *wait)
{
        struct buf bytes;
        struct pull_message head = *message;
        head.version = PULL_VERSION;
        buf_init(&bytes, sizeof(head) + PULL_DATA_MAX);
        struct error *e = buf_append(&bytes, &head, sizeof(head));
        for (uint32_t i = 0; i < head.n_texts && !e; i++)
                e = buf_append(&bytes, texts[i], strlen(texts[i]) + 1);
        if (!e)
                e = buf_append(&bytes, data, data_bytes);
        if (!e)
                e = socket_send(fd, bytes.bytes, bytes.len_bytes, fds, n_fds, wait);
        buf_done(&bytes);
        return e;
}

struct pull_received *pull_received_new(void)
{
        struct pull_received *received = NEW(struct pull_received);
        for (size_t i = 0; i < PULL_FDS_MAX; i++)
                received->fds[i] = -1;
        return received;
}

static void close_all(struct pull_received *received)
{
        for (size_t i = 0; i < PULL_FDS_MAX; i++)
                closep(&received->fds[i]);
}

void pull_received_free(struct pull_received *received)
{
        if (!received)
                return;
        close_all(received);
        free(received);
}

static struct error *take_apart(struct pull_received *into)
{
        if (into->len_bytes < sizeof(into->message))
                return error_new(ERROR_INTERNAL, "a message of %zu bytes", into->len_bytes);
        memcpy(&into->message, into->bytes, sizeof(into->message));
        if (into->message.version != PULL_VERSION)
                return error_new(ERROR_INTERNAL, "a message of version %u", into->message.version);
        if (into->message.n_texts > PULL_TEXTS_MAX)
                return error_new(ERROR_INTERNAL, "a message of %u texts", into->message.n_texts);
        const char *at = into->bytes + sizeof(into->message), *end = into->bytes + into->len_bytes;
        for (uint32_t i = 0; i < into->message.n_texts; i++) {
                const char *nul = memchr(at, '\0', (size_t) (end - at));
                if (!nul)
                        return error_new(ERROR_INTERNAL, "a message whose text has no end");
                into->texts[i] = at;
                at = nul + 1;
        }
        into->data = at;
        into->data_bytes = (size_t) (end - at);
        return NULL;
}

struct error *pull_receive(int fd, struct pull_received *into, const struct wait *wait)
{
        int fds[PULL_FDS_MAX];
        size_t n_fds = LENGTH(fds);
        close_all(into);
        TRY(socket_receive(fd, into->bytes, sizeof(into->bytes), &into->len_bytes, fds, &n_fds, wait));
        for (size_t i = 0; i < n_fds; i++)
                into->fds[i] = fds[i];
        return into->len_bytes ? take_apart(into) : NULL;
}
