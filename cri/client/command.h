/* command.h - a subcommand of skiff and what all of them share.
 *
 * A command is an entry in commands.c's table and a function in a file named after its family. It writes what it found to
 * stdout and returns an error for main to tell on stderr; it exits with a code of its own only through context.exit_code
 * (a container's, of `run` and `exec`). Commands speak CRI, and skiffd's Admin service where CRI has no call.
 *
 * Threads: one. */
#pragma once
#include "api/admin.pb-c.h"
#include "api/cri.pb-c.h"
#include "base/error.h"
#include "cri/client/client.h"
#include <stdbool.h>
#include <stdio.h>

struct context {
        const char *endpoint;
        struct client *client; /* connected by the first call */
        bool json;
        int exit_code;         /* when the command returns no error */
        int error_exit_code;   /* when it returns one; 0: as the error's code has it */
        int64_t away_since_ns; /* when calls began to find nobody; 0: the last one did not */
        const volatile sig_atomic_t *interrupted; /* ends calls under way; NULL: Ctrl-C ends the program */
};

/* What a shell offers where an argument is wanted. */
enum completes {
        COMPLETES_NOTHING,
        COMPLETES_FILES,
        COMPLETES_PODS,
        COMPLETES_CONTAINERS,
        COMPLETES_OBJECTS, /* pods and containers */
        COMPLETES_IMAGES,
        COMPLETES_ALL,    /* pods, containers, images */
        COMPLETES_PLACES, /* containers, each with a colon, and files */
        COMPLETES_COMMANDS,
        COMPLETES_WORDS, /* the command's own */
};

struct command_flag {
        const char *letter; /* "a" of -a; NULL: it has none */
        const char *name;   /* "all" of --all */
        const char *value;  /* "SECONDS"; NULL: it takes none */
        const char *help;
        enum completes completes; /* the value */
};

struct command_example {
        const char *line, *what;
};

struct command {
        const char *name;
        const char *arguments; /* "[-a] [--json]" */
        const char *summary;
        const char *about;                      /* more of it, in sentences; NULL: none */
        const struct command_flag *flags;       /* to one without a name; NULL: none */
        enum completes takes[2];                /* its first argument, and those behind */
        const char *words;                      /* of COMPLETES_WORDS: each with its NUL, then an empty one */
        const struct command_example *examples; /* to one without a line; NULL: none */
        struct error *(*run)(struct context *context, int argc,
                             char **argv); /* argv[0] is the command's name */
        bool is_hidden;                    /* for programs, not people */
};

extern const struct command commands[]; /* commands.c */
extern const size_t n_commands;
const struct command *command_find(const char *name); /* NULL: there is none */

#define DEFAULT_ENDPOINT "unix:///run/skiff/skiff.sock"

/* Wrong usage: main tells the error with the command's arguments and exits with EX_USAGE. */
#define USAGE_ERROR(...) error_wrap(error_new(ERROR_INVALID_ARGUMENT, __VA_ARGS__), "usage")

/* --- calls; request and answer are messages of the method. Errors carry the status and its text --- */
#define CALL_TIMEOUT_MS 120000
#define RUN_POD_TIMEOUT_MS 240000
MUST_CHECK struct error *runtime_call(struct context *context, const char *method, const void *request,
                                      int64_t timeout_ms, void *answer);
MUST_CHECK struct error *image_call(struct context *context, const char *method, const void *request,
                                    int64_t timeout_ms, void *answer);
MUST_CHECK struct error *admin_call(struct context *context, const char *method, const void *request,
                                    int64_t timeout_ms, void *answer);

/* Of a call that can be made again, since it changes nothing or is idempotent: NULL when all that is wrong is that nobody is
 * there, and has not been for less than a minute: a skiffd is being replaced, and what it ran goes on. The next call connects
 * anew; AWAY_RETRY_MS is a good moment for it. */
#define AWAY_RETRY_MS 200
MUST_CHECK struct error *call_forgive(struct context *context, struct error *e);

/* Of a method that streams, without a timeout: each message goes to the taker. */
MUST_CHECK struct error *runtime_stream(struct context *context, const char *method, const void *request,
                                        const struct client_taker *taker);
MUST_CHECK struct error *admin_stream(struct context *context, const char *method, const void *request,
                                      const struct client_taker *taker);

/* --- what an id, a prefix of one, or a name stands for --- */
enum object_kind { OBJECT_POD = 1, OBJECT_CONTAINER = 2, OBJECT_IMAGE = 4 };
struct object {
        enum object_kind kind;
        char *id;
        char *pod_id; /* of a container */
};
void object_done(struct object *object);

