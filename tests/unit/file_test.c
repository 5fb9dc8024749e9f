#include "base/file.h"
#include "base/tree.h"
#include "tests/unit/unit.h"
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>

static int open_dir(const char *path)
{
        int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        assert_true(fd >= 0);
        return fd;
}

static void links_stay_inside_the_root(void **dir)
{
        _cleanup_(closep) int root_fd = open_dir(*dir), fd = -1;
        assert_ok(file_mkdirs(root_fd, "etc/deep", 0755));
        assert_ok(file_replace(root_fd, "etc/passwd", "inside", 6, 0644, false));
        assert_int_equal(symlinkat("/etc/passwd", root_fd, "abs"), 0);
        assert_int_equal(symlinkat("../../../../etc/passwd", root_fd, "etc/deep/up"), 0);
        for (int i = 0; i < 2; i++) {
                char got[16] = { 0 };
                assert_ok(file_open_in_root(root_fd, i ? "etc/deep/up" : "abs", O_RDONLY, 0, &fd));
                assert_int_equal(read(fd, got, sizeof(got) - 1), 6);
                assert_string_equal(got, "inside");
                closep(&fd);
        }
        assert_fails(ERROR_INTERNAL, "abs", file_open_beneath(root_fd, "abs", O_RDONLY, 0, &fd));
        assert_fails(ERROR_INTERNAL, "..", file_open_beneath(root_fd, "../x", O_RDONLY, 0, &fd));
}

static void a_read_is_bounded_and_wants_a_regular_file(void **dir)
{
        _cleanup_(closep) int root_fd = open_dir(*dir);
        _cleanup_(freep) char *text = NULL;
        size_t len_bytes = 0;
        assert_ok(file_replace(root_fd, "f", "12345", 5, 0600, true));
        assert_ok(file_read(root_fd, "f", 5, &text, &len_bytes));
        assert_int_equal(len_bytes, 5);
        freep(&text);
        assert_fails(ERROR_RESOURCE_EXHAUSTED, "more than 4 bytes", file_read(root_fd, "f", 4, &text, NULL));
        assert_int_equal(mkfifoat(root_fd, "fifo", 0600), 0);
        assert_fails(ERROR_INTERNAL, "not a regular file", file_read(root_fd, "fifo", 5, &text, NULL));
        assert_null(text);
}

static void a_tree_is_removed_and_links_out_of_it_are_not_followed(void **dir)
{
        _cleanup_(closep) int root_fd = open_dir(*dir);
        assert_ok(file_replace(root_fd, "keep", "x", 1, 0600, false));
        _cleanup_(freep) char *deep = dup_string("tree");
        for (int i = 0; i < 60; i++) {
                char *deeper = format_string("%s/d%d", deep, i);
                free(deep);
                deep = deeper;
        }
        assert_ok(file_mkdirs(root_fd, deep, 0755));
        assert_int_equal(symlinkat("../keep", root_fd, "tree/link"), 0);
        assert_int_equal(symlinkat("..", root_fd, "tree/d0/up"), 0);
        assert_ok(file_remove_tree(root_fd, "tree"));
        assert_ok(file_remove_tree(root_fd, "tree"));
        assert_int_equal(faccessat(root_fd, "tree", F_OK, AT_SYMLINK_NOFOLLOW), -1);
        assert_int_equal(faccessat(root_fd, "keep", F_OK, 0), 0);
}

/* A directory in a directory, a file in each tenth and in the last. */
static void make_deep(int root_fd, unsigned depth)
{
        _cleanup_(closep) int fd = dup(root_fd);
        for (unsigned i = 0; i < depth; i++) {
                assert_int_equal(mkdirat(fd, i ? "d" : "tree", 0755), 0);
                int next = openat(fd, i ? "d" : "tree", O_PATH | O_DIRECTORY | O_CLOEXEC);
                assert_true(next >= 0);
                closep(&fd);
                fd = next;
                if (i % 10 == 0 || i + 1 == depth)
                        assert_ok(file_replace(fd, "f", "x", 1, 0600, false));
        }
}

static void a_tree_of_any_depth_takes_few_descriptors(void **dir)
{
        enum { DEPTH = 4000, FILES = DEPTH / 10 + 1 };
        struct rlimit usual, few = { 64, 64 };
        uint64_t bytes = 0, inodes = 0;
        _cleanup_(closep) int root_fd = open_dir(*dir);
        make_deep(root_fd, DEPTH);
        assert_int_equal(getrlimit(RLIMIT_NOFILE, &usual), 0);
        few.rlim_max = usual.rlim_max;
        assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
        assert_ok(tree_usage(root_fd, "tree", &bytes, &inodes));
        assert_ok(file_remove_tree(root_fd, "tree"));
        assert_int_equal(setrlimit(RLIMIT_NOFILE, &usual), 0);
        assert_int_equal(inodes, DEPTH + FILES);
        assert_true(bytes >= FILES * 512);
        assert_int_equal(faccessat(root_fd, "tree", F_OK, AT_SYMLINK_NOFOLLOW), -1);
}

