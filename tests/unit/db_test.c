#include "base/db.h"
#include "tests/unit/unit.h"
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>

static const char *const migrations[] = { "CREATE TABLE pods (id TEXT PRIMARY KEY, n INTEGER, data BLOB)",
                                          NULL };

static struct error *open_in(const char *dir, struct db **out)
{
        _cleanup_(freep) char *path = format_string("%s/test.db", dir);
        return db_open(path, DB_NORMAL, migrations, out);
}

static struct error *count_row(void *context, const struct db_row *row)
{
        (void) row;
        ++*(int *) context;
        return NULL;
}

static int count(struct db *db)
{
        int n = 0;
        assert_ok(db_run(db, "SELECT id FROM pods", NULL, 0, count_row, &n));
        return n;
}

static struct error *check_row(void *context, const struct db_row *row)
{
        size_t len_bytes = 0;
        assert_string_equal(db_row_text(row, 0), "a");
        assert_int_equal(db_row_integer(row, 1), INT64_MIN);
        const char *blob = db_row_blob(row, 2, &len_bytes);
        assert_int_equal(len_bytes, 3);
        assert_memory_equal(blob, "x\0y", 3);
        assert_string_equal(db_row_text(row, 3), "");
        return count_row(context, row);
}

static void what_is_put_comes_back_after_a_reopen(void **dir)
{
        struct db *db = NULL;
        int n = 0;
        assert_ok(open_in(*dir, &db));
        assert_ok(db_do(db, "INSERT INTO pods VALUES (?, ?, ?)", db_text("a"), DB_INT(INT64_MIN),
                        db_blob("x\0y", 3)));
        db_free(TAKE(db));
        assert_ok(open_in(*dir, &db));
        assert_ok(db_run(db, "SELECT id, n, data, NULL FROM pods", NULL, 0, check_row, &n));
        assert_int_equal(n, 1);
        db_free(db);
}

static struct error *put_two(struct db *db, void *fail)
{
        TRY(db_do(db, "INSERT INTO pods VALUES (?, 1, NULL)", db_text("a")));
        TRY(db_do(db, "INSERT INTO pods VALUES (?, 1, NULL)", db_text("b")));
        return fail ? error_new(ERROR_ABORTED, "no") : NULL;
}

static void a_failed_transaction_leaves_nothing(void **dir)
{
        _cleanup_(db_freep) struct db *db = NULL;
        int yes = 1;
        assert_ok(open_in(*dir, &db));
        assert_fails(ERROR_ABORTED, "no", db_transaction(db, put_two, &yes));
        assert_int_equal(count(db), 0);
        WALK_FAILURES(db_transaction(db, put_two, &yes));
        assert_int_equal(count(db), 0);
        assert_ok(db_transaction(db, put_two, NULL));
        assert_int_equal(count(db), 2);
        assert_fails(ERROR_INTERNAL, "UNIQUE", db_transaction(db, put_two, NULL));
        assert_int_equal(count(db), 2);
}

struct nested {
        struct db *db;
        int depth, rows;
};

static struct error *nested_row(void *context, const struct db_row *row)
{
        struct nested *nested = context;
        (void) row;
        nested->rows++;
        if (nested->depth == 2)
                return NULL;
        nested->depth++;
        struct error *e = db_run(nested->db, "SELECT id FROM pods ORDER BY id", NULL, 0, nested_row, nested);
        nested->depth--;
        return e;
}

static void a_row_may_run_the_same_statement(void **dir)
{
        static const char again[] = "SELECT id FROM pods ORDER BY id";
        _cleanup_(db_freep) struct db *db = NULL;
        assert_ok(open_in(*dir, &db));
        assert_ok(db_transaction(db, put_two, NULL));
        struct nested nested = { db, 0, 0 };
        assert_ok(db_run(db, again, NULL, 0, nested_row, &nested));
        assert_int_equal(nested.rows, 2 + 4 + 8);
}

