#include "base/db.h"
#include <fcntl.h>
#include <pthread.h>
#include <sqlite3.h>
#include <string.h>
#include <sys/stat.h>
/* uthash's macros convert signs */
#pragma GCC diagnostic ignored "-Wsign-conversion"
#include <uthash.h>

enum { BALLAST_BYTES = 4 << 20, BUSY_TIMEOUT_MS = 5000 };

struct statement {
        const char *sql; /* the key: a constant's address */
        sqlite3_stmt *stmt;
        bool busy; /* a row callback may run the same statement again: that one is prepared anew */
        UT_hash_handle hh;
};

struct db {
        sqlite3 *sqlite;
        pthread_mutex_t lock; /* recursive: db_run inside a transaction joins it */
        struct statement *statements;
        bool in_transaction;
        bool was_full; /* set by the last failure */
        char *path, *ballast_path;
        /* A connection of its own, so that a checkpoint's fsync holds up no statement. */
        sqlite3 *checkpointer;
        pthread_mutex_t checkpoint_lock;
};

struct db_row {
        sqlite3_stmt *stmt;
};

static struct error *error_sqlite(struct db *db, const char *what)
{
        int code = sqlite3_extended_errcode(db->sqlite), errnum = sqlite3_system_errno(db->sqlite);
        const char *text = sqlite3_errmsg(db->sqlite);
        db->was_full = (code & 0xff) == SQLITE_FULL ||
                       (((code & 0xff) == SQLITE_IOERR || (code & 0xff) == SQLITE_CANTOPEN) &&
                        (errnum == ENOSPC || errnum == EDQUOT));
        if (db->was_full)
                return error_new(ERROR_RESOURCE_EXHAUSTED, "%s: no space left for the database (%s)", what,
                                 text);
        if ((code & 0xff) == SQLITE_CORRUPT || (code & 0xff) == SQLITE_NOTADB)
                return error_new(ERROR_DATA_LOSS, "%s: %s", what, text);
        return error_new(ERROR_INTERNAL, "%s: %s", what, text);
}

/* Gives the reserve back to the filesystem; false when there is none. */
static bool ballast_free(struct db *db)
{
        return unlink(db->ballast_path) == 0;
}

