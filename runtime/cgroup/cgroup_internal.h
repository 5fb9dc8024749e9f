/* cgroup_internal.h - what the two drivers share. A driver gets the path without its leading slash, checked. */
#pragma once
#include "base/id.h"
#include "runtime/cgroup/cgroup.h"
#include <pthread.h>

#define HIERARCHIES_MAX CGROUP_ENTRY_MAX

struct hierarchy {
        char *mount;        /* "/sys/fs/cgroup/cpu" */
        char *controllers;  /* "cpu,cpuacct", "name=systemd"; "" on v2 */
        int fd;             /* of the mount */
        bool has_sandboxes; /* CGROUP_SANDBOX gets a directory here */
};

struct cgroups {
        char *mount_root, *notes_path;
        const struct cgroup_driver *driver;
        /* v1: one each, the one that holds trees (the freezer) first. v2: one. */
        struct hierarchy hierarchies[HIERARCHIES_MAX];
        size_t n;
        pthread_mutex_t lock; /* parents are made and removed, and notes written, under it */
        char **notes;         /* paths of the parents that we made */
        size_t n_notes;
        bool by_systemd;
        struct systemd *systemd;  /* NULL before it is first needed */
        const char **slices_used; /* paths of slices in which a scope is being made */
        size_t n_slices_used;
};

/* Files to write, in this order. */
struct settings {
        struct setting {
                const struct hierarchy *h;
                char *file, *value, *before; /* before: as it was read; NULL until then */
        } * list;
        size_t n;
};

struct cgroup_driver {
        bool is_v2;
        void (*announce)(struct cgroups *c, const char *path); /* before a level is made; may be NULL */
        struct error *(*prepare)(struct cgroups *c,
                                 const char *path); /* after mkdir of path, a parent or the leaf */
        /* Adds what limits mean to *out, in an order that works; in_use: the cgroup has values and processes. Changes
         * nothing. */
        struct error *(*limits)(struct cgroups *c, const char *path, const struct cgroup_limits *limits,
                                bool in_use, struct settings *out);
        struct error *(*devices)(struct cgroups *c, const char *path, const struct device_rule *rules,
                                 size_t n, bool allow_all);
        struct error *(*entry)(struct cgroups *c, const char *path, enum cgroup_kind kind,
                               struct cgroup_entry *out);
        struct error *(*stats)(struct cgroups *c, const char *path, struct cgroup_stats *out);
        const char *oom_controller, *oom_file;
};
extern const struct cgroup_driver cgroup_v1_driver, cgroup_v2_driver;

/* --- settings.c --- */
void settings_done(struct settings *settings);
/* Copies file and value. h is borrowed and never NULL. */
void settings_add(struct settings *settings, const struct hierarchy *h, const char *file, const char *value);
void settings_add_number(struct settings *settings, const struct hierarchy *h, const char *file,
                         int64_t value);
/* Writes all of them; in_use: or none, by writing back what was there. Errors: INVALID_ARGUMENT for a value that the
 * kernel refuses or a file that is no setting, FAILED_PRECONDITION for one that it cannot take now; both name the file. */
MUST_CHECK struct error *settings_apply(struct settings *settings, const char *path, bool in_use);

/* --- hierarchies.c --- */
/* Adds the hierarchies of that version that are mounted below c->mount_root, the one that holds trees first. Errors:
 * INTERNAL. */
MUST_CHECK struct error *hierarchies_find(struct cgroups *c, bool v2);
/* The hierarchy that has a controller, or NULL. On v2 always the one. */
const struct hierarchy *hierarchy_of(const struct cgroups *c, const char *controller);

/* --- cgroup.c --- */
/* The path without its slash, when it is one of ours to use: absolute, no "." or "..", nothing empty. Errors:
 * INVALID_ARGUMENT. */
MUST_CHECK struct error *cgroup_path_check(const char *path, const char **out);

/* --- the notes of cgroup.c, with c->lock held --- */
size_t note_find(const struct cgroups *c, const char *path); /* SIZE_MAX: there is none */
MUST_CHECK struct error *note_add(struct cgroups *c, const char *path);
MUST_CHECK struct error *note_drop(struct cgroups *c, size_t i);
/* Removes one level, in one hierarchy, as cgroup_remove does. */
MUST_CHECK struct error *level_remove(const struct hierarchy *h, const char *path, const struct wait *wait);

/* --- parent.c: paths without their leading slash --- */
/* "a.slice/a-b.slice" for a valid "a-b.slice"; "" for the root. The caller's. */
char *slice_path(const char *name);
/* Whether it is the name of a pod's scope; its id. */
bool scope_is_ours(const char *name, char id[ID_LEN + 1]);
struct scope_names {
        char *unit, *path, *slices; /* "skiff-ID.scope"; its path; that of the slice which holds it */
        bool is_leaf;               /* the CGROUP_SANDBOX, no container */
};
/* Whether a cgroup is one of those in a pod's scope; out may be NULL. */
bool scope_of(const char *path, struct scope_names *out);
void scope_names_done(struct scope_names *names);

