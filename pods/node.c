#include "pods/node.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "pods/cdi/cdi.h"
#include "pods/feed.h"
#include "pods/lifecycle/react.h"
#include "pods/lifecycle/recover.h"
#include "pods/records.h"
#include "pods/spec/image_users.h"
#include "pods/table.h"
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

void node_configure(struct node *node, const struct node_settings *settings)
{
        atomic_store(&node->settings.device_ownership, settings->device_ownership);
        atomic_store(&node->settings.log_line_max_bytes, settings->log_line_max_bytes);
        atomic_store(&node->settings.rw_layer_max_bytes, settings->rw_layer_max_bytes);
        atomic_store(&node->settings.log_max_bytes, settings->log_max_bytes);
}

struct error *node_open(const struct node_config *config, struct node **out)
{
        _cleanup_(node_freep) struct node *node = NEW(struct node);
        pthread_condattr_t monotonic;
        node->image_users = image_users_new();
        node->cdi = cdi_new(config->cdi_dirs);
        node->config = *config;
        node_configure(node, &config->settings);
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
