/* The tar loop and the directory sink, on tars made here. */
#include "images/unpack/sink_dir.h"
#include "images/unpack/tar.h"
#include "tests/unit/tar_maker.h"
#include "tests/unit/unit.h"
#include <fcntl.h>
#include <limits.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>

struct source {
        const char *bytes;
        size_t left_bytes, step_bytes;
};

static ssize_t read_source(void *context, void *bytes, size_t size_bytes)
{
        struct source *source = context;
        size_t n = size_bytes < source->left_bytes ? size_bytes : source->left_bytes;
        if (source->step_bytes && n > source->step_bytes)
                n = source->step_bytes;
        if (n)
                memcpy(bytes, source->bytes, n);
        source->bytes += n;
        source->left_bytes -= n;
        return (ssize_t) n;
}

static struct error *set_opaque(void *context, int dir_fd)
{
        (void) context;
        return fsetxattr(dir_fd, "trusted.overlay.opaque", "y", 1, 0) < 0 ? error_errno(errno, "opaque")
                                                                          : NULL;
}

static struct sink_notes notes; /* of the last that was unpacked */
static char seams[4096];        /* likewise, each NUL as a newline */

static struct error *read_seams(const struct layer_sink *sink)
{
        _cleanup_(closep) int fd = memfd_create("seams", MFD_CLOEXEC);
        TRY(sink_dir_seams(sink, fd));
        ssize_t n = pread(fd, seams, sizeof(seams) - 1, 0);
        assert_true(n >= 0);
        for (ssize_t i = 0; i < n; i++)
                if (!seams[i])
                        seams[i] = '\n';
        seams[n] = '\0';
        return NULL;
}

static struct error *unpack_stream(const char *dir, const void *bytes, size_t len_bytes, size_t step_bytes,
                                   struct sink_usage *usage)
{
        struct source source = { bytes, len_bytes, step_bytes };
        const struct inflate_source from = { read_source, &source };
        _cleanup_(inflate_freep) struct inflate *inflate = NULL;
        _cleanup_(closep) int fd = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
        _cleanup_(sink_dir_freep) struct layer_sink *sink = sink_dir_new(fd, set_opaque, NULL);
        struct inflate_result result;
        TRY(inflate_open(&from, UINT64_MAX, 1 << 30, &inflate));
        struct error *e = tar_unpack(inflate, sink, 10000, usage);
        notes = sink->notes;
        TRY(e);
        TRY(read_seams(sink));
        TRY(inflate_finish(inflate, &result));
        struct digest whole;
        digest_of(bytes, len_bytes, &whole);
        assert_true(digest_equal(&whole, &result.in));
        return NULL;
}

static struct error *unpack(const char *dir, struct buf *tar)
{
        struct sink_usage usage;
        mode_t mask = umask(0);
        struct error *e = unpack_stream(dir, tar->bytes, tar->len_bytes, 0, &usage);
        (void) umask(mask);
        return e;
}

#define PUT(...) tar_put(&tar, &(struct tar_entry){ __VA_ARGS__ })
#define TAR_BEGIN                                                                                            \
        struct buf tar;                                                                                      \
        buf_init(&tar, 64 << 20)
/* Adds the end, unpacks and lets go of the tar. */
static struct error *finish(const char *dir, struct buf *tar)
{
        tar_end(tar);
        struct error *e = unpack(dir, tar);
        buf_done(tar);
        return e;
}

static struct stat stat_of(const char *dir, const char *name)
{
        struct stat st = { 0 };
        _cleanup_(freep) char *path = format_string("%s/%s", dir, name);
        if (lstat(path, &st) < 0)
                fail_msg("%s: %s", path, strerror(errno));
        return st;
}

static bool exists(const char *dir, const char *name)
{
        _cleanup_(freep) char *path = format_string("%s/%s", dir, name);
        struct stat st;
        return lstat(path, &st) == 0;
}

static bool is_opaque(const char *dir, const char *name)
{
        _cleanup_(freep) char *path = format_string("%s/%s", dir, name);
        char value[2];
        return lgetxattr(path, "trusted.overlay.opaque", value, sizeof(value)) == 1 && value[0] == 'y';
}

