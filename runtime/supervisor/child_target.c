/* Where a mount, a device or the working directory is to be: what an image lacks is made, never outside the root. */
#include "runtime/supervisor/child.h"
#include "runtime/supervisor/sys.h"
#include <string.h>
#include <sys/stat.h>

#define PATH_MAX_BYTES 4096
#define LINKS_MAX 40 /* as the kernel has it */

/* Makes `name` in the directory at_fd where it is missing, and opens it; a link that stands there is opened itself. All
 * that exists was resolved before, so such a link dangles. at_fd is closed. */
static int step_into(int at_fd, const char *name, int want_file, mode_t mode)
{
        int made = want_file ? mknodat(at_fd, name, S_IFREG | 0644, 0) : mkdirat(at_fd, name, mode);
        int fd = -1;
        if (made == 0 || errno == EEXIST)
                fd = openat(at_fd, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
        int saved = errno;
        (void) close(at_fd);
        errno = saved;
        return fd;
}

/* The longest part of path (whose length is *len_bytes then) that exists, opened. */
static int existing_part(char *path, size_t *len_bytes)
{
        for (;;) {
                int fd = sys_openat2(AT_FDCWD, *path ? path : "/", O_PATH, CHILD_IN_ROOT);
                if (fd >= 0 || errno != ENOENT || *len_bytes == 0)
                        return fd;
                while (*len_bytes > 0 && path[*len_bytes - 1] != '/')
                        (*len_bytes)--;
                while (*len_bytes > 0 && path[*len_bytes - 1] == '/')
                        (*len_bytes)--;
                path[*len_bytes] = '\0';
        }
}

static int is_link(int fd)
{
        struct stat st;
        return fstat(fd, &st) == 0 && S_ISLNK(st.st_mode);
}

/* Puts where the link fd leads in its place in path: what was made before its name, its text, and what was to come. */
static int link_follow(int fd, char path[PATH_MAX_BYTES], size_t before_bytes, const char *rest)
{
        char text[PATH_MAX_BYTES], whole[PATH_MAX_BYTES];
        ssize_t n_bytes = readlinkat(fd, "", text, sizeof(text));
        if (n_bytes < 0)
                return -1;
        int is_absolute = n_bytes > 0 && text[0] == '/';
        int len_bytes = snprintf(whole, sizeof(whole), "%.*s/%.*s/%s", is_absolute ? 0 : (int) before_bytes,
                                 path, (int) n_bytes, text, rest);
        if (len_bytes < 0 || (size_t) len_bytes >= sizeof(whole)) {
                errno = ENAMETOOLONG;
                return -1;
        }
        memcpy(path, whole, (size_t) len_bytes + 1);
        return 0;
}

/* Opens path, making what is missing. 0 with *out_fd -1: a dangling link was met, and path is now another way to the same
 * place. */
static int target_try(char path[PATH_MAX_BYTES], int want_file, mode_t mode, int *out_fd)
{
        char part[PATH_MAX_BYTES];
        size_t len_bytes = strlen(path);
        memcpy(part, path, len_bytes + 1);
        int fd = existing_part(part, &len_bytes);
        const char *rest = path + len_bytes;
        *out_fd = -1;
        while (fd >= 0) {
                rest += strspn(rest, "/");
                size_t before_bytes = (size_t) (rest - path), name_bytes = strcspn(rest, "/");
                if (name_bytes == 0) {
                        *out_fd = fd;
                        return 0;
                }
                memcpy(part, rest, name_bytes);
                part[name_bytes] = '\0';
                rest += name_bytes;
                if (strcmp(part, ".") == 0)
                        continue;
                if (strcmp(part, "..") == 0) { /* below what does not exist there is nothing to go up from */
                        (void) close(fd);
                        errno = ENOENT;
                        return -1;
                }
                fd = step_into(fd, part, want_file && !rest[strspn(rest, "/")], mode);
                if (fd >= 0 && is_link(fd)) {
                        int followed = link_follow(fd, path, before_bytes, rest);
                        (void) close(fd);
                        return followed;
                }
        }
        return -1;
}

int child_target_open(const char *path, int want_file, mode_t mode)
{
        char way[PATH_MAX_BYTES];
        size_t len_bytes = strlen(path);
        if (len_bytes >= sizeof(way)) {
                errno = ENAMETOOLONG;
                return -1;
        }
        memcpy(way, path, len_bytes + 1);
        for (int links = 0; links <= LINKS_MAX; links++) {
                int fd;
                if (target_try(way, want_file, mode, &fd) < 0)
                        return -1;
                if (fd >= 0)
                        return fd;
        }
        errno = ELOOP;
        return -1;
}
