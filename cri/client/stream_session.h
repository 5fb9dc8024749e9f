/* stream_session.h - an exec or attach from our side: descriptors on one end, a connection's streams on the other.
 *
 * Input is read as the server takes it, output is received as our readers take it, so a slow one holds the other back and
 * nothing grows. With a terminal on the input of a session that has one, it is raw from stream_session_open to
 * stream_session_free; its size goes to the server before anything runs and at each change (signals.h, which must be
 * caught then).
 *
 * Threads: one. */
#pragma once
#include "base/buf.h"
#include "base/error.h"
#include "cri/client/detach_keys.h"
#include <poll.h>
#include <stdbool.h>

struct stream_session_options {
        const char *url;           /* from Exec or Attach, which were asked for the same four */
        bool in, out, err, tty;    /* err is never with tty */
        int in_fd, out_fd, err_fd; /* borrowed; may block */
        struct detach_keys *keys;  /* NULL: nothing detaches. Of a tty alone */
        bool hold;                 /* output is kept until stream_session_release */
};

struct stream_session;

/* Connects and opens the streams: upgrade.h's errors. */
MUST_CHECK struct error *stream_session_open(const struct stream_session_options *options,
                                             struct stream_session **out);
/* Leaves, if it has not ended: an exec's process gets SIGHUP, a container that was attached to goes on. */
void stream_session_free(struct stream_session *session);
DEFINE_FREEP(struct stream_session, stream_session_free)

/* Polls once for what the session waits for and for the caller's `more` (as poll(2)), and does what can be done. timeout_ms:
 * poll's. Errors: those of our descriptors, and what the server broke. */
MUST_CHECK struct error *stream_session_step(struct stream_session *session, struct pollfd *more,
                                             size_t n_more, int timeout_ms);

/* Whether it is over and all of its output is written. */
bool stream_session_ended(const struct stream_session *session);

/* What ended it early: the detach keys; a signal's number, or 0. */
bool stream_session_detached(const struct stream_session *session);
int stream_session_signal(const struct stream_session *session);

/* Of an ended one: stream_status_parse. */
MUST_CHECK struct error *stream_session_status(const struct stream_session *session, int *exit_code);

/* Steps until it has ended, was detached, or a signal came. */
MUST_CHECK struct error *stream_session_run(struct stream_session *session);

/* What is held, and whether no more of it has room; and from here on it is written. */
const struct buf *stream_session_held(const struct stream_session *session);
bool stream_session_held_full(const struct stream_session *session);
void stream_session_release(struct stream_session *session);
