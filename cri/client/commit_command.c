/* commit: a container's writable layer as a new image, with changes said as a Dockerfile says them. */
#include "base/json.h"
#include "cri/client/command.h"
#include <getopt.h>
#include <string.h>
#include <strings.h>

#define CHANGES_MAX 256
#define TEXTS_MAX (4 * CHANGES_MAX)

/* The messages, and what their lists and texts are in. */
struct commit {
        Admin__CommitContainerRequest request;
        Admin__ImageChanges changes;
        Admin__ImageChanges__Words entrypoint, cmd;
        Admin__ImageChanges__Text user, working_dir, stop_signal;
        const char *env[TEXTS_MAX], *labels[TEXTS_MAX], *ports[TEXTS_MAX], *volumes[TEXTS_MAX];
        const char *words[2][TEXTS_MAX]; /* of entrypoint and cmd */
        char *owned[2 * TEXTS_MAX];
        size_t n_owned;
};

static void commit_done(struct commit *commit)
{
        for (size_t i = 0; i < commit->n_owned; i++)
                free(commit->owned[i]);
}

/* Keeps a copy; NULL when there are too many. */
static const char *keep(struct commit *commit, const char *text, size_t len_bytes)
{
        if (commit->n_owned == LENGTH(commit->owned))
                return NULL;
        return commit->owned[commit->n_owned++] = dup_bytes(text, len_bytes);
}

static struct error *add(struct commit *commit, const char **list, size_t *n, const char *text,
                         size_t len_bytes)
{
        const char *kept = *n < TEXTS_MAX ? keep(commit, text, len_bytes) : NULL;
        if (!kept)
                return USAGE_ERROR("too many changes");
        list[(*n)++] = kept;
        return NULL;
}

/* --- what follows an instruction --- */

/* The next word, as a shell has it: quotes, and a backslash before a character. *rest moves behind it. False at the end. */
static bool next_word(const char **rest, struct buf *out, struct error **e)
{
        char quote = '\0';
        const char *s = *rest + strspn(*rest, " \t");
        buf_consume(out, out->len_bytes);
        if (!*s)
                return false;
        for (; *s && (quote || (*s != ' ' && *s != '\t')) && !*e; s++) {
                if (*s == quote)
                        quote = '\0';
                else if (!quote && (*s == '"' || *s == '\''))
                        quote = *s;
                else if (*s == '\\' && s[1] && quote != '\'')
                        *e = buf_append(out, ++s, 1);
                else
                        *e = buf_append(out, s, 1);
        }
        if (quote && !*e)
                *e = USAGE_ERROR("a %c is not closed: %s", quote, *rest);
        *rest = s;
        return !*e;
}

static struct error *add_words(struct commit *commit, const char *text, const char **list, size_t *n)
{
        struct buf word;
        struct error *e = NULL;
        buf_init(&word, 1 << 20);
        while (!e && next_word(&text, &word, &e))
                e = add(commit, list, n, word.len_bytes ? word.bytes : "", word.len_bytes);
        buf_done(&word);
        return e;
}

/* KEY=VALUE ..., or the older KEY VALUE. */
static struct error *add_pairs(struct commit *commit, const char *text, const char **list, size_t *n)
{
        size_t key_bytes = strcspn(text, "= \t");
        if (text[key_bytes] == '=')
                return add_words(commit, text, list, n);
        const char *value = text + key_bytes + strspn(text + key_bytes, " \t");
        if (!*value)
                return USAGE_ERROR("%s: KEY=VALUE is needed", text);
        _cleanup_(freep) char *pair = format_string("%.*s=%s", (int) key_bytes, text, value);
        return add(commit, list, n, pair, strlen(pair));
}

static struct error *add_json(struct commit *commit, const char *text, const char **list, size_t *n)
{
        _cleanup_(json_freep) struct json *json = NULL;
        struct error *e = json_parse(text, strlen(text), &json);
        if (e)
                return error_wrap(error_wrap(e, "%s", text), "usage");
        for (size_t i = 0; i < json_length(json); i++) {
                if (json_type_of(json_at(json, i)) != JSON_STRING)
                        return USAGE_ERROR("%s: not a list of words", text);
                const char *word = json_text(json_at(json, i), "");
                TRY(add(commit, list, n, word, strlen(word)));
        }
        return NULL;
}

/* ["a", "b"], or a line for the shell. The last one counts. */
static struct error *set_command(struct commit *commit, const char *text, Admin__ImageChanges__Words *words,
                                 const char **list)
{
        words->n_words = 0;
        words->words = list;
        if (*text == '[')
                return add_json(commit, text, list, &words->n_words);
        TRY(add(commit, list, &words->n_words, "/bin/sh", strlen("/bin/sh")));
        TRY(add(commit, list, &words->n_words, "-c", strlen("-c")));
        return add(commit, list, &words->n_words, text, strlen(text));
}

/* A list in JSON, or words. */
static struct error *add_list(struct commit *commit, const char *text, const char **list, size_t *n)
{
        return (*text == '[' ? add_json : add_words)(commit, text, list, n);
}

