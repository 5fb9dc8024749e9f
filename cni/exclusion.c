#include "cni/exclusion.h"
#include "base/clock.h"
#include <errno.h>
#include <poll.h>
#include <stdint.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define NS_PER_S INT64_C(1000000000)

struct error *exclusion_init(struct exclusion *exclusion)
{
        pthread_condattr_t monotonic;
        *exclusion = (struct exclusion){ .open_fd = eventfd(1, EFD_CLOEXEC | EFD_NONBLOCK) };
        (void) pthread_mutex_init(&exclusion->lock, NULL);
        (void) pthread_condattr_init(&monotonic);
        (void) pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
        (void) pthread_cond_init(&exclusion->left, &monotonic);
        (void) pthread_condattr_destroy(&monotonic);
        return exclusion->open_fd < 0 ? error_errno(errno, "make an eventfd") : NULL;
}

void exclusion_done(struct exclusion *exclusion)
{
        closep(&exclusion->open_fd);
        (void) pthread_cond_destroy(&exclusion->left);
        (void) pthread_mutex_destroy(&exclusion->lock);
}

struct error *exclusion_enter(struct exclusion *exclusion, const struct wait *wait)
{
        (void) pthread_mutex_lock(&exclusion->lock);
        while (exclusion->alone) {
                (void) pthread_mutex_unlock(&exclusion->lock);
                TRY(wait_fd(wait, exclusion->open_fd, POLLIN, "wait for the end of a collection"));
                (void) pthread_mutex_lock(&exclusion->lock);
        }
        exclusion->n_in++;
        (void) pthread_mutex_unlock(&exclusion->lock);
        return NULL;
}

void exclusion_leave(struct exclusion *exclusion)
{
        (void) pthread_mutex_lock(&exclusion->lock);
        if (--exclusion->n_in == 0)
                (void) pthread_cond_broadcast(&exclusion->left);
        (void) pthread_mutex_unlock(&exclusion->lock);
}

struct error *exclusion_begin(struct exclusion *exclusion, int64_t patience_ms)
{
        int64_t until_ns = clock_monotonic_ns() + patience_ms * 1000000;
        const struct timespec until = { .tv_sec = until_ns / NS_PER_S, .tv_nsec = until_ns % NS_PER_S };
        uint64_t count;
        int late = 0;
        (void) pthread_mutex_lock(&exclusion->lock);
        bool is_first = !exclusion->wanted && !exclusion->alone;
        if (is_first)
                exclusion->wanted = true;
        while (is_first && exclusion->n_in && !late)
                late = pthread_cond_timedwait(&exclusion->left, &exclusion->lock, &until);
        if (is_first)
                exclusion->wanted = false;
        bool alone = is_first && exclusion->n_in == 0;
        if (alone) {
                exclusion->alone = true;
                (void) !read(exclusion->open_fd, &count, sizeof(count)); /* it is 1 while nobody is alone */
        }
        (void) pthread_mutex_unlock(&exclusion->lock);
        return alone ? NULL : error_new(ERROR_UNAVAILABLE, "pods' networks are being made or taken away");
}

void exclusion_end(struct exclusion *exclusion)
{
        const uint64_t one = 1;
        (void) pthread_mutex_lock(&exclusion->lock);
        exclusion->alone = false;
        (void) !write(exclusion->open_fd, &one, sizeof(one)); /* fails only when the counter is full */
        (void) pthread_mutex_unlock(&exclusion->lock);
}
