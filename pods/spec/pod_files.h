/* pod_files.h - a pod's own files in STATE/pods/ID, mounted into its containers: resolv.conf and hostname; and the checks
 * of what they and the pod's sysctls are made from. Private to pods/. */
#pragma once
#include "pods/state.h"

/* Errors: INVALID_ARGUMENT naming the field: a newline in a DNS entry or hostname, a hostname over 64 bytes, a sysctl that
 * is not of the pod's own namespaces. */
MUST_CHECK struct error *pod_files_check(const Cri__PodSandboxConfig *config);

/* Writes them into pod->dir_fd. Idempotent. */
MUST_CHECK struct error *pod_files_write(struct sandbox *pod);
