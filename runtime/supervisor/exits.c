#include "runtime/supervisor/pod.h"
#include <sys/stat.h>

static int append(int fd, const struct runtime_exit *record)
{
        struct stat st;
        ssize_t n_bytes = write(fd, record, sizeof(*record));
        if (n_bytes == (ssize_t) sizeof(*record))
                return 0;
        if (n_bytes > 0 && fstat(fd, &st) == 0 && st.st_size >= n_bytes)
                (void) ftruncate(fd, st.st_size - n_bytes);
        return -1;
}

static void exit_send(struct connection *c, struct pod *pod, const struct runtime_exit *record)
{
        struct wire_writer w;
        wire_begin(&w, PROTOCOL_MESSAGE_MAX);
        wire_put_u32(&w, MESSAGE_EXIT);
        wire_put_bytes(&w, record, sizeof(*record));
        if (c)
                connection_send(c, &w, NULL, 0);
        else
                events_send(pod, &w);
        wire_done(&w);
}

static void write_what_is_left(struct pod *pod)
{
        while (pod->unwritten && append(pod->exits_fd, &pod->unwritten->record) == 0) {
                struct unwritten_exit *written = pod->unwritten;
                pod->unwritten = written->next;
                free(written);
        }
}

void exits_retry(struct connection *c)
{
        write_what_is_left(c->pod);
        for (const struct unwritten_exit *left = c->pod->unwritten; left; left = left->next)
                exit_send(c, NULL, &left->record);
}

void exit_record(struct pod *pod, const struct runtime_exit *record)
{
        write_what_is_left(pod);
        if (pod->unwritten || append(pod->exits_fd, record) < 0) {
                /* Without memory for it either, the event below is all there is. */
                struct unwritten_exit *kept = malloc(sizeof(*kept)), **at = &pod->unwritten;
                while (kept && *at)
                        at = &(*at)->next;
                if (kept)
                        *kept = (struct unwritten_exit){ .record = *record };
                if (kept)
                        *at = kept;
        }
        exit_send(NULL, pod, record);
}
