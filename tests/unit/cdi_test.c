#include "base/file.h"
#include "pods/cdi/cdi.h"
#include "pods/cdi/names.h"
#include "tests/unit/unit.h"
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

static struct error *check(const char *text)
{
        struct cdi_document document;
        TRY(cdi_document_parse(text, strlen(text), &document));
        struct error *e = cdi_check_document(&document);
        cdi_document_done(&document);
        return e;
}

/* A file of that version whose one device has these edits, in YAML's flow style. */
static struct error *check_edits(const char *version, const char *edits)
{
        _cleanup_(freep) char *text = format_string(
                "cdiVersion: %s\nkind: v.com/c\ndevices: [{name: d, containerEdits: %s}]\n", version, edits);
        return check(text);
}

static void a_whole_file_is_read(void **state)
{
        (void) state;
        const char *text = "---\n"
                           "cdiVersion: v0.7.0 # a comment\n"
                           "Kind: vendor.com/gpu\n"
                           "containeredits:\n"
                           "  env: [A=b, C=1]\n"
                           "devices:\n"
                           "- name: 0\n"
                           "  containerEdits:\n"
                           "    deviceNodes:\n"
                           "    - path: /dev/x\n"
                           "      type: c\n"
                           "      major: 0x10\n"
                           "      minor: 1_000\n"
                           "      fileMode: 0666\n"
                           "      uid: 0\n"
                           "      permissions:\n"
                           "    hooks:\n"
                           "    - {hookName: createContainer, path: bin/x, args: [x, 1], timeout: 7}\n"
                           "    mounts: [{hostPath: /a, containerPath: /b, options: [ro]}]\n"
                           "    additionalGIDs: [0, 7]\n"
                           "...\n"
                           "what comes after: [is not, looked at\n";
        struct cdi_document d;
        assert_ok(cdi_document_parse(text, strlen(text), &d));
        assert_ok(cdi_check_document(&d));
        assert_string_equal(d.kind, "vendor.com/gpu");
        assert_string_equal(d.edits.env[1], "C=1");
        assert_int_equal(d.n_devices, 1);
        assert_string_equal(d.devices[0].name, "0");
        const struct cdi_edits *edits = &d.devices[0].edits;
        assert_int_equal(edits->nodes[0].major.value, 16);
        assert_int_equal(edits->nodes[0].minor.value, 1000);
        assert_int_equal(edits->nodes[0].mode.value, 0666);
        assert_true(edits->nodes[0].uid.is_set);
        assert_false(edits->nodes[0].gid.is_set);
        assert_null(edits->nodes[0].permissions);
        assert_string_equal(edits->hooks[0].args[1], "1");
        assert_int_equal(edits->hooks[0].timeout.value, 7);
        assert_int_equal(edits->n_gids, 2);
        assert_int_equal(edits->gids[1], 7);
        cdi_document_done(&d);
}

static void json_is_yaml_too(void **state)
{
        (void) state;
        assert_ok(
                check("{\"cdiVersion\": \"0.5.0\", \"kind\": \"v/c\",\n\t\"devices\": [ # tabs and comments\n"
                      "{\"name\": \"1\", \"containerEdits\": {\"env\": [\"A=\\u00e9\"]}}]} trailing"));
}

static void what_is_not_written_as_it_should_be_is_refused_with_its_line(void **state)
{
        (void) state;
        static const struct {
                const char *text, *words;
        } bad[] = {
                { "", "nothing in it" },
                { "kind: a/b\nkindd: 1\n", "line 2: unknown key \"kindd\"" },
                { "kind: a/b\nkind: a/c\n", "line 2: \"kind\" is there twice" },
                { "kind: a/b\nKIND: a/c\n", "line 2: \"kind\" is there twice" },
                { "kind: [a]\n", "line 1: this should be a text" },
                { "devices: {}\n", "line 1: this should be a list" },
                { "devices:\n- 7\n", "line 2: this should be values by name" },
                { "devices:\n- name: a\n  containerEdits: {deviceNodes: [{major: \"1\"}]}\n",
                  "line 3: this should be a number" },
                { "devices:\n- containerEdits: {additionalGids: [-1]}\n", "line 2: -1 is not from 0 to" },
                { "devices:\n- containerEdits: {additionalGids: [0x]}\n",
                  "line 2: this should be a whole number" },
                { "kind: \"a\\0b\"\n", "line 1: a text with a NUL" },
                { "kind: \"a\n", "line 2: " },
                { "kind: *nowhere\n", "line 1: found undefined alias" },
        };
        for (size_t i = 0; i < LENGTH(bad); i++)
                assert_fails(ERROR_INVALID_ARGUMENT, bad[i].words, check(bad[i].text));
}

