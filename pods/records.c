/* Tables:
 *
 *   pod                 what RunPodSandbox asked, as packed protobuf, and where it was put; written once, but for the
 *                       config's resources
 *   pod_progress        narrow: the state. A MAKING pod is undone from the last step of run_pod down: each undo is
 *                       harmless where its step never ran
 *   pod_network         the conflist before ADD, the result after it
 *   container           written once
 *   container_progress  state, times, exit code, reason
 *   container_resources what it may use, as updated
 *   container_cdi       written with it, where it has CDI devices: what they change
 *   container_found     written once, when it has been created: what the status tells and the request does not
 *
 * Recovery, by pod_progress.state: MAKING: undo, newest step first, and forget the pod. READY: find its
 * supervisor again; if there is none the pod is dead, so STOPPING. STOPPING, REMOVING: run that end table again.
 * STOPPED: nothing. By container_progress.state: MAKING: undo and forget; STARTING, RUNNING: ask the
 * supervisor, then the exits file; REMOVING: run the end table again. */
#include "pods/records.h"
#include "base/log.h"
#include "pods/message.h"
#include "pods/table.h"
#include <string.h>

static const char *const migrations[] = {
        "CREATE TABLE pod (id TEXT PRIMARY KEY, name TEXT NOT NULL, config BLOB NOT NULL,"
        " handler TEXT NOT NULL, cgroup_parent TEXT NOT NULL, boot_id TEXT NOT NULL, created_ns INTEGER NOT "
        "NULL)"
        " WITHOUT ROWID;"
        "CREATE TABLE pod_progress (id TEXT PRIMARY KEY, state INTEGER NOT NULL) WITHOUT ROWID;"
        "CREATE TABLE pod_network (id TEXT PRIMARY KEY, conflist TEXT NOT NULL, result TEXT) WITHOUT ROWID;"
        "CREATE TABLE container (id TEXT PRIMARY KEY, pod_id TEXT NOT NULL, name TEXT NOT NULL,"
        " config BLOB NOT NULL, image_id TEXT NOT NULL, image_ref TEXT NOT NULL,"
        " image_config TEXT NOT NULL, created_ns INTEGER NOT NULL) WITHOUT ROWID;"
        "CREATE TABLE container_progress (id TEXT PRIMARY KEY, state INTEGER NOT NULL, started_ns INTEGER "
        "NOT NULL,"
        " finished_ns INTEGER NOT NULL, exit_code INTEGER NOT NULL, oom_killed INTEGER NOT NULL, reason TEXT,"
        " message TEXT) WITHOUT ROWID;"
        "CREATE TABLE container_resources (id TEXT PRIMARY KEY, resources BLOB NOT NULL) WITHOUT ROWID;",
        "CREATE TABLE container_found (id TEXT PRIMARY KEY, user BLOB NOT NULL, stop_signal INTEGER NOT NULL,"
        " image_name TEXT) WITHOUT ROWID;",
        "CREATE TABLE container_cdi (id TEXT PRIMARY KEY, edits TEXT NOT NULL) WITHOUT ROWID;",
        NULL,
};

struct error *records_open(const char *root, struct db **out)
{
        _cleanup_(freep) char *path = format_string("%s/pods.db", root);
        return db_open(path, DB_NORMAL, migrations, out);
}

static struct error *pod_insert(struct db *db, void *context)
{
        const struct sandbox *pod = context;
        _cleanup_(freep) void *config = NULL;
        size_t len_bytes = 0;
        message_pack(&pod->config->base, &config, &len_bytes);
        TRY(db_do(db, "INSERT INTO pod VALUES (?,?,?,?,?,?,?)", db_text(pod->id), db_text(pod->name),
                  db_blob(config, len_bytes), db_text(pod->handler), db_text(pod->cgroup_parent),
                  db_text(pod->boot_id), DB_INT(pod->created_ns)));
        return db_do(db, "INSERT INTO pod_progress VALUES (?,?)", db_text(pod->id), DB_INT(POD_MAKING));
}

