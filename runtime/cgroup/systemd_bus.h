/* systemd_bus.h - calls to systemd, private to cgroup/.
 *
 * Over /run/systemd/private, which root may use and which needs no dbus-daemon. One connection, made with the first call
 * and closed with the last that is under way: systemd tells its direct peers of every change of every unit, and would
 * store it for one that does not read. sd-bus is not made for threads: all of it is used under one lock, which nobody holds
 * while he waits. Whoever waits reads for all, and wakes those whose answers he has read.
 *
 * libsystemd is loaded when it is first needed: with the libraries that it wants it costs half a megabyte (measured),
 * which a node without systemd is spared.
 *
 * Threads: any. Source: org.freedesktop.systemd1(5), sd-bus(3). */
#pragma once
#include "base/error.h"
#include "base/wait.h"
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct systemd;

/* Loads the library; connects to nobody. Errors: FAILED_PRECONDITION when it is not there. */
MUST_CHECK struct error *systemd_open(struct systemd **out);
void systemd_free(struct systemd *systemd); /* no call is under way */
DEFINE_FREEP(struct systemd, systemd_free)

bool systemd_is_pid_1(void);   /* the host was booted with it */
bool systemd_has_socket(void); /* it, or what was mounted there, can be asked */

/* What systemd said no for, where that matters. */
enum systemd_refusal {
        SYSTEMD_REFUSAL_NONE,
        SYSTEMD_REFUSAL_NO_UNIT,
        SYSTEMD_REFUSAL_UNIT_EXISTS,
        SYSTEMD_REFUSAL_OTHER
};

/* One call; begun and finished by the same thread. */
struct systemd_call {
        enum systemd_refusal refusal; /* after the end */
        bool failed_job;              /* after the end: it was taken on, and then did not get done */
        bool wants_job, is_done;
        struct error *error;
        char *job; /* its path, from the answer on */
        void *slot;
        int done_fd;
        struct systemd_call *next;
        struct systemd *systemd;
};

/* A scope with a process in it. */
struct systemd_scope {
        const char *unit, *description, *slice; /* names */
        pid_t pid;
        uint64_t cpu_weight; /* 0: not said */
};

/* Send a call. What was begun (no error) must be finished. Calls reach systemd in the order in which they are begun. Errors:
 * UNAVAILABLE, with error_errnum_of, when there is no connection. */
MUST_CHECK struct error *systemd_begin_scope(struct systemd *systemd, const struct systemd_scope *scope,
                                             struct systemd_call *call);
MUST_CHECK struct error *systemd_begin_stop(struct systemd *systemd, const char *unit,
                                            struct systemd_call *call);
/* Sets a unit's CPUWeight, until it ends. SYSTEMD_WEIGHT_OWN: as if none had been set. */
#define SYSTEMD_WEIGHT_OWN UINT64_MAX
MUST_CHECK struct error *systemd_begin_weight(struct systemd *systemd, const char *unit, uint64_t cpu_weight,
                                              struct systemd_call *call);
MUST_CHECK struct error *systemd_begin_reset_failed(struct systemd *systemd, const char *unit,
                                                    struct systemd_call *call);

/* Waits for the answer and for the end of the job that it names. Errors: FAILED_PRECONDITION with systemd's words, see
 * refusal and failed_job; UNAVAILABLE when it does not answer in time, or with error_errnum_of when the connection is lost:
 * then it may have done what it was asked. */
MUST_CHECK struct error *systemd_finish(struct systemd_call *call, const struct wait *wait);

/* Whether it is worth to try again: systemd is about to come back, as in a daemon-reexec. */
bool systemd_lost(const struct error *e);
