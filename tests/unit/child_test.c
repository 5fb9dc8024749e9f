/* What a container finds when its command begins, on the real kernel, as root: its mounts, its stdio, its keyring. */
#include "tests/unit/runtime_fixture.h"
#include <fcntl.h>
#include <linux/keyctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>

static const struct pod_spec own_network = { .hostname = "skiff-pod-test" };

static void host_directories_are_mounted_as_asked(void **state)
{
        struct fixture *f = *state;
        _cleanup_(freep) char *log = NULL, *path = format_string("%s/volume", f->dir);
        assert_int_equal(mkdir(path, 0755), 0);
        _cleanup_(freep) char *file = format_string("%s/volume/file", f->dir);
        _cleanup_(closep) int fd = open(file, O_CREAT | O_WRONLY | O_CLOEXEC, 0644);
        assert_true(fd >= 0);
        pod_up(f, own_network);
        _cleanup_(container_spec_freep) struct container_spec *spec = spec_of(
                f, "c1",
                "touch /v/rw/a && echo rw; touch /v/ro/b || echo ro; ls /v/file; touch /x || echo rootro;"
                "mknod /dev/evil b 254 0 && head -c 1 /dev/evil || echo denied; echo > /dev/null && echo "
                "null");
        spec->mounts = grow_array(spec->mounts, spec->n_mounts + 3, sizeof(*spec->mounts));
        const char *const targets[] = { "/v/rw", "/v/ro", "/v/file" };
        for (size_t i = 0; i < 3; i++)
                spec->mounts[spec->n_mounts++] =
                        (struct container_mount){ .kind = MOUNT_BIND,
                                                  .target = dup_string(targets[i]),
                                                  .host_path = dup_string(i == 2 ? file : path),
                                                  .readonly = i == 1,
                                                  .source_fd = -1 };
        spec->readonly_rootfs = true;
        assert_int_equal(container_run(f, spec, &log).exit_code, 0);
        assert_non_null(strstr(log, "F rw\n"));
        assert_non_null(strstr(log, "F ro\n"));
        assert_non_null(strstr(log, "F /v/file\n"));
        assert_non_null(strstr(log, "F rootro\n"));
        assert_non_null(strstr(log, "F denied\n"));
        assert_non_null(strstr(log, "F null\n"));
}

/* By /proc/self/fd a container changes the mode and the owner of what it has open: that must be its own. */
static void assert_own_null(const char *line, const char *own)
{
        char host[64];
        struct stat st;
        assert_int_equal(stat("/dev/null", &st), 0);
        (void) snprintf(host, sizeof(host), "1:3 %ju:%ju", (uintmax_t) st.st_dev, (uintmax_t) st.st_ino);
        assert_null(strstr(line, host));
        assert_non_null(strstr(line, "1:3 "));
        if (own)
                assert_non_null(strstr(line, own));
}

static void stdin_is_the_containers_own_null_device(void **state)
{
        struct fixture *f = *state;
        struct exec_result r = { 0 };
        static const char look[] = "stat -L -c '%t:%T %d:%i' /proc/$$/fd/0";
        pod_up(f, own_network);
        _cleanup_(container_spec_freep) struct container_spec *spec =
                spec_of(f, "c1",
                        "stat -L -c '%t:%T %d:%i' /proc/$$/fd/0 > /at-start;"
                        "stat -L -c '%t:%T %d:%i' /dev/null > /own; touch /ready; exec sleep 1000");
        container_up(f, spec);
        assert_ok(exec_try(f, "c1", "until [ -e /ready ]; do :; done; cat /own /at-start", 0, &r));
        _cleanup_(freep) char *own = dup_bytes(r.out, strcspn(r.out, "\n"));
        assert_own_null(strchr(r.out, '\n'), own);
        exec_result_done(&r);
        assert_ok(exec_try(f, "c1", look, 0, &r));
        assert_own_null(r.out, own);
        exec_result_done(&r);
        /* Whatever stands there instead: it is not opened, and not the host's is taken. */
        static const char *const odd[] = { "rm /dev/null; ln -s /etc/passwd /dev/null",
                                           "rm /dev/null; mkfifo /dev/null",
                                           "rm /dev/null; mknod /dev/null c 1 5", "rm /dev/null" };
        for (size_t i = 0; i < LENGTH(odd); i++) {
                assert_ok(exec_try(f, "c1", odd[i], 0, &r));
                assert_int_equal(r.exit_code, 0);
                exec_result_done(&r);
                assert_ok(exec_try(f, "c1", look, 5000, &r));
                assert_int_equal(r.exit_code, 0);
                assert_own_null(r.out, NULL);
                exec_result_done(&r);
        }
}

