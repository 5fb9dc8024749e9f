/* As root. The conversions are pure; the rest makes cgroups below /skiff-test-PID on whatever this host has: v1 hierarchies
 * or v2 (tests/vm/cgroup-v2.sh runs it there). */
#include "base/file.h"
#include "base/process.h"
#include "runtime/cgroup/cgroup_internal.h"
#include "tests/unit/unit.h"
#include <fcntl.h>
#include <linux/bpf.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

static void shares_become_weights(void **state)
{
        (void) state;
        assert_int_equal(cgroup_weight_of_shares(0), 1);
        assert_int_equal(cgroup_weight_of_shares(2), 1);
        assert_int_equal(cgroup_weight_of_shares(1024), 100);
        assert_int_equal(cgroup_weight_of_shares(262144), 10000);
        assert_int_equal(cgroup_weight_of_shares(INT64_MAX), 10000);
        uint64_t last = 0;
        for (int64_t shares = 2; shares < 262144; shares += 97) {
                uint64_t weight = cgroup_weight_of_shares(shares);
                assert_true(weight >= last && weight >= 1 && weight <= 10000);
                last = weight;
        }
}

static void swap_is_what_is_left_of_both(void **state)
{
        (void) state;
        int64_t swap = 0;
        assert_ok(cgroup_swap_of(100, 150, &swap));
        assert_int_equal(swap, 50);
        assert_ok(cgroup_swap_of(100, 100, &swap));
        assert_int_equal(swap, 0);
        assert_ok(cgroup_swap_of(100, -1, &swap));
        assert_int_equal(swap, -1);
        assert_fails(ERROR_INVALID_ARGUMENT, "less than memory", cgroup_swap_of(100, 50, &swap));
        assert_fails(ERROR_INVALID_ARGUMENT, "without a memory limit", cgroup_swap_of(-1, 50, &swap));
}

static void device_programs_are_built_within_bounds(void **state)
{
        (void) state;
        struct bpf_insn insns[64];
        struct device_rule rule = { .allow = true, .type = 'c', .major = 1, .minor = 3, .read = true };
        assert_true(device_bpf_build(&rule, 1, insns, 64) > 8);
        assert_int_equal(device_bpf_build(&rule, 1, insns, 8), 0);
        struct device_rule many[16];
        for (int i = 0; i < 16; i++)
                many[i] = rule;
        assert_int_equal(device_bpf_build(many, 16, insns, 64), 0);
}

struct place {
        struct cgroups *cgroups;
        char path[64], parent[32];
        char *notes;
};

static void place_open(struct place *p, const char *dir)
{
        p->notes = format_string("%s/notes", dir);
        (void) snprintf(p->parent, sizeof(p->parent), "/skiff-test-%d", getpid());
        (void) snprintf(p->path, sizeof(p->path), "%s/a/c", p->parent);
        assert_ok(cgroups_open("/sys/fs/cgroup", p->notes, &p->cgroups));
        print_message("cgroup v%d\n", cgroups_is_v2(p->cgroups) ? 2 : 1);
}

static void place_close(struct place *p)
{
        cgroups_free(p->cgroups);
        free(p->notes);
}

static void assert_value(struct place *p, const char *controller, const char *v1, const char *v2,
                         const char *want)
{
        char text[256];
        const struct hierarchy *h = hierarchy_of(p->cgroups, controller);
        assert_non_null(h);
        assert_ok(cgroup_read(h, p->path + 1, cgroups_is_v2(p->cgroups) ? v2 : v1, text, sizeof(text)));
        text[strcspn(text, "\n")] = '\0';
        assert_string_equal(text, want);
}