/* A thousand times a device with a thousand variables. */
static void aliases_do_not_explode(void **state)
{
        (void) state;
        _cleanup_(buf_done) struct buf many;
        buf_init(&many, 1 << 20);
        assert_ok(buf_append_text(&many, "devices:\n- &a {name: x, containerEdits: {env: &e [A=b"));
        for (int i = 0; i < 1000; i++)
                assert_ok(buf_append_text(&many, ",A=b"));
        assert_ok(buf_append_text(&many, "]}}\n"));
        for (int i = 0; i < 1000; i++)
                assert_ok(buf_append_text(&many, "- *a\n"));
        assert_fails(ERROR_INVALID_ARGUMENT, "more than 100000 values", check(many.bytes));
}

/* One long text a hundred times, anchors that are each compared with all, brackets in brackets. */
static void what_would_take_much_from_little_is_refused(void **state)
{
        (void) state;
        _cleanup_(buf_done) struct buf texts, anchors, deep;
        buf_init(&texts, 1 << 20);
        buf_init(&anchors, 1 << 20);
        buf_init(&deep, 1 << 20);
        _cleanup_(freep) char *text = NEW_ARRAY(char, 100001);
        memset(text, 'x', 100000);
        assert_ok(buf_append_format(&texts, "devices:\n- containerEdits: {env: [&a A=%s", text));
        for (int i = 0; i < 100; i++)
                assert_ok(buf_append_text(&texts, ", *a"));
        assert_ok(buf_append_text(&texts, "]}\n"));
        assert_fails(ERROR_INVALID_ARGUMENT, "line 2: more than 8388608 bytes of texts", check(texts.bytes));
        assert_ok(buf_append_text(&anchors, "devices: ["));
        for (int i = 0; i < 2000; i++)
                assert_ok(buf_append_format(&anchors, "&a%d 1,", i));
        assert_fails(ERROR_INVALID_ARGUMENT, "line 1: more than 1000 anchors", check(anchors.bytes));
        for (int i = 0; i < 10000; i++)
                assert_ok(buf_append_text(&deep, "["));
        assert_fails(ERROR_INVALID_ARGUMENT, "deeper than 64", check(deep.bytes));
}

static void versions_are_held_to_what_is_used(void **state)
{
        (void) state;
        static const struct {
                const char *edits, *least;
        } uses[] = {
                { "{env: [A=b]}", "0.3.0" },
                { "{mounts: [{hostPath: /a, containerPath: /b, type: bind}]}", "0.4.0" },
                { "{deviceNodes: [{path: /dev/a, hostPath: /dev/b}]}", "0.5.0" },
                { "{additionalGids: [1]}", "0.7.0" },
                { "{intelRdt: {}}", "0.7.0" },
                { "{intelRdt: {schemata: []}}", "1.1.0" },
                { "{netDevices: [{hostInterfaceName: a, name: b}]}", "1.1.0" },
        };
        static const char *const all[] = { "0.3.0", "0.4.0", "0.5.0", "0.6.0",
                                           "0.7.0", "0.8.0", "1.0.0", "1.1.0" };
        for (size_t i = 0; i < LENGTH(uses); i++)
                for (size_t j = 0; j < LENGTH(all); j++) {
                        struct error *e = check_edits(all[j], uses[i].edits);
                        if (strcmp(all[j], uses[i].least) < 0)
                                assert_fails(ERROR_INVALID_ARGUMENT, uses[i].least, e);
                        else
                                assert_ok(e);
                }
        static const char *const none[] = { "0.2.0", "0.9.0", "1.2.0", "1.0", "vv1.0.0", "\"\"" };
        for (size_t i = 0; i < LENGTH(none); i++)
                assert_fails(ERROR_INVALID_ARGUMENT, "cdiVersion: not one of",
                             check_edits(none[i], "{env: [A=b]}"));
        assert_fails(
                ERROR_INVALID_ARGUMENT, "0.6.0",
                check("cdiVersion: 0.5.0\nkind: v/c.d\ndevices: [{name: d, containerEdits: {env: [A=b]}}]"));
        assert_fails(
                ERROR_INVALID_ARGUMENT, "0.5.0",
                check("cdiVersion: 0.4.0\nkind: v/c\ndevices: [{name: 0d, containerEdits: {env: [A=b]}}]"));
        assert_fails(ERROR_INVALID_ARGUMENT, "0.6.0",
                     check("cdiVersion: 0.5.0\nkind: v/c\nannotations: {a: b}\ndevices: [{name: d, "
                           "containerEdits: "
                           "{env: [A=b]}}]"));
}

