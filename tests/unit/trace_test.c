#include "base/trace.h"
#include "tests/unit/unit.h"
#include <string.h>

#define TRACE_ID "4bf92f3577b34da6a3ce929d0e0e4736"
#define SPAN_ID "00f067aa0ba902b7"

static void what_a_client_sends_is_handed_on(void **state)
{
        (void) state;
        _cleanup_(trace_done) struct trace trace = { 0 }, later = { 0 }, copy = { 0 };
        trace_take(&trace, "00-" TRACE_ID "-" SPAN_ID "-01", "a=1,b=2", "user=x");
        assert_string_equal(trace.parent, "00-" TRACE_ID "-" SPAN_ID "-01");
        assert_string_equal(trace.state, "a=1,b=2");
        assert_string_equal(trace.baggage, "user=x");
        trace_take(&later, "01-" TRACE_ID "-" SPAN_ID "-01-more", NULL, NULL);
        assert_string_equal(later.parent, "00-" TRACE_ID "-" SPAN_ID "-01");
        assert_null(later.state);
        trace_set(&copy, &trace);
        assert_string_equal(copy.parent, trace.parent);
        assert_string_equal(copy.state, trace.state);
        trace_set(&copy, &later);
        assert_null(copy.state);
}

static void assert_is_new(const char *parent)
{
        assert_int_equal(strlen(parent), TRACE_PARENT_LEN);
        assert_null(strstr(parent, TRACE_ID));
        assert_int_equal(strncmp(parent, "00-", 3), 0);
        assert_string_equal(parent + TRACE_PARENT_LEN - 3, "-00");
}

static void what_is_no_parent_is_made_anew_without_its_state(void **state)
{
        (void) state;
        static const char *const bad[] = {
                NULL,
                "",
                "00",
                "00-" TRACE_ID "-" SPAN_ID,
                "00-" TRACE_ID "-" SPAN_ID "-01-more",
                "ff-" TRACE_ID "-" SPAN_ID "-01",
                "00-00000000000000000000000000000000-" SPAN_ID "-01",
                "00-" TRACE_ID "-0000000000000000-01",
                "00-4BF92F3577B34DA6A3CE929D0E0E4736-" SPAN_ID "-01",
                "00-" TRACE_ID "-" SPAN_ID "-0g",
                "00_" TRACE_ID "-" SPAN_ID "-01",
        };
        for (size_t i = 0; i < LENGTH(bad); i++) {
                _cleanup_(trace_done) struct trace trace = { 0 };
                trace_take(&trace, bad[i], "a=1", "user=x");
                assert_is_new(trace.parent);
                assert_null(trace.state);
                assert_string_equal(trace.baggage, "user=x");
        }
        _cleanup_(trace_done) struct trace one = { 0 }, two = { 0 };
        trace_set(&one, NULL);
        trace_set(&two, NULL);
        assert_is_new(one.parent);
        assert_string_not_equal(one.parent, two.parent);
}

static void what_no_header_has_stays_out(void **state)
{
        (void) state;
        _cleanup_(trace_done) struct trace trace = { 0 };
        _cleanup_(freep) char *long_text = NEW_ARRAY(char, TRACE_STATE_MAX_BYTES + 2);
        memset(long_text, 'a', TRACE_STATE_MAX_BYTES + 1);
        trace_take(&trace, "00-" TRACE_ID "-" SPAN_ID "-01", long_text, "a=1\nPATH=/tmp");
        assert_null(trace.state);
        assert_null(trace.baggage);
}

UNIT_MAIN(cmocka_unit_test(what_a_client_sends_is_handed_on),
          cmocka_unit_test(what_is_no_parent_is_made_anew_without_its_state),
          cmocka_unit_test(what_no_header_has_stays_out))
