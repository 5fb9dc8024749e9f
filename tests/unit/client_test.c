/* The parts of the skiff command that need no daemon: messages as JSON, logs taken apart, run's arguments. What it does
 * against skiffd is in tests/integration/test_cli.py. */
#include "base/file.h"
#include "base/json.h"
#include "cri/client/command.h"
#include "cri/client/log_reader.h"
#include "cri/client/message_json.h"
#include "cri/client/print.h"
#include "cri/client/run_spec.h"
#include "tests/unit/unit.h"
#include <fcntl.h>
#include <string.h>

static void assert_json(const void *message, const char *expected)
{
        _cleanup_(buf_done) struct buf out;
        buf_init(&out, 65536);
        assert_ok(message_json(message, &out));
        assert_string_equal(out.bytes, expected);
}

static void messages_become_json_by_their_schema(void **state)
{
        (void) state;
        Cri__PodSandbox__LabelsEntry label = CRI__POD_SANDBOX__LABELS_ENTRY__INIT;
        Cri__PodSandbox__LabelsEntry *labels[] = { &label };
        Cri__PodSandbox pod = CRI__POD_SANDBOX__INIT;
        label.key = "a\"b";
        label.value = "x\n";
        pod.id = "0123";
        pod.created_at = INT64_MAX;
        pod.state = CRI__POD_SANDBOX_STATE__SANDBOX_NOTREADY;
        pod.n_labels = 1;
        pod.labels = labels;
        assert_json(&pod,
                    "{\"id\":\"0123\",\"state\":\"SANDBOX_NOTREADY\",\"created_at\":9223372036854775807,"
                    "\"labels\":{\"a\\\"b\":\"x\\n\"}}");
}

static void bytes_are_text_or_base64(void **state)
{
        (void) state;
        Cri__ExecSyncResponse answer = CRI__EXEC_SYNC_RESPONSE__INIT;
        answer.stdout = (ProtobufCBinaryData){ 2, (uint8_t *) (uintptr_t) "hi" };
        answer.stderr = (ProtobufCBinaryData){ 4, (uint8_t *) (uintptr_t) "\xff\xfe\x00\x01" };
        assert_json(&answer, "{\"stdout\":\"hi\",\"stderr\":\"//4AAQ==\",\"exit_code\":0}");
}

static void info_that_is_json_stands_as_json(void **state)
{
        (void) state;
        Cri__StatusResponse__InfoEntry one = CRI__STATUS_RESPONSE__INFO_ENTRY__INIT, two = one;
        Cri__StatusResponse__InfoEntry *info[] = { &one, &two };
        Cri__StatusResponse answer = CRI__STATUS_RESPONSE__INIT;
        one.key = "info";
        one.value = "{ \"a\": [1] }";
        two.key = "text";
        two.value = "plain";
        answer.n_info = 2;
        answer.info = info;
        assert_json(&answer, "{\"info\":{\"info\":{\"a\":[1]},\"text\":\"plain\"}}");
}

static void assert_text(char *text, const char *expected)
{
        assert_string_equal(text, expected);
        free(text);
}

static void sizes_and_ids_are_short(void **state)
{
        (void) state;
        assert_text(print_size(999), "999 B");
        assert_text(print_size(1234567), "1.2 MB");
        assert_text(print_id("sha256:0123456789abcdef"), "0123456789abc");
        assert_text(print_age(0), "-");
}

/* --- logs --- */

static void append(const char *path, const char *text)
{
        FILE *f = fopen(path, "ae");
        assert_non_null(f);
        (void) fputs(text, f);
        (void) fclose(f);
}

