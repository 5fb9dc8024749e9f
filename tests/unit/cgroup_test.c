/* As root. The conversions are pure; the rest makes cgroups below /skiff-test-PID on whatever this host has: v1 hierarchies
 * or v2 (tests/vm/lane.sh v2 runs it there). */
#include "base/file.h"
#include "base/process.h"
#include "runtime/cgroup/cgroup_internal.h"
#include "tests/unit/unit.h"
#include <fcntl.h>
#include <linux/bpf.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
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

static void memory_stat_of_either_version_is_read(void **state)
{
        (void) state;
        struct cgroup_metrics m = { .memory_usage_bytes = 1000, .memory_swap_bytes = CGROUP_UNKNOWN };
        cgroup_memory_stat_parse("cache 1\nrss 2\nmapped_file 3\npgfault 4\npgmajfault 5\ntotal_cache 10\n"
                                 "total_rss 20\ntotal_mapped_file 30\ntotal_pgfault 40\ntotal_pgmajfault 50\n"
                                 "total_swap 60\ntotal_inactive_file 70\ntotal_active_file 80\n",
                                 false, &m);
        assert_int_equal(m.memory_cache_bytes, 10);
        assert_int_equal(m.memory_rss_bytes, 20);
        assert_int_equal(m.memory_mapped_bytes, 30);
        assert_int_equal(m.page_faults, 4);
        assert_int_equal(m.major_page_faults, 5);
        assert_int_equal(m.all_page_faults, 40);
        assert_int_equal(m.all_major_page_faults, 50);
        assert_int_equal(m.memory_swap_bytes, 60);
        assert_int_equal(m.memory_active_file_bytes, 80);
        assert_int_equal(m.memory_working_set_bytes, 930);
        m = (struct cgroup_metrics){ .memory_usage_bytes = 50, .memory_swap_bytes = CGROUP_UNKNOWN };
        cgroup_memory_stat_parse("anon 1\nfile 2\nkernel_stack 3\npagetables 4\nslab 5\nfile_mapped 6\n"
                                 "inactive_file 70\npgfault 8\npgmajfault 9",
                                 true, &m);
        assert_int_equal(m.memory_rss_bytes, 1);
        assert_int_equal(m.memory_cache_bytes, 2);
        assert_int_equal(m.memory_kernel_bytes, 12); /* the pieces, where there is no sum */
        assert_int_equal(m.memory_mapped_bytes, 6);
        assert_int_equal(m.all_page_faults, 8);
        assert_int_equal(m.all_major_page_faults, 9);
        assert_int_equal(m.memory_working_set_bytes, 0);
        assert_true(m.memory_active_file_bytes == CGROUP_UNKNOWN && m.memory_swap_bytes == CGROUP_UNKNOWN);
        cgroup_memory_stat_parse("kernel 100\nkernel_stack 3\n", true, &m);
        assert_int_equal(m.memory_kernel_bytes, 100);
}

