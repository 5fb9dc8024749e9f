/* skiff-pull - fetches for skiffd what it asks for, without privilege: from an archive or a registry. See
 * images/pull_protocol.h. Nothing that comes from outside is parsed before the privileges are gone. */
#include "base/clock.h"
#include "images/puller/source.h"
#include <fcntl.h>
#include <grp.h>
#include <linux/securebits.h>
#include <locale.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>

enum { STACK_BYTES = 512 << 10, PROGRESS_NS = 100 * 1000 * 1000, REST_MS = 5000 };

static const struct wait for_ever = { .deadline_ns = WAIT_FOREVER, .cancel_fd = -1 };

static struct error *drop_privileges(uid_t uid)
{
        static const struct rlimit no_core = { 0, 0 };
        if (uid == 0)
                return error_new(ERROR_INVALID_ARGUMENT, "skiff-pull does not run as root");
        if (setgroups(0, NULL) < 0 || setresgid(uid, uid, uid) < 0 || setresuid(uid, uid, uid) < 0)
                return error_errno(errno, "become %u", uid); /* and with uid 0 all capabilities are gone */
        if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 || prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0 ||
            setrlimit(RLIMIT_CORE, &no_core) < 0)
                return error_errno(errno, "give up privileges");
        return NULL;
}

struct request {
        struct source *source;
        struct pull_received *received; /* owns the reply socket and the pipe */
        uint64_t given_bytes;
        int64_t told_ns;
};

/* A message that nobody has read yet is one too many already: never waits. */
static void tell_progress(struct request *request, size_t more_bytes)
{
        static const struct wait no_time = { .deadline_ns = 0, .cancel_fd = -1 };
        request->given_bytes += more_bytes;
        if (request->received->message.code != 1 || clock_monotonic_ns() < request->told_ns + PROGRESS_NS)
                return;
        request->told_ns = clock_monotonic_ns();
        const struct pull_message message = { .type = PULL_PROGRESS, .size_bytes = request->given_bytes };
        error_ignore(pull_send(request->received->fds[0], &message, NULL, NULL, 0, NULL, 0, &no_time));
}

static struct error *send_data(void *context, const void *bytes, size_t len_bytes)
{
        const struct request *request = context;
        const struct pull_message message = { .type = PULL_DATA };
        const char *from = bytes;
        while (len_bytes) {
                size_t n = len_bytes < PULL_DATA_MAX / 2 ? len_bytes : PULL_DATA_MAX / 2;
                TRY(pull_send(request->received->fds[0], &message, NULL, from, n, NULL, 0, &for_ever));
                from += n;
                len_bytes -= n;
        }
        return NULL;
}

static struct error *write_pipe(void *context, const void *bytes, size_t len_bytes)
{
        struct request *request = context;
        const char *from = bytes;
        tell_progress(request, len_bytes);
        while (len_bytes) {
                ssize_t n = write(request->received->fds[1], from, len_bytes);
                if (n < 0 && errno == EINTR)
                        continue;
                if (n < 0 && errno == EPIPE)
                        return error_new(ERROR_ABORTED, "the reader went away");
                if (n < 0)
                        return error_errno(errno, "write to the pipe");
                from += n;
                len_bytes -= (size_t) n;
        }
        return NULL;
}

/* skiffd may have gone, or lost interest, before it reads this: then nobody is to be told. */
static void answer(int reply_fd, struct error *e, const char *media_type)
{
        const struct pull_message end = { .type = PULL_END, .n_texts = 1 };
        const char *text = media_type ? media_type : "";
        if (!e) {
                error_ignore(pull_send(reply_fd, &end, &text, NULL, 0, NULL, 0, &for_ever));
                return;
        }
        const struct pull_message failed = { .type = PULL_FAILED, .code = error_code_of(e), .n_texts = 1 };
        text = error_message(e);
        error_ignore(pull_send(reply_fd, &failed, &text, NULL, 0, NULL, 0, &for_ever));
        error_free(e);
}

static struct error *serve(struct request *request, char **media_type)
{
        const struct pull_received *received = request->received;
        enum pull_type type = received->message.type;
        bool is_stream = type == PULL_STREAM_FILE || type == PULL_STREAM_BLOB;
        struct taker taker = { is_stream ? write_pipe : send_data, request };
        if (type < PULL_READ_FILE || type > PULL_STREAM_BLOB || received->message.n_texts != 1)
                return error_new(ERROR_INTERNAL, "an unknown request");
        const struct source_request ask = { type, received->texts[0], received->message.size_bytes };
        // cppcheck-suppress returnDanglingLifetime
        return request->source->ops->fetch(request->source, &ask, &taker, media_type);
}

