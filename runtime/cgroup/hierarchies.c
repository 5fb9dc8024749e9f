/* Which hierarchies this host has, and where: found once, from mountinfo. */
#include "base/file.h"
#include "runtime/cgroup/cgroup_internal.h"
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#define PATH_MAX_BYTES 4096

static bool word_in_list(const char *list, const char *word)
{
        size_t len_bytes = strlen(word);
        for (const char *at = list; *at; at += strcspn(at, ","), at += *at == ',')
                if (strncmp(at, word, len_bytes) == 0 && (at[len_bytes] == ',' || !at[len_bytes]))
                        return true;
        return false;
}

bool cgroups_is_v2(const struct cgroups *c)
{
        return c->driver->is_v2;
}

const struct hierarchy *hierarchy_of(const struct cgroups *c, const char *controller)
{
        if (cgroups_is_v2(c))
                return &c->hierarchies[0];
        for (size_t i = 0; i < c->n; i++)
                if (word_in_list(c->hierarchies[i].controllers, controller))
                        return &c->hierarchies[i];
        return NULL;
}

/* Named ones, systemd's above all, have no controllers. */
static bool has_sandboxes(const char *controllers)
{
        static const char *const wanted[] = { "memory", "cpu", "cpuacct", "pids", "freezer" };
        bool named = !*controllers || strncmp(controllers, "name=", 5) == 0;
        for (size_t i = 0; !named && i < LENGTH(wanted); i++)
                named = word_in_list(controllers, wanted[i]);
        return named;
}

static struct error *hierarchy_add(struct cgroups *c, const char *mount, const char *controllers)
{
        if (c->n == HIERARCHIES_MAX)
                return NULL; /* more than there are controllers: the rest are bare names */
        _cleanup_(closep) int fd = open(mount, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        struct stat st, there;
        if (fd < 0 || fstat(fd, &st) < 0)
                return error_errno(errno, "open %s", mount);
        /* Some nodes mount one twice (a tool's own "cpu" beside "cpu,cpuacct"): in one hierarchy a directory can be made
         * once. */
        for (size_t i = 0; i < c->n; i++)
                if (fstat(c->hierarchies[i].fd, &there) == 0 && there.st_dev == st.st_dev)
                        return NULL;
        c->hierarchies[c->n++] = (struct hierarchy){ .mount = dup_string(mount),
                                                     .controllers = dup_string(controllers),
                                                     .fd = TAKE_FD(fd),
                                                     .has_sandboxes = has_sandboxes(controllers) };
        return NULL;
}

/* The options of a v1 mount that are no flags are its controllers. */
static void controllers_of(char *options)
{
        static const char *const flags[] = { "rw", "ro", "relatime", "xattr", "clone_children", "noprefix" };
        char kept[256] = "", *rest = options;
        for (char *option; (option = strsep(&rest, ","));) {
                bool flag = strncmp(option, "release_agent=", 14) == 0;
                for (size_t i = 0; i < LENGTH(flags); i++)
                        flag = flag || strcmp(option, flags[i]) == 0;
                size_t len_bytes = strlen(kept);
                if (!flag && len_bytes + strlen(option) + 2 < sizeof(kept))
                        (void) snprintf(kept + len_bytes, sizeof(kept) - len_bytes, "%s%s",
                                        len_bytes ? "," : "", option);
        }
        memcpy(options, kept, strlen(kept) + 1); /* never longer than what it came from */
}

/* One line of mountinfo, proc(5): "36 35 98:0 /root /mount rw - type source options". */
static struct error *mount_line(struct cgroups *c, const char *line, bool want_v2)
{
        char mount[PATH_MAX_BYTES], type[32], options[512];
        const char *dash = strstr(line, " - ");
        if (!dash || sscanf(line, "%*s %*s %*s %*s %4095s", mount) != 1 ||
            sscanf(dash, " - %31s %*s %511s", type, options) != 2)
                return NULL;
        size_t root_bytes = strlen(c->mount_root);
        if (strncmp(mount, c->mount_root, root_bytes) != 0)
                return NULL;
        if (want_v2)
                return strcmp(type, "cgroup2") == 0 && !mount[root_bytes] ? hierarchy_add(c, mount, "")
                                                                          : NULL;
        if (strcmp(type, "cgroup") != 0 || mount[root_bytes] != '/')
                return NULL;
        controllers_of(options);
        return *options ? hierarchy_add(c, mount, options) : NULL;
}

static struct error *mounts_read(struct cgroups *c, bool want_v2)
{
        _cleanup_(fclosep) FILE *file = fopen("/proc/self/mountinfo", "re");
        _cleanup_(freep) char *line = NULL;
        size_t size_bytes = 0;
        if (!file)
                return error_errno(errno, "open /proc/self/mountinfo");
        while (getline(&line, &size_bytes, file) > 0 && !(want_v2 && c->n))
                TRY(mount_line(c, line, want_v2));
        return NULL;
}

/* The hierarchy that processes are found by comes first: the freezer's, which can also hold them still. */
static void tree_first(struct cgroups *c)
{
        static const char *const wanted[] = { "freezer", "pids", "name=systemd", "memory" };
        for (size_t w = 0; w < LENGTH(wanted); w++) {
                for (size_t i = 0; i < c->n; i++) {
                        if (!word_in_list(c->hierarchies[i].controllers, wanted[w]))
                                continue;
                        struct hierarchy first = c->hierarchies[i];
                        c->hierarchies[i] = c->hierarchies[0];
                        c->hierarchies[0] = first;
                        return;
                }
        }
}

struct error *hierarchies_find(struct cgroups *c, bool v2)
{
        TRY(mounts_read(c, v2));
        if (!v2)
                tree_first(c);
        return NULL;
}
