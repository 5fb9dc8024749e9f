#include "cri/streamer.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "base/process.h"
#include "cri/offers.h"
#include "cri/stream_listener.h"
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>

#define PEM_MAX_BYTES (256 << 10)
#define SEND_MS 200
#define OPEN_MS 120000
#define RETRY_LEAST_MS 50
#define RETRY_MOST_MS 5000
#define HEALTHY_MS 1000 /* one that lived so long is not what keeps dying at its start */

struct streamer {
        struct streamer_config config;
        struct offers *offers;
        int listener_fd;
        char *url;   /* NULL until there is a listener */
        int stop_fd; /* readable once it is to end: cancels what is being opened too */
        pthread_t thread;
        bool has_thread;

        pthread_mutex_t lock;
        pthread_cond_t idle;
        size_t openings; /* under way */
        /* Of the skiff-stream that runs; -1 while there is none. Only the thread changes them. */
        int control_fd;
        struct process process;
        char *why_not; /* what kept it from running, for clients */
};

/* --- its start --- */

static struct error *memfd_of(const char *path, int *out_fd)
{
        _cleanup_(freep) char *text = NULL;
        size_t len_bytes = 0;
        TRY(file_read(AT_FDCWD, path, PEM_MAX_BYTES, &text, &len_bytes));
        _cleanup_(closep) int fd = memfd_create("skiff-pem", MFD_CLOEXEC);
        if (fd < 0)
                return error_errno(errno, "memfd_create");
        TRY(file_write_all(fd, text, len_bytes));
        *out_fd = TAKE_FD(fd);
        return NULL;
}

static bool is_tls(const struct streamer *streamer)
{
        return *streamer->config.tls_cert != '\0';
}

static struct error *start_send(const struct streamer *streamer, int control_fd)
{
        const char *const paths[] = { streamer->config.tls_cert, streamer->config.tls_key,
                                      streamer->config.tls_ca };
        const struct control_message message = { .type = CONTROL_START };
        struct wait wait = wait_of_ms(SEND_MS);
        int fds[LENGTH(paths)] = { -1, -1, -1 };
        size_t n_fds = 0;
        struct error *e = NULL;
        for (size_t i = 0; is_tls(streamer) && i < LENGTH(paths) && *paths[i] && !e; i++) {
                e = memfd_of(paths[i], &fds[n_fds]);
                n_fds += e == NULL;
        }
        if (!e)
                e = control_send(control_fd, &message, NULL, fds, n_fds, &wait);
        for (size_t i = 0; i < n_fds; i++)
                closep(&fds[i]);
        return e;
}

static struct error *listener_ensure(struct streamer *streamer)
{
        if (streamer->listener_fd >= 0)
                return NULL;
        _cleanup_(closep) int fd = -1;
        _cleanup_(freep) char *url = NULL;
        TRY(stream_listen(streamer->config.address, streamer->config.port, &fd));
        TRY(stream_url(fd, is_tls(streamer), &url));
        (void) pthread_mutex_lock(&streamer->lock);
        streamer->listener_fd = TAKE_FD(fd);
        streamer->url = TAKE(url);
        (void) pthread_mutex_unlock(&streamer->lock);
        log_event(LOG_LEVEL_INFO, "streaming server listens", "url", streamer->url, NULL);
        return NULL;
}

static struct error *spawn(struct streamer *streamer, int its_fd, struct process *process)
{
        _cleanup_(freep) char *path = format_string("%s/skiff-stream", streamer->config.program_dir);
        char uid[16];
        (void) snprintf(uid, sizeof(uid), "%u", streamer->config.uid);
        const char *const argv[] = { "skiff-stream", uid, NULL };
        struct process_start start = process_start_init(path, argv);
        for (size_t i = 0; i < CONTROL_FD_SOCKET; i++)
                start.fds[i] = -1;
        start.fds[CONTROL_FD_SOCKET] = its_fd;
        start.fds[CONTROL_FD_LISTENER] = streamer->listener_fd;
        start.n_fds = CONTROL_FD_LISTENER + 1;
        return process_spawn(&start, process);
}

static struct error *start(struct streamer *streamer)
{
        int pair[2];
        struct process process = { .pid_fd = -1 };
        TRY(listener_ensure(streamer));
        if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) < 0)
                return error_errno(errno, "socketpair");
        _cleanup_(closep) int our_fd = pair[0], its_fd = pair[1];
        TRY(spawn(streamer, its_fd, &process));
        struct error *e = start_send(streamer, our_fd);
        if (e) {
                process_kill(&process);
                return e;
        }
        (void) pthread_mutex_lock(&streamer->lock);
        streamer->control_fd = TAKE_FD(our_fd);
        streamer->process = process;
        freep(&streamer->why_not);
        (void) pthread_mutex_unlock(&streamer->lock);
        return NULL;
}

/* --- what its clients come for --- */

struct opening {
        struct streamer *streamer;
        struct offer *offer;
        uint16_t rows, columns;
};

