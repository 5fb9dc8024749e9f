/* pull: with bytes, rate and time left where a person looks. */
#include "base/clock.h"
#include "cri/client/command.h"
#include "cri/client/print.h"
#include <getopt.h>
#include <string.h>
#include <unistd.h>

struct progress {
        bool is_terminal, is_quiet;
        int64_t began_ns;
        char *image_id;
};

/* "3 of 8 layers, 45.1 MB of 108.6 MB, 61.2 MB/s, 2 s left" */
static void print_progress(const struct progress *progress, const Admin__PullProgressResponse *message)
{
        double seconds = (double) (clock_monotonic_ns() - progress->began_ns) / 1e9;
        double rate = seconds > 0 ? (double) message->done_bytes / seconds : 0;
        uint64_t left_bytes = message->total_bytes - message->done_bytes;
        _cleanup_(freep) char *done = print_size(message->done_bytes),
                              *total = print_size(message->total_bytes), *speed = print_size((uint64_t) rate);
        (void) fprintf(stderr, "%s%u of %u layers, %s of %s, %s/s", progress->is_terminal ? "\r" : "",
                       message->done_layers, message->layers, done, total, speed);
        if (rate > 0 && message->done_bytes < message->total_bytes)
                (void) fprintf(stderr, ", %.0f s left", (double) left_bytes / rate + 0.5);
        (void) fprintf(stderr, progress->is_terminal ? "\033[K" : "\n");
}

static void take(void *context, const ProtobufCMessage *base)
{
        struct progress *progress = context;
        const Admin__PullProgressResponse *message = (const void *) base;
        if (*message->image_id) {
                free(progress->image_id);
                progress->image_id = dup_string(message->image_id);
        } else if (!progress->is_quiet && message->done_bytes <= message->total_bytes) {
                print_progress(progress, message);
        }
}

static struct error *pull_one(struct context *context, const char *name, const char *user,
                              const char *password, bool is_quiet)
{
        Admin__PullProgressRequest request = ADMIN__PULL_PROGRESS_REQUEST__INIT;
        struct progress progress = { .is_terminal = isatty(STDERR_FILENO),
                                     .is_quiet = is_quiet,
                                     .began_ns = clock_monotonic_ns() };
        const struct client_taker taker = { take, &progress };
        request.image = name;
        request.username = user;
        request.password = password;
        struct error *e = admin_stream(context, "PullProgress", &request, &taker);
        if (progress.is_terminal && !is_quiet)
                (void) fprintf(stderr, "\r\033[K");
        if (!e && progress.image_id)
                (void) printf("%s\n", progress.image_id);
        free(progress.image_id);
        return e;
}

/* One line. Never an argument: those are everybody's to read. */
static struct error *read_password(char *into, size_t size_bytes)
{
        if (isatty(STDIN_FILENO))
                (void) fprintf(stderr, "password: ");
        if (!fgets(into, (int) size_bytes, stdin))
                return USAGE_ERROR("no password on stdin");
        into[strcspn(into, "\r\n")] = '\0';
        return NULL;
}

struct error *pull_command(struct context *context, int argc, char **argv)
{
        static const struct option flags[] = { { "quiet", no_argument, NULL, 'q' },
                                               { "username", required_argument, NULL, 'u' },
                                               { 0 } };
        const char *user = "";
        char password[1024] = "";
        bool is_quiet = false;
        for (int flag; (flag = getopt_long(argc, argv, "+qu:", flags, NULL)) != -1;) {
                if (flag == 'q')
                        is_quiet = true;
                else if (flag == 'u')
                        user = optarg;
                else
                        return USAGE_ERROR("unknown flag %s", argv[optind - 1]);
        }
        if (optind == argc)
                return USAGE_ERROR("which image?");
        if (*user)
                TRY(read_password(password, sizeof(password)));
        struct error *e = NULL;
        for (int i = optind; i < argc && !e; i++)
                e = pull_one(context, argv[i], user, password, is_quiet);
        explicit_bzero(password, sizeof(password));
        return e;
}
