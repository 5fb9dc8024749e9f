#include "pods/spec/selinux.h"
#include "base/file.h"
#include "base/log.h"
#include "pods/spec/spec.h"
#include "runtime/selinux.h"
#include <inttypes.h>
#include <string.h>

#define PAIR_FILE "selinux"

static bool is_asked(const Cri__SELinuxOption *o)
{
        return o && (*o->user || *o->role || *o->type || *o->level);
}

/* Of a container first, then of its pod. */
static struct selinux_asked asked_of(const Cri__SELinuxOption *first, const Cri__SELinuxOption *then)
{
        static const Cri__SELinuxOption none = CRI__SELINUX_OPTION__INIT;
        const Cri__SELinuxOption *a = first ? first : &none, *b = then ? then : &none;
        return (struct selinux_asked){ .user = *a->user ? a->user : b->user,
                                       .role = *a->role ? a->role : b->role,
                                       .type = *a->type ? a->type : b->type,
                                       .level = *a->level ? a->level : b->level };
}

static const Cri__LinuxSandboxSecurityContext *security_of(const struct sandbox *pod)
{
        return pod->config->linux ? pod->config->linux->security_context : NULL;
}

static const Cri__SELinuxOption *options_of(const struct sandbox *pod)
{
        const Cri__LinuxSandboxSecurityContext *security = security_of(pod);
        return security ? security->selinux_options : NULL;
}

/* Whether there are contexts at all; what is asked where the kernel has SELinux and its policy none for containers would be missed,
 * elsewhere a label means nothing: kubelet sends what the pod's author wrote for other nodes. */
static struct error *check(const struct selinux *selinux, bool asked, bool *labels)
{
        *labels = selinux && selinux_labels(selinux);
        if (*labels || !asked || !selinux || !selinux_is_on(selinux))
                return NULL;
        const struct selinux_asked none = { .user = NULL };
        struct selinux_contexts made = { NULL, NULL };
        TRY_WRAP(selinux_contexts(selinux, &none, 0, &made), "security_context.selinux_options");
        selinux_contexts_done(&made);
        return NULL;
}

struct error *selinux_check_pod(const struct node *node, const Cri__LinuxSandboxSecurityContext *security)
{
        bool labels = false;
        _cleanup_(selinux_contexts_done) struct selinux_contexts made = { NULL, NULL };
        TRY(check(node->config.selinux, is_asked(security->selinux_options), &labels));
        if (!labels || !is_asked(security->selinux_options))
                return NULL;
        const struct selinux_asked asked = asked_of(security->selinux_options, NULL);
        TRY_WRAP(selinux_contexts(node->config.selinux, &asked, 0, &made),
                 "security_context.selinux_options");
        return NULL;
}

/* --- pairs --- */

static bool is_taken(const struct sandbox *pod, uint32_t pair)
{
        for (const struct sandbox *other = pod->node->pods; other; other = other->by_id.next)
                if (other != pod && other->selinux_pair == pair)
                        return true;
        return false;
}

/* From where the id says, so that a pair is not soon another's. */
static uint32_t free_pair(const struct sandbox *pod)
{
        uint32_t start = (uint32_t) strtoul(
                (char[]){ pod->id[0], pod->id[1], pod->id[2], pod->id[3], pod->id[4], '\0' }, NULL, 16);
        for (uint32_t i = 0; i < SELINUX_PAIRS; i++) {
                uint32_t pair = 1 + (start + i) % SELINUX_PAIRS;
                if (!is_taken(pod, pair))
                        return pair;
        }
        return 0;
}

struct error *selinux_pair_take(struct sandbox *pod)
{
        char text[16];
        if (!pod->node->config.selinux || !selinux_labels(pod->node->config.selinux))
                return NULL;
        (void) pthread_mutex_lock(&pod->node->lock);
        if (!pod->selinux_pair)
                pod->selinux_pair = free_pair(pod);
        uint32_t pair = pod->selinux_pair;
        (void) pthread_mutex_unlock(&pod->node->lock);
        int n = snprintf(text, sizeof(text), "%" PRIu32, pair);
        return file_replace(pod->dir_fd, PAIR_FILE, text, (size_t) n, 0600, false);
}

void selinux_pair_restore(struct sandbox *pod)
{
        _cleanup_(freep) char *path = format_string("%s/pods/%s/" PAIR_FILE, pod->node->state, pod->id);
        _cleanup_(freep) char *text = NULL;
        struct error *e = pod->node->config.selinux && selinux_labels(pod->node->config.selinux)
                                  ? file_read(AT_FDCWD, path, 16, &text, NULL)
                                  : NULL;
        unsigned long pair = text ? strtoul(text, NULL, 10) : 0;
        error_ignore(e); /* of a pod from before there were any, or one that is gone */
        pod->selinux_pair = pair <= SELINUX_PAIRS ? (uint32_t) pair : 0;
}

/* --- what they become --- */

struct error *selinux_file_context(const struct sandbox *pod, char **out)
{
        _cleanup_(selinux_contexts_done) struct selinux_contexts made = { NULL, NULL };
        const struct selinux *selinux = pod->node->config.selinux;
        const struct selinux_asked asked = asked_of(options_of(pod), NULL);
        *out = NULL;
        if (!selinux || !selinux_labels(selinux))
                return NULL;
        TRY(selinux_contexts(selinux, &asked, pod->selinux_pair, &made));
        *out = TAKE(made.file);
        return NULL;
}

/* What a client wants of a volume's labels is done once, when the container is made. */
static struct error *relabel(const struct spec_source *s, const char *context)
{
        for (size_t i = 0; i < s->config->n_mounts; i++) {
                const Cri__Mount *mount = s->config->mounts[i];
                if (mount->selinux_relabel && *mount->host_path == '/')
                        TRY_WRAP(selinux_relabel(mount->host_path, context),
                                 "config.mounts[%zu].selinux_relabel", i);
        }
        return NULL;
}

/* A privileged container has what skiff-pod has, as with other runtimes, unless it asks. */
struct error *spec_add_selinux(struct spec_source *s)
{
        const struct sandbox *pod = s->container->pod;
        const struct selinux *selinux = s->node->config.selinux;
        const bool asked = is_asked(s->security->selinux_options);
        bool labels = false;
        struct selinux_contexts made = { NULL, NULL };
        TRY(check(selinux, asked, &labels));
        if (!labels)
                return NULL;
        const struct selinux_asked wanted = asked_of(s->security->selinux_options, options_of(pod));
        TRY_WRAP(selinux_contexts(selinux, &wanted, pod->selinux_pair, &made),
                 "security_context.selinux_options");
        s->spec->mount_context = made.file;
        if (s->security->privileged && !asked)
                free(made.process);
        else
                s->spec->process.selinux = made.process;
        s->spec->process.selinux_is_asked = asked;
        if (!pod->host_ipc)
                TRY(selinux_file_context(pod, &s->spec->shm_context));
        return s->container->state == CONTAINER_MAKING ? relabel(s, s->spec->mount_context) : NULL;
}