/* Wide and deep at once: after each child its parent is gone on with where it was. */
static void every_entry_of_a_tree_counts_once(void **dir)
{
        uint64_t bytes = 0, inodes = 0, want = 1;
        char chain[200] = "tree";
        size_t n = strlen(chain);
        _cleanup_(closep) int root_fd = open_dir(*dir);
        for (int i = 0; i < 60; i++) {
                n += (size_t) snprintf(chain + n, sizeof(chain) - n, "/d");
                assert_ok(file_mkdirs(root_fd, chain, 0755));
                want++;
                for (int j = 0; j < 3; j++) {
                        _cleanup_(freep) char *side = format_string("%s/s%d/x", chain, j);
                        assert_ok(file_mkdirs(root_fd, side, 0755));
                        want += 2;
                }
        }
        char block[4096] = { 1 };
        assert_ok(file_replace(root_fd, "tree/one", block, sizeof(block), 0600, false));
        assert_ok(tree_usage(root_fd, "tree", &bytes, &inodes));
        assert_int_equal(inodes, want + 1);
        for (int i = 0; i < 2; i++) {
                _cleanup_(freep) char *name = format_string("%s/link%d", chain, i);
                assert_int_equal(linkat(root_fd, "tree/one", root_fd, name, 0), 0);
        }
        uint64_t linked_bytes = 0, linked_inodes = 0;
        assert_ok(tree_usage(root_fd, "tree", &linked_bytes, &linked_inodes));
        assert_int_equal(linked_inodes, inodes);
        assert_int_equal(linked_bytes, bytes);
}

static size_t n_read_bytes; /* of directories, below the levels that stay open */

/* In place of libc's. */
ssize_t getdents64(int fd, void *entries, size_t size_bytes)
{
        long n = syscall(SYS_getdents64, fd, entries, size_bytes);
        if (n > 0)
                n_read_bytes += (size_t) n;
        return n;
}

/* How many bytes of directories are read for the usage of width directories at that depth. */
static size_t read_for(int root_fd, unsigned depth, unsigned width)
{
        uint64_t bytes = 0, inodes = 0;
        make_deep(root_fd, depth);
        _cleanup_(closep) int fd = openat(root_fd, "tree", O_PATH | O_DIRECTORY | O_CLOEXEC);
        for (unsigned i = 1; i < depth; i++) {
                int next = openat(fd, "d", O_PATH | O_DIRECTORY | O_CLOEXEC);
                assert_true(next >= 0);
                closep(&fd);
                fd = next;
        }
        for (unsigned i = 0; i < width; i++) {
                char name[16];
                (void) snprintf(name, sizeof(name), "w%u", i);
                assert_int_equal(mkdirat(fd, name, 0755), 0);
        }
        n_read_bytes = 0;
        assert_ok(tree_usage(root_fd, "tree", &bytes, &inodes));
        assert_int_equal(inodes, depth + (depth + 9) / 10 + (depth % 10 != 1) + width);
        assert_ok(file_remove_tree(root_fd, "tree"));
        assert_true(n_read_bytes > 0);
        return n_read_bytes;
}

/* Ten times as many directories cost ten times as much, not a hundred times. */
static void a_wide_directory_deep_down_costs_what_it_holds(void **dir)
{
        enum { DEPTH = 40 };
        _cleanup_(closep) int root_fd = open_dir(*dir);
        size_t chain = read_for(root_fd, DEPTH, 0);
        size_t narrow = read_for(root_fd, DEPTH, 300) - chain;
        size_t wide = read_for(root_fd, DEPTH, 3000) - chain;
        if (wide > narrow * 15)
                fail_msg("%zu bytes for 3000, %zu for 300", wide, narrow);
}

static void a_mount_below_a_tree_is_not_emptied(void **dir)
{
        _cleanup_(closep) int root_fd = open_dir(*dir);
        assert_ok(file_mkdirs(root_fd, "outside", 0755));
        assert_ok(file_replace(root_fd, "outside/data", "x", 1, 0600, false));
        assert_ok(file_mkdirs(root_fd, "tree/mnt", 0755));
        _cleanup_(freep) char *from = format_string("%s/outside", (char *) *dir);
        _cleanup_(freep) char *to = format_string("%s/tree/mnt", (char *) *dir);
        if (mount(from, to, NULL, MS_BIND, NULL) < 0)
                skip(); /* not root */
        struct error *e = file_remove_tree(root_fd, "tree");
        assert_int_equal(umount(to), 0);
        assert_fails(ERROR_INTERNAL, "mount point", e);
        assert_int_equal(faccessat(root_fd, "outside/data", F_OK, 0), 0);
}

UNIT_MAIN(IN_TMPDIR(links_stay_inside_the_root), IN_TMPDIR(a_read_is_bounded_and_wants_a_regular_file),
          IN_TMPDIR(a_tree_is_removed_and_links_out_of_it_are_not_followed),
          IN_TMPDIR(a_tree_of_any_depth_takes_few_descriptors), IN_TMPDIR(every_entry_of_a_tree_counts_once),
          IN_TMPDIR(a_wide_directory_deep_down_costs_what_it_holds),
          IN_TMPDIR(a_mount_below_a_tree_is_not_emptied))
