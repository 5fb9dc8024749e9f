#include "base/file.h"
#include "base/toml.h"
#include "cri/config.h"
#include "tests/unit/unit.h"
#include <string.h>

static struct error *load(struct skiff_config *out, const char *const *flags)
{
        char *argv[16] = { (char *) "skiffd" };
        int argc = 1;
        for (; flags[argc - 1]; argc++)
                argv[argc] = (char *) (uintptr_t) flags[argc - 1];
        return config_load(argc, argv, out);
}

#define LOAD(out, ...) load(out, (const char *const[]){ __VA_ARGS__, NULL })

static char *write_file(const char *dir, const char *text)
{
        char *path = format_string("%s/skiff.toml", dir);
        assert_ok(file_replace(AT_FDCWD, path, text, strlen(text), 0600, false));
        return path;
}

static void without_anything_the_defaults_hold(void **state)
{
        _cleanup_(skiff_config_done) struct skiff_config config = { 0 };
        _cleanup_(freep) char *path = write_file(*state, "");
        assert_ok(LOAD(&config, "--config", path));
        assert_int_equal(config.action, CONFIG_RUN);
        assert_string_equal(config.root, "/var/lib/skiff");
        assert_string_equal(config.state, "/run/skiff");
        assert_string_equal(config.listen, "unix:///run/skiff/skiff.sock");
        assert_string_equal(config.cni_bin_dir, "/opt/cni/bin:/usr/lib/cni");
        assert_int_equal(config.log_line_max_bytes, 16384);
        assert_int_equal(config.level, LOG_LEVEL_INFO);
        assert_null(config.pinned_images[0]);
}

static void flags_win_over_the_file(void **state)
{
        _cleanup_(skiff_config_done) struct skiff_config config = { 0 };
        _cleanup_(freep) char *path =
                write_file(*state, "root = \"/from/file\"\nstate = \"/file/state/\"\npull_uid = 7\n"
                                   "pinned_images = [\"a\", \"b\"]\nlog_level = \"warn\"\n");
        assert_ok(LOAD(&config, "--root=/from/flag", "--config", path, "--pull-uid", "8"));
        assert_string_equal(config.root, "/from/flag");
        assert_string_equal(config.state, "/file/state");
        assert_int_equal(config.pull_uid, 8);
        assert_string_equal(config.pinned_images[1], "b");
        assert_null(config.pinned_images[2]);
        assert_int_equal(config.level, LOG_LEVEL_WARN);
}

static void assert_file_fails(void **state, const char *text, const char *message)
{
        struct skiff_config config;
        _cleanup_(freep) char *path = write_file(*state, text);
        _cleanup_(freep) char *expected = format_string("%s: %s", path, message);
        assert_fails(ERROR_FAILED_PRECONDITION, expected, LOAD(&config, "--config", path));
}

static void a_wrong_file_says_where_and_what(void **state)
{
        assert_file_fails(state, "root = \"/a\"\nrot = \"/b\"\n", "line 2: unknown key \"rot\"");
        assert_file_fails(state, "[plugins]\nx = 1\n", "line 1: unknown key \"plugins\"");
        assert_file_fails(state, "root = 1\n", "line 1: root: a whole number where a string should be");
        assert_file_fails(state, "pull_uid = \"x\"\n",
                          "line 1: pull_uid: a string where a whole number should be");
        assert_file_fails(state, "pull_uid = 0\n", "line 1: pull_uid: 0 is not between 1");
        assert_file_fails(state, "pinned_images = [1]\n",
                          "line 1: pinned_images: a whole number where a string");
        assert_file_fails(state, "pinned_images = \"a\"\n", "line 1: pinned_images: a string where a list");
        assert_file_fails(state, "state = \"run/skiff\"\n",
                          "line 1: state: \"run/skiff\" is not an absolute path");
        assert_file_fails(state, "cni_bin_dir = \"/a:b\"\n",
                          "line 1: cni_bin_dir: \"b\" is not an absolute path");
        assert_file_fails(state, "cgroup_driver = \"cgroup\"\n",
                          "line 1: cgroup_driver: cgroup driver \"cgroup\" is none of");
        assert_file_fails(state, "\nlog_level = \"loud\"\n", "line 2: log_level: log level \"loud\"");
        assert_file_fails(state, "root = \"/run/skiff\"\n",
                          "line 1: root: root and state are both /run/skiff");
        assert_file_fails(state, "stream_tls_key = \"/k\"\n", "line 1: stream_tls_key: stream_tls_cert and");
        assert_file_fails(state, "stream_tls_ca = \"/k\"\n", "line 1: stream_tls_ca: stream_tls_ca without");
        assert_file_fails(state, "root = \n", "line 1: ");
}

