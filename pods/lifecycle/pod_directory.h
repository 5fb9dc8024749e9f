/* pod_directory.h - STATE/pods/ID: a pod's socket, exits and files. Private to pods/. Threads: any. */
#pragma once
#include "pods/state.h"

/* Opens it where it exists. *out_fd, the caller's, is -1 when it does not. */
MUST_CHECK struct error *pod_directory_open(const struct sandbox *pod, int *out_fd);
/* Makes it and opens pod->dir_fd; it may exist already. With the pod's operation held. */
MUST_CHECK struct error *pod_directory_make(struct sandbox *pod);
/* Closes pod->dir_fd and removes it with all that is in it; likewise. */
MUST_CHECK struct error *pod_directory_remove(struct sandbox *pod);