static void entries_come_out_as_they_went_in(void **dir)
{
        TAR_BEGIN;
        PUT("./", TAR_DIR, .mode = 0711, .mtime = 1000);
        PUT("./bin/", TAR_DIR, .mode = 02775, .uid = 3, .gid = 5, .mtime = 2000);
        PUT("bin/a", .mode = 04755, .uid = 70, .gid = 80, .mtime = 3000, .data = "hello");
        PUT("bin/b", TAR_LINK, .link = "bin/a");
        PUT("bin/c", TAR_SYMLINK, .mode = 0777, .link = "../../../etc/passwd", .mtime = 4000, .uid = 1);
        PUT("deep/er/file", .mode = 0600, .data = "x");
        PUT("dev/pts0", TAR_CHAR, .mode = 0620, .major = 136, .minor = 70000);
        PUT("dev/loop", TAR_BLOCK, .mode = 0660, .major = 7, .minor = 3);
        PUT("fifo", TAR_FIFO, .mode = 0644);
        PUT("sticky", TAR_DIR, .mode = 01777);
        PUT("empty", .mode = 0444);
        PUT("wide", .uid = 07777777, .mode = 0, .data = "w");
        assert_ok(finish(*dir, &tar));
        struct stat st = stat_of(*dir, ".");
        assert_int_equal(st.st_mode,
                         S_IFDIR | 0700); /* as it was: the container's root is not a layer's to say */
        assert_int_not_equal(st.st_mtime, 1000);
        st = stat_of(*dir, "bin");
        assert_int_equal(st.st_mode, S_IFDIR | 02775);
        assert_int_equal(st.st_uid * 10 + st.st_gid, 35);
        assert_int_equal(st.st_mtime, 2000);
        st = stat_of(*dir, "bin/a");
        assert_int_equal(st.st_mode, S_IFREG | 04755);
        assert_int_equal(st.st_uid + st.st_gid, 150);
        assert_int_equal(st.st_mtime, 3000);
        assert_int_equal(st.st_nlink, 2);
        assert_int_equal(st.st_size, 5);
        assert_int_equal(stat_of(*dir, "bin/b").st_ino, st.st_ino);
        st = stat_of(*dir, "bin/c");
        assert_true(S_ISLNK(st.st_mode));
        assert_int_equal(st.st_mtime, 4000);
        assert_int_equal(st.st_uid, 1);
        assert_int_equal(stat_of(*dir, "deep/er").st_mode, S_IFDIR | 0755);
        assert_int_equal(stat_of(*dir, "dev/pts0").st_rdev, makedev(136, 70000));
        assert_int_equal(stat_of(*dir, "dev/loop").st_mode, S_IFBLK | 0660);
        assert_true(S_ISFIFO(stat_of(*dir, "fifo").st_mode));
        assert_int_equal(stat_of(*dir, "sticky").st_mode, S_IFDIR | 01777);
        assert_int_equal(stat_of(*dir, "wide").st_uid, 07777777);
        assert_int_equal(stat_of(*dir, "wide").st_mode, S_IFREG);
}

/* What a directory hands down (its group, its default ACL) must not reach what the same archive puts into it. */
static void attributes_come_through_and_none_is_inherited(void **dir)
{
        TAR_BEGIN;
        static const char capability[20] = "\x01\0\0\x02\0\x20\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
        static const char acl[] = "user::rwx,user:1000:r-x,group::r-x,mask::r-x,other::---";
        static const char binary_acl[] =
                "\2\0\0\0\1\0\7\0\xff\xff\xff\xff\4\0\5\0\xff\xff\xff\xff\40\0\5\0\xff\xff\xff\xff";
        tar_put_pax(&tar, "SCHILY.acl.default", acl, strlen(acl));
        PUT("d", TAR_DIR, .mode = 02755, .gid = 42);
        tar_put_pax(&tar, "SCHILY.xattr.user.note", "a\0b", 3);
        PUT("d/f", .mode = 0644, .data = "x");
        tar_put_pax(&tar, "SCHILY.xattr.security.capability", capability, sizeof(capability));
        PUT("ping", .mode = 0755, .uid = 5, .data = "x");
        tar_put_pax(&tar, "SCHILY.acl.access", acl, strlen(acl));
        PUT("acl", .mode = 0750, .data = "x");
        tar_put_pax(&tar, "SCHILY.xattr.security.selinux", "label", 5);
        PUT("labelled", .mode = 0644, .data = "x");
        tar_put_pax(&tar, "SCHILY.xattr.system.posix_acl_default", binary_acl, sizeof(binary_acl) - 1);
        PUT("d2", TAR_DIR, .mode = 0755);
        PUT("d2/f", .mode = 0644, .data = "x");
        assert_ok(finish(*dir, &tar));
        char value[256];
        _cleanup_(freep) char *f = format_string("%s/d/f", (char *) *dir);
        assert_int_equal(getxattr(f, "user.note", value, sizeof(value)), 3);
        assert_memory_equal(value, "a\0b", 3);
        assert_int_equal(getxattr(f, "system.posix_acl_access", value, sizeof(value)), -1);
        assert_int_equal(stat_of(*dir, "d/f").st_gid, 0);
        assert_int_equal(stat_of(*dir, "d/f").st_mode, S_IFREG | 0644);
        assert_int_equal(stat_of(*dir, "d").st_mode, S_IFDIR | 02755);
        _cleanup_(freep) char *d = format_string("%s/d", (char *) *dir),
                              *d2 = format_string("%s/d2", (char *) *dir);
        assert_int_equal(getxattr(d, "system.posix_acl_default", value, sizeof(value)), 4 + 5 * 8);
        assert_int_equal(getxattr(d2, "system.posix_acl_default", value, sizeof(value)), 4 + 3 * 8);
        _cleanup_(freep) char *ping = format_string("%s/ping", (char *) *dir);
        assert_int_equal(getxattr(ping, "security.capability", value, sizeof(value)), 20);
        assert_memory_equal(value, capability, 20);
        _cleanup_(freep) char *with_acl = format_string("%s/acl", (char *) *dir);
        assert_int_equal(getxattr(with_acl, "system.posix_acl_access", value, sizeof(value)), 4 + 5 * 8);
}

