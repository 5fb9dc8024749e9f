#include "pods/table.h"
#include "pods/message.h"
#include <string.h>

static char *pod_name_of(const Cri__PodSandboxConfig *config)
{
        const Cri__PodSandboxMetadata *m = config->metadata;
        /* Names, namespaces and uids hold no '/': validated where requests come in. */
        return m ? format_string("%s/%s/%s/%u", m->namespace_, m->name, m->uid, m->attempt) : dup_string("");
}

static void namespaces_of(struct sandbox *pod)
{
        const Cri__LinuxPodSandboxConfig *linux_config = pod->config->linux;
        const Cri__LinuxSandboxSecurityContext *security =
                linux_config ? linux_config->security_context : NULL;
        const Cri__NamespaceOption *options = security ? security->namespace_options : NULL;
        pod->share_pid = true; /* CRI's default mode is POD: what crictl and critest mean by saying nothing */
        if (!options)
                return;
        pod->host_network = options->network == CRI__NAMESPACE_MODE__NODE;
        pod->host_ipc = options->ipc == CRI__NAMESPACE_MODE__NODE;
        pod->host_pid = options->pid == CRI__NAMESPACE_MODE__NODE;
        pod->share_pid = options->pid == CRI__NAMESPACE_MODE__POD;
}

struct sandbox *sandbox_new(const char *id, Cri__PodSandboxConfig *config, const char *handler)
{
        struct sandbox *pod = NEW(struct sandbox);
        (void) snprintf(pod->id, sizeof(pod->id), "%s", id);
        pod->config = config;
        pod->handler = dup_string(handler);
        pod->name = pod_name_of(config);
        pod->references = 1;
        pod->dir_fd = -1;
        namespaces_of(pod);
        return pod;
}

struct container *container_new(const char *id, const char *pod_id, Cri__ContainerConfig *config)
{
        struct container *c = NEW(struct container);
        (void) snprintf(c->id, sizeof(c->id), "%s", id);
        c->config = config;
        c->name = format_string("%s/%s/%u", pod_id, config->metadata ? config->metadata->name : "",
                                config->metadata ? config->metadata->attempt : 0);
        c->references = 1;
        c->exited_fd = -1;
        (void) pthread_mutex_init(&c->record_lock, NULL);
        (void) pthread_mutex_init(&c->pause_lock, NULL);
        return c;
}

static void sandbox_free(struct sandbox *pod)
{
        message_free(pod->config);
        message_free(pod->overhead);
        message_free(pod->resources);
        runtime_pod_free(pod->runtime);
        free_strings(pod->ips);
        closep(&pod->dir_fd);
        free(pod->name);
        free(pod->handler);
        free(pod->cgroup_parent);
        free(pod->cgroup_home);
        free(pod->cgroup_path);
        free(pod->boot_id);
        free(pod->conflist);
        free(pod->result);
        trace_done(&pod->trace);
        free(pod);
}

static void container_free(struct container *c)
{
        message_free(c->config);
        message_free(c->resources);
        container_spec_free(c->spec);
        closep(&c->exited_fd);
        free(c->user.groups);
        free(c->name);
        free(c->image_id);
        free(c->image_ref);
        free(c->image_name);
        free(c->image_config);
        free(c->cdi);
        free(c->cgroup_path);
        free(c->log_path);
        free(c->reason);
        free(c->message);
        sandbox_unref(c->pod);
        (void) pthread_mutex_destroy(&c->record_lock);
        (void) pthread_mutex_destroy(&c->pause_lock);
        free(c);
}

struct sandbox *sandbox_ref(struct sandbox *pod)
{
        (void) __atomic_add_fetch(&pod->references, 1, __ATOMIC_RELAXED);
        return pod;
}

void sandbox_unref(struct sandbox *pod)
{
        if (pod && __atomic_sub_fetch(&pod->references, 1, __ATOMIC_ACQ_REL) == 0)
                sandbox_free(pod);
}

struct container *container_ref(struct container *container)
{
        (void) __atomic_add_fetch(&container->references, 1, __ATOMIC_RELAXED);
        return container;
}

void container_unref(struct container *container)
{
        if (container && __atomic_sub_fetch(&container->references, 1, __ATOMIC_ACQ_REL) == 0)
                container_free(container);
}

struct error *table_add_pod(struct node *node, struct sandbox *pod)
{
        struct sandbox *other = NULL;
        struct error *e = NULL;
        (void) pthread_mutex_lock(&node->lock);
        HASH_FIND(by_name, node->pods_by_name, pod->name, strlen(pod->name), other);
        if (other) {
                e = error_new(ERROR_ALREADY_EXISTS, "pod %s exists already as %s", pod->name, other->id);
        } else {
                pod->node = node;
                HASH_ADD_KEYPTR(by_id, node->pods, pod->id, ID_LEN, pod);
                HASH_ADD_KEYPTR(by_name, node->pods_by_name, pod->name, strlen(pod->name), pod);
                (void) sandbox_ref(pod);
        }
        (void) pthread_mutex_unlock(&node->lock);
        return e;
}

