/* fake_runtime.h - a handler behind runtime/handler.h that runs nothing: it notes what it is asked, and what happens is what
 * the test says. So the tests of pods see the lifecycle without a process, and can end, lose or refuse anything.
 *
 * Its supervisors live in this process and outlive struct runtime, as skiff-pod outlives skiffd, until they are stopped or
 * fake_reset. Threads: any. */
#pragma once
#include "runtime/handler.h"

void fake_reset(void); /* no supervisors, no refusals */

/* The calls that can be refused. */
enum fake_call {
        FAKE_POD_START,
        FAKE_POD_COMMIT,
        FAKE_POD_ATTACH,
        FAKE_POD_STOP,
        FAKE_START,
        FAKE_SIGNAL,
        FAKE_SESSION,
        FAKE_CALLS
};

/* The next call of this kind fails with UNAVAILABLE "refused". */
void fake_refuse(enum fake_call call);

/* A container's main process ends. One that is signalled with SIGKILL, or with another signal that it does not ignore, ends
 * by itself with 128 + the signal. */
void fake_exit(const char *container_id, int exit_code);
void fake_ignore_signals(const char *container_id); /* all but SIGKILL */

/* The same, but the event is not told: it is in the exits alone. */
void fake_exit_unseen(const char *container_id, int exit_code);

/* The connection of whoever reads events is cut off, and what was on its way is lost; the supervisor lives. */
void fake_cut(const char *pod_id);

/* The supervisor dies, and what it ran with it. */
void fake_lose(const char *pod_id);

/* What a container that has been started was started with: borrowed, valid until it is removed. NULL: not started. */
const struct container_spec *fake_spec(const char *container_id);
int fake_last_signal(const char *container_id); /* 0: none */
size_t fake_supervisors(void);

/* The session that was opened last, once; its channel is an eventfd. */
enum fake_session_kind { FAKE_SESSION_NONE, FAKE_SESSION_EXEC, FAKE_SESSION_ATTACH, FAKE_SESSION_FORWARD };
struct fake_session {
        enum fake_session_kind kind;
        char container_id[65]; /* a forward: the pod's */
        struct session_streams streams;
        char command[64], term[64]; /* an exec's argv[0] and TERM; "": none */
};
struct fake_session fake_session(void);