static void limits_are_set_and_all_is_removed(void **dir)
{
        struct place p;
        struct wait wait = wait_of_ms(5000);
        place_open(&p, *dir);
        const struct cgroup_hugepage_limit none = { .page_size = "2MB" };
        struct cgroup_limits limits = { .cpu_shares = 1024,
                                        .cpu_period_us = 50000,
                                        .cpu_quota_us = 20000,
                                        .memory_limit_bytes = 64 << 20,
                                        .memory_swap_limit_bytes = 64 << 20,
                                        .pids_limit = 17,
                                        .hugepages = &none,
                                        .n_hugepages = 1 };
        assert_ok(cgroup_make(p.cgroups, p.path, CGROUP_CONTAINER, &limits));
        assert_ok(cgroup_make(p.cgroups, p.path, CGROUP_CONTAINER, &limits)); /* again */
        bool v2 = cgroups_is_v2(p.cgroups);
        assert_value(&p, "cpu", "cpu.shares", "cpu.weight", v2 ? "100" : "1024");
        assert_value(&p, "cpu", "cpu.cfs_quota_us", "cpu.max", v2 ? "20000 50000" : "20000");
        assert_value(&p, "memory", "memory.limit_in_bytes", "memory.max", "67108864");
        assert_value(&p, "pids", "pids.max", "pids.max", "17");
        limits = (struct cgroup_limits){ .memory_limit_bytes = 32 << 20,
                                         .memory_swap_limit_bytes = 32 << 20,
                                         .pids_limit = -1,
                                         .cpu_quota_us = -1 };
        assert_ok(cgroup_update(p.cgroups, p.path, &limits));
        assert_value(&p, "memory", "memory.limit_in_bytes", "memory.max", "33554432");
        assert_value(&p, "pids", "pids.max", "pids.max", "max");
        limits =
                (struct cgroup_limits){ .memory_limit_bytes = 96 << 20, .memory_swap_limit_bytes = 96 << 20 };
        assert_ok(cgroup_update(p.cgroups, p.path, &limits));
        const struct cgroup_unified unified = { .key = v2 ? "memory.high" : "x.y", .value = "1048576" };
        limits = (struct cgroup_limits){ .unified = &unified, .n_unified = 1 };
        if (v2)
                assert_ok(cgroup_update(p.cgroups, p.path, &limits));
        else
                assert_fails(ERROR_INVALID_ARGUMENT, "need cgroup v2",
                             cgroup_update(p.cgroups, p.path, &limits));
        struct cgroup_stats stats;
        assert_ok(cgroup_stats(p.cgroups, p.path, &stats));
        assert_true(stats.has_cpu && stats.has_memory);
        assert_ok(cgroup_remove(p.cgroups, p.path, &wait));
        assert_ok(cgroup_remove(p.cgroups, p.path, &wait)); /* again */
        struct error *gone = cgroup_stats(p.cgroups, p.parent, &stats);
        assert_non_null(gone); /* the parents that it made went too */
        error_free(gone);
        place_close(&p);
}

static void parents_that_were_there_stay(void **dir)
{
        struct place p;
        struct wait wait = wait_of_ms(5000);
        place_open(&p, *dir);
        struct hierarchy *first;
        for (size_t i = 0; i < p.cgroups->n; i++)
                assert_int_equal(mkdirat(p.cgroups->hierarchies[i].fd, p.parent + 1, 0755), 0);
        assert_ok(cgroup_make(p.cgroups, p.path, CGROUP_CONTAINER, NULL));
        /* What was noted outlives the process. */
        cgroups_free(p.cgroups);
        assert_ok(cgroups_open("/sys/fs/cgroup", p.notes, &p.cgroups));
        assert_ok(cgroup_remove(p.cgroups, p.path, &wait));
        first = &p.cgroups->hierarchies[0];
        assert_int_equal(faccessat(first->fd, p.parent + 1, F_OK, 0), 0);
        for (size_t i = 0; i < p.cgroups->n; i++)
                assert_int_equal(unlinkat(p.cgroups->hierarchies[i].fd, p.parent + 1, AT_REMOVEDIR), 0);
        place_close(&p);
}

static void spawn_as(struct place *p, const char *script, enum cgroup_kind kind, struct process *out)
{
        const char *const argv[] = { "/bin/sh", "-c", script, NULL };
        struct process_start start = process_start_init("/bin/sh", argv);
        _cleanup_(cgroup_entry_done) struct cgroup_entry entry = { .n = 0 };
        assert_ok(cgroup_entry_open(p->cgroups, p->path, kind, &entry));
        if (entry.is_v2_directory) {
                start.cgroup_fd = entry.fds[0];
        } else {
                start.enter_fds = entry.fds;
                start.n_enter_fds = entry.n;
        }
        assert_ok(process_spawn(&start, out));
}

static void spawn_in(struct place *p, const char *script, struct process *out)
{
        spawn_as(p, script, CGROUP_CONTAINER, out);
}

