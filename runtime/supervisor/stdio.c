#include "runtime/supervisor/stdio.h"
#include "base/clock.h"
#include "runtime/supervisor/attach.h"
#include "runtime/supervisor/sys.h"
#include <sys/epoll.h>
#include <sys/mman.h>

#define CHUNK_BYTES (64 << 10)
#define ROOM_BYTES (64 << 10)
#define SMALL_AREA_BYTES 3072
#define SMALL_BYTES 1024      /* such a read has the rest of the small area for its lines */
#define DRAIN_CHUNKS_MAX 256  /* a pipe holds at most 1 MiB; more is a writer that outlived the container */
#define TURN_CHUNKS_MAX 8     /* before others have theirs */
#define PIPE_BYTES (64 << 10) /* as a pipe is made */
#define PIPE_WIDE_BYTES (256 << 10) /* it counts as the container's memory */
#define QUICK_NS 1000000            /* from one read to the next */
#define QUICK_READS 16              /* as many of them are a flood */
#define PAUSE_NS 1000000
#define REST_NS 1000000000
#define LINE_MAX_LEAST 256

/* What is read, and the lines that are made of it. What is small takes a page of it at most; the rest is given back when it
 * is not needed. It begins in a page that others use too: an idle pod has few. */
static char area[CHUNK_BYTES + ROOM_BYTES];

static void area_release(void)
{
        /* What the kernel rounds up to a page of its own, 64 KiB on some, must not reach past the area. */
        const size_t page_bytes = (size_t) sysconf(_SC_PAGESIZE), mask = page_bytes - 1;
        size_t from =
                SMALL_AREA_BYTES + (page_bytes - (((uintptr_t) area + SMALL_AREA_BYTES) & mask)) % page_bytes;
        size_t to = sizeof(area) - (((uintptr_t) area + sizeof(area)) & mask);
        if (to > from)
                (void) madvise(area + from, to - from, MADV_DONTNEED);
}

/* Lines that have waited long enough for their newline; the others have the rest of their time. */
static void flush_fire(struct timer *timer)
{
        struct workload *c = CONTAINER_OF(timer, struct workload, flush);
        struct stream *streams[] = { &c->out, &c->err };
        int64_t now_ns = clock_monotonic_ns(), next_ns = INT64_MAX;
        for (size_t i = 0; i < LENGTH(streams); i++) {
                struct stream *s = streams[i];
                int64_t due_ns = s->held_ns + PARTIAL_FLUSH_NS;
                if (s->log.held_bytes && due_ns <= now_ns)
                        log_flush(&c->log, &s->log, clock_wall_ns());
                else if (s->log.held_bytes && due_ns < next_ns)
                        next_ns = due_ns;
        }
        if (next_ns != INT64_MAX)
                timer_arm(&c->pod->loop, timer, next_ns);
}

static bool is_paused(const struct workload *c)
{
        return c->out.paused || c->err.paused;
}

/* A second after a lot was read: what that took is given back, or stays for another second. */
static void rest_fire(struct timer *timer)
{
        struct workload *c = CONTAINER_OF(timer, struct workload, rest);
        struct stream *streams[] = { &c->out, &c->err };
        bool again = is_paused(c);
        if (!again)
                area_release();
        for (size_t i = 0; i < LENGTH(streams) && !is_paused(c); i++) {
                struct stream *s = streams[i];
                if (s->wide && s->source.fd >= 0)
                        s->wide = fcntl(s->source.fd, F_SETPIPE_SZ, PIPE_BYTES) < 0; /* it is full just now */
                again = again || (s->wide && s->source.fd >= 0);
        }
        if (again)
                timer_arm(&c->pod->loop, timer, clock_monotonic_ns() + REST_NS);
}

static void rest_later(struct workload *c)
{
        if (!c->rest.armed)
                timer_arm(&c->pod->loop, &c->rest, clock_monotonic_ns() + REST_NS);
}