static void whiteouts_hide_only_what_is_below(void **dir)
{
        TAR_BEGIN;
        PUT("a/.wh.gone", .mode = 0);
        PUT("a/.wh..wh..opq", .mode = 0);
        PUT("f", .mode = 0644, .data = "kept");
        PUT(".wh.f", .mode = 0);
        PUT("d", TAR_DIR, .mode = 0755);
        PUT("d/x", .mode = 0644, .data = "kept");
        PUT(".wh.d", .mode = 0);
        PUT(".wh.e", .mode = 0);
        PUT("e/new", .mode = 0644, .data = "1");
        PUT(".wh.g", .mode = 0);
        PUT("g", TAR_DIR, .mode = 0700);
        PUT(".wh.h", .mode = 0);
        PUT("h", .mode = 0644, .data = "2");
        PUT("new/.wh..wh..opq", .mode = 0);
        PUT(".wh..wh.aufs", .mode = 0);
        assert_ok(finish(*dir, &tar));
        struct stat st = stat_of(*dir, "a/gone");
        assert_true(S_ISCHR(st.st_mode));
        assert_int_equal(st.st_rdev, makedev(0, 0));
        assert_true(is_opaque(*dir, "a"));
        assert_false(exists(*dir, "a/.wh..wh..opq"));
        assert_int_equal(stat_of(*dir, "f").st_size, 4);
        assert_true(is_opaque(*dir, "d"));
        assert_true(exists(*dir, "d/x"));
        assert_true(is_opaque(*dir, "e"));
        assert_true(exists(*dir, "e/new"));
        assert_true(is_opaque(*dir, "g"));
        assert_int_equal(stat_of(*dir, "g").st_mode, S_IFDIR | 0700);
        assert_int_equal(stat_of(*dir, "h").st_size, 1);
        assert_true(is_opaque(*dir, "new"));
        assert_false(exists(*dir, ".wh..wh.aufs"));
}

static void the_last_of_two_entries_of_one_name_wins(void **dir)
{
        TAR_BEGIN;
        PUT("a", .mode = 0600, .data = "first");
        PUT("a", .mode = 0644, .data = "2nd");
        PUT("l", TAR_SYMLINK, .link = "/etc");
        PUT("l", .mode = 0644, .data = "file");
        PUT("d", TAR_DIR, .mode = 0700, .mtime = 5);
        PUT("d/x", .mode = 0644, .data = "x");
        PUT("d", TAR_DIR, .mode = 0711, .mtime = 6, .uid = 9);
        PUT("e", TAR_DIR, .mode = 0700);
        PUT("e", TAR_SYMLINK, .link = "d");
        PUT("a2", TAR_LINK, .link = "a");
        PUT("a2", TAR_LINK, .link = "d/x");
        assert_ok(finish(*dir, &tar));
        assert_int_equal(stat_of(*dir, "a").st_size, 3);
        assert_int_equal(stat_of(*dir, "a").st_mode, S_IFREG | 0644);
        assert_true(S_ISREG(stat_of(*dir, "l").st_mode));
        struct stat st = stat_of(*dir, "d");
        assert_int_equal(st.st_mode, S_IFDIR | 0711);
        assert_int_equal(st.st_mtime, 6);
        assert_int_equal(st.st_uid, 9);
        assert_true(exists(*dir, "d/x"));
        assert_true(S_ISLNK(stat_of(*dir, "e").st_mode));
        assert_int_equal(stat_of(*dir, "a2").st_ino, stat_of(*dir, "d/x").st_ino);
}

