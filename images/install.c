#include "images/install.h"
#include "base/fault.h"
#include "base/log.h"
#include "images/config.h"
#include "images/manifest.h"
#include "images/seams.h"
#include "images/strings.h"
#include "images/unpacker.h"
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>

/* Bounds against bombs; far above what real layers have. */
static const uint64_t max_tar_bytes = UINT64_C(1) << 42;
enum {
        MAX_ENTRIES = 8 << 20,
        PIPE_BYTES = 1 << 20,
        WORKERS = 2,     /* each pull has these */
        WORKERS_MAX = 6, /* and more while the store has some to spare */
        SYNC_LAYERS = 2,
        STACK_BYTES = 256 << 10,
        TELL_MS = 200
};

struct team {
        struct images *images;
        struct puller *puller;
        enum pull_type type;
        const struct install_layer *list;
        struct layer **layers; /* NULL until it is pinned */
        size_t n;
        atomic_size_t next;
        struct wait wait; /* the operation's, and ended by a failure of any of the team */
        int failed_fd;    /* eventfd */
        pthread_mutex_t lock;
        struct error *failure;              /* the first */
        const struct pull_watcher *watcher; /* or NULL */
        _Atomic uint64_t *done_bytes;       /* of each layer's blob */
        atomic_size_t n_done, n_working;
        int ended_fd; /* eventfd: a worker has ended */
        int sync_fd;  /* eventfd: more layers were unpacked, or all is over */
        atomic_size_t n_unpacked;
        atomic_bool is_over;
};

/* The stream's pipe. A larger one lets the two ends work in longer turns. */
static struct error *pipe_make(int *read_fd, int *write_fd)
{
        int fds[2];
        if (pipe2(fds, O_CLOEXEC) < 0)
                return error_errno(errno, "pipe");
        (void) fcntl(fds[0], F_SETPIPE_SZ,
                     PIPE_BYTES); /* refused past the user's limit: the usual size does too */
        *read_fd = fds[0];
        *write_fd = fds[1];
        return NULL;
}

/* Which of the two tells why: a sender that failed cut the stream; a reader that refused made the sender fail. The sender
 * is asked when the stream has ended, so it answers at once. */
static struct error *verdict(struct error *unpacked, bool at_end, int reply_fd, const struct wait *wait)
{
        if (!unpacked || !at_end)
                return unpacked;
        struct error *sent = puller_stream_end(reply_fd, wait);
        if (!sent || error_code_of(sent) == ERROR_ABORTED) {
                error_free(sent);
                return unpacked;
        }
        error_free(unpacked);
        return sent;
}

/* What a worker waits for while the bytes flow past it: the unpacker's words, and meanwhile how far the sender is. */
struct flow {
        struct team *team;
        int reply_fd;
        _Atomic uint64_t *done_bytes;
};

static struct error *watch_flow(void *context, int unpacker_fd)
{
        struct flow *flow = context;
        const struct wait *wait = &flow->team->wait;
        struct pollfd fds[] = { { .fd = unpacker_fd, .events = POLLIN },
                                { .fd = wait->cancel_fd, .events = POLLIN },
                                { .fd = flow->reply_fd, .events = POLLIN } };
        for (bool has_sender = true;;) {
                if (poll(fds, has_sender ? 3 : 2, wait_left_ms(wait)) < 0 && errno != EINTR)
                        return error_errno(errno, "poll");
                if (fds[0].revents || fds[1].revents || wait_left_ms(wait) == 0)
                        return NULL; /* whoever waits next finds which it was */
                uint64_t bytes = atomic_load(flow->done_bytes);
                if (has_sender && fds[2].revents) {
                        has_sender = puller_stream_progress(flow->reply_fd, &bytes);
                        atomic_store(flow->done_bytes, bytes);
                }
        }
}

