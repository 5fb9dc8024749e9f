#include "cri/client/run_streams.h"
#include "base/clock.h"
#include "base/file.h"
#include "cri/client/log_reader.h"
#include "cri/client/stream_calls.h"
#include <string.h>

/* skiff-pod holds a line without its end back for 900 ms (runtime/supervisor/log.h). */
#define HOLD_MS 1200
#define LOOK_EVERY_MS 20 /* while something is held */
#define LAST_WORDS_MS 5000
#define NS_PER_MS INT64_C(1000000)

struct run_streams {
        struct log_reader *reader;
        struct stream_session *session; /* NULL: there is none, or not any more */
        bool tty, held, detached;
        struct error *lost;
        int64_t hold_until_ns;
        /* The log while output is held, and how much there was at the last look. */
        FILE *log;
        char *log_text;
        size_t log_bytes, last_log_bytes, last_held_bytes;
};

void run_streams_free(struct run_streams *streams)
{
        if (!streams)
                return;
        stream_session_free(streams->session);
        log_reader_free(streams->reader);
        fclosep(&streams->log);
        free(streams->log_text);
        error_free(streams->lost);
        free(streams);
}

/* --- opening --- */

static struct error *is_running(struct context *context, const char *id, bool *out)
{
        _cleanup_(client_answer_freep) Cri__ContainerStatusResponse *answer = NULL;
        TRY(container_status(context, id, &answer));
        *out = answer->status->state == CRI__CONTAINER_STATE__CONTAINER_RUNNING;
        return NULL;
}

static struct error *attach(struct context *context, struct run_spec *spec, const char *container_id,
                            struct run_streams *streams)
{
        struct stream_session_options options = { .in = spec->container.stdin,
                                                  .out = spec->container.tty,
                                                  .tty = spec->container.tty,
                                                  .in_fd = STDIN_FILENO,
                                                  .out_fd = STDOUT_FILENO,
                                                  .err_fd = STDERR_FILENO,
                                                  .keys = &spec->detach_keys,
                                                  .hold = true };
        if (!options.in && !options.out)
                return NULL;
        struct error *e = attach_open(context, container_id, &options, &streams->session);
        bool running = true;
        if (!e)
                return NULL;
        struct error *unknown = is_running(context, container_id, &running);
        if (!unknown && !running) {
                error_ignore(e); /* it was quick: the log has it all */
                return NULL;
        }
        error_ignore(unknown); /* the first is told */
        return e;
}

static struct error *hold(struct run_streams *streams)
{
        _cleanup_(fclosep) FILE *log = open_memstream(&streams->log_text, &streams->log_bytes);
        if (!log)
                return error_errno(errno, "the log's text");
        log_reader_of_terminal(streams->reader, log);
        streams->held = true;
        streams->hold_until_ns = clock_monotonic_ns() + HOLD_MS * NS_PER_MS;
        streams->log = TAKE(log);
        return NULL;
}

struct error *run_streams_open(struct context *context, struct run_spec *spec, const char *container_id,
                               struct run_streams **out)
{
        _cleanup_(run_streams_freep) struct run_streams *streams = NEW(struct run_streams);
        _cleanup_(freep) char *path = format_string("%s/%s", spec->log_directory, spec->container.log_path);
        streams->tty = spec->container.tty;
        TRY(log_reader_open(path, false, &streams->reader));
        TRY(attach(context, spec, container_id, streams));
        if (streams->tty)
                TRY(hold(streams));
        *out = TAKE(streams);
        return NULL;
}

/* --- a terminal's first bytes --- */

size_t run_streams_before(const char *log, size_t log_bytes, const char *attached, size_t attached_bytes)
{
        size_t common = log_bytes < attached_bytes ? log_bytes : attached_bytes;
        while (common && memcmp(log + log_bytes - common, attached, common) != 0)
                common--;
        return log_bytes - common;
}

