/* spec.h - CRI's container config + the image's config -> container_spec: every rule that CRI states about merging.
 *
 * What is asked and cannot be done is refused here with a sentence (UNIMPLEMENTED, INVALID_ARGUMENT), never ignored.
 * Parts of it are in apparmor.c, spec_process.c (argv, environment, user, capabilities, seccomp), spec_mounts.c, spec_limits.c
 * (cgroup, devices) and spec_cdi.c. Threads: any. */
#pragma once
#include "images/images.h"
#include "pods/state.h"
#include "runtime/seccomp.h"
#include "runtime/users.h"

/* Checks of a pod's config that need no container. Errors name the field. */
MUST_CHECK struct error *spec_check_pod(const struct node *node, const Cri__PodSandboxConfig *config);

/* Makes c->spec and c->user where they are not there yet; once there a spec never changes. Any thread. */
MUST_CHECK struct error *spec_ensure(struct node *node, struct container *c);

/* The process of an exec in c, whose spec is built: the same but for its command, and, with a terminal, a TERM where there is
 * none. Owned by the caller. */
void spec_exec(const struct container *c, char *const *argv, size_t n_args, bool tty,
               struct process_spec *out);

/* --- the parts --- */

/* CRI's message members that may be absent, never NULL here: an empty message stands for an absent one. */
const Cri__LinuxContainerSecurityContext *spec_security_of(const Cri__ContainerConfig *config);
const Cri__LinuxContainerResources *spec_resources_of(const struct container *c);

struct spec_source {
        struct node *node;
        struct container *container;
        const struct image_config *image;
        const Cri__ContainerConfig *config;
        const Cri__LinuxContainerSecurityContext *security;
        struct container_spec *spec; /* being built */
};
MUST_CHECK struct error *spec_add_process(struct spec_source *s);
MUST_CHECK struct error *spec_add_security(struct spec_source *s);
/* apparmor.c */
MUST_CHECK struct error *spec_add_apparmor(struct spec_source *s);
MUST_CHECK struct error *spec_check_pod_apparmor(const struct node *node,
                                                 const Cri__LinuxSandboxSecurityContext *security);
/* selinux.c: before the mounts, whose relabelling it does */
MUST_CHECK struct error *spec_add_selinux(struct spec_source *s);
MUST_CHECK struct error *spec_add_mounts(struct spec_source *s);
MUST_CHECK struct error *spec_add_devices(struct spec_source *s);

/* What the container's CDI devices change, after all else: their part in spec_cdi.c. Of the rest they use these: further
 * groups of the process, without root's; a device in place of one of that path, whose rule is added where `rule` says what may
 * be done; a mount in place of one with that target, zeroed but for the three; and the order of all mounts. */
MUST_CHECK struct error *spec_add_cdi(struct spec_source *s);
void spec_add_extra_groups(struct spec_source *s, const uint32_t *gids, size_t n);
void spec_replace_device(struct container_spec *spec, const struct container_device *device,
                         const char *permissions);
struct container_mount *spec_replace_mount(struct container_spec *spec, enum mount_kind kind,
                                           const char *target);
void spec_sort_mounts(struct container_spec *spec);

/* CRI's resources to a cgroup's limits; strings in out are borrowed from resources. arrays are owned by the caller
 * (cgroup_limits_done). */
MUST_CHECK struct error *spec_limits(const Cri__LinuxContainerResources *resources,
                                     struct cgroup_limits *out);
/* That a container can start with them. Errors: INVALID_ARGUMENT. */
MUST_CHECK struct error *spec_check_least(const Cri__LinuxContainerResources *resources);
/* That no class of RDT or blockio is asked for by an annotation. Errors: INVALID_ARGUMENT naming it. */
MUST_CHECK struct error *spec_check_classes(const struct spec_source *s);
void spec_limits_done(struct cgroup_limits *limits);

/* That something may be mounted at a path in a container: not at its root, and what is below /proc must stay procfs, or the masks
 * there mean nothing (CVE-2019-19921); but the host's own /proc (host_path, or NULL) may stand at /proc. Errors:
 * INVALID_ARGUMENT. */
MUST_CHECK struct error *spec_check_target(const char *container_path, const char *host_path);

/* The path's plain form: no doubled or trailing slash, no "." and "..", so that two names of one place compare equal and
 * "/x/../proc" is "/proc". Owned by the caller. */
char *spec_path_clean(const char *path);
