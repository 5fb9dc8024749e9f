/* The process: command, environment, user, capabilities, seccomp. */
#include "base/file.h"
#include "pods/spec/environment.h"
#include "pods/spec/image_users.h"
#include "pods/spec/pod_files.h"
#include "pods/spec/spec.h"
#include "runtime/capabilities.h"
#include <limits.h>
#include <string.h>
#include <strings.h>

/* Clients still send the fields that CRI deprecates: they are read here. */
#pragma GCC diagnostic ignored "-Wdeprecated-declarations"

#define LOCALHOST_PROFILE_LIMIT_BYTES (1 << 20)
#define ENVS_MAX 20000 /* the kernel takes 2 MiB of them */
#define DEFAULT_TERM "TERM=xterm"
#define DEFAULT_PATH "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

static size_t count(char *const *strings)
{
        size_t n = 0;
        while (strings && strings[n])
                n++;
        return n;
}

static void append_copies(char ***to, size_t *n, char *const *from, size_t n_from)
{
        *to = grow_array(*to, *n + n_from + 1, sizeof(char *));
        for (size_t i = 0; i < n_from; i++)
                (*to)[(*n)++] = dup_string(from[i]);
        (*to)[*n] = NULL;
}

/* config.command replaces the entrypoint and, by that, the image's cmd too; config.args replaces the cmd. */
static struct error *add_argv(struct spec_source *s)
{
        const Cri__ContainerConfig *config = s->config;
        const struct image_config *image = s->image;
        char ***argv = &s->spec->process.argv;
        size_t n = 0;
        if (config->n_command)
                append_copies(argv, &n, (char *const *) config->command, config->n_command);
        else
                append_copies(argv, &n, image->entrypoint, count(image->entrypoint));
        if (config->n_args)
                append_copies(argv, &n, (char *const *) config->args, config->n_args);
        else if (!config->n_command)
                append_copies(argv, &n, image->cmd, count(image->cmd));
        if (n == 0)
                return error_new(
                        ERROR_INVALID_ARGUMENT,
                        "no command: neither config.command nor config.args is set, and the image has none");
        return NULL;
}

static struct error *add_asked_variables(const struct spec_source *s, struct environment *env)
{
        if (s->config->n_envs > ENVS_MAX)
                return error_new(ERROR_INVALID_ARGUMENT, "config.envs: more than %d variables", ENVS_MAX);
        for (size_t i = 0; i < s->config->n_envs; i++) {
                const Cri__KeyValue *kv = s->config->envs[i];
                const char *value =
                        kv->value.len ? (const char *) kv->value.data : ""; /* an empty one has no bytes */
                if (memchr(value, '\0', kv->value.len) || !*kv->key || strchr(kv->key, '='))
                        return error_new(
                                ERROR_INVALID_ARGUMENT,
                                "config.envs[%zu]: a variable has a name without '=' and no NUL byte", i);
                environment_set(env, format_string("%s=%.*s", kv->key, (int) kv->value.len, value));
        }
        return NULL;
}

static struct error *add_env(struct spec_source *s, const struct user *user)
{
        _cleanup_(environment_done) struct environment env = { .n = 0 };
        for (char *const *e = s->image->env; *e; e++)
                if (strchr(*e, '='))
                        environment_set(&env, dup_string(*e));
        TRY(add_asked_variables(s, &env));
        if (!environment_has(&env, "PATH"))
                environment_set(&env, dup_string(DEFAULT_PATH));
        if (!environment_has(&env, "HOSTNAME")) {
                char hostname[HOSTNAME_SIZE];
                pod_hostname(s->container->pod, hostname);
                environment_set(&env, format_string("HOSTNAME=%s", hostname));
        }
        if (!environment_has(&env, "HOME"))
                environment_set(&env, format_string("HOME=%s", user->home));
        if (s->config->tty && !environment_has(&env, "TERM"))
                environment_set(&env, dup_string(DEFAULT_TERM));
        s->spec->process.env = environment_take(&env);
        return NULL;
}

