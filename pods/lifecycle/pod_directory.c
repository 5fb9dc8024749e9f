#include "pods/lifecycle/pod_directory.h"
#include "base/file.h"
#include <fcntl.h>
#include <sys/stat.h>

struct error *pod_directory_open(const struct sandbox *pod, int *out_fd)
{
        char path[sizeof("pods/") + ID_LEN];
        (void) snprintf(path, sizeof(path), "pods/%s", pod->id);
        int fd = openat(pod->node->state_fd, path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (fd < 0 && errno != ENOENT)
                return error_errno(errno, "open %s/%s", pod->node->state, path);
        *out_fd = fd;
        return NULL;
}

struct error *pod_directory_make(struct sandbox *pod)
{
        char path[sizeof("pods/") + ID_LEN];
        (void) snprintf(path, sizeof(path), "pods/%s", pod->id);
        if (mkdirat(pod->node->state_fd, path, 0700) < 0 && errno != EEXIST)
                return error_errno(errno, "make %s/%s", pod->node->state, path);
        return pod_directory_open(pod, &pod->dir_fd);
}

struct error *pod_directory_remove(struct sandbox *pod)
{
        _cleanup_(closep) int pods_fd =
                openat(pod->node->state_fd, "pods", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (pods_fd < 0)
                return error_errno(errno, "open %s/pods", pod->node->state);
        closep(&pod->dir_fd);
        return file_remove_tree(pods_fd, pod->id);
}
