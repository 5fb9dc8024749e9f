#include "pods/pause.h"
#include "base/file.h"
#include "base/log.h"
#include "pods/table.h"
#include "runtime/cgroup/cgroup.h"
#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>

#define DIRECTORY "paused"

static struct error *mark(const struct container *c)
{
        _cleanup_(freep) char *name = format_string(DIRECTORY "/%s", c->id);
        if (mkdirat(c->pod->node->state_fd, DIRECTORY, 0700) < 0 && errno != EEXIST)
                return error_errno(errno, "make " DIRECTORY);
        int fd = openat(c->pod->node->state_fd, name, O_WRONLY | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
        if (fd < 0)
                return error_errno(errno, "make %s", name);
        (void) close(fd);
        return NULL;
}

static void unmark(struct node *node, const char *id)
{
        _cleanup_(freep) char *name = format_string(DIRECTORY "/%s", id);
        (void) unlinkat(node->state_fd, name, 0); /* one that stays has a thaw too many at the next start */
}

static void thaw(struct container *c)
{
        log_error(LOG_LEVEL_ERROR, cgroup_freeze(c->pod->node->config.cgroups, c->cgroup_path, false),
                  "let a container go on", "container", c->id);
        unmark(c->pod->node, c->id);
}

struct error *pause_begin(struct container *c)
{
        struct node *node = c->pod->node;
        (void) pthread_mutex_lock(&c->pause_lock);
        struct error *e = c->pauses ? NULL : mark(c);
        if (!e && !c->pauses) {
                e = cgroup_freeze(node->config.cgroups, c->cgroup_path, true);
                if (e)
                        unmark(node, c->id);
        }
        c->pauses += !e;
        (void) pthread_mutex_unlock(&c->pause_lock);
        return e ? error_wrap(e, "pause it") : NULL;
}

void pause_end(struct container *c)
{
        (void) pthread_mutex_lock(&c->pause_lock);
        if (--c->pauses == 0)
                thaw(c);
        (void) pthread_mutex_unlock(&c->pause_lock);
}

void pauses_recover(struct node *node)
{
        int fd = openat(node->state_fd, DIRECTORY, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        _cleanup_(closedirp) DIR *dir = fd < 0 ? NULL : fdopendir(fd);
        for (struct dirent *entry; dir && (entry = readdir(dir));) {
                if (entry->d_name[0] == '.')
                        continue;
                _cleanup_(container_unrefp) struct container *c = table_find_container(node, entry->d_name);
                if (c)
                        thaw(c);
                else
                        unmark(node, entry->d_name);
        }
}