static struct error *tell(struct streamer *streamer, const struct control_message *message, const char *text,
                          const int *fds, size_t n_fds)
{
        struct wait wait = wait_of_ms(SEND_MS);
        struct error *e = NULL;
        (void) pthread_mutex_lock(&streamer->lock);
        if (streamer->control_fd >= 0)
                e = control_send(streamer->control_fd, message, text, fds, n_fds, &wait);
        else
                e = error_new(ERROR_UNAVAILABLE, "the streaming server does not run%s%s",
                              streamer->why_not ? ": " : "", streamer->why_not ? streamer->why_not : "");
        (void) pthread_mutex_unlock(&streamer->lock);
        return e;
}

/* A client whose skiff-stream has died meanwhile gets nothing; what was opened for it ends with its descriptors. */
static void answer(struct opening *opening, struct session_fds *fds, struct error *e)
{
        struct control_message message = { .type = e ? CONTROL_FAILED : CONTROL_OPENED,
                                           .kind = opening->offer->kind,
                                           .has_in = fds->in_fd >= 0,
                                           .has_out = fds->out_fd >= 0,
                                           .has_err = fds->err_fd >= 0 };
        const int all[] = { fds->channel_fd, fds->in_fd, fds->out_fd, fds->err_fd };
        int sent[LENGTH(all)];
        size_t n = 0;
        memcpy(message.token, opening->offer->token, sizeof(message.token));
        for (size_t i = 0; i < LENGTH(all); i++)
                if (all[i] >= 0)
                        sent[n++] = all[i];
        error_ignore(tell(opening->streamer, &message, e ? error_message(e) : NULL, sent, n));
        error_free(e);
}

static void opening_end(struct opening *opening)
{
        struct streamer *streamer = opening->streamer;
        offer_free(opening->offer);
        free(opening);
        (void) pthread_mutex_lock(&streamer->lock);
        streamer->openings--;
        (void) pthread_cond_broadcast(&streamer->idle);
        (void) pthread_mutex_unlock(&streamer->lock);
}

static void opening_run(void *argument)
{
        struct opening *opening = argument;
        const struct streamer_config *config = &opening->streamer->config;
        _cleanup_(session_fds_close) struct session_fds fds = SESSION_FDS_NONE;
        struct wait wait = wait_of_ms(OPEN_MS);
        wait.cancel_fd = opening->streamer->stop_fd;
        struct error *e = config->open(config->context, opening->offer->kind, opening->offer->request,
                                       opening->rows, opening->columns, &wait, &fds);
        answer(opening, &fds, e);
        opening_end(opening);
}

/* What is no token of ours, or was used, is not answered: skiff-stream asks for what it was told of, once. */
static void open_asked(struct streamer *streamer, const struct control_message *asked)
{
        struct offer *offer = offers_take(streamer->offers, asked->token, clock_monotonic_ns());
        if (!offer)
                return;
        struct opening *opening = NEW(struct opening);
        *opening = (struct opening){ .streamer = streamer,
                                     .offer = offer,
                                     .rows = asked->streams.rows,
                                     .columns = asked->streams.columns };
        (void) pthread_mutex_lock(&streamer->lock);
        streamer->openings++;
        (void) pthread_mutex_unlock(&streamer->lock);
        struct error *e = pool_run(streamer->config.pool, POOL_EXEC, opening_run, opening);
        if (!e)
                return;
        struct session_fds none = SESSION_FDS_NONE;
        answer(opening, &none, e);
        opening_end(opening);
}

/* --- its thread --- */

static void ended(struct streamer *streamer)
{
        struct wait wait = wait_of_ms(SEND_MS);
        char text[16];
        int status = 0;
        (void) pthread_mutex_lock(&streamer->lock);
        closep(&streamer->control_fd);
        (void) pthread_mutex_unlock(&streamer->lock);
        offers_clear(streamer->offers); /* the next one does not know these tokens */
        struct error *e = process_wait(&streamer->process, &wait, &status);
        if (e) /* it has closed its socket, or said what is no message, and lives */
                process_kill(&streamer->process);
        (void) snprintf(text, sizeof(text), "%d", status);
        log_event(LOG_LEVEL_WARN, "skiff-stream has ended and is started again; its sessions ended with it",
                  "status", e ? NULL : text, NULL);
        error_free(e);
}

/* False when it has ended. */
static bool control_read(struct streamer *streamer)
{
        _cleanup_(freep) struct control_received *received = NEW(struct control_received);
        const struct wait now = { .deadline_ns = 0, .cancel_fd = -1 };
        struct error *e = control_receive(streamer->control_fd, received, &now);
        if (e && error_code_of(e) == ERROR_DEADLINE_EXCEEDED) {
                error_free(e);
                return true;
        }
        bool good = !e && !received->ended;
        log_error(LOG_LEVEL_WARN, e, "skiff-stream", NULL, NULL);
        if (good && received->message.type == CONTROL_OPEN)
                open_asked(streamer, &received->message);
        if (!e)
                control_received_done(received);
        return good;
}

