/* help: all commands, or all of one. */
#include "cri/client/command.h"
#include <string.h>

void print_help(FILE *to)
{
        (void) fprintf(to, "usage: skiff [--endpoint unix:///PATH] COMMAND ...\n\n");
        for (size_t i = 0; i < n_commands; i++)
                if (!commands[i].is_hidden)
                        (void) fprintf(to, "  %-8s  %s\n            %s\n", commands[i].name,
                                       commands[i].arguments, commands[i].summary);
        (void) fprintf(to,
                       "\nIds may be shortened, and names stand for them. The endpoint is --endpoint, else\n"
                       "$CONTAINER_RUNTIME_ENDPOINT, else " DEFAULT_ENDPOINT ".\n"
                       "skiff help COMMAND says all of one, with examples.\n");
}

static void print_flag(const struct command_flag *flag)
{
        char left[64];
        (void) snprintf(left, sizeof(left), "%s%s%s--%s%s%s", flag->letter ? "-" : "    ",
                        flag->letter ? flag->letter : "", flag->letter ? ", " : "", flag->name,
                        flag->value ? " " : "", flag->value ? flag->value : "");
        (void) printf("  %-28s  %s\n", left, flag->help);
}

void print_help_of(const struct command *command)
{
        (void) printf("usage: skiff %s%s%s\n%s\n", command->name, *command->arguments ? " " : "",
                      command->arguments, command->summary);
        if (command->about)
                (void) printf("\n%s\n", command->about);
        if (command->flags)
                (void) puts("");
        for (const struct command_flag *flag = command->flags; flag && flag->name; flag++)
                print_flag(flag);
        if (command->examples)
                (void) puts("\nexamples:");
        for (const struct command_example *one = command->examples; one && one->line; one++)
                (void) printf("  %s\n      %s\n", one->line, one->what);
}

struct error *help_command(struct context *context, int argc, char **argv)
{
        (void) context;
        if (argc > 2)
                return USAGE_ERROR("one command at a time");
        if (argc == 1) {
                print_help(stdout);
                return NULL;
        }
        const struct command *command = command_find(argv[1]);
        if (!command)
                return error_new(ERROR_INVALID_ARGUMENT, "there is no command \"%s\"; skiff help lists them",
                                 argv[1]);
        print_help_of(command);
        return NULL;
}
