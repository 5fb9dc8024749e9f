#include "api/cri.pb-c.h"
#include "cri/offers.h"
#include "cri/stream_listener.h"
#include "tests/unit/unit.h"
#include <sys/socket.h>

#define MINUTE_NS (CONTROL_TOKEN_MS * INT64_C(1000000))

static void offers_freep_(struct offers **offers)
{
        offers_free(*offers);
}

static void give(struct offers *offers, const char *id, int64_t now_ns, char token[CONTROL_TOKEN_CHARS + 1])
{
        Cri__AttachRequest request = CRI__ATTACH_REQUEST__INIT;
        request.container_id = id;
        assert_ok(offers_add(offers, CONTROL_ATTACH, &request.base, now_ns, token));
}

static void a_token_counts_once_and_brings_the_request_back(void **state)
{
        (void) state;
        _cleanup_(offers_freep_) struct offers *offers = offers_new();
        char first[CONTROL_TOKEN_CHARS + 1], second[CONTROL_TOKEN_CHARS + 1];
        give(offers, "one", 0, first);
        give(offers, "two", 0, second);
        assert_int_equal(strspn(first, "0123456789abcdef"), CONTROL_TOKEN_CHARS);
        assert_string_not_equal(first, second);
        _cleanup_(offer_freep) struct offer *offer = offers_take(offers, second, 1);
        assert_non_null(offer);
        assert_int_equal(offer->kind, CONTROL_ATTACH);
        assert_string_equal(((const Cri__AttachRequest *) (const void *) offer->request)->container_id,
                            "two");
        assert_null(offers_take(offers, second, 1));
        assert_null(offers_take(offers, "", 1));
}

static void a_token_ends_after_a_minute(void **state)
{
        (void) state;
        _cleanup_(offers_freep_) struct offers *offers = offers_new();
        char early[CONTROL_TOKEN_CHARS + 1], late[CONTROL_TOKEN_CHARS + 1];
        give(offers, "early", 0, early);
        give(offers, "late", MINUTE_NS / 2, late);
        assert_null(offers_take(offers, early, MINUTE_NS));
        _cleanup_(offer_freep) struct offer *offer = offers_take(offers, late, MINUTE_NS);
        assert_non_null(offer);
}

static void too_many_are_refused_until_some_have_ended(void **state)
{
        (void) state;
        _cleanup_(offers_freep_) struct offers *offers = offers_new();
        Cri__AttachRequest request = CRI__ATTACH_REQUEST__INIT;
        char token[CONTROL_TOKEN_CHARS + 1];
        for (int i = 0; i < CONTROL_TOKENS_MAX; i++)
                give(offers, "many", i, token);
        assert_fails(ERROR_RESOURCE_EXHAUSTED, "1000",
                     offers_add(offers, CONTROL_EXEC, &request.base, MINUTE_NS - 1, token));
        give(offers, "one has ended", MINUTE_NS, token);
        offers_clear(offers);
        assert_null(offers_take(offers, token, MINUTE_NS));
        give(offers, "again", MINUTE_NS, token);
}

static void a_listener_tells_its_url(void **state)
{
        (void) state;
        const struct {
                const char *address, *url;
                bool tls;
        } wanted[] = { { "127.0.0.1", "http://127.0.0.1:", false },
                       { "0.0.0.0", "https://127.0.0.1:", true },
                       { "::1", "http://[::1]:", false },
                       { "::", "http://[::1]:", false } };
        for (size_t i = 0; i < LENGTH(wanted); i++) {
                _cleanup_(closep) int fd = -1;
                _cleanup_(freep) char *url = NULL;
                assert_ok(stream_listen(wanted[i].address, 0, &fd));
                assert_ok(stream_url(fd, wanted[i].tls, &url));
                assert_int_equal(strncmp(url, wanted[i].url, strlen(wanted[i].url)), 0);
                assert_true(atoi(strrchr(url, ':') + 1) > 0);
        }
}

static void an_address_that_is_none_and_a_port_that_is_taken_are_refused(void **state)
{
        (void) state;
        _cleanup_(closep) int fd = -1, second = -1;
        _cleanup_(freep) char *url = NULL;
        assert_fails(ERROR_INVALID_ARGUMENT, "localhost", stream_listen("localhost", 0, &fd));
        assert_ok(stream_listen("127.0.0.1", 0, &fd));
        assert_ok(stream_url(fd, false, &url));
        assert_fails(ERROR_UNAVAILABLE, "in use",
                     stream_listen("127.0.0.1", (uint16_t) atoi(strrchr(url, ':') + 1), &second));
}

UNIT_MAIN(TEST(a_token_counts_once_and_brings_the_request_back), TEST(a_token_ends_after_a_minute),
          TEST(too_many_are_refused_until_some_have_ended), TEST(a_listener_tells_its_url),
          TEST(an_address_that_is_none_and_a_port_that_is_taken_are_refused))
