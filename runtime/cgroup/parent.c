/* Where a pod's cgroups lie, by the cgroup_parent that it was asked for: names alone, nothing is touched. The form says
 * which driver it is for, so a pod is found again by its record under whatever driver skiffd is started with later. */
#include "base/id.h"
#include "runtime/cgroup/cgroup_internal.h"
#include <limits.h>
#include <string.h>

#define UNIT_NAME_MAX 255
#define SLICE ".slice"
#define SLICE_BYTES (sizeof(SLICE) - 1)
#define SCOPE_PREFIX "skiff-"
#define SCOPE_PREFIX_BYTES (sizeof(SCOPE_PREFIX) - 1)
#define SCOPE_SUFFIX ".scope"

static bool is_slice(const char *name)
{
        size_t len_bytes = strlen(name);
        return len_bytes > SLICE_BYTES && strcmp(name + len_bytes - SLICE_BYTES, SLICE) == 0;
}

/* "a-b.slice": letters, digits and ":_.\" between single dashes. "-.slice" is the root. Source: systemd.slice(5),
 * systemd.unit(5). */
static bool slice_is_valid(const char *name)
{
        static const char allowed[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789:_.\\-";
        size_t len_bytes = strlen(name);
        if (strcmp(name, "-" SLICE) == 0)
                return true;
        return len_bytes <= UNIT_NAME_MAX && strspn(name, allowed) == len_bytes && name[0] != '-' &&
               name[len_bytes - SLICE_BYTES - 1] != '-' && !strstr(name, "--");
}

char *slice_path(const char *name)
{
        size_t name_bytes = strlen(name) - SLICE_BYTES;
        if (strcmp(name, "-" SLICE) == 0)
                return dup_string("");
        char *path = dup_string("");
        for (const char *dash = name; dash; dash = strchr(dash, '-')) {
                dash++; /* past it; a name is not empty */
                const char *end = strchr(dash, '-');
                size_t part_bytes = end ? (size_t) (end - name) : name_bytes;
                char *longer =
                        format_string("%s%s%.*s%s", path, *path ? "/" : "", (int) part_bytes, name, SLICE);
                free(path);
                path = longer;
        }
        return path;
}

/* --- cgroup_parent --- */

static struct error *error_unclean(const char *parent)
{
        return error_new(ERROR_INVALID_ARGUMENT, "\"%.200s\" is not a clean absolute path", parent);
}

static struct error *path_check(const char *parent)
{
        size_t len_bytes = strlen(parent);
        bool bad = *parent != '/' || len_bytes > PATH_MAX - 256 || strpbrk(parent, "\r\n\t");
        for (const char *part = parent; !bad && *part; part += strcspn(part, "/")) {
                part++;
                size_t part_bytes = strcspn(part, "/");
                bad = (part_bytes == 0 && len_bytes > 1) || part_bytes > NAME_MAX ||
                      (part_bytes == 1 && *part == '.') || (part_bytes == 2 && strncmp(part, "..", 2) == 0);
        }
        return bad ? error_unclean(parent) : NULL;
}

/* A path of slices is fine too: where a slice lies follows from its name. */
static struct error *slice_check(const char *parent, const char **name)
{
        const char *slash = strrchr(parent, '/');
        *name = slash ? slash + 1 : parent;
        if (slash)
                TRY(path_check(parent));
        if (!is_slice(*name))
                return error_new(ERROR_INVALID_ARGUMENT,
                                 "\"%.200s\" is no slice, and skiffd makes cgroups by systemd: a name like"
                                 " kubepods-pod1.slice is wanted (cgroupDriver: systemd in kubelet's"
                                 " configuration), or cgroup_driver = \"cgroupfs\" in skiffd's",
                                 parent);
        if (!slice_is_valid(*name))
                return error_new(ERROR_INVALID_ARGUMENT,
                                 "\"%.300s\" is not a name that systemd lets a slice have", *name);
        return NULL;
}

struct error *cgroup_parent_resolve(const struct cgroups *c, const char *asked, char **out)
{
        const char *name = NULL;
        _cleanup_(freep) char *parent = dup_string(asked);
        size_t len_bytes = strlen(parent);
        while (len_bytes > 1 && parent[len_bytes - 1] == '/')
                parent[--len_bytes] = '\0';
        if (cgroups_by_systemd(c)) {
                if (*parent)
                        TRY(slice_check(parent, &name));
                *out = dup_string(name ? name : "system" SLICE);
                return NULL;
        }
        if (is_slice(parent))
                return error_new(
                        ERROR_INVALID_ARGUMENT,
                        "\"%.200s\" is for the systemd cgroup driver, and skiffd makes cgroups by itself"
                        " here: set cgroupDriver: cgroupfs in kubelet's configuration, or cgroup_driver"
                        " = \"systemd\" in skiffd's",
                        parent);
        if (*parent && *parent != '/' && strchr(parent, '.'))
                return error_unclean(parent);
        char *path =
                !*parent ? dup_string("/skiff") : format_string("%s%s", *parent == '/' ? "" : "/", parent);
        struct error *e = path_check(path);
        if (e)
                free(path);
        else
                *out = path;
        return e;
}

bool cgroup_parent_is_slice(const char *parent)
{
        return *parent != '/';
}

char *cgroup_home(const char *parent, const char *pod_id)
{
        if (!cgroup_parent_is_slice(parent))
                return dup_string(strcmp(parent, "/") == 0 ? "" : parent);
        _cleanup_(freep) char *slices = slice_path(parent);
        return format_string("%s%s/%s%s%s", *slices ? "/" : "", slices, SCOPE_PREFIX, pod_id, SCOPE_SUFFIX);
}

/* --- scopes --- */

bool scope_is_ours(const char *name, char id[ID_LEN + 1])
{
        if (strncmp(name, SCOPE_PREFIX, SCOPE_PREFIX_BYTES) != 0 ||
            strlen(name) != SCOPE_PREFIX_BYTES + ID_LEN + sizeof(SCOPE_SUFFIX) - 1)
                return false;
        memcpy(id, name + SCOPE_PREFIX_BYTES, ID_LEN);
        id[ID_LEN] = '\0';
        return id_is_valid(id) && strcmp(name + SCOPE_PREFIX_BYTES + ID_LEN, SCOPE_SUFFIX) == 0;
}

bool scope_of(const char *path, struct scope_names *out)
{
        char id[ID_LEN + 1];
        const char *leaf = strrchr(path, '/');
        if (!leaf || !strstr(path, SCOPE_SUFFIX "/"))
                return false;
        _cleanup_(freep) char *scope = dup_bytes(path, (size_t) (leaf - path));
        const char *slash = strrchr(scope, '/');
        if (!scope_is_ours(slash ? slash + 1 : scope, id))
                return false;
        if (out) {
                out->unit = dup_string(slash ? slash + 1 : scope);
                out->slices = dup_bytes(scope, slash ? (size_t) (slash - scope) : 0);
                out->path = TAKE(scope);
                out->is_leaf = strcmp(leaf + 1, id) == 0;
        }
        return true;
}

void scope_names_done(struct scope_names *names)
{
        free(names->unit);
        free(names->path);
        free(names->slices);
        *names = (struct scope_names){ .unit = NULL };
}