/* What to look up in the image's passwd: CRI's user, by name or number, before the image's. Owned by the caller. */
static struct error *user_text(const struct spec_source *s, char **out)
{
        const Cri__LinuxContainerSecurityContext *security = s->security;
        const char *name = *security->run_as_username ? security->run_as_username : NULL;
        if (security->run_as_group && !name && !security->run_as_user)
                return error_new(
                        ERROR_INVALID_ARGUMENT,
                        "security_context.run_as_group is set without run_as_user or run_as_username");
        if (security->run_as_user &&
            (security->run_as_user->value < 0 || security->run_as_user->value > UINT32_MAX - 1))
                return error_new(ERROR_INVALID_ARGUMENT, "security_context.run_as_user: %lld is no user id",
                                 (long long) security->run_as_user->value);
        if (security->run_as_group &&
            (security->run_as_group->value < 0 || security->run_as_group->value > UINT32_MAX - 1))
                return error_new(ERROR_INVALID_ARGUMENT, "security_context.run_as_group: %lld is no group id",
                                 (long long) security->run_as_group->value);
        char *user = name                    ? dup_string(name)
                     : security->run_as_user ? format_string("%lld", (long long) security->run_as_user->value)
                                             : dup_string(s->image->user);
        if (!user)
                user = dup_string("");
        if (security->run_as_group) {
                char *both = format_string("%s:%lld", user, (long long) security->run_as_group->value);
                free(user);
                user = both;
        }
        *out = user;
        return NULL;
}

static int by_number(const void *a, const void *b)
{
        uint32_t x = *(const uint32_t *) a, y = *(const uint32_t *) b;
        return (x > y) - (x < y);
}

static void add_group(struct process_spec *p, uint32_t gid)
{
        p->groups = grow_array(p->groups, p->n_groups + 1, sizeof(uint32_t));
        p->groups[p->n_groups++] = gid;
}

/* Sorted, each once. */
static void tidy_groups(struct process_spec *p)
{
        size_t kept = 0;
        qsort(p->groups, p->n_groups, sizeof(*p->groups), by_number);
        for (size_t i = 0; i < p->n_groups; i++)
                if (kept == 0 || p->groups[kept - 1] != p->groups[i])
                        p->groups[kept++] = p->groups[i];
        p->n_groups = kept;
}

/* The groups are set outright, the primary among them. Strict: the image's group file does not count. */
static struct error *add_groups(struct spec_source *s, const struct user *user)
{
        struct process_spec *p = &s->spec->process;
        if (s->security->supplemental_groups_policy != CRI__SUPPLEMENTAL_GROUPS_POLICY__Merge &&
            s->security->supplemental_groups_policy != CRI__SUPPLEMENTAL_GROUPS_POLICY__Strict)
                return error_new(ERROR_INVALID_ARGUMENT,
                                 "security_context.supplemental_groups_policy: %d is not known",
                                 (int) s->security->supplemental_groups_policy);
        add_group(p, user->gid);
        if (s->security->supplemental_groups_policy == CRI__SUPPLEMENTAL_GROUPS_POLICY__Merge)
                for (size_t i = 0; i < user->n_groups; i++)
                        add_group(p, user->groups[i]);
        for (size_t i = 0; i < s->security->n_supplemental_groups; i++) {
                int64_t gid = s->security->supplemental_groups[i];
                if (gid < 0 || gid > UINT32_MAX - 1)
                        return error_new(ERROR_INVALID_ARGUMENT,
                                         "security_context.supplemental_groups[%zu]: %lld is no group id", i,
                                         (long long) gid);
                add_group(p, (uint32_t) gid);
        }
        tidy_groups(p);
        if (p->n_groups > NGROUPS_MAX)
                return error_new(ERROR_INVALID_ARGUMENT,
                                 "security_context.supplemental_groups: more than %d groups", NGROUPS_MAX);
        return NULL;
}

static void remember_user(struct container *c, const struct process_spec *p)
{
        int64_t *groups = NEW_ARRAY(int64_t, p->n_groups);
        for (size_t i = 0; i < p->n_groups; i++)
                groups[i] = p->groups[i];
        (void) pthread_mutex_lock(&c->pod->node->lock);
        free(c->user.groups);
        c->user = (struct container_user){ p->uid, p->gid, groups, p->n_groups };
        (void) pthread_mutex_unlock(&c->pod->node->lock);
}

void spec_add_extra_groups(struct spec_source *s, const uint32_t *gids, size_t n)
{
        struct process_spec *p = &s->spec->process;
        for (size_t i = 0; i < n; i++)
                if (gids[i] != 0)
                        add_group(p, gids[i]);
        tidy_groups(p);
        remember_user(s->container, p);
}

/* The pod's own range is the user's and the groups'. */
static struct error *check_range(const struct spec_source *s)
{
        const struct process_spec *p = &s->spec->process;
        uint32_t length = s->container->pod->userns.length;
        if (!length)
                return NULL;
        if (p->uid >= length)
                return error_new(ERROR_INVALID_ARGUMENT,
                                 "security_context: user %u is not among the %u of the pod's user namespace",
                                 p->uid, length);
        for (size_t i = 0; i < p->n_groups; i++)
                if (p->groups[i] >= length)
                        return error_new(
                                ERROR_INVALID_ARGUMENT,
                                "security_context: group %u is not among the %u of the pod's user namespace",
                                p->groups[i], length);
        return NULL;
}