/* Finds the one object of the kinds (OBJECT_... | ...) that text names: a whole id, a prefix of one, or the name of a
 * pod or container. A pod goes before its container of the same name; where only a container is wanted, a pod stands for
 * its only one. Errors: NOT_FOUND; INVALID_ARGUMENT when it fits several, naming some. */
MUST_CHECK struct error *object_find(struct context *context, unsigned kinds, const char *text,
                                     struct object *out);

/* --- the commands, by file: each reads its own arguments (argv[0] is its name), prints, and sets context->exit_code where
 * that is not the error's --- */
MUST_CHECK struct error *run_command(struct context *context, int argc, char **argv);  /* run_command.c */
MUST_CHECK struct error *pods_command(struct context *context, int argc, char **argv); /* list_commands.c */
MUST_CHECK struct error *ps_command(struct context *context, int argc, char **argv);
MUST_CHECK struct error *images_command(struct context *context, int argc, char **argv);
MUST_CHECK struct error *logs_command(struct context *context, int argc,
                                      char **argv); /* container_commands.c */
MUST_CHECK struct error *stop_command(struct context *context, int argc, char **argv);
MUST_CHECK struct error *rm_command(struct context *context, int argc, char **argv);
MUST_CHECK struct error *exec_command(struct context *context, int argc, char **argv); /* exec_command.c */
MUST_CHECK struct error *attach_command(struct context *context, int argc,
                                        char **argv); /* attach_command.c */
MUST_CHECK struct error *forward_command(struct context *context, int argc,
                                         char **argv);                                 /* forward_command.c */
MUST_CHECK struct error *copy_command(struct context *context, int argc, char **argv); /* copy_command.c */
MUST_CHECK struct error *commit_command(struct context *context, int argc,
                                        char **argv);                                   /* commit_command.c */
MUST_CHECK struct error *pull_command(struct context *context, int argc, char **argv);  /* pull_command.c */
MUST_CHECK struct error *prune_command(struct context *context, int argc, char **argv); /* image_commands.c */
MUST_CHECK struct error *export_command(struct context *context, int argc, char **argv);
MUST_CHECK struct error *import_command(struct context *context, int argc, char **argv);
MUST_CHECK struct error *rmi_command(struct context *context, int argc, char **argv);
MUST_CHECK struct error *inspect_command(struct context *context, int argc,
                                         char **argv); /* status_commands.c */
MUST_CHECK struct error *version_command(struct context *context, int argc, char **argv);
MUST_CHECK struct error *info_command(struct context *context, int argc, char **argv);
MUST_CHECK struct error *events_command(struct context *context, int argc,
                                        char **argv);                                   /* events_command.c */
MUST_CHECK struct error *check_command(struct context *context, int argc, char **argv); /* check_command.c */
MUST_CHECK struct error *config_command(struct context *context, int argc,
                                        char **argv); /* config_command.c */

MUST_CHECK struct error *help_command(struct context *context, int argc, char **argv); /* help_command.c */
MUST_CHECK struct error *completion_command(struct context *context, int argc,
                                            char **argv); /* completion_command.c */

/* All commands, a line or two each; and all of one (help_command.c). */
void print_help(FILE *to);
void print_help_of(const struct command *command);

/* "pods", and so on; "" for nothing (completion_command.c). */
const char *completes_name(enum completes kind);

/* Scripts that complete commands, their options and what they take, of a shell (completion_shells.c). */
void print_completion_bash(void);
void print_completion_zsh(void);
void print_completion_fish(void);
/* skiff(1), as mdoc(7) (manual.c). */
void print_manual(void);

/* `images --tree`: each image with its layers, sizes and who shares them, or all of it as JSON (image_tree.c). */
MUST_CHECK struct error *print_image_tree(struct context *context);

/* Stops a pod, removes it, and removes the log directory that `run` made for it. Idempotent. */
MUST_CHECK struct error *pod_remove(struct context *context, const char *pod_id);

/* ContainerStatus, whose answer has a status. Errors: the call's; INTERNAL when it has none. */
MUST_CHECK struct error *container_status(struct context *context, const char *id,
                                          Cri__ContainerStatusResponse **out);
/* The same; while skiffd is away it is waited for (call_forgive). */
MUST_CHECK struct error *container_status_patiently(struct context *context, const char *id,
                                                    Cri__ContainerStatusResponse **out);

/* A number of seconds as people give it. Errors: "usage: ...". */
MUST_CHECK struct error *parse_seconds(const char *text, int64_t *out);
