/* Port-forward on the real kernel, as root: connections in the pod's network, refused and accepted, on both families; what is
 * no port; a client that does not take its answers; and connections to a supervisor that ask for what is not theirs. */
#include "base/socket.h"
#include "runtime/native/protocol.h"
#include "tests/unit/session_client.h"
#include <fcntl.h>
#include <net/if.h>
#include <netinet/in.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/ioctl.h>

static const struct pod_spec own_network = { .hostname = "p" };

static void ask(int channel_fd, uint32_t id, uint16_t port, uint16_t family)
{
        const struct session_message message = {
                .kind = SESSION_DIAL, .id = id, .first = port, .second = family
        };
        assert_ok(session_send(channel_fd, &message, -1));
}

/* The socket, once it is connected; -1 with *errnum where it is not. */
static int answer_to(int channel_fd, uint32_t id, int *errnum)
{
        struct session_message message;
        const struct wait wait = wait_of_ms(10000);
        socklen_t size_bytes = sizeof(*errnum);
        int fd = -1;
        assert_true(session_next(channel_fd, &message, &fd));
        assert_int_equal(message.kind, SESSION_DIALED);
        assert_int_equal(message.id, id);
        *errnum = message.value;
        assert_int_equal(fd < 0, message.value != 0);
        if (fd < 0)
                return -1;
        assert_true(fcntl(fd, F_GETFL) & O_NONBLOCK);
        assert_ok(wait_fd(&wait, fd, POLLOUT, "connect"));
        assert_int_equal(getsockopt(fd, SOL_SOCKET, SO_ERROR, errnum, &size_bytes), 0);
        if (*errnum)
                closep(&fd);
        return fd;
}

static void loopback_up(void)
{
        struct ifreq request = { .ifr_name = "lo", .ifr_flags = IFF_UP | IFF_RUNNING };
        _cleanup_(closep) int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
        assert_int_equal(ioctl(fd, SIOCSIFFLAGS, &request), 0);
}

