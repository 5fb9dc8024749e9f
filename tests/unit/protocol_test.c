#include "runtime/apparmor.h"
#include "runtime/native/protocol.h"
#include "tests/unit/unit.h"

static void container_put(struct wire_writer *w, uint32_t version)
{
        char *argv[] = { (char *) "sh", (char *) "-c", (char *) "x", NULL },
             *env[] = { (char *) "A=b", NULL };
        char *masked[] = { (char *) "/proc/kcore", NULL };
        struct container_mount mounts[] = {
                { .kind = MOUNT_BIND, .target = (char *) "/a", .source_fd = 2, .readonly = true },
                { .kind = MOUNT_TMPFS, .target = (char *) "/b", .data = (char *) "size=1", .source_fd = -1 }
        };
        struct container_device device = { .path = (char *) "/dev/x", .type = 'c', .major = 1, .minor = 2 };
        struct container_hook hooks[] = {
                { .stage = HOOK_CREATE_CONTAINER, .path = (char *) "/not/sent", .argv = argv, .env = env },
                { .stage = HOOK_START_CONTAINER,
                  .path = (char *) "/hook",
                  .argv = argv,
                  .env = env,
                  .timeout_s = 9 },
        };
        uint32_t groups[] = { 1, 2 };
        struct container_rlimit limit = { .resource = 7, .soft = 1, .hard = UINT64_MAX };
        struct container_message m = { .spec = { .id = (char *) "abc",
                                                 .pid_mode = PID_MODE_TARGET,
                                                 .pid_target = (char *) "t",
                                                 .mounts = mounts,
                                                 .n_mounts = 2,
                                                 .masked_paths = masked,
                                                 .devices = &device,
                                                 .n_devices = 1,
                                                 .hooks = hooks,
                                                 .n_hooks = 2,
                                                 .stdin_open = true,
                                                 .stdin_once = true,
                                                 .tty = true,
                                                 .mount_context = (char *) "u:o:f:s0",
                                                 .shm_context = (char *) "u:o:s:s0",
                                                 .process = { .argv = argv,
                                                              .env = env,
                                                              .cwd = (char *) "/",
                                                              .uid = 9,
                                                              .groups = groups,
                                                              .n_groups = 2,
                                                              .rlimits = &limit,
                                                              .n_rlimits = 1,
                                                              .oom_score_adj = -5,
                                                              .apparmor = (char *) "confined",
                                                              .selinux = (char *) "u:r:t:s0",
                                                              .set_oom_score_adj = true } },
                                       .rootfs = 0,
                                       .log_follows = true,
                                       .oom = PROTOCOL_NO_FD,
                                       .oom_event = PROTOCOL_NO_FD,
                                       .tree = PROTOCOL_NO_FD,
                                       .entries = { 1, 2 },
                                       .n_entries = 2,
                                       .log_line_max_bytes = 16384,
                                       .log_max_bytes = 5 << 20,
                                       .hooks = { true, "{\"pid\":", "}" },
                                       .seccomp = { .bpf = "12345678", .len_bytes = 8 } };
        wire_begin(w, PROTOCOL_SPEC_MAX);
        container_message_put(w, version, &m);
        assert_ok(wire_end(w));
}

