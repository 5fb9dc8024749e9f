#include "cri/stream/watch.h"

void watch_init(struct watch *watch, int fd, void (*ready)(struct source *source, uint32_t events))
{
        *watch = (struct watch){ .source = { .fd = fd, .ready = ready } };
}

bool watch_set(struct loop *loop, struct watch *watch, uint32_t events)
{
        if (watch->source.fd < 0 || watch->events == events)
                return true;
        struct error *e = NULL;
        if (events == 0)
                loop_remove(loop, &watch->source);
        else if (watch->events == 0)
                e = loop_add(loop, &watch->source, events);
        else
                e = loop_change(loop, &watch->source, events);
        watch->events = e ? watch->events : events;
        bool done = !e;
        error_free(e); /* ENOMEM, or the user's limit of watches */
        return done;
}

void watch_stop(struct loop *loop, struct watch *watch)
{
        (void) watch_set(loop, watch, 0); /* taking out does not fail */
        watch->source.fd = -1;
}