/* One entry, after another, and what becomes of it: what is made, or why it is left out. */
struct odd {
        const char *name, *says; /* NULL: nothing is left out */
        struct tar_entry before, entry;
        const char *pax_key, *pax_value;
        const char *made; /* what is there afterwards, below the layer; NULL: does not matter */
        int type;         /* S_IFMT of it; 0: it must not be there */
};

static const struct odd odds[] = {
        { "dot-dot", NULL, .entry = { .name = "../outside", .data = "x" }, .made = "outside",
          .type = S_IFREG },
        { "dot-dot inside", NULL, .entry = { .name = "a/../../b/../outside", .data = "x" }, .made = "outside",
          .type = S_IFREG },
        { "absolute", NULL, .entry = { .name = "/tmp/skiff-outside", .data = "x" },
          .made = "tmp/skiff-outside", .type = S_IFREG },
        { "absolute by pax", NULL, .entry = { .name = "x" }, .pax_key = "path", .pax_value = "//outside",
          .made = "outside", .type = S_IFREG },
        { "the root", NULL, .entry = { .name = "/", .type = TAR_DIR, .mode = 0700 }, .made = ".",
          .type = S_IFDIR },
        { "the root as a link", NULL, .entry = { .name = "./", .type = TAR_SYMLINK, .link = "/" },
          .made = ".", .type = S_IFDIR },
        { "through a link to nowhere", NULL, .before = { .name = "l", .type = TAR_SYMLINK, .link = "/tmp/x" },
          .entry = { .name = "l/skiff-outside", .data = "x" }, .made = "tmp/x/skiff-outside",
          .type = S_IFREG },
        { "directory through a link", NULL,
          .before = { .name = "l", .type = TAR_SYMLINK, .link = "../../tmp" },
          .entry = { .name = "l/d/", .type = TAR_DIR }, .made = "tmp/d", .type = S_IFDIR },
        { "directory over a link", NULL, .before = { .name = "l", .type = TAR_SYMLINK, .link = "/tmp" },
          .entry = { .name = "l", .type = TAR_DIR }, .made = "l", .type = S_IFDIR },
        { "circle", "circle", .before = { .name = "l", .type = TAR_SYMLINK, .link = "l/l" },
          .entry = { .name = "l/x", .data = "x" }, .made = "l", .type = S_IFLNK },
        { "absolute hard link", NULL, .before = { .name = "etc/f", .data = "x" },
          .entry = { .name = "/h", .type = TAR_LINK, .link = "/etc/f" }, .made = "h", .type = S_IFREG },
        { "hard link up", NULL, .before = { .name = "f", .data = "x" },
          .entry = { .name = "d/h", .type = TAR_LINK, .link = "../../f" }, .made = "d/h", .type = S_IFREG },
        { "link to a directory", "a directory", .before = { .name = "d", .type = TAR_DIR },
          .entry = { .name = "h", .type = TAR_LINK, .link = "d" }, .made = "h" },
        { "link to itself", NULL, .before = { .name = "f", .data = "x" },
          .entry = { .name = "f", .type = TAR_LINK, .link = "./f" }, .made = "f", .type = S_IFREG },
        { "overlay's redirect", "trusted.overlay.redirect", .entry = { .name = "d", .type = TAR_DIR },
          .pax_key = "SCHILY.xattr.trusted.overlay.redirect", .pax_value = "/etc", .made = "d",
          .type = S_IFDIR },
        { "overlay's opaque", "trusted.overlay.opaque", .entry = { .name = "d", .type = TAR_DIR },
          .pax_key = "SCHILY.xattr.trusted.overlay.opaque", .pax_value = "y", .made = "d", .type = S_IFDIR },
        { "a whiteout in disguise", "0:0", .entry = { .name = "w", .type = TAR_CHAR }, .made = "w" },
        { "whiteout of the parent", "whiteout of nothing", .entry = { .name = "a/.wh..." }, .made = "a" },
        { "whiteout of itself", "whiteout of nothing", .entry = { .name = "a/.wh.." }, .made = "a" },
        { "whiteout of nothing", "whiteout of nothing", .entry = { .name = ".wh." } },
        { "whiteout as a directory", "below a whiteout", .entry = { .name = ".wh.a/b", .data = "x" },
          .made = "a" },
        { "whiteout through a link", NULL, .before = { .name = "l", .type = TAR_SYMLINK, .link = "/d" },
          .entry = { .name = "l/.wh.x" }, .made = "d/x", .type = S_IFCHR },
        { "below a file", NULL, .before = { .name = "f", .data = "x" },
          .entry = { .name = "f/g", .data = "x" }, .made = "f/g", .type = S_IFREG },
        { "over a full directory", NULL, .before = { .name = "d/x/y", .data = "x" },
          .entry = { .name = "d", .data = "x" }, .made = "d", .type = S_IFREG },
        { "link over a full directory", NULL, .before = { .name = "d/x/y", .data = "x" },
          .entry = { .name = "d", .type = TAR_SYMLINK, .link = "/x" }, .made = "d", .type = S_IFLNK },
        { "owner out of range", "owner", .entry = { .name = "o" }, .pax_key = "uid",
          .pax_value = "4294967296", .made = "o" },
        { "unreadable acl", "posix_acl_access", .entry = { .name = "o", .data = "x" },
          .pax_key = "SCHILY.xattr.system.posix_acl_access", .pax_value = "rubbish", .made = "o",
          .type = S_IFREG },
};