static void a_newer_or_broken_database_is_refused(void **dir)
{
        static const char *const newer[] = { "CREATE TABLE a (x)", "CREATE TABLE b (x)", NULL };
        static const char *const older[] = { "CREATE TABLE a (x)", NULL };
        static const char *const wrong[] = { "CREATE TABLE a (x)", "CREATE TABLE b (x)", "no SQL", NULL };
        _cleanup_(freep) char *path = format_string("%s/new.db", (char *) *dir);
        struct db *db = NULL;
        assert_ok(db_open(path, DB_FULL, newer, &db));
        db_free(TAKE(db));
        assert_fails(ERROR_FAILED_PRECONDITION, "newer version", db_open(path, DB_FULL, older, &db));
        assert_fails(ERROR_INTERNAL, "migration 3", db_open(path, DB_FULL, wrong, &db));
        assert_ok(db_open(path, DB_FULL, newer, &db));
        db_free(TAKE(db));
        int fd = open(path, O_WRONLY | O_TRUNC | O_CLOEXEC);
        assert_int_equal(write(fd, "this is not a database file, is it? it must be longer", 50), 50);
        closep(&fd);
        assert_fails(ERROR_DATA_LOSS, "new.db", db_open(path, DB_FULL, newer, &db));
        assert_null(db);
}

static void a_commit_survives_sigkill(void **dir)
{
        pid_t child = fork();
        if (child == 0) {
                struct db *db = NULL;
                if (!open_in(*dir, &db) && !db_transaction(db, put_two, NULL))
                        (void) kill(getpid(), SIGKILL);
                _exit(1);
        }
        int status = 0;
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_true(WIFSIGNALED(status));
        _cleanup_(db_freep) struct db *db = NULL;
        assert_ok(open_in(*dir, &db));
        assert_int_equal(count(db), 2);
}

static void *put_many(void *db)
{
        for (int i = 0; i < 200; i++)
                if (db_do(db, "INSERT INTO pods VALUES (hex(randomblob(16)), ?, NULL)", DB_INT(i)) ||
                    (i % 50 == 0 && db_checkpoint(db)))
                        return db;
        return NULL;
}

static void threads_take_turns(void **dir)
{
        _cleanup_(db_freep) struct db *db = NULL;
        pthread_t threads[4];
        void *failed = NULL;
        assert_ok(open_in(*dir, &db));
        for (size_t i = 0; i < LENGTH(threads); i++)
                assert_int_equal(pthread_create(&threads[i], NULL, put_many, db), 0);
        for (size_t i = 0; i < LENGTH(threads); i++) {
                assert_int_equal(pthread_join(threads[i], &failed), 0);
                assert_null(failed);
        }
        assert_int_equal(count(db), 800);
}

static void fill(const char *dir)
{
        static char block[4096];
        _cleanup_(freep) char *path = format_string("%s/filler", dir);
        _cleanup_(closep) int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
        assert_true(fd >= 0);
        while (write(fd, block, sizeof(block)) > 0)
                ;
}

/* The second connection of a daemon that was killed and started again on a full disk. */
static void a_full_disk_leaves_room_for_the_last_records(void **dir)
{
        if (getuid() != 0)
                skip();
        assert_int_equal(unshare(CLONE_NEWNS), 0); /* a failed assertion leaves no mount behind */
        assert_int_equal(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL), 0);
        assert_int_equal(mount("tmpfs", *dir, "tmpfs", 0, "size=16m"), 0);
        _cleanup_(freep) char *ballast = format_string("%s/test.db.ballast", (char *) *dir);
        _cleanup_(freep) char *filler = format_string("%s/filler", (char *) *dir);
        static char big[64 << 10];
        struct db *db = NULL;
        assert_ok(open_in(*dir, &db));
        assert_int_equal(access(ballast, F_OK), 0);
        db_free(TAKE(db));
        fill(*dir);
        assert_ok(open_in(*dir, &db));
        assert_ok(db_transaction(db, put_two, NULL));
        struct error *e = NULL;
        for (int i = 0; i < 1000 && !e; i++)
                e = db_do(db, "INSERT INTO pods VALUES (hex(randomblob(16)), 1, ?)",
                          db_blob(big, sizeof(big)));
        assert_fails(ERROR_RESOURCE_EXHAUSTED, "no space left", e);
        assert_int_equal(unlink(filler), 0);
        assert_ok(db_do(db, "DELETE FROM pods WHERE data IS NOT NULL"));
        assert_ok(db_checkpoint(db));
        assert_int_equal(access(ballast, F_OK), 0);
        assert_int_equal(count(db), 2);
        db_free(db);
        assert_int_equal(umount2(*dir, MNT_DETACH), 0);
}

UNIT_MAIN(IN_TMPDIR(what_is_put_comes_back_after_a_reopen), IN_TMPDIR(a_failed_transaction_leaves_nothing),
          IN_TMPDIR(a_row_may_run_the_same_statement), IN_TMPDIR(a_newer_or_broken_database_is_refused),
          IN_TMPDIR(a_commit_survives_sigkill), IN_TMPDIR(threads_take_turns),
          IN_TMPDIR(a_full_disk_leaves_room_for_the_last_records))
