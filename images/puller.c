#include "images/puller.h"
#include "base/digest.h"
#include "base/process.h"
#include "base/socket.h"
#include <poll.h>
#include <pthread.h>
#include <string.h>
#include <sys/socket.h>

#define DEATH_MS 200

struct puller {
        struct process process;
        int socket_fd;
        struct digest key; /* of all that it was started with; zero for an archive's */
};

static struct error *make_pair(int pair[2])
{
        if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) < 0)
                return error_errno(errno, "socketpair");
        return NULL;
}

static struct error *start(const struct puller_config *config, struct puller **out)
{
        char uid_text[16];
        int pair[2];
        _cleanup_(puller_freep) struct puller *puller = NEW(struct puller);
        puller->process.pid_fd = puller->socket_fd = -1;
        (void) snprintf(uid_text, sizeof(uid_text), "%u", config->uid);
        const char *const argv[] = { "skiff-pull", uid_text, NULL };
        TRY(make_pair(pair));
        puller->socket_fd = pair[0];
        _cleanup_(closep) int its_fd = pair[1];
        struct process_start start = process_start_init(config->path, argv);
        for (size_t i = 0; i < PULL_FD_SOCKET; i++)
                start.fds[i] = -1;
        start.fds[PULL_FD_SOCKET] = its_fd;
        start.fds[PULL_FD_HOLDER] = config->holder_fd;
        start.n_fds = PULL_FD_HOLDER + 1;
        TRY(process_spawn(&start, &puller->process));
        *out = TAKE(puller);
        return NULL;
}

struct error *puller_start_archive(const struct puller_config *config, int archive_fd,
                                   const struct wait *wait, struct puller **out)
{
        _cleanup_(puller_freep) struct puller *puller = NULL;
        const struct pull_message message = { .type = PULL_START_ARCHIVE };
        TRY(start(config, &puller));
        TRY(pull_send(puller->socket_fd, &message, NULL, NULL, 0, &archive_fd, 1, wait));
        *out = TAKE(puller);
        return NULL;
}

static const char *or_empty(const char *text)
{
        return text ? text : "";
}

/* skiffd's own, which its unit sets; skiff-pull is told, since it begins with an empty one. */
static const char *from_environment(const char *name, const char *capital)
{
        const char *value = getenv(name);
        return or_empty(value && *value ? value : getenv(capital));
}

/* What a skiff-pull for a registry is told first. */
struct start_message {
        struct pull_message message;
        const char *texts[PULL_TEXTS_MAX];
};

static void registry_message(const struct puller_config *config, const char *domain, const char *repository,
                             const struct image_auth *auth, struct start_message *out)
{
        const struct image_auth none = { .username = NULL };
        const struct image_auth *a = auth ? auth : &none;
        *out = (struct start_message){
                .message = { .type = PULL_START_REGISTRY,
                             .code = config->stall_s,
                             .n_texts = PULL_TEXTS_REGISTRY },
                .texts = { [PULL_TEXT_DOMAIN] = domain,
                           [PULL_TEXT_PATH] = repository,
                           [PULL_TEXT_USERNAME] = or_empty(a->username),
                           [PULL_TEXT_PASSWORD] = or_empty(a->password),
                           [PULL_TEXT_AUTH] = or_empty(a->auth),
                           [PULL_TEXT_IDENTITY_TOKEN] = or_empty(a->identity_token),
                           [PULL_TEXT_REGISTRY_TOKEN] = or_empty(a->registry_token),
                           [PULL_TEXT_HTTP_PROXY] = from_environment("http_proxy", "HTTP_PROXY"),
                           [PULL_TEXT_HTTPS_PROXY] = from_environment("https_proxy", "HTTPS_PROXY"),
                           [PULL_TEXT_NO_PROXY] = from_environment("no_proxy", "NO_PROXY") },
        };
}

static void endpoint_message(const struct host_endpoint *endpoint, struct start_message *out)
{
        *out = (struct start_message){
                .message = { .type = PULL_ENDPOINT,
                             .code = endpoint->flags,
                             .n_texts = PULL_TEXTS_ENDPOINT,
                             .size_bytes = endpoint->dial_timeout_ms },
                .texts = { [PULL_TEXT_URL] = endpoint->url,
                           [PULL_TEXT_CA] = endpoint->ca_pem,
                           [PULL_TEXT_CERT] = endpoint->cert_pem,
                           [PULL_TEXT_KEY] = endpoint->key_pem,
                           [PULL_TEXT_HEADERS] = endpoint->headers,
                           [PULL_TEXT_PROXY] = endpoint->proxy },
        };
}

static void key_add(struct digest_stream *key, const struct start_message *m)
{
        digest_stream_add(key, &m->message, sizeof(m->message));
        for (size_t i = 0; i < m->message.n_texts; i++)
                digest_stream_add(key, m->texts[i], strlen(m->texts[i]) + 1);
}

