#include "pods/operation.h"
#include <poll.h>
#include <stdint.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>

/* A waiter, on its own stack, in the object's list until it was told. */
struct operation_turn {
        struct operation_turn *next;
        int told_fd; /* eventfd: the operation it waited for has ended */
        bool join;
        struct error *result; /* for a joiner */
};

static void poke(int fd)
{
        const uint64_t one = 1;
        /* An eventfd write fails only when the counter is full: then it is readable, which is all that is wanted. */
        if (write(fd, &one, sizeof(one)) < 0)
                return;
}

static bool is_end(enum operation_kind kind)
{
        return kind == OPERATION_STOP || kind == OPERATION_REMOVE;
}

static bool cancels_builds(enum operation_kind kind)
{
        return is_end(kind) || kind == OPERATION_ASK;
}

static bool is_build(enum operation_kind kind)
{
        return kind == OPERATION_MAKE || kind == OPERATION_START;
}

static void turn_leave(struct operation *operation, struct operation_turn *turn)
{
        for (struct operation_turn **at = &operation->waiting; *at; at = &(*at)->next)
                if (*at == turn) {
                        *at = turn->next;
                        return;
                }
}

/* Waits for the end of what is under way; called and returns with the lock held. */
static struct error *turn_wait(struct operation *operation, pthread_mutex_t *lock,
                               struct operation_turn *turn, const struct wait *wait)
{
        const struct wait for_ever = { .deadline_ns = WAIT_FOREVER, .cancel_fd = -1 };
        turn->told_fd = eventfd(0, EFD_CLOEXEC);
        if (turn->told_fd < 0)
                return error_errno(errno, "make an eventfd");
        turn->next = operation->waiting;
        operation->waiting = turn;
        (void) pthread_mutex_unlock(lock);
        struct error *e =
                wait_fd(wait ? wait : &for_ever, turn->told_fd, POLLIN, "wait for the operation before");
        (void) pthread_mutex_lock(lock);
        turn_leave(operation, turn);
        closep(&turn->told_fd);
        return e;
}

static struct error *begin_locked(struct operation *operation, pthread_mutex_t *lock,
                                  enum operation_kind kind, const struct wait *wait, bool *joined,
                                  struct error **result)
{
        while (operation->kind != OPERATION_NONE) {
                struct operation_turn turn = { .join = is_end(kind) && operation->kind == kind };
                if (cancels_builds(kind) && is_build(operation->kind) && operation->cancel_fd > 0)
                        poke(operation->cancel_fd);
                struct error *e = turn_wait(operation, lock, &turn, wait);
                if (e) {
                        error_free(turn.result);
                        return e;
                }
                if (turn.join) {
                        *joined = true;
                        *result = turn.result;
                        return NULL;
                }
        }
        operation->kind = kind;
        if (!is_build(kind))
                return NULL;
        int fd = eventfd(0, EFD_CLOEXEC);
        if (fd < 0) {
                operation->kind = OPERATION_NONE;
                return error_errno(errno, "make an eventfd");
        }
        operation->cancel_fd = fd;
        return NULL;
}

struct error *operation_begin(struct operation *operation, pthread_mutex_t *lock, enum operation_kind kind,
                              const struct wait *wait, bool *joined, struct error **result)
{
        *joined = false;
        *result = NULL;
        (void) pthread_mutex_lock(lock);
        struct error *e = begin_locked(operation, lock, kind, wait, joined, result);
        (void) pthread_mutex_unlock(lock);
        return e;
}

struct error *operation_wait(struct operation *operation, pthread_mutex_t *lock, const struct wait *caller,
                             struct wait *out)
{
        (void) pthread_mutex_lock(lock);
        int cancel_fd = operation->cancel_fd; /* ours until operation_end, which this same thread calls */
        (void) pthread_mutex_unlock(lock);
        /* One descriptor that is readable when either is: poll(2) takes an epoll. */
        _cleanup_(closep) int both_fd = epoll_create1(EPOLL_CLOEXEC);
        struct epoll_event readable = { .events = EPOLLIN };
        if (both_fd < 0 || epoll_ctl(both_fd, EPOLL_CTL_ADD, cancel_fd, &readable) < 0)
                return error_errno(errno, "watch for a cancel");
        if (caller->cancel_fd >= 0 && epoll_ctl(both_fd, EPOLL_CTL_ADD, caller->cancel_fd, &readable) < 0)
                return error_errno(errno, "watch for a cancel");
        *out = (struct wait){ .deadline_ns = caller->deadline_ns, .cancel_fd = TAKE_FD(both_fd) };
        return NULL;
}

void operation_wait_done(struct wait *wait)
{
        closep(&wait->cancel_fd);
}

void operation_end(struct operation *operation, pthread_mutex_t *lock, const struct error *result)
{
        (void) pthread_mutex_lock(lock);
        operation->kind = OPERATION_NONE;
        if (operation->cancel_fd > 0)
                closep(&operation->cancel_fd);
        operation->cancel_fd = 0;
        /* Out of the list with them: the next operation may end before they have run, and its result is not theirs. */
        struct operation_turn *told = TAKE(operation->waiting);
        for (struct operation_turn *turn = told; turn; turn = turn->next) {
                if (turn->join && result && !turn->result)
                        turn->result = error_new(error_code_of(result), "%s", error_message(result));
                poke(turn->told_fd);
        }
        (void) pthread_mutex_unlock(lock);
}