static void what_a_file_says_is_checked(void **state)
{
        (void) state;
        static const char *const bad[][2] = {
                { "{}", "nothing is edited" },
                { "{env: [novalue]}", "no variable" },
                { "{env: [=x]}", "no variable" },
                { "{deviceNodes: [{type: c}]}", "without a path" },
                { "{deviceNodes: [{path: /dev/a, type: x}]}", "type" },
                { "{deviceNodes: [{path: /dev/a, permissions: rx}]}", "permissions" },
                { "{hooks: [{hookName: never, path: /x}]}", "no hook's name" },
                { "{hooks: [{hookName: poststop}]}", "without a path" },
                { "{mounts: [{hostPath: /a}]}", "without both of its paths" },
                { "{intelRdt: {closID: a/b}}", "closID" },
                { "{netDevices: [{hostInterfaceName: a, name: b}, {hostInterfaceName: a, name: c}]}",
                  "of one name" },
        };
        for (size_t i = 0; i < LENGTH(bad); i++)
                assert_fails(ERROR_INVALID_ARGUMENT, bad[i][1], check_edits("1.1.0", bad[i][0]));
        assert_fails(ERROR_INVALID_ARGUMENT, "no devices", check("cdiVersion: 0.3.0\nkind: v/c\n"));
        assert_fails(ERROR_INVALID_ARGUMENT, "two devices of one name",
                     check("cdiVersion: 0.3.0\nkind: v/c\ndevices: [&a {name: d, containerEdits: {env: "
                           "[A=b]}}, *a]"));
}

static void names_are_spelled_as_the_specification_has_them(void **state)
{
        (void) state;
        static const char *const good[] = { "v/c=d", "Vendor.com/a_b-c.d=GPU-1:2", "v/c=0", "v/c=0.a" };
        static const char *const bad[] = { "",        "v/c",     "v=d",    "/c=d",        "v/=d",
                                           "v/c=",    "1v/c=d",  "v-/c=d", "v/c=d-",      "v/c=:d",
                                           "v/c/d=e", "v/c=d=e", "v /c=d", "v/c=\xc3\xa9" };
        for (size_t i = 0; i < LENGTH(good); i++)
                assert_true(cdi_name_is_qualified(good[i]));
        for (size_t i = 0; i < LENGTH(bad); i++)
                assert_false(cdi_name_is_qualified(bad[i]));
}

/* --- directories --- */

static void put_file(const char *dir, const char *name, const char *text)
{
        _cleanup_(freep) char *path = format_string("%s/%s", dir, name);
        assert_ok(file_replace(AT_FDCWD, path, text, strlen(text), 0644, false));
}

/* A file with one device that sets FROM to what is given. */
static void put_device(const char *dir, const char *name, const char *device, const char *from)
{
        _cleanup_(freep) char *text =
                format_string("cdiVersion: 0.5.0\nkind: v/c\ncontainerEdits: {env: [FILE=%s]}\n"
                              "devices: [{name: %s, containerEdits: {env: [FROM=%s]}}]\n",
                              name, device, from);
        put_file(dir, name, text);
}

static struct error *resolve(struct cdi *cdi, const char *one, const char *two, struct cdi_edits *out)
{
        char *names[] = { (char *) (uintptr_t) one, (char *) (uintptr_t) two, NULL };
        return cdi_resolve(cdi, names, out);
}

static void assert_from(struct cdi *cdi, const char *name, const char *variable)
{
        struct cdi_edits edits;
        assert_ok(resolve(cdi, name, NULL, &edits));
        assert_string_equal(edits.env[1], variable);
        cdi_edits_done(&edits);
}

struct dirs {
        char *low, *high;
        struct cdi *cdi;
};

static struct dirs dirs_make(const char *in)
{
        struct dirs d = { format_string("%s/low", in), format_string("%s/high", in), NULL };
        _cleanup_(freep) char *both = format_string("%s:%s", d.low, d.high);
        d.cdi = cdi_new(both);
        return d;
}

static void dirs_done(struct dirs *d)
{
        cdi_free(d->cdi);
        free(d->low);
        free(d->high);
}

