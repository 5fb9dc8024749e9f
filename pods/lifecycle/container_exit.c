/* What is taken down when a container has ended, whoever brought the news. */
#include "base/clock.h"
#include "base/log.h"
#include "pods/feed.h"
#include "pods/lifecycle/bundle.h"
#include "pods/lifecycle/container.h"
#include "pods/lifecycle/parking.h"
#include "pods/lifecycle/pod_directory.h"
#include "pods/records.h"
#include "pods/table.h"
#include <signal.h>
#include <string.h>

static void poke(int fd)
{
        const uint64_t one = 1;
        if (fd >= 0 && write(fd, &one, sizeof(one)) < 0)
                return; /* full: readable all the same */
}

static void set_text(char **to, const char *text)
{
        free(*to);
        *to = dup_string(text);
}

void container_exited(struct container *c, const struct runtime_exit *exit)
{
        struct node *node = c->pod->node;
        (void) pthread_mutex_lock(&node->lock);
        /* The exit of a start that was cancelled may come when the next one is under way. */
        bool news = (c->state == CONTAINER_RUNNING || c->state == CONTAINER_STARTING) &&
                    exit->started_wall_ns == c->started_ns;
        if (news) {
                if (c->state == CONTAINER_STARTING) { /* faster than the answer to its start */
                        c->state = CONTAINER_RUNNING;
                        feed_container(c, CRI__CONTAINER_EVENT_TYPE__CONTAINER_STARTED_EVENT);
                }
                c->state = CONTAINER_EXITED;
                c->pid = 0;
                c->exit_code = exit->exit_code;
                c->finished_ns = exit->finished_wall_ns;
                c->oom_killed = exit->oom_killed;
                set_text(&c->reason, exit->oom_killed       ? "OOMKilled"
                                     : exit->exit_code == 0 ? "Completed"
                                                            : "Error");
                poke(c->exited_fd);
                feed_container(c, CRI__CONTAINER_EVENT_TYPE__CONTAINER_STOPPED_EVENT);
        }
        bool shared_pids =
                !c->spec || c->spec->pid_mode != PID_MODE_CONTAINER; /* or not known after a restart */
        (void) pthread_mutex_unlock(&node->lock);
        if (!news)
                return;
        /* In a pid namespace of its own the kernel has killed the rest; in a shared one they would live on. */
        if (shared_pids)
                log_error(LOG_LEVEL_WARN, cgroup_kill(node->config.cgroups, c->cgroup_path),
                          "kill what an ended container left", "container", c->id);
        log_error(LOG_LEVEL_WARN, record_container_progress(node->db, c), "record an exit", "container",
                  c->id);
        parking_settle(c, NULL);
        bundle_poststop(c);
}

static void container_lost(struct container *c)
{
        struct runtime_exit killed = { .exit_code = 128 + SIGKILL,
                                       .signal = SIGKILL,
                                       .finished_wall_ns = clock_wall_ns() };
        (void) pthread_mutex_lock(&c->pod->node->lock);
        killed.started_wall_ns = c->started_ns;
        if (c->state == CONTAINER_RUNNING || c->state == CONTAINER_STARTING)
                set_text(&c->message, "the pod's supervisor was killed");
        (void) pthread_mutex_unlock(&c->pod->node->lock);
        container_exited(c, &killed);
}

void containers_lost(struct sandbox *pod)
{
        struct runtime_exit *exits = NULL;
        size_t n = 0;
        _cleanup_(container_list_freep) struct container **list = table_containers_of(pod);
        if (!*list)
                return;
        /* A descriptor of our own: the events' thread comes here while an operation may close the pod's. */
        _cleanup_(closep) int dir_fd = -1;
        struct error *e = pod_directory_open(pod, &dir_fd);
        if (!e && dir_fd >= 0)
                e = runtime_exits_read(dir_fd, &exits, &n);
        log_error(LOG_LEVEL_WARN, e, "read a pod's exits", "pod", pod->id);
        for (struct container **c = list; *c; c++)
                for (size_t i = 0; i < n; i++)
                        if (strcmp(exits[i].container_id, (*c)->id) == 0)
                                container_exited(*c, &exits[i]);
        free(exits);
        for (struct container **c = list; *c; c++)
                container_lost(*c);
}
