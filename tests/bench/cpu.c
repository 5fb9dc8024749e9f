#include "tests/bench/cpu.h"
#include "base/file.h"
#include "tests/bench/session.h"
#include <ctype.h>
#include <dirent.h>
#include <string.h>

#define TEXT_MAX_BYTES (1U << 20)

struct error *cpu_machine_ms(double *out)
{
        _cleanup_(freep) char *text = NULL;
        size_t len_bytes;
        unsigned long long v[8] = { 0 }; /* user nice system idle iowait irq softirq steal */
        TRY(file_read(AT_FDCWD, "/proc/stat", TEXT_MAX_BYTES, &text, &len_bytes));
        if (sscanf(text, "cpu %llu %llu %llu %llu %llu %llu %llu %llu", &v[0], &v[1], &v[2], &v[3], &v[4],
                   &v[5], &v[6], &v[7]) < 7)
                return error_new(ERROR_INTERNAL, "/proc/stat: no cpu line");
        *out = (double) (v[0] + v[1] + v[2] + v[5] + v[6]) * 1000.0 / (double) sysconf(_SC_CLK_TCK);
        return NULL;
}

struct error *cpu_cgroup_ms(const char *cgroup, double *out)
{
        _cleanup_(freep) char *v1 = format_string("/sys/fs/cgroup/cpuacct%s/cpuacct.usage", cgroup);
        _cleanup_(freep) char *v2 = format_string("/sys/fs/cgroup%s/cpu.stat", cgroup);
        _cleanup_(freep) char *text = NULL;
        size_t len_bytes;
        struct error *e = file_read(AT_FDCWD, v1, TEXT_MAX_BYTES, &text, &len_bytes);
        if (!e) {
                *out = strtod(text, NULL) / 1e6;
                return NULL;
        }
        error_free(e);
        TRY(file_read(AT_FDCWD, v2, TEXT_MAX_BYTES, &text, &len_bytes));
        const char *usage = strstr(text, "usage_usec ");
        *out = usage ? strtod(usage + strlen("usage_usec "), NULL) / 1e3 : 0;
        return NULL;
}

struct error *memory_process_kb(pid_t pid, double *out)
{
        char path[64];
        _cleanup_(freep) char *text = NULL;
        size_t len_bytes;
        (void) snprintf(path, sizeof(path), "/proc/%d/smaps_rollup", pid);
        TRY(file_read(AT_FDCWD, path, TEXT_MAX_BYTES, &text, &len_bytes));
        const char *pss = strstr(text, "\nPss:");
        *out = pss ? strtod(pss + 5, NULL) : 0;
        return NULL;
}

static bool read_of(const char *pid, const char *name, char *out, size_t size_bytes)
{
        char path[64];
        (void) snprintf(path, sizeof(path), "/proc/%.16s/%s", pid, name);
        _cleanup_(fclosep) FILE *file = fopen(path, "re");
        size_t n_bytes = file ? fread(out, 1, size_bytes - 1, file) : 0;
        out[n_bytes] = '\0';
        for (size_t i = 0; i + 1 < n_bytes; i++)
                if (out[i] == '\0')
                        out[i] = ' ';
        return n_bytes > 0;
}

/* Whether the process is the runtime's: in its cgroups (whichever hierarchy), and no workload. */
static bool is_counted(const char *pid, const char *cgroup)
{
        char text[8192];
        if (!read_of(pid, "cmdline", text, sizeof(text))) /* a kernel thread, or gone */
                return false;
        if (strstr(text, WORKLOAD_SECONDS))
                return false;
        return !cgroup || (read_of(pid, "cgroup", text, sizeof(text)) && strstr(text, cgroup));
}

struct error *memory_pss_kb(const char *cgroup, pid_t except, double *out)
{
        double sum = 0;
        _cleanup_(closedirp) DIR *proc = opendir("/proc");
        if (!proc)
                return error_errno(errno, "open /proc");
        for (struct dirent *entry; (entry = readdir(proc));) {
                pid_t pid = (pid_t) strtol(entry->d_name, NULL, 10);
                double kb = 0;
                if (!isdigit((unsigned char) *entry->d_name) || pid == except || pid == getpid() ||
                    !is_counted(entry->d_name, cgroup))
                        continue;
                struct error *e = memory_process_kb(pid, &kb);
                sum += e ? 0 : kb;
                error_ignore(e); /* it has ended */
        }
        *out = sum;
        return NULL;
}
