#include "runtime/supervisor/terminal.h"
#include "base/socket.h"
#include "runtime/supervisor/stdio.h"
#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

static void console_ready(struct source *source, uint32_t events)
{
        (void) events;
        terminal_take(CONTAINER_OF(source, struct workload, console));
}

int terminal_socket(struct workload *c, int *child_fd)
{
        int ends[2];
        if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0)
                return -1;
        c->console = (struct source){ .fd = ends[0], .ready = console_ready };
        *child_fd = ends[1];
        return 0;
}

void terminal_watch(struct workload *c)
{
        if (c->console.fd >= 0)
                error_ignore(loop_add(&c->pod->loop, &c->console, EPOLLIN)); /* taken at its end too */
}

void terminal_take(struct workload *c)
{
        const struct wait now = wait_of_ms(0);
        int fds[] = { -1, -1 };
        char byte;
        size_t len_bytes = 0, n_fds = LENGTH(fds);
        if (c->console.fd < 0)
                return;
        struct error *e = socket_receive(c->console.fd, &byte, 1, &len_bytes, fds, &n_fds, &now);
        bool is_early = e && error_code_of(e) == ERROR_DEADLINE_EXCEEDED;
        error_ignore(e); /* the process has failed then, and says why */
        if (is_early)
                return;
        loop_remove(&c->pod->loop, &c->console);
        closep(&c->console.fd);
        if (n_fds == LENGTH(fds) && fcntl(fds[0], F_SETFL, O_NONBLOCK) == 0) {
                c->out.source.fd = TAKE_FD(fds[0]);
                c->slave_fd = TAKE_FD(fds[1]);
                if (!c->log_awaited)
                        stdio_watch(c);
        }
        connection_fds_close(fds, LENGTH(fds));
}

void terminal_resize(const struct workload *c, uint16_t rows, uint16_t columns)
{
        const struct winsize size = { .ws_row = rows, .ws_col = columns };
        if (c->tty && c->out.source.fd >= 0 && rows && columns)
                (void) ioctl(c->out.source.fd, TIOCSWINSZ, &size);
}

void terminal_release(struct workload *c)
{
        loop_remove(&c->pod->loop, &c->console);
        closep(&c->console.fd);
        closep(&c->slave_fd);
}
