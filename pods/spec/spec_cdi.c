/* What a container's CDI devices change in its spec, in the order of the specification's own library. */
#include "pods/cdi/document.h"
#include "pods/spec/environment.h"
#include "pods/spec/mount_options.h"
#include "pods/spec/spec.h"
#include <string.h>

/* A hook that sets no variable would not find the programs that it runs. */
#define HOOK_PATH "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

static void add_env(struct spec_source *s, char *const *added)
{
        _cleanup_(environment_done) struct environment env = { .n = 0 };
        for (char *const *e = s->spec->process.env; *e; e++)
                environment_set(&env, dup_string(*e));
        for (; added && *added; added++)
                environment_set(&env, dup_string(*added));
        free_strings(s->spec->process.env);
        s->spec->process.env = environment_take(&env);
}

/* What every container has there is something else. */
static struct error *check_node_path(const char *path)
{
        static const char *const taken[] = { "/dev",        "/dev/fd",     "/dev/stdin", "/dev/stdout",
                                             "/dev/stderr", "/dev/ptmx",   "/dev/pts",   "/dev/shm",
                                             "/dev/mqueue", "/dev/console" };
        for (size_t i = 0; i < LENGTH(taken); i++) {
                size_t n = strlen(taken[i]);
                bool is_tree = i >= 6 && i <= 8;
                if (strncmp(path, taken[i], n) == 0 && (!path[n] || (is_tree && path[n] == '/')))
                        return error_new(ERROR_INVALID_ARGUMENT,
                                         "CDI device node %s: containers have their own there", path);
        }
        return NULL;
}

/* Without an owner of its own it belongs to the container's user. In a user namespace ids are the pod's. */
static struct error *add_node(struct spec_source *s, const struct cdi_device_node *node)
{
        const struct process_spec *process = &s->spec->process;
        uint32_t base = s->container->pod->userns.length ? s->container->pod->userns.base : 0;
        const char *asked = node->permissions ? node->permissions : "";
        const char *permissions = !*asked ? "rwm" : strcmp(asked, "none") == 0 ? "" : asked;
        const struct container_device device = {
                .path = spec_path_clean(node->path),
                .type = *node->type == 'u' ? 'c' : *node->type, /* "unbuffered": an old name of the same */
                .major = (uint32_t) node->major.value,
                .minor = (uint32_t) node->minor.value,
                .mode = (uint32_t) node->mode.value & 07777,
                .uid = base + (node->uid.is_set ? (uint32_t) node->uid.value : process->uid),
                .gid = base + (node->gid.is_set ? (uint32_t) node->gid.value : process->gid),
        };
        struct error *e = check_node_path(device.path);
        if (e)
                free(device.path);
        else
                spec_replace_device(s->spec, &device, permissions);
        return e;
}

static bool is_bind(const struct cdi_mount *mount)
{
        const char *type = mount->type ? mount->type : "";
        bool is_named = false;
        for (char *const *option = mount->options; option && *option; option++)
                is_named = is_named || strcmp(*option, "bind") == 0 || strcmp(*option, "rbind") == 0;
        return is_named || !*type || strcmp(type, "bind") == 0 || strcmp(type, "rbind") == 0;
}

static struct error *no_option(const struct cdi_mount *mount, const char *option)
{
        return error_new(ERROR_INVALID_ARGUMENT, "CDI mount at %s: option \"%.100s\" is not supported",
                         mount->container_path, option);
}

static struct error *add_bind(struct spec_source *s, const struct cdi_mount *mount, const char *target)
{
        struct container_mount *m = spec_replace_mount(s->spec, MOUNT_BIND, target);
        m->host_path = dup_string(mount->host_path);
        m->idmapped = s->container->pod->userns.length > 0;
        for (char *const *option = mount->options; option && *option; option++)
                if (!mount_option_add(m, *option))
                        return no_option(mount, *option);
        return NULL;
}

static struct error *add_tmpfs(struct spec_source *s, const struct cdi_mount *mount, const char *target)
{
        struct container_mount *m = spec_replace_mount(s->spec, MOUNT_TMPFS, target);
        m->data = dup_string("");
        for (char *const *option = mount->options; option && *option; option++) {
                if (!mount_option_add(m, *option)) { /* the filesystem's own */
                        char *data = format_string("%s%s%s", m->data, *m->data ? "," : "", *option);
                        free(m->data);
                        m->data = data;
                }
                if (m->itself.set || m->tree.set || m->tree.clear)
                        return no_option(mount, *option);
        }
        return NULL;
}

static struct error *add_mount(struct spec_source *s, const struct cdi_mount *mount)
{
        _cleanup_(freep) char *target = spec_path_clean(mount->container_path);
        TRY_WRAP(spec_check_target(mount->container_path, is_bind(mount) ? mount->host_path : NULL),
                 "CDI mount at %s", mount->container_path);
        if (is_bind(mount))
                return add_bind(s, mount, target);
        if (strcmp(mount->type, "tmpfs") == 0)
                return add_tmpfs(s, mount, target);
        return error_new(ERROR_INVALID_ARGUMENT,
                         "CDI mount at %s: a mount of type \"%.100s\" is not supported; bind and tmpfs are",
                         mount->container_path, mount->type);
}

/* from, or the one text where it has none. */
static char **copy_texts(char *const *from, const char *otherwise)
{
        size_t n = 0;
        while (from && from[n])
                n++;
        char **copy = NEW_ARRAY(char *, n + 2);
        for (size_t i = 0; i < n; i++)
                copy[i] = dup_string(from[i]);
        if (n == 0)
                copy[0] = dup_string(otherwise);
        return copy;
}

/* Checked when it was read. */
static enum hook_stage stage_of(const char *name)
{
        enum hook_stage stage = HOOK_PRESTART;
        while (strcmp(hook_stage_name(stage), name) != 0 && stage + 1 < HOOK_STAGES)
                stage++;
        return stage;
}

static void add_hook(struct container_spec *spec, const struct cdi_hook *hook)
{
        spec->hooks = grow_array(spec->hooks, spec->n_hooks + 1, sizeof(*spec->hooks));
        struct container_hook *added = &spec->hooks[spec->n_hooks++];
        *added = (struct container_hook){ .stage = stage_of(hook->name),
                                          .path = dup_string(hook->path),
                                          .argv = copy_texts(hook->args, hook->path),
                                          .env = copy_texts(hook->env, HOOK_PATH),
                                          .timeout_s = hook->timeout.value > 0 ? hook->timeout.value : 0 };
}

struct error *spec_add_cdi(struct spec_source *s)
{
        _cleanup_(cdi_edits_done) struct cdi_edits edits = { .env = NULL };
        if (!s->container->cdi)
                return NULL;
        TRY(cdi_edits_parse(s->container->cdi, strlen(s->container->cdi), &edits));
        add_env(s, edits.env);
        for (size_t i = 0; i < edits.n_nodes; i++)
                TRY(add_node(s, &edits.nodes[i]));
        for (size_t i = 0; i < edits.n_mounts; i++)
                TRY(add_mount(s, &edits.mounts[i]));
        spec_sort_mounts(s->spec);
        for (size_t i = 0; i < edits.n_hooks; i++)
                add_hook(s->spec, &edits.hooks[i]);
        spec_add_extra_groups(s, edits.gids, edits.n_gids);
        return NULL;
}
