#include "pods/cdi/host_node.h"
#include "base/cleanup.h"
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#define DEFAULT_MODE 0666 /* as runc makes a node without one */

static const char *type_of(const struct stat *st)
{
        return S_ISBLK(st->st_mode) ? "b" : S_ISCHR(st->st_mode) ? "c" : S_ISFIFO(st->st_mode) ? "p" : NULL;
}

static void set_number(struct cdi_number *number, uint32_t value)
{
        *number = (struct cdi_number){ .value = value, .is_set = true };
}

struct error *cdi_host_node(struct cdi_device_node *node)
{
        const char *path = node->host_path && *node->host_path ? node->host_path : node->path;
        bool typed = node->type && *node->type, is_fifo = typed && *node->type == 'p';
        bool is_whole = typed && (node->major.value || is_fifo);
        struct stat st;
        int errnum = lstat(path, &st) < 0 ? errno : 0;
        const char *type = errnum ? NULL : type_of(&st);
        if (!type && !is_whole)
                return error_new(ERROR_FAILED_PRECONDITION, "failed to stat CDI host device \"%s\": %s", path,
                                 errnum ? strerror(errnum) : "not a device node");
        if (!node->mode.is_set)
                set_number(&node->mode, type ? st.st_mode & 07777 : DEFAULT_MODE);
        if (is_whole)
                return NULL;
        if (typed && strcmp(node->type, type) != 0)
                return error_new(ERROR_FAILED_PRECONDITION,
                                 "CDI device \"%s\" is to be of type %s, and %s on the host is of type %s",
                                 node->path, node->type, path, type);
        free(node->type);
        node->type = dup_string(type);
        if (*type == 'p')
                return NULL;
        set_number(&node->major, major(st.st_rdev));
        set_number(&node->minor, minor(st.st_rdev));
        return NULL;
}
