#include "cni/bridge/config.h"
#include <ctype.h>
#include <net/if.h>
#include <string.h>
#include <strings.h>

#define NAME_MAX_BYTES 200

enum need { NEED_ID = 1, NEED_NETNS = 2, NEED_IFNAME = 4, NEED_PATH = 8 };

static const struct {
        const char *text;
        enum command command;
        unsigned needs;
} commands[] = {
        { "ADD", COMMAND_ADD, NEED_ID | NEED_NETNS | NEED_IFNAME | NEED_PATH },
        { "DEL", COMMAND_DEL, NEED_ID | NEED_IFNAME | NEED_PATH },
        { "CHECK", COMMAND_CHECK, NEED_ID | NEED_NETNS | NEED_IFNAME | NEED_PATH },
        { "GC", COMMAND_GC, NEED_PATH },
        { "STATUS", COMMAND_STATUS, NEED_PATH },
        { "VERSION", COMMAND_VERSION, 0 },
};

bool config_name_is_valid(const char *s)
{
        size_t len_bytes = strlen(s);
        if (len_bytes == 0 || len_bytes > NAME_MAX_BYTES || !isalnum((unsigned char) *s))
                return false;
        for (; *s; s++)
                if (!isalnum((unsigned char) *s) && !strchr("_.-", *s))
                        return false;
        return true;
}

bool config_ifname_is_valid(const char *s)
{
        size_t len_bytes = strlen(s);
        if (len_bytes == 0 || len_bytes >= IFNAMSIZ || strcmp(s, ".") == 0 || strcmp(s, "..") == 0)
                return false;
        for (; *s; s++)
                if (*s == '/' || *s == ':' || *s == '%' || !isgraph((unsigned char) *s))
                        return false;
        return true;
}

static const char *variable(const char *name)
{
        const char *value = getenv(name);
        return value ? value : "";
}

static struct error *read_command(struct environment *env, unsigned *needs)
{
        env->command_text = variable("CNI_COMMAND");
        if (!*env->command_text)
                return error_new(ERROR_INVALID_ARGUMENT, "CNI_COMMAND is not set");
        for (size_t i = 0; i < LENGTH(commands); i++)
                if (strcmp(env->command_text, commands[i].text) == 0) {
                        env->command = commands[i].command;
                        *needs = commands[i].needs;
                        return NULL;
                }
        return error_new(ERROR_INVALID_ARGUMENT, "unknown CNI_COMMAND: %s", env->command_text);
}

static struct error *check_values(const struct environment *env, unsigned needs)
{
        const struct {
                unsigned need;
                const char *name, *value;
        } needed[] = { { NEED_ID, "CNI_CONTAINERID", env->container_id },
                       { NEED_NETNS, "CNI_NETNS", env->netns },
                       { NEED_IFNAME, "CNI_IFNAME", env->ifname },
                       { NEED_PATH, "CNI_PATH", env->path } };
        for (size_t i = 0; i < LENGTH(needed); i++)
                if ((needs & needed[i].need) && !*needed[i].value)
                        return error_new(ERROR_INVALID_ARGUMENT, "%s is not set", needed[i].name);
        if ((needs & NEED_ID) && !config_name_is_valid(env->container_id))
                return error_new(ERROR_INVALID_ARGUMENT,
                                 "CNI_CONTAINERID is no id (200 characters at most): %.*s", NAME_MAX_BYTES,
                                 env->container_id);
        if ((needs & NEED_IFNAME) && !config_ifname_is_valid(env->ifname))
                return error_new(ERROR_INVALID_ARGUMENT,
                                 "CNI_IFNAME is no interface's name (15 characters at most): %.*s",
                                 NAME_MAX_BYTES, env->ifname);
        return NULL;
}

/* What CNI_ARGS has for us. Others' words are refused unless IgnoreUnknown is among them, as the convention has it. */
static struct error *read_args(struct arena *arena, struct environment *env)
{
        bool ignore_unknown = false;
        const char *unknown = NULL, *namespace = NULL, *name = NULL;
        char *rest = arena_copy(arena, env->args, strlen(env->args)), *pair;
        if (!*rest)
                return NULL;
        while ((pair = strsep(&rest, ";"))) {
                char *value = strchr(pair, '=');
                if (!value)
                        return error_new(ERROR_INVALID_ARGUMENT, "CNI_ARGS: no = in \"%.*s\"", NAME_MAX_BYTES,
                                         pair);
                *value++ = '\0';
                if (strcasecmp(pair, "IgnoreUnknown") == 0)
                        ignore_unknown = strcmp(value, "1") == 0 || strcasecmp(value, "true") == 0;
                else if (strcasecmp(pair, "IP") == 0)
                        env->arg_ip = value;
                else if (strcasecmp(pair, "MAC") == 0)
                        env->arg_mac = value;
                else
                        unknown = pair;
                if (strcmp(pair, "K8S_POD_NAMESPACE") == 0)
                namespace = value;
                if (strcmp(pair, "K8S_POD_NAME") == 0)
                        name = value;
        }
        if (unknown && !ignore_unknown)
                return error_new(ERROR_INVALID_ARGUMENT,
                                 "CNI_ARGS: unknown args [\"%.*s\"], and no IgnoreUnknown=1", NAME_MAX_BYTES,
                                 unknown);
        if (namespace && name && *name)
                env->pod = arena_format(arena, "%s/%s", namespace, name);
        return NULL;
}

struct error *environment_read(struct arena *arena, struct environment *out)
{
        unsigned needs = 0;
        *out = (struct environment){ .container_id = variable("CNI_CONTAINERID"),
                                     .netns = variable("CNI_NETNS"),
                                     .ifname = variable("CNI_IFNAME"),
                                     .args = variable("CNI_ARGS"),
                                     .path = variable("CNI_PATH") };
        TRY(read_command(out, &needs));
        TRY(check_values(out, needs));
        return out->command == COMMAND_ADD || out->command == COMMAND_CHECK ? read_args(arena, out) : NULL;
}