static struct error *add_user(struct spec_source *s, struct user *user)
{
        _cleanup_(freep) char *text = NULL;
        struct process_spec *p = &s->spec->process;
        TRY(user_text(s, &text));
        TRY_WRAP(image_users_find(s->node->image_users, s->node->config.images, s->container->image_id,
                                  s->container->id, text, user),
                 "security_context's user, or the image's");
        p->uid = user->uid;
        p->gid = user->gid;
        TRY(add_groups(s, user));
        TRY(check_range(s));
        remember_user(s->container, p);
        return NULL;
}

struct error *spec_add_process(struct spec_source *s)
{
        _cleanup_(user_done) struct user user = { 0 };
        struct process_spec *p = &s->spec->process;
        const Cri__LinuxContainerResources *resources = spec_resources_of(s->container);
        const char *of_image = s->image->working_dir;
        TRY(add_argv(s));
        TRY(add_user(s, &user));
        TRY(add_env(s, &user));
        _cleanup_(freep) char *cwd = dup_string(*s->config->working_dir ? s->config->working_dir
                                                : of_image && *of_image ? of_image
                                                                        : "/");
        if (*cwd != '/' && *s->config->working_dir) /* an image's is below the root, whatever it says */
                return error_new(ERROR_INVALID_ARGUMENT, "working directory \"%s\" is not an absolute path",
                                 cwd);
        p->cwd = spec_path_clean(cwd);
        p->umask = 0022;
        p->no_new_privs = s->security->no_new_privs;
        p->oom_score_adj = (int) resources->oom_score_adj;
        p->set_oom_score_adj = true;
        return NULL;
}

/* --- capabilities and seccomp --- */

static struct error *capability_set(char *const *names, size_t n, uint64_t *set, bool *all)
{
        for (size_t i = 0; i < n; i++) {
                int capability = 0;
                if (strcasecmp(names[i], "ALL") == 0) {
                        *all = true;
                        continue;
                }
                TRY(capability_parse(names[i], &capability));
                *set |= UINT64_C(1) << capability;
        }
        return NULL;
}

/* "ALL" is done first, so that ALL can be dropped and one added, or ALL added and one dropped. */
static struct error *add_capabilities(struct spec_source *s)
{
        const Cri__Capability *asked = s->security->capabilities;
        struct capability_sets *sets = &s->spec->process.capabilities;
        uint64_t have = s->security->privileged ? capabilities_all() : capabilities_default();
        if (asked && !s->security->privileged) {
                uint64_t add = 0, drop = 0, ambient = 0;
                bool add_all = false, drop_all = false, ambient_all = false;
                TRY_WRAP(capability_set((char *const *) asked->add_capabilities, asked->n_add_capabilities,
                                        &add, &add_all),
                         "security_context.capabilities.add_capabilities");
                TRY_WRAP(capability_set((char *const *) asked->drop_capabilities, asked->n_drop_capabilities,
                                        &drop, &drop_all),
                         "security_context.capabilities.drop_capabilities");
                TRY_WRAP(capability_set((char *const *) asked->add_ambient_capabilities,
                                        asked->n_add_ambient_capabilities, &ambient, &ambient_all),
                         "security_context.capabilities.add_ambient_capabilities");
                if (add_all || ambient_all)
                        have = capabilities_all();
                if (drop_all)
                        have = 0;
                have = (have | add | ambient) & ~drop;
                have &= capabilities_all();
                sets->ambient = (ambient_all ? have : ambient) & have;
        }
        sets->bounding = sets->permitted = sets->effective = have;
        return NULL;
}

static struct error *localhost_profile(struct spec_source *s, const char *reference)
{
        _cleanup_(freep) char *json = NULL;
        _cleanup_(freep) char *path =
                *reference == '/' || !s->node->config.seccomp_dir
                        ? dup_string(reference)
                        : format_string("%s/%s", s->node->config.seccomp_dir, reference);
        if (!*reference)
                return error_new(ERROR_INVALID_ARGUMENT, "security_context.seccomp.localhost_ref is missing");
        struct error *e = file_read(AT_FDCWD, path, LOCALHOST_PROFILE_LIMIT_BYTES, &json, NULL);
        if (e)
                return error_as(error_wrap(e, "seccomp profile"), ERROR_INVALID_ARGUMENT);
        TRY_WRAP(seccomp_profile(s->node->config.seccomp, json, s->spec->process.capabilities.bounding,
                                 &s->spec->seccomp),
                 "seccomp profile %s", path);
        return NULL;
}

