/* As root, on the real kernel: everything is detached, so nothing is left behind. */
#include "base/mount.h"
#include "tests/unit/unit.h"
#include <fcntl.h>
#include <linux/mount.h>
#include <sched.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <sys/wait.h>

static int make_dir(const char *parent, const char *name)
{
        _cleanup_(freep) char *path = format_string("%s/%s", parent, name);
        assert_int_equal(mkdir(path, 0755), 0);
        int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        assert_true(fd >= 0);
        return fd;
}

static void put(int dir_fd, const char *name, const char *text)
{
        _cleanup_(closep) int fd = openat(dir_fd, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
        assert_int_equal(write(fd, text, strlen(text)), strlen(text));
}

static void assert_holds(int dir_fd, const char *name, const char *text)
{
        char got[64] = "";
        _cleanup_(closep) int fd = openat(dir_fd, name, O_RDONLY | O_CLOEXEC);
        assert_true(fd >= 0);
        assert_true(read(fd, got, sizeof(got) - 1) >= 0);
        assert_string_equal(got, text);
}

static void an_overlay_shows_the_top_layer_first_and_writes_to_the_upper(void **dir)
{
        _cleanup_(closep) int top = make_dir(*dir, "top"), base = make_dir(*dir, "base"),
                              upper = make_dir(*dir, "upper"), work = make_dir(*dir, "work"), overlay = -1;
        put(top, "both", "top"), put(base, "both", "base"), put(base, "only", "base");
        int lowers[] = { top, base };
        assert_ok(mount_overlay(lowers, 2, upper, work, true, &overlay));
        assert_holds(overlay, "both", "top");
        assert_holds(overlay, "only", "base");
        put(overlay, "new", "new");
        assert_holds(upper, "new", "new");
        closep(&overlay);
        assert_ok(mount_overlay(lowers, 2, -1, -1, false, &overlay));
        assert_int_equal(openat(overlay, "x", O_CREAT | O_WRONLY, 0644), -1);
        closep(&overlay);
        assert_ok(mount_overlay(lowers, 1, -1, -1, false, &overlay));
        assert_holds(overlay, "both", "top");
        assert_int_equal(openat(overlay, "x", O_CREAT | O_WRONLY, 0644), -1);
        assert_int_equal(errno, EROFS);
}

/* Sixty layers: more than 255 bytes of names, whichever way the kernel takes. */
static void an_overlay_of_many_layers_works(void **dir)
{
        enum { LAYERS = 60 };
        int lowers[LAYERS];
        _cleanup_(closep) int overlay = -1, upper = make_dir(*dir, "upper"), work = make_dir(*dir, "work");
        for (int i = 0; i < LAYERS; i++) {
                char name[16];
                (void) snprintf(name, sizeof(name), "l%d", i);
                lowers[i] = make_dir(*dir, name);
                put(lowers[i], name, name);
        }
        assert_ok(mount_overlay(lowers, LAYERS, upper, work, true, &overlay));
        assert_holds(overlay, "l0", "l0");
        assert_holds(overlay, "l59", "l59");
        for (int i = 0; i < LAYERS; i++)
                (void) close(lowers[i]);
}

/* A user namespace whose root is MAPPED_BASE; its process has ended. */
enum { MAPPED_BASE = 70000 };
static int make_userns(void)
{
        char path[64], line[64];
        int ready[2], done[2], status;
        assert_int_equal(pipe(ready), 0);
        assert_int_equal(pipe(done), 0);
        pid_t child = fork();
        if (child == 0) {
                char byte = unshare(CLONE_NEWUSER) == 0 ? 'y' : 'n';
                bool told = write(ready[1], &byte, 1) == 1 && read(done[0], &byte, 1) == 1;
                _exit(told ? 0 : 1);
        }
        assert_true(child > 0);
        assert_int_equal(read(ready[0], line, 1), 1);
        assert_int_equal(line[0], 'y');
        static const char *const maps[] = { "uid_map", "gid_map" };
        for (size_t i = 0; i < LENGTH(maps); i++) {
                (void) snprintf(path, sizeof(path), "/proc/%d/%s", child, maps[i]);
                int n = snprintf(line, sizeof(line), "0 %d 65536\n", MAPPED_BASE);
                _cleanup_(closep) int map_fd = open(path, O_WRONLY | O_CLOEXEC);
                assert_int_equal(write(map_fd, line, (size_t) n), n);
        }
        (void) snprintf(path, sizeof(path), "/proc/%d/ns/user", child);
        int fd = open(path, O_RDONLY | O_CLOEXEC);
        assert_true(fd >= 0);
        assert_int_equal(write(done[1], "", 1), 1);
        assert_int_equal(waitpid(child, &status, 0), child);
        for (size_t i = 0; i < 2; i++)
                (void) close(ready[i]), (void) close(done[i]);
        return fd;
}

static void assert_owner(int dir_fd, const char *name, uid_t owner)
{
        struct stat st;
        assert_int_equal(fstatat(dir_fd, name, &st, 0), 0);
        assert_int_equal(st.st_uid, owner);
        assert_int_equal(st.st_gid, owner);
}

/* The way of older kernels, which newer ones go as well. */
static void lower_directories_have_other_ids(void **dir)
{
        enum { LAYERS = 60 };
        int lowers[LAYERS];
        _cleanup_(closep) int store = make_dir(*dir, "a store: one,two"), upper = make_dir(*dir, "upper"),
                              work = make_dir(*dir, "work"), overlay = -1,
                              elsewhere = make_dir(*dir, "other"), userns = make_userns();
        _cleanup_(freep) char *path = format_string("%s/a store: one,two", (const char *) *dir);
        const struct mount_map map = { store, userns };
        for (int i = 0; i < LAYERS; i++) {
                char name[16];
                (void) snprintf(name, sizeof(name), "l%d", i);
                lowers[i] = make_dir(path, name);
                put(lowers[i], name, name);
        }
        assert_int_equal(fchown(upper, MAPPED_BASE, MAPPED_BASE), 0);
        assert_ok(mount_overlay_mapped(lowers, LAYERS, upper, work, true, &map, &overlay));
        assert_holds(overlay, "l0", "l0");
        assert_owner(overlay, "l59", MAPPED_BASE);
        assert_owner(overlay, ".", MAPPED_BASE);
        put(overlay, "l59", "ours"); /* copied up, it keeps its owner */
        assert_owner(upper, "l59", MAPPED_BASE);
        assert_owner(lowers[59], "l59", 0);
        closep(&overlay);
        assert_ok(mount_overlay_mapped(lowers, 2, -1, -1, false, &map, &overlay));
        assert_owner(overlay, "l1", MAPPED_BASE);
        closep(&overlay);
        assert_ok(mount_overlay_mapped(lowers, 1, -1, -1, false, &map, &overlay));
        assert_owner(overlay, "l0", MAPPED_BASE);
        assert_int_equal(openat(overlay, "x", O_CREAT | O_WRONLY, 0644), -1);
        assert_int_equal(errno, EROFS);
        closep(&overlay);
        /* One that is not below the directory has not the ids that it should have. */
        const int strange[] = { lowers[0], elsewhere };
        struct error *e = mount_overlay_mapped(strange, 2, -1, -1, false, &map, &overlay);
        assert_int_equal(error_errnum_of(e), ESTALE);
        error_free(e);
        for (int i = 0; i < LAYERS; i++)
                (void) close(lowers[i]);
}

static void attributes_and_options_reach_the_kernel(void **dir)
{
        const char *const options[] = { "size", "1m", "mode", "711", NULL };
        _cleanup_(closep) int tmpfs = -1, clone = -1, plain = make_dir(*dir, "plain");
        struct statfs fs;
        struct stat st;
        assert_ok(mount_new("tmpfs", options, MOUNT_ATTR_NOSUID, &tmpfs));
        assert_int_equal(fstatfs(tmpfs, &fs), 0);
        assert_int_equal((long) fs.f_blocks * fs.f_bsize, 1 << 20);
        assert_int_equal(fstat(tmpfs, &st), 0);
        assert_int_equal(st.st_mode & 07777, 0711);
        assert_ok(mount_clone(plain, "", true, &clone));
        put(clone, "x", "x");
        assert_ok(mount_attributes(clone, MOUNT_ATTR_RDONLY, 0, MS_PRIVATE, true));
        assert_int_equal(openat(clone, "y", O_CREAT | O_WRONLY, 0644), -1);
        assert_int_equal(errno, EROFS);
}

static void the_kernels_words_are_in_the_error(void **state)
{
        (void) state;
        const char *const options[] = { "no_such_option", "1", NULL };
        int fd = -1;
        assert_fails(ERROR_INTERNAL, "no_such_option", mount_new("tmpfs", options, 0, &fd));
        assert_fails(ERROR_INTERNAL, "nosuchfs", mount_new("nosuchfs", NULL, 0, &fd));
        assert_int_equal(fd, -1);
}

UNIT_MAIN(IN_TMPDIR(an_overlay_shows_the_top_layer_first_and_writes_to_the_upper),
          IN_TMPDIR(an_overlay_of_many_layers_works), IN_TMPDIR(lower_directories_have_other_ids),
          IN_TMPDIR(attributes_and_options_reach_the_kernel), TEST(the_kernels_words_are_in_the_error))