static void chunk_take(struct stream *stream, size_t n_bytes)
{
        struct workload *c = stream->container;
        const struct log_room small = { area + SMALL_BYTES, SMALL_AREA_BYTES - SMALL_BYTES },
                              large = { area + CHUNK_BYTES, ROOM_BYTES };
        bool is_small = n_bytes <= SMALL_BYTES;
        size_t held_bytes = stream->log.held_bytes;
        log_take(&c->log, &stream->log, area, n_bytes, is_small ? &small : &large, clock_wall_ns());
        attach_output(c, stream == &c->err, area, n_bytes);
        if (stream->log.held_bytes) {
                bool is_same_line = held_bytes && stream->log.held_bytes == held_bytes + n_bytes;
                stream->held_ns = is_same_line ? stream->held_ns : clock_monotonic_ns();
                if (!c->flush.armed)
                        timer_arm(&c->pod->loop, &c->flush, stream->held_ns + PARTIAL_FLUSH_NS);
        }
        if (!is_small)
                rest_later(c);
}

/* How much was read. 0: nothing for now. -1: the end, and the stream is closed. */
static ssize_t stream_read(struct stream *stream)
{
        struct workload *c = stream->container;
        if (stream->source.fd < 0)
                return -1;
        ssize_t n_bytes = read(stream->source.fd, area, CHUNK_BYTES);
        if (n_bytes < 0 && (errno == EAGAIN || errno == EINTR))
                return 0;
        if (n_bytes > 0) {
                chunk_take(stream, (size_t) n_bytes);
                return n_bytes;
        }
        log_flush(&c->log, &stream->log, clock_wall_ns());
        if (!stream->paused)
                loop_remove(&c->pod->loop, &stream->source);
        stream->paused = false;
        closep(&stream->source.fd);
        return -1;
}

/* --- a flood: many small writes, each of which would wake us. It is looked at once a millisecond, from a pipe that holds
 * what comes meanwhile --- */

static void stream_pause(struct stream *stream)
{
        struct workload *c = stream->container;
        loop_remove(&c->pod->loop, &stream->source);
        stream->paused = true;
        if (!stream->wide)
                stream->wide = fcntl(stream->source.fd, F_SETPIPE_SZ, PIPE_WIDE_BYTES) >= 0;
        rest_later(c);
        if (!c->pause.armed)
                timer_arm(&c->pod->loop, &c->pause, clock_monotonic_ns() + PAUSE_NS);
}

static void stream_resume(struct stream *stream)
{
        stream->paused = false;
        stream->n_quick = 0;
        error_ignore(
                loop_add(&stream->container->pod->loop, &stream->source, EPOLLIN)); /* drained at its end */
}

/* All that is there, or a turn's worth: true when there may be more now. */
static bool paused_read(struct stream *stream)
{
        ssize_t n_bytes = CHUNK_BYTES, all_bytes = 0;
        for (int i = 0; i < TURN_CHUNKS_MAX && n_bytes == CHUNK_BYTES; i++) {
                n_bytes = stream_read(stream);
                all_bytes += n_bytes > 0 ? n_bytes : 0;
        }
        if (stream->paused && all_bytes == 0)
                stream_resume(stream);
        return n_bytes == CHUNK_BYTES;
}

static void pause_over(struct timer *timer)
{
        struct workload *c = CONTAINER_OF(timer, struct workload, pause);
        struct stream *streams[] = { &c->out, &c->err };
        bool more = false, ended = false;
        for (size_t i = 0; i < LENGTH(streams); i++) {
                if (!streams[i]->paused)
                        continue;
                more = paused_read(streams[i]) || more;
                ended = ended || streams[i]->source.fd < 0;
        }
        if (is_paused(c))
                timer_arm(&c->pod->loop, timer, clock_monotonic_ns() + (more ? 0 : PAUSE_NS));
        if (ended)
                workload_stream_ended(c);
}