static void a_container_comes_over_whole(void **state)
{
        (void) state;
        struct wire_writer w;
        struct container_message m;
        container_put(&w, PROTOCOL_VERSION);
        assert_ok(container_message_get(w.bytes.bytes, w.bytes.len_bytes, PROTOCOL_VERSION, 3, &m));
        assert_string_equal(m.spec.id, "abc");
        assert_string_equal(m.spec.process.argv[2], "x");
        assert_null(m.spec.process.argv[3]);
        assert_int_equal(m.spec.process.oom_score_adj, -5);
        assert_string_equal(m.spec.process.apparmor, "confined");
        assert_string_equal(m.spec.process.selinux, "u:r:t:s0");
        assert_string_equal(m.spec.mount_context, "u:o:f:s0");
        assert_string_equal(m.spec.shm_context, "u:o:s:s0");
        assert_int_equal(m.spec.process.rlimits[0].hard, UINT64_MAX);
        assert_int_equal(m.spec.mounts[0].source_fd, 2);
        assert_true(m.spec.mounts[0].readonly);
        assert_string_equal(m.spec.mounts[1].data, "size=1");
        assert_int_equal(m.spec.devices[0].minor, 2);
        assert_true(m.spec.tty && m.spec.stdin_open && m.spec.stdin_once && m.log_follows);
        assert_false(m.spec.readonly_rootfs || m.entry_is_v2_directory);
        assert_int_equal(m.entries[1], 2);
        assert_ptr_equal(m.spec.seccomp, &m.seccomp);
        assert_int_equal(m.log_max_bytes, 5 << 20);
        assert_true(m.hooks.of_host);
        assert_string_equal(m.hooks.state_begin, "{\"pid\":");
        assert_int_equal(m.spec.n_hooks, 1);
        assert_string_equal(m.spec.hooks[0].path, "/hook");
        assert_string_equal(m.spec.hooks[0].env[0], "A=b");
        assert_int_equal(m.spec.hooks[0].timeout_s, 9);
        container_message_done(&m);
        wire_done(&w);
}

static void what_is_cut_or_out_of_range_is_refused(void **state)
{
        (void) state;
        struct wire_writer w;
        struct container_message m;
        container_put(&w, PROTOCOL_VERSION);
        for (size_t len_bytes = 0; len_bytes < w.bytes.len_bytes; len_bytes++)
                assert_fails(ERROR_INVALID_ARGUMENT, "malformed",
                             container_message_get(w.bytes.bytes, len_bytes, PROTOCOL_VERSION, 3, &m));
        assert_fails(ERROR_INVALID_ARGUMENT, "malformed",
                     container_message_get(w.bytes.bytes, w.bytes.len_bytes, PROTOCOL_VERSION, 2, &m));
        /* Every byte changed once: refused or not, nothing is read or written where it should not be. */
        for (size_t i = 0; i < w.bytes.len_bytes; i++) {
                w.bytes.bytes[i] = (char) ~w.bytes.bytes[i];
                struct error *e =
                        container_message_get(w.bytes.bytes, w.bytes.len_bytes, PROTOCOL_VERSION, 3, &m);
                if (!e)
                        container_message_done(&m);
                error_free(e);
                w.bytes.bytes[i] = (char) ~w.bytes.bytes[i];
        }
        wire_done(&w);
}

static void ranges_meet_in_their_newest_common_version(void **state)
{
        (void) state;
        const struct {
                struct protocol_range one, other;
                uint32_t agreed;
        } cases[] = {
                { { 2, 3 }, { 2, 3 }, 3 }, { { 2, 3 }, { 3, 5 }, 3 }, { { 2, 3 }, { 2, 2 }, 2 },
                { { 2, 3 }, { 1, 9 }, 3 }, { { 2, 3 }, { 4, 6 }, 0 }, { { 4, 6 }, { 1, 3 }, 0 },
                { { 2, 3 }, { 1, 1 }, 0 }, { { 2, 3 }, { 9, 1 }, 0 },
        };
        for (size_t i = 0; i < LENGTH(cases); i++) {
                assert_int_equal(protocol_agree(&cases[i].one, &cases[i].other), cases[i].agreed);
                assert_int_equal(protocol_agree(&cases[i].other, &cases[i].one), cases[i].agreed);
        }
        /* What an older one sends names one version. */
        struct wire_writer w;
        struct wire_reader r;
        wire_begin(&w, 100);
        wire_put_u32(&w, 2);
        struct protocol_range range = { 0 };
        wire_open(&r, w.bytes.bytes, w.bytes.len_bytes);
        range.oldest = wire_get_u32(&r);
        protocol_newest_get(&r, &range);
        assert_int_equal(range.newest, 2);
        wire_put_u32(&w, 7);
        wire_open(&r, w.bytes.bytes, w.bytes.len_bytes);
        range.oldest = wire_get_u32(&r);
        protocol_newest_get(&r, &range);
        assert_int_equal(range.newest, 7);
        wire_done(&w);
}