struct error *record_pod(struct db *db, const struct sandbox *pod)
{
        return db_transaction(db, pod_insert, (void *) (uintptr_t) pod);
}

struct error *record_pod_config(struct db *db, const char *id, const Cri__PodSandboxConfig *config)
{
        _cleanup_(freep) void *bytes = NULL;
        size_t len_bytes = 0;
        message_pack(&config->base, &bytes, &len_bytes);
        return db_do(db, "UPDATE pod SET config=? WHERE id=?", db_blob(bytes, len_bytes), db_text(id));
}

struct error *record_pod_progress(struct db *db, const char *id, enum pod_state state)
{
        return db_do(db, "UPDATE pod_progress SET state=? WHERE id=?", DB_INT(state), db_text(id));
}

struct error *record_pod_network(struct db *db, const char *id, const char *conflist, const char *result)
{
        return db_do(db, "INSERT OR REPLACE INTO pod_network VALUES (?,?,?)", db_text(id), db_text(conflist),
                     db_text(result));
}

static struct error *pod_delete(struct db *db, void *context)
{
        const char *id = context;
        TRY(db_do(db, "DELETE FROM pod WHERE id=?", db_text(id)));
        TRY(db_do(db, "DELETE FROM pod_progress WHERE id=?", db_text(id)));
        return db_do(db, "DELETE FROM pod_network WHERE id=?", db_text(id));
}

struct error *record_pod_gone(struct db *db, const char *id)
{
        return db_transaction(db, pod_delete, (void *) (uintptr_t) id);
}

static struct error *container_insert(struct db *db, void *context)
{
        const struct container *c = context;
        _cleanup_(freep) void *config = NULL;
        size_t len_bytes = 0;
        message_pack(&c->config->base, &config, &len_bytes);
        TRY(db_do(db, "INSERT INTO container VALUES (?,?,?,?,?,?,?,?)", db_text(c->id), db_text(c->pod->id),
                  db_text(c->name), db_blob(config, len_bytes), db_text(c->image_id), db_text(c->image_ref),
                  db_text(c->image_config), DB_INT(c->created_ns)));
        if (c->cdi)
                TRY(db_do(db, "INSERT INTO container_cdi VALUES (?,?)", db_text(c->id), db_text(c->cdi)));
        return db_do(db, "INSERT INTO container_progress VALUES (?,?,0,0,0,0,NULL,NULL)", db_text(c->id),
                     DB_INT(CONTAINER_MAKING));
}

struct error *record_container(struct db *db, const struct container *container)
{
        return db_transaction(db, container_insert, (void *) (uintptr_t) container);
}

struct error *record_container_progress(struct db *db, struct container *c)
{
        pthread_mutex_t *lock = &c->pod->node->lock;
        (void) pthread_mutex_lock(&c->record_lock);
        (void) pthread_mutex_lock(lock);
        enum container_state state = c->state;
        int64_t started_ns = c->started_ns, finished_ns = c->finished_ns;
        int32_t exit_code = c->exit_code;
        bool oom_killed = c->oom_killed;
        _cleanup_(freep) char *reason = dup_string(c->reason);
        _cleanup_(freep) char *message = dup_string(c->message);
        (void) pthread_mutex_unlock(lock);
        struct error *e =
                db_do(db,
                      "UPDATE container_progress SET state=?, started_ns=?, finished_ns=?, exit_code=?,"
                      " oom_killed=?, reason=?, message=? WHERE id=?",
                      DB_INT(state), DB_INT(started_ns), DB_INT(finished_ns), DB_INT(exit_code),
                      DB_INT(oom_killed), db_text(reason), db_text(message), db_text(c->id));
        (void) pthread_mutex_unlock(&c->record_lock);
        return e;
}

