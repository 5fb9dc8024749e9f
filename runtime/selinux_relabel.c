/* Labels of a volume's files. The tree may be another pod's at the same time: no name in it is followed. */
#include "base/cleanup.h"
#include "runtime/selinux.h"
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/xattr.h>
#include <unistd.h>

#define ATTRIBUTE "security.selinux"
#define DEPTH_MAX 512 /* descriptors; deeper than a path can name */

static bool is_of_the_machine(const char *path)
{
        static const char *const places[] = {
                "/",           "/bin",        "/boot",      "/dev",     "/etc",     "/home",      "/lib",
                "/lib32",      "/lib64",      "/media",     "/mnt",     "/opt",     "/proc",      "/root",
                "/run",        "/sbin",       "/srv",       "/sys",     "/tmp",     "/usr",       "/var",
                "/var/lib",    "/var/log",    "/var/run",   "/usr/bin", "/usr/lib", "/usr/lib64", "/usr/sbin",
                "/etc/passwd", "/etc/shadow", "/etc/group",
        };
        for (size_t i = 0; i < LENGTH(places); i++)
                if (strcmp(path, places[i]) == 0)
                        return true;
        return strncmp(path, "/home/", 6) == 0 && !strchr(path + 6, '/');
}

/* name in the directory, or the directory itself with "". A label that is right is left: a change would be seen by others. */
static struct error *label(int dir_fd, const char *name, const char *context)
{
        char path[sizeof("/proc/self/fd/4294967295/") + NAME_MAX], now[SELINUX_CONTEXT_MAX + 2];
        (void) snprintf(path, sizeof(path), "/proc/self/fd/%d/%s", dir_fd, *name ? name : ".");
        ssize_t n_bytes = lgetxattr(path, ATTRIBUTE, now, sizeof(now) - 1);
        if (n_bytes >= 0) {
                now[n_bytes] = '\0';
                if (strcmp(now, context) == 0)
                        return NULL;
        }
        if (lsetxattr(path, ATTRIBUTE, context, strlen(context) + 1, 0) == 0 || errno == EOPNOTSUPP ||
            errno == ENOENT)
                return NULL;
        return error_errno(errno, "label %s", *name ? name : "the directory");
}

static struct error *label_tree(int dir_fd, const char *context, unsigned depth);

static struct error *label_entry(int dir_fd, const struct dirent *entry, const char *context, unsigned depth)
{
        TRY(label(dir_fd, entry->d_name, context));
        if (entry->d_type != DT_DIR && entry->d_type != DT_UNKNOWN)
                return NULL;
        _cleanup_(closep) int fd =
                openat(dir_fd, entry->d_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (fd < 0)
                return errno == ENOTDIR || errno == ELOOP || errno == ENOENT
                               ? NULL
                               : error_errno(errno, "open %s", entry->d_name);
        TRY_WRAP(label_tree(fd, context, depth + 1), "%s", entry->d_name);
        return NULL;
}

static struct error *label_tree(int dir_fd, const char *context, unsigned depth)
{
        if (depth > DEPTH_MAX)
                return error_new(ERROR_INVALID_ARGUMENT, "more than %d directories deep", DEPTH_MAX);
        int copy_fd = openat(dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        _cleanup_(closedirp) DIR *dir = copy_fd < 0 ? NULL : fdopendir(copy_fd);
        if (!dir)
                return error_errno(errno, "read the directory");
        for (const struct dirent *entry; (entry = readdir(dir));)
                if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
                        TRY(label_entry(dir_fd, entry, context, depth));
        return NULL;
}

static struct error *label_file(const char *path, const char *context)
{
        if (lsetxattr(path, ATTRIBUTE, context, strlen(context) + 1, 0) < 0 && errno != EOPNOTSUPP)
                return error_errno(errno, "label %s", path);
        return NULL;
}

struct error *selinux_relabel(const char *path, const char *context)
{
        _cleanup_(freep) char *real = realpath(path, NULL);
        if (!real)
                return error_as(error_errno(errno, "relabel %s", path), ERROR_INVALID_ARGUMENT);
        if (is_of_the_machine(real))
                return error_new(ERROR_INVALID_ARGUMENT, "relabel %s: it belongs to the machine", real);
        _cleanup_(closep) int fd = open(real, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (fd < 0 && errno == ENOTDIR)
                return label_file(real, context);
        if (fd < 0)
                return error_errno(errno, "relabel %s", real);
        TRY_WRAP(label(fd, "", context), "relabel %s", real);
        TRY_WRAP(label_tree(fd, context, 0), "relabel %s", real);
        return NULL;
}
