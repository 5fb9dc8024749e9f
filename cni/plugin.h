/* plugin.h - runs one CNI plugin: environment, stdin, stdout, deadline, its error as ours.
 *
 * Threads: any, at once. Source: CNI SPEC.md 1.0.0 sections 2 and 5. */
#pragma once
#include "base/buf.h"
#include "base/error.h"
#include "base/wait.h"
#include "cni/cni.h"

struct plugin_run {
        const char *bin_dirs; /* colon-separated */
        int holder_fd;        /* inherited as descriptor 3; -1: none */
        const char *type;     /* the file's name in one of them */
        const char *command;  /* "ADD", "DEL", "CHECK" */
        const char *args;     /* CNI_ARGS */
        const struct cni_attachment *attachment;
};

/* The plugin's path in the first directory that has it; *out is the caller's. Errors: FAILED_PRECONDITION. */
MUST_CHECK struct error *plugin_find(const char *bin_dirs, const char *type, char **out);

#define PLUGIN_OUTPUT_MAX_BYTES ((size_t) 1 << 20)

/* Runs it with conf on stdin; what it prints goes to out. At the wait's end it is killed with its process group. Errors
 * name the plugin and carry its own message, or the end of its stderr where it has none. */
MUST_CHECK struct error *plugin_run(const struct plugin_run *run, const struct buf *conf,
                                    const struct wait *wait, struct buf *out);