static void check_odd(const struct odd *odd, const char *dir)
{
        struct stat st = { 0 };
        TAR_BEGIN;
        if (odd->before.name)
                tar_put(&tar, &odd->before);
        if (odd->pax_key)
                tar_put_pax(&tar, odd->pax_key, odd->pax_value, strlen(odd->pax_value));
        tar_put(&tar, &odd->entry);
        PUT("last", .data = "x");
        assert_ok(finish(dir, &tar));
        if ((odd->says != NULL) != (notes.n == 1) || (odd->says && !strstr(notes.first, odd->says)))
                fail_msg("%s: %llu left out, %s", odd->name, (unsigned long long) notes.n, notes.first);
        if (!exists(dir, "last"))
                fail_msg("%s: what comes after it is not there", odd->name);
        if (odd->made && exists(dir, odd->made))
                st = stat_of(dir, odd->made);
        if (odd->made && (int) (st.st_mode & S_IFMT) != odd->type)
                fail_msg("%s: %s has type %o", odd->name, odd->made, st.st_mode & S_IFMT);
}

static void odd_entries_stay_inside_and_cost_an_entry_at_most(void **dir)
{
        _cleanup_(freep) char *outside = format_string("%s/outside", (char *) *dir);
        for (size_t i = 0; i < LENGTH(odds); i++) {
                _cleanup_(freep) char *sub = format_string("%s/%zu", (char *) *dir, i);
                assert_int_equal(mkdir(sub, 0755), 0);
                check_odd(&odds[i], sub);
                assert_int_equal(access(outside, F_OK), -1);
                assert_int_equal(access("/tmp/skiff-outside", F_OK), -1);
        }
}

static void a_hard_link_to_what_is_missing_is_refused(void **dir)
{
        TAR_BEGIN;
        PUT("l", TAR_SYMLINK, .link = "/etc");
        PUT("h", TAR_LINK, .link = "l/passwd"); /* there is one, but not in the layer */
        assert_fails(ERROR_DATA_LOSS, "entry \"h\": hard link to \"l/passwd\"", finish(*dir, &tar));
}

