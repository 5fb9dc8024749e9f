/* store.h - what a struct images is made of, for the files of this folder. */
#pragma once
#include "images/catalog.h"
#include "images/images.h"
#include "images/layers.h"
#include "images/puller.h"
#include "images/trash.h"
#include <stdatomic.h>

struct rootfs_table;

struct images {
        int root_fd;
        char *pull_path, *unpack_path; /* the programs */
        char *registry_dirs;
        struct puller_config puller;
        struct trash *trash;
        struct layers *layers;
        struct catalog *catalog;
        struct rootfs_table *rootfs;
        atomic_bool is_open; /* the background thread may use all of the above */
};

/* rootfs.c: the table of what is in ROOT/rootfs. Opening it pins the layers of each; what is no whole rootfs goes to the
 * trash. */
MUST_CHECK struct error *rootfs_table_open(struct images *images, struct rootfs_table **out);
void rootfs_table_free(struct images *images, struct rootfs_table *table);
void rootfs_table_usage(struct rootfs_table *table, uint64_t *bytes, uint64_t *inodes); /* as last sampled */
void rootfs_table_sample(struct rootfs_table *table); /* walks them all; for the background thread */
