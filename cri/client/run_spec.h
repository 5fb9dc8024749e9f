/* run_spec.h - `skiff run`'s arguments as the CRI messages that they ask for.
 *
 * The messages borrow from the spec and from argv. Threads: one. */
#pragma once
#include "api/cri.pb-c.h"
#include "base/error.h"
#include "cri/client/detach_keys.h"
#include <stdbool.h>

#define RUN_ENTRIES_MAX 64
#define RUN_LABELS 4

struct run_spec {
        bool detach, remove; /* -d, --rm */
        struct detach_keys detach_keys;
        const char *image; /* as given */

        char *name, *uid, *log_directory;
        Cri__PodSandboxMetadata pod_metadata;
        Cri__LinuxPodSandboxConfig pod_linux;
        Cri__LinuxSandboxSecurityContext pod_security;
        Cri__NamespaceOption namespaces;
        Cri__UserNamespace userns; /* with --userns, of all of it */
        Cri__IDMapping users, *users_list[1];
        Cri__PodSandboxConfig__AnnotationsEntry annotation, *annotations[1];
        Cri__PodSandboxConfig__LabelsEntry pod_labels[RUN_LABELS], *pod_label_list[RUN_LABELS];
        Cri__PortMapping ports[RUN_ENTRIES_MAX], *port_list[RUN_ENTRIES_MAX];
        Cri__PodSandboxConfig pod;

        Cri__ContainerMetadata metadata;
        Cri__ImageSpec image_spec;
        Cri__LinuxContainerConfig linux;
        Cri__LinuxContainerResources resources;
        Cri__LinuxContainerSecurityContext security;
        Cri__SecurityProfile seccomp;
        Cri__Int64Value run_as_user, run_as_group;
        Cri__ContainerConfig__LabelsEntry labels[RUN_LABELS], *label_list[RUN_LABELS];
        Cri__KeyValue envs[RUN_ENTRIES_MAX], *env_list[RUN_ENTRIES_MAX];
        Cri__Mount mounts[RUN_ENTRIES_MAX], *mount_list[RUN_ENTRIES_MAX];
        Cri__ContainerConfig container;

        char *owned[4 * RUN_ENTRIES_MAX]; /* strings that the messages point to */
        size_t n_owned;
};

/* Fills *spec, which must not move afterwards. Errors: INVALID_ARGUMENT "usage: ...". */
MUST_CHECK struct error *run_spec_parse(int argc, char **argv, struct run_spec *spec);
void run_spec_done(struct run_spec *spec);
