/* pod_files.h - a pod's own files in STATE/pods/ID, mounted into its containers: resolv.conf and hostname; and the checks
 * of what they are made from. Private to pods/. */
#pragma once
#include "pods/state.h"

#define HOSTNAME_SIZE 65 /* with its NUL; the kernel's, uname(2) */

/* Errors: INVALID_ARGUMENT naming the field: a newline in a DNS entry or hostname, a hostname over 64 bytes. */
MUST_CHECK struct error *pod_files_check(const Cri__PodSandboxConfig *config);

/* Writes them into pod->dir_fd, owned by the root of the pod's users. Idempotent. */
MUST_CHECK struct error *pod_files_write(struct sandbox *pod);

/* The name that the pod's processes see: its own, or the node's where it has none or is on the host's network. */
void pod_hostname(const struct sandbox *pod, char out[HOSTNAME_SIZE]);
