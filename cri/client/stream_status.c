#include "cri/client/stream_status.h"
#include "base/json.h"
#include <string.h>

/* As shells and people know them. */
#define EXIT_NOT_EXECUTABLE 126
#define EXIT_NOT_FOUND 127

static struct error *parse_code(const char *text, int *out)
{
        char *end = NULL;
        errno = 0;
        unsigned long code = strtoul(text, &end, 10);
        if (errno || end == text || *end || *text == '-' || code > 255)
                return error_new(ERROR_INVALID_ARGUMENT, "the server told \"%.100s\" as an exit code", text);
        *out = (int) code;
        return NULL;
}

/* details.causes: the one whose reason is ExitCode. */
static const char *exit_code_of(const struct json *status)
{
        const struct json *causes = json_get(json_get(status, "details"), "causes");
        for (size_t i = 0; i < json_length(causes); i++) {
                const struct json *cause = json_at(causes, i);
                if (strcmp(json_text(json_get(cause, "reason"), ""), "ExitCode") == 0)
                        return json_text(json_get(cause, "message"), NULL);
        }
        return NULL;
}

/* The servers' words around those of whoever knew. */
static const char *without_frame(const char *message)
{
        static const char frame[] = "Internal error occurred: error executing command in container: ";
        bool has_frame = strncmp(message, frame, sizeof(frame) - 1) == 0;
        return has_frame ? message + sizeof(frame) - 1 : message;
}

struct error *stream_status_parse(const char *text, size_t len_bytes, int *out)
{
        _cleanup_(json_freep) struct json *status = NULL;
        if (len_bytes == 0)
                return error_new(ERROR_UNAVAILABLE,
                                 "the connection was lost before the end: the pod, skiffd's skiff-stream or "
                                 "the server has gone");
        TRY_WRAP(json_parse(text, len_bytes, &status), "the server's status");
        const char *word = json_text(json_get(status, "status"), "");
        const char *reason = json_text(json_get(status, "reason"), "");
        const char *code = exit_code_of(status);
        if (strcmp(word, "Success") == 0) {
                *out = 0;
                return NULL;
        }
        if (strcmp(word, "Failure") != 0)
                return error_new(ERROR_INVALID_ARGUMENT, "the server's status is \"%.100s\"", word);
        if (strcmp(reason, "NonZeroExitCode") == 0 && code)
                return parse_code(code, out);
        return error_new(ERROR_INTERNAL, "%s",
                         without_frame(json_text(json_get(status, "message"), "no reason given")));
}

int stream_status_not_run(const char *words)
{
        if (!strstr(words, "exec: \""))
                return 0;
        bool missing = strstr(words, "not found in $PATH") || strstr(words, "no such file or directory");
        return missing ? EXIT_NOT_FOUND : EXIT_NOT_EXECUTABLE;
}