static void the_later_directory_wins_and_changes_are_seen(void **dir)
{
        _cleanup_(dirs_done) struct dirs d = dirs_make(*dir);
        struct cdi_edits edits;
        assert_fails(ERROR_INVALID_ARGUMENT, "unresolvable CDI devices v/c=a, v/c=b",
                     resolve(d.cdi, "v/c=a", "v/c=b", &edits));
        assert_int_equal(mkdir(d.low, 0755), 0);
        put_device(d.low, "1.yaml", "a", "low");
        assert_from(d.cdi, "v/c=a", "FROM=low");
        assert_int_equal(mkdir(d.high, 0755), 0);
        put_device(d.high, "1.json", "a", "high");
        assert_from(d.cdi, "v/c=a", "FROM=high");
        for (int i = 0; i < 20; i++) { /* of one size, within one tick of the clock */
                char text[] = "FROM=A", value[] = "A";
                text[5] = value[0] = (char) ('A' + i);
                put_device(d.high, "1.json", "a", value);
                assert_from(d.cdi, "v/c=a", text);
        }
        _cleanup_(freep) char *path = format_string("%s/1.json", d.high);
        assert_int_equal(unlink(path), 0);
        assert_from(d.cdi, "v/c=a", "FROM=low");
}

/* Neither can be had, nor one of that name from a higher directory; the others of both files can. */
static void a_device_twice_in_one_directory_is_lost(void **dir)
{
        _cleanup_(dirs_done) struct dirs d = dirs_make(*dir);
        struct cdi_edits edits;
        assert_int_equal(mkdir(d.low, 0755), 0);
        assert_int_equal(mkdir(d.high, 0755), 0);
        put_device(d.low, "1.yaml", "a", "one");
        put_file(d.low, "2.yaml",
                 "cdiVersion: 0.5.0\nkind: v/c\ndevices: [{name: a, containerEdits: {env: [A=b]}},"
                 " {name: b, containerEdits: {env: [A=b, B=c]}}]\n");
        put_device(d.high, "3.yaml", "a", "three");
        assert_fails(ERROR_INVALID_ARGUMENT, "v/c=a (which two files have)",
                     resolve(d.cdi, "v/c=a", NULL, &edits));
        assert_from(d.cdi, "v/c=b", "B=c");
        char **lines = cdi_problems(d.cdi);
        assert_non_null(lines[0]);
        assert_non_null(strstr(lines[0], "1.yaml: v/c=a is in "));
        assert_null(lines[1]);
        free_strings(lines);
}

static void a_broken_file_is_named_and_the_others_work(void **dir)
{
        _cleanup_(dirs_done) struct dirs d = dirs_make(*dir);
        _cleanup_(freep) char *link = format_string("%s/low/dangling.yaml", (char *) *dir);
        _cleanup_(freep) char *folder = format_string("%s/low/folder.json", (char *) *dir);
        struct cdi_edits edits;
        assert_int_equal(mkdir(d.low, 0755), 0);
        assert_int_equal(mkdir(folder, 0755), 0);
        assert_int_equal(symlink("nowhere", link), 0);
        put_device(d.low, ".hidden.yaml", "hidden", "x");
        put_device(d.low, "good.yaml", "good", "x");
        put_device(d.low, "other.yml", "yml", "x");
        put_file(d.low, "bad.yaml", "cdiVersion: 0.5.0\nkindd: v/c\n");
        assert_from(d.cdi, "v/c=good", "FROM=x");
        assert_from(d.cdi, "v/c=hidden", "FROM=x");
        struct error *e = resolve(d.cdi, "v/c=good", "v/c=yml", &edits);
        assert_non_null(strstr(error_message(e), "bad.yaml: line 2: unknown key \"kindd\""));
        assert_fails(ERROR_INVALID_ARGUMENT, "unresolvable CDI devices v/c=yml", e);
        char **lines = cdi_problems(d.cdi);
        assert_non_null(strstr(lines[0], "bad.yaml"));
        assert_non_null(strstr(lines[1], "dangling.yaml"));
        assert_null(lines[2]);
        free_strings(lines);
}

