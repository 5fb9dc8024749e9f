/* streamer.h - skiffd's end of skiff-stream: starts it, keeps it running, gives it tokens, opens what its clients come for.
 *
 * The listener is skiffd's, so a skiff-stream that dies is replaced behind the same address; its sessions end with it, and
 * nothing else does. A skiff-stream whose skiffd has gone serves its sessions to their ends on its own.
 *
 * Threads: any, after streamer_open. */
#pragma once
#include "base/error.h"
#include "base/pool.h"
#include "cri/stream/control.h"
#include <protobuf-c/protobuf-c.h>

struct streamer;

struct streamer_config {
        const char *program_dir;
        const char *address; /* numeric, "127.0.0.1" or "::1"; not only of this host: see skiff.toml */
        uint16_t port;       /* 0: one that the kernel chooses */
        uint32_t uid;        /* that skiff-stream becomes */
        /* PEM files; "" for none. A certificate with its key makes it TLS, a CA asks clients for certificates of it. */
        const char *tls_cert, *tls_key, *tls_ca;
        struct pool *pool; /* outlives the streamer, as all of this does */

        /* Opens what request asks for; called once a client is there, on a thread of the pool. *out: the client's end. */
        struct error *(*open)(void *context, enum control_kind kind, const ProtobufCMessage *request,
                              uint16_t rows, uint16_t columns, const struct wait *wait,
                              struct session_fds *out);
        void *context;
};

/* Listens, and starts skiff-stream. What keeps it from either is logged and tried again now and then: pods run without it.
 * Errors: INVALID_ARGUMENT for an address that is none. */
MUST_CHECK struct error *streamer_open(const struct streamer_config *config, struct streamer **out);

/* Gives it up: it serves its sessions to their ends. Waits for what is being opened, which is cancelled. NULL is fine. */
void streamer_free(struct streamer *streamer);
DEFINE_FREEP(struct streamer, streamer_free)

/* A URL at which a client may have what request asks for, once, for a minute; the caller's. described: the command as Go
 * prints it, or an id, for what the client is told at the end. Errors: RESOURCE_EXHAUSTED when too many are open; UNAVAILABLE
 * while skiff-stream is not there. */
MUST_CHECK struct error *streamer_offer(struct streamer *streamer, enum control_kind kind,
                                        const ProtobufCMessage *request, const struct control_message *token,
                                        const char *described, char **url);
