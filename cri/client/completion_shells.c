/* Completion for bash, zsh and fish: what is the same for all commands as it is written there, and the table's part. Where a
 * name of something is wanted the script runs `skiff completion KIND`, which says nothing when no skiffd answers. */
#include "cri/client/command.h"
#include <string.h>

/* --- bash --- */

static void bash_flags(const struct command *command, bool with_values)
{
        bool first = true;
        for (const struct command_flag *flag = command->flags; flag && flag->name; flag++) {
                if (with_values && !flag->value)
                        continue;
                if (flag->letter)
                        (void) printf("%s-%s", first ? "" : with_values ? "|" : " ", flag->letter);
                first &= !flag->letter;
                (void) printf("%s--%s", first ? "" : with_values ? "|" : " ", flag->name);
                first = false;
        }
}

/* Of flags that take a value: what it can be. */
static void bash_values(const struct command *command)
{
        for (const struct command_flag *flag = command->flags; flag && flag->name; flag++)
                if (flag->value)
                        (void) printf("                %s%s%s--%s) kind=%s ;;\n", flag->letter ? "-" : "",
                                      flag->letter ? flag->letter : "", flag->letter ? "|" : "", flag->name,
                                      *completes_name(flag->completes) ? completes_name(flag->completes)
                                                                       : "nothing");
}

static void bash_command(const struct command *command)
{
        (void) printf("        %s)\n                flags='", command->name);
        bash_flags(command, false);
        (void) printf("%s--help' first=%s rest=%s words='", command->flags ? " " : "",
                      completes_name(command->takes[0]), completes_name(command->takes[1]));
        for (const char *word = command->words; word && *word; word += strlen(word) + 1)
                (void) printf("%s%s", word == command->words ? "" : " ", word);
        (void) printf("' valued='");
        bash_flags(command, true);
        (void) printf("'\n                case $previous in\n");
        bash_values(command);
        (void) printf("                esac\n                ;;\n");
}

void print_completion_bash(void)
{
        (void) printf(
                "# bash completion for skiff. Made by `skiff completion bash`.\n"
                "\n"
                "_skiff() {\n"
                "        # Not COMP_WORDS: it breaks app:1 at the colon.\n"
                "        local line=${COMP_LINE:0:COMP_POINT} current previous command= argument=0 i word\n"
                "        local -a typed endpoint=()\n"
                "        read -ra typed <<<\"$line\"\n"
                "        [[ $line == *[[:space:]] ]] && typed+=('')\n"
                "        current=${typed[${#typed[@]}-1]} previous=${typed[${#typed[@]}-2]}\n"
                "        for ((i = 1; i < ${#typed[@]} - 1; i++)); do\n"
                "                case ${typed[i]} in\n"
                "                --endpoint) endpoint=(--endpoint \"${typed[++i]}\") ;;\n"
                "                --endpoint=*) endpoint=(\"${typed[i]}\") ;;\n"
                "                -*) ;;\n"
                "                *)\n"
                "                        command=${typed[i]}\n"
                "                        break\n"
                "                        ;;\n"
                "                esac\n"
                "        done\n"
                "        local flags= first= rest= words= valued= kind= all='");
        for (size_t i = 0, n = 0; i < n_commands; i++)
                if (!commands[i].is_hidden)
                        (void) printf("%s%s", n++ ? " " : "", commands[i].name);
        (void) printf("'\n        case $command in\n"
                      "        '')\n"
                      "                flags='--endpoint --help --version' first=commands valued=--endpoint\n"
                      "                [[ $previous == --endpoint ]] && kind=files\n"
                      "                ;;\n");
        for (size_t i = 0; i < n_commands; i++)
                if (!commands[i].is_hidden)
                        bash_command(&commands[i]);
        (void) printf("        esac\n"
                      "        # How many arguments are there already? Behind the last that is known it is "
                      "another command's.\n"
                      "        [[ -n $command ]] || i=0\n"
                      "        for ((i++; i < ${#typed[@]} - 1; i++)); do\n"
                      "                word=${typed[i]}\n"
                      "                if [[ $word == -- ]]; then\n"
                      "                        argument=9\n"
                      "                elif [[ -n $valued && \"|$valued|\" == *\"|$word|\"* ]]; then\n"
                      "                        ((i++))\n"
                      "                elif [[ $word != -?* ]]; then\n"
                      "                        ((argument++))\n"
                      "                fi\n"
                      "        done\n"
                      "        if [[ -z $kind ]]; then\n"
                      "                kind=$rest\n"
                      "                ((argument == 0)) && kind=$first\n"
                      "        fi\n"
                      "        COMPREPLY=()\n"
                      "        if [[ $current == -* && $kind != nothing ]]; then\n"
                      "                ((argument == 0)) || [[ -n $rest ]] || return\n"
                      "                COMPREPLY=($(compgen -W \"$flags\" -- \"$current\"))\n"
                      "                return\n"
                      "        fi\n"
                      "        case $kind in\n"
                      "        '' | nothing) return ;;\n"
                      "        commands) COMPREPLY=($(compgen -W \"$all\" -- \"$current\")) ;;\n"
                      "        words) COMPREPLY=($(compgen -W \"$words\" -- \"$current\")) ;;\n"
                      "        files)\n"
                      "                compopt -o filenames 2>/dev/null\n"
                      "                local IFS=$'\\n'\n"
                      "                COMPREPLY=($(compgen -f -- \"$current\"))\n"
                      "                ;;\n"
                      "        *)\n"
                      "                words=$(\"${typed[0]}\" \"${endpoint[@]}\" completion \"$kind\" "
                      "2>/dev/null)\n"
                      "                COMPREPLY=($(compgen -W \"$words\" -- \"$current\"))\n"
                      "                if [[ $kind == places ]]; then\n"
                      "                        compopt -o nospace 2>/dev/null\n"
                      "                        local IFS=$'\\n'\n"
                      "                        COMPREPLY+=($(compgen -f -- \"$current\"))\n"
                      "                fi\n"
                      "                ;;\n"
                      "        esac\n"
                      "        # What readline takes for the word begins behind the last colon.\n"
                      "        if [[ $current == *:* && $COMP_WORDBREAKS == *:* ]]; then\n"
                      "                local before=${current%%\"${current##*:}\"}\n"
                      "                for ((i = 0; i < ${#COMPREPLY[@]}; i++)); do\n"
                      "                        COMPREPLY[i]=${COMPREPLY[i]#\"$before\"}\n"
                      "                done\n"
                      "        fi\n"
                      "}\n"
                      "complete -F _skiff skiff\n");
}