/* Until it has ended, or all is to end. */
static void serve(struct streamer *streamer)
{
        struct pollfd fds[] = { { .fd = streamer->control_fd, .events = POLLIN },
                                { .fd = streamer->stop_fd, .events = POLLIN } };
        for (;;) {
                if (poll(fds, LENGTH(fds), -1) < 0 && errno != EINTR)
                        return;
                if (fds[1].revents)
                        return;
                if (fds[0].revents && !control_read(streamer)) {
                        ended(streamer);
                        return;
                }
        }
}

/* True when it is to end. */
static bool rest(const struct streamer *streamer, int delay_ms)
{
        struct pollfd fd = { .fd = streamer->stop_fd, .events = POLLIN };
        return poll(&fd, 1, delay_ms) > 0;
}

/* Told once for each reason. */
static void start_failed(struct streamer *streamer, struct error *e)
{
        (void) pthread_mutex_lock(&streamer->lock);
        bool told = streamer->why_not && strcmp(streamer->why_not, error_message(e)) == 0;
        free(streamer->why_not);
        streamer->why_not = dup_string(error_message(e));
        (void) pthread_mutex_unlock(&streamer->lock);
        if (told)
                error_free(e);
        else
                log_error(LOG_LEVEL_ERROR, e, "the streaming server cannot be started", NULL, NULL);
}

static void *streamer_main(void *argument)
{
        struct streamer *streamer = argument;
        int delay_ms = 0;
        while (!rest(streamer, delay_ms)) {
                int64_t began_ns = clock_monotonic_ns();
                struct error *e = streamer->control_fd < 0 ? start(streamer) : NULL;
                if (e)
                        start_failed(streamer, e);
                else
                        serve(streamer);
                bool healthy = !e && clock_monotonic_ns() - began_ns > HEALTHY_MS * INT64_C(1000000);
                delay_ms = healthy ? 0 : 2 * delay_ms + RETRY_LEAST_MS;
                delay_ms = delay_ms > RETRY_MOST_MS ? RETRY_MOST_MS : delay_ms;
        }
        return NULL;
}

/* --- the face --- */

struct error *streamer_open(const struct streamer_config *config, struct streamer **out)
{
        _cleanup_(streamer_freep) struct streamer *streamer = NEW(struct streamer);
        streamer->config = *config;
        streamer->listener_fd = streamer->control_fd = streamer->process.pid_fd = -1;
        (void) pthread_mutex_init(&streamer->lock, NULL);
        (void) pthread_cond_init(&streamer->idle, NULL);
        streamer->offers = offers_new();
        streamer->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        if (streamer->stop_fd < 0)
                return error_errno(errno, "eventfd");
        struct error *e = start(streamer);
        if (e && error_code_of(e) == ERROR_INVALID_ARGUMENT)
                return e;
        if (e)
                start_failed(streamer, e);
        int failed = pthread_create(&streamer->thread, NULL, streamer_main, streamer);
        if (failed)
                return error_errno(failed, "start a thread");
        streamer->has_thread = true;
        *out = TAKE(streamer);
        return NULL;
}

void streamer_free(struct streamer *streamer)
{
        if (!streamer)
                return;
        if (streamer->stop_fd >= 0)
                (void) eventfd_write(streamer->stop_fd, 1);
        if (streamer->has_thread)
                (void) pthread_join(streamer->thread, NULL);
        (void) pthread_mutex_lock(&streamer->lock);
        while (streamer->openings)
                (void) pthread_cond_wait(&streamer->idle, &streamer->lock);
        (void) pthread_mutex_unlock(&streamer->lock);
        closep(&streamer->control_fd);
        closep(&streamer->process.pid_fd); /* it goes on for its sessions */
        closep(&streamer->listener_fd);
        closep(&streamer->stop_fd);
        offers_free(streamer->offers);
        (void) pthread_mutex_destroy(&streamer->lock);
        (void) pthread_cond_destroy(&streamer->idle);
        free(streamer->url);
        free(streamer->why_not);
        free(streamer);
}

struct error *streamer_offer(struct streamer *streamer, enum control_kind kind,
                             const ProtobufCMessage *request, const struct control_message *token,
                             const char *described, char **url)
{
        static const char *const paths[] = {
                [CONTROL_EXEC] = "exec", [CONTROL_ATTACH] = "attach", [CONTROL_FORWARD] = "portforward"
        };
        struct control_message message = *token;
        message.type = CONTROL_TOKEN;
        message.kind = kind;
        TRY(offers_add(streamer->offers, kind, request, clock_monotonic_ns(), message.token));
        struct error *e = tell(streamer, &message, described, NULL, 0);
        if (e) {
                offer_free(offers_take(streamer->offers, message.token, clock_monotonic_ns()));
                return error_as(e, ERROR_UNAVAILABLE);
        }
        *url = format_string("%s/%s/%s", streamer->url, paths[kind], message.token);
        return NULL;
}
