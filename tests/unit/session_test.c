#include "base/session.h"
#include "base/socket.h"
#include "tests/unit/unit.h"
#include <sys/socket.h>

static void channel(int ends[2])
{
        assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends), 0);
}

static void a_message_comes_as_it_was_sent_with_its_descriptor(void **state)
{
        (void) state;
        struct session_message sent = { SESSION_DIALED, 7, 0, 80, 6 }, came;
        int ends[2], fd = -1, pair[2];
        bool got = false, ended = false;
        channel(ends);
        channel(pair);
        assert_ok(session_send(ends[0], &sent, pair[0]));
        assert_ok(session_send(ends[0], &sent, -1));
        assert_ok(session_receive(ends[1], &came, &fd, &got, &ended));
        assert_true(got && !ended && fd >= 0);
        assert_memory_equal(&came, &sent, sizeof(sent));
        closep(&fd);
        assert_ok(session_receive(ends[1], &came, &fd, &got, &ended));
        assert_true(got && fd < 0);
        assert_ok(session_receive(ends[1], &came, &fd, &got, &ended));
        assert_true(!got && !ended);
        closep(&ends[0]);
        assert_ok(session_receive(ends[1], &came, &fd, &got, &ended));
        assert_true(!got && ended);
        closep(&ends[1]);
        closep(&pair[0]);
        closep(&pair[1]);
}

static void what_is_no_message_is_an_error_and_a_full_channel_too(void **state)
{
        (void) state;
        const struct session_message message = { .kind = SESSION_RESIZE };
        const struct wait now = wait_of_ms(0);
        struct session_message came;
        struct error *e = NULL;
        int ends[2], fd = -1;
        bool got = false, ended = false;
        channel(ends);
        assert_ok(socket_send(ends[0], "short", 5, NULL, 0, &now));
        assert_fails(ERROR_INVALID_ARGUMENT, "5 bytes", session_receive(ends[1], &came, &fd, &got, &ended));
        for (int i = 0; i < 100000 && !e; i++)
                e = session_send(ends[0], &message, -1);
        assert_fails(ERROR_DEADLINE_EXCEEDED, "send", e);
        closep(&ends[0]);
        closep(&ends[1]);
}

UNIT_MAIN(TEST(a_message_comes_as_it_was_sent_with_its_descriptor),
          TEST(what_is_no_message_is_an_error_and_a_full_channel_too))
