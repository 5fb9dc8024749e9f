/* skiff-bridge: a CNI plugin that does what bridge, host-local and portmap do, in one short process. */
#include "cni/bridge/commands.h"
#include "cni/bridge/result.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define CONFIG_MAX_BYTES ((size_t) 4 << 20)
#define OUTPUT_MAX_BYTES ((size_t) 16 << 20)

/* Codes of CNI SPEC.md 1.1.0, "Error". */
enum cni_code {
        CNI_INCOMPATIBLE_VERSION = 1,
        CNI_UNSUPPORTED_FIELD = 2,
        CNI_CONTAINER_UNKNOWN = 3,
        CNI_INVALID_ENVIRONMENT = 4,
        CNI_IO_FAILURE = 5,
        CNI_DECODE_FAILURE = 6,
        CNI_INVALID_CONFIG = 7,
        CNI_TRY_AGAIN_LATER = 11,
        CNI_NOT_AVAILABLE = 50,
        CNI_OTHER = 999,
};

static enum cni_code code_of_config(const struct error *e)
{
        switch (error_code_of(e)) {
        case ERROR_OUT_OF_RANGE:
                return CNI_INCOMPATIBLE_VERSION;
        case ERROR_UNIMPLEMENTED:
                return CNI_UNSUPPORTED_FIELD;
        case ERROR_INVALID_ARGUMENT:
                return CNI_INVALID_CONFIG;
        default:
                return CNI_OTHER;
        }
}

static enum cni_code code_of_command(const struct error *e, enum command command)
{
        if (command == COMMAND_STATUS)
                return CNI_NOT_AVAILABLE;
        switch (error_code_of(e)) {
        case ERROR_NOT_FOUND:
                return command == COMMAND_ADD ? CNI_CONTAINER_UNKNOWN : CNI_OTHER;
        case ERROR_UNIMPLEMENTED:
                return CNI_UNSUPPORTED_FIELD;
        case ERROR_UNAVAILABLE:
                return CNI_TRY_AGAIN_LATER;
        default:
                return CNI_OTHER;
        }
}

static struct error *put_versions(struct buf *out)
{
        TRY(buf_append_format(out, "{\"cniVersion\":\"%s\",\"supportedVersions\":[",
                              cni_version_text(CNI_VERSIONS - 1)));
        for (int i = 0; i < CNI_VERSIONS; i++)
                TRY(buf_append_format(out, "%s\"%s\"", i ? "," : "", cni_version_text((enum cni_version) i)));
        return buf_append_text(out, "]}\n");
}

static struct error *dispatch(const struct environment *env, const struct config *config, struct buf *out)
{
        switch (env->command) {
        case COMMAND_ADD:
                return command_add(env, config, out);
        case COMMAND_DEL:
                return command_del(env, config);
        case COMMAND_CHECK:
                return command_check(env, config);
        case COMMAND_GC:
                return command_gc(env, config);
        default:
                return command_status(env, config);
        }
}

static struct error *run(struct arena *arena, const struct buf *in, const struct environment *env,
                         struct buf *out, enum cni_code *code)
{
        struct config config = { .arena = arena,
                                 .raw = in->bytes ? in->bytes : "",
                                 .raw_len_bytes = in->len_bytes };
        const struct jv *json = NULL;
        *code = CNI_DECODE_FAILURE;
        TRY_WRAP(jv_parse(arena, config.raw, config.raw_len_bytes, &json), "network configuration");
        if (json->type != JV_OBJECT)
                return error_new(ERROR_INVALID_ARGUMENT, "the network configuration is not a JSON object");
        const char *version = NULL;
        TRY(jv_want_text(json, "cniVersion", &version));
        struct error *e = config_read(env, json, &config);
        if (e) {
                *code = code_of_config(e);
                return e;
        }
        e = dispatch(env, &config, out);
        if (e)
                *code = code_of_command(e, env->command);
        return e;
}

static struct error *answer(struct arena *arena, struct buf *in, struct buf *out, enum cni_code *code)
{
        struct environment env;
        *code = CNI_INVALID_ENVIRONMENT;
        TRY(environment_read(arena, &env));
        if (env.command == COMMAND_VERSION)
                return put_versions(out);
        *code = CNI_IO_FAILURE;
        TRY_WRAP(buf_read_all(in, STDIN_FILENO), "read the network configuration");
        return run(arena, in, &env, out, code);
}

static int print(const struct buf *out)
{
        for (size_t at = 0; at < out->len_bytes;) {
                ssize_t n_bytes = write(STDOUT_FILENO, out->bytes + at, out->len_bytes - at);
                if (n_bytes < 0 && errno != EINTR)
                        return 1;
                at += n_bytes > 0 ? (size_t) n_bytes : 0;
        }
        return 0;
}

/* Nobody knows of an ADD whose answer could not be written, so nobody would end it. */
static void take_back(struct arena *arena, const struct buf *in)
{
        struct environment env;
        struct buf none;
        enum cni_code code;
        buf_init(&none, OUTPUT_MAX_BYTES);
        struct error *e = environment_read(arena, &env);
        if (!e && env.command == COMMAND_ADD) {
                env.command = COMMAND_DEL;
                e = run(arena, in, &env, &none, &code);
        }
        if (e)
                (void) fprintf(stderr, "%s\n", error_message(e));
        error_free(e);
        buf_done(&none);
}

/* By hand, without a runtime. */
static int tell_versions(void)
{
        (void) fprintf(stderr, "skiff-bridge " SKIFF_VERSION
                               ": a CNI plugin in place of bridge, host-local and portmap\n"
                               "CNI versions:");
        for (int i = 0; i < CNI_VERSIONS; i++)
                (void) fprintf(stderr, " %s", cni_version_text((enum cni_version) i));
        (void) fprintf(stderr, "\n");
        return 0;
}

int main(void)
{
        if (!getenv("CNI_COMMAND") && isatty(STDIN_FILENO))
                return tell_versions();
        struct arena arena = { 0 };
        struct buf in, out;
        enum cni_code code = CNI_OTHER;
        buf_init(&in, CONFIG_MAX_BYTES);
        buf_init(&out, OUTPUT_MAX_BYTES);
        struct error *e = answer(&arena, &in, &out, &code);
        int failed = e != NULL;
        if (e) {
                out.len_bytes = 0;
                error_ignore(result_write_error((int) code, error_message(e),
                                                &out)); /* the exit status says it too */
        }
        error_free(e);
        if (print(&out)) {
                (void) fprintf(stderr, "skiff-bridge: write the answer: %s\n", strerror(errno));
                if (!failed)
                        take_back(&arena, &in);
                failed = 1;
        }
        buf_done(&in);
        buf_done(&out);
        arena_done(&arena);
        return failed;
}