/* Runs show with stdout and stderr in files of dir, and compares them. */
static void assert_shown(struct log_reader *reader, const char *dir, const char *out, const char *err)
{
        _cleanup_(freep) char *out_path = format_string("%s/out", dir),
                              *err_path = format_string("%s/err", dir);
        _cleanup_(freep) char *out_text = NULL, *err_text = NULL;
        (void) fflush(stdout);
        _cleanup_(closep) int old_out = dup(1), old_err = dup(2);
        int new_out = open(out_path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
        int new_err = open(err_path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
        assert_true(dup2(new_out, 1) == 1 && dup2(new_err, 2) == 2);
        struct error *e = log_reader_show(reader);
        assert_true(dup2(old_out, 1) == 1 && dup2(old_err, 2) == 2);
        (void) close(new_out);
        (void) close(new_err);
        assert_ok(e);
        assert_ok(file_read(AT_FDCWD, out_path, 65536, &out_text, NULL));
        assert_ok(file_read(AT_FDCWD, err_path, 65536, &err_text, NULL));
        assert_string_equal(out_text, out);
        assert_string_equal(err_text, err);
}

#define AT "2026-11-24T08:00:00.000000000Z "

static void a_log_is_taken_apart(void **state)
{
        _cleanup_(freep) char *path = format_string("%s/log", (char *) *state);
        _cleanup_(log_reader_freep) struct log_reader *reader = NULL;
        assert_ok(log_reader_open(path, false, &reader));
        assert_shown(reader, *state, "", "");
        append(path, AT "stdout F one\n" AT "stderr F two  spaces\n" AT "stdout P par"
                        "\n" AT "stdout F tial\n" AT "stdout F");
        assert_shown(reader, *state, "one\npartial\n", "two  spaces\n");
        append(path, " \nno log line\n");
        assert_shown(reader, *state, "\nno log line\n", "");
}

static void a_renamed_log_is_read_to_its_end_first(void **state)
{
        _cleanup_(freep) char *path = format_string("%s/log", (char *) *state);
        _cleanup_(freep) char *old = format_string("%s/log.1", (char *) *state);
        _cleanup_(log_reader_freep) struct log_reader *reader = NULL;
        append(path, AT "stdout F one\n");
        assert_ok(log_reader_open(path, true, &reader));
        assert_shown(reader, *state, AT "one\n", "");
        append(path, AT "stdout F two\n");
        assert_int_equal(rename(path, old), 0);
        append(path, AT "stdout F three\n");
        assert_shown(reader, *state, AT "two\n" AT "three\n", "");
}

/* --- run's arguments --- */

static void spec_freep(struct run_spec **spec)
{
        if (*spec)
                run_spec_done(*spec);
}

static struct error *parse(struct run_spec *spec, const char *const *arguments)
{
        static char *argv[32]; /* the spec borrows it */
        argv[0] = (char *) "run";
        int argc = 1;
        for (; arguments[argc - 1]; argc++)
                argv[argc] = (char *) (uintptr_t) arguments[argc - 1];
        argv[argc] = NULL;
        optind = 0;
        opterr = 0;
        return run_spec_parse(argc, argv, spec);
}

#define PARSE(spec, ...) parse(spec, (const char *const[]){ __VA_ARGS__, NULL })

static void what_nobody_waits_for_is_not_removed_at_its_end(void **state)
{
        (void) state;
        _cleanup_(spec_freep) struct run_spec *both = NEW(struct run_spec), *one = NEW(struct run_spec);
        assert_fails(ERROR_INVALID_ARGUMENT, "--rm goes without -d", PARSE(both, "--rm", "-d", "busybox"));
        assert_ok(PARSE(one, "--rm", "busybox"));
}

static void run_asks_for_what_its_arguments_say(void **state)
{
        (void) state;
        _cleanup_(spec_freep) struct run_spec *spec = NEW(struct run_spec);
        assert_ok(PARSE(spec, "-d", "--name", "web", "-e", "A=b=c", "-v", "/tmp:/data:ro", "-p", "8080:80",
                        "-p", "53:53/udp", "-u", "1000:100", "-m", "64m", "-w", "/w", "--read-only",
                        "busybox", "--", "sh", "-c", "x"));
        assert_true(spec->detach);
        assert_string_equal(spec->image, "busybox");
        assert_string_equal(spec->pod.metadata->name, "web");
        assert_string_equal(spec->pod.hostname, "web");
        assert_non_null(strstr(spec->pod.log_directory, "/var/log/pods/skiff_web_"));
        assert_string_equal(spec->container.envs[0]->key, "A");
        assert_memory_equal(spec->container.envs[0]->value.data, "b=c", 3);
        assert_string_equal(spec->container.mounts[0]->host_path, "/tmp");
        assert_string_equal(spec->container.mounts[0]->container_path, "/data");
        assert_true(spec->container.mounts[0]->readonly);
        assert_int_equal(spec->pod.n_port_mappings, 2);
        assert_int_equal(spec->pod.port_mappings[1]->protocol, CRI__PROTOCOL__UDP);
        assert_int_equal(spec->security.run_as_user->value, 1000);
        assert_int_equal(spec->security.run_as_group->value, 100);
        assert_int_equal(spec->resources.memory_limit_in_bytes, 64 << 20);
        assert_int_equal(spec->container.n_args, 3);
        assert_string_equal(spec->container.args[2], "x");
        assert_non_null(spec->security.seccomp);
        /* what goes over the wire is what we think it is */
        assert_true(protobuf_c_message_check(&spec->pod.base));
        assert_true(protobuf_c_message_check(&spec->container.base));
}

static void a_pod_is_named_after_its_image(void **state)
{
        (void) state;
        _cleanup_(spec_freep) struct run_spec *spec = NEW(struct run_spec);
        assert_ok(PARSE(spec, "--host-network", "--privileged", "r.example:5000/a/my_app:1.2"));
        assert_int_equal(strncmp(spec->name, "my-app-", 7), 0);
        assert_string_equal(spec->pod.hostname, "");
        assert_int_equal(spec->namespaces.network, CRI__NAMESPACE_MODE__NODE);
        assert_null(spec->security.seccomp);
        assert_int_equal(spec->container.n_args, 0);
}

static void a_user_namespace_is_of_pod_container_and_mounts(void **state)
{
        (void) state;
        _cleanup_(spec_freep) struct run_spec *spec = NEW(struct run_spec);
        assert_ok(PARSE(spec, "--userns", "131072", "-v", "/tmp:/t", "busybox"));
        assert_ptr_equal(spec->pod_security.namespace_options->userns_options, &spec->userns);
        assert_ptr_equal(spec->security.namespace_options->userns_options, &spec->userns);
        assert_int_equal(spec->userns.uids[0]->host_id, 131072);
        assert_int_equal(spec->userns.gids[0]->length, 65536);
        assert_int_equal(spec->mounts[0].n_uidmappings, 1);
        assert_int_equal(spec->mounts[0].n_gidmappings, 1);
        assert_true(spec->security.n_masked_paths > 0);
        assert_true(protobuf_c_message_check(&spec->pod.base));
        assert_true(protobuf_c_message_check(&spec->container.base));
}

static void assert_usage(const char *text, const char *const *arguments)
{
        _cleanup_(spec_freep) struct run_spec *spec = NEW(struct run_spec);
        assert_fails(ERROR_INVALID_ARGUMENT, text, parse(spec, arguments));
}

#define USAGE(text, ...) assert_usage(text, (const char *const[]){ __VA_ARGS__, NULL })

static void wrong_arguments_say_what_is_wrong(void **state)
{
        (void) state;
        USAGE("which image?", "-d");
        USAGE("unknown flag", "--bogus", "busybox");
        USAGE("is not HOST:PORT", "-p", "80", "busybox");
        USAGE("\"99999\" is no port", "-p", "99999:80", "busybox");
        USAGE("none of tcp", "-p", "80:80/ip", "busybox");
        USAGE("is not HOST:PATH", "-v", "/tmp", "busybox");
        USAGE("is not ro", "-v", "/tmp:/x:rw", "busybox");
        USAGE("a name is needed", "-e", "=x", "busybox");
        USAGE("it is not set here", "-e", "SURELY_NOT_SET", "busybox");
        USAGE("is no size", "-m", "lots", "busybox");
        USAGE("--name", "--name", "a/b", "busybox");
        _cleanup_(spec_freep) struct run_spec *spec = NEW(struct run_spec);
        assert_fails(ERROR_NOT_FOUND, "No such file", PARSE(spec, "-v", "/nonexistent:/x", "busybox"));
}

UNIT_MAIN(TEST(messages_become_json_by_their_schema), TEST(bytes_are_text_or_base64),
          TEST(info_that_is_json_stands_as_json), TEST(sizes_and_ids_are_short),
          IN_TMPDIR(a_log_is_taken_apart), IN_TMPDIR(a_renamed_log_is_read_to_its_end_first),
          TEST(run_asks_for_what_its_arguments_say), TEST(what_nobody_waits_for_is_not_removed_at_its_end),
          TEST(a_pod_is_named_after_its_image), TEST(a_user_namespace_is_of_pod_container_and_mounts),
          TEST(wrong_arguments_say_what_is_wrong))