static struct error *unpack_into(struct team *team, size_t i, const struct unpacker_place *place,
                                 struct unpacked *out)
{
        const struct install_layer *from = &team->list[i];
        _cleanup_(closep) int read_fd = -1, write_fd = -1, reply_fd = -1;
        _cleanup_(unpacker_freep) struct unpacker *unpacker = NULL;
        struct unpack_job job = {
                .has_blob = from->has_blob,
                .blob = from->blob,
                .blob_bytes = from->blob_bytes,
                .max_tar_bytes = max_tar_bytes,
                .max_entries = MAX_ENTRIES,
        };
        bool at_end = false;
        TRY(digest_parse(from->diff_id, &job.diff));
        TRY(pipe_make(&read_fd, &write_fd));
        /* The download first: the registry looks for the blob while skiff-unpack starts and locks itself in. */
        TRY(puller_stream(team->puller, team->type, from->name, from->blob_bytes, team->watcher != NULL,
                          write_fd, &team->wait, &reply_fd));
        closep(&write_fd);
        TRY(unpacker_start(team->images->unpack_path, place, read_fd, &job, &team->wait, &unpacker));
        closep(&read_fd); /* only skiff-unpack reads: when it ends, the sender learns of it */
        struct flow flow = { team, reply_fd, &team->done_bytes[i] };
        const struct unpacker_idle idle = { watch_flow, &flow };
        struct error *e = unpacker_wait(unpacker, &team->wait, team->watcher ? &idle : NULL, out, &at_end);
        TRY(verdict(e, at_end, reply_fd, &team->wait));
        return fault_point("layer.unpacked");
}

/* An image runs without them, mostly; who wonders finds them here. */
static void tell_left_out(const struct layer *layer, const struct unpacked *unpacked)
{
        char n[24];
        if (unpacked->n_left_out == 0)
                return;
        (void) snprintf(n, sizeof(n), "%llu", (unsigned long long) unpacked->n_left_out);
        log_event(LOG_LEVEL_WARN, "a layer was unpacked without what cannot be kept", "layer",
                  layer_diff_id(layer), "left_out", n, "first", unpacked->left_out, NULL);
}

static struct error *unpack_layer(struct team *team, size_t i, struct layer *layer)
{
        _cleanup_(closep) int layer_fd = -1, seams_fd = -1;
        struct unpacked unpacked;
        TRY(layer_begin(team->images->layers, layer, &layer_fd, &seams_fd));
        const struct unpacker_place place = { team->images->puller.holder_fd, layer_fd, seams_fd };
        TRY(unpack_into(team, i, &place, &unpacked));
        tell_left_out(layer, &unpacked);
        return layer_commit(team->images->layers, layer, unpacked.bytes, unpacked.inodes);
}

static struct error *one_layer(struct team *team, size_t i)
{
        const struct install_layer *from = &team->list[i];
        struct layer *layer = NULL;
        bool must_unpack = false;
        TRY(layers_claim(team->images->layers, from->diff_id, &team->wait, &layer, &must_unpack));
        struct error *e = must_unpack ? unpack_layer(team, i, layer) : NULL;
        if (e) {
                layer_abandon(team->images->layers, layer);
                return error_wrap(e, "layer %s", from->has_blob ? from->name : from->diff_id);
        }
        if (must_unpack && (atomic_fetch_add(&team->n_unpacked, 1) + 1) % SYNC_LAYERS == 0)
                (void) eventfd_write(team->sync_fd, 1);
        team->layers[i] = layer;
        atomic_store(&team->done_bytes[i], from->blob_bytes);
        (void) atomic_fetch_add(&team->n_done, 1);
        return NULL;
}

static void team_fail(struct team *team, struct error *e)
{
        (void) pthread_mutex_lock(&team->lock);
        if (team->failure)
                error_free(e); /* mostly CANCELLED, by the first failure */
        else
                team->failure = e;
        (void) pthread_mutex_unlock(&team->lock);
        (void) eventfd_write(team->failed_fd, 1);
}

static void work(struct team *team)
{
        for (size_t i; (i = atomic_fetch_add(&team->next, 1)) < team->n;) {
                struct error *e = wait_check(&team->wait, "unpack");
                if (!e)
                        e = one_layer(team, i);
                if (e) {
                        team_fail(team, e);
                        return;
                }
        }
}

