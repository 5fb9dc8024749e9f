#include "base/session.h"
#include "base/socket.h"

static const struct wait now = { .deadline_ns = 0, .cancel_fd = -1 };

void session_fds_close(struct session_fds *fds)
{
        closep(&fds->channel_fd);
        closep(&fds->in_fd);
        closep(&fds->out_fd);
        closep(&fds->err_fd);
}

struct error *session_send(int channel_fd, const struct session_message *message, int fd)
{
        return socket_send(channel_fd, message, sizeof(*message), &fd, fd >= 0, &now);
}

struct error *session_receive(int channel_fd, struct session_message *message, int *fd, bool *got,
                              bool *ended)
{
        size_t len_bytes = 0, n_fds = 1;
        *got = *ended = false;
        *fd = -1;
        struct error *e = socket_receive(channel_fd, message, sizeof(*message), &len_bytes, fd, &n_fds, &now);
        if (e && error_code_of(e) == ERROR_DEADLINE_EXCEEDED) { /* nothing is there */
                error_free(e);
                return NULL;
        }
        TRY(e);
        *ended = len_bytes == 0;
        if (len_bytes != 0 && len_bytes != sizeof(*message)) {
                closep(fd);
                return error_new(ERROR_INVALID_ARGUMENT, "a message of %zu bytes", len_bytes);
        }
        *got = len_bytes != 0;
        return NULL;
}