/* Makes the reserve where there is none; on a disk too full for it the next checkpoint tries again. */
static void ballast_make(struct db *db)
{
        _cleanup_(closep) int fd =
                open(db->ballast_path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
        if (fd >= 0 && posix_fallocate(fd, 0, BALLAST_BYTES) != 0)
                (void) unlink(db->ballast_path);
}

static struct error *exec_simple(struct db *db, const char *sql)
{
        if (sqlite3_exec(db->sqlite, sql, NULL, NULL, NULL) != SQLITE_OK)
                return error_sqlite(db, sql);
        return NULL;
}

struct db_value db_text(const char *text)
{
        return text ? (struct db_value){ .type = DB_TEXT, .bytes = text, .len_bytes = strlen(text) }
                    : (struct db_value){ .type = DB_NULL_VALUE };
}

struct db_value db_blob(const void *bytes, size_t len_bytes)
{
        return (struct db_value){ .type = DB_BLOB, .bytes = bytes, .len_bytes = len_bytes };
}

static int bind_value(sqlite3_stmt *stmt, int at, const struct db_value *value)
{
        switch (value->type) {
        case DB_INTEGER:
                return sqlite3_bind_int64(stmt, at, value->integer);
        case DB_TEXT:
                return sqlite3_bind_text64(stmt, at, value->bytes, value->len_bytes, SQLITE_STATIC,
                                           SQLITE_UTF8);
        case DB_BLOB:
                return value->bytes
                               ? sqlite3_bind_blob64(stmt, at, value->bytes, value->len_bytes, SQLITE_STATIC)
                               : sqlite3_bind_zeroblob(stmt, at, 0);
        case DB_NULL_VALUE:
                break;
        }
        return sqlite3_bind_null(stmt, at);
}

static struct error *prepare(struct db *db, const char *sql, unsigned flags, sqlite3_stmt **out)
{
        if (sqlite3_prepare_v3(db->sqlite, sql, -1, flags, out, NULL) != SQLITE_OK)
                return error_sqlite(db, sql);
        return NULL;
}

static struct error *statement_get(struct db *db, const char *sql, struct statement **out)
{
        struct statement *s = NULL;
        HASH_FIND_PTR(db->statements, &sql, s);
        if (!s) {
                sqlite3_stmt *stmt = NULL;
                TRY(prepare(db, sql, SQLITE_PREPARE_PERSISTENT, &stmt));
                s = NEW(struct statement);
                s->sql = sql;
                s->stmt = stmt;
                HASH_ADD_PTR(db->statements, sql, s);
        }
        *out = s;
        return NULL;
}

typedef struct error *row_function(void *context, const struct db_row *row);

/* Steps to the end. *rows says whether a row was told: after that nothing may be run again. */
static struct error *step_all(struct db *db, sqlite3_stmt *stmt, const struct db_value *values, size_t n,
                              row_function *row, void *context, bool *rows)
{
        for (size_t i = 0; i < n; i++)
                if (bind_value(stmt, (int) i + 1, &values[i]) != SQLITE_OK)
                        return error_sqlite(db, sqlite3_sql(stmt));
        for (;;) {
                int status = sqlite3_step(stmt);
                if (status == SQLITE_DONE)
                        return NULL;
                if (status != SQLITE_ROW)
                        return error_sqlite(db, sqlite3_sql(stmt));
                *rows = true;
                struct db_row now = { stmt };
                if (row)
                        TRY(row(context, &now)); // cppcheck-suppress returnDanglingLifetime
        }
}

static struct error *run_once(struct db *db, const char *sql, const struct db_value *values, size_t n,
                              row_function *row, void *context, bool *rows)
{
        struct statement *s = NULL;
        TRY(statement_get(db, sql, &s));
        sqlite3_stmt *stmt = s->stmt, *own = NULL;
        if (s->busy) {
                TRY(prepare(db, sql, 0, &own));
                stmt = own;
        }
        s->busy = true;
        struct error *e = step_all(db, stmt, values, n, row, context, rows);
        (void) sqlite3_reset(stmt); /* repeats the step's failure, which e tells */
        (void) sqlite3_clear_bindings(stmt);
        if (own)
                (void) sqlite3_finalize(own);
        else
                s->busy = false;
        return e;
}

static void db_unlock(struct db **db)
{
        (void) pthread_mutex_unlock(&(*db)->lock);
}

static struct db *db_lock(struct db *db)
{
        (void) pthread_mutex_lock(&db->lock);
        return db;
}

/* Moves the WAL into the database and cuts it off: what it held is mostly older forms of the same pages. False when that
 * frees nothing. */
static bool wal_cut(struct db *db)
{
        _cleanup_(freep) char *path = format_string("%s-wal", db->path);
        struct stat before, after;
        if (stat(path, &before) < 0 || before.st_size == 0)
                return false;
        (void) sqlite3_wal_checkpoint_v2(db->sqlite, NULL, SQLITE_CHECKPOINT_TRUNCATE, NULL, NULL);
        return stat(path, &after) == 0 && after.st_size < before.st_size;
}

/* For a statement that found the disk full, outside a transaction: true when it is worth another try. */
static bool room_make(struct db *db)
{
        db->was_full = false;
        return wal_cut(db) || (ballast_free(db) && (wal_cut(db), true));
}

struct error *db_run(struct db *db, const char *sql, const struct db_value *values, size_t n,
                     row_function *row, void *context)
{
        _cleanup_(db_unlock) struct db *locked = db_lock(db);
        bool rows = false;
        locked->was_full = false;
        struct error *e = run_once(db, sql, values, n, row, context, &rows);
        /* Inside a transaction SQLite may have rolled all of it back: db_transaction tries it whole. */
        while (e && db->was_full && !db->in_transaction && !rows && room_make(db)) {
                error_ignore(e); /* the next try tells */
                e = run_once(db, sql, values, n, row, context, &rows);
        }
        return e;
}

static struct error *transaction_once(struct db *db, struct error *(*body)(struct db *db, void *context),
                                      void *context)
{
        TRY(exec_simple(db, "BEGIN IMMEDIATE"));
        db->in_transaction = true;
        struct error *e = body(db, context);
        if (!e)
                e = exec_simple(db, "COMMIT");
        db->in_transaction = false;
        if (e && !sqlite3_get_autocommit(db->sqlite)) {
                bool was_full = db->was_full;
                error_ignore(exec_simple(
                        db, "ROLLBACK")); /* e says why; a failed rollback ends at the next BEGIN */
                db->was_full = was_full;
        }
        return e;
}

struct error *db_transaction(struct db *db, struct error *(*body)(struct db *db, void *context),
                             void *context)
{
        _cleanup_(db_unlock) struct db *locked = db_lock(db);
        if (locked->in_transaction)
                return error_new(ERROR_INTERNAL, "a database transaction inside another");
        db->was_full = false;
        struct error *e = transaction_once(db, body, context);
        while (e && db->was_full && room_make(db)) {
                error_ignore(e); /* the next try tells */
                e = transaction_once(db, body, context);
        }
        return e;
}

int64_t db_row_integer(const struct db_row *row, int column)
{
        return sqlite3_column_int64(row->stmt, column);
}

const char *db_row_text(const struct db_row *row, int column)
{
        const char *text = (const char *) sqlite3_column_text(row->stmt, column);
        return text ? text : "";
}

const void *db_row_blob(const struct db_row *row, int column, size_t *len_bytes)
{
        const void *bytes = sqlite3_column_blob(row->stmt, column);
        *len_bytes = (size_t) sqlite3_column_bytes(row->stmt, column);
        return bytes;
}

static struct error *read_integer(void *context, const struct db_row *row)
{
        *(int64_t *) context = db_row_integer(row, 0);
        return NULL;
}

struct migration {
        const char *sql;
        int64_t leads_to;
};

static struct error *migrate_body(struct db *db, void *context)
{
        const struct migration *migration = context;
        char version[64];
        TRY(exec_simple(db, migration->sql));
        (void) snprintf(version, sizeof(version), "PRAGMA user_version = %lld",
                        (long long) migration->leads_to);
        return exec_simple(db, version);
}

static struct error *migrate(struct db *db, const char *const *migrations)
{
        int64_t have = 0, known = 0;
        TRY(db_run(db, "PRAGMA user_version", NULL, 0, read_integer, &have));
        while (migrations[known])
                known++;
        if (have > known)
                return error_new(ERROR_FAILED_PRECONDITION,
                                 "made by a newer version (its schema is %lld, this one knows %lld)",
                                 (long long) have, (long long) known);
        for (int64_t i = have; i < known; i++) {
                struct migration migration = { migrations[i], i + 1 };
                TRY_WRAP(db_transaction(db, migrate_body, &migration), "migration %lld", (long long) i + 1);
        }
        return NULL;
}

static struct error *setup(struct db *db, enum db_durability durability, const char *const *migrations)
{
        (void) sqlite3_busy_timeout(db->sqlite, BUSY_TIMEOUT_MS); /* an operator may hold it for a moment */
        TRY(exec_simple(db, "PRAGMA journal_mode = WAL"));
        TRY(exec_simple(db,
                        durability == DB_FULL ? "PRAGMA synchronous = FULL" : "PRAGMA synchronous = NORMAL"));
        TRY(exec_simple(db,
                        "PRAGMA wal_autocheckpoint = 0; PRAGMA foreign_keys = ON; PRAGMA cache_size = -256"));
        return migrate(db, migrations);
}

static struct error *connection_open(struct db *db, const char *path, sqlite3 **out)
{
        int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE;
        sqlite3 *sqlite = NULL;
        if (sqlite3_open_v2(path, &sqlite, flags, NULL) != SQLITE_OK) {
                struct error *e = error_new(ERROR_INTERNAL, "%s", sqlite3_errmsg(sqlite));
                int errnum = sqlite3_system_errno(sqlite);
                db->was_full = errnum == ENOSPC || errnum == EDQUOT;
                (void) sqlite3_close(sqlite);
                return e;
        }
        *out = sqlite;
        return NULL;
}

static void statement_free(struct statement *s)
{
        (void) sqlite3_finalize(s->stmt);
        free(s);
}

static void statements_free(struct db *db)
{
        struct statement *s = db->statements, *next;
        HASH_CLEAR(hh, db->statements); /* the table alone: their list stays */
        for (; s; s = next) {
                next = s->hh.next;
                statement_free(s);
        }
}

static struct error *open_once(struct db *db, enum db_durability durability, const char *const *migrations)
{
        TRY(connection_open(db, db->path, &db->sqlite));
        struct error *e = setup(db, durability, migrations);
        if (e) {
                statements_free(db);
                (void) sqlite3_close(db->sqlite);
                db->sqlite = NULL;
        }
        return e;
}

struct error *db_open(const char *path, enum db_durability durability, const char *const *migrations,
                      struct db **out)
{
        _cleanup_(db_freep) struct db *db = NEW(struct db);
        pthread_mutexattr_t recursive;
        (void) pthread_mutexattr_init(&recursive);
        (void) pthread_mutexattr_settype(&recursive, PTHREAD_MUTEX_RECURSIVE);
        (void) pthread_mutex_init(&db->lock, &recursive);
        (void) pthread_mutexattr_destroy(&recursive);
        (void) pthread_mutex_init(&db->checkpoint_lock, NULL);
        db->path = dup_string(path);
        db->ballast_path = format_string("%s.ballast", path);
        struct error *e = open_once(db, durability, migrations);
        if (e && db->was_full && ballast_free(db)) {
                error_ignore(
                        e); /* a full disk: WAL needs a few blocks to open at all; the second try tells */
                e = open_once(db, durability, migrations);
        } else if (!e) {
                ballast_make(db);
        }
        TRY_WRAP(e, "open %s", path);
        *out = TAKE(db);
        return NULL;
}

void db_free(struct db *db)
{
        if (!db)
                return;
        statements_free(db);
        (void) sqlite3_close(db->checkpointer);
        (void) sqlite3_close(db->sqlite);
        (void) pthread_mutex_destroy(&db->lock);
        (void) pthread_mutex_destroy(&db->checkpoint_lock);
        free(db->path);
        free(db->ballast_path);
        free(db);
}

/* With the statements' lock: what connection_open notes of a full disk is theirs. */
static struct error *checkpointer_open(struct db *db)
{
        _cleanup_(db_unlock) struct db *locked = db_lock(db);
        bool was_full = locked->was_full;
        struct error *e = connection_open(locked, locked->path, &locked->checkpointer);
        locked->was_full = was_full;
        TRY_WRAP(e, "checkpoint %s", locked->path);
        (void) sqlite3_busy_timeout(locked->checkpointer, BUSY_TIMEOUT_MS);
        return NULL;
}

static struct error *checkpoint_locked(struct db *db)
{
        if (!db->checkpointer)
                TRY(checkpointer_open(db));
        int status = sqlite3_wal_checkpoint_v2(db->checkpointer, NULL, SQLITE_CHECKPOINT_PASSIVE, NULL, NULL);
        if (status != SQLITE_OK && (status & 0xff) != SQLITE_BUSY) /* busy: a writer was quicker, next time */
                return error_new((status & 0xff) == SQLITE_FULL ? ERROR_RESOURCE_EXHAUSTED : ERROR_INTERNAL,
                                 "checkpoint %s: %s", db->path, sqlite3_errmsg(db->checkpointer));
        return NULL;
}

struct error *db_checkpoint(struct db *db)
{
        (void) pthread_mutex_lock(&db->checkpoint_lock);
        struct error *e = checkpoint_locked(db);
        if (!e && access(db->ballast_path, F_OK) < 0)
                ballast_make(db);
        (void) pthread_mutex_unlock(&db->checkpoint_lock);
        return e;
}
