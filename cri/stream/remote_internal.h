/* remote_internal.h - what remote.c (a session's way) and remote_end.c (its end) share. Threads: one. */
#pragma once
#include "cri/stream/remote.h"
#include "cri/stream/resize.h"
#include "cri/stream/sink.h"
#include "cri/stream/watch.h"

/* In the order of WebSocket's channels. */
enum remote_role { ROLE_IN, ROLE_OUT, ROLE_ERR, ROLE_ERROR, ROLE_RESIZE, ROLES };

enum remote_state { REMOTE_STREAMS, REMOTE_SIZE, REMOTE_READY, REMOTE_OPENING, REMOTE_RUNNING, REMOTE_ENDED };

struct remote;

struct remote_out {
        struct remote *remote;
        enum remote_role role;
        struct outlet outlet; /* owns its descriptor; -1: none, or at its end */
        struct watch watch;
};

struct remote {
        struct purpose purpose;
        enum remote_state state;
        struct stream *streams[ROLES]; /* by role; NULL where there is none */
        uint16_t rows, columns;        /* of the terminal, as the client said last */
        uint16_t asked_rows, asked_columns;
        struct resize_reader resize;
        struct sink in;
        struct watch in_watch;
        bool in_ends; /* the client's input has: close it when all is written */
        struct remote_out outs[2];
        bool is_idle;         /* an exec's terminal, which nobody has open just now: it is looked at again */
        struct watch channel; /* owns its descriptor */
        bool channel_ended;
        bool is_told; /* how it ended */
        int exit_code;
        bool input_closed;   /* attach: with this client's input the container's has ended */
        int64_t quiet_by_ns; /* attach: when the wait for a quiet end is over */
        struct timer timer;
};

/* Of remote.c: its outer struct, its loop, its timer. */
struct remote *remote_of(struct purpose *purpose);
bool remote_has_terminal(
        const struct remote *r); /* an exec's, whose masters are here alone: closed, it is hung up */
struct loop *remote_loop(const struct remote *r);
void remote_arm(struct remote *r, int64_t in_ms);

/* Of remote_end.c. */
void remote_fail(struct remote *r, const char *why); /* nothing was started: says why, and ends */
void remote_read_channel(struct remote *r);          /* what the supervisor says */
void remote_drain(struct remote *r);                 /* once ENDED: sends on, and at last how it ended */
void remote_in_end(struct remote *r);                /* the input's descriptor is done with */
void remote_is_quiet(struct remote *r); /* attach: the time is over in which output was awaited */
void remote_out_pump(struct remote *r, struct remote_out *out, unsigned frames); /* sends at most so many */
void remote_out_end(struct remote *r,
                    struct remote_out *out); /* no more comes from there: tells the client */
void remote_out_close(struct remote *r, struct remote_out *out); /* only closes it */
struct stream *remote_lowest_out(const struct remote *r);        /* the first that we write to */
