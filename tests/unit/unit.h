/* unit.h - what unit tests share, over cmocka: assert_ok, assert_fails, IN_TMPDIR, UNIT_MAIN, and a walk through all ways
 * out of a function (WALK_FAILURES). A test program takes a pattern as its argument and runs the tests that match. */
#pragma once
#include "base/error.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka.h wants the four above first */
#include <cmocka.h>
#include <string.h>

#define assert_ok(e)                                                                                         \
        do {                                                                                                 \
                struct error *assert_e_ = (e);                                                               \
                if (assert_e_)                                                                               \
                        fail_msg("unexpected error: %s", error_message(assert_e_));                          \
        } while (0)

/* The expression fails with the code, and text stands in the message. */
#define assert_fails(code, text, e)                                                                          \
        do {                                                                                                 \
                struct error *assert_e_ = (e);                                                               \
                assert_non_null(assert_e_);                                                                  \
                if (error_code_of(assert_e_) != (code) || !strstr(error_message(assert_e_), text))           \
                        fail_msg("%s: %s", error_code_name(error_code_of(assert_e_)),                        \
                                 error_message(assert_e_));                                                  \
                error_free(assert_e_);                                                                       \
        } while (0)

/* Runs the statement with its 1st, 2nd, ... TRY failing until it gets through without. e is the error it returned.
 * In builds without fault points it runs once. */
#define WALK_FAILURES(expression)                                                                            \
        do {                                                                                                 \
                unsigned walk_n_ = 0;                                                                        \
                int walk_hit_;                                                                               \
                do {                                                                                         \
                        error_inject(++walk_n_);                                                             \
                        struct error *walk_e_ = (expression);                                                \
                        walk_hit_ = error_inject_hit();                                                      \
                        error_inject(0);                                                                     \
                        error_free(walk_e_);                                                                 \
                } while (walk_hit_ && walk_n_ < 10000);                                                      \
        } while (0)

int unit_tmpdir_make(void **state);
int unit_tmpdir_remove(void **state);
int unit_main(const char *name, const struct CMUnitTest *tests, size_t n, int argc, char **argv);

#define TEST(f) cmocka_unit_test(f)
#define IN_TMPDIR(f) cmocka_unit_test_setup_teardown(f, unit_tmpdir_make, unit_tmpdir_remove)
#define UNIT_MAIN(...)                                                                                       \
        int main(int argc, char **argv)                                                                      \
        {                                                                                                    \
                const struct CMUnitTest tests[] = { __VA_ARGS__ };                                           \
                return unit_main(__FILE__, tests, LENGTH(tests), argc, argv);                                \
        }
