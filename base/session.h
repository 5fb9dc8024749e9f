/* session.h - a session that somebody has with a container: its descriptors, and what goes over its channel.
 *
 * skiffd opens an exec, an attach or a port-forward with the pod's supervisor and hands the descriptors on to skiff-stream,
 * which serves the client. From then on skiffd is not in between: bytes go through the streams themselves, and what else
 * there is to say (an exit code, a new size, a port to dial) over the channel, a pair of SOCK_SEQPACKET sockets whose ends
 * are skiff-pod's and skiff-stream's. A message is one struct session_message. A kind that a reader does not know is passed
 * over: the two may be of different builds, since skiff-pod lives as long as its pod.
 *
 *     skiff-stream                              skiff-pod
 *                            <-   SESSION_EXIT       exec: the process has ended; what it wrote is in the streams
 *     SESSION_RESIZE         ->                      attach to a terminal (an exec's holder sets the size of its own)
 *     SESSION_STDIN_END      ->                      attach: this client's input has ended
 *                            <-   SESSION_STDIN_ENDED    attach: and the container's with it (stdin_once), so that it will end or
 *                                                    answer by itself. Who hears nothing takes an attach for over soon after
 *     SESSION_DIAL           ->                      port-forward: a connection in the pod's network
 *                            <-   SESSION_DIALED     the answer to each, in any order
 *
 * The end of the channel: to skiff-pod, that the client is gone (an exec's process gets SIGHUP, and SIGKILL with all that it
 * started SESSION_GRACE_MS later; an attach ends); to skiff-stream, that the container has ended (attach), that the pod has
 * (exec without SESSION_EXIT: all that ran is dead by SIGKILL; port-forward).
 *
 * Part of base_core. Threads: any, on different channels. */
#pragma once
#include "base/error.h"
#include <stdbool.h>
#include <stdint.h>

#define SESSION_GRACE_MS 2000

/* What a client asks for. */
struct session_streams {
        bool in, out, err; /* err is never with tty */
        bool tty;
        uint16_t rows, columns; /* of the terminal before anything runs; 0: not known */
};

/* What it gets: our ends, -1 where there is none. All are nonblocking and close-on-exec. */
struct session_fds {
        int channel_fd;
        int in_fd; /* writing end of a pipe; of an exec with a terminal its master */
        int out_fd; /* reading end of a pipe; of an exec with a terminal its master (a descriptor of its own) */
        int err_fd; /* reading end of a pipe */
};
#define SESSION_FDS_NONE ((struct session_fds){ -1, -1, -1, -1 })
void session_fds_close(struct session_fds *fds); /* those that are not -1; leaves -1. For _cleanup_ */

enum session_kind {
        SESSION_EXIT = 1,
        SESSION_RESIZE,
        SESSION_STDIN_END,
        SESSION_DIAL,
        SESSION_DIALED,
        SESSION_STDIN_ENDED,
};

struct session_message {
        uint32_t kind;
        uint32_t id;     /* DIAL: the asker's; DIALED: the same */
        int32_t value;   /* EXIT: exit code, or 128 + signal. DIALED: errno, 0 when there is a descriptor */
        uint16_t first;  /* RESIZE: rows. DIAL: port */
        uint16_t second; /* RESIZE: columns. DIAL: 4 for 127.0.0.1, 6 for ::1 */
};

/* Sends one; never waits. fd: a descriptor to go with it, borrowed, or -1. With DIALED a nonblocking TCP socket, connected or
 * connecting (SO_ERROR tells). Errors: those of socket_send; DEADLINE_EXCEEDED for a peer that does not read its channel. */
MUST_CHECK struct error *session_send(int channel_fd, const struct session_message *message, int fd);

/* Receives one; never waits. *got: false when there is none now. *ended: the channel has come to its end. *fd, the caller's,
 * is -1 when no descriptor came. Errors: INVALID_ARGUMENT for what is no message. */
MUST_CHECK struct error *session_receive(int channel_fd, struct session_message *message, int *fd, bool *got,
                                         bool *ended);