void table_remove_pod(struct node *node, struct sandbox *pod)
{
        struct sandbox *found = NULL;
        (void) pthread_mutex_lock(&node->lock);
        HASH_FIND(by_id, node->pods, pod->id, ID_LEN, found);
        if (found && found == pod) {
                HASH_DELETE(by_id, node->pods, pod);
                if (!pod->name_released)
                        HASH_DELETE(by_name, node->pods_by_name, pod);
                (void) pthread_cond_broadcast(&node->changed);
        }
        (void) pthread_mutex_unlock(&node->lock);
        if (found == pod)
                sandbox_unref(pod);
}

void table_release_pod_name(struct node *node, struct sandbox *pod)
{
        struct sandbox *found = NULL;
        (void) pthread_mutex_lock(&node->lock);
        HASH_FIND(by_id, node->pods, pod->id, ID_LEN, found);
        if (found && found == pod && !pod->name_released) {
                HASH_DELETE(by_name, node->pods_by_name, pod);
                pod->name_released = true;
        }
        (void) pthread_mutex_unlock(&node->lock);
}

struct error *table_add_container(struct node *node, struct container *c)
{
        struct container *other = NULL;
        struct error *e = NULL;
        (void) pthread_mutex_lock(&node->lock);
        HASH_FIND(by_name, node->containers_by_name, c->name, strlen(c->name), other);
        if (other) {
                e = error_new(ERROR_ALREADY_EXISTS, "container %s exists already as %s",
                              c->config->metadata->name, other->id);
        } else {
                HASH_ADD_KEYPTR(by_id, node->containers, c->id, ID_LEN, c);
                HASH_ADD_KEYPTR(by_name, node->containers_by_name, c->name, strlen(c->name), c);
                c->next = c->pod->containers;
                if (c->next)
                        c->next->prev = c;
                c->pod->containers = c;
                (void) container_ref(c);
        }
        (void) pthread_mutex_unlock(&node->lock);
        return e;
}

void table_remove_container(struct node *node, struct container *c)
{
        struct container *found = NULL;
        (void) pthread_mutex_lock(&node->lock);
        HASH_FIND(by_id, node->containers, c->id, ID_LEN, found);
        if (found && found == c) {
                HASH_DELETE(by_id, node->containers, c);
                HASH_DELETE(by_name, node->containers_by_name, c);
                if (c->prev)
                        c->prev->next = c->next;
                else
                        c->pod->containers = c->next;
                if (c->next)
                        c->next->prev = c->prev;
                c->prev = c->next = NULL;
                (void) pthread_cond_broadcast(&node->changed);
        }
        (void) pthread_mutex_unlock(&node->lock);
        if (found == c)
                container_unref(c);
}

/* Whether id is the start of full. */
static bool starts(const char *full, const char *id)
{
        return *id && strncmp(full, id, strlen(id)) == 0;
}

struct sandbox *table_find_pod(struct node *node, const char *id)
{
        struct sandbox *pod = NULL, *at = NULL, *next = NULL;
        size_t n = 0;
        (void) pthread_mutex_lock(&node->lock);
        HASH_FIND(by_id, node->pods, id, strlen(id), pod);
        if (!pod) {
                HASH_ITER(by_id, node->pods, at, next)
                {
                        if (starts(at->id, id)) {
                                pod = at;
                                n++;
                        }
                }
                if (n != 1)
                        pod = NULL;
        }
        if (pod)
                (void) sandbox_ref(pod);
        (void) pthread_mutex_unlock(&node->lock);
        return pod;
}

struct sandbox *table_find_pod_by_name(struct node *node, const char *name)
{
        struct sandbox *pod = NULL;
        (void) pthread_mutex_lock(&node->lock);
        HASH_FIND(by_name, node->pods_by_name, name, strlen(name), pod);
        if (pod)
                (void) sandbox_ref(pod);
        (void) pthread_mutex_unlock(&node->lock);
        return pod;
}

struct container *table_find_container(struct node *node, const char *id)
{
        struct container *c = NULL, *at = NULL, *next = NULL;
        size_t n = 0;
        (void) pthread_mutex_lock(&node->lock);
        HASH_FIND(by_id, node->containers, id, strlen(id), c);
        if (!c) {
                HASH_ITER(by_id, node->containers, at, next)
                {
                        if (starts(at->id, id)) {
                                c = at;
                                n++;
                        }
                }
                if (n != 1)
                        c = NULL;
        }
        if (c)
                (void) container_ref(c);
        (void) pthread_mutex_unlock(&node->lock);
        return c;
}

struct container *table_find_container_by_name(struct node *node, const char *name)
{
        struct container *c = NULL;
        (void) pthread_mutex_lock(&node->lock);
        HASH_FIND(by_name, node->containers_by_name, name, strlen(name), c);
        if (c)
                (void) container_ref(c);
        (void) pthread_mutex_unlock(&node->lock);
        return c;
}

struct container **table_containers_of(struct sandbox *pod)
{
        size_t n = 0, i = 0;
        (void) pthread_mutex_lock(&pod->node->lock);
        for (struct container *c = pod->containers; c; c = c->next)
                n++;
        struct container **list = NEW_ARRAY(struct container *, n + 1);
        for (struct container *c = pod->containers; c; c = c->next)
                list[i++] = container_ref(c);
        (void) pthread_mutex_unlock(&pod->node->lock);
        return list;
}

void container_list_free(struct container **list)
{
        for (struct container **c = list; c && *c; c++)
                container_unref(*c);
        free(list);
}