static struct error *add_ports(struct commit *commit, const char *text)
{
        Admin__ImageChanges *changes = &commit->changes;
        size_t before = changes->n_ports;
        TRY(add_words(commit, text, commit->ports, &changes->n_ports));
        for (size_t i = before; i < changes->n_ports; i++) {
                if (strchr(commit->ports[i], '/'))
                        continue;
                _cleanup_(freep) char *whole = format_string("%s/tcp", commit->ports[i]);
                commit->ports[i] = keep(commit, whole, strlen(whole));
                if (!commit->ports[i])
                        return USAGE_ERROR("too many changes");
        }
        return NULL;
}

static void set_text(Admin__ImageChanges__Text *text, const char *value, Admin__ImageChanges__Text **place)
{
        text->text = value;
        *place = text;
}

static struct error *take_change(struct commit *commit, const char *change)
{
        Admin__ImageChanges *changes = &commit->changes;
        size_t name_bytes = strcspn(change, " \t");
        const char *rest = change + name_bytes + strspn(change + name_bytes, " \t");
        _cleanup_(freep) char *name = dup_bytes(change, name_bytes);
        if (!*rest)
                return USAGE_ERROR("-c \"%s\": nothing follows the instruction", change);
        if (strcasecmp(name, "CMD") == 0) {
                changes->cmd = &commit->cmd;
                return set_command(commit, rest, changes->cmd, commit->words[0]);
        }
        if (strcasecmp(name, "ENTRYPOINT") == 0) {
                changes->entrypoint = &commit->entrypoint;
                return set_command(commit, rest, changes->entrypoint, commit->words[1]);
        }
        if (strcasecmp(name, "ENV") == 0)
                return add_pairs(commit, rest, commit->env, &changes->n_env);
        if (strcasecmp(name, "LABEL") == 0)
                return add_pairs(commit, rest, commit->labels, &changes->n_labels);
        if (strcasecmp(name, "EXPOSE") == 0)
                return add_ports(commit, rest);
        if (strcasecmp(name, "VOLUME") == 0)
                return add_list(commit, rest, commit->volumes, &changes->n_volumes);
        if (strcasecmp(name, "USER") == 0)
                set_text(&commit->user, rest, &changes->user);
        else if (strcasecmp(name, "WORKDIR") == 0)
                set_text(&commit->working_dir, rest, &changes->working_dir);
        else if (strcasecmp(name, "STOPSIGNAL") == 0)
                set_text(&commit->stop_signal, rest, &changes->stop_signal);
        else
                return USAGE_ERROR(
                        "-c \"%s\": %s is none of CMD, ENTRYPOINT, ENV, EXPOSE, LABEL, STOPSIGNAL, "
                        "USER, VOLUME, WORKDIR",
                        change, name);
        return NULL;
}

/* --- the command --- */

static void commit_init(struct commit *commit)
{
        commit->request = (Admin__CommitContainerRequest) ADMIN__COMMIT_CONTAINER_REQUEST__INIT;
        commit->changes = (Admin__ImageChanges) ADMIN__IMAGE_CHANGES__INIT;
        commit->entrypoint = commit->cmd = (Admin__ImageChanges__Words) ADMIN__IMAGE_CHANGES__WORDS__INIT;
        commit->user = commit->working_dir = commit->stop_signal =
                (Admin__ImageChanges__Text) ADMIN__IMAGE_CHANGES__TEXT__INIT;
        commit->changes.env = commit->env;
        commit->changes.labels = commit->labels;
        commit->changes.ports = commit->ports;
        commit->changes.volumes = commit->volumes;
        commit->request.changes = &commit->changes;
        commit->request.pause = true;
}

static struct error *take_flag(struct commit *commit, int flag, const char *word)
{
        switch (flag) {
        case 'a':
                commit->request.author = optarg;
                return NULL;
        case 'm':
                commit->request.comment = optarg;
                return NULL;
        case 'c':
                return take_change(commit, optarg + strspn(optarg, " \t"));
        case 'p':
                commit->request.pause = !optarg || strcmp(optarg, "true") == 0;
                if (commit->request.pause || strcmp(optarg, "false") == 0)
                        return NULL;
                return USAGE_ERROR("--pause is true or false, not %s", optarg);
        default:
                return USAGE_ERROR("unknown flag %s", word);
        }
}

static struct error *run(struct context *context, struct commit *commit, int argc, char **argv)
{
        static const struct option flags[] = { { "author", required_argument, NULL, 'a' },
                                               { "message", required_argument, NULL, 'm' },
                                               { "change", required_argument, NULL, 'c' },
                                               { "pause", optional_argument, NULL, 'p' },
                                               { 0 } };
        _cleanup_(object_done) struct object object = { 0 };
        _cleanup_(client_answer_freep) Admin__CommitContainerResponse *answer = NULL;
        for (int flag; (flag = getopt_long(argc, argv, "+a:m:c:p", flags, NULL)) != -1;)
                TRY(take_flag(commit, flag, argv[optind - 1]));
        if (optind + 2 != argc)
                return USAGE_ERROR("a container and the new image's name are needed");
        TRY(object_find(context, OBJECT_CONTAINER, argv[optind], &object));
        commit->request.container_id = object.id;
        commit->request.image = argv[optind + 1];
        TRY(admin_call(context, "CommitContainer", &commit->request, 0, &answer));
        (void) printf("%s\n", answer->image_id);
        return NULL;
}

struct error *commit_command(struct context *context, int argc, char **argv)
{
        struct commit *commit = NEW(struct commit);
        commit_init(commit);
        struct error *e = run(context, commit, argc, argv);
        commit_done(commit);
        free(commit);
        return e;
}
