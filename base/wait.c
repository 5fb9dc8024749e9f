#include "base/wait.h"
#include "base/clock.h"
#include <poll.h>

struct wait wait_of_ms(int64_t timeout_ms)
{
        return (struct wait){ .deadline_ns = clock_monotonic_ns() + timeout_ms * 1000000, .cancel_fd = -1 };
}

struct wait wait_within(const struct wait *w, int64_t timeout_ms)
{
        struct wait narrowed = *w;
        int64_t limit_ns = clock_monotonic_ns() + timeout_ms * 1000000;
        if (limit_ns < narrowed.deadline_ns)
                narrowed.deadline_ns = limit_ns;
        return narrowed;
}

int wait_left_ms(const struct wait *w)
{
        if (w->deadline_ns == WAIT_FOREVER)
                return -1;
        int64_t left_ns = w->deadline_ns - clock_monotonic_ns();
        if (left_ns <= 0)
                return 0;
        int64_t left_ms = (left_ns + 999999) / 1000000; /* rounded up: never wakes just before the deadline */
        return left_ms > 86400000 ? 86400000 : (int) left_ms;
}

/* One poll round; *ready is set when fd itself is. An fd of -1 is ignored by poll(2). */
static struct error *wait_round(const struct wait *w, int fd, short events, const char *what, bool *ready)
{
        struct pollfd fds[] = { { .fd = fd, .events = events }, { .fd = w->cancel_fd, .events = POLLIN } };
        int left_ms = wait_left_ms(w);
        int n = poll(fds, LENGTH(fds), left_ms);
        if (n < 0 && errno != EINTR)
                return error_errno(errno, "%s: poll", what);
        if (n > 0 && fds[0].revents) {
                *ready = true;
                return NULL;
        }
        if (n > 0 && fds[1].revents)
                return error_new(ERROR_CANCELLED, "%s: cancelled", what);
        if (left_ms == 0)
                return error_new(ERROR_DEADLINE_EXCEEDED, "%s: timed out", what);
        return NULL;
}

struct error *wait_fd(const struct wait *w, int fd, short events, const char *what)
{
        for (bool ready = false; !ready;)
                TRY(wait_round(w, fd, events, what, &ready));
        return NULL;
}

struct error *wait_check(const struct wait *w, const char *what)
{
        struct pollfd cancelled = { .fd = w->cancel_fd, .events = POLLIN };
        if (poll(&cancelled, 1, 0) > 0)
                return error_new(ERROR_CANCELLED, "%s: cancelled", what);
        if (wait_left_ms(w) == 0)
                return error_new(ERROR_DEADLINE_EXCEEDED, "%s: timed out", what);
        return NULL;
}

struct error *wait_delay(const struct wait *w, int64_t delay_ms, const char *what)
{
        TRY(wait_check(w, what));
        struct wait nap = wait_within(w, delay_ms);
        struct pollfd cancelled = { .fd = w->cancel_fd, .events = POLLIN };
        int n = poll(&cancelled, 1, wait_left_ms(&nap));
        if (n > 0)
                return error_new(ERROR_CANCELLED, "%s: cancelled", what);
        return NULL;
}