static void block_devices_of_either_version_are_read(void **state)
{
        (void) state;
        struct cgroup_metrics m = { .n_devices = 0 };
        cgroup_io_v1_parse(
                "8:0 Read 4096\n8:0 Write 8192\n8:0 Sync 1\n8:0 Total 12288\n259:1 Read 7\nTotal 12295\n",
                true, &m);
        cgroup_io_v1_parse("8:0 Read 1\n8:0 Write 2\n7:3 Write 5\nTotal 8\n", false, &m);
        assert_int_equal(m.n_devices, 3);
        assert_int_equal(m.devices[0].major, 8);
        assert_int_equal(m.devices[0].read_bytes, 4096);
        assert_int_equal(m.devices[0].written_bytes, 8192);
        assert_int_equal(m.devices[0].reads, 1);
        assert_int_equal(m.devices[0].writes, 2);
        assert_int_equal(m.devices[1].read_bytes, 7);
        assert_int_equal(m.devices[2].minor, 3);
        assert_int_equal(m.devices[2].writes, 5);
        cgroup_metrics_done(&m);
        m = (struct cgroup_metrics){ .n_devices = 0 };
        /* The second has only what an io controller of another kind counts; the third is cut short. */
        cgroup_io_v2_parse(
                "254:0 rbytes=10 wbytes=20 rios=1 wios=2 dbytes=30 dios=3\n254:16 cost.usage=5\n8:0 rbytes",
                &m);
        assert_int_equal(m.n_devices, 3);
        assert_int_equal(m.devices[0].read_bytes, 10);
        assert_int_equal(m.devices[0].written_bytes, 20);
        assert_int_equal(m.devices[0].reads, 1);
        assert_int_equal(m.devices[0].writes, 2);
        assert_int_equal(m.devices[1].minor, 16);
        assert_int_equal(m.devices[1].read_bytes, 0);
        assert_int_equal(m.devices[2].read_bytes, 0);
        cgroup_metrics_done(&m);
        m = (struct cgroup_metrics){ .n_devices = 0 };
        static const char *const nothing[] = { "", "\n\n", "Total 0\n", "x", "8:", ":", "8:0" };
        for (size_t i = 0; i < LENGTH(nothing); i++) {
                cgroup_io_v1_parse(nothing[i], true, &m);
                if (strcmp(nothing[i], "8:0") != 0)
                        cgroup_io_v2_parse(nothing[i], &m);
        }
        assert_int_equal(m.n_devices, 0);
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

static void assert_limits_of_old(struct place *p)
{
        bool v2 = cgroups_is_v2(p->cgroups);
        assert_value(p, "cpu", "cpu.shares", "cpu.weight", v2 ? "100" : "1024");
        assert_value(p, "cpu", "cpu.cfs_quota_us", "cpu.max", v2 ? "20000 50000" : "20000");
        if (!v2) {
                assert_value(p, "cpu", "cpu.cfs_period_us", "", "50000");
                assert_value(p, "memory", "memory.memsw.limit_in_bytes", "", "67108864");
        }
        assert_value(p, "memory", "memory.limit_in_bytes", "memory.max", "67108864");
        assert_value(p, "pids", "pids.max", "pids.max", "17");
}

/* Each is refused by the kernel at another place of the sequence; more than a pid can be is the last. */
static void an_update_is_done_whole_or_not_at_all(void **dir)
{
        struct place p;
        struct wait wait = wait_of_ms(5000);
        const struct cgroup_hugepage_limit odd = { .page_size = "3MB", .limit_bytes = 4096 };
        const struct cgroup_limits first = { .cpu_shares = 1024,
                                             .cpu_period_us = 50000,
                                             .cpu_quota_us = 20000,
                                             .memory_limit_bytes = 64 << 20,
                                             .memory_swap_limit_bytes = 64 << 20,
                                             .pids_limit = 17 },
                                   good = { .cpu_shares = 2048,
                                            .cpu_period_us = 100000,
                                            .cpu_quota_us = 30000,
                                            .memory_limit_bytes = 96 << 20,
                                            .memory_swap_limit_bytes = 96 << 20,
                                            .pids_limit = 19 };
        struct cgroup_limits bad[6] = { good, good, good, good, good, good };
        bad[0].cpuset_cpus = "100000";
        bad[1].cpuset_cpus = "nonsense";
        bad[2].cpu_quota_us = 10;
        bad[3].memory_swap_limit_bytes = 1 << 20;
        bad[4].pids_limit = INT64_MAX;
        bad[5].hugepages = &odd;
        bad[5].n_hugepages = 1;
        place_open(&p, *dir);
        assert_ok(cgroup_make(p.cgroups, p.path, CGROUP_CONTAINER, &first));
        for (size_t i = 0; i < LENGTH(bad); i++) {
                struct error *e = cgroup_update(p.cgroups, p.path, &bad[i]);
                assert_non_null(e);
                if (i < 5) /* a host without huge pages says that it has no such controller */
                        assert_int_equal(error_code_of(e), ERROR_INVALID_ARGUMENT);
                error_free(e);
                assert_limits_of_old(&p);
                _cleanup_(freep) char *other = format_string("%s%zu", p.path, i);
                e = cgroup_make(p.cgroups, other, CGROUP_CONTAINER, &bad[i]);
                assert_non_null(e);
                error_free(e);
                assert_ok(cgroup_remove(p.cgroups, other, &wait));
        }
        assert_ok(cgroup_update(p.cgroups, p.path, &good));
        assert_value(&p, "pids", "pids.max", "pids.max", "19");
        assert_ok(cgroup_remove(p.cgroups, p.path, &wait));
        place_close(&p);
}

static void assert_memory(struct place *p, const char *memory, const char *both, const char *swap)
{
        bool v2 = cgroups_is_v2(p->cgroups);
        assert_value(p, "memory", "memory.limit_in_bytes", "memory.max", memory);
        assert_value(p, "memory", "memory.memsw.limit_in_bytes", "memory.swap.max", v2 ? swap : both);
}

/* v1 refuses memory+swap below memory at any moment: so down begins with the one, and up with the other. */
static void memory_and_swap_go_up_and_down_together(void **dir)
{
        struct place p;
        struct wait wait = wait_of_ms(5000);
        static const struct {
                int64_t memory_mib, both_mib;
                const char *memory, *both, *swap;
        } steps[] = {
                { 64, 64, "67108864", "67108864", "0" },
                { 32, 32, "33554432", "33554432", "0" },
                { 128, 128, "134217728", "134217728", "0" },
                { 128, 256, "134217728", "268435456", "134217728" },
                { 96, 96, "100663296", "100663296", "0" },
                { 0, 128, "100663296", "134217728", "33554432" },
                { 64, 128, "67108864", "134217728", "67108864" },
        };
        const struct cgroup_limits none = { 0 };
        place_open(&p, *dir);
        assert_ok(cgroup_make(p.cgroups, p.path, CGROUP_CONTAINER, &none));
        const char *swap_file = cgroups_is_v2(p.cgroups) ? "memory.swap.max" : "memory.memsw.limit_in_bytes";
        bool counted = cgroup_has_file(hierarchy_of(p.cgroups, "memory"), p.path + 1, swap_file);
        for (size_t i = 0; counted && i < LENGTH(steps); i++) {
                const struct cgroup_limits limits = { .memory_limit_bytes = steps[i].memory_mib << 20,
                                                      .memory_swap_limit_bytes = steps[i].both_mib << 20 };
                assert_ok(cgroup_update(p.cgroups, p.path, &limits));
                assert_memory(&p, steps[i].memory, steps[i].both, steps[i].swap);
        }
        assert_ok(cgroup_remove(p.cgroups, p.path, &wait));
        place_close(&p);
        if (!counted)
                skip();
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

/* What is in use is not taken away: v1's kernel refuses it, v2's would kill for it. */
static void memory_that_is_in_use_is_not_taken_away(void **dir)
{
        struct place p;
        struct process process;
        struct wait wait = wait_of_ms(5000);
        struct cgroup_stats stats = { 0 };
        int status = 0;
        const struct cgroup_limits less = { .memory_limit_bytes = 1 << 20,
                                            .memory_swap_limit_bytes = 1 << 20,
                                            .pids_limit = 20 };
        const struct cgroup_limits first = { .pids_limit = 30 };
        place_open(&p, *dir);
        assert_ok(cgroup_make(p.cgroups, p.path, CGROUP_CONTAINER, &first));
        spawn_in(&p, "x=$(head -c 16000000 /dev/zero | tr '\\0' x); sleep 1000; echo $x", &process);
        for (int i = 0; i < 1000 && stats.memory_rss_bytes < 14000000; i++) {
                assert_ok(cgroup_stats(p.cgroups, p.path, &stats));
                (void) usleep(10000);
        }
        assert_true(stats.memory_rss_bytes >= 14000000);
        struct error *e = cgroup_update(p.cgroups, p.path, &less);
        if (e) { /* else all of it went to swap, which is as good */
                assert_int_equal(error_code_of(e), ERROR_FAILED_PRECONDITION);
                assert_value(&p, "pids", "pids.max", "pids.max", "30");
        }
        error_free(e);
        assert_ok(cgroup_kill(p.cgroups, p.path));
        assert_ok(process_wait(&process, &wait, &status));
        assert_ok(cgroup_remove(p.cgroups, p.path, &wait));
        place_close(&p);
}

/* A directory of plain files stands for a cgroup of a host that this one is not. */
static void file_value(int dir_fd, const char *name, char out[64])
{
        _cleanup_(closep) int fd = openat(dir_fd, name, O_RDONLY | O_CLOEXEC);
        assert_true(fd >= 0);
        ssize_t n_bytes = read(fd, out, 63);
        assert_true(n_bytes >= 0);
        out[n_bytes] = '\0';
}

static void hugepages_limited(const char *dir, const struct cgroup_driver *driver, const char *used,
                              const char *reserved)
{
        char text[64];
        struct cgroups c = { .driver = driver, .n = 1 };
        c.hierarchies[0] = (struct hierarchy){ .mount = (char *) (uintptr_t) dir,
                                               .controllers = (char *) (uintptr_t) "hugetlb" };
        _cleanup_(closep) int dir_fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        c.hierarchies[0].fd = dir_fd;
        const struct cgroup_hugepage_limit limit = { .page_size = "2MB", .limit_bytes = 4 << 20 };
        const struct cgroup_limits limits = { .hugepages = &limit, .n_hugepages = 1 };
        assert_ok(file_mkdirs(dir_fd, "c", 0755));
        _cleanup_(freep) char *used_path = format_string("c/%s", used);
        _cleanup_(freep) char *reserved_path = format_string("c/%s", reserved);
        assert_ok(file_replace(dir_fd, used_path, "", 0, 0644, false));
        assert_ok(cgroup_update(&c, "/c", &limits)); /* a kernel that does not count reservations */
        assert_int_equal(faccessat(dir_fd, reserved_path, F_OK, 0), -1);
        assert_ok(file_replace(dir_fd, reserved_path, "", 0, 0644, false));
        assert_ok(cgroup_update(&c, "/c", &limits));
        file_value(dir_fd, used_path, text);
        assert_string_equal(text, "4194304");
        file_value(dir_fd, reserved_path, text);
        assert_string_equal(text, "4194304");
}

/* On the kernel itself, where it has the controller (v2's is in every cgroup then). */
static void assert_hugepages_on_the_kernel(const char *dir)
{
        struct place p;
        struct wait wait = wait_of_ms(5000);
        const struct cgroup_hugepage_limit limit = { .page_size = "2MB", .limit_bytes = 4 << 20 };
        const struct cgroup_limits limits = { .hugepages = &limit, .n_hugepages = 1 }, none = { 0 };
        place_open(&p, dir);
        bool v2 = cgroups_is_v2(p.cgroups);
        const struct hierarchy *h = hierarchy_of(p.cgroups, "hugetlb");
        assert_ok(cgroup_make(p.cgroups, p.path, CGROUP_CONTAINER, &none));
        const char *reserved = v2 ? "hugetlb.2MB.rsvd.max" : "hugetlb.2MB.rsvd.limit_in_bytes";
        if (h && cgroup_has_file(h, p.path + 1, reserved)) {
                assert_ok(cgroup_update(p.cgroups, p.path, &limits));
                assert_value(&p, "hugetlb", "hugetlb.2MB.limit_in_bytes", "hugetlb.2MB.max", "4194304");
                assert_value(&p, "hugetlb", reserved, reserved, "4194304");
                print_message("hugetlb is here\n");
        }
        assert_ok(cgroup_remove(p.cgroups, p.path, &wait));
        place_close(&p);
}

static void reserved_hugepages_are_limited_too(void **dir)
{
        assert_hugepages_on_the_kernel(*dir);
        hugepages_limited(*dir, &cgroup_v1_driver, "hugetlb.2MB.limit_in_bytes",
                          "hugetlb.2MB.rsvd.limit_in_bytes");
        hugepages_limited(*dir, &cgroup_v2_driver, "hugetlb.2MB.max", "hugetlb.2MB.rsvd.max");
}

/* By cgroup v2's names; what is refused is refused before anything is written. */
static void a_unified_setting_is_a_controllers_own(void **dir)
{
        struct cgroups c = { .driver = &cgroup_v2_driver, .n = 1 };
        _cleanup_(closep) int dir_fd = open(*dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        c.hierarchies[0] = (struct hierarchy){ .mount = *dir, .controllers = (char *) "", .fd = dir_fd };
        static const char *const bad[] = {
                "cgroup.kill", "cgroup.procs", "cgroup.freeze", "memory.reclaim", "../x.y", "memory", "",
                "memory.none"
        };
        assert_ok(file_mkdirs(dir_fd, "c", 0755));
        assert_ok(file_replace(dir_fd, "c/cgroup.kill", "", 0, 0644, false));
        assert_ok(file_replace(dir_fd, "cgroup.controllers", "cpu memory\n", 11, 0644, false));
        assert_ok(file_replace(dir_fd, "c/cgroup.controllers", "memory\n", 7, 0644, false));
        for (size_t i = 0; i < LENGTH(bad); i++) {
                const struct cgroup_unified unified = { .key = bad[i], .value = "1" };
                const struct cgroup_limits limits = { .unified = &unified, .n_unified = 1 };
                struct error *e = cgroup_update(&c, "/c", &limits);
                assert_non_null(e);
                assert_int_equal(error_code_of(e), ERROR_INVALID_ARGUMENT);
                error_free(e);
        }
        static const struct {
                const char *key, *value, *text;
                enum error_code code;
        } others[] = {
                { "memory.none", "1", "memory.none: the kernel has no such", ERROR_INVALID_ARGUMENT },
                { "pids.max", "1", "pids.max: this host has no cgroup controller pids",
                  ERROR_FAILED_PRECONDITION },
                { "cpu.weight", "1", "does not hand down the controller cpu", ERROR_FAILED_PRECONDITION },
                { "memory.high", "", "\"memory.high\" has no value", ERROR_INVALID_ARGUMENT },
        };
        for (size_t i = 0; i < LENGTH(others); i++) {
                const struct cgroup_unified unified = { .key = others[i].key, .value = others[i].value };
                const struct cgroup_limits limits = { .unified = &unified, .n_unified = 1 };
                assert_fails(others[i].code, others[i].text, cgroup_update(&c, "/c", &limits));
        }
        const struct cgroup_limits none = { .cpu_shares = 7 };
        assert_fails(ERROR_FAILED_PRECONDITION, "the cgroup is gone", cgroup_update(&c, "/d", &none));
}

/* Plain files stand for a cgroup's, in a mount namespace of its own: the last of two settings can be read and not written, and
 * the first goes back. */
static void assert_goes_back(const char *dir, const char *file, const char *before, const char *value,
                             const char *after)
{
        char text[64];
        _cleanup_(settings_done) struct settings settings = { 0 };
        _cleanup_(closep) int dir_fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        const struct hierarchy h = { .mount = (char *) (uintptr_t) dir, .fd = dir_fd };
        _cleanup_(freep) char *path = format_string("c/%s", file);
        assert_ok(file_replace(dir_fd, path, before, strlen(before), 0644, false));
        settings_add(&settings, &h, file, value);
        settings_add(&settings, &h, "pids.max", "7");
        struct error *e = settings_apply(&settings, "c", true);
        assert_int_equal(error_errnum_of(e), EROFS);
        file_value(dir_fd, path, text);
        assert_string_equal(text, after);
        bool told = strstr(error_message(e), "stays changed") != NULL;
        assert_int_equal(told, strcmp(before, after) != 0);
        error_free(e);
}

static void what_was_written_goes_back(void **dir)
{
        static const struct {
                const char *file, *before, *value, *after;
        } settings[] = { { "cpu.max", "max 100000\n", "10000", "max 100000\n" },
                         { "io.max", "", "8:0 rbps=1", "8:0 rbps=max wbps=max riops=max wiops=max" },
                         { "io.max", "8:0 rbps=9\n", "8:0 rbps=1", "8:0 rbps=9\n" },
                         { "io.weight", "default 100\n", "8:0 200", "8:0 default\n" },
                         { "io.weight", "default 100\n", "200", "default 100\n" },
                         { "io.latency", "", "8:0 target=9", "8:0 target=0" } };
        _cleanup_(closep) int before_fd = open("/proc/self/ns/mnt", O_RDONLY | O_CLOEXEC);
        _cleanup_(closep) int dir_fd = open(*dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        _cleanup_(freep) char *last = format_string("%s/c/pids.max", (const char *) *dir);
        assert_ok(file_mkdirs(dir_fd, "c", 0755));
        assert_ok(file_replace(dir_fd, "c/pids.max", "9\n", 2, 0644, false));
        assert_int_equal(unshare(CLONE_NEWNS), 0);
        assert_int_equal(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL), 0);
        assert_int_equal(mount(last, last, NULL, MS_BIND, NULL), 0);
        assert_int_equal(mount(NULL, last, NULL, MS_REMOUNT | MS_BIND | MS_RDONLY, NULL), 0);
        for (size_t i = 0; i < LENGTH(settings); i++)
                assert_goes_back(*dir, settings[i].file, settings[i].before, settings[i].value,
                                 settings[i].after);
        assert_int_equal(setns(before_fd, CLONE_NEWNS), 0);
}

/* In a mount namespace of its own: the same hierarchy by two names counts once. */
static void a_hierarchy_that_is_mounted_twice_counts_once(void **dir)
{
        static const char *const names[][2] = { { "cpu", "cpu" },
                                                { "cpu", "cpu-again" },
                                                { "memory", "memory" } };
        _cleanup_(closep) int before_fd = open("/proc/self/ns/mnt", O_RDONLY | O_CLOEXEC);
        struct cgroups *c = NULL;
        if (access("/sys/fs/cgroup/cpu", F_OK) < 0)
                skip(); /* v2 */
        assert_int_equal(unshare(CLONE_NEWNS), 0);
        assert_int_equal(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL), 0);
        for (size_t i = 0; i < LENGTH(names); i++) {
                _cleanup_(freep) char *from = format_string("/sys/fs/cgroup/%s", names[i][0]);
                _cleanup_(freep) char *to = format_string("%s/%s", (const char *) *dir, names[i][1]);
                assert_int_equal(mkdir(to, 0755), 0);
                assert_int_equal(mount(from, to, NULL, MS_BIND, NULL), 0);
        }
        struct error *e = cgroups_open(*dir, NULL, &c);
        assert_int_equal(setns(before_fd, CLONE_NEWNS), 0);
        assert_ok(e);
        assert_int_equal(c->n, 2);
        struct wait wait = wait_of_ms(5000);
        char path[64];
        (void) snprintf(path, sizeof(path), "/skiff-test-%d-twice", getpid());
        assert_ok(cgroup_make(c, path, CGROUP_CONTAINER, NULL));
        assert_ok(cgroup_remove(c, path, &wait));
        cgroups_free(c);
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

static void what_it_counts_and_holds_is_told(void **dir)
{
        struct place p;
        struct process process;
        struct cgroup_metrics m;
        struct cgroup_processes processes = { .processes = 0 };
        struct wait wait = wait_of_ms(5000);
        int status = 0;
        place_open(&p, *dir);
        struct error *gone = cgroup_metrics(p.cgroups, p.path, &m);
        assert_int_equal(error_errnum_of(gone), ENOENT);
        error_free(gone);
        gone = cgroup_processes(p.cgroups, p.path, &processes);
        assert_int_equal(error_errnum_of(gone), ENOENT);
        error_free(gone);
        assert_fails(ERROR_INVALID_ARGUMENT, "not a cgroup path", cgroup_metrics(p.cgroups, "/../x", &m));
        const struct cgroup_limits limits = { .pids_limit = 23 };
        assert_ok(cgroup_make(p.cgroups, p.path, CGROUP_CONTAINER, &limits));
        spawn_in(&p, "sleep 1000 & sleep 1000 & read x < /etc/passwd; wait", &process);
        for (int i = 0; i < 500 && processes.processes != 3; i++) {
                assert_ok(cgroup_processes(p.cgroups, p.path, &processes));
                (void) usleep(10000);
        }
        assert_int_equal(processes.processes, 3);
        assert_true(processes.descriptors >= 9 && processes.descriptors != CGROUP_UNKNOWN);
        assert_ok(cgroup_metrics(p.cgroups, p.path, &m));
        assert_int_equal(m.threads, 3);
        assert_int_equal(m.threads_max, 23);
        assert_true(m.cpu_usage_ns > 0 && m.cpu_usage_ns != CGROUP_UNKNOWN);
        assert_true(m.memory_usage_bytes > 0 && m.memory_usage_bytes != CGROUP_UNKNOWN);
        assert_true(m.page_faults > 0 && m.page_faults != CGROUP_UNKNOWN);
        assert_int_equal(m.oom_kills, 0);
        cgroup_metrics_done(&m);
        assert_ok(cgroup_kill(p.cgroups, p.path));
        assert_ok(process_wait(&process, &wait, &status));
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
        /* VPNs make the node themselves; the interface is of their own network. Without the driver it is not there. */
        _cleanup_(freep) char *tun = format_string("%s/tun", (const char *) *dir);
        _cleanup_(freep) char *use_tun =
                format_string("(exec 3<>%s) 2>&1 | grep -q 'ermitted' && exit 3; exit 0", tun);
        assert_int_equal(mknod(tun, S_IFCHR | 0600, makedev(10, 200)), 0);
        assert_int_equal(run_in(&p, use_tun), 0);
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

UNIT_MAIN(TEST(memory_stat_of_either_version_is_read), TEST(block_devices_of_either_version_are_read),
          IN_TMPDIR(what_it_counts_and_holds_is_told), TEST(shares_become_weights),
          TEST(swap_is_what_is_left_of_both), TEST(device_programs_are_built_within_bounds),
          IN_TMPDIR(limits_are_set_and_all_is_removed), IN_TMPDIR(an_update_is_done_whole_or_not_at_all),
          IN_TMPDIR(memory_and_swap_go_up_and_down_together),
          IN_TMPDIR(memory_that_is_in_use_is_not_taken_away), IN_TMPDIR(reserved_hugepages_are_limited_too),
          IN_TMPDIR(a_unified_setting_is_a_controllers_own), IN_TMPDIR(what_was_written_goes_back),
          IN_TMPDIR(a_hierarchy_that_is_mounted_twice_counts_once), IN_TMPDIR(parents_that_were_there_stay),
          IN_TMPDIR(a_sandbox_has_directories_where_they_count), IN_TMPDIR(everything_in_it_is_killed),
          IN_TMPDIR(devices_are_denied_by_default), IN_TMPDIR(bad_paths_are_refused))