static struct error *default_profile(struct spec_source *s)
{
        return seccomp_default(s->node->config.seccomp, s->spec->process.capabilities.bounding,
                               &s->spec->seccomp);
}

/* The field before CRI had SecurityProfile; some clients still send only this. */
static struct error *add_seccomp_by_path(struct spec_source *s)
{
        const char *path = s->security->seccomp_profile_path;
        if (!*path || strcmp(path, "unconfined") == 0)
                return NULL;
        if (strcmp(path, "runtime/default") == 0 || strcmp(path, "docker/default") == 0)
                return default_profile(s);
        if (strncmp(path, "localhost/", 10) == 0)
                return localhost_profile(s, path + 10);
        return error_new(ERROR_INVALID_ARGUMENT,
                         "security_context.seccomp_profile_path: \"%s\" is no profile", path);
}

static struct error *add_seccomp(struct spec_source *s)
{
        const Cri__SecurityProfile *profile = s->security->seccomp;
        if (s->security->privileged)
                return NULL;
        if (!profile)
                return add_seccomp_by_path(s);
        switch (profile->profile_type) {
        case CRI__SECURITY_PROFILE__PROFILE_TYPE__RuntimeDefault:
                return default_profile(s);
        case CRI__SECURITY_PROFILE__PROFILE_TYPE__Unconfined:
                return NULL;
        case CRI__SECURITY_PROFILE__PROFILE_TYPE__Localhost:
                return localhost_profile(s, profile->localhost_ref);
        default:
                return error_new(ERROR_INVALID_ARGUMENT,
                                 "security_context.seccomp.profile_type: %d is no type",
                                 (int) profile->profile_type);
        }
}

static const char *const default_masked[] = {
        "/proc/acpi",          "/proc/asound",     "/proc/kcore",       "/proc/keys",
        "/proc/latency_stats", "/proc/timer_list", "/proc/timer_stats", "/proc/sched_debug",
        "/proc/scsi",          "/proc/interrupts", "/sys/firmware",     "/sys/devices/virtual/powercap",
};
static const char *const default_readonly[] = { "/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys",
                                                "/proc/sysrq-trigger" };

static char **paths(char *const *asked, size_t n_asked, const char *const *defaults, size_t n_defaults)
{
        char **list = NULL;
        size_t n = 0;
        if (n_asked)
                append_copies(&list, &n, asked, n_asked);
        else
                append_copies(&list, &n, (char *const *) (uintptr_t) defaults, n_defaults);
        return list;
}

struct error *spec_add_security(struct spec_source *s)
{
        TRY(add_capabilities(s));
        TRY(add_seccomp(s));
        bool privileged = s->security->privileged;
        /* kubelet says what to mask but for procMount: Unmasked, which wants a user namespace; other clients say nothing. */
        bool unmasked = privileged || (s->container->pod->userns.length && !s->security->n_masked_paths &&
                                       !s->security->n_readonly_paths);
        s->spec->masked_paths =
                paths((char *const *) s->security->masked_paths, privileged ? 0 : s->security->n_masked_paths,
                      default_masked, unmasked ? 0 : LENGTH(default_masked));
        s->spec->readonly_paths = paths((char *const *) s->security->readonly_paths,
                                        privileged ? 0 : s->security->n_readonly_paths, default_readonly,
                                        unmasked ? 0 : LENGTH(default_readonly));
        return NULL;
}

static char **copy_strings(char *const *from, size_t n_from)
{
        char **copy = NULL;
        size_t n = 0;
        append_copies(&copy, &n, from, n_from);
        return copy;
}

static bool has_term(char *const *env)
{
        for (; *env; env++)
                if (strncmp(*env, "TERM=", 5) == 0)
                        return true;
        return false;
}

void spec_exec(const struct container *c, char *const *argv, size_t n_args, bool tty,
               struct process_spec *out)
{
        const struct process_spec *p = &c->spec->process;
        char *const term[] = { (char *) (uintptr_t) DEFAULT_TERM, NULL };
        size_t n = 0;
        *out = *p;
        out->argv = copy_strings(argv, n_args);
        out->env = NULL;
        append_copies(&out->env, &n, p->env, count(p->env));
        if (tty && !has_term(p->env))
                append_copies(&out->env, &n, term, 1);
        out->cwd = dup_string(p->cwd);
        out->groups = NEW_ARRAY(uint32_t, p->n_groups);
        memcpy(out->groups, p->groups, p->n_groups * sizeof(*p->groups));
        out->rlimits = NULL;
        out->n_rlimits = 0;
        out->apparmor = dup_string(p->apparmor);
        out->selinux = dup_string(p->selinux);
}