static void a_files_own_edits_come_once_before_its_first_device(void **dir)
{
        _cleanup_(dirs_done) struct dirs d = dirs_make(*dir);
        struct cdi_edits edits;
        assert_int_equal(mkdir(d.low, 0755), 0);
        put_file(d.low, "1.yaml",
                 "cdiVersion: 0.5.0\nkind: v/c\ncontainerEdits: {env: [X=file]}\n"
                 "devices: [{name: a, containerEdits: {env: [X=a]}}, {name: b, containerEdits: "
                 "{env: [X=b]}}]\n");
        assert_ok(resolve(d.cdi, "v/c=b", "v/c=a", &edits));
        assert_string_equal(edits.env[0], "X=file");
        assert_string_equal(edits.env[1], "X=b");
        assert_string_equal(edits.env[2], "X=a");
        assert_null(edits.env[3]);
        cdi_edits_done(&edits);
}

static void nodes_are_completed_from_the_host(void **dir)
{
        _cleanup_(dirs_done) struct dirs d = dirs_make(*dir);
        struct cdi_edits edits;
        assert_int_equal(mkdir(d.low, 0755), 0);
        put_file(d.low, "1.yaml",
                 "cdiVersion: 0.5.0\nkind: v/c\ndevices:\n"
                 "- {name: host, containerEdits: {deviceNodes: [{path: /dev/mine, hostPath: /dev/zero}]}}\n"
                 "- {name: whole, containerEdits: {deviceNodes: [{path: /dev/none, type: b, major: 240, "
                 "minor: 3}]}}\n"
                 "- {name: lost, containerEdits: {deviceNodes: [{path: /dev/none}]}}\n"
                 "- {name: link, containerEdits: {deviceNodes: [{path: /dev/stdin}]}}\n"
                 "- {name: other, containerEdits: {deviceNodes: [{path: /dev/zero, type: b}]}}\n");
        assert_ok(resolve(d.cdi, "v/c=host", "v/c=whole", &edits));
        assert_string_equal(edits.nodes[0].type, "c");
        assert_int_equal(edits.nodes[0].major.value, 1);
        assert_int_equal(edits.nodes[0].minor.value, 5);
        assert_int_equal(edits.nodes[0].mode.value, 0666);
        assert_false(edits.nodes[0].uid.is_set);
        assert_int_equal(edits.nodes[1].major.value, 240);
        assert_int_equal(edits.nodes[1].mode.value, 0666);
        cdi_edits_done(&edits);
        assert_fails(ERROR_FAILED_PRECONDITION, "failed to stat CDI host device \"/dev/none\"",
                     resolve(d.cdi, "v/c=lost", NULL, &edits));
        assert_fails(ERROR_FAILED_PRECONDITION, "not a device node",
                     resolve(d.cdi, "v/c=link", NULL, &edits));
        assert_fails(ERROR_FAILED_PRECONDITION, "is of type c", resolve(d.cdi, "v/c=other", NULL, &edits));
}

static void what_no_container_can_have_is_refused_with_a_sentence(void **dir)
{
        _cleanup_(dirs_done) struct dirs d = dirs_make(*dir);
        struct cdi_edits edits;
        assert_int_equal(mkdir(d.low, 0755), 0);
        put_file(d.low, "1.yaml",
                 "cdiVersion: 1.1.0\nkind: v/c\ndevices:\n"
                 "- {name: rdt, containerEdits: {intelRdt: {closID: x}}}\n"
                 "- {name: net, containerEdits: {netDevices: [{hostInterfaceName: eth7, name: a}]}}\n");
        assert_fails(ERROR_UNIMPLEMENTED, "intelRdt", resolve(d.cdi, "v/c=rdt", NULL, &edits));
        assert_fails(ERROR_UNIMPLEMENTED, "eth7", resolve(d.cdi, "v/c=net", NULL, &edits));
}

UNIT_MAIN(cmocka_unit_test(a_whole_file_is_read), cmocka_unit_test(json_is_yaml_too),
          cmocka_unit_test(what_is_not_written_as_it_should_be_is_refused_with_its_line),
          cmocka_unit_test(aliases_do_not_explode),
          cmocka_unit_test(what_would_take_much_from_little_is_refused),
          cmocka_unit_test(versions_are_held_to_what_is_used), cmocka_unit_test(what_a_file_says_is_checked),
          cmocka_unit_test(names_are_spelled_as_the_specification_has_them),
          IN_TMPDIR(the_later_directory_wins_and_changes_are_seen),
          IN_TMPDIR(a_device_twice_in_one_directory_is_lost),
          IN_TMPDIR(a_broken_file_is_named_and_the_others_work),
          IN_TMPDIR(a_files_own_edits_come_once_before_its_first_device),
          IN_TMPDIR(nodes_are_completed_from_the_host),
          IN_TMPDIR(what_no_container_can_have_is_refused_with_a_sentence))
