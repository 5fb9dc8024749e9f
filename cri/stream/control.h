/* control.h - what skiffd and skiff-stream say to each other, over one SOCK_SEQPACKET socket.
 *
 *     skiffd                              skiff-stream
 *     CONTROL_START                  ->                     once, first
 *     CONTROL_TOKEN                  ->                     before the URL is told to anyone
 *                                    <-   CONTROL_OPEN      a client has come with it, and with all the streams it needs
 *     CONTROL_OPENED, CONTROL_FAILED ->
 *
 * skiff-stream is started by the skiffd that it speaks with, of the same build: there are no versions. skiffd trusts it with
 * nothing but what it hands over: a CONTROL_OPEN counts once, and only for a token that skiffd gave and that is not older
 * than CONTROL_TOKEN_MS. At the end of the socket (skiffd has died, or is stopping) skiff-stream gives up its listener, its
 * tokens and whoever has no session yet, serves its sessions to their ends, and ends.
 *
 * Threads: one that reads; control_send from any. */
#pragma once
#include "base/error.h"
#include "base/session.h"
#include "base/wait.h"

/* Descriptors that skiff-stream is started with; its argument is the uid that it becomes. */
enum { CONTROL_FD_SOCKET = 3, CONTROL_FD_LISTENER = 4 };

#define CONTROL_TOKEN_MS 60000
#define CONTROL_TOKENS_MAX 1000
#define CONTROL_TOKEN_CHARS 32 /* 128 bits as hex digits */
#define CONTROL_PORTS_MAX 64
#define CONTROL_TEXT_MAX (64 << 10)

enum control_type {
        CONTROL_START =
                1, /* descriptors: none, or for TLS memfds of PEM: certificate, key, and (or not) the CA of clients */
        CONTROL_TOKEN,  /* token, kind, streams, ports; text: the command as Go prints it, "[sh -c exit 7]" */
        CONTROL_OPEN,   /* token; streams: rows and columns alone count */
        CONTROL_OPENED, /* token; descriptors: channel, then in, out, err where has_... says so */
        CONTROL_FAILED, /* token; text: why, for the client */
};

enum control_kind { CONTROL_EXEC = 1, CONTROL_ATTACH, CONTROL_FORWARD };

struct control_message {
        uint32_t type;
        uint32_t kind;
        char token[CONTROL_TOKEN_CHARS + 1];
        struct session_streams streams;
        bool has_in, has_out, has_err;
        uint32_t n_ports;
        uint16_t ports[CONTROL_PORTS_MAX]; /* of a port-forward, as the CRI call has them; most name none */
};

#define CONTROL_FDS_MAX 4

/* Sends it. text: NULL for none; what is over CONTROL_TEXT_MAX is cut. fds stay the caller's. */
MUST_CHECK struct error *control_send(int fd, const struct control_message *message, const char *text,
                                      const int *fds, size_t n_fds, const struct wait *wait);

struct control_received {
        struct control_message message;
        char text[CONTROL_TEXT_MAX + 1];
        int fds[CONTROL_FDS_MAX]; /* -1 where there is none; what is not taken is closed by control_received_done */
        size_t n_fds;
        bool ended; /* the other side is gone: nothing else is set */
};

/* Receives one. Errors: INTERNAL for what is no message of this protocol; DEADLINE_EXCEEDED, CANCELLED. */
MUST_CHECK struct error *control_receive(int fd, struct control_received *out, const struct wait *wait);
void control_received_done(struct control_received *received); /* closes what was not taken. For _cleanup_ */