/* --- systemd.c --- */
/* Ends the scope of a CGROUP_SANDBOX, and then slices. */
MUST_CHECK struct error *scope_remove(struct cgroups *c, const struct scope_names *names,
                                      const struct wait *wait);
/* Stops the slices on that path that we made and that are empty, the innermost first. */
MUST_CHECK struct error *slices_stop(struct cgroups *c, const char *slices, const struct wait *wait);

/* --- files.c --- */
/* file "": the directory itself. flags as openat's. */
MUST_CHECK struct error *cgroup_open(const struct hierarchy *h, const char *path, const char *file, int flags,
                                     int *out_fd);

/* Files of a cgroup. put: INTERNAL "PATH/FILE: ...". read: the text (at most a page) into text. number: "max" and what is
 * not a number are UINT64_MAX. */
MUST_CHECK struct error *cgroup_put(const struct hierarchy *h, const char *path, const char *file,
                                    const char *text);
MUST_CHECK struct error *cgroup_put_number(const struct hierarchy *h, const char *path, const char *file,
                                           int64_t value);
MUST_CHECK struct error *cgroup_read(const struct hierarchy *h, const char *path, const char *file,
                                     char *text, size_t size_bytes);
MUST_CHECK struct error *cgroup_number(const struct hierarchy *h, const char *path, const char *file,
                                       uint64_t *out);

/* Whether the cgroup has such a file: what a kernel or its configuration does not have, it has not. */
bool cgroup_has_file(const struct hierarchy *h, const char *path, const char *file);

/* The number behind "key " in "key 1\nother 2\n"; 0 when it is not there. */
uint64_t cgroup_keyed(const char *text, const char *key);

/* --- stats.c --- */
/* A number that may be "max", or one so large that it means that on v1: CGROUP_NO_LIMIT. */
MUST_CHECK struct error *cgroup_limit_read(const struct hierarchy *h, const char *path, const char *file,
                                           uint64_t *out);
/* A *.pressure file's text. What is no such text leaves has false. */
void cgroup_pressure_parse(const char *text, struct cgroup_pressure *out);

/* --- metrics.c --- */
/* The path without its slash of a cgroup that is there. Errors: as cgroup_stats; INVALID_ARGUMENT. */
MUST_CHECK struct error *cgroup_find(const struct cgroups *c, const char *path, const char **out);
/* The number behind "key " as cgroup_keyed finds it; CGROUP_UNKNOWN when it is not there. */
uint64_t cgroup_figure(const char *text, const char *key);
/* v1 blkio.throttle.io_service_bytes_recursive (bytes) and io_serviced_recursive (operations): "8:0 Read 4096". */
void cgroup_io_v1_parse(const char *text, bool bytes, struct cgroup_metrics *out);
/* v2 io.stat: "8:0 rbytes=4096 wbytes=0 rios=1 wios=0 dbytes=0 dios=0". */
void cgroup_io_v2_parse(const char *text, struct cgroup_metrics *out);
/* memory.stat of either version into the figures that come from it; usage_bytes must be set. */
void cgroup_memory_stat_parse(const char *text, bool v2, struct cgroup_metrics *out);

/* --- convert.c: CRI's numbers to v2's. Source: KEP-2254, and the curve that runc, crun and systemd have agreed on --- */
uint64_t cgroup_weight_of_shares(int64_t shares); /* 2..262144 to 1..10000, 1024 to 100 */
/* memory.swap.max from v1's memory+swap, of a cgroup whose memory limit is memory_bytes. -1: no limit. Errors: INVALID_ARGUMENT when swap is less than memory. */
MUST_CHECK struct error *cgroup_swap_of(int64_t memory_bytes, int64_t memory_swap_bytes, int64_t *out);

/* --- device_bpf.c --- */
/* What always holds before a container's own rules: any node may be made, and the harmless ones used. */
extern const struct device_rule cgroup_device_defaults[];
extern const size_t cgroup_n_device_defaults;

#define DEVICE_BPF_MAX 4096
struct bpf_insn;
/* The program for rules (the last that matches decides, none denies); the number of instructions, or 0 when it does not
 * fit. */
size_t device_bpf_build(const struct device_rule *rules, size_t n_rules, struct bpf_insn *out, size_t room);
MUST_CHECK struct error *device_bpf_attach(int cgroup_fd, const struct device_rule *rules, size_t n_rules);