/* Whether so little comes so often that it is better left to gather. A terminal is somebody's who waits for it. */
static bool is_flood(struct stream *stream, ssize_t n_bytes)
{
        int64_t now_ns = clock_monotonic_ns();
        bool is_quick = now_ns - stream->read_ns < QUICK_NS && n_bytes < CHUNK_BYTES / 2;
        stream->n_quick = is_quick ? stream->n_quick + 1 : 0;
        stream->read_ns = now_ns;
        return stream->n_quick >= QUICK_READS && !stream->container->tty;
}

static void stream_ready(struct source *source, uint32_t events)
{
        (void) events;
        struct stream *stream = CONTAINER_OF(source, struct stream, source);
        struct workload *c = stream->container;
        struct stream *other = stream == &c->out ? &c->err : &c->out;
        if (other->paused) /* what it had to say before is before this in the log */
                (void) paused_read(other);
        ssize_t n_bytes = stream_read(stream);
        if (n_bytes < 0)
                workload_stream_ended(c);
        else if (is_flood(stream, n_bytes))
                stream_pause(stream);
}

/* --- a container's two --- */

void stdio_init(struct workload *c, uint64_t line_max_bytes)
{
        struct stream *streams[] = { &c->out, &c->err };
        for (int i = 0; i < 2; i++) {
                streams[i]->source = (struct source){ .fd = -1, .ready = stream_ready };
                streams[i]->container = c;
                streams[i]->log.name = i ? "stderr" : "stdout";
                streams[i]->log.line_max_bytes =
                        line_max_bytes < LINE_MAX_LEAST ? LINE_MAX_LEAST : (size_t) line_max_bytes;
        }
        c->flush.fire = flush_fire;
        c->pause.fire = pause_over;
        c->rest.fire = rest_fire;
}

/* our_end: 0 to read, 1 to write. */
static int pipe_make(int *ours, int *theirs, int our_end)
{
        int fds[2];
        if (pipe2(fds, O_CLOEXEC) < 0)
                return -1;
        *ours = fds[our_end];
        *theirs = fds[1 - our_end];
        return fcntl(*ours, F_SETFL, O_NONBLOCK);
}

int stdio_pipes(struct workload *c, bool stdin_open, int *in_fd, int *out_fd, int *err_fd)
{
        /* Without a writer yet, what reads stdin waits; with the null device it sees the end. */
        if (stdin_open && pipe_make(&c->stdin_fd, in_fd, 1) < 0)
                return -1;
        if (pipe_make(&c->out.source.fd, out_fd, 0) < 0 || pipe_make(&c->err.source.fd, err_fd, 0) < 0)
                return -1;
        return 0;
}

void stdio_watch(struct workload *c)
{
        struct stream *streams[] = { &c->out, &c->err };
        for (int i = 0; i < 2; i++)
                if (streams[i]->source.fd >= 0)
                        error_ignore(loop_add(&c->pod->loop, &streams[i]->source,
                                              EPOLLIN)); /* drained at its end */
}

void stdio_drain(struct workload *c)
{
        for (int i = 0; i < DRAIN_CHUNKS_MAX && stream_read(&c->out) > 0; i++)
                continue;
        for (int i = 0; i < DRAIN_CHUNKS_MAX && stream_read(&c->err) > 0; i++)
                continue;
}

void stdio_finish(struct workload *c)
{
        int64_t now_ns = clock_wall_ns();
        stdio_drain(c);
        log_flush(&c->log, &c->out.log, now_ns);
        log_flush(&c->log, &c->err.log, now_ns);
        stdio_close(c);
}

void stdio_close(struct workload *c)
{
        struct stream *streams[] = { &c->out, &c->err };
        timer_stop(&c->pod->loop, &c->flush);
        timer_stop(&c->pod->loop, &c->pause);
        timer_stop(&c->pod->loop, &c->rest);
        for (int i = 0; i < 2; i++) {
                loop_remove(&c->pod->loop, &streams[i]->source);
                closep(&streams[i]->source.fd);
                freep(&streams[i]->log.held);
                streams[i]->log.held_bytes = 0;
        }
}