/* Whose it is, others may search: so it is asked as another user than root, who sees what it possesses. */
static void a_container_has_a_session_keyring_of_its_own(void **state)
{
        struct fixture *f = *state;
        if (access("/proc/keys", R_OK) < 0)
                skip();
        assert_true(syscall(__NR_keyctl, KEYCTL_JOIN_SESSION_KEYRING, NULL) > 0);
        assert_true(syscall(__NR_add_key, "user", "skiff-test-secret", "x", 1, KEY_SPEC_SESSION_KEYRING) > 0);
        pod_up(f, own_network);
        _cleanup_(container_spec_freep) struct container_spec *spec =
                spec_of(f, "c1", "cat /proc/keys; exec sleep 1000");
        spec->process.uid = spec->process.gid = 1000;
        free_strings(spec->masked_paths); /* that file is one of them */
        spec->masked_paths = NEW_ARRAY(char *, 1);
        container_up(f, spec);
        for (char *log = log_of(f, "c1");; log = log_of(f, "c1")) { /* until its first line is there */
                bool there = strstr(log, "_ses") != NULL;
                assert_null(strstr(log, "skiff-test-secret"));
                free(log);
                if (there)
                        break;
        }
        (void) syscall(__NR_keyctl, KEYCTL_JOIN_SESSION_KEYRING, NULL);
}

static void mount_at(struct container_spec *spec, const char *source, const char *target)
{
        spec->mounts = grow_array(spec->mounts, spec->n_mounts + 1, sizeof(*spec->mounts));
        spec->mounts[spec->n_mounts++] = (struct container_mount){ .kind = MOUNT_BIND,
                                                                   .target = dup_string(target),
                                                                   .host_path = dup_string(source),
                                                                   .source_fd = -1 };
}

/* Images link /var/run to /run and /etc/resolv.conf to a file that is made later. */
static void a_target_behind_a_dangling_link_is_made(void **state)
{
        struct fixture *f = *state;
        _cleanup_(freep) char *log = NULL, *path = format_string("%s/volume", f->dir);
        _cleanup_(freep) char *file = format_string("%s/volume/file", f->dir);
        assert_int_equal(mkdir(path, 0755), 0);
        _cleanup_(closep) int fd = open(file, O_CREAT | O_WRONLY | O_CLOEXEC, 0644);
        assert_true(fd >= 0);
        assert_int_equal(symlinkat("/nowhere/deep", f->rootfs_dir_fd, "absolute"), 0);
        assert_int_equal(symlinkat("../../out/side", f->rootfs_dir_fd, "etc/relative"), 0);
        assert_int_equal(symlinkat("second", f->rootfs_dir_fd, "first"), 0);
        assert_int_equal(symlinkat("third", f->rootfs_dir_fd, "second"), 0);
        assert_int_equal(symlinkat("loop", f->rootfs_dir_fd, "loop"), 0);
        pod_up(f, own_network);
        _cleanup_(container_spec_freep) struct container_spec *spec =
                spec_of(f, "c1", "ls /nowhere/deep/below/file /out/side/file /third /absolute/x/y");
        mount_at(spec, path, "/absolute/below");
        mount_at(spec, path, "/etc/relative");
        mount_at(spec, file, "/first");
        mount_at(spec, file, "/absolute/x/y");
        assert_int_equal(container_run(f, spec, &log).exit_code, 0);
        assert_string_equal(log, "stdout F /absolute/x/y\nstdout F /nowhere/deep/below/file\n"
                                 "stdout F /out/side/file\nstdout F /third\n");
        _cleanup_(container_spec_freep) struct container_spec *loops = spec_of(f, "c2", "true");
        mount_at(loops, path, "/loop/x");
        assert_fails(ERROR_FAILED_PRECONDITION, "symbolic link", container_try(f, loops));
}

UNIT_MAIN(WITH_POD(host_directories_are_mounted_as_asked), WITH_POD(a_target_behind_a_dangling_link_is_made),
          WITH_POD(stdin_is_the_containers_own_null_device),
          WITH_POD(a_container_has_a_session_keyring_of_its_own))
