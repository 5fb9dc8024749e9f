#include "base/clock.h"
#include "base/socket.h"
#include "tests/unit/unit.h"
#include <fcntl.h>
#include <linux/capability.h>
#include <pthread.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static int dir_open(void **dir)
{
        int fd = open(*dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        assert_true(fd >= 0);
        return fd;
}

static void a_message_crosses_with_its_descriptors(void **dir)
{
        _cleanup_(closep) int dir_fd = dir_open(dir), server = -1, client = -1, peer = -1;
        struct wait wait = wait_of_ms(5000);
        assert_ok(socket_listen(dir_fd, "sock", SOCK_SEQPACKET, &server));
        struct stat st;
        assert_int_equal(fstatat(dir_fd, "sock", &st, 0), 0);
        assert_int_equal(st.st_mode & 0777, 0600);
        assert_ok(socket_connect(dir_fd, "sock", SOCK_SEQPACKET, &wait, &client));
        peer = accept4(server, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
        int sent[] = { dir_fd, server }, got[4];
        size_t n_got = LENGTH(got), len_bytes = 0;
        char text[16];
        assert_ok(socket_send(client, "hello", 5, sent, 2, &wait));
        assert_ok(socket_receive(peer, text, sizeof(text), &len_bytes, got, &n_got, &wait));
        assert_int_equal(len_bytes, 5);
        assert_memory_equal(text, "hello", 5);
        assert_int_equal(n_got, 2);
        assert_int_equal(fcntl(got[0], F_GETFD), FD_CLOEXEC);
        (void) close(got[0]), (void) close(got[1]);
        struct socket_peer who;
        assert_ok(socket_peer(peer, &who));
        assert_int_equal(who.pid, getpid());
        closep(&client);
        n_got = LENGTH(got);
        assert_ok(socket_receive(peer, text, sizeof(text), &len_bytes, got, &n_got, &wait));
        assert_int_equal(len_bytes, 0);
}

static void nobody_listening_is_no_error(void **dir)
{
        _cleanup_(closep) int dir_fd = dir_open(dir), server = -1, client = 0;
        struct wait wait = wait_of_ms(1000);
        assert_ok(socket_connect(dir_fd, "sock", SOCK_SEQPACKET, &wait, &client));
        assert_int_equal(client, -1);
        assert_ok(socket_listen(dir_fd, "sock", SOCK_SEQPACKET, &server));
        closep(&server);
        assert_ok(socket_connect(dir_fd, "sock", SOCK_SEQPACKET, &wait, &client));
        assert_int_equal(client, -1);
}

static size_t open_fds(void)
{
        size_t n = 0;
        for (int fd = 0; fd < 256; fd++)
                n += fcntl(fd, F_GETFD) >= 0;
        return n;
}

static void too_many_descriptors_are_closed_and_refused(void **state)
{
        (void) state;
        int ends[2];
        struct wait wait = wait_of_ms(1000);
        assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends), 0);
        size_t before = open_fds();
        int sent[] = { 0, 1, 2 }, got[1];
        size_t n_got = 1, len_bytes;
        char byte;
        assert_ok(socket_send(ends[0], "x", 1, sent, 3, &wait));
        assert_fails(ERROR_INTERNAL, "larger than agreed",
                     socket_receive(ends[1], &byte, 1, &len_bytes, got, &n_got, &wait));
        assert_ok(socket_send(ends[0], "xyz", 3, NULL, 0, &wait));
        assert_fails(ERROR_INTERNAL, "larger than agreed",
                     socket_receive(ends[1], &byte, 1, &len_bytes, NULL, NULL, &wait));
        assert_int_equal(open_fds(), before);
        wait = wait_of_ms(20);
        assert_fails(ERROR_DEADLINE_EXCEEDED, "receive",
                     socket_receive(ends[1], &byte, 1, &len_bytes, NULL, NULL, &wait));
        (void) close(ends[0]), (void) close(ends[1]);
}

/* --- descriptors on their way --- */

enum { ON_THEIR_WAY = 48, LIMIT = 16, DRAIN_MS = 100 };

static void *drain(void *argument)
{
        const int *from = argument;
        struct wait wait = wait_of_ms(5000);
        (void) usleep(DRAIN_MS * 1000);
        for (size_t i = 0; i < ON_THEIR_WAY; i++) {
                char byte;
                int fd = -1;
                size_t n_fds = 1, len_bytes = 0;
                assert_ok(socket_receive(*from, &byte, 1, &len_bytes, &fd, &n_fds, &wait));
                (void) close(fd);
        }
        return NULL;
}

/* In a process without capabilities. */
static void send_at_the_limit(void)
{
        int busy[2], ends[2];
        struct wait wait = wait_of_ms(5000), moment = wait_of_ms(20);
        const struct rlimit limit = { LIMIT, LIMIT };
        struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
        struct __user_cap_data_struct none[2] = { 0 };
        pthread_t thread;
        assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, busy), 0);
        assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends), 0);
        for (size_t i = 0; i < ON_THEIR_WAY; i++)
                assert_ok(socket_send(busy[0], "x", 1, &ends[0], 1, &wait));
        assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
        assert_int_equal(syscall(SYS_capset, &header, none), 0);
        assert_fails(ERROR_DEADLINE_EXCEEDED, "send descriptors",
                     socket_send(ends[0], "x", 1, &busy[0], 1, &moment));
        assert_int_equal(pthread_create(&thread, NULL, drain, &busy[1]), 0);
        assert_ok(socket_send(ends[0], "x", 1, &busy[0], 1, &wait));
        assert_int_equal(pthread_join(thread, NULL), 0);
}

static void a_send_waits_while_too_many_are_on_their_way(void **state)
{
        (void) state;
        int status = -1;
        pid_t pid = fork();
        if (pid == 0) {
                send_at_the_limit();
                _exit(0);
        }
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_int_equal(status, 0);
}

UNIT_MAIN(IN_TMPDIR(a_message_crosses_with_its_descriptors), IN_TMPDIR(nobody_listening_is_no_error),
          TEST(too_many_descriptors_are_closed_and_refused),
          TEST(a_send_waits_while_too_many_are_on_their_way))
