#include "pods/spec/userns.h"

#define FIELD "config.linux.security_context.namespace_options.userns_options"
#define LENGTH_LEAST 65536U /* images and people count on nobody, 65534 */

/* One mapping, of ids from 0 on. name is the field's, for the message. */
static struct error *range_of(const char *name, Cri__IDMapping *const *mappings, size_t n,
                              struct userns_range *out)
{
        if (n != 1)
                return error_new(ERROR_INVALID_ARGUMENT,
                                 "%s: a user namespace wants exactly one mapping, and there are %zu", name,
                                 n);
        const Cri__IDMapping *m = mappings[0];
        if (m->container_id != 0)
                return error_new(ERROR_INVALID_ARGUMENT, "%s: container_id is %u, and only 0 is possible",
                                 name, m->container_id);
        if (m->host_id == 0)
                return error_new(ERROR_INVALID_ARGUMENT, "%s: host_id 0 would make its root that of the host",
                                 name);
        if (m->length < LENGTH_LEAST)
                return error_new(ERROR_INVALID_ARGUMENT, "%s: a length of %u is less than %u", name,
                                 m->length, LENGTH_LEAST);
        if (m->length > UINT32_MAX - m->host_id) /* the last id there is means none */
                return error_new(ERROR_INVALID_ARGUMENT, "%s: %u ids from %u on are more than there are",
                                 name, m->length, m->host_id);
        *out = (struct userns_range){ .base = m->host_id, .length = m->length };
        return NULL;
}

static bool is_same(const struct userns_range *a, const struct userns_range *b)
{
        return a->base == b->base && a->length == b->length;
}

static struct error *range_of_both(const char *uids_name, const char *gids_name, Cri__IDMapping *const *uids,
                                   size_t n_uids, Cri__IDMapping *const *gids, size_t n_gids,
                                   struct userns_range *out)
{
        struct userns_range users, groups;
        TRY(range_of(uids_name, uids, n_uids, &users));
        TRY(range_of(gids_name, gids, n_gids, &groups));
        if (!is_same(&users, &groups))
                return error_new(ERROR_INVALID_ARGUMENT, "%s and %s must be the same", uids_name, gids_name);
        *out = users;
        return NULL;
}

static struct error *range_of_options(const Cri__UserNamespace *options, struct userns_range *out)
{
        *out = (struct userns_range){ .length = 0 };
        if (options && options->mode == CRI__NAMESPACE_MODE__NODE && (options->n_uids || options->n_gids))
                return error_new(ERROR_INVALID_ARGUMENT, FIELD ": mode NODE with mappings");
        if (!options || options->mode == CRI__NAMESPACE_MODE__NODE)
                return NULL;
        if (options->mode != CRI__NAMESPACE_MODE__POD)
                return error_new(ERROR_INVALID_ARGUMENT, FIELD ".mode: %d is none of POD and NODE",
                                 (int) options->mode);
        return range_of_both(FIELD ".uids", FIELD ".gids", options->uids, options->n_uids, options->gids,
                             options->n_gids, out);
}

struct error *userns_of_pod(const Cri__PodSandboxConfig *config, struct userns_range *out)
{
        const Cri__LinuxSandboxSecurityContext *security =
                config->linux ? config->linux->security_context : NULL;
        const Cri__NamespaceOption *options = security ? security->namespace_options : NULL;
        *out = (struct userns_range){ .length = 0 };
        if (!options)
                return NULL;
        TRY(range_of_options(options->userns_options, out));
        if (!out->length)
                return NULL;
        const char *of_host = options->network == CRI__NAMESPACE_MODE__NODE ? "network"
                              : options->ipc == CRI__NAMESPACE_MODE__NODE   ? "ipc"
                              : options->pid == CRI__NAMESPACE_MODE__NODE   ? "pid"
                                                                            : NULL;
        if (!of_host)
                return NULL;
        *out = (struct userns_range){ .length = 0 };
        return error_new(ERROR_UNIMPLEMENTED,
                         FIELD ": a pod with a user namespace cannot have the host's %s namespace", of_host);
}

struct error *userns_check_container(const Cri__NamespaceOption *options, const struct userns_range *of_pod)
{
        struct userns_range range;
        if (!options || !options->userns_options) /* clients that know nothing of it */
                return NULL;
        TRY(range_of_options(options->userns_options, &range));
        if (is_same(&range, of_pod))
                return NULL;
        return error_new(ERROR_INVALID_ARGUMENT,
                         FIELD ": the container's user namespace is not that of its pod");
}

struct error *userns_check_mount(const Cri__Mount *mount, size_t index, const struct userns_range *of_pod)
{
        char uids_name[64], gids_name[64];
        struct userns_range range;
        if (of_pod->length && mount->propagation == CRI__MOUNT_PROPAGATION__PROPAGATION_BIDIRECTIONAL)
                return error_new(
                        ERROR_INVALID_ARGUMENT,
                        "config.mounts[%zu].propagation: what a pod with a user namespace mounts cannot be "
                        "on the host",
                        index);
        if (!mount->n_uidmappings && !mount->n_gidmappings)
                return NULL;
        (void) snprintf(uids_name, sizeof(uids_name), "config.mounts[%zu].uidMappings", index);
        (void) snprintf(gids_name, sizeof(gids_name), "config.mounts[%zu].gidMappings", index);
        TRY(range_of_both(uids_name, gids_name, mount->uidmappings, mount->n_uidmappings, mount->gidmappings,
                          mount->n_gidmappings, &range));
        if (is_same(&range, of_pod))
                return NULL;
        return error_new(ERROR_INVALID_ARGUMENT, "%s: not those of the pod's user namespace", uids_name);
}