static void wrong_flags_are_usage_errors(void **state)
{
        (void) state;
        struct skiff_config config;
        assert_fails(ERROR_INVALID_ARGUMENT, "unknown flag --rooot", LOAD(&config, "--rooot", "/x"));
        assert_fails(ERROR_INVALID_ARGUMENT, "--root needs a value", LOAD(&config, "--root"));
        assert_fails(ERROR_INVALID_ARGUMENT, "\"serve\" is no flag", LOAD(&config, "serve"));
        assert_fails(ERROR_INVALID_ARGUMENT, "--pull-uid: \"1x\"", LOAD(&config, "--pull-uid", "1x"));
        assert_fails(ERROR_FAILED_PRECONDITION, "/nonexistent", LOAD(&config, "--config", "/nonexistent"));
}

static void help_names_every_flag(void **state)
{
        (void) state;
        struct skiff_config config;
        assert_ok(LOAD(&config, "--root", "/x", "--help"));
        assert_int_equal(config.action, CONFIG_HELP);
        assert_ok(LOAD(&config, "--version"));
        assert_int_equal(config.action, CONFIG_VERSION);
        char text[8192] = { 0 };
        FILE *f = fmemopen(text, sizeof(text) - 1, "w");
        assert_non_null(f);
        config_print_help(f);
        (void) fclose(f);
        for (const char *const *key = config_keys(); *key; key++) {
                _cleanup_(freep) char *flag = format_string("--%s ", *key);
                for (char *c = flag; *c; c++)
                        *c = *c == '_' ? '-' : *c;
                assert_non_null(strstr(text, flag));
        }
}

/* deploy/skiff.toml shows every option with its default. */
static void the_example_file_has_every_key_at_its_default(void **state)
{
        _cleanup_(skiff_config_done) struct skiff_config shown = { 0 }, standard = { 0 };
        _cleanup_(toml_freep) struct toml_value *root = NULL;
        _cleanup_(freep) char *text = NULL, *empty = write_file(*state, "");
        size_t len_bytes = 0;
        assert_ok(file_read(AT_FDCWD, DEPLOY "/skiff.toml", TOML_MAX_BYTES, &text, &len_bytes));
        assert_ok(toml_parse(text, len_bytes, &root));
        size_t n = 0;
        for (const char *const *key = config_keys(); *key; key++, n++)
                assert_non_null(toml_get(root, *key));
        assert_int_equal(toml_length(root), n);
        assert_ok(LOAD(&shown, "--config", DEPLOY "/skiff.toml"));
        assert_ok(LOAD(&standard, "--config", empty));
        assert_string_equal(shown.root, standard.root);
        assert_string_equal(shown.state, standard.state);
        assert_string_equal(shown.listen, standard.listen);
        assert_string_equal(shown.cni_conf_dir, standard.cni_conf_dir);
        assert_string_equal(shown.cni_bin_dir, standard.cni_bin_dir);
        assert_string_equal(shown.registry_config_dir, standard.registry_config_dir);
        assert_string_equal(shown.cgroup_driver, standard.cgroup_driver);
        assert_string_equal(shown.log_level, standard.log_level);
        assert_null(shown.pinned_images[0]);
        assert_int_equal(shown.pull_uid, standard.pull_uid);
        assert_int_equal(shown.pull_stall_seconds, standard.pull_stall_seconds);
        assert_int_equal(shown.log_line_max_bytes, standard.log_line_max_bytes);
}

/* --- drop-ins --- */

/* A drop-in of DIR/skiff.toml; its path, the caller's. */
static char *write_drop_in(const char *dir, const char *name, const char *text)
{
        _cleanup_(freep) char *folder = format_string("%s/skiff.toml.d", dir);
        char *path = format_string("%s/%s", folder, name);
        assert_ok(file_mkdirs(AT_FDCWD, folder, 0700));
        assert_ok(file_replace(AT_FDCWD, path, text, strlen(text), 0600, false));
        return path;
}

static void drop_in(const char *dir, const char *name, const char *text)
{
        free(write_drop_in(dir, name, text));
}

