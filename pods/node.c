#include "pods/node.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "pods/cdi/cdi.h"
#include "pods/feed.h"
#include "pods/lifecycle/react.h"
#include "pods/lifecycle/recover.h"
#include "pods/message.h"
#include "pods/records.h"
#include "pods/spec/image_users.h"
#include "pods/spec/spec.h"
#include "pods/table.h"
#include "runtime/cgroup/cgroup.h"
#include <string.h>

#define BOOT_ID_LIMIT_BYTES 64

/* --- open and free --- */

static struct error *read_boot_id(char **out)
{
        TRY(file_read(AT_FDCWD, "/proc/sys/kernel/random/boot_id", BOOT_ID_LIMIT_BYTES, out, NULL));
        (*out)[strcspn(*out, "\n")] = '\0';
        return NULL;
}

static struct error *open_state(struct node *node)
{
        TRY(file_mkdirs(AT_FDCWD, node->root, 0700));
        TRY(file_mkdirs(AT_FDCWD, node->state, 0711));
        node->state_fd = open(node->state, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (node->state_fd < 0)
                return error_errno(errno, "open %s", node->state);
        TRY(file_mkdirs(node->state_fd, "pods", 0700));
        return records_open(node->root, &node->db);
}

struct error *node_open(const struct node_config *config, struct node **out)
{
        _cleanup_(node_freep) struct node *node = NEW(struct node);
        pthread_condattr_t monotonic;
        node->image_users = image_users_new();
        node->cdi = cdi_new(config->cdi_dirs);
        node->config = *config;
        node->root = dup_string(config->root);
        node->state = dup_string(config->state);
        node->state_fd = -1;
        (void) pthread_mutex_init(&node->lock, NULL);
        (void) pthread_condattr_init(&monotonic);
        (void) pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
        (void) pthread_cond_init(&node->changed, &monotonic);
        (void) pthread_condattr_destroy(&monotonic);
        TRY(read_boot_id(&node->boot_id));
        TRY(open_state(node));
        node->feed = feed_new();
        TRY(events_open(node, &react, &node->events));
        TRY(recover(node));
        *out = TAKE(node);
        return NULL;
}

static void drop_tables(struct node *node)
{
        struct container *c = NULL, *next_container = NULL;
        struct sandbox *pod = NULL, *next_pod = NULL;
        HASH_ITER(by_id, node->containers, c, next_container)
        {
                table_remove_container(node, c);
        }
        HASH_ITER(by_id, node->pods, pod, next_pod)
        {
                table_remove_pod(node, pod);
        }
}

void node_free(struct node *node)
{
        if (!node)
                return;
        node_close(node);
        (void) pthread_mutex_lock(&node->lock);
        while (node->background)
                (void) pthread_cond_wait(&node->changed, &node->lock);
        (void) pthread_mutex_unlock(&node->lock);
        events_free(node->events);
        drop_tables(node);
        image_users_free(node->image_users);
        cdi_free(node->cdi);
        feed_free(node->feed);
        db_free(node->db);
        closep(&node->state_fd);
        (void) pthread_mutex_destroy(&node->lock);
        (void) pthread_cond_destroy(&node->changed);
        free(node->root);
        free(node->state);
        free(node->boot_id);
        free(node);
}

bool node_idle(struct node *node, int64_t timeout_ms)
{
        int64_t until_ns = clock_monotonic_ns() + timeout_ms * 1000000;
        struct timespec until = { .tv_sec = until_ns / 1000000000, .tv_nsec = until_ns % 1000000000 };
        int timed_out = 0;
        (void) pthread_mutex_lock(&node->lock);
        while (node->background && !timed_out)
                timed_out = pthread_cond_timedwait(&node->changed, &node->lock, &until) == ETIMEDOUT;
        bool idle = node->background == 0;
        (void) pthread_mutex_unlock(&node->lock);
        return idle;
}

struct error *node_leaks(struct node *node, char ***out)
{
        return recover_sweep(node, false, out);
}

char **node_cdi_problems(struct node *node)
{
        return cdi_problems(node->cdi);
}

struct error *node_checkpoint(struct node *node)
{
        return db_checkpoint(node->db);
}

/* --- resources --- */

/* What an update leaves out stays as it was. Memory without swap sets both (spec_limits). */
static Cri__LinuxContainerResources *merged(const Cri__LinuxContainerResources *before,
                                            const Cri__LinuxContainerResources *update)
{
        Cri__LinuxContainerResources m = *update;
        if (!m.cpu_period)
                m.cpu_period = before->cpu_period;
        if (!m.cpu_quota)
                m.cpu_quota = before->cpu_quota;
        if (!m.cpu_shares)
                m.cpu_shares = before->cpu_shares;
        if (!m.memory_swap_limit_in_bytes && before->memory_swap_limit_in_bytes)
                m.memory_swap_limit_in_bytes = m.memory_limit_in_bytes ? m.memory_limit_in_bytes
                                                                       : before->memory_swap_limit_in_bytes;
        if (!m.memory_limit_in_bytes)
                m.memory_limit_in_bytes = before->memory_limit_in_bytes;
        m.oom_score_adj = before->oom_score_adj;
        if (!*m.cpuset_cpus)
                m.cpuset_cpus = before->cpuset_cpus;
        if (!*m.cpuset_mems)
                m.cpuset_mems = before->cpuset_mems;
        if (!m.n_hugepage_limits) {
                m.hugepage_limits = before->hugepage_limits;
                m.n_hugepage_limits = before->n_hugepage_limits;
        }
        if (!m.n_unified) {
                m.unified = before->unified;
                m.n_unified = before->n_unified;
        }
        return message_copy(&m);
}

/* The record first: it can be written again as it was, while of a cgroup's earlier values only the cgroup knows. */
static struct error *update_apply(struct container *c, const struct cgroup_limits *limits,
                                  const Cri__LinuxContainerResources *now)
{
        struct node *node = c->pod->node;
        TRY(record_container_resources(node->db, c->id, now));
        struct error *e = cgroup_update(node->config.cgroups, c->cgroup_path, limits);
        if (!e)
                return NULL;
        struct error *stuck = record_container_resources(node->db, c->id, c->resources);
        if (stuck)
                e = error_wrap(e, "the record stays changed (%s)", error_message(stuck));
        error_free(stuck);
        return e;
}

static struct error *update_held(struct container *c, const Cri__LinuxContainerResources *resources)
{
        struct node *node = c->pod->node;
        _cleanup_(spec_limits_done) struct cgroup_limits limits = { 0 };
        _cleanup_(message_freep) Cri__LinuxContainerResources *now = NULL;
        TRY(spec_limits(resources, &limits));
        (void) pthread_mutex_lock(&node->lock);
        bool alive = c->state == CONTAINER_CREATED || c->state == CONTAINER_RUNNING;
        now = alive ? merged(spec_resources_of(c), resources) : NULL;
        (void) pthread_mutex_unlock(&node->lock);
        if (!alive)
                return error_new(ERROR_FAILED_PRECONDITION, "container %s has ended", c->id);
        TRY(update_apply(c, &limits, now));
        (void) pthread_mutex_lock(&node->lock);
        Cri__LinuxContainerResources *before = c->resources;
        c->resources = TAKE(now);
        (void) pthread_mutex_unlock(&node->lock);
        message_free(before);
        return NULL;
}

struct error *node_update_container(struct node *node, const char *id,
                                    const Cri__LinuxContainerResources *resources)
{
        bool joined;
        struct error *result;
        _cleanup_(container_unrefp) struct container *c = table_find_container(node, id);
        if (!c)
                return error_new(ERROR_NOT_FOUND, "container %s does not exist", id);
        TRY(operation_begin(&c->operation, &node->lock, OPERATION_OTHER, NULL, &joined, &result));
        struct error *e = update_held(c, resources);
        operation_end(&c->operation, &node->lock, e);
        return e;
}
