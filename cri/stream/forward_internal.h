/* forward_internal.h - what forward.c (a session of port-forward) and forward_pair.c (one connection of it) share. Threads: one. */
#pragma once
#include "cri/stream/forward.h"
#include "cri/stream/sink.h"
#include "cri/stream/watch.h"

enum pair_state {
        PAIR_HALF,       /* one of its two streams is not there */
        PAIR_READY,      /* to be dialed */
        PAIR_DIALING,    /* the supervisor is asked */
        PAIR_CONNECTING, /* the socket is there, and connects */
        PAIR_OPEN,       /* bytes go both ways */
        PAIR_DONE,       /* to be freed */
};

struct forward;

/* A client's connection: a stream for its bytes, one for what goes wrong. */
struct pair {
        struct forward *forward;
        struct pair *next;
        enum pair_state state;
        char request[24]; /* what binds its streams together */
        uint16_t port;
        struct stream *data, *error; /* NULL: not there yet, or no more */
        uint32_t dial_id;
        bool is_second_try; /* over IPv6 */
        int first_errnum;   /* why the first failed */
        struct sink to;     /* the pod; owns the socket */
        struct outlet from; /* the same socket */
        struct watch watch;
        bool counts_fd; /* the server has one counted for it, there or to come */
        bool pod_ended, client_ended, client_end_told;
        int64_t half_by_ns;
};

struct forward {
        struct purpose purpose;
        struct pair *pairs;
        size_t n_dialing;
        uint32_t last_dial_id;
        struct watch channel; /* owns its descriptor */
        bool channel_ended;   /* or never was: nothing more can be dialed */
        bool was_told;        /* a pair has been told so, or had the time to come and hear it */
        char *why;            /* it never was; NULL: the pod has ended */
        struct timer timer;   /* of pairs that are half, and of was_told */
};

/* A new pair, in the session's list. */
struct pair *pair_new(struct forward *f, const char *request);

/* Closes its socket, and forgets its streams. */
void pair_free(struct pair *pair);

void pair_dial(struct pair *pair); /* asks the supervisor for its connection */

/* The supervisor's answer: a socket, which is taken, or errnum. */
void pair_dialed(struct pair *pair, int *fd, int errnum);

/* What the client does with its data stream. */
void pair_put(struct pair *pair, const uint8_t *bytes, size_t len_bytes);
void pair_end_input(struct pair *pair);
void pair_abort(struct pair *pair);

/* It cannot be: says why on its error stream, and is done. */
void pair_fail(struct pair *pair, const char *why);

/* Watches what can go on now. */
void pair_resume(struct pair *pair);
