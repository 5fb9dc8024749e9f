/* records.h - what is durable of pods: one SQLite file, ROOT/pods.db (WAL, NORMAL: it survives skiffd, not a power cut,
 * after which every pod is dead anyway).
 *
 * Threads: any. Every function is one statement or one transaction. */
#pragma once
#include "base/db.h"
#include "pods/state.h"

/* Opens or makes it, and brings an older schema up to this one. */
MUST_CHECK struct error *records_open(const char *root, struct db **out);

/* The pod's row with state MAKING. Errors: ALREADY_EXISTS cannot happen: the tables reserved the name. */
MUST_CHECK struct error *record_pod(struct db *db, const struct sandbox *pod);
/* Its config anew. */
MUST_CHECK struct error *record_pod_config(struct db *db, const char *id,
                                           const Cri__PodSandboxConfig *config);
MUST_CHECK struct error *record_pod_progress(struct db *db, const char *id, enum pod_state state);
/* What CNI must get again at DEL; result NULL before ADD has ended. */
MUST_CHECK struct error *record_pod_network(struct db *db, const char *id, const char *conflist,
                                            const char *result);
MUST_CHECK struct error *record_pod_gone(struct db *db, const char *id);

/* The container's row with state MAKING. */
MUST_CHECK struct error *record_container(struct db *db, const struct container *container);
/* All that changes in a container's life, in one row, as it is now. Takes node->lock, and keeps the order of two that come
 * at once (a start's and the exit right behind it). */
MUST_CHECK struct error *record_container_progress(struct db *db, struct container *container);
/* That it is created, with what was found out about it on the way: the user of its process, its stop signal, the name of its
 * image. Nobody else writes the container's record meanwhile. */
MUST_CHECK struct error *record_container_created(struct db *db, struct container *container);
/* What a container may use, as updated. resources: NULL is as it was created. */
MUST_CHECK struct error *record_container_resources(struct db *db, const char *id,
                                                    const Cri__LinuxContainerResources *resources);
MUST_CHECK struct error *record_container_gone(struct db *db, const char *id);

/* For what is removed: a record that a full disk does not let us delete must not keep the object. It is found at the next
 * start, where there is nothing left of it but the record, and can be removed again. Other errors are returned. */
MUST_CHECK struct error *record_gone_later(struct error *e, const char *id);

/* Reads everything: pods first. pod() and container() get objects that they own (references 1, pod of a container not
 * set; pod_id is given). An unreadable record is an error of its own, told by broken(id, error), which owns the error. */
struct records_reader {
        void (*pod)(void *context, struct sandbox *pod);
        void (*container)(void *context, struct container *container, const char *pod_id);
        void (*broken)(void *context, const char *id, struct error *e);
        void *context;
};
MUST_CHECK struct error *records_read(struct db *db, const struct records_reader *reader);