/* --- zsh --- */

/* In single quotes, with what _arguments takes apart escaped. */
static void zsh_text(const char *text)
{
        for (const char *c = text; *c; c++) {
                if (*c == '\'')
                        (void) printf("'\\''");
                else if (strchr("[]:\\", *c))
                        (void) printf("\\%c", *c);
                else
                        (void) putchar(*c);
        }
}

static void zsh_action(const struct command *command, enum completes kind)
{
        if (kind == COMPLETES_WORDS) {
                (void) printf("(");
                for (const char *word = command->words; *word; word += strlen(word) + 1)
                        (void) printf("%s%s", word == command->words ? "" : " ", word);
                (void) printf(")");
        } else if (kind == COMPLETES_NOTHING) {
                (void) printf(" ");
        } else {
                (void) printf("_skiff_%s", completes_name(kind));
        }
}

static void zsh_flag(const struct command *command, const struct command_flag *flag)
{
        if (flag->letter)
                (void) printf("                '(-%s --%s)'{-%s,--%s}'[", flag->letter, flag->name,
                              flag->letter, flag->name);
        else
                (void) printf("                '--%s[", flag->name);
        zsh_text(flag->help);
        (void) printf("]");
        if (flag->value) {
                (void) printf(":");
                zsh_text(flag->value);
                (void) printf(":");
                zsh_action(command, flag->completes);
        }
        (void) printf("' \\\n");
}

static void zsh_command(const struct command *command)
{
        (void) printf("        %s)\n                _arguments -s -S \\\n", command->name);
        for (const struct command_flag *flag = command->flags; flag && flag->name; flag++)
                zsh_flag(command, flag);
        (void) printf("                '(- *)--help[what it does]'");
        if (command->takes[0] != COMPLETES_NOTHING) {
                (void) printf(" \\\n                '1:");
                zsh_text(completes_name(command->takes[0]));
                (void) printf(":");
                zsh_action(command, command->takes[0]);
                (void) printf("'");
        }
        if (command->takes[1] != COMPLETES_NOTHING) {
                (void) printf(" \\\n                '*:");
                zsh_text(completes_name(command->takes[1]));
                (void) printf(":");
                zsh_action(command, command->takes[1]);
                (void) printf("'");
        }
        (void) printf("\n                ;;\n");
}

static void zsh_words(void)
{
        for (enum completes kind = COMPLETES_PODS; kind <= COMPLETES_PLACES; kind++)
                (void) printf("_skiff_%s() {\n"
                              "        local -a found=(${(f)\"$(skiff $_skiff_endpoint completion %s "
                              "2>/dev/null)\"})\n"
                              "%s"
                              "        compadd %s-a found\n"
                              "}\n",
                              completes_name(kind), completes_name(kind),
                              kind == COMPLETES_PLACES ? "        _files\n" : "",
                              kind == COMPLETES_PLACES ? "-S '' " : "");
        (void) printf("_skiff_files() { _files }\n"
                      "_skiff_commands() {\n"
                      "        local -a found=(\n");
        for (size_t i = 0; i < n_commands; i++)
                if (!commands[i].is_hidden) {
                        (void) printf("                '%s:", commands[i].name);
                        zsh_text(commands[i].summary);
                        (void) printf("'\n");
                }
        (void) printf("        )\n        _describe command found\n}\n");
}

