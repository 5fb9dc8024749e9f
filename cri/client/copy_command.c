/* cp: files to and from a container, by the tar that is in it. */
#include "cri/client/copy_in.h"
#include "cri/client/copy_out.h"
#include "cri/client/stream_calls.h"
#include "cri/client/stream_status.h"
#include <fcntl.h>
#include <getopt.h>
#include <libgen.h>
#include <locale.h>
#include <pthread.h>
#include <string.h>
#include <sys/stat.h>

/* What is at work on the other end of the pipe that a session reads from or writes to. */
struct worker {
        bool inwards;
        int fd; /* its end; closed when it is through, which the session sees */
        struct copy_out out;
        const char *path, *name; /* inwards */
        struct error *error;
};

static void *work(void *arg)
{
        struct worker *worker = arg;
        worker->error = worker->inwards ? copy_in_archive(worker->path, worker->name, worker->fd)
                                        : copy_out_extract(&worker->out, worker->fd);
        closep(&worker->fd);
        return NULL;
}

static struct error *error_of_tar(struct context *context, struct error *e)
{
        if (!stream_status_not_run(error_message(e)) || !strstr(error_message(e), "\"tar\""))
                return e;
        context->error_exit_code = 0;
        error_ignore(e);
        return error_new(ERROR_FAILED_PRECONDITION, "the container has no tar, by which files are copied");
}

/* Runs tar in the container. *exit_code is its own; options' descriptors are where it reads and writes. */
static struct error *run_tar(struct context *context, const char *id, const char *const *command,
                             size_t n_command, struct stream_session_options *options, int *exit_code)
{
        _cleanup_(stream_session_freep) struct stream_session *session = NULL;
        struct error *e = exec_open(context, id, (char **) (uintptr_t) command, n_command, options, &session);
        if (!e)
                e = exec_finish(context, &session, exit_code);
        return e ? error_of_tar(context, e) : NULL;
}

#define RUN_TAR(context, id, options, exit_code, ...)                                                        \
        run_tar(context, id, (const char *const[]){ "tar", __VA_ARGS__ },                                    \
                LENGTH(((const char *const[]){ "tar", __VA_ARGS__ })), options, exit_code)

/* --- a worker beside a session --- */

/* The worker's error says more than a broken pipe does, and tar's, which it wrote to stderr, more than its exit code. */
static struct error *first_cause(struct context *context, struct error *session, struct error *worker,
                                 int exit_code)
{
        bool is_pipe = session && strstr(error_message(session), "Broken pipe");
        bool worker_is_pipe = worker && strstr(error_message(worker), "Broken pipe");
        if (worker && (!session || is_pipe) && !(worker_is_pipe && (session || exit_code))) {
                error_ignore(session);
                return worker;
        }
        error_ignore(worker);
        if (session || exit_code == 0)
                return session;
        context->error_exit_code = 1;
        return error_new(ERROR_UNKNOWN, "tar in the container ended with %d", exit_code);
}

static struct error *run_with(struct context *context, const char *id, const char *dir, const char *member,
                              struct worker *worker)
{
        struct stream_session_options options = { .in = worker->inwards,
                                                  .out = !worker->inwards,
                                                  .err = true,
                                                  .in_fd = -1,
                                                  .out_fd = -1,
                                                  .err_fd = STDERR_FILENO };
        int fds[2], exit_code = 0;
        pthread_t thread;
        if (pipe2(fds, O_CLOEXEC) < 0)
                return error_errno(errno, "pipe");
        _cleanup_(closep) int ours = fds[worker->inwards ? 0 : 1];
        worker->fd = fds[worker->inwards ? 1 : 0];
        options.in_fd = options.out_fd = ours;
        int failed = pthread_create(&thread, NULL, work, worker);
        if (failed) {
                closep(&worker->fd);
                return error_errno(failed, "thread");
        }
        struct error *e = worker->inwards
                                  ? RUN_TAR(context, id, &options, &exit_code, "-C", dir, "-xpf", "-")
                                  : RUN_TAR(context, id, &options, &exit_code, "-C", dir, "-cf", "-", member);
        closep(&ours); /* the worker sees the end */
        (void) pthread_join(thread, NULL);
        return first_cause(context, e, TAKE(worker->error), exit_code);
}

/* --- names --- */

/* CONTAINER:PATH, when the colon comes before any slash. */
static bool is_remote(const char *text)
{
        size_t len = strcspn(text, ":/");
        return len > 0 && text[len] == ':';
}

/* The directory that a path lies in, and its name there: "." for a directory itself ("x/.", "/"). */
struct place {
        char *dir, *name;
        char *owned; /* what name points into */
};

static void place_done(struct place *place)
{
        free(place->dir);
        free(place->owned);
}

static struct place place_of(const char *path)
{
        struct place place = { .owned = dup_string(*path ? path : ".") };
        size_t len = strlen(place.owned);
        while (len > 1 && place.owned[len - 1] == '/')
                place.owned[--len] = '\0';
        bool is_self = strcmp(place.owned, "/") == 0 || strcmp(place.owned, ".") == 0 ||
                       strcmp(place.owned, "..") == 0 ||
                       (len > 2 && (strcmp(place.owned + len - 2, "/.") == 0)) ||
                       (len > 3 && strcmp(place.owned + len - 3, "/..") == 0);
        if (is_self) {
                place.dir = dup_string(place.owned);
                free(place.owned);
                place.owned = dup_string(".");
                place.name = place.owned;
                return place;
        }
        char *slash = strrchr(place.owned, '/');
        place.name = slash ? slash + 1 : place.owned;
        place.dir = !slash                 ? dup_string(".")
                    : slash == place.owned ? dup_string("/")
                                           : dup_bytes(place.owned, (size_t) (slash - place.owned));
        return place;
}