static void assert_source(const struct skiff_config *config, const char *key, const char *file,
                          const char *line)
{
        _cleanup_(freep) char *expected = format_string("%s:%s", file, line);
        assert_string_equal(config_source(config, key), expected);
}

static void the_last_drop_in_wins_key_by_key(void **state)
{
        _cleanup_(skiff_config_done) struct skiff_config config = { 0 };
        _cleanup_(freep) char *path = write_file(*state, "root = \"/main\"\npull_uid = 1\nstream_port = 1\n");
        _cleanup_(freep) char *b = write_drop_in(*state, "b.toml", "pull_uid = 3\npinned_images = [\"b\"]\n");
        _cleanup_(freep) char *upper = write_drop_in(*state, "Z.toml", "\npull_uid = 2\nroot = \"/z\"\n");
        drop_in(*state, "c.toml~", "no TOML");
        drop_in(*state, ".d.toml", "no TOML");
        assert_ok(LOAD(&config, "--config", path, "--log-level", "error"));
        assert_string_equal(config.root, "/z"); /* by byte: capitals come first */
        assert_int_equal(config.pull_uid, 3);
        assert_int_equal(config.stream_port, 1);
        assert_string_equal(config.pinned_images[0], "b");
        assert_source(&config, "root", upper, "3");
        assert_source(&config, "pull_uid", b, "1");
        assert_source(&config, "stream_port", path, "3");
        assert_string_equal(config_source(&config, "log_level"), "--log-level");
        assert_null(config_source(&config, "state"));
}

static void drop_ins_do_without_the_main_file(void **state)
{
        _cleanup_(skiff_config_done) struct skiff_config config = { 0 };
        struct skiff_config none;
        _cleanup_(freep) char *path = format_string("%s/skiff.toml", (char *) *state);
        assert_fails(ERROR_FAILED_PRECONDITION, path, LOAD(&none, "--config", path));
        drop_in(*state, "only.toml", "pull_uid = 5\n");
        assert_ok(LOAD(&config, "--config", path));
        assert_int_equal(config.pull_uid, 5);
}

static void a_wrong_drop_in_is_named_with_its_line(void **state)
{
        struct skiff_config config;
        _cleanup_(freep) char *path = write_file(*state, "cgroup_driver = \"auto\"\n");
        _cleanup_(freep) char *a = write_drop_in(*state, "a.toml", "\ncgroup_driver = \"cgroup\"\n");
        _cleanup_(freep) char *choice =
                format_string("%s: line 2: cgroup_driver: cgroup driver \"cgroup\" is none of", a);
        assert_fails(ERROR_FAILED_PRECONDITION, choice, LOAD(&config, "--config", path));
        _cleanup_(freep) char *b = write_drop_in(*state, "b.toml", "rot = 1\n");
        _cleanup_(freep) char *unknown = format_string("%s: line 1: unknown key \"rot\"", b);
        assert_fails(ERROR_FAILED_PRECONDITION, unknown, LOAD(&config, "--config", path));
        _cleanup_(freep) char *c = write_drop_in(*state, "A.toml", "x = \n");
        _cleanup_(freep) char *broken = format_string("%s: line 1: ", c);
        assert_fails(ERROR_FAILED_PRECONDITION, broken, LOAD(&config, "--config", path));
}

/* What is shown is TOML, says the same, and where each key is from. */
static void what_is_shown_is_a_configuration(void **state)
{
        _cleanup_(skiff_config_done) struct skiff_config config = { 0 }, again = { 0 };
        _cleanup_(buf_done) struct buf shown, twice;
        _cleanup_(freep) char *path =
                write_file(*state, "pinned_images = [\"a\\\"b\", \"c\\\\\\u0001\"]\npull_uid = 9\n"
                                   "registry_config_dir = \"/a b:/ü#\"\n");
        buf_init(&shown, 1 << 16);
        buf_init(&twice, 1 << 16);
        assert_ok(LOAD(&config, "--config", path));
        assert_ok(config_append_toml(&config, &shown));
        _cleanup_(freep) char *from = format_string("pull_uid = 9  # %s:2\n", path);
        assert_non_null(strstr(shown.bytes, from));
        assert_non_null(strstr(shown.bytes, "stream_port = 0  # default\n"));
        _cleanup_(freep) char *other = format_string("%s/other.toml", (char *) *state);
        assert_ok(file_replace(AT_FDCWD, other, shown.bytes, shown.len_bytes, 0600, false));
        assert_ok(LOAD(&again, "--config", other));
        assert_string_equal(again.pinned_images[0], "a\"b");
        assert_string_equal(again.pinned_images[1], "c\\\x01");
        assert_string_equal(again.registry_config_dir, "/a b:/ü#");
        assert_ok(config_append_toml(&again, &twice));
        size_t n = 0;
        for (const char *const *key = config_keys(); *key; key++, n++)
                assert_non_null(config_source(&again, *key));
        for (const char *c = twice.bytes; *c; c++)
                n -= *c == '\n';
        assert_int_equal(n, 0);
}

