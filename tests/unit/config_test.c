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
        assert_file_fails(state, "cgroup_driver = \"cgroup\"\n", "cgroup driver \"cgroup\" is none of");
        assert_file_fails(state, "log_level = \"loud\"\n", "log level \"loud\"");
        assert_file_fails(state, "root = \"/run/skiff\"\n", "root and state are both /run/skiff");
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

static struct error *load_and_drop(const char *path)
{
        _cleanup_(skiff_config_done) struct skiff_config config = { 0 };
        return LOAD(&config, "--config", path, "--root", "/y");
}

static void every_way_out_is_clean(void **state)
{
        _cleanup_(freep) char *path = write_file(*state, "pinned_images = [\"a\"]\nroot = \"/x\"\n");
        WALK_FAILURES(load_and_drop(path));
}

UNIT_MAIN(IN_TMPDIR(without_anything_the_defaults_hold), IN_TMPDIR(flags_win_over_the_file),
          IN_TMPDIR(a_wrong_file_says_where_and_what), TEST(wrong_flags_are_usage_errors),
          TEST(help_names_every_flag), IN_TMPDIR(the_example_file_has_every_key_at_its_default),
          IN_TMPDIR(every_way_out_is_clean))
