/* edits.h - what a CDI device changes in a container, as its file says it. Private to pods/.
 *
 * CDI: the Container Device Interface. A vendor writes into a file what a container needs to use a device: nodes, mounts of
 * driver libraries, variables, hooks. Everything here is owned by the struct that holds it. Threads: none of its own.
 * Source: the specification, and specs-go/config.go of container-device-interface 1.1.0. */
#pragma once
#include "base/buf.h"
#include "base/error.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct cdi_number {
        int64_t value;
        bool is_set;
};

struct cdi_device_node {
        char *path, *host_path; /* host_path NULL: the same */
        char *type, *permissions;
        struct cdi_number major, minor, mode, uid, gid;
};

struct cdi_mount {
        char *host_path, *container_path, *type;
        char **options; /* NULL-terminated, or NULL, as all lists of text here */
};

struct cdi_hook {
        char *name; /* of the stage: "createContainer" */
        char *path;
        char **args, **env;
        struct cdi_number timeout; /* seconds */
};

struct cdi_net_device {
        char *host_name, *name; /* of the interface: the host's, and in the container */
};

/* Resctrl classes: read, so that files with them can be used, and never applied. */
struct cdi_rdt {
        char *clos_id, *l3_schema, *bandwidth_schema;
        char **schemata;
        struct cdi_number monitoring;
        bool is_set;
};

struct cdi_edits {
        char **env;
        struct cdi_device_node *nodes;
        size_t n_nodes;
        struct cdi_mount *mounts;
        size_t n_mounts;
        struct cdi_hook *hooks;
        size_t n_hooks;
        struct cdi_net_device *net_devices;
        size_t n_net_devices;
        struct cdi_rdt rdt;
        uint32_t *gids;
        size_t n_gids;
};

void cdi_edits_done(struct cdi_edits *edits); /* frees what it holds; nothing is asked for then */

/* Whether nothing is asked for. */
bool cdi_edits_are_empty(const struct cdi_edits *edits);

/* Appends copies of all that `more` has. */
void cdi_edits_append(struct cdi_edits *edits, const struct cdi_edits *more);

/* As JSON, by the names of a CDI file's containerEdits (document.h has the reader), without net devices and resctrl classes,
 * which no container gets. Errors: RESOURCE_EXHAUSTED past out's limit. */
MUST_CHECK struct error *cdi_edits_put(const struct cdi_edits *edits, struct buf *out);