/* Each version's bytes are read as that version's, and nothing else's. */
static void every_version_that_is_spoken_comes_over_whole(void **state)
{
        (void) state;
        for (uint32_t version = PROTOCOL_OLDEST; version <= PROTOCOL_VERSION; version++) {
                struct wire_writer w;
                struct container_message m;
                container_put(&w, version);
                assert_ok(container_message_get(w.bytes.bytes, w.bytes.len_bytes, version, 3, &m));
                assert_string_equal(m.spec.mounts[1].data, "size=1");
                assert_int_equal(m.spec.devices[0].minor, 2);
                assert_int_equal(m.spec.process.rlimits[0].soft, 1);
                assert_int_equal(m.spec.process.apparmor != NULL, version >= PROTOCOL_LABELS);
                assert_int_equal(m.log_line_max_bytes, 16384);
                assert_int_equal(m.log_max_bytes, version < PROTOCOL_LENGTHS ? 0 : 5 << 20);
                assert_int_equal(m.spec.n_hooks, version < PROTOCOL_HOOKS ? 0 : 1);
                container_message_done(&m);
                uint32_t other = version < PROTOCOL_LENGTHS ? PROTOCOL_LENGTHS : PROTOCOL_OLDEST;
                assert_fails(ERROR_INVALID_ARGUMENT, "malformed",
                             container_message_get(w.bytes.bytes, w.bytes.len_bytes, other, 3, &m));
                wire_done(&w);
        }
}

/* An older supervisor would run the process unconfined: what was asked for is refused, what nobody asked for left out. */
static void a_profile_that_was_asked_for_is_not_left_out(void **state)
{
        (void) state;
        char *argv[] = { (char *) "sh", NULL }, *env[] = { NULL };
        struct process_spec asked = { .argv = argv,
                                      .env = env,
                                      .cwd = (char *) "/",
                                      .apparmor = (char *) "mine",
                                      .apparmor_is_asked = true };
        struct exec_message m;
        for (uint32_t version = PROTOCOL_OLDEST; version <= PROTOCOL_VERSION; version++) {
                struct wire_writer w;
                asked.apparmor_is_asked = true;
                wire_begin(&w, PROTOCOL_SPEC_MAX);
                exec_message_put(&w, version, &asked, NULL);
                struct error *e = wire_end(&w);
                if (version < PROTOCOL_LABELS)
                        assert_fails(ERROR_FAILED_PRECONDITION, "AppArmor profile \"mine\"", e);
                else
                        assert_ok(e);
                wire_done(&w);
                asked.apparmor_is_asked = false;
                wire_begin(&w, PROTOCOL_SPEC_MAX);
                exec_message_put(&w, version, &asked, NULL);
                assert_ok(wire_end(&w));
                assert_ok(exec_message_get(w.bytes.bytes, w.bytes.len_bytes, version, &m));
                exec_message_done(&m);
                wire_done(&w);
        }
}

static void a_name_that_is_too_long_for_the_child_is_malformed(void **state)
{
        (void) state;
        static char name[APPARMOR_NAME_MAX + 2];
        char *argv[] = { (char *) "sh", NULL }, *env[] = { NULL };
        struct process_spec process = { .argv = argv, .env = env, .cwd = (char *) "/", .apparmor = name };
        struct exec_message m;
        struct wire_writer w;
        memset(name, 'x', sizeof(name) - 1);
        for (int too_long = 1; too_long >= 0; too_long--) {
                name[APPARMOR_NAME_MAX + too_long] = '\0';
                wire_begin(&w, PROTOCOL_SPEC_MAX);
                exec_message_put(&w, PROTOCOL_VERSION, &process, NULL);
                assert_ok(wire_end(&w));
                struct error *e = exec_message_get(w.bytes.bytes, w.bytes.len_bytes, PROTOCOL_VERSION, &m);
                if (too_long)
                        assert_fails(ERROR_INVALID_ARGUMENT, "malformed", e);
                else
                        assert_ok(e);
                if (!too_long)
                        exec_message_done(&m);
                wire_done(&w);
        }
}