static void links_of_the_layer_are_followed_as_they_are_then(void **dir)
{
        TAR_BEGIN;
        PUT("run", TAR_DIR, .mode = 01777);
        PUT("var/run", TAR_SYMLINK, .link = "/run");
        PUT("var/run/a.pid", .data = "a");
        PUT("var/run/sub/b.pid", .data = "b");
        PUT("var/run/sub", TAR_DIR, .mode = 0750, .mtime = 77);
        PUT("hard", TAR_LINK, .link = "var/run/a.pid");
        PUT("var/run", TAR_DIR, .mode = 0755);
        PUT("var/run/c.pid", .data = "c");
        PUT("up", TAR_SYMLINK, .link = "run/sub/../..");
        PUT("up/here", .data = "x");
        assert_ok(finish(*dir, &tar));
        assert_int_equal(notes.n, 0);
        assert_true(exists(*dir, "run/a.pid"));
        assert_true(exists(*dir, "run/sub/b.pid"));
        assert_int_equal(stat_of(*dir, "run/sub").st_mode, S_IFDIR | 0750);
        assert_int_equal(stat_of(*dir, "hard").st_nlink, 2);
        assert_true(S_ISDIR(stat_of(*dir, "var/run").st_mode));
        assert_true(exists(*dir, "var/run/c.pid"));
        assert_false(exists(*dir, "run/c.pid"));
        assert_true(exists(*dir, "here"));
}

static void what_a_layer_leaves_unsaid_is_told(void **dir)
{
        TAR_BEGIN;
        PUT("tmp/a/f", .data = "x");
        PUT("home/u/f", .data = "x");
        PUT("home/u", TAR_DIR, .mode = 0700, .uid = 5);
        PUT("l", TAR_SYMLINK, .link = "opt");
        PUT("l/q/.wh.gone", .mode = 0);
        PUT("gone/x", .data = "x");
        PUT("gone", .data = "x");
        assert_ok(finish(*dir, &tar));
        assert_non_null(strstr(seams, "dtmp\n"));
        assert_non_null(strstr(seams, "dtmp/a\n"));
        assert_non_null(strstr(seams, "dhome\n"));
        assert_null(strstr(seams, "dhome/u\n"));
        assert_non_null(strstr(seams, "dopt/q\n"));
        assert_non_null(strstr(seams, "wopt/q\n"));
}

static void owners_of_no_number_are_what_peers_make_of_them(void **dir)
{
        TAR_BEGIN;
        tar_put_pax(&tar, "uid", "4294967295", 10);
        tar_put_pax(&tar, "gid", "4294967294", 10);
        PUT("a", .data = "x");
        tar_put_pax(&tar, "uid", "-2", 2);
        PUT("b", .data = "x");
        tar_put_pax(&tar, "uid", "-1", 2);
        PUT("c", .data = "x");
        assert_ok(finish(*dir, &tar));
        assert_int_equal(notes.n, 0);
        assert_int_equal(stat_of(*dir, "a").st_uid, 0);
        assert_true(stat_of(*dir, "a").st_gid == UINT32_MAX - 1);
        assert_true(stat_of(*dir, "b").st_uid == UINT32_MAX - 1);
        assert_int_equal(stat_of(*dir, "c").st_uid, 0);
}

static void the_later_of_two_attributes_counts_and_a_mask_is_made_up(void **dir)
{
        TAR_BEGIN;
        char value[64] = { 0 };
        static const char acl[] = "user::rwx,user:1000:r-x,group::-w-,other::---";
        tar_put_pax(&tar, "SCHILY.xattr.user.note", "first", 5);
        tar_put_pax(&tar, "SCHILY.xattr.user.note", "second", 6);
        PUT("f", .data = "x");
        tar_put_pax(&tar, "SCHILY.acl.access", acl, strlen(acl));
        PUT("acl", .mode = 0750, .data = "x");
        assert_ok(finish(*dir, &tar));
        assert_int_equal(notes.n, 0);
        _cleanup_(freep) char *f = format_string("%s/f", (char *) *dir),
                              *with_acl = format_string("%s/acl", (char *) *dir);
        assert_int_equal(getxattr(f, "user.note", value, sizeof(value)), 6);
        assert_memory_equal(value, "second", 6);
        assert_int_equal(getxattr(with_acl, "system.posix_acl_access", value, sizeof(value)), 4 + 5 * 8);
        assert_memory_equal(value + 4 + 3 * 8, "\20\0\7\0", 4); /* the mask: r-x and -w- */
}

/* A last file without its padding, and no end of the archive; but not one that is cut. */
static void an_archive_may_end_with_its_last_byte(void **dir)
{
        TAR_BEGIN;
        PUT("a", .data = "12345");
        PUT("b", .data = "1234567");
        tar.len_bytes -= 512 - 7;
        assert_ok(unpack(*dir, &tar));
        assert_int_equal(stat_of(*dir, "b").st_size, 7);
        tar.len_bytes--;
        assert_fails(ERROR_DATA_LOSS, "entry \"b\"", unpack(*dir, &tar));
        buf_done(&tar);
}