/* --- those that are kept --- */

enum { KEPT_MAX = 4 };

struct puller_shelf {
        pthread_mutex_t lock;
        struct puller *kept[KEPT_MAX]; /* the newest first, then NULL */
};

struct puller_shelf *puller_shelf_new(void)
{
        struct puller_shelf *shelf = NEW(struct puller_shelf);
        (void) pthread_mutex_init(&shelf->lock, NULL);
        return shelf;
}

void puller_shelf_free(struct puller_shelf *shelf)
{
        if (!shelf)
                return;
        for (size_t i = 0; i < KEPT_MAX; i++)
                puller_free(shelf->kept[i]);
        (void) pthread_mutex_destroy(&shelf->lock);
        free(shelf);
}

/* It says nothing unasked: what can be read from it is its end. */
static bool has_ended(const struct puller *puller)
{
        struct pollfd ended = { .fd = puller->socket_fd, .events = POLLIN };
        return poll(&ended, 1, 0) != 0;
}

static struct puller *take_at(struct puller_shelf *shelf, size_t i)
{
        struct puller *taken = shelf->kept[i];
        for (; i + 1 < KEPT_MAX; i++)
                shelf->kept[i] = shelf->kept[i + 1];
        shelf->kept[KEPT_MAX - 1] = NULL;
        return taken;
}

void puller_shelf_tidy(struct puller_shelf *shelf)
{
        (void) pthread_mutex_lock(&shelf->lock);
        for (size_t i = 0; i < KEPT_MAX && shelf->kept[i];)
                if (has_ended(shelf->kept[i]))
                        puller_free(take_at(shelf, i));
                else
                        i++;
        (void) pthread_mutex_unlock(&shelf->lock);
}

static struct puller *shelf_take(struct puller_shelf *shelf, const struct digest *key)
{
        struct puller *taken = NULL;
        if (!shelf)
                return NULL;
        (void) pthread_mutex_lock(&shelf->lock);
        for (size_t i = 0; i < KEPT_MAX && shelf->kept[i] && !taken; i++)
                if (digest_equal(&shelf->kept[i]->key, key))
                        taken = take_at(shelf, i);
        (void) pthread_mutex_unlock(&shelf->lock);
        if (taken && has_ended(taken)) {
                puller_free(taken);
                return NULL;
        }
        return taken;
}

void puller_keep(const struct puller_config *config, struct puller *puller)
{
        static const struct wait now = { .deadline_ns = 0, .cancel_fd = -1 };
        const struct pull_message rest = { .type = PULL_REST };
        struct puller_shelf *shelf = config->shelf;
        struct error *e = shelf ? pull_send(puller->socket_fd, &rest, NULL, NULL, 0, NULL, 0, &now) : NULL;
        if (!shelf || e) {
                error_ignore(e); /* it has ended already */
                puller_free(puller);
                return;
        }
        (void) pthread_mutex_lock(&shelf->lock);
        struct puller *oldest = take_at(shelf, KEPT_MAX - 1);
        for (size_t i = KEPT_MAX - 1; i > 0; i--)
                shelf->kept[i] = shelf->kept[i - 1];
        shelf->kept[0] = puller;
        (void) pthread_mutex_unlock(&shelf->lock);
        puller_free(oldest);
}

/* --- start --- */

static struct error *start_fresh(const struct puller_config *config, const struct start_message *first,
                                 const struct hosts *hosts, const struct wait *wait, struct puller **out)
{
        _cleanup_(puller_freep) struct puller *puller = NULL;
        TRY(start(config, &puller));
        TRY(pull_send(puller->socket_fd, &first->message, first->texts, NULL, 0, NULL, 0, wait));
        for (size_t i = 0; i < hosts->n; i++) {
                struct start_message add;
                endpoint_message(&hosts->endpoints[i], &add);
                TRY(pull_send(puller->socket_fd, &add.message, add.texts, NULL, 0, NULL, 0, wait));
        }
        *out = TAKE(puller);
        return NULL;
}

struct error *puller_start_registry(const struct puller_config *config, const char *domain,
                                    const char *repository, const struct image_auth *auth,
                                    const struct hosts *hosts, const struct wait *wait, struct puller **out)
{
        struct start_message first;
        struct digest key;
        _cleanup_(digest_stream_freep) struct digest_stream *stream = digest_stream_new();
        registry_message(config, domain, repository, auth, &first);
        key_add(stream, &first);
        for (size_t i = 0; i < hosts->n; i++) {
                struct start_message add;
                endpoint_message(&hosts->endpoints[i], &add);
                key_add(stream, &add);
        }
        digest_stream_end(stream, &key);
        *out = shelf_take(config->shelf, &key);
        if (*out)
                return NULL;
        TRY(start_fresh(config, &first, hosts, wait, out));
        (*out)->key = key;
        return NULL;
}