/* The user as CRI's message. */
static struct error *found_insert(struct db *db, const struct container *c)
{
        _cleanup_(freep) void *user = NULL;
        size_t len_bytes = 0;
        Cri__LinuxContainerUser message = CRI__LINUX_CONTAINER_USER__INIT;
        message.uid = c->user.uid;
        message.gid = c->user.gid;
        message.supplemental_groups = c->user.groups;
        message.n_supplemental_groups = c->user.n_groups;
        message_pack(&message.base, &user, &len_bytes);
        return db_do(db, "INSERT OR REPLACE INTO container_found VALUES (?,?,?,?)", db_text(c->id),
                     db_blob(user, len_bytes), DB_INT(c->stop_signal), db_text(c->image_name));
}

static struct error *created_write(struct db *db, void *context)
{
        const struct container *c = context;
        TRY(found_insert(db, c));
        return db_do(db, "UPDATE container_progress SET state=? WHERE id=?", DB_INT(CONTAINER_CREATED),
                     db_text(c->id));
}

struct error *record_container_created(struct db *db, struct container *c)
{
        return db_transaction(db, created_write, c);
}

struct error *record_container_resources(struct db *db, const char *id,
                                         const Cri__LinuxContainerResources *resources)
{
        _cleanup_(freep) void *bytes = NULL;
        size_t len_bytes = 0;
        if (!resources)
                return db_do(db, "DELETE FROM container_resources WHERE id=?", db_text(id));
        message_pack(&resources->base, &bytes, &len_bytes);
        return db_do(db, "INSERT OR REPLACE INTO container_resources VALUES (?,?)", db_text(id),
                     db_blob(bytes, len_bytes));
}

static struct error *container_delete(struct db *db, void *context)
{
        const char *id = context;
        TRY(db_do(db, "DELETE FROM container WHERE id=?", db_text(id)));
        TRY(db_do(db, "DELETE FROM container_cdi WHERE id=?", db_text(id)));
        TRY(db_do(db, "DELETE FROM container_resources WHERE id=?", db_text(id)));
        TRY(db_do(db, "DELETE FROM container_found WHERE id=?", db_text(id)));
        return db_do(db, "DELETE FROM container_progress WHERE id=?", db_text(id));
}

struct error *record_container_gone(struct db *db, const char *id)
{
        return db_transaction(db, container_delete, (void *) (uintptr_t) id);
}

struct error *record_gone_later(struct error *e, const char *id)
{
        if (!e || error_code_of(e) != ERROR_RESOURCE_EXHAUSTED)
                return e;
        log_error(LOG_LEVEL_WARN, e, "a removed object's record stays until the next start", "id", id);
        return NULL;
}

/* --- reading --- */

static const char *text_or_null(const struct db_row *row, int column)
{
        const char *text = db_row_text(row, column);
        return *text ? text : NULL;
}

static struct error *pod_of_row(const struct db_row *row, struct sandbox **out)
{
        size_t len_bytes = 0;
        const void *bytes = db_row_blob(row, 2, &len_bytes);
        Cri__PodSandboxConfig *config = NULL;
        TRY(message_unpack(&cri__pod_sandbox_config__descriptor, bytes, len_bytes, &config));
        struct sandbox *pod = sandbox_new(db_row_text(row, 0), config, db_row_text(row, 3));
        pod->cgroup_parent = dup_string(db_row_text(row, 4));
        pod->boot_id = dup_string(db_row_text(row, 5));
        pod->created_ns = db_row_integer(row, 6);
        pod->state = (enum pod_state) db_row_integer(row, 7);
        pod->conflist = dup_string(text_or_null(row, 8));
        pod->result = dup_string(text_or_null(row, 9));
        *out = pod;
        return NULL;
}

static struct error *read_pod(void *context, const struct db_row *row)
{
        const struct records_reader *reader = context;
        struct sandbox *pod = NULL;
        struct error *e = pod_of_row(row, &pod);
        if (e)
                reader->broken(reader->context, db_row_text(row, 0), e);
        else
                reader->pod(reader->context, pod);
        return NULL;
}

