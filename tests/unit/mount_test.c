/* As root, on the real kernel: everything is detached, so nothing is left behind. */
#include "base/mount.h"
#include "base/overlay.h"
#include "tests/unit/unit.h"
#include <fcntl.h>
#include <linux/mount.h>
#include <sched.h>
#include <signal.h>
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
        assert_ok(mount_overlay(lowers, 2, upper, work, true, NULL, &overlay));
        assert_holds(overlay, "both", "top");
        assert_holds(overlay, "only", "base");
        put(overlay, "new", "new");
        assert_holds(upper, "new", "new");
        closep(&overlay);
        assert_ok(mount_overlay(lowers, 2, -1, -1, false, NULL, &overlay));
        assert_int_equal(openat(overlay, "x", O_CREAT | O_WRONLY, 0644), -1);
        closep(&overlay);
        assert_ok(mount_overlay(lowers, 1, -1, -1, false, NULL, &overlay));
        assert_holds(overlay, "both", "top");
        assert_int_equal(openat(overlay, "x", O_CREAT | O_WRONLY, 0644), -1);
        assert_int_equal(errno, EROFS);
}

/* Sixty layers: more than 255 bytes of names, whichever way the kernel takes. */
/* A user namespace: of a child that has ended by then. */
static int userns_fd(uint32_t base)
{
        char path[32], line[32];
        int go[2], rc = 0;
        assert_int_equal(pipe(go), 0);
        pid_t pid = fork();
        if (pid == 0)
                _exit(unshare(CLONE_NEWUSER) < 0 || write(go[1], "u", 1) != 1 || pause());
        char byte;
        assert_int_equal(read(go[0], &byte, 1), 1);
        (void) snprintf(line, sizeof(line), "0 %u 1000\n", base);
        for (const char *const *name = (const char *const[]){ "gid_map", "uid_map", NULL }; *name; name++) {
                (void) snprintf(path, sizeof(path), "/proc/%d/%s", pid, *name);
                int fd = open(path, O_WRONLY | O_CLOEXEC);
                rc |= write(fd, line, strlen(line)) < 0;
                (void) close(fd);
        }
        assert_int_equal(rc, 0);
        (void) snprintf(path, sizeof(path), "/proc/%d/ns/user", pid);
        int fd = open(path, O_RDONLY | O_CLOEXEC);
        assert_true(fd >= 0);
        (void) kill(pid, SIGKILL);
        (void) waitpid(pid, NULL, 0);
        (void) close(go[0]);
        (void) close(go[1]);
        return fd;
}

static uid_t owner_of(int dir_fd, const char *name)
{
        struct stat st;
        assert_int_equal(fstatat(dir_fd, name, &st, 0), 0);
        return st.st_uid;
}

static void an_overlay_maps_its_lowers_and_not_its_upper(void **dir)
{
#if defined(__SANITIZE_THREAD__)
        skip(); /* its clone(3) jumps to the flags when a child shares memory */
#endif
        enum { BASE = 300000 };
        const int lowers[] = { make_dir(*dir, "top"), make_dir(*dir, "base") };
        _cleanup_(closep) int top = lowers[0], base = lowers[1], upper = make_dir(*dir, "upper"),
                              work = make_dir(*dir, "work"), overlay = -1,
                              tree = open(*dir, O_RDONLY | O_DIRECTORY), ids = userns_fd(BASE);
        put(top, "both", "top");
        put(base, "both", "base");
        put(base, "only", "base");
        assert_int_equal(fchownat(base, "only", 7, 7, 0), 0);
        assert_ok(mount_overlay_mapped(tree, ids, lowers, 2, upper, work, true, NULL, &overlay));
        assert_holds(overlay, "both", "top");
        assert_int_equal(owner_of(overlay, "both"), BASE);
        assert_int_equal(owner_of(overlay, "only"), BASE + 7);
        assert_int_equal(owner_of(overlay, "."), 0);
        put(overlay, "new", "new");
        assert_holds(upper, "new", "new");
        closep(&overlay);
        assert_ok(mount_overlay_mapped(tree, ids, &base, 1, -1, -1, false, NULL, &overlay));
        assert_int_equal(owner_of(overlay, "only"), BASE + 7);
        assert_int_equal(openat(overlay, "x", O_CREAT | O_WRONLY, 0644), -1);
        closep(&overlay);
        /* A directory elsewhere would not be mapped. */
        const int strange[] = { top, base };
        assert_fails(ERROR_INTERNAL, "overlay of 2 layers",
                     mount_overlay_mapped(upper, ids, strange, 2, -1, -1, false, NULL, &overlay));
}

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
        assert_ok(mount_overlay(lowers, LAYERS, upper, work, true, NULL, &overlay));
        assert_holds(overlay, "l0", "l0");
        assert_holds(overlay, "l59", "l59");
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
          IN_TMPDIR(an_overlay_maps_its_lowers_and_not_its_upper), IN_TMPDIR(an_overlay_of_many_layers_works),
          IN_TMPDIR(attributes_and_options_reach_the_kernel), TEST(the_kernels_words_are_in_the_error))
