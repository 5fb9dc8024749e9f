/* db.h - SQLite with the few things that skiff needs: prepared statements kept, transactions, migrations.
 *
 * A struct db is one connection with a lock of its own: any thread may call, one at a time gets in. Two kinds
 * (MECHANICS of durability): DB_NORMAL (WAL, synchronous=NORMAL: a commit survives the process, not a power cut, and
 * costs no fsync) and DB_FULL (commits are on the disk). wal_autocheckpoint is 0; db_checkpoint is called by a
 * background thread. On ENOSPC ("database or disk is full") the WAL is moved into the database and cut off,
 * then the ballast file beside it is freed, and the statement or transaction tried again each time; db_checkpoint
 * makes the ballast again when there is room.
 *
 * Source: sqlite.org/wal.html, /pragma.html. */
#pragma once
#include "base/error.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct db;
struct db_row; /* the current row of a query; valid in the callback only */

enum db_durability { DB_NORMAL, DB_FULL };

/* Opens or makes path, runs the migrations that its user_version has not seen (migrations[i] leads from version i to
 * i + 1; NULL-terminated). Errors: FAILED_PRECONDITION for a version newer than ours; DATA_LOSS when it is corrupt. */
MUST_CHECK struct error *db_open(const char *path, enum db_durability durability,
                                 const char *const *migrations, struct db **out);
void db_free(struct db *db);
DEFINE_FREEP(struct db, db_free)

/* A parameter: text, blob, integer or NULL. */
struct db_value {
        enum { DB_NULL_VALUE, DB_INTEGER, DB_TEXT, DB_BLOB } type;
        int64_t integer;
        const void *bytes;
        size_t len_bytes;
};
#define DB_INT(v) ((struct db_value){ .type = DB_INTEGER, .integer = (int64_t) (v) })
struct db_value db_text(const char *text); /* NULL is SQL NULL */
struct db_value db_blob(const void *bytes, size_t len_bytes);

/* Runs sql (a string constant: statements are cached by its address) with the values; for each row calls row (may be
 * NULL). row's error ends it and is returned. */
MUST_CHECK struct error *db_run(struct db *db, const char *sql, const struct db_value *values, size_t n,
                                struct error *(*row)(void *context, const struct db_row *row), void *context);
#define db_do(db, sql, ...)                                                                                  \
        ({                                                                                                   \
                const struct db_value db_values_[] = { __VA_ARGS__ };                                        \
                db_run((db), (sql), db_values_, LENGTH(db_values_), NULL, NULL);                             \
        })

/* Columns. Text and blobs are borrowed, valid in the callback; a NULL is "" / 0 / NULL. */
int64_t db_row_integer(const struct db_row *row, int column);
const char *db_row_text(const struct db_row *row, int column);
const void *db_row_blob(const struct db_row *row, int column, size_t *len_bytes);

/* Runs body between BEGIN IMMEDIATE and COMMIT, holding the lock; its error rolls back. db_run inside it joins. On a full
 * disk body runs a second time, after a rollback: it must bear that. */
MUST_CHECK struct error *db_transaction(struct db *db, struct error *(*body)(struct db *db, void *context),
                                        void *context);

/* PASSIVE checkpoint, and the ballast again when it is gone and there is room. */
MUST_CHECK struct error *db_checkpoint(struct db *db);
