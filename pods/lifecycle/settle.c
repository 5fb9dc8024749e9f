#include "pods/lifecycle/settle.h"
#include "base/log.h"
#include "pods/lifecycle/container.h"
#include "pods/lifecycle/pod_directory.h"
#include "pods/records.h"
#include "pods/table.h"
#include <string.h>

static const struct runtime_container *find_running(const struct sandbox *pod, const char *id)
{
        const struct runtime_container *running = NULL;
        size_t n = pod->runtime ? runtime_pod_running(pod->runtime, &running) : 0;
        for (size_t i = 0; i < n; i++)
                if (strcmp(running[i].id, id) == 0)
                        return &running[i];
        return NULL;
}

/* Whether the supervisor says that it runs; its facts are taken over. With the lock. */
static bool still_runs(struct sandbox *pod, struct container *c)
{
        const struct runtime_container *running = find_running(pod, c->id);
        if (!running)
                return false;
        c->pid = running->pid;
        c->started_ns = running->started_wall_ns;
        c->state = CONTAINER_RUNNING;
        return true;
}

static const struct runtime_exit *find_exit(const struct runtime_exit *exits, size_t n, const char *id,
                                            int64_t started_ns)
{
        for (size_t i = 0; i < n; i++)
                if (strcmp(exits[i].container_id, id) == 0 && exits[i].started_wall_ns == started_ns)
                        return &exits[i];
        return NULL;
}

/* One that a start was under way for never ran when the supervisor does not know it: the start may be tried again. */
static bool never_ran(struct sandbox *pod, struct container *c)
{
        bool is_sure = pod->runtime && runtime_pod_is_known(pod->runtime);
        if (!is_sure || c->state != CONTAINER_STARTING || c->operation.kind != OPERATION_NONE)
                return false;
        c->state = CONTAINER_CREATED;
        c->started_ns = 0;
        return true;
}

static void settle_container(struct sandbox *pod, struct container *c, const struct runtime_exit *exits,
                             size_t n, bool ask)
{
        const struct runtime_exit *exit = NULL;
        bool news = false;
        (void) pthread_mutex_lock(&pod->node->lock);
        bool alive = c->state == CONTAINER_RUNNING || c->state == CONTAINER_STARTING;
        if (alive && !(ask && still_runs(pod, c))) {
                exit = find_exit(exits, n, c->id, c->started_ns);
                news = !exit && ask && never_ran(pod, c);
        }
        (void) pthread_mutex_unlock(&pod->node->lock);
        if (exit)
                container_exited(c, exit);
        if (news)
                log_error(LOG_LEVEL_WARN, record_container_progress(pod->node->db, c), "record a container",
                          "container", c->id);
}

static void settle(struct sandbox *pod, bool ask)
{
        struct runtime_exit *exits = NULL;
        size_t n = 0;
        _cleanup_(closep) int dir_fd = -1; /* our own: an operation may close the pod's */
        struct error *e = pod_directory_open(pod, &dir_fd);
        if (!e && dir_fd >= 0)
                e = runtime_exits_read(dir_fd, &exits, &n);
        log_error(LOG_LEVEL_WARN, e, "read a pod's exits", "pod", pod->id);
        _cleanup_(container_list_freep) struct container **list = table_containers_of(pod);
        for (struct container **c = list; *c; c++)
                settle_container(pod, *c, exits, n, ask);
        free(exits);
}

void settle_containers(struct sandbox *pod)
{
        settle(pod, true);
}

void settle_exits(struct sandbox *pod)
{
        settle(pod, false);
}
