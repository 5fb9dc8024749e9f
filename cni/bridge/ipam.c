#include "cni/bridge/ipam.h"
#include "base/fault.h"
#include "cni/bridge/delegate.h"
#include "cni/bridge/store.h"
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#define OUTPUT_MAX_BYTES ((size_t) 1 << 20)
#define RESOLV_CONF_MAX_BYTES ((size_t) 65536)

/* Words of a line, as a NULL-terminated list that grows. */
struct words {
        const char **list;
        size_t n;
};

static void add_word(struct arena *arena, struct words *words, const char *word)
{
        const char **more = arena_take(arena, (words->n + 2) * sizeof(*more));
        if (words->n)
                memcpy(more, words->list, words->n * sizeof(*more));
        more[words->n++] = arena_copy(arena, word, strlen(word));
        words->list = more;
}

static void resolv_line(struct arena *arena, char *line, struct dns *dns, struct words lists[3])
{
        char *rest = line, *word, *key = strsep(&rest, " \t");
        if (*line == '#' || *line == ';' || !rest)
                return;
        int list = strcmp(key, "nameserver") == 0 ? 0
                   : strcmp(key, "search") == 0   ? 1
                   : strcmp(key, "options") == 0  ? 2
                                                  : -1;
        while ((word = strsep(&rest, " \t"))) {
                if (!*word)
                        continue;
                if (strcmp(key, "domain") == 0)
                        dns->domain = arena_copy(arena, word, strlen(word));
                if (list >= 0)
                        add_word(arena, &lists[list], word);
        }
}

/* The resolv.conf that ipam names becomes the result's DNS. */
static struct error *read_resolv_conf(struct arena *arena, const char *path, struct dns *out)
{
        struct buf text;
        struct words lists[3] = { { 0 } };
        _cleanup_(closep) int fd = open(path, O_RDONLY | O_CLOEXEC);
        if (fd < 0)
                return error_errno(errno, "ipam: open resolvConf %s", path);
        buf_init(&text, RESOLV_CONF_MAX_BYTES);
        struct error *e = buf_read_all(&text, fd);
        if (!e && text.bytes) {
                char *rest = text.bytes, *line;
                while ((line = strsep(&rest, "\n")))
                        resolv_line(arena, line, out, lists);
                out->nameservers = lists[0].list;
                out->search = lists[1].list;
                out->options = lists[2].list;
        }
        buf_done(&text);
        return e ? error_wrap(e, "ipam: read resolvConf %s", path) : NULL;
}

static struct error *local_add(const struct environment *env, const struct config *config, struct result *out)
{
        const struct ipam *ipam = &config->ipam;
        struct store store;
        if (ipam->resolv_conf && *ipam->resolv_conf)
                TRY(read_resolv_conf(config->arena, ipam->resolv_conf, &out->dns));
        struct error *e = store_open(ipam->data_dir, config->name, false, &store);
        if (!e)
                e = store_allocate(&store, ipam, env->container_id, env->ifname, out);
        store_close(&store);
        for (size_t i = 0; !e && i < ipam->n_routes; i++)
                result_add_route(out, &ipam->routes[i]);
        return e;
}

static struct error *append(struct result *out, const struct result *more)
{
        if (more->n_ips == 0)
                return error_new(ERROR_INTERNAL, "IPAM plugin returned missing IP config");
        for (size_t i = 0; i < more->n_ips; i++)
                result_add_ip(out, &more->ips[i]);
        for (size_t i = 0; i < more->n_routes; i++)
                result_add_route(out, &more->routes[i]);
        out->dns = more->dns;
        return NULL;
}

/* Runs the plugin of another type; a result is kept in the arena. */
static struct error *run(const struct environment *env, const struct config *config, const char *command,
                         const char **out, size_t *len_bytes)
{
        struct buf text;
        buf_init(&text, OUTPUT_MAX_BYTES);
        struct error *e = delegate_run(env, config, config->ipam.type, command, &text);
        if (!e && out) {
                *out = arena_copy(config->arena, text.bytes ? text.bytes : "", text.len_bytes);
                *len_bytes = text.len_bytes;
        }
        buf_done(&text);
        return e;
}

struct error *ipam_add(const struct environment *env, const struct config *config, struct result *out,
                       bool *is_held)
{
        const char *text = NULL;
        size_t len_bytes = 0;
        const struct jv *json = NULL;
        struct result more;
        if (config->ipam.is_local) {
                TRY(local_add(env, config, out));
                *is_held = true;
                return NULL;
        }
        TRY(run(env, config, "ADD", &text, &len_bytes));
        *is_held = true;
        TRY_WRAP(jv_parse(config->arena, text, len_bytes, &json), "ipam plugin %s: result",
                 config->ipam.type);
        TRY_WRAP(result_parse(config->arena, json, config->version, &more), "ipam plugin %s: result",
                 config->ipam.type);
        return append(out, &more);
}

/* Opens the store and hands it to what the command does there. */
static struct error *in_store(const struct environment *env, const struct config *config,
                              struct error *(*act)(struct store *, const struct environment *,
                                                   const struct config *) )
{
        struct store store;
        struct error *e = store_open(config->ipam.data_dir, config->name, true, &store);
        if (!e)
                e = act(&store, env, config);
        store_close(&store);
        return e;
}

static struct error *release(struct store *store, const struct environment *env, const struct config *config)
{
        (void) config;
        return store_release(store, env->container_id, env->ifname);
}

static struct error *check(struct store *store, const struct environment *env, const struct config *config)
{
        (void) config;
        return store_check(store, env->container_id, env->ifname);
}

static struct error *keep_only(struct store *store, const struct environment *env,
                               const struct config *config)
{
        (void) env;
        return store_keep_only(store, config->valid, config->n_valid);
}

struct error *ipam_del(const struct environment *env, const struct config *config)
{
        if (!config->ipam.type)
                return NULL;
        TRY(fault_point("bridge.ipam.del"));
        return config->ipam.is_local ? in_store(env, config, release) : run(env, config, "DEL", NULL, NULL);
}

struct error *ipam_check(const struct environment *env, const struct config *config)
{
        if (!config->ipam.type)
                return NULL;
        return config->ipam.is_local ? in_store(env, config, check) : run(env, config, "CHECK", NULL, NULL);
}

struct error *ipam_gc(const struct environment *env, const struct config *config)
{
        if (!config->ipam.type)
                return NULL;
        return config->ipam.is_local ? in_store(env, config, keep_only) : run(env, config, "GC", NULL, NULL);
}

struct error *ipam_status(const struct environment *env, const struct config *config)
{
        if (!config->ipam.type)
                return NULL;
        if (!config->ipam.is_local)
                return run(env, config, "STATUS", NULL, NULL);
        char *path = arena_format(config->arena, "%s/%s", config->ipam.data_dir, config->name);
        /* Where it is not there yet, what it would be made in. */
        while (access(path, W_OK) < 0) {
                char *slash = strrchr(path, '/');
                if (errno != ENOENT || !slash || slash == path)
                        return error_errno(errno, "address store %s", path);
                *slash = '\0';
        }
        return NULL;
}