/* Both have come to the same point: the log ends with all that the attach has; or with a line that was written without its
 * end, which the log shows only when nothing followed it, and the attach with nothing. */
static bool is_level(const struct run_streams *streams, const struct buf *held)
{
        size_t log_bytes = streams->log_bytes, held_bytes = held->len_bytes;
        if (held_bytes == 0)
                return log_bytes && streams->log_text[log_bytes - 1] != '\n';
        return log_bytes >= held_bytes &&
               memcmp(streams->log_text + log_bytes - held_bytes, held->bytes, held_bytes) == 0;
}

static struct error *look(struct run_streams *streams)
{
        const struct buf *held = stream_session_held(streams->session);
        TRY(log_reader_show(streams->reader));
        bool moved =
                streams->log_bytes != streams->last_log_bytes || held->len_bytes != streams->last_held_bytes;
        streams->last_log_bytes = streams->log_bytes;
        streams->last_held_bytes = held->len_bytes;
        bool is_late =
                clock_monotonic_ns() > streams->hold_until_ns || stream_session_held_full(streams->session);
        if (!is_late && (moved || !is_level(streams, held)))
                return NULL;
        size_t before_bytes = run_streams_before(streams->log_text, streams->log_bytes,
                                                 held->bytes ? held->bytes : "", held->len_bytes);
        TRY_WRAP(file_write_all(STDOUT_FILENO, streams->log_text, before_bytes), "write to stdout");
        streams->held = false;
        stream_session_release(streams->session);
        return NULL;
}

/* --- the loop --- */

/* That of a terminal says in its status whether it was the container's end. */
static void session_over(struct run_streams *streams)
{
        int ignored;
        if (streams->tty && !streams->detached)
                streams->lost = stream_session_status(streams->session, &ignored);
        stream_session_free(TAKE(streams->session)); /* what is held of it is in the log too */
}

static struct error *session_step(struct run_streams *streams, struct pollfd *more, int timeout_ms)
{
        TRY(stream_session_step(streams->session, more, 1, timeout_ms));
        streams->detached = stream_session_detached(streams->session);
        if (stream_session_ended(streams->session) || streams->detached)
                session_over(streams);
        return NULL;
}

struct error *run_streams_step(struct run_streams *streams, int timeout_ms, bool *is_quiet)
{
        int64_t began_ns = clock_monotonic_ns();
        if (streams->held && streams->session)
                TRY(look(streams));
        else if (streams->held || !streams->tty)
                TRY(log_reader_show(streams->reader));
        if (streams->held && timeout_ms > LOOK_EVERY_MS)
                timeout_ms = LOOK_EVERY_MS;
        bool shows_log = streams->held || !streams->tty;
        struct pollfd more = { .fd = shows_log ? log_reader_fd(streams->reader) : -1, .events = POLLIN };
        if (streams->session)
                TRY(session_step(streams, &more, timeout_ms));
        else if (poll(&more, 1, timeout_ms) < 0)
                more.revents = 0;
        *is_quiet = !more.revents && clock_monotonic_ns() - began_ns >= timeout_ms * NS_PER_MS;
        return NULL;
}

struct error *run_streams_finish(struct run_streams *streams)
{
        int64_t until_ns = clock_monotonic_ns() + LAST_WORDS_MS * NS_PER_MS;
        if (!streams->tty)
                return log_reader_show(streams->reader);
        if (streams->held) {
                TRY(log_reader_show(streams->reader));
                return file_write_all(STDOUT_FILENO, streams->log_text, streams->log_bytes);
        }
        while (streams->session && !stream_session_ended(streams->session) && clock_monotonic_ns() < until_ns)
                TRY(stream_session_step(streams->session, NULL, 0, LOOK_EVERY_MS));
        return NULL;
}

bool run_streams_detached(const struct run_streams *streams)
{
        return streams->detached;
}

struct error *run_streams_lost(struct run_streams *streams)
{
        return TAKE(streams->lost);
}