static int listener_on(uint16_t port, bool is_ipv6)
{
        struct sockaddr_in6 v6 = { .sin6_family = AF_INET6,
                                   .sin6_port = htons(port),
                                   .sin6_addr = IN6ADDR_LOOPBACK_INIT };
        struct sockaddr_in v4 = { .sin_family = AF_INET,
                                  .sin_port = htons(port),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
        int fd = socket(is_ipv6 ? AF_INET6 : AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        const struct sockaddr *address = is_ipv6 ? (struct sockaddr *) &v6 : (struct sockaddr *) &v4;
        assert_int_equal(bind(fd, address, is_ipv6 ? sizeof(v6) : sizeof(v4)), 0);
        assert_int_equal(listen(fd, 10), 0);
        return fd;
}

/* In the pod's network: 81 on 127.0.0.1, 82 on ::1. */
static void listen_in_pod(struct fixture *f, int fds[2])
{
        _cleanup_(closep) int ours_fd = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
        assert_int_equal(setns(runtime_pod_netns(f->pod), CLONE_NEWNET), 0);
        loopback_up();
        for (int i = 0; i < 2; i++)
                fds[i] = listener_on((uint16_t) (81 + i), i);
        assert_int_equal(setns(ours_fd, CLONE_NEWNET), 0);
}

static void a_port_of_the_pod_is_reached_on_both_families(void **state)
{
        struct fixture *f = *state;
        _cleanup_(session_fds_close) struct session_fds s = SESSION_FDS_NONE;
        int listeners[2], errnum = 0;
        pod_up(f, own_network);
        listen_in_pod(f, listeners);
        assert_ok(runtime_forward_open(f->pod, &f->wait, &s));
        assert_true(s.in_fd == -1 && s.out_fd == -1 && s.err_fd == -1);
        for (uint16_t round = 0; round < 6; round++) {
                bool is_ipv6 = round % 2;
                ask(s.channel_fd, 100U + round, is_ipv6 ? 82 : 81, is_ipv6 ? 6 : 4);
                _cleanup_(closep) int fd = answer_to(s.channel_fd, 100U + round, &errnum), peer_fd = -1;
                assert_int_equal(errnum, 0);
                peer_fd = accept4(listeners[is_ipv6], NULL, NULL, SOCK_CLOEXEC);
                session_write(fd, "ping\n");
                (void) session_await(peer_fd, "ping\n");
                session_write(peer_fd, "pong\n");
                (void) session_await(fd, "pong\n");
        }
        ask(s.channel_fd, 1, 81, 6);
        assert_int_equal(answer_to(s.channel_fd, 1, &errnum), -1);
        assert_int_equal(errnum, ECONNREFUSED);
        ask(s.channel_fd, 2, 82, 4);
        assert_int_equal(answer_to(s.channel_fd, 2, &errnum), -1);
        assert_int_equal(errnum, ECONNREFUSED);
        (void) close(listeners[0]);
        (void) close(listeners[1]);
}

static void what_is_no_port_is_told(void **state)
{
        struct fixture *f = *state;
        pod_up(f, own_network);
        _cleanup_(session_fds_close) struct session_fds s = SESSION_FDS_NONE;
        static const uint16_t bad[][2] = { { 0, 4 }, { 0, 6 }, { 80, 0 }, { 80, 5 }, { 80, 65535 } };
        int errnum = 0;
        assert_ok(runtime_forward_open(f->pod, &f->wait, &s));
        for (uint32_t i = 0; i < LENGTH(bad); i++) {
                ask(s.channel_fd, i, bad[i][0], bad[i][1]);
                assert_int_equal(answer_to(s.channel_fd, i, &errnum), -1);
                assert_int_equal(errnum, EINVAL);
        }
        /* What is not for it is passed over: the next answer is the next question's. */
        for (uint32_t kind = 0; kind < 10; kind++)
                if (kind != SESSION_DIAL)
                        assert_ok(session_send(s.channel_fd, &(struct session_message){ .kind = kind }, -1));
        ask(s.channel_fd, 99, 0, 4);
        (void) answer_to(s.channel_fd, 99, &errnum);
        assert_int_equal(errnum, EINVAL);
}

/* It loses its channel, and the supervisor keeps nothing of it and goes on. */
static void who_does_not_take_its_answers_is_cut_off(void **state)
{
        struct fixture *f = *state;
        struct session_fds s = SESSION_FDS_NONE, t = SESSION_FDS_NONE;
        int errnum = 0;
        pod_up(f, own_network);
        pid_t supervisor = runtime_pod_supervisor_pid(f->pod);
        assert_ok(runtime_forward_open(f->pod, &f->wait, &t));
        ask(t.channel_fd, 1, 0, 4);
        (void) answer_to(t.channel_fd, 1, &errnum);
        size_t before = fds_of(supervisor);
        assert_ok(runtime_forward_open(f->pod, &f->wait, &s));
        struct error *e = NULL;
        for (uint32_t i = 0; i < 100000 && !e; i++) {
                const struct wait wait = wait_of_ms(10000);
                const struct session_message message = {
                        .kind = SESSION_DIAL, .id = i, .first = 9, .second = 4
                };
                e = socket_send(s.channel_fd, &message, sizeof(message), NULL, 0, &wait);
        }
        assert_non_null(e);
        assert_int_equal(error_errnum_of(e), EPIPE);
        error_free(e);
        session_fds_close(&s);
        assert_fds_settle(supervisor, before);
        ask(t.channel_fd, 2, 0, 4);
        (void) answer_to(t.channel_fd, 2, &errnum);
        session_fds_close(&t);
        assert_fds_settle(supervisor, before - 1);
}

/* --- connections that ask for what is not theirs --- */

static int connection_to(struct fixture *f)
{
        int fd = -1;
        assert_ok(socket_connect(f->dir_fd, "sock", SOCK_SEQPACKET, &f->wait, &fd));
        assert_true(fd >= 0);
        return fd;
}

static void message_send(int fd, uint32_t type, const char *id, const int *fds, size_t n_fds)
{
        const struct wait wait = wait_of_ms(10000);
        struct wire_writer w;
        wire_begin(&w, PROTOCOL_MESSAGE_MAX);
        wire_put_u32(&w, type);
        if (id)
                wire_put_text(&w, id);
        for (int i = 0; id && i < 2; i++)
                wire_put_u32(&w, SIGKILL);
        assert_ok(socket_send(fd, w.bytes.bytes, w.bytes.len_bytes, fds, n_fds, &wait));
        wire_done(&w);
}

/* 0: it has ended. */
static uint32_t answer_type(int fd)
{
        const struct wait wait = wait_of_ms(10000);
        char bytes[256];
        uint32_t type = 0;
        size_t len_bytes = 0;
        assert_ok(socket_receive(fd, bytes, sizeof(bytes), &len_bytes, NULL, NULL, &wait));
        if (len_bytes >= sizeof(type))
                memcpy(&type, bytes, sizeof(type));
        return type;
}

static void a_connection_takes_no_request_but_its_own(void **state)
{
        struct fixture *f = *state;
        pod_up(f, own_network);
        _cleanup_(container_spec_freep) struct container_spec *spec = spec_of(f, "c1", "exec sleep 1000");
        container_up(f, spec);
        for (uint32_t type = 0; type <= MESSAGE_REQUESTS; type++) {
                _cleanup_(closep) int fd = connection_to(f);
                int ends[2];
                assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends), 0);
                message_send(fd, MESSAGE_FORWARD_OPEN, NULL, &ends[1], 1);
                assert_int_equal(answer_type(fd), MESSAGE_OK);
                message_send(fd, type, "c1", &ends[1], 1);
                assert_int_equal(answer_type(fd), 0);
                (void) close(ends[0]);
                (void) close(ends[1]);
        }
        /* Nor one that says what belongs to a request it has not had. */
        static const uint32_t parts[] = { MESSAGE_COMMIT, MESSAGE_FDS, MESSAGE_LOG, MESSAGE_EXEC_KILL };
        for (size_t i = 0; i < LENGTH(parts); i++) {
                _cleanup_(closep) int fd = connection_to(f);
                message_send(fd, parts[i], "c1", &f->dir_fd, 1);
                assert_int_equal(answer_type(fd), 0);
        }
        struct exec_result r = { 0 };
        assert_ok(exec_try(f, "c1", "echo lives", 0, &r));
        assert_string_equal(r.out, "lives\n");
        exec_result_done(&r);
}

UNIT_MAIN(WITH_POD(a_port_of_the_pod_is_reached_on_both_families), WITH_POD(what_is_no_port_is_told),
          WITH_POD(who_does_not_take_its_answers_is_cut_off),
          WITH_POD(a_connection_takes_no_request_but_its_own))
