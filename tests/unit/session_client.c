#include "tests/unit/session_client.h"
#include <poll.h>

#define PATIENCE_MS 20000
#define TEXT_MAX_BYTES (1 << 20)

struct error *session_exec(struct fixture *f, const char *id, const char *script,
                           const struct session_streams *streams, struct session_fds *out)
{
        _cleanup_(container_spec_freep) struct container_spec *like = spec_of(f, id, script);
        return runtime_exec_open(f->pod, id, &like->process, NULL, streams, &f->wait, out);
}

char *session_run(struct fixture *f, const char *id, const char *script,
                  const struct session_streams *streams, int exit_code)
{
        _cleanup_(session_fds_close) struct session_fds s = SESSION_FDS_NONE;
        assert_ok(session_exec(f, id, script, streams, &s));
        int code = session_exit_of(&s);
        char *text = session_text(s.out_fd);
        if (code != exit_code)
                fail_msg("exit code %d: %s", code, text);
        return text;
}

bool session_next(int channel_fd, struct session_message *out, int *fd)
{
        const struct wait wait = wait_of_ms(PATIENCE_MS);
        for (;;) {
                bool got = false, ended = false;
                assert_ok(wait_fd(&wait, channel_fd, POLLIN, "wait for a message"));
                assert_ok(session_receive(channel_fd, out, fd, &got, &ended));
                if (got || ended)
                        return got;
        }
}

int session_exit_of(const struct session_fds *s)
{
        struct session_message message;
        int fd = -1;
        assert_true(session_next(s->channel_fd, &message, &fd));
        assert_int_equal(fd, -1);
        assert_int_equal(message.kind, SESSION_EXIT);
        int code = message.value;
        assert_false(session_next(s->channel_fd, &message, &fd));
        return code;
}

void session_write(int fd, const char *text)
{
        const struct wait wait = wait_of_ms(PATIENCE_MS);
        for (size_t left_bytes = strlen(text); left_bytes;) {
                ssize_t n_bytes = write(fd, text, left_bytes);
                if (n_bytes < 0)
                        assert_int_equal(errno, EAGAIN);
                if (n_bytes < 0)
                        assert_ok(wait_fd(&wait, fd, POLLOUT, "write"));
                text += n_bytes > 0 ? n_bytes : 0;
                left_bytes -= n_bytes > 0 ? (size_t) n_bytes : 0;
        }
}

char *session_text(int fd)
{
        char *text = malloc(TEXT_MAX_BYTES);
        size_t len_bytes = 0;
        ssize_t n_bytes;
        while (len_bytes < TEXT_MAX_BYTES - 1 &&
               (n_bytes = read(fd, text + len_bytes, TEXT_MAX_BYTES - 1 - len_bytes)) > 0)
                len_bytes += (size_t) n_bytes;
        text[len_bytes] = '\0';
        return text;
}

char *session_await(int fd, const char *want)
{
        static char text[TEXT_MAX_BYTES];
        const struct wait wait = wait_of_ms(PATIENCE_MS);
        size_t len_bytes = 0;
        text[0] = '\0';
        while (!strstr(text, want)) {
                struct error *e = wait_fd(&wait, fd, POLLIN, "wait for output");
                ssize_t n_bytes = e ? 0 : read(fd, text + len_bytes, sizeof(text) - 1 - len_bytes);
                if (e || (n_bytes <= 0 && errno != EAGAIN))
                        fail_msg("\"%s\" has not come, but \"%s\"", want, text);
                len_bytes += n_bytes > 0 ? (size_t) n_bytes : 0;
                text[len_bytes] = '\0';
        }
        return text;
}

size_t session_pump(struct session_fds *s, const char *bytes, size_t n_bytes, char *into, size_t size_bytes)
{
        const struct wait wait = wait_of_ms(PATIENCE_MS);
        size_t came_bytes = 0;
        for (;;) {
                struct pollfd fds[] = { { .fd = s->in_fd, .events = POLLOUT },
                                        { .fd = s->out_fd, .events = POLLIN } };
                assert_true(poll(fds, LENGTH(fds), wait_left_ms(&wait)) > 0);
                if (fds[0].revents) {
                        ssize_t n = write(s->in_fd, bytes, n_bytes);
                        assert_true(n > 0 || errno == EAGAIN);
                        bytes += n > 0 ? n : 0;
                        n_bytes -= n > 0 ? (size_t) n : 0;
                        if (n_bytes == 0)
                                closep(&s->in_fd);
                }
                ssize_t n = fds[1].revents ? read(s->out_fd, into + came_bytes, size_bytes - came_bytes) : -1;
                if (n == 0)
                        return came_bytes;
                came_bytes += n > 0 ? (size_t) n : 0;
        }
}
