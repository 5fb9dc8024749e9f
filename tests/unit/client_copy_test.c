/* cp's two halves without a container: what goes in comes out, and streams that want to write elsewhere do not. */
#include "base/file.h"
#include "cri/client/copy_in.h"
#include "cri/client/copy_out.h"
#include "tests/unit/tar_maker.h"
#include "tests/unit/unit.h"
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#define WHOLE_MAX ((size_t) 1 << 20)

/* Extracts what was made as "top", called "here" in DIR/target. */
static struct error *extract(const char *dir, struct buf *tar, const char *member, const char *name)
{
        _cleanup_(freep) char *path = format_string("%s/stream", dir),
                              *target = format_string("%s/target", dir);
        (void) mkdir(target, 0755);
        _cleanup_(closep) int dir_fd = open(target, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        _cleanup_(closep) int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
        const struct copy_out copy = { .member = member, .dir_fd = dir_fd, .name = name };
        assert_true(dir_fd >= 0 && fd >= 0);
        assert_ok(file_write_all(fd, tar->bytes, tar->len_bytes));
        assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
        return copy_out_extract(&copy, fd);
}

static char *below(void **state, const char *path)
{
        static char text[2][512];
        static int turn;
        turn = !turn;
        (void) snprintf(text[turn], sizeof(text[turn]), "%s/%s", (char *) *state, path);
        return text[turn];
}

static void assert_text(void **state, const char *path, const char *expected)
{
        _cleanup_(freep) char *text = NULL;
        assert_ok(file_read(AT_FDCWD, below(state, path), WHOLE_MAX, &text, NULL));
        assert_string_equal(text, expected);
}

static bool is_there(void **state, const char *path)
{
        struct stat st;
        return lstat(below(state, path), &st) == 0;
}

static void what_goes_in_comes_out(void **state)
{
        static const char long_name[] =
                "nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn"
                "nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn";
        static const char *const names[] = { "-dash", "with space", "new\nline", "\xff raw", long_name };
        _cleanup_(buf_done) struct buf tar;
        char *source = format_string("%s/source", (char *) *state);
        struct stat st;
        buf_init(&tar, WHOLE_MAX);
        assert_int_equal(mkdir(source, 0755), 0);
        for (size_t i = 0; i < LENGTH(names); i++) {
                _cleanup_(freep) char *path = format_string("source/%s", names[i]);
                assert_ok(
                        file_replace(AT_FDCWD, below(state, path), names[i], strlen(names[i]), 0751, false));
        }
        assert_int_equal(symlink("/etc/passwd", below(state, "source/link")), 0);
        assert_int_equal(mkfifo(below(state, "source/pipe"), 0600), 0);
        _cleanup_(closep) int fd = open(below(state, "in"), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
        assert_ok(copy_in_archive(source, "top", fd));
        free(source);
        assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
        assert_ok(buf_read_all(&tar, fd));
        assert_int_equal(tar.len_bytes % 512, 0);
        assert_ok(extract(*state, &tar, "top", "here"));
        for (size_t i = 0; i < LENGTH(names); i++) {
                _cleanup_(freep) char *path = format_string("target/here/%s", names[i]);
                assert_text(state, path, names[i]);
                assert_int_equal(stat(below(state, path), &st), 0);
                assert_int_equal(st.st_mode & 07777, 0751);
        }
        char target[64] = "";
        assert_int_equal(readlink(below(state, "target/here/link"), target, sizeof(target) - 1), 11);
        assert_string_equal(target, "/etc/passwd");
        assert_false(is_there(state, "target/here/pipe"));
        assert_fails(ERROR_NOT_FOUND, "nosuch", copy_in_archive(below(state, "nosuch"), "x", fd));
}

static void assert_refused(void **state, enum error_code code, const char *text,
                           const struct tar_entry *entries, size_t n)
{
        _cleanup_(buf_done) struct buf tar;
        buf_init(&tar, WHOLE_MAX);
        for (size_t i = 0; i < n; i++)
                tar_put(&tar, &entries[i]);
        tar_end(&tar);
        assert_fails(code, text, extract(*state, &tar, "top", "here"));
        assert_false(is_there(state, "evil"));
        assert_false(is_there(state, "target/evil"));
        assert_text(state, "victim", "precious");
}

#define REFUSED(text, ...)                                                                                   \
        assert_refused(state, ERROR_PERMISSION_DENIED, text, (const struct tar_entry[]){ __VA_ARGS__ },      \
                       LENGTH(((const struct tar_entry[]){ __VA_ARGS__ })))
#define OUTSIDE "does not lie in what was asked for"
#define LINKED "links are not followed"

static void a_stream_cannot_write_elsewhere(void **state)
{
        char *victim = below(state, "victim");
        assert_ok(file_replace(AT_FDCWD, victim, "precious", 8, 0644, false));
        /* Through the name that was asked for. */
        REFUSED(LINKED, { .name = "top", .type = TAR_SYMLINK, .link = ".." },
                { .name = "top/evil", .data = "x" });
        (void) unlink(below(state, "target/here"));
        REFUSED(OUTSIDE, { .name = "../evil", .data = "x" });
        REFUSED(OUTSIDE, { .name = "top/../../evil", .data = "x" });
        REFUSED(OUTSIDE, { .name = "./top/a/../../../evil", .data = "x" });
        REFUSED(OUTSIDE, { .name = "evil", .data = "x" });
        REFUSED(OUTSIDE, { .name = "/evil", .data = "x" });
        REFUSED(OUTSIDE, { .name = ".", .type = TAR_DIR });
        REFUSED(OUTSIDE, { .name = "top/l", .type = TAR_LINK, .link = "../victim" });
        REFUSED(OUTSIDE, { .name = "top/l", .type = TAR_LINK, .link = "top/../../victim" });
        /* Through a link that the stream made itself. */
        REFUSED(LINKED, { .name = "top/l", .type = TAR_SYMLINK, .link = "../.." },
                { .name = "top/l/evil", .data = "x" });
        REFUSED(LINKED, { .name = "top/d", .type = TAR_SYMLINK, .link = "../../" },
                { .name = "top/d/evil", .type = TAR_DIR });
        REFUSED(LINKED, { .name = "top/d", .type = TAR_SYMLINK, .link = "/" },
                { .name = "top/x", .type = TAR_LINK, .link = "top/d/etc/passwd" });
}

static void a_file_replaces_a_link_and_is_not_written_through_it(void **state)
{
        _cleanup_(buf_done) struct buf tar;
        buf_init(&tar, WHOLE_MAX);
        assert_ok(file_replace(AT_FDCWD, below(state, "victim"), "precious", 8, 0644, false));
        tar_put(&tar, &(struct tar_entry){ .name = "top/f", .type = TAR_SYMLINK, .link = "../../victim" });
        tar_put(&tar, &(struct tar_entry){ .name = "top/f", .data = "mine", .mode = 0644 });
        tar_put(&tar, &(struct tar_entry){ .name = "top/h", .type = TAR_LINK, .link = "top/f" });
        tar_put(&tar, &(struct tar_entry){ .name = "top/f", .data = "again", .mode = 0644 });
        tar_end(&tar);
        assert_ok(extract(*state, &tar, "top", "here"));
        assert_text(state, "victim", "precious");
        assert_text(state, "target/here/f", "again");
        assert_text(state, "target/here/h", "mine");
}

static void the_hosts_programs_get_no_rights_from_a_container(void **state)
{
        _cleanup_(buf_done) struct buf tar;
        struct stat st;
        buf_init(&tar, WHOLE_MAX);
        tar_put(&tar, &(struct tar_entry){ .name = "top", .type = TAR_DIR, .mode = 07555 });
        tar_put(&tar, &(struct tar_entry){ .name = "top/sh", .data = "#!", .mode = 06755, .uid = 1234 });
        tar_put(&tar, &(struct tar_entry){ .name = "top/disk", .type = TAR_BLOCK, .mode = 0666, .major = 8 });
        tar_end(&tar);
        assert_ok(extract(*state, &tar, "top", "here"));
        assert_int_equal(stat(below(state, "target/here/sh"), &st), 0);
        assert_int_equal(st.st_mode & 07777, 0755);
        assert_int_equal(st.st_uid, geteuid());
        assert_int_equal(stat(below(state, "target/here"), &st), 0);
        assert_int_equal(st.st_mode & 07777, 0755); /* and whoever copies can go on writing in it */
        assert_false(is_there(state, "target/here/disk"));
}

static void what_is_no_tar_is_told(void **state)
{
        _cleanup_(buf_done) struct buf tar;
        buf_init(&tar, WHOLE_MAX);
        assert_ok(extract(*state, &tar, "top", "here")); /* nothing at all: tar's exit code tells */
        assert_ok(buf_append_text(&tar, "sh: tar: not found\n"));
        assert_fails(ERROR_INVALID_ARGUMENT, "the container's tar", extract(*state, &tar, "top", "here"));
}

UNIT_MAIN(IN_TMPDIR(what_goes_in_comes_out), IN_TMPDIR(a_stream_cannot_write_elsewhere),
          IN_TMPDIR(a_file_replaces_a_link_and_is_not_written_through_it),
          IN_TMPDIR(the_hosts_programs_get_no_rights_from_a_container), IN_TMPDIR(what_is_no_tar_is_told))