/* Of a container that an earlier version made there is none. */
static struct error *found_of_row(const struct db_row *row, int column, struct container *c)
{
        size_t len_bytes = 0;
        const void *bytes = db_row_blob(row, column, &len_bytes);
        _cleanup_(message_freep) Cri__LinuxContainerUser *user = NULL;
        c->stop_signal = len_bytes ? (Cri__Signal) db_row_integer(row, column + 1) : c->config->stop_signal;
        c->image_name = dup_string(text_or_null(row, column + 2));
        if (!len_bytes)
                return NULL;
        TRY(message_unpack(&cri__linux_container_user__descriptor, bytes, len_bytes, &user));
        size_t n = user->n_supplemental_groups;
        c->user = (struct container_user){ user->uid, user->gid, NEW_ARRAY(int64_t, n), n };
        if (n)
                memcpy(c->user.groups, user->supplemental_groups, n * sizeof(int64_t));
        return NULL;
}

static struct error *container_of_row(const struct db_row *row, struct container **out)
{
        size_t len_bytes = 0;
        const void *bytes = db_row_blob(row, 2, &len_bytes);
        Cri__ContainerConfig *config = NULL;
        TRY(message_unpack(&cri__container_config__descriptor, bytes, len_bytes, &config));
        struct container *c = container_new(db_row_text(row, 0), db_row_text(row, 1), config);
        c->image_id = dup_string(db_row_text(row, 3));
        c->image_ref = dup_string(db_row_text(row, 4));
        c->image_config = dup_string(db_row_text(row, 5));
        c->created_ns = db_row_integer(row, 6);
        c->state = (enum container_state) db_row_integer(row, 7);
        c->started_ns = db_row_integer(row, 8);
        c->finished_ns = db_row_integer(row, 9);
        c->exit_code = (int32_t) db_row_integer(row, 10);
        c->oom_killed = db_row_integer(row, 11) != 0;
        c->reason = dup_string(text_or_null(row, 12));
        c->message = dup_string(text_or_null(row, 13));
        c->cdi = dup_string(text_or_null(row, 18));
        *out = c;
        TRY(found_of_row(row, 15, c));
        bytes = db_row_blob(row, 14, &len_bytes);
        return len_bytes ? message_unpack(&cri__linux_container_resources__descriptor, bytes, len_bytes,
                                          &c->resources)
                         : NULL;
}

static struct error *read_container(void *context, const struct db_row *row)
{
        const struct records_reader *reader = context;
        struct container *c = NULL;
        struct error *e = container_of_row(row, &c);
        if (e) {
                reader->broken(reader->context, db_row_text(row, 0), e);
                container_unref(c);
        } else {
                reader->container(reader->context, c, db_row_text(row, 1));
        }
        return NULL;
}

struct error *records_read(struct db *db, const struct records_reader *reader)
{
        void *context = (void *) (uintptr_t) reader;
        TRY(db_run(db,
                   "SELECT id, name, config, handler, cgroup_parent, boot_id, created_ns, state, conflist,"
                   " result FROM pod JOIN pod_progress USING (id) LEFT JOIN pod_network USING (id)"
                   " ORDER BY created_ns",
                   NULL, 0, read_pod, context));
        return db_run(
                db,
                "SELECT id, pod_id, config, image_id, image_ref, image_config, created_ns, state, "
                "started_ns, finished_ns,"
                " exit_code, oom_killed, reason, message, resources, user, stop_signal, image_name, edits"
                " FROM container JOIN container_progress USING (id) LEFT JOIN container_resources USING (id)"
                " LEFT JOIN container_found USING (id) LEFT JOIN container_cdi USING (id)"
                " ORDER BY created_ns",
                NULL, 0, read_container, context);
}
