#include "api/cri.pb-c.h"
#include "cri/arena.h"
#include "cri/wire.h"
#include "tests/unit/unit.h"
#include <string.h>

#define CONFIG (&cri__run_pod_sandbox_request__descriptor)

#define CHECK(bytes) wire_check(CONFIG, bytes, sizeof(bytes) - 1)

static void what_clients_send_passes(void **state)
{
        (void) state;
        assert_ok(wire_check(CONFIG, NULL, 0));
        assert_ok(CHECK("\x0a\x05\x0a\x03\x0a\x01x\x12\x04runc")); /* config.metadata.name, runtime_handler */
        assert_ok(CHECK("\xf8\x07\x05"));                          /* an unknown number */
        assert_ok(CHECK("\xfa\x07\x02\xff\xff"));                  /* unknown bytes may be anything */
}

static void bad_text_is_named_by_its_field(void **state)
{
        (void) state;
        assert_fails(ERROR_INVALID_ARGUMENT, "runtime_handler is not valid UTF-8", CHECK("\x12\x01\xff"));
        assert_fails(ERROR_INVALID_ARGUMENT, "runtime_handler",
                     CHECK("\x12\x02"
                           "a\0"));
        assert_fails(ERROR_INVALID_ARGUMENT, "config: labels: key",
                     CHECK("\x0a\x07\x32\x05\x0a\x03"
                           "a\xff"
                           "b"));
}

static void what_ends_too_early_is_malformed(void **state)
{
        (void) state;
        assert_fails(ERROR_INVALID_ARGUMENT, "ends inside a field",
                     CHECK("\x12\x05"
                           "abc"));
        assert_fails(ERROR_INVALID_ARGUMENT, "ends inside a field",
                     CHECK("\x12\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"));
        assert_fails(ERROR_INVALID_ARGUMENT, "ends inside a number", CHECK("\x12"));
        assert_fails(ERROR_INVALID_ARGUMENT, "too long",
                     CHECK("\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"));
        assert_fails(ERROR_INVALID_ARGUMENT, "out of range", CHECK("\x02\x00"));
        assert_fails(ERROR_INVALID_ARGUMENT, "group", CHECK("\x0b\x0c"));
}

static void a_flood_of_empty_messages_is_refused(void **state)
{
        (void) state;
        size_t len_bytes = 1 << 20;
        _cleanup_(freep) char *flood = malloc(len_bytes);
        assert_non_null(flood);
        for (size_t i = 0; i < len_bytes; i += 2)
                memcpy(flood + i, "\x2a\x00", 2); /* PodSandboxConfig.port_mappings */
        assert_fails(ERROR_RESOURCE_EXHAUSTED, "elements",
                     wire_check(&cri__pod_sandbox_config__descriptor, flood, len_bytes));
        memset(flood, 1, len_bytes); /* packed supplemental_groups */
        memcpy(flood, "\x2a\xfc\xff\x3f", 4);
        assert_fails(ERROR_RESOURCE_EXHAUSTED, "elements",
                     wire_check(&cri__linux_sandbox_security_context__descriptor, flood, len_bytes));
}

static void the_arena_gives_no_more_than_its_cap(void **state)
{
        (void) state;
        struct arena arena;
        arena_init(&arena, 10000);
        void *first = arena.allocator.alloc(&arena, 5000), *second = arena.allocator.alloc(&arena, 4000);
        assert_non_null(first);
        assert_non_null(second);
        memset(first, 1, 5000);
        memset(second, 2, 4000);
        assert_null(arena.allocator.alloc(&arena, 4000));
        assert_null(arena.allocator.alloc(&arena, SIZE_MAX));
        assert_int_equal((uintptr_t) second % 16, 0);
        arena_done(&arena);
}

UNIT_MAIN(TEST(what_clients_send_passes), TEST(bad_text_is_named_by_its_field),
          TEST(what_ends_too_early_is_malformed), TEST(a_flood_of_empty_messages_is_refused),
          TEST(the_arena_gives_no_more_than_its_cap))