static void a_session_comes_over_whole(void **state)
{
        (void) state;
        struct wire_writer w;
        struct wire_reader r;
        const struct exec_open sent = { .id = "abc",
                                        .spec_bytes = 77,
                                        .version = 4,
                                        .streams = { .in = true, .tty = true, .rows = 65535, .columns = 1 } };
        struct exec_open came;
        wire_begin(&w, 1000);
        exec_open_put(&w, &sent);
        assert_ok(wire_end(&w));
        wire_open(&r, w.bytes.bytes, w.bytes.len_bytes);
        exec_open_get(&r, &came);
        assert_false(r.bad);
        assert_string_equal(came.id, "abc");
        assert_int_equal(came.spec_bytes, 77);
        assert_true(came.streams.in && came.streams.tty && !came.streams.out && !came.streams.err);
        assert_int_equal(came.streams.rows, 65535);
        assert_int_equal(came.streams.columns, 1);
        for (size_t len_bytes = 0; len_bytes < w.bytes.len_bytes; len_bytes++) {
                wire_open(&r, w.bytes.bytes, len_bytes);
                exec_open_get(&r, &came);
                assert_true(r.bad);
        }
        wire_done(&w);
        /* A terminal has no stderr of its own; a size is of 16 bits; a stream of tomorrow is passed over. */
        static const struct {
                uint32_t flags, rows;
                bool bad;
        } cases[] = { { 12, 1, true }, { 2, 65536, true }, { 7, 65535, false }, { 0x82, 0, false } };
        for (size_t i = 0; i < LENGTH(cases); i++) {
                struct session_streams streams;
                wire_begin(&w, 1000);
                wire_put_u32(&w, cases[i].flags);
                wire_put_u32(&w, cases[i].rows);
                wire_put_u32(&w, 0);
                wire_open(&r, w.bytes.bytes, w.bytes.len_bytes);
                streams_get(&r, &streams);
                assert_int_equal(r.bad, cases[i].bad);
                wire_done(&w);
        }
}

/* As a newer one would send it: with more at the end of a struct, and of the message. */
static void what_is_not_known_is_passed_over(void **state)
{
        (void) state;
        struct wire_writer w;
        struct wire_reader r;
        wire_begin(&w, 1000);
        for (uint32_t i = 0; i < 2; i++) {
                size_t at = wire_struct_begin(&w);
                wire_put_u32(&w, i);
                wire_put_text(&w, "known");
                wire_put_u64(&w, 4711);
                wire_put_text(&w, "of tomorrow");
                wire_struct_end(&w, at);
        }
        wire_put_u32(&w, 99);
        wire_put_text(&w, "more of tomorrow");
        assert_ok(wire_end(&w));
        wire_open(&r, w.bytes.bytes, w.bytes.len_bytes);
        for (uint32_t i = 0; i < 2; i++) {
                struct wire_reader inner = wire_struct_enter(&r);
                assert_int_equal(wire_get_u32(&inner), i);
                assert_string_equal(wire_get_text(&inner), "known");
                assert_true(wire_has_more(&inner));
                wire_struct_leave(&r, &inner);
        }
        assert_int_equal(wire_get_u32(&r), 99);
        assert_ok(wire_close_newer(&r, "message"));
        assert_fails(ERROR_INVALID_ARGUMENT, "malformed message", wire_close(&r, "message"));
        wire_done(&w);
        container_put(&w, PROTOCOL_VERSION);
        wire_put_text(&w, "more of tomorrow");
        struct container_message m;
        assert_ok(container_message_get(w.bytes.bytes, w.bytes.len_bytes, PROTOCOL_VERSION, 3, &m));
        container_message_done(&m);
        wire_done(&w);
}

