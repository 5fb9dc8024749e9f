#include "cri/stream/status.h"
#include "base/utf8.h"
#include <string.h>

enum { FIRST_WITH_JSON = 4, TEXT_MAX = 10 << 10 };

static struct error *append_json_text(struct buf *out, const char *text)
{
        _cleanup_(freep) char *valid = utf8_repair(text, TEXT_MAX);
        TRY(buf_append_text(out, "\""));
        for (const char *from = valid; *from;) {
                size_t plain = 0;
                while ((unsigned char) from[plain] >= 0x20 && from[plain] != '"' && from[plain] != '\\')
                        plain++;
                TRY(buf_append(out, from, plain));
                from += plain;
                if (*from == '"' || *from == '\\')
                        TRY(buf_append_format(out, "\\%c", *from++));
                else if (*from)
                        TRY(buf_append_format(out, "\\u%04x", (unsigned) (unsigned char) *from++));
        }
        return buf_append_text(out, "\"");
}

struct error *status_success(struct buf *out, unsigned version)
{
        return version < FIRST_WITH_JSON ? NULL
                                         : buf_append_text(out, "{\"metadata\":{},\"status\":\"Success\"}");
}

struct error *status_exit(struct buf *out, unsigned version, const char *command, int code)
{
        if (code == 0)
                return status_success(out, version);
        _cleanup_(freep) char *message = format_string("command terminated with non-zero exit code: error "
                                                       "executing command %s, exit code %d",
                                                       command, code);
        if (version < FIRST_WITH_JSON)
                return buf_append_text(out, message);
        TRY(buf_append_text(out, "{\"metadata\":{},\"status\":\"Failure\",\"message\":"));
        TRY(append_json_text(out, message));
        return buf_append_format(out,
                                 ",\"reason\":\"NonZeroExitCode\",\"details\":{\"causes\":"
                                 "[{\"reason\":\"ExitCode\",\"message\":\"%d\"}]}}",
                                 code);
}

struct error *status_failure(struct buf *out, unsigned version, const char *doing, const char *why)
{
        _cleanup_(freep) char *cause = format_string("error %s container: %s", doing, why);
        _cleanup_(freep) char *message = format_string("Internal error occurred: %s", cause);
        if (version < FIRST_WITH_JSON)
                return buf_append_text(out, message);
        TRY(buf_append_text(out, "{\"metadata\":{},\"status\":\"Failure\",\"message\":"));
        TRY(append_json_text(out, message));
        TRY(buf_append_text(out, ",\"reason\":\"InternalError\",\"details\":{\"causes\":[{\"message\":"));
        TRY(append_json_text(out, cause));
        return buf_append_text(out, "}]},\"code\":500}");
}