/* --- reload --- */

static struct {
        const char *key;
        bool adopted;
} changes[32];
static size_t n_changes;

static void note_change(const char *key, bool adopted)
{
        changes[n_changes].key = key;
        changes[n_changes++].adopted = adopted;
}

static void only_what_can_change_is_taken(void **state)
{
        _cleanup_(skiff_config_done) struct skiff_config config = { 0 }, next = { 0 };
        _cleanup_(freep) char *path = write_file(*state, "pinned_images = [\"a\"]\n");
        n_changes = 0;
        assert_ok(LOAD(&config, "--config", path));
        free(write_file(*state, "pinned_images = [\"a\", \"b\"]\npull_uid = 9\nlog_level = \"debug\"\n"));
        assert_ok(LOAD(&next, "--config", path));
        config_adopt(&config, &next, note_change);
        assert_int_equal(n_changes, 3);
        for (size_t i = 0; i < n_changes; i++)
                assert_int_equal(changes[i].adopted, config_key_reloads(changes[i].key));
        assert_string_equal(config.pinned_images[1], "b");
        assert_int_equal(config.level, LOG_LEVEL_DEBUG);
        assert_string_equal(config.log_level, "debug");
        assert_int_equal(config.pull_uid, 60717);
        assert_true(config_key_reloads("log_level") && !config_key_reloads("pull_uid"));
}

/* The comment above each key says so when a reload is enough. */
static void the_example_file_says_what_reloads(void **state)
{
        (void) state;
        _cleanup_(freep) char *text = NULL;
        assert_ok(file_read(AT_FDCWD, DEPLOY "/skiff.toml", TOML_MAX_BYTES, &text, NULL));
        char *from = strstr(text, "\n\n"); /* behind the page's own head */
        assert_non_null(from);
        for (char *line = from, *next; line; line = next) {
                next = strchr(line + 1, '\n');
                if (next)
                        *next = '\0';
                const char *equals = strstr(line + 1, " = ");
                if (line[1] == '\0')
                        from = line + 1;
                if (line[1] == '\0' || line[1] == '#' || !equals)
                        continue;
                _cleanup_(freep) char *key = strndup(line + 1, (size_t) (equals - line - 1));
                bool says = false;
                for (const char *c = from; c < line; c += strlen(c) + 1)
                        says |= strstr(c, "A reload is enough.") != NULL;
                if (says != config_key_reloads(key))
                        fail_msg("%s: the file says it %s", key, says ? "reloads" : "does not reload");
        }
}

static struct error *load_and_drop(const char *path)
{
        _cleanup_(skiff_config_done) struct skiff_config config = { 0 };
        return LOAD(&config, "--config", path, "--root", "/y");
}

static void every_way_out_is_clean(void **state)
{
        _cleanup_(freep) char *path = write_file(*state, "pinned_images = [\"a\"]\nroot = \"/x\"\n");
        drop_in(*state, "a.toml", "pinned_images = [\"b\"]\n");
        WALK_FAILURES(load_and_drop(path));
}

UNIT_MAIN(IN_TMPDIR(without_anything_the_defaults_hold), IN_TMPDIR(flags_win_over_the_file),
          IN_TMPDIR(a_wrong_file_says_where_and_what), TEST(wrong_flags_are_usage_errors),
          TEST(help_names_every_flag), IN_TMPDIR(the_example_file_has_every_key_at_its_default),
          IN_TMPDIR(the_last_drop_in_wins_key_by_key), IN_TMPDIR(drop_ins_do_without_the_main_file),
          IN_TMPDIR(a_wrong_drop_in_is_named_with_its_line), IN_TMPDIR(what_is_shown_is_a_configuration),
          IN_TMPDIR(only_what_can_change_is_taken), TEST(the_example_file_says_what_reloads),
          IN_TMPDIR(every_way_out_is_clean))