/* --- the two ways --- */

static struct error *copy_from(struct context *context, const char *id, const char *from, const char *to)
{
        struct stat st;
        _cleanup_(place_done) struct place source = place_of(from), target = place_of(to);
        _cleanup_(freep) char *member = format_string("./%s", source.name);
        bool is_directory = stat(to, &st) == 0 && S_ISDIR(st.st_mode);
        if (!is_directory && *to && to[strlen(to) - 1] == '/')
                return error_new(ERROR_NOT_FOUND, "%s is no directory", to);
        const char *dir = is_directory ? to : target.dir;
        _cleanup_(closep) int dir_fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (dir_fd < 0)
                return error_as(error_errno(errno, "%s", dir), ERROR_NOT_FOUND);
        struct worker worker = { .out = { .member = source.name,
                                          .dir_fd = dir_fd,
                                          .name = is_directory ? source.name : target.name } };
        return run_with(context, id, source.dir, member, &worker);
}

/* tar can change to a directory, and to nothing else: it is given an archive with nothing in it. */
static struct error *is_directory_there(struct context *context, const char *id, const char *path, bool *out)
{
        static const char empty[1024];
        struct stream_session_options options = { .in = true, .err = true, .in_fd = -1, .out_fd = -1 };
        int exit_code = 0, fds[2];
        _cleanup_(closep) int null_fd = open("/dev/null", O_WRONLY | O_CLOEXEC);
        if (null_fd < 0 || pipe2(fds, O_CLOEXEC) < 0)
                return error_errno(errno, "pipe");
        ssize_t n_bytes = write(fds[1], empty, sizeof(empty)); /* which a pipe has room for */
        _cleanup_(closep) int in_fd = fds[0];
        (void) n_bytes;
        (void) close(fds[1]);
        options.in_fd = in_fd;
        options.err_fd = null_fd;
        TRY(RUN_TAR(context, id, &options, &exit_code, "-C", path, "-xf", "-"));
        *out = exit_code == 0;
        return NULL;
}

static struct error *copy_to(struct context *context, const char *id, const char *from, const char *to)
{
        struct stat st;
        _cleanup_(place_done) struct place source = place_of(from), target = place_of(to);
        bool is_directory = false;
        if (lstat(from, &st) < 0)
                return error_as(error_errno(errno, "%s", from), ERROR_NOT_FOUND);
        TRY(is_directory_there(context, id, to, &is_directory));
        if (!is_directory && *to && to[strlen(to) - 1] == '/')
                return error_new(ERROR_NOT_FOUND, "%s is no directory in the container", to);
        struct worker worker = { .inwards = true,
                                 .path = from,
                                 .name = is_directory ? source.name : target.name };
        return run_with(context, id, is_directory ? to : target.dir, NULL, &worker);
}

/* "-": the tar stream itself. */
static struct error *copy_stream(struct context *context, const char *id, const char *path, bool inwards)
{
        struct stream_session_options options = { .in = inwards,
                                                  .out = !inwards,
                                                  .err = true,
                                                  .in_fd = STDIN_FILENO,
                                                  .out_fd = STDOUT_FILENO,
                                                  .err_fd = STDERR_FILENO };
        _cleanup_(place_done) struct place place = place_of(path);
        _cleanup_(freep) char *member = format_string("./%s", place.name);
        int exit_code = 0;
        struct error *e =
                inwards ? RUN_TAR(context, id, &options, &exit_code, "-C", path, "-xpf", "-")
                        : RUN_TAR(context, id, &options, &exit_code, "-C", place.dir, "-cf", "-", member);
        return first_cause(context, e, NULL, exit_code);
}

struct error *copy_command(struct context *context, int argc, char **argv)
{
        static const struct option flags[] = { { 0 } };
        _cleanup_(object_done) struct object object = { 0 };
        if (getopt_long(argc, argv, "+", flags, NULL) != -1)
                return USAGE_ERROR("unknown flag %s", argv[optind - 1]);
        if (optind + 2 != argc || is_remote(argv[optind]) == is_remote(argv[optind + 1]))
                return USAGE_ERROR("CONTAINER:PATH and a local path are needed");
        const char *from = argv[optind], *to = argv[optind + 1];
        bool inwards = is_remote(to);
        const char *remote = inwards ? to : from, *local = inwards ? from : to;
        const char *path = strchr(remote, ':') + 1;
        if (!*path || !*local)
                return USAGE_ERROR("a path is empty");
        _cleanup_(freep) char *container = dup_bytes(remote, (size_t) (path - 1 - remote));
        TRY(object_find(context, OBJECT_CONTAINER, container, &object));
        (void) setlocale(LC_CTYPE,
                         "C.UTF-8"); /* libarchive turns pax's names, which are UTF-8, into the locale's */
        (void) signal(SIGPIPE, SIG_IGN); /* a worker or session that ends early shows as a failed write */
        if (strcmp(local, "-") == 0)
                return copy_stream(context, object.id, path, inwards);
        return inwards ? copy_to(context, object.id, local, path)
                       : copy_from(context, object.id, path, local);
}
