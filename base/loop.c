#include "base/loop.h"
#include "base/clock.h"
#include <sys/epoll.h>

struct error *loop_open(struct loop *loop)
{
        loop->timers = NULL;
        loop->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
        return loop->epoll_fd < 0 ? error_errno(errno, "epoll_create1") : NULL;
}

struct error *loop_add(struct loop *loop, struct source *source, uint32_t events)
{
        struct epoll_event event = { .events = events, .data.ptr = source };
        if (epoll_ctl(loop->epoll_fd, EPOLL_CTL_ADD, source->fd, &event) < 0)
                return error_errno(errno, "epoll_ctl");
        return NULL;
}

struct error *loop_change(struct loop *loop, struct source *source, uint32_t events)
{
        struct epoll_event event = { .events = events, .data.ptr = source };
        if (epoll_ctl(loop->epoll_fd, EPOLL_CTL_MOD, source->fd, &event) < 0)
                return error_errno(errno, "epoll_ctl");
        return NULL;
}

void loop_remove(struct loop *loop, struct source *source)
{
        if (source->fd >= 0)
                (void) epoll_ctl(loop->epoll_fd, EPOLL_CTL_DEL, source->fd, NULL);
}

void timer_stop(struct loop *loop, struct timer *timer)
{
        for (struct timer **at = &loop->timers; timer->armed && *at; at = &(*at)->next) {
                if (*at == timer) {
                        *at = timer->next;
                        timer->armed = 0;
                        return;
                }
        }
}

void timer_arm(struct loop *loop, struct timer *timer, int64_t due_ns)
{
        timer_stop(loop, timer);
        struct timer **at = &loop->timers;
        while (*at && (*at)->due_ns <= due_ns)
                at = &(*at)->next;
        timer->due_ns = due_ns;
        timer->next = *at;
        timer->armed = 1;
        *at = timer;
}

static int next_due_ms(const struct loop *loop)
{
        if (!loop->timers)
                return -1;
        int64_t left_ns = loop->timers->due_ns - clock_monotonic_ns();
        if (left_ns <= 0)
                return 0;
        int64_t left_ms = (left_ns + 999999) / 1000000;
        return left_ms > 3600000 ? 3600000 : (int) left_ms;
}

struct error *loop_once(struct loop *loop)
{
        struct epoll_event event;
        int n = epoll_wait(loop->epoll_fd, &event, 1, next_due_ms(loop));
        if (n < 0 && errno != EINTR)
                return error_errno(errno, "epoll_wait");
        if (n > 0) {
                struct source *source = event.data.ptr;
                source->ready(source, event.events);
        }
        struct timer *timer = loop->timers;
        if (timer && timer->due_ns <= clock_monotonic_ns()) {
                timer_stop(loop, timer);
                timer->fire(timer);
        }
        return NULL;
}