/* As an older one would send it: a field at the end that is not there. And a length that is a lie. */
static void a_struct_ends_where_its_length_says(void **state)
{
        (void) state;
        struct wire_writer w;
        struct wire_reader r;
        wire_begin(&w, 1000);
        size_t at = wire_struct_begin(&w);
        wire_put_u32(&w, 1);
        wire_struct_end(&w, at);
        wire_put_u32(&w, 2);
        wire_open(&r, w.bytes.bytes, w.bytes.len_bytes);
        struct wire_reader inner = wire_struct_enter(&r);
        assert_int_equal(wire_get_u32(&inner), 1);
        assert_false(wire_has_more(&inner));
        assert_int_equal(wire_get_u32(&inner), 0); /* not the 2 behind it */
        wire_struct_leave(&r, &inner);
        assert_fails(ERROR_INVALID_ARGUMENT, "malformed", wire_close_newer(&r, "message"));
        w.bytes.bytes[0] = 100;
        wire_open(&r, w.bytes.bytes, w.bytes.len_bytes);
        inner = wire_struct_enter(&r);
        assert_true(inner.bad && r.bad);
        wire_done(&w);
}

static void a_writer_keeps_to_its_limit(void **state)
{
        (void) state;
        struct wire_writer w;
        wire_begin(&w, 8);
        wire_put_u32(&w, 1);
        wire_put_text(&w, "too long");
        wire_put_u32(&w, 1);
        assert_fails(ERROR_RESOURCE_EXHAUSTED, "more than 8", wire_end(&w));
        wire_done(&w);
}

static void stages_have_their_words(void **state)
{
        (void) state;
        char *argv[] = { (char *) "x", NULL };
        struct process_spec process = { .argv = argv, .cwd = (char *) "/w" };
        const struct child_report not_found = { .stage = STAGE_EXEC_NOT_FOUND, .errnum = ENOENT },
                                  cwd = { .stage = STAGE_CWD, .errnum = ENOENT },
                                  format = { .stage = STAGE_EXEC, .errnum = ENOEXEC },
                                  odd = { .stage = 12345, .errnum = EIO, .index = 77 };
        assert_fails(ERROR_FAILED_PRECONDITION, "exec: \"x\": executable file not found in $PATH",
                     stage_error(&not_found, NULL, &process));
        assert_fails(ERROR_FAILED_PRECONDITION,
                     "chdir to cwd (\"/w\") set in config.json failed: no such file",
                     stage_error(&cwd, NULL, &process));
        assert_fails(ERROR_FAILED_PRECONDITION, "exec x: exec format error",
                     stage_error(&format, NULL, &process));
        assert_fails(ERROR_FAILED_PRECONDITION, "start", stage_error(&odd, NULL, NULL));
        for (uint32_t stage = 0; stage <= STAGE_LAST; stage++) {
                struct child_report report = { .stage = stage, .errnum = EIO, .index = 99 };
                error_free(stage_error(&report, NULL, NULL));
        }
}

UNIT_MAIN(TEST(a_container_comes_over_whole), TEST(what_is_cut_or_out_of_range_is_refused),
          TEST(ranges_meet_in_their_newest_common_version),
          TEST(every_version_that_is_spoken_comes_over_whole), TEST(what_is_not_known_is_passed_over),
          TEST(a_profile_that_was_asked_for_is_not_left_out),
          TEST(a_name_that_is_too_long_for_the_child_is_malformed), TEST(a_session_comes_over_whole),
          TEST(a_struct_ends_where_its_length_says), TEST(a_writer_keeps_to_its_limit),
          TEST(stages_have_their_words))