void print_completion_zsh(void)
{
        (void) printf("#compdef skiff\n# Made by `skiff completion zsh`.\n\n");
        zsh_words();
        (void) printf("_skiff_of() {\n        case $1 in\n");
        for (size_t i = 0; i < n_commands; i++)
                if (!commands[i].is_hidden)
                        zsh_command(&commands[i]);
        (void) printf(
                "        esac\n}\n"
                "_skiff() {\n"
                "        local curcontext=$curcontext state line\n"
                "        local -a _skiff_endpoint\n"
                "        typeset -A opt_args\n"
                "        _arguments -C \\\n"
                "                '--endpoint[skiffd'\\''s socket]:unix\\:///PATH:_files' \\\n"
                "                '(- *)--help[what commands there are]' '(- *)--version[its version]' \\\n"
                "                '1:command:_skiff_commands' '*::argument:->argument'\n"
                "        [[ -z $opt_args[--endpoint] ]] || _skiff_endpoint=(--endpoint "
                "${(Q)opt_args[--endpoint]})\n"
                "        [[ $state != argument ]] || _skiff_of $words[1]\n"
                "}\n"
                "_skiff \"$@\"\n");
}

/* --- fish --- */

static void fish_text(const char *text)
{
        for (const char *c = text; *c; c++)
                (void) printf(strchr("'\\", *c) ? "\\%c" : "%c", *c);
}

static void fish_condition(const struct command *command)
{
        (void) printf("complete -c skiff -n '__fish_seen_subcommand_from %s'", command->name);
}

static void fish_takes(const struct command *command, enum completes kind, const char *when)
{
        if (kind == COMPLETES_NOTHING)
                return;
        (void) printf("complete -c skiff -n '__fish_seen_subcommand_from %s; and %s'", command->name, when);
        if (kind == COMPLETES_FILES)
                (void) printf(" -F\n");
        else if (kind == COMPLETES_WORDS) {
                (void) printf(" -a '");
                for (const char *word = command->words; *word; word += strlen(word) + 1)
                        (void) printf("%s%s", word == command->words ? "" : " ", word);
                (void) printf("'\n");
        } else if (kind == COMPLETES_COMMANDS)
                (void) printf(" -a '(__skiff_commands)'\n");
        else
                (void) printf("%s -a '(__skiff_words %s)'\n", kind == COMPLETES_PLACES ? " -F" : "",
                              completes_name(kind));
}

static void fish_command(const struct command *command)
{
        (void) printf("complete -c skiff -n __fish_use_subcommand -a %s -d '", command->name);
        fish_text(command->summary);
        (void) printf("'\n");
        for (const struct command_flag *flag = command->flags; flag && flag->name; flag++) {
                fish_condition(command);
                if (flag->letter)
                        (void) printf(" -s %s", flag->letter);
                (void) printf(" -l %s%s -d '", flag->name,
                              !flag->value                           ? ""
                              : flag->completes == COMPLETES_NOTHING ? " -x"
                                                                     : " -r -F");
                fish_text(flag->help);
                (void) printf("'\n");
        }
        fish_takes(command, command->takes[0], "__skiff_first");
        fish_takes(command, command->takes[1], "not __skiff_first");
}

void print_completion_fish(void)
{
        (void) printf("# fish completion for skiff. Made by `skiff completion fish`.\n\n"
                      "function __skiff_words\n"
                      "        set -l typed (commandline -opc)\n"
                      "        set -l at (contains -i -- --endpoint $typed)\n"
                      "        and set -l endpoint --endpoint $typed[(math $at + 1)]\n"
                      "        skiff $endpoint completion $argv[1] 2>/dev/null\n"
                      "end\n"
                      "function __skiff_commands\n"
                      "        printf '%%s\\n'");
        for (size_t i = 0; i < n_commands; i++)
                if (!commands[i].is_hidden)
                        (void) printf(" %s", commands[i].name);
        (void) printf("\nend\n"
                      "# No argument of the command is there yet: a value of an option counts as one, which "
                      "offers less.\n"
                      "function __skiff_first\n"
                      "        set -l typed (string match -v -- '-*' (commandline -opc))\n"
                      "        set -l at (contains -i -- --endpoint (commandline -opc))\n"
                      "        and test (count $typed) -le 3\n"
                      "        or test (count $typed) -le 2\n"
                      "end\n"
                      "complete -c skiff -f\n"
                      "complete -c skiff -n __fish_use_subcommand -l endpoint -r -d 'skiffd\\'s socket'\n"
                      "complete -c skiff -n __fish_use_subcommand -l version -d 'its version'\n"
                      "complete -c skiff -l help -d 'what it does'\n");
        for (size_t i = 0; i < n_commands; i++)
                if (!commands[i].is_hidden)
                        fish_command(&commands[i]);
}
