/* What skiff-pull and skiff-unpack may do while they look at bytes from outside, read from /proc. Needs root. */
#include "base/wait.h"
#include "images/puller.h"
#include "images/unpacker.h"
#include "tests/unit/unit.h"
#include <ctype.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <sys/mman.h>
#include <sys/stat.h>

static char *read_proc(pid_t pid, const char *name)
{
        struct buf text;
        _cleanup_(freep) char *path = format_string("/proc/%d/%s", pid, name);
        _cleanup_(closep) int fd = open(path, O_RDONLY | O_CLOEXEC);
        buf_init(&text, 1 << 20);
        if (fd >= 0)
                assert_ok(buf_read_all(&text, fd));
        return buf_take_text(&text);
}

/* Whether /proc/PID/status has the line "KEY:\tVALUE" */
static bool has_status(pid_t pid, const char *line)
{
        _cleanup_(freep) char *status = read_proc(pid, "status");
        return strstr(status, line) != NULL;
}

/* Our child of that name. */
static pid_t find_child(const char *name)
{
        _cleanup_(closedirp) DIR *proc = opendir("/proc");
        assert_non_null(proc);
        _cleanup_(freep) char *ppid = format_string("\nPPid:\t%d\n", getpid()),
                              *named = format_string("Name:\t%s\n", name);
        for (struct dirent *entry; (entry = readdir(proc));) {
                pid_t pid = isdigit((unsigned char) entry->d_name[0]) ? atoi(entry->d_name) : 0;
                if (pid && has_status(pid, ppid) && has_status(pid, named))
                        return pid;
        }
        return 0;
}

/* The process tells nobody when it is locked in. */
static pid_t wait_for_status(const char *name, const char *line)
{
        const struct wait wait = wait_of_ms(10000);
        for (;;) {
                pid_t pid = find_child(name);
                if (pid && has_status(pid, line))
                        return pid;
                assert_ok(wait_delay(&wait, 5, line));
        }
}

static void skiff_pull_is_nobody(void **state)
{
        (void) state;
        _cleanup_(puller_freep) struct puller *puller = NULL;
        const struct wait wait = wait_of_ms(10000);
        const struct image_auth auth = { .username = "user", .password = "skiff-secret" };
        const struct hosts hosts = { NULL, 0, NULL };
        const struct puller_config config = { .path = PROGRAM_DIR "/skiff-pull",
                                              .uid = 64321,
                                              .holder_fd = -1 };
        assert_ok(puller_start_registry(&config, "127.0.0.1:1", "a", &auth, &hosts, &wait, &puller));
        pid_t pid = wait_for_status("skiff-pull", "NoNewPrivs:\t1\n");
        assert_true(has_status(pid, "\nUid:\t64321\t64321\t64321\t64321\n"));
        assert_true(has_status(pid, "\nGid:\t64321\t64321\t64321\t64321\n"));
        assert_true(has_status(pid, "\nGroups:\t \n"));
        assert_true(has_status(pid, "\nCapEff:\t0000000000000000\n"));
        assert_true(has_status(pid, "\nCapPrm:\t0000000000000000\n"));
        _cleanup_(freep) char *arguments = read_proc(pid, "cmdline"),
                              *environment = read_proc(pid, "environ");
        assert_string_equal(arguments, "skiff-pull");
        assert_string_equal(arguments + sizeof("skiff-pull"), "64321");
        assert_string_equal(environment, "");
}