static void *helper_main(void *argument)
{
        struct team *team = argument;
        work(team);
        (void) atomic_fetch_sub(&team->n_working, 1);
        (void) eventfd_write(team->ended_fd, 1);
        return NULL;
}

/* One descriptor that is readable once either is: a wait has one cancel descriptor. */
static struct error *either_fd(int a_fd, int b_fd, int *out_fd)
{
        _cleanup_(closep) int fd = epoll_create1(EPOLL_CLOEXEC);
        struct epoll_event event = { .events = EPOLLIN };
        if (fd < 0 || (a_fd >= 0 && epoll_ctl(fd, EPOLL_CTL_ADD, a_fd, &event) < 0) ||
            epoll_ctl(fd, EPOLL_CTL_ADD, b_fd, &event) < 0)
                return error_errno(errno, "watch for a cancel");
        *out_fd = TAKE_FD(fd);
        return NULL;
}

static bool start_thread(pthread_t *thread, void *(*run)(void *), struct team *team)
{
        pthread_attr_t attributes;
        (void) pthread_attr_init(&attributes);
        (void) pthread_attr_setstacksize(&attributes, STACK_BYTES);
        bool started = pthread_create(thread, &attributes, run, team) == 0;
        (void) pthread_attr_destroy(&attributes);
        return started;
}

static bool start_helper(struct team *team, pthread_t *thread)
{
        (void) atomic_fetch_add(&team->n_working, 1);
        bool started = start_thread(thread, helper_main, team);
        if (!started)
                (void) atomic_fetch_sub(&team->n_working, 1);
        return started;
}

static struct error *tell_watcher(struct team *team)
{
        struct pull_progress progress = { .n_layers = team->n, .done_layers = atomic_load(&team->n_done) };
        for (size_t i = 0; i < team->n; i++) {
                progress.total_bytes += team->list[i].blob_bytes;
                progress.done_bytes += atomic_load(&team->done_bytes[i]);
        }
        // cppcheck-suppress returnDanglingLifetime
        return team->watcher->tell(team->watcher->context, &progress);
}

/* Tells how far the helpers are until all have ended. */
static void watch_helpers(struct team *team)
{
        struct pollfd ended = { .fd = team->ended_fd, .events = POLLIN };
        eventfd_t count;
        struct error *e = NULL;
        while (atomic_load(&team->n_working) > 0) {
                if (!e) {
                        e = tell_watcher(team);
                        if (e)
                                team_fail(team, e);
                }
                if (poll(&ended, 1, TELL_MS) > 0)
                        (void) eventfd_read(team->ended_fd, &count);
        }
        if (!e && !team->failure) {
                e = tell_watcher(team);
                if (e)
                        team_fail(team, e);
        }
}

int install_spare_workers(long processors)
{
        return processors > WORKERS ? (int) processors - WORKERS : 0;
}

/* More workers than every pull has, for processors that would idle. The store has them for all pulls together: many
 * pulls at once do not take memory for each. */
static size_t spare_take(struct images *images, size_t n_wanted)
{
        size_t n = 0;
        while (n < n_wanted && atomic_fetch_sub(&images->spare_workers, 1) > 0)
                n++;
        if (n < n_wanted)
                (void) atomic_fetch_add(&images->spare_workers, 1); /* the one that was not there */
        return n;
}

/* This thread works too, unless it has to tell how the others get on. */
static void run_team(struct team *team)
{
        pthread_t helpers[WORKERS_MAX];
        size_t n_spare = 0, n_helpers = 0;
        if (team->n > WORKERS)
                n_spare = spare_take(team->images,
                                     team->n < WORKERS_MAX ? team->n - WORKERS : WORKERS_MAX - WORKERS);
        size_t n_wanted = WORKERS + n_spare - (team->watcher ? 0 : 1);
        size_t n_useful = team->watcher ? team->n : team->n - (team->n > 0);
        while (n_helpers < n_wanted && n_helpers < n_useful && start_helper(team, &helpers[n_helpers]))
                n_helpers++;
        if (team->watcher && n_helpers)
                watch_helpers(team);
        else
                work(team);
        for (size_t i = 0; i < n_helpers; i++)
                (void) pthread_join(helpers[i], NULL);
        (void) atomic_fetch_add(&team->images->spare_workers, (int) n_spare);
}

