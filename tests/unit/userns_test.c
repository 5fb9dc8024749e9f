/* A pod's user namespace: what goes over to skiff-pod of it, and the namespaces themselves, which need root. */
#include "base/mount.h"
#include "runtime/native/protocol.h"
#include "runtime/native/userns.h"
#include "tests/unit/unit.h"
#include <fcntl.h>
#include <linux/nsfs.h>
#include <sched.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

/* --- the message --- */

static void the_base_goes_behind_the_rest(void **state)
{
        (void) state;
        struct wire_writer w;
        struct wire_reader r;
        struct pod_start start = { .flags = POD_USERNS };
        wire_begin(&w, 64);
        wire_put_u32(&w, 65536);
        assert_ok(wire_end(&w));
        wire_open(&r, w.bytes.bytes, w.bytes.len_bytes);
        pod_users_get(&r, &start);
        assert_int_equal(start.users_base, 65536);
        assert_false(r.bad);
        pod_users_get(&r, &start); /* nothing is left: it would be the host's root */
        assert_true(r.bad);
        start.flags = 0;
        wire_open(&r, w.bytes.bytes, 0);
        pod_users_get(&r, &start);
        assert_false(r.bad);
        wire_done(&w);
}

/* --- the kernel --- */

static void the_network_tells_who_owns_it(void **state)
{
        (void) state;
        const struct userns_range range = { 200000, 65536 };
        _cleanup_(closep) int userns_fd = -1;
        struct stat ours, its;
        assert_ok(runtime_userns_try(&range, &userns_fd));
        assert_int_equal(ioctl(userns_fd, NS_GET_NSTYPE), CLONE_NEWUSER);
        assert_int_equal(fstat(userns_fd, &its), 0);
        assert_int_equal(stat("/proc/self/ns/user", &ours), 0);
        assert_int_not_equal(ours.st_ino, its.st_ino);
        assert_true(fcntl(userns_fd, F_GETFD) & FD_CLOEXEC);
}

static void a_range_that_the_kernel_refuses_leaves_nothing(void **state)
{
        (void) state;
        const struct userns_range range = { UINT32_MAX, 65536 };
        struct userns_holder holder = USERNS_HOLDER_NONE;
        assert_fails(ERROR_INTERNAL, "gid_map", userns_hold(&range, &holder));
        assert_int_equal(holder.pid_fd, -1);
}

static void a_mapped_mount_shows_root_as_somebody(void **dir)
{
        const struct userns_range range = { 200000, 65536 };
        _cleanup_(closep) int userns_fd = -1, mount_fd = -1, again_fd = -1;
        const char *const options[] = { "mode", "755", NULL };
        struct stat st;
        (void) dir;
        assert_ok(runtime_userns_try(&range, &userns_fd));
        assert_ok(mount_new("tmpfs", options, 0, &mount_fd));
        assert_ok(mount_idmap(mount_fd, userns_fd, true));
        assert_int_equal(fstat(mount_fd, &st), 0);
        assert_int_equal(st.st_uid, 200000);
        assert_fails(ERROR_INTERNAL, "map the ids", mount_idmap(mount_fd, userns_fd, true));
        assert_ok(mount_new("proc", NULL, 0, &again_fd));
        assert_fails(ERROR_INTERNAL, "map the ids", mount_idmap(again_fd, userns_fd, true));
}

UNIT_MAIN(TEST(the_base_goes_behind_the_rest), TEST(the_network_tells_who_owns_it),
          TEST(a_range_that_the_kernel_refuses_leaves_nothing), TEST(a_mapped_mount_shows_root_as_somebody))
