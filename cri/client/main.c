/* skiff: the command line for people. */
#include "cri/client/command.h"
#include <fcntl.h>
#include <getopt.h>
#include <string.h>
#include <sysexits.h>

#define DEFAULT_ENDPOINT "unix:///run/skiff/skiff.sock"

static const struct command commands[] = {
        { "run",
          "[-d | --rm] [-i] [-t] [--name NAME] [-e KEY=VALUE] [-v HOST:PATH[:ro]] [-p HOST:PORT[/udp]] [-u "
          "USER]\n"
          "            [-w DIR] [-m MEMORY] [--host-network] [--userns HOST-ID] [--privileged] "
          "[--read-only]\n"
          "            [--detach-keys ctrl-p,ctrl-q] IMAGE [--] [COMMAND ...]",
          "run a pod with one container; in the foreground unless -d (-i: with this input, -t: in this "
          "terminal)",
          run_command },
        { "pods", "[-q] [--json]", "list pods", pods_command },
        { "ps", "[-a] [-q] [--json]", "list containers that run (-a: all; -q: ids alone)", ps_command },
        { "logs", "[-f] [-t] CONTAINER", "show a container's log (-f: follow, -t: with times)",
          logs_command },
        { "events", "[--json]", "show what becomes of pods and containers as it happens (Ctrl-C ends it)",
          events_command },
        { "exec", "[-i] [-t] [--timeout SECONDS] CONTAINER [--] COMMAND ...",
          "run a command in a container (-i: with this input, -t: in this terminal)", exec_command },
        { "attach", "[--no-stdin] [--detach-keys ctrl-p,ctrl-q] CONTAINER",
          "join what a container was started with; the keys leave it running", attach_command },
        { "port-forward", "[--address ADDRESS,...] POD [LOCAL:]REMOTE ...",
          "carry connections to local ports into a pod, until Ctrl-C (:REMOTE: any local port)",
          forward_command },
        { "cp", "CONTAINER:PATH LOCAL | LOCAL CONTAINER:PATH",
          "copy files from or to a container (LOCAL -: a tar stream on stdout or stdin)", copy_command },
        { "commit", "[-a AUTHOR] [-m TEXT] [-c INSTRUCTION] [--pause=false] CONTAINER IMAGE",
          "make an image of a container (-c: as a Dockerfile has it, \"CMD [...]\", \"ENV K=V\")",
          commit_command },
        { "stop", "[-t SECONDS] POD|CONTAINER ...", "stop pods or containers", stop_command },
        { "rm", "[-f] POD|CONTAINER ...", "remove pods or containers (-f: also those that run)", rm_command },
        { "images", "[--tree] [-q] [--json]", "list images (--tree: with their layers)", images_command },
        { "pull", "[-q] [-u USER] IMAGE ...",
          "fetch images from their registries (-u: the password is read from stdin)", pull_command },
        { "import", "[--name NAME] FILE",
          "take in an OCI layout or docker archive (--name: what its one image is to be called)",
          import_command },
        { "export", "IMAGE FILE", "write an image as an OCI layout", export_command },
        { "prune", "", "remove the images that no container uses", prune_command },
        { "rmi", "IMAGE ...", "remove images or names of them", rmi_command },
        { "inspect", "POD|CONTAINER|IMAGE ...", "all that is known of a thing, as JSON", inspect_command },
        { "info", "[--json]", "whether skiffd is ready, and what it can do", info_command },
        { "version", "[--json]", "versions of this command and of skiffd", version_command },
        { "check", "[--leaks] [--json]", "does this host have what skiff needs (--leaks: what is left over)",
          check_command },
        { "config", "show | check [--config FILE]",
          "skiffd's options with where each is from; or whether skiffd would take its files",
          config_command },
};

static void print_help(FILE *to)
{
        (void) fprintf(to, "usage: skiff [--endpoint unix:///PATH] COMMAND ...\n\n");
        for (size_t i = 0; i < LENGTH(commands); i++)
                (void) fprintf(to, "  %-8s  %s\n            %s\n", commands[i].name, commands[i].arguments,
                               commands[i].summary);
        (void) fprintf(to,
                       "\nIds may be shortened, and names stand for them. The endpoint is --endpoint, else\n"
                       "$CONTAINER_RUNTIME_ENDPOINT, else " DEFAULT_ENDPOINT ".\n");
}

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

static const struct command *find_command(const char *name)
{
        for (size_t i = 0; i < LENGTH(commands); i++)
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
        const struct command *command = find_command(argv[0]);
        if (!command)
                return fail(error_new(ERROR_INVALID_ARGUMENT,
                                      "there is no command \"%s\"; skiff --help lists them", argv[0]),
                            NULL);
        if (argc > 1 && strcmp(argv[1], "--help") == 0) {
                (void) printf("usage: skiff %s %s\n%s\n", command->name, command->arguments,
                              command->summary);
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