/* Writes out what is unpacked while the rest comes: else the disk idles until the end, and all wait for it then. */
static void *sync_main(void *argument)
{
        struct team *team = argument;
        eventfd_t count;
        while (eventfd_read(team->sync_fd, &count) == 0 && !atomic_load(&team->is_over))
                layers_sync_early(team->images->layers);
        return NULL;
}

static void run_with_sync(struct team *team)
{
        pthread_t syncer;
        bool has_syncer = team->n > SYNC_LAYERS && start_thread(&syncer, sync_main, team);
        run_team(team);
        atomic_store(&team->is_over, true);
        (void) eventfd_write(team->sync_fd, 1);
        if (has_syncer)
                (void) pthread_join(syncer, NULL);
}

void install_done(struct images *images, struct layer **layers, size_t n)
{
        for (size_t i = 0; layers && i <= n; i++)
                if (layers[i])
                        layers_unpin(images->layers, layers[i]);
        free(layers);
}

/* All have ended. */
static struct error *make_durable(struct team *team)
{
        TRY(fault_point("image.unpacked"));
        TRY(seam_make(team->images->layers, team->layers, team->n, &team->wait, &team->layers[team->n]));
        TRY(layers_sync(team->images->layers, team->layers, team->n + (team->layers[team->n] != NULL)));
        return fault_point("image.synced");
}

struct error *install_layers(struct images *images, struct puller *puller, enum pull_type type,
                             const struct install_layer *list, size_t n, const struct pull_watcher *watcher,
                             const struct wait *wait, struct layer ***out)
{
        struct team team = { .images = images,
                             .puller = puller,
                             .type = type,
                             .list = list,
                             .n = n,
                             .wait = *wait,
                             .watcher = watcher };
        _cleanup_(closep) int failed_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK), cancel_fd = -1,
                              ended_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK),
                              sync_fd = eventfd(0, EFD_CLOEXEC); /* its reader waits */
        if (failed_fd < 0 || ended_fd < 0 || sync_fd < 0)
                return error_errno(errno, "eventfd");
        TRY(either_fd(wait->cancel_fd, failed_fd, &cancel_fd));
        team.failed_fd = failed_fd;
        team.ended_fd = ended_fd;
        team.sync_fd = sync_fd;
        team.wait.cancel_fd = cancel_fd;
        team.layers = NEW_ARRAY(struct layer *, n + 1);
        team.done_bytes = new_zeroed(n + 1, sizeof(*team.done_bytes));
        (void) pthread_mutex_init(&team.lock, NULL);
        run_with_sync(&team);
        (void) pthread_mutex_destroy(&team.lock);
        free(team.done_bytes);
        struct error *e = team.failure ? team.failure : make_durable(&team);
        if (e) {
                install_done(images, team.layers, n);
                return e;
        }
        *out = team.layers;
        return NULL;
}

struct error *install_config(struct puller *puller, enum pull_type type, const char *name,
                             const struct digest *digest, const struct wait *wait, struct buf *out,
                             char ***diff_ids, char **id)
{
        struct digest got;
        struct image_config config;
        char text[DIGEST_TEXT_SIZE];
        TRY_WRAP(puller_read(puller, type, name, MANIFEST_LIMIT_BYTES, wait, out, NULL), "config %s", name);
        digest_of(out->bytes, out->len_bytes, &got);
        digest_format(&got, text);
        if (digest && !digest_equal(digest, &got))
                return error_new(ERROR_DATA_LOSS, "config %s: it has digest %s", name, text);
        TRY(config_parse(out->bytes, out->len_bytes, &config, diff_ids));
        image_config_done(&config);
        *id = dup_string(text);
        return NULL;
}
