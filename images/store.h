/* store.h - what a struct images is made of, for the files of this folder. */
#pragma once
#include "images/catalog.h"
#include "images/images.h"
#include "images/layers.h"
#include "images/puller.h"
#include "images/trash.h"
#include <pthread.h>
#include <stdatomic.h>
/* uthash's macros convert signs */
#pragma GCC diagnostic ignored "-Wsign-conversion"
#include <uthash.h>

struct rootfs_table;

struct images {
        int root_fd;
        char *pull_path, *unpack_path; /* the programs */
        pthread_mutex_t settings_lock; /* registry_dirs */
        char *registry_dirs;
        struct puller_config puller;
        struct trash *trash;
        struct layers *layers;
        struct catalog *catalog;
        struct rootfs_table *rootfs;
        bool maps_when_mounting;  /* set by images_map_check, once: struct rootfs_map */
        atomic_bool is_open;      /* the background thread may use all of the above */
        atomic_int spare_workers; /* for pulls (install.c) */
        struct flights *pulls;    /* under way (pull.c) */
};

/* rootfs.c: the table of what is in ROOT/rootfs. Opening it pins the layers of each; what is no whole rootfs goes to the
 * trash. */
MUST_CHECK struct error *rootfs_table_open(struct images *images, struct rootfs_table **out);
void rootfs_table_free(struct images *images, struct rootfs_table *table);
void rootfs_table_usage(struct rootfs_table *table, uint64_t *bytes, uint64_t *inodes); /* as last sampled */
/* Walks those of which nothing is known or nobody asked for long; for the background thread. */
void rootfs_table_sample(struct rootfs_table *table);

/* A container's rootfs and what it holds, for rootfs.c and rootfs_held.c. */
struct rootfs {
        char *id; /* the key */
        struct layer **layers;
        size_t n;
        struct held { /* an image volume: its layers */
                char *image_id;
                struct layer **layers;
                size_t n;
                struct held *next;
        } * held;
        char *context;          /* SELinux's, of what is written to; NULL: none */
        struct rootfs_map *map; /* while it is being mounted with other ids; NULL */
        uint32_t project;       /* of its bound (quota.h); 0: it has none */
        bool is_broken;         /* a layer is not there: it can only be removed */
        uint64_t bytes, inodes; /* as last sampled; these are locked */
        int64_t sampled_ns;     /* when that ended, monotonic; 0: never */
        bool is_walked;         /* right now: walk_ended tells the end */
        UT_hash_handle hh;
};
struct rootfs_table {
        int home_fds[16];    /* ROOT/rootfs/0 to f: by the first digit of the id, rootfs_home */
        int mount_points_fd; /* ROOT/mount-points */
        struct rootfs *table;
        pthread_mutex_t lock;
        pthread_cond_t walk_ended;
};
/* Makes a work directory of an overlay that was mounted volatile fit for another mount. */
MUST_CHECK struct error *rootfs_forget_volatile(int work_fd);

/* --- rootfs_layers.c --- */

#define ROOTFS_DIGITS "0123456789abcdef"

/* The directory in which that of a container is. Borrowed. */
int rootfs_home(const struct rootfs_table *table, const char *id);
struct rootfs *rootfs_find(struct rootfs_table *table, const char *id); /* with the lock held; NULL: none */
/* Of equal layers the topmost counts: all that a lower one shows, it shows. overlayfs refuses one twice. */
void layers_drop_repeated(struct images *images, struct layer **layers, size_t *n);
/* The directories of layers, top first as overlayfs wants them, down to one that hides all below. fds has room for n. With
 * a map (or NULL) they have its ids. After a failure too lowers_done lets them go. */
MUST_CHECK struct error *layers_lowers(struct images *images, const struct rootfs_map *map,
                                       struct layer *const *layers, size_t n, int *fds, size_t *n_fds);
void lowers_done(const struct rootfs_map *map, int *fds, size_t n_fds);
/* mount_overlay, with a map's ids on the lowers, which were opened by it, if there is a map. */
MUST_CHECK struct error *layers_overlay(const struct rootfs_map *map, const int *lowers, size_t n,
                                        int upper_fd, int work_fd, bool is_volatile, const char *context,
                                        int *out_fd);
/* A read-only, detached mount of layers, base first. */
MUST_CHECK struct error *layers_view(struct images *images, const struct rootfs_map *map,
                                     struct layer *const *layers, size_t n, int *out_fd);

/* --- rootfs_map.c --- */

/* One mount of ROOT with a user namespace's ids: what is opened below it has them, and so all layers are mapped at once. Where
 * overlayfs refuses what is detached, before kernel 6.15, it is ROOT itself, and the ids come when an overlay is mounted. */
struct rootfs_map {
        int root_fd, layers_fd, mount_points_fd;
        int userns_fd;  /* -1: what is opened has the ids already */
        uint32_t owner; /* the host's id of that namespace's root */
};

/* --- rootfs_held.c --- */

/* Reads ROOT/rootfs/D/ID/held at the start; what cannot be pinned any more is left out. */
void held_load(struct images *images, struct rootfs_table *table, struct rootfs *rootfs);
void held_free(struct images *images, struct rootfs *rootfs);
