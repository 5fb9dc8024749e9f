/* skiff: the command line for people. */
#include "cri/client/command.h"
#include <fcntl.h>
#include <getopt.h>
#include <string.h>
#include <sysexits.h>

static int exit_code_of(const struct error *e)
{
        static const struct {
                enum error_code code;
                int exit_code;
        } codes[] = {
                { ERROR_INVALID_ARGUMENT, EX_USAGE },      { ERROR_NOT_FOUND, EX_NOINPUT },
                { ERROR_UNAVAILABLE, EX_UNAVAILABLE },     { ERROR_UNIMPLEMENTED, EX_UNAVAILABLE },
                { ERROR_PERMISSION_DENIED, EX_NOPERM },    { ERROR_UNAUTHENTICATED, EX_NOPERM },
                { ERROR_DEADLINE_EXCEEDED, EX_TEMPFAIL },  { ERROR_CANCELLED, EX_TEMPFAIL },
                { ERROR_RESOURCE_EXHAUSTED, EX_TEMPFAIL }, { ERROR_ABORTED, EX_TEMPFAIL },
                { ERROR_FAILED_PRECONDITION, EX_DATAERR }, { ERROR_ALREADY_EXISTS, EX_CANTCREAT },
                { ERROR_DATA_LOSS, EX_DATAERR },
        };
        for (size_t i = 0; i < LENGTH(codes); i++)
                if (codes[i].code == error_code_of(e))
                        return codes[i].exit_code;
        return EX_SOFTWARE;
}

/* Tells the error and frees it. */
static int fail(struct error *e, const struct command *command)
{
        const char *message = error_message(e);
        bool usage = strncmp(message, "usage: ", 7) == 0;
        size_t name_bytes = command ? strlen(command->name) : 0;
        /* "skiff pull: pull x: ..." would say it twice. */
        bool twice =
                command && strncmp(message, command->name, name_bytes) == 0 && message[name_bytes] == ' ';
        if (twice)
                (void) fprintf(stderr, "skiff %s\n", message);
        else
                (void) fprintf(stderr, "skiff%s%s: %s\n", command ? " " : "", command ? command->name : "",
                               usage ? message + 7 : message);
        if (usage && command)
                (void) fprintf(stderr, "usage: skiff %s %s\n", command->name, command->arguments);
        int exit_code = exit_code_of(e);
        error_free(e);
        return exit_code;
}

const struct command *command_find(const char *name)
{
        for (size_t i = 0; i < n_commands; i++)
                if (strcmp(commands[i].name, name) == 0)
                        return &commands[i];
        return NULL;
}

static int run(struct context *context, int argc, char **argv)
{
        if (argc == 0) {
                print_help(stderr);
                return EX_USAGE;
        }
        const struct command *command = command_find(argv[0]);
        if (!command)
                return fail(error_new(ERROR_INVALID_ARGUMENT,
                                      "there is no command \"%s\"; skiff --help lists them", argv[0]),
                            NULL);
        if (argc > 1 && strcmp(argv[1], "--help") == 0) {
                print_help_of(command);
                return EX_OK;
        }
        optind = 0; /* getopt anew, for the command's own options */
        opterr = 0;
        struct error *e = command->run(context, argc, argv);
        errno = 0; /* what a write before this one failed with is not known any more */
        if (!e && (fflush(stdout) != 0 || ferror(stdout)))
                e = error_errno(errno ? errno : EIO, "write to stdout");
        if (!e)
                return context->exit_code;
        int exit_code = fail(e, command);
        return context->error_exit_code ? context->error_exit_code : exit_code;
}

/* A number of the first three that is closed would be taken by the next thing that is opened, and written to. */
static void standard_descriptors(void)
{
        int fd;
        do {
                fd = open("/dev/null", O_RDWR);
        } while (fd >= 0 && fd <= STDERR_FILENO);
        closep(&fd);
}

int main(int argc, char **argv)
{
        standard_descriptors();
        static const struct option flags[] = { { "endpoint", required_argument, NULL, 'e' },
                                               { "help", no_argument, NULL, 'h' },
                                               { "version", no_argument, NULL, 'v' },
                                               { 0 } };
        const char *from_environment = getenv("CONTAINER_RUNTIME_ENDPOINT");
        struct context context = { .endpoint = from_environment && *from_environment ? from_environment
                                                                                     : DEFAULT_ENDPOINT };
        for (int flag; (flag = getopt_long(argc, argv, "+h", flags, NULL)) != -1;) {
                if (flag == 'h')
                        print_help(stdout);
                if (flag == 'v')
                        (void) printf("skiff " SKIFF_VERSION "\n");
                if (flag == 'h' || flag == 'v')
                        return EX_OK;
                if (flag != 'e') {
                        print_help(stderr);
                        return EX_USAGE;
                }
                context.endpoint = optarg;
        }
        int exit_code = run(&context, argc - optind, argv + optind);
        client_free(context.client);
        return exit_code;
}