static void skiff_unpack_is_locked_into_the_layer(void **dir)
{
        int fds[2];
        char value[64], ours[64] = "", its[64] = "";
        _cleanup_(unpacker_freep) struct unpacker *unpacker = NULL;
        const struct wait wait = wait_of_ms(10000);
        const struct unpack_job job = { .max_tar_bytes = 1, .max_entries = 1 };
        _cleanup_(closep) int layer_fd = open(*dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        assert_int_equal(mkdirat(layer_fd, "only-this", 0755), 0);
        assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
        _cleanup_(closep) int read_fd = fds[0], write_fd = fds[1]; /* open: skiff-unpack waits for more */
        (void) write_fd;
        const struct unpacker_place place = { -1, layer_fd, -1 };
        assert_ok(unpacker_start(PROGRAM_DIR "/skiff-unpack", &place, read_fd, &job, &wait, &unpacker));
        pid_t pid = wait_for_status("skiff-unpack", IS_SANITIZED ? "NoNewPrivs:\t1\n" : "\nSeccomp:\t2\n");
        const unsigned long long kept = 1ull << CAP_CHOWN | 1ull << CAP_DAC_OVERRIDE | 1ull << CAP_FOWNER |
                                        1ull << CAP_FSETID | 1ull << CAP_MKNOD | 1ull << CAP_SETFCAP;
        static const char *const sets[] = { "CapEff", "CapPrm", "CapBnd" };
        for (size_t i = 0; i < LENGTH(sets); i++) {
                (void) snprintf(value, sizeof(value), "\n%s:\t%016llx\n", sets[i], kept);
                assert_true(has_status(pid, value));
        }
        assert_true(has_status(pid, "\nNoNewPrivs:\t1\n"));
        _cleanup_(freep) char *root = format_string("/proc/%d/root", pid),
                              *net = format_string("/proc/%d/ns/net", pid);
        _cleanup_(closedirp) DIR *entries = opendir(root);
        size_t n = 0;
        for (struct dirent *entry; (entry = readdir(entries));)
                n += entry->d_name[0] != '.';
        assert_int_equal(n, 1);
        assert_true(readlink(net, its, sizeof(its) - 1) > 0 &&
                    readlink("/proc/self/ns/net", ours, sizeof(ours) - 1) > 0);
        assert_string_not_equal(its, ours);
        _cleanup_(freep) char *mounts = read_proc(pid, "mounts");
        assert_null(strchr(strchr(mounts, '\n') + 1, '\n')); /* one line */
        assert_non_null(strstr(mounts, "nosuid,nodev,noexec"));
}

static struct puller *start_with(const struct puller_config *config, const char *password)
{
        struct puller *puller = NULL;
        const struct wait wait = wait_of_ms(20000);
        const struct image_auth auth = { .username = "user", .password = password };
        struct hosts hosts;
        assert_ok(hosts_load("", "127.0.0.1:1", &hosts));
        assert_ok(puller_start_registry(config, "127.0.0.1:1", "a", &auth, &hosts, &wait, &puller));
        hosts_done(&hosts);
        return puller;
}

/* One that a pull went well with serves the next one of the same, and nobody with other credentials. */
static void a_kept_skiff_pull_is_for_the_same_alone(void **state)
{
        (void) state;
        struct puller_config config = {
                .path = PROGRAM_DIR "/skiff-pull", .uid = 64321, .holder_fd = -1, .shelf = puller_shelf_new()
        };
        struct puller *first = start_with(&config, "one");
        puller_keep(&config, first);
        struct puller *other = start_with(&config, "two");
        assert_ptr_not_equal(other, first);
        struct puller *again = start_with(&config, "one");
        assert_ptr_equal(again, first);
        struct puller *more = start_with(&config, "one"); /* it is in use */
        assert_ptr_not_equal(more, first);
        for (int i = 0; i < 6; i++) /* more than are kept */
                puller_keep(&config, start_with(&config, i % 2 ? "three" : "four"));
        puller_free(again);
        puller_free(other);
        puller_keep(&config, more);
        /* They end by themselves, soon, and are taken down at a convenient moment. */
        const struct wait wait = wait_of_ms(20000);
        while (find_child("skiff-pull")) {
                puller_shelf_tidy(config.shelf);
                assert_ok(wait_delay(&wait, 20, "wait for the end of those that are kept"));
        }
        puller_shelf_free(config.shelf);
}

UNIT_MAIN(TEST(a_kept_skiff_pull_is_for_the_same_alone), TEST(skiff_pull_is_nobody),
          IN_TMPDIR(skiff_unpack_is_locked_into_the_layer))