void puller_free(struct puller *puller)
{
        if (!puller)
                return;
        process_kill(&puller->process);
        closep(&puller->socket_fd);
        free(puller);
}

/* Sends a request with a socket for its answers, and pipe_fd where it is not -1. */
static struct error *ask(struct puller *puller, const struct pull_message *message, const char *name,
                         int pipe_fd, const struct wait *wait, int *reply_fd)
{
        int pair[2];
        TRY(make_pair(pair));
        _cleanup_(closep) int our_fd = pair[0], its_fd = pair[1];
        const int fds[] = { its_fd, pipe_fd };
        TRY(pull_send(puller->socket_fd, message, &name, NULL, 0, fds, pipe_fd < 0 ? 1 : 2, wait));
        *reply_fd = TAKE_FD(our_fd);
        return NULL;
}

/* What it says may hold bytes of a registry's; what goes on from here is text. */
static void make_printable(char *text)
{
        for (; *text; text++)
                if (*text < 0x20 || *text > 0x7e)
                        *text = '?';
}

/* The next answer: data, or the end (*is_end), or the failure as an error. */
static struct error *next_answer(int reply_fd, const struct wait *wait, struct pull_received *into,
                                 bool *is_end)
{
        do {
                TRY(pull_receive(reply_fd, into, wait));
                if (into->len_bytes == 0)
                        return error_new(ERROR_INTERNAL, "skiff-pull has ended");
        } while (into->message.type == PULL_PROGRESS);
        *is_end = into->message.type == PULL_END;
        if (into->message.type == PULL_DATA || *is_end)
                return NULL;
        if (into->message.type != PULL_FAILED || into->message.n_texts != 1 ||
            into->message.code > ERROR_UNAUTHENTICATED)
                return error_new(ERROR_INTERNAL, "skiff-pull answers nonsense");
        _cleanup_(freep) char *text = dup_string(into->texts[0]);
        make_printable(text);
        return error_new(into->message.code, "%s", text);
}

/* Why it has: a status says more than that. */
static struct error *death(struct puller *puller, struct error *e)
{
        struct wait moment = wait_of_ms(DEATH_MS);
        int status = 0;
        if (puller->process.pid_fd < 0)
                return e;
        struct error *unknown = process_wait(&puller->process, &moment, &status);
        if (unknown) { /* it lives, and has closed this conversation */
                error_ignore(unknown);
                return e;
        }
        return error_wrap(e, "ended with status %d", status);
}

struct error *puller_read(struct puller *puller, enum pull_type type, const char *name, size_t limit_bytes,
                          const struct wait *wait, struct buf *out, char **media_type)
{
        _cleanup_(closep) int reply_fd = -1;
        _cleanup_(pull_received_freep) struct pull_received *answer = pull_received_new();
        const struct pull_message message = { .type = type, .n_texts = 1, .size_bytes = limit_bytes };
        TRY(ask(puller, &message, name, -1, wait, &reply_fd));
        for (bool is_end = false; !is_end;) {
                struct error *e = next_answer(reply_fd, wait, answer, &is_end);
                if (e)
                        return answer->len_bytes == 0 && error_code_of(e) == ERROR_INTERNAL ? death(puller, e)
                                                                                            : e;
                if (!is_end)
                        TRY(buf_append(out, answer->data, answer->data_bytes)); /* its limit bounds it */
        }
        if (media_type)
                *media_type = dup_string(answer->message.n_texts ? answer->texts[0] : "");
        return NULL;
}

struct error *puller_stream(struct puller *puller, enum pull_type type, const char *name, uint64_t size_bytes,
                            bool progress, int pipe_fd, const struct wait *wait, int *reply_fd)
{
        const struct pull_message message = {
                .type = type, .code = progress, .n_texts = 1, .size_bytes = size_bytes
        };
        return ask(puller, &message, name, pipe_fd, wait, reply_fd);
}

bool puller_stream_progress(int reply_fd, uint64_t *bytes)
{
        struct pull_message message = { .type = 0 };
        ssize_t n = recv(reply_fd, &message, sizeof(message), MSG_PEEK | MSG_DONTWAIT);
        if (n < 0)
                return errno == EAGAIN || errno == EINTR;
        if (n < (ssize_t) sizeof(message) || message.type != PULL_PROGRESS)
                return false;
        *bytes = message.size_bytes;
        return recv(reply_fd, &message, sizeof(message), MSG_DONTWAIT) >= 0;
}

struct error *puller_stream_end(int reply_fd, const struct wait *wait)
{
        bool is_end = false;
        _cleanup_(pull_received_freep) struct pull_received *answer = pull_received_new();
        TRY(next_answer(reply_fd, wait, answer, &is_end));
        return is_end ? NULL : error_new(ERROR_INTERNAL, "skiff-pull sends data out of turn");
}