static void what_aufs_leaves_in_its_layers_is_left_out(void **dir)
{
        TAR_BEGIN;
        PUT(".wh..wh.aufs", .data = "x");
        PUT(".wh..wh.orph/", TAR_DIR, .mode = 0700);
        PUT(".wh..wh.plnk/", TAR_DIR, .mode = 0700);
        PUT(".wh..wh.plnk/123.456", .data = "linked", .mode = 0644);
        PUT("usr/a", TAR_LINK, .link = ".wh..wh.plnk/123.456");
        PUT("usr/b", TAR_LINK, .link = "/.wh..wh.plnk/123.456");
        assert_ok(finish(*dir, &tar));
        assert_int_equal(notes.n, 0);
        assert_int_equal(stat_of(*dir, "usr/a").st_nlink, 2);
        assert_int_equal(stat_of(*dir, "usr/b").st_size, 6);
        assert_false(exists(*dir, ".wh..wh.plnk"));
        assert_false(exists(*dir, ".wh..wh.orph"));
        assert_false(exists(*dir, ".wh..wh.aufs"));
}

static void streams_of_all_kinds_are_read(void **dir)
{
        TAR_BEGIN;
        static char noise[300000];
        struct sink_usage usage;
        for (size_t i = 0; i < sizeof(noise); i++)
                noise[i] = (char) (i * i >> 3);
        PUT("noise", .mode = 0644, .data = noise, .len_bytes = sizeof(noise));
        PUT("small", .mode = 0644, .data = "small");
        tar_end(&tar);
        struct buf gzip, zstd, members;
        buf_init(&gzip, 64 << 20);
        buf_init(&zstd, 64 << 20);
        buf_init(&members, 64 << 20);
        gzip_bytes(&tar, &gzip);
        zstd_bytes(&tar, &zstd);
        struct buf half = tar;
        half.len_bytes = 1000;
        gzip_bytes(&half, &members);
        half = (struct buf){ .bytes = tar.bytes + 1000, .len_bytes = tar.len_bytes - 1000 };
        gzip_bytes(&half, &members);
        const struct buf *all[] = { &tar, &gzip, &zstd, &members };
        for (size_t i = 0; i < LENGTH(all); i++) {
                for (size_t step = 0; step < 8; step += 7) {
                        assert_ok(unpack_stream(*dir, all[i]->bytes, all[i]->len_bytes, step, &usage));
                        assert_int_equal(stat_of(*dir, "noise").st_size, sizeof(noise));
                        assert_int_equal(usage.inodes, 3);
                }
                if (i == 0)
                        continue;
                assert_fails(ERROR_DATA_LOSS, "ends early",
                             unpack_stream(*dir, all[i]->bytes, all[i]->len_bytes - 1, 0, &usage));
                all[i]->bytes[all[i]->len_bytes / 2] ^= 0x55;
                struct error *e = unpack_stream(*dir, all[i]->bytes, all[i]->len_bytes, 0, &usage);
                all[i]->bytes[all[i]->len_bytes / 2] ^= 0x55;
                if (e)
                        assert_fails(ERROR_DATA_LOSS, "", e);
        }
        /* a frame's header that asks for 256 MiB */
        assert_fails(ERROR_RESOURCE_EXHAUSTED, "more than 128 MiB",
                     unpack_stream(*dir, "\x28\xb5\x2f\xfd\x00\x90\x01\x00\x00", 9, 0, &usage));
        assert_fails(ERROR_UNIMPLEMENTED, "xz",
                     unpack_stream(*dir,
                                   "\xfd"
                                   "7zXZ\0\0\0",
                                   8, 0, &usage));
        assert_fails(ERROR_DATA_LOSS, "tar is broken", unpack_stream(*dir, noise, sizeof(noise), 0, &usage));
        assert_ok(unpack_stream(*dir, "", 0, 0, &usage));
        buf_done(&tar);
        buf_done(&gzip);
        buf_done(&zstd);
        buf_done(&members);
}

