/* skiff(1), from the table of commands: mdoc(7). */
#include "cri/client/command.h"
#include <string.h>

#define LINE_MAX_CHARS 72

/* One word: a backslash, a dash, and a dot or quote at the start of a line mean something. */
static void roff_word(const char *word, size_t len, bool at_start)
{
        if (at_start && (*word == '.' || *word == '\''))
                (void) printf("\\&");
        for (size_t i = 0; i < len; i++)
                (void) printf(word[i] == '\\' ? "\\e" : word[i] == '-' ? "\\-" : "%c", word[i]);
}

/* Text in lines of their own: short ones, and a new one for each sentence, as mdoc(7) wants it. */
static void roff_text(const char *text)
{
        for (size_t column = 0; *text;) {
                size_t len = strcspn(text, " \n");
                if (len && column && column + len > LINE_MAX_CHARS) {
                        (void) printf("\n");
                        column = 0;
                }
                if (len) {
                        (void) printf(column ? " " : "");
                        roff_word(text, len, column == 0);
                        column += len + 1;
                }
                if (len && text[len - 1] == '.' && text[len] && (len < 3 || text[len - 2] != '.')) {
                        (void) printf("\n");
                        column = 0;
                }
                text += len + (text[len] != '\0');
        }
        (void) printf("\n");
}

/* Text that is an argument of a macro, or behind one. */
static void roff_line(const char *text)
{
        roff_word(text, strlen(text), true);
        (void) printf("\n");
}

static void print_flag(const struct command_flag *flag)
{
        (void) printf(".It ");
        if (flag->letter)
                (void) printf("Fl %s%s%s%s , ", flag->letter, flag->value ? " Ar \"" : "",
                              flag->value ? flag->value : "", flag->value ? "\"" : "");
        (void) printf("Fl Fl %s%s%s%s\n", flag->name, flag->value ? " Ar \"" : "",
                      flag->value ? flag->value : "", flag->value ? "\"" : "");
        roff_text(flag->help);
}

static void print_command(const struct command *command)
{
        (void) printf(".Ss %s\n.Bd -ragged -compact\n.Nm\n.Cm %s\n", command->name, command->name);
        if (*command->arguments)
                roff_text(command->arguments);
        (void) printf(".Ed\n.Pp\n");
        roff_text(command->summary);
        if (command->about) {
                (void) printf(".Pp\n");
                roff_text(command->about);
        }
        if (command->flags)
                (void) printf(".Bl -tag -width Ds\n");
        for (const struct command_flag *flag = command->flags; flag && flag->name; flag++)
                print_flag(flag);
        if (command->flags)
                (void) printf(".El\n");
        for (const struct command_example *one = command->examples; one && one->line; one++) {
                (void) printf(".Pp\n");
                roff_text(one->what);
                (void) printf(".Dl ");
                roff_line(one->line);
        }
}

void print_manual(void)
{
        static const char head[] =
                ".Dd November 28, 2026\n"
                ".Dt SKIFF 1\n"
                ".Os\n"
                ".Sh NAME\n"
                ".Nm skiff\n"
                ".Nd pods, containers and images of a skiff node\n"
                ".Sh SYNOPSIS\n"
                ".Nm\n"
                ".Op Fl Fl endpoint Ar unix:///PATH\n"
                ".Ar command\n"
                ".Op Ar argument ...\n"
                ".Sh DESCRIPTION\n"
                "The command line for people of\n"
                ".Xr skiffd 8 ,\n"
                "to which it speaks over CRI, as kubelet does.\n"
                "An id may be shortened, and names of pods, containers and images stand for them.\n"
                "The options are:\n"
                ".Bl -tag -width Ds\n"
                ".It Fl Fl endpoint Ar unix:///PATH\n"
                "The socket of skiffd.\n"
                ".It Fl Fl help\n"
                "What commands there are; behind a command all of it.\n"
                ".It Fl Fl version\n"
                "The version of this program.\n"
                ".El\n"
                ".Sh COMMANDS\n";
        static const char tail[] = ".Sh ENVIRONMENT\n"
                                   ".Bl -tag -width Ds\n"
                                   ".It Ev CONTAINER_RUNTIME_ENDPOINT\n"
                                   "The socket of skiffd, where\n"
                                   ".Fl Fl endpoint\n"
                                   "does not name it.\n"
                                   ".El\n"
                                   ".Sh FILES\n"
                                   ".Bl -tag -width Ds\n"
                                   ".It Pa /run/skiff/skiff.sock\n"
                                   "The socket, unless another is named.\n"
                                   "Its mode is 0600: who may use it is root on the node.\n"
                                   ".El\n"
                                   ".Sh EXIT STATUS\n"
                                   ".Cm run\n"
                                   "and\n"
                                   ".Cm exec\n"
                                   "end with the container's code,\n"
                                   "127 and 126 for a command that is not there or cannot be executed.\n"
                                   "What skiff itself could not do ends with a code of\n"
                                   ".In sysexits.h :\n"
                                   "64 wrong usage, 65 the wrong moment, 66 not found,\n"
                                   "69 no skiffd there, 70 its fault, 73 the name is taken,\n"
                                   "75 try again, 77 not allowed,\n"
                                   "78 a configuration that skiffd would refuse.\n"
                                   ".Sh SEE ALSO\n"
                                   ".Xr skiff.toml 5 ,\n"
                                   ".Xr skiff-pod 8 ,\n"
                                   ".Xr skiffd 8\n";
        (void) fputs(head, stdout);
        for (size_t i = 0; i < n_commands; i++)
                if (!commands[i].is_hidden)
                        print_command(&commands[i]);
        (void) fputs(tail, stdout);
}
