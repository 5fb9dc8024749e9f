#include "base/log.h"
#include "base/buf.h"
#include "base/clock.h"
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <string.h>
#include <sys/stat.h>

static atomic_int threshold = LOG_LEVEL_INFO;

void log_set_level(enum log_level level)
{
        atomic_store(&threshold, (int) level);
}

static const char *const level_names[] = { "debug", "info", "warn", "error" };

struct error *log_parse_level(const char *text, enum log_level *out)
{
        for (size_t i = 0; i < LENGTH(level_names); i++)
                if (strcmp(text, level_names[i]) == 0) {
                        *out = (enum log_level) i;
                        return NULL;
                }
        return error_new(ERROR_INVALID_ARGUMENT, "log level \"%s\" is none of debug, info, warn, error",
                         text);
}

/* sd-daemon(3): JOURNAL_STREAM names the device and inode of a stderr that journald reads. */
static bool stderr_is_journal(void)
{
        const char *stream = getenv("JOURNAL_STREAM");
        struct stat st;
        unsigned long long dev, inode;
        return stream && sscanf(stream, "%llu:%llu", &dev, &inode) == 2 && fstat(STDERR_FILENO, &st) == 0 &&
               st.st_dev == dev && st.st_ino == inode;
}

static struct error *append_start(struct buf *line, enum log_level level)
{
        static const char *const priorities[] = { "<7>", "<6>", "<4>", "<3>" };
        static atomic_int journal = -1;
        if (atomic_load(&journal) < 0)
                atomic_store(&journal, stderr_is_journal());
        if (atomic_load(&journal))
                return buf_append_text(line, priorities[level]);
        char now[CLOCK_TEXT_SIZE];
        clock_format(clock_wall_ns(), now);
        return buf_append_format(line, "%s %-5s ", now, level_names[level]);
}

static bool is_plain(const char *value)
{
        if (!*value)
                return false;
        for (const unsigned char *c = (const unsigned char *) value; *c; c++)
                if (*c <= ' ' || *c >= 0x7f || *c == '"' || *c == '=' || *c == '\\')
                        return false;
        return true;
}

static struct error *append_value(struct buf *line, const char *value)
{
        if (is_plain(value))
                return buf_append_text(line, value);
        TRY(buf_append_text(line, "\""));
        for (const unsigned char *c = (const unsigned char *) value; *c; c++) {
                if (*c == '"' || *c == '\\')
                        TRY(buf_append_format(line, "\\%c", *c));
                else if (*c == '\n')
                        TRY(buf_append_text(line, "\\n"));
                else if (*c < ' ' || *c >= 0x7f)
                        TRY(buf_append_format(line, "\\x%02x", *c));
                else
                        TRY(buf_append(line, c, 1));
        }
        return buf_append_text(line, "\"");
}

static struct error *append_pairs(struct buf *line, const char *message, va_list pairs)
{
        TRY(buf_append_text(line, message));
        for (const char *key; (key = va_arg(pairs, const char *));) {
                const char *value = va_arg(pairs, const char *);
                if (!value)
                        continue;
                TRY(buf_append_format(line, " %s=", key));
                TRY(append_value(line, value));
        }
        return buf_append_text(line, "\n");
}

void log_event(enum log_level level, const char *message, ...)
{
        if ((int) level < atomic_load(&threshold))
                return;
        _cleanup_(buf_done) struct buf line;
        buf_init(&line, 65536);
        va_list pairs;
        va_start(pairs, message);
        struct error *e = append_start(&line, level);
        if (!e)
                e = append_pairs(&line, message, pairs);
        va_end(pairs);
        error_ignore(e); /* a line that is too long is written as far as it goes */
        if (line.len_bytes && line.bytes[line.len_bytes - 1] != '\n')
                line.bytes[line.len_bytes - 1] = '\n';
        /* A lost log line has nowhere to be reported. */
        if (write(STDERR_FILENO, line.bytes ? line.bytes : "", line.len_bytes) < 0)
                return;
}

void log_error(enum log_level level, struct error *e, const char *message, const char *key, const char *value)
{
        if (!e)
                return;
        if (key)
                log_event(level, message, key, value, "error", error_message(e), NULL);
        else
                log_event(level, message, "error", error_message(e), NULL);
        error_free(e);
}