static void *request_run(void *argument)
{
        struct request *request = argument;
        char *media_type = NULL;
        struct error *e = serve(request, &media_type);
        /* The pipe's end first: a reader that sees the stream cut asks here for the reason. */
        closep(&request->received->fds[1]);
        answer(request->received->fds[0], e, media_type);
        free(media_type);
        pull_received_free(request->received);
        free(request);
        return NULL;
}

static struct error *request_start(struct source *source, struct pull_received *received)
{
        pthread_t thread;
        pthread_attr_t attributes;
        struct request *request = NEW(struct request);
        *request = (struct request){ .source = source, .received = received };
        (void) pthread_attr_init(&attributes);
        (void) pthread_attr_setstacksize(&attributes, STACK_BYTES);
        (void) pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
        int failed = pthread_create(&thread, &attributes, request_run, request);
        (void) pthread_attr_destroy(&attributes);
        if (!failed)
                return NULL;
        answer(received->fds[0], error_errno(failed, "start a thread"), NULL);
        pull_received_free(received);
        free(request);
        return NULL;
}

static struct error *source_open(struct pull_received *first, struct source **out)
{
        if (first->message.type == PULL_START_ARCHIVE && first->fds[0] >= 0)
                return archive_source_open(TAKE_FD(first->fds[0]), out);
        if (first->message.type == PULL_START_REGISTRY && first->message.n_texts == PULL_TEXTS_REGISTRY)
                return registry_source_open(first->texts, first->message.code, out);
        return error_new(ERROR_INTERNAL, "no start message");
}

/* Every request of a source that could not be opened is answered with the reason. */
static struct error *failed_fetch(struct source *source, const struct source_request *request,
                                  const struct taker *taker, char **media_type);

struct failed_source {
        struct source face; /* first */
        enum error_code code;
        char *message;
};

static const struct source_ops failed_ops = { .fetch = failed_fetch };

static struct error *failed_fetch(struct source *source, const struct source_request *request,
                                  const struct taker *taker, char **media_type)
{
        const struct failed_source *failed = (const struct failed_source *) source;
        (void) request, (void) taker, (void) media_type;
        return error_new(failed->code, "%s", failed->message);
}

static struct source *source_failed(struct error *e)
{
        struct failed_source *failed = NEW(struct failed_source);
        *failed = (struct failed_source){ { &failed_ops }, error_code_of(e), dup_string(error_message(e)) };
        error_free(e);
        return &failed->face;
}

/* False when nothing has come for so long that nothing will. */
static bool is_needed_again(void)
{
        const struct wait wait = wait_of_ms(REST_MS);
        struct error *e = wait_fd(&wait, PULL_FD_SOCKET, POLLIN, "wait for the next pull");
        bool needed = !e;
        error_free(e); /* its only way to fail is that nothing came */
        return needed;
}

static struct error *run(uid_t uid)
{
        struct source *source = NULL;
        TRY(drop_privileges(uid));
        (void) signal(SIGPIPE, SIG_IGN);
        (void) setlocale(LC_CTYPE, "C.UTF-8"); /* for libarchive: names are bytes */
        struct pull_received *first = pull_received_new();
        TRY(pull_receive(PULL_FD_SOCKET, first, &for_ever));
        if (first->len_bytes == 0)
                return NULL;
        struct error *e = source_open(first, &source);
        if (e)
                source = source_failed(e);
        pull_received_free(first);
        for (;;) {
                _cleanup_(pull_received_freep) struct pull_received *received = pull_received_new();
                TRY(pull_receive(PULL_FD_SOCKET, received, &for_ever));
                if (received->len_bytes == 0)
                        return NULL;
                if (received->message.type == PULL_ENDPOINT &&
                    received->message.n_texts == PULL_TEXTS_ENDPOINT) {
                        e = registry_source_endpoint(source, received->texts, received->message.code,
                                                     (unsigned) received->message.size_bytes);
                        if (e)
                                source = source_failed(e);
                        continue;
                }
                if (received->message.type != PULL_REST)
                        TRY(request_start(source, TAKE(received)));
                else if (!is_needed_again())
                        return NULL;
        }
}

int main(int argc, char **argv)
{
        char *end = NULL;
        unsigned long uid = argc == 2 ? strtoul(argv[1], &end, 10) : 0;
        if (!end || *end || uid == 0 || uid >= UINT32_MAX || fcntl(PULL_FD_SOCKET, F_SETFD, FD_CLOEXEC) < 0) {
                (void) fprintf(stderr, "skiff-pull: skiffd starts this\n");
                return 64;
        }
        struct error *e = run((uid_t) uid);
        return e ? 1 : 0; /* nobody to tell: skiffd is gone, or speaks another protocol */
}