static void sparse_files_keep_their_holes(void **dir)
{
        TAR_BEGIN;
        /* The 0.1 form: a map in the header, the data one after another. */
        struct buf record;
        buf_init(&record, 4096);
        assert_ok(buf_append_text(&record, "22 GNU.sparse.major=0\n22 GNU.sparse.minor=1\n"
                                           "25 GNU.sparse.name=holes\n27 GNU.sparse.size=1048576\n"
                                           "26 GNU.sparse.numblocks=1\n27 GNU.sparse.map=524288,3\n"));
        tar_put(&tar, &(struct tar_entry){ .name = "pax", .type = 'x', .mode = 0644, .data = record.bytes });
        PUT("GNUSparseFile.0/holes", .mode = 0644, .data = "abc");
        buf_done(&record);
        assert_ok(finish(*dir, &tar));
        struct stat st = stat_of(*dir, "holes");
        assert_int_equal(st.st_size, 1048576);
        assert_true(st.st_blocks * 512 < 65536);
}

/* Go's archive/tar reads no data behind links and directories whatever they say; what follows them must be there. */
static void a_link_with_a_size_costs_nothing(void **dir)
{
        static const size_t steps[] = { 0, 1, 511, 512, 4096 };
        struct sink_usage usage;
        TAR_BEGIN;
        PUT("a", .mode = 0644, .data = "hello");
        tar_put_pax(&tar, "size", "5000", 4);
        PUT("pax", TAR_LINK, .link = "a", .said_bytes = 5000);
        PUT("behind", .mode = 0644, .data = "1");
        PUT("header", TAR_LINK, .link = "a", .said_bytes = 100000);
        tar_put_pax(&tar, "size", "512", 3);
        PUT("d", TAR_DIR, .mode = 0755);
        tar_put_pax(&tar, "size", "3", 1);
        PUT("s", TAR_SYMLINK, .link = "a");
        tar_put_pax(&tar, "size", "7", 1);
        PUT("by-pax", .mode = 0644);
        assert_ok(buf_append(&tar, memset((char[512]){ 0 }, 'x', 7), 512));
        PUT("last", .mode = 0644, .data = "22");
        tar_end(&tar);
        for (size_t i = 0; i < LENGTH(steps); i++) {
                _cleanup_(freep) char *sub = format_string("%s/%zu", (char *) *dir, i);
                assert_int_equal(mkdir(sub, 0755), 0);
                assert_ok(unpack_stream(sub, tar.bytes, tar.len_bytes, steps[i], &usage));
                assert_int_equal(notes.n, 0);
                assert_int_equal(stat_of(sub, "a").st_nlink, 3);
                assert_int_equal(stat_of(sub, "header").st_size, 5);
                assert_int_equal(stat_of(sub, "behind").st_size, 1);
                assert_true(S_ISDIR(stat_of(sub, "d").st_mode));
                assert_true(S_ISLNK(stat_of(sub, "s").st_mode));
                assert_int_equal(stat_of(sub, "by-pax").st_size, 7);
                assert_int_equal(stat_of(sub, "last").st_size, 2);
        }
        buf_done(&tar);
}

static void limits_end_an_endless_archive(void **dir)
{
        TAR_BEGIN;
        for (int i = 0; i < 10001; i++) {
                _cleanup_(freep) char *name = format_string("f%d", i % 10);
                PUT(.name = name, .mode = 0644);
        }
        assert_fails(ERROR_RESOURCE_EXHAUSTED, "10000 entries", finish(*dir, &tar));
}

UNIT_MAIN(IN_TMPDIR(entries_come_out_as_they_went_in),
          IN_TMPDIR(attributes_come_through_and_none_is_inherited),
          IN_TMPDIR(whiteouts_hide_only_what_is_below), IN_TMPDIR(the_last_of_two_entries_of_one_name_wins),
          IN_TMPDIR(odd_entries_stay_inside_and_cost_an_entry_at_most),
          IN_TMPDIR(a_hard_link_to_what_is_missing_is_refused),
          IN_TMPDIR(links_of_the_layer_are_followed_as_they_are_then),
          IN_TMPDIR(what_a_layer_leaves_unsaid_is_told),
          IN_TMPDIR(owners_of_no_number_are_what_peers_make_of_them),
          IN_TMPDIR(the_later_of_two_attributes_counts_and_a_mask_is_made_up),
          IN_TMPDIR(an_archive_may_end_with_its_last_byte),
          IN_TMPDIR(what_aufs_leaves_in_its_layers_is_left_out), IN_TMPDIR(streams_of_all_kinds_are_read),
          IN_TMPDIR(sparse_files_keep_their_holes), IN_TMPDIR(a_link_with_a_size_costs_nothing),
          IN_TMPDIR(limits_end_an_endless_archive))