/* On v1: in the parent where nothing is asked of it, so the parent must be there, and is let go with it. */
static void a_sandbox_has_directories_where_they_count(void **dir)
{
        struct place p;
        struct process process;
        struct wait wait = wait_of_ms(5000);
        int status = 0;
        place_open(&p, *dir);
        assert_ok(cgroup_make(p.cgroups, p.path, CGROUP_SANDBOX, NULL));
        for (size_t i = 0; i < p.cgroups->n; i++) {
                const struct hierarchy *h = &p.cgroups->hierarchies[i];
                bool there = faccessat(h->fd, p.path + 1, F_OK, 0) == 0;
                assert_int_equal(there, cgroups_is_v2(p.cgroups) || h->has_sandboxes);
        }
        spawn_as(&p, "exec sleep 1000", CGROUP_SANDBOX, &process);
        assert_ok(cgroup_kill(p.cgroups, p.path));
        assert_ok(process_wait(&process, &wait, &status));
        assert_int_equal(status, 128 + SIGKILL);
        assert_ok(cgroup_remove(p.cgroups, p.path, &wait));
        for (size_t i = 0; i < p.cgroups->n; i++)
                assert_int_equal(faccessat(p.cgroups->hierarchies[i].fd, p.parent + 1, F_OK, 0), -1);
        place_close(&p);
}

static void everything_in_it_is_killed(void **dir)
{
        struct place p;
        struct process process;
        struct wait wait = wait_of_ms(5000);
        int status = 0;
        place_open(&p, *dir);
        assert_ok(cgroup_kill(p.cgroups, p.path)); /* absent */
        assert_ok(cgroup_make(p.cgroups, p.path, CGROUP_CONTAINER, NULL));
        spawn_in(&p, "setsid sleep 1000 & setsid sleep 1000 & sleep 1000", &process);
        struct wait busy = wait_of_ms(100);
        assert_fails(ERROR_DEADLINE_EXCEEDED, "still in it", cgroup_remove(p.cgroups, p.path, &busy));
        assert_ok(cgroup_kill(p.cgroups, p.path));
        assert_ok(process_wait(&process, &wait, &status));
        assert_int_equal(status, 128 + SIGKILL);
        assert_ok(cgroup_remove(p.cgroups, p.path, &wait));
        place_close(&p);
}

static int run_in(struct place *p, const char *script)
{
        struct process process;
        struct wait wait = wait_of_ms(5000);
        int status = -1;
        spawn_in(p, script, &process);
        assert_ok(process_wait(&process, &wait, &status));
        return status;
}

static void devices_are_denied_by_default(void **dir)
{
        struct place p;
        struct wait wait = wait_of_ms(5000);
        place_open(&p, *dir);
        _cleanup_(freep) char *node = format_string("%s/node", (const char *) *dir);
        /* /dev/kmsg: harmless to open, and not among the defaults */
        assert_int_equal(mknod(node, S_IFCHR | 0600, makedev(1, 11)), 0);
        _cleanup_(freep) char *use = format_string("exec 3<%s", node),
                              *null = format_string("echo x > /dev/null");
        assert_ok(cgroup_make(p.cgroups, p.path, CGROUP_CONTAINER, NULL));
        assert_int_equal(run_in(&p, use), 0);
        assert_ok(cgroup_devices(p.cgroups, p.path, NULL, 0, false));
        assert_int_not_equal(run_in(&p, use), 0);
        assert_int_equal(run_in(&p, null), 0);
        const struct device_rule allow = {
                .allow = true, .type = 'c', .major = 1, .minor = 11, .read = true
        };
        assert_ok(cgroup_devices(p.cgroups, p.path, &allow, 1, false));
        assert_int_equal(run_in(&p, use), 0);
        _cleanup_(freep) char *write = format_string("exec 3>%s", node);
        assert_int_not_equal(run_in(&p, write), 0);
        assert_ok(cgroup_remove(p.cgroups, p.path, &wait));
        place_close(&p);
}

static void bad_paths_are_refused(void **dir)
{
        struct place p;
        static const char *const bad[] = { "", "/", "a", "/a/../b", "/a//b", "/a/", "/.." };
        place_open(&p, *dir);
        for (size_t i = 0; i < LENGTH(bad); i++)
                assert_fails(ERROR_INVALID_ARGUMENT, "is not a cgroup path",
                             cgroup_make(p.cgroups, bad[i], CGROUP_CONTAINER, NULL));
        place_close(&p);
        struct cgroups *none = NULL;
        assert_fails(ERROR_FAILED_PRECONDITION, "no cgroup hierarchy", cgroups_open("/proc", NULL, &none));
}

UNIT_MAIN(TEST(shares_become_weights), TEST(swap_is_what_is_left_of_both),
          TEST(device_programs_are_built_within_bounds), IN_TMPDIR(limits_are_set_and_all_is_removed),
          IN_TMPDIR(parents_that_were_there_stay), IN_TMPDIR(a_sandbox_has_directories_where_they_count),
          IN_TMPDIR(everything_in_it_is_killed), IN_TMPDIR(devices_are_denied_by_default),
          IN_TMPDIR(bad_paths_are_refused))
