/* skiff-stream - serves the clients of exec, attach and port-forward, without privilege. See cri/stream/control.h. Nothing that
 * comes from outside is parsed before the privileges are gone. */
#include "cri/stream/confine.h"
#include "cri/stream/server.h"
#include "cri/stream/tls.h"
#include <fcntl.h>
#include <malloc.h>
#include <signal.h>
#include <sys/resource.h>

#define MAPPED_BYTES (128 << 10)

/* skiffd's first message. *tls stays NULL when it wants none. */
static struct error *start(struct control_received *received, uid_t uid, struct tls_config **tls)
{
        const struct wait for_ever = { .deadline_ns = WAIT_FOREVER, .cancel_fd = -1 };
        TRY(control_receive(CONTROL_FD_SOCKET, received, &for_ever));
        if (received->ended || received->message.type != CONTROL_START)
                return error_new(ERROR_INVALID_ARGUMENT, "no start message");
        TRY(confine(uid));
        if (received->n_fds >= 2)
                TRY_WRAP(tls_config_open(received->fds[0], received->fds[1],
                                         received->n_fds > 2 ? received->fds[2] : -1, tls),
                         "TLS");
        return NULL;
}

static void received_freep(struct control_received **received)
{
        control_received_done(*received);
        free(*received);
}

static struct error *start_message(uid_t uid, struct tls_config **tls)
{
        _cleanup_(received_freep) struct control_received *received = NEW(struct control_received);
        for (size_t i = 0; i < LENGTH(received->fds); i++)
                received->fds[i] = -1;
        return start(received, uid, tls);
}

static struct error *run(uid_t uid)
{
        _cleanup_(tls_config_freep) struct tls_config *tls = NULL;
        struct rlimit fds;
        (void) signal(SIGPIPE, SIG_IGN);
        (void) mallopt(M_MMAP_THRESHOLD, MAPPED_BYTES); /* a fixed one: what is large can be given back */
        TRY(start_message(uid, &tls));
        if (getrlimit(RLIMIT_NOFILE, &fds) < 0)
                return error_errno(errno, "limit of descriptors");
        return server_run(tls, fds.rlim_cur);
}

int main(int argc, char **argv)
{
        char *end = NULL;
        unsigned long uid = argc == 2 ? strtoul(argv[1], &end, 10) : 0;
        if (!end || *end || uid == 0 || uid >= UINT32_MAX ||
            fcntl(CONTROL_FD_SOCKET, F_SETFD, FD_CLOEXEC) < 0 ||
            fcntl(CONTROL_FD_LISTENER, F_SETFD, FD_CLOEXEC) < 0) {
                (void) fprintf(stderr, "skiff-stream: skiffd starts this\n");
                return 64;
        }
        struct error *e = run((uid_t) uid);
        if (e)
                (void) fprintf(stderr, "skiff-stream: %s\n", error_message(e));
        int status = e ? 1 : 0;
        error_free(e);
        return status;
}
