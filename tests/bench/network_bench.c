/* network-bench - times ADD and DEL of skiff-bridge, of Debian's bridge, host-local and portmap, and of the floor (network_floor.c),
 * in turns, alone and beside attachments that are there already. Run by network.sh, in network and mount namespaces of its
 * own, with skiff-bridge's way, the floor's and the directory of Debian's plugins as arguments.
 *
 * Wall clock: from before a plugin is started to its end, for a chain to the end of its last. Processor time: of all that
 * was started for it, what went on behind its answer too. Memory: what is resident at a plugin's exit, of a chain the most
 * that one has; none of them gives much back before. */
#include "base/clock.h"
#include "base/file.h"
#include "tests/bench/samples.h"
#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#define NETNS "/run/netns/bench"
#define BESIDE "/run/netns/beside"
#define FLOOR_STORE "/var/lib/cni/floor"
#define FLOOR_ELEMENTS "/run/floor.nft"
#define WARM_UP 3
#define TEXT_BYTES 16384
#define BRIDGE_PORTS_MAX 1023

enum contender { FLOOR, SKIFF, CHAIN, CONTENDERS };
static const char *const names[CONTENDERS] = { "floor", "skiff-bridge", "bridge+host-local+portmap" };

struct result {
        struct samples wall_ms, cpu_ms;
        long peak_kb;
};

struct bench {
        const char *skiff, *floor, *chain_dir;
        size_t rounds, chain_rounds;
        struct result results[CONTENDERS][2]; /* ADD, DEL */
        bool peaks;                           /* traced, for the peak of memory; not timed */
};

/* One process of a call. */
struct call {
        const char *program;
        const char *argv[5];
        const char *command, *id, *netns, *ifname, *input;
        char printed[TEXT_BYTES];
};

static void must(bool succeeds, const char *what)
{
        if (succeeds)
                return;
        perror(what);
        exit(1);
}

static double cpu_of(const struct rusage *usage)
{
        return (double) (usage->ru_utime.tv_sec + usage->ru_stime.tv_sec) * 1e3 +
               (double) (usage->ru_utime.tv_usec + usage->ru_stime.tv_usec) / 1e3;
}

/* --- one process --- */

static void child_run(const struct call *call, int in, int out, char *const env[], bool traced)
{
        (void) dup2(in, 0);
        (void) dup2(out, 1);
        if (traced)
                (void) ptrace(PTRACE_TRACEME, 0, 0, 0);
        (void) execve(call->program, (char *const *) (uintptr_t) call->argv, env);
        _exit(127);
}

/* By its page tables: the counters behind VmRSS and VmHWM are off by hundreds of kB, kept as they are by processor. */
static long rss_of(pid_t pid)
{
        char path[64], line[256];
        long kb = 0;
        (void) snprintf(path, sizeof(path), "/proc/%d/smaps_rollup", pid);
        FILE *file = fopen(path, "re");
        must(file != NULL, path);
        while (fgets(line, sizeof(line), file))
                (void) sscanf(line, "Rss: %ld", &kb);
        (void) fclose(file);
        return kb;
}

/* At a traced process's exit its memory is still there. */
static long peak_at_exit(pid_t pid, int *status)
{
        long kb = 0;
        must(waitpid(pid, status, 0) == pid && WIFSTOPPED(*status), "traced");
        must(ptrace(PTRACE_SETOPTIONS, pid, 0, PTRACE_O_TRACEEXIT) == 0, "trace");
        for (int passed = 0;;) {
                must(ptrace(PTRACE_CONT, pid, 0, passed) == 0, "continue");
                must(waitpid(pid, status, 0) == pid, "traced");
                if (!WIFSTOPPED(*status))
                        return kb;
                passed = *status >> 8 == (SIGTRAP | PTRACE_EVENT_EXIT << 8) ? 0 : WSTOPSIG(*status);
                if (passed)
                        continue;
                kb = rss_of(pid);
        }
}

/* What was left to children, which are ours when their parents end. */
static double reap_rest(void)
{
        struct rusage usage;
        double cpu_ms = 0;
        while (wait4(-1, NULL, 0, &usage) > 0)
                cpu_ms += cpu_of(&usage);
        return cpu_ms;
}

struct environment {
        char text[6][256], *pointers[10];
};

static void environment_make(const struct call *call, struct environment *env)
{
        const char *const pairs[][2] = {
                { "CNI_COMMAND", call->command }, { "CNI_CONTAINERID", call->id },
                { "CNI_NETNS", call->netns },     { "CNI_IFNAME", call->ifname },
                { "CNI_PATH", "/usr/lib/cni" },   { "PATH", "/usr/sbin:/usr/bin:/sbin:/bin" },
        };
        size_t n = 0;
        for (; n < LENGTH(pairs); n++) {
                (void) snprintf(env->text[n], sizeof(env->text[n]), "%s=%s", pairs[n][0], pairs[n][1]);
                env->pointers[n] = env->text[n];
        }
        env->pointers[n++] = (char *) (uintptr_t) "FLOOR_DIR=" FLOOR_STORE;
        env->pointers[n++] = (char *) (uintptr_t) "FLOOR_BRIDGE=bench0";
        env->pointers[n] = NULL;
}

/* Starts it with its input waiting in a pipe; *out_fd is what it prints to. */
static pid_t call_start(const struct call *call, bool traced, int *out_fd, int64_t *before_ns)
{
        struct environment env;
        int in[2], out[2];
        size_t input_bytes = strlen(call->input);
        environment_make(call, &env);
        must(pipe2(in, O_CLOEXEC) == 0 && pipe2(out, O_CLOEXEC) == 0, "pipe");
        must(write(in[1], call->input, input_bytes) == (ssize_t) input_bytes,
             "write"); /* a pipe holds more */
        (void) close(in[1]);
        *before_ns = clock_monotonic_ns();
        pid_t pid = vfork();
        if (pid == 0)
                child_run(call, in[0], out[1], env.pointers, traced);
        must(pid > 0, "vfork");
        (void) close(in[0]);
        (void) close(out[1]);
        *out_fd = out[0];
        return pid;
}

static void read_all(int fd, char printed[TEXT_BYTES])
{
        size_t len_bytes = 0;
        for (ssize_t got; (got = read(fd, printed + len_bytes, TEXT_BYTES - 1 - len_bytes)) > 0;)
                len_bytes += (size_t) got;
        printed[len_bytes] = '\0';
        (void) close(fd);
}

/* Runs it; what it took is added to *wall_ms and *cpu_ms, its peak goes to *peak_kb if it is higher, and it is traced. */
static void call_run(struct call *call, bool traced, double *wall_ms, double *cpu_ms, long *peak_kb)
{
        int out_fd = -1, status = 0;
        int64_t before_ns = 0;
        struct rusage usage = { 0 };
        pid_t pid = call_start(call, traced, &out_fd, &before_ns);
        long kb = traced ? peak_at_exit(pid, &status) : 0;
        read_all(out_fd, call->printed);
        if (!traced)
                must(wait4(pid, &status, 0, &usage) == pid, "wait4");
        *wall_ms += ms_since(before_ns);
        *cpu_ms += cpu_of(&usage) + reap_rest();
        *peak_kb = kb > *peak_kb ? kb : *peak_kb;
        if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
                return;
        (void) fprintf(stderr, "%s %s %s: %d: %s\n", call->program, call->command, call->id, status,
                       call->printed);
        exit(1);
}

/* --- what each is told --- */

#define IPAM(subnet, routes)                                                                                 \
        "\"ipam\":{\"type\":\"host-local\",\"ranges\":[[{\"subnet\":\"" subnet "\"}]],\"routes\":[" routes   \
        "]}"
#define BRIDGE(bridge) "\"bridge\":\"" bridge "\",\"isGateway\":true,\"ipMasq\":true,\"hairpinMode\":true,"
#define PORT(port)                                                                                           \
        "\"runtimeConfig\":{\"portMappings\":[{\"hostPort\":" port                                           \
        ",\"containerPort\":80,\"protocol\":\"tcp\"}]}"
#define DEFAULT_ROUTE "{\"dst\":\"0.0.0.0/0\"}"

static const char of_skiff[] =
        "{\"cniVersion\":\"1.0.0\",\"name\":\"skiff\",\"type\":\"skiff-bridge\"," BRIDGE("bench0")
                IPAM("10.212.0.0/16", DEFAULT_ROUTE) "," PORT("18080");
static const char of_bridge[] =
        "{\"cniVersion\":\"1.0.0\",\"name\":\"chain\",\"type\":\"bridge\"," BRIDGE("bench1")
                IPAM("10.213.0.0/16", DEFAULT_ROUTE);
static const char of_portmap[] =
        "{\"cniVersion\":\"1.0.0\",\"name\":\"chain\",\"type\":\"portmap\"," PORT("19080");

/* With the result of the ADD behind the configuration, as CNI has it. */
static void input_make(const char *conf, const char *result, char out[2 * TEXT_BYTES])
{
        (void) snprintf(out, 2 * TEXT_BYTES, "%s%s%s}", conf, *result ? ",\"prevResult\":" : "", result);
}

static void plugin_run(const struct bench *b, const char *program, const char *conf, const char *command,
                       char *result, double *wall_ms, double *cpu_ms, long *peak_kb)
{
        static char input[2 * TEXT_BYTES];
        struct call call = { .program = program,
                             .argv = { program },
                             .command = command,
                             .id = "bench",
                             .netns = NETNS,
                             .ifname = "eth0",
                             .input = input };
        input_make(conf, result, input);
        call_run(&call, b->peaks, wall_ms, cpu_ms, peak_kb);
        if (strcmp(command, "ADD") == 0)
                (void) snprintf(result, TEXT_BYTES, "%s", call.printed);
}

static void floor_run(const struct bench *b, const char *command, char *result, double *wall_ms,
                      double *cpu_ms, long *peak_kb)
{
        bool adds = strcmp(command, "ADD") == 0;
        struct call call = { .program = b->floor,
                             .argv = { b->floor, command, "bench", adds ? NETNS : result },
                             .command = command,
                             .id = "bench",
                             .netns = NETNS,
                             .ifname = "eth0",
                             .input = "" };
        call_run(&call, b->peaks, wall_ms, cpu_ms, peak_kb);
        call.printed[strcspn(call.printed, "\n")] = '\0';
        if (adds)
                (void) snprintf(result, TEXT_BYTES, "%s", call.printed);
}

static void chain_run(const struct bench *b, bool adds, char *result, double *wall_ms, double *cpu_ms,
                      long *peak_kb)
{
        char bridge[256], portmap[256];
        const char *command = adds ? "ADD" : "DEL";
        (void) snprintf(bridge, sizeof(bridge), "%s/bridge", b->chain_dir);
        (void) snprintf(portmap, sizeof(portmap), "%s/portmap", b->chain_dir);
        if (adds)
                plugin_run(b, bridge, of_bridge, command, result, wall_ms, cpu_ms, peak_kb);
        plugin_run(b, portmap, of_portmap, command, result, wall_ms, cpu_ms, peak_kb);
        if (!adds)
                plugin_run(b, bridge, of_bridge, command, result, wall_ms, cpu_ms, peak_kb);
}

/* An ADD and a DEL of one of them. */
static void life(struct bench *b, enum contender who, bool counts)
{
        static char result[TEXT_BYTES];
        result[0] = '\0';
        for (int del = 0; del < 2; del++) {
                double wall_ms = 0, cpu_ms = 0;
                struct result *r = &b->results[who][del];
                const char *command = del ? "DEL" : "ADD";
                if (who == FLOOR)
                        floor_run(b, command, result, &wall_ms, &cpu_ms, &r->peak_kb);
                else if (who == SKIFF)
                        plugin_run(b, b->skiff, of_skiff, command, result, &wall_ms, &cpu_ms, &r->peak_kb);
                else
                        chain_run(b, !del, result, &wall_ms, &cpu_ms, &r->peak_kb);
                if (!counts || b->peaks)
                        continue;
                samples_add(&r->wall_ms, wall_ms);
                samples_add(&r->cpu_ms, cpu_ms);
        }
}

/* --- attachments that are there already --- */

/* Of skiff-bridge: pairs whose other ends are all in one namespace, each with a port of the node. The bridge is the floor's too. */
static void fill(const struct bench *b, size_t first, size_t n)
{
        char conf[1024], id[32], ifname[24];
        double wall_ms = 0, cpu_ms = 0;
        long peak_kb = 0;
        for (size_t i = first; i < n; i++) {
                (void) snprintf(
                        conf, sizeof(conf),
                        "{\"cniVersion\":\"1.0.0\",\"name\":\"skiff\",\"type\":\"skiff-bridge\"," BRIDGE(
                                "bench0") IPAM("10.212.0.0/16", "") "," PORT("%zu") "}",
                        20000 + i);
                (void) snprintf(id, sizeof(id), "beside-%zu", i);
                (void) snprintf(ifname, sizeof(ifname), "e%zu", i);
                struct call call = { .program = b->skiff,
                                     .argv = { b->skiff },
                                     .command = "ADD",
                                     .id = id,
                                     .netns = BESIDE,
                                     .ifname = ifname,
                                     .input = conf };
                call_run(&call, false, &wall_ms, &cpu_ms, &peak_kb);
        }
}

/* The floor's leases and elements. */
static void fill_floor(size_t first, size_t n)
{
        double nothing_ms = 0;
        long nothing_kb = 0;
        FILE *script = fopen(FLOOR_ELEMENTS, "we");
        must(script != NULL, FLOOR_ELEMENTS);
        for (size_t i = first; i < n; i++) {
                size_t at = 0x8000 + i;
                char address[32], path[128];
                (void) snprintf(address, sizeof(address), "10.212.%zu.%zu", at >> 8, at & 255);
                (void) snprintf(path, sizeof(path), FLOOR_STORE "/%s", address);
                FILE *lease = fopen(path, "we");
                must(lease && fprintf(lease, "beside-%zu\r\ne%zu", i, i) > 0 && fclose(lease) == 0, path);
                (void) fprintf(script,
                               "add element inet bench-floor pods { %s }\n"
                               "add element inet bench-floor ports { tcp . %zu : %s . 80 }\n"
                               "add element inet bench-floor hairpins { %s . tcp . 80 }\n",
                               address, 20000 + i, address, address);
        }
        must(fclose(script) == 0, FLOOR_ELEMENTS);
        struct call nft = { .program = "/usr/sbin/nft",
                            .argv = { "nft", "-f", FLOOR_ELEMENTS },
                            .command = "",
                            .id = "",
                            .netns = "",
                            .ifname = "",
                            .input = "" };
        call_run(&nft, false, &nothing_ms, &nothing_ms, &nothing_kb);
}

/* --- the figures --- */

static double p(struct samples *samples, double share)
{
        return samples_quantile(samples, share);
}

static void print_row(enum contender who, struct result results[2])
{
        printf("%-26s", names[who]);
        for (int del = 0; del < 2; del++)
                printf(" | %8.2f %8.2f %8.2f", p(&results[del].wall_ms, 0.5), p(&results[del].wall_ms, 0.99),
                       p(&results[del].cpu_ms, 0.5));
        long peak = results[0].peak_kb > results[1].peak_kb ? results[0].peak_kb : results[1].peak_kb;
        printf(" | %6ld\n", peak);
}

static void print_ratio(const char *what, struct result of[2], struct result to[2])
{
        printf("%-26s", what);
        for (int del = 0; del < 2; del++)
                printf(" | %7.2fx %7.2fx %7.2fx", p(&of[del].wall_ms, 0.5) / p(&to[del].wall_ms, 0.5),
                       p(&of[del].wall_ms, 0.99) / p(&to[del].wall_ms, 0.99),
                       p(&of[del].cpu_ms, 0.5) / p(&to[del].cpu_ms, 0.5));
        printf("\n");
}

static void measure(struct bench *b, size_t beside)
{
        bool with_chain = beside == 0 && b->chain_dir;
        for (int peaks = 1; peaks >= 0; peaks--) {
                b->peaks = peaks;
                size_t n = peaks ? 1 : b->rounds + WARM_UP;
                for (size_t i = 0; i < n; i++) {
                        life(b, FLOOR, i >= WARM_UP);
                        life(b, SKIFF, i >= WARM_UP);
                        if (with_chain && i < (peaks ? 1 : b->chain_rounds + WARM_UP))
                                life(b, CHAIN, i >= WARM_UP);
                }
        }
        printf("-- beside %zu attachments; %zu rounds (chain %zu)\n", beside, b->rounds,
               with_chain ? b->chain_rounds : 0);
        printf("%-26s | %-26s | %-26s | RSS kB\n", "ms", "ADD p50, p99, CPU p50", "DEL p50, p99, CPU p50");
        for (int who = 0; who < (with_chain ? CONTENDERS : CHAIN); who++)
                print_row((enum contender) who, b->results[who]);
        print_ratio("skiff-bridge / floor", b->results[SKIFF], b->results[FLOOR]);
        if (with_chain)
                print_ratio("chain / skiff-bridge", b->results[CHAIN], b->results[SKIFF]);
        for (int who = 0; who < CONTENDERS; who++)
                for (int del = 0; del < 2; del++) {
                        samples_done(&b->results[who][del].wall_ms);
                        samples_done(&b->results[who][del].cpu_ms);
                        b->results[who][del].peak_kb = 0;
                }
        (void) fflush(stdout);
}

int main(int argc, char **argv)
{
        struct bench b = { .rounds = 200, .chain_rounds = 30 };
        size_t besides[8] = { 0 }, n_besides = 0, filled = 0;
        for (int flag; (flag = getopt(argc, argv, "n:c:b:")) != -1;) {
                size_t value = strtoul(flag == '?' ? "" : optarg, NULL, 10);
                if (flag == 'n')
                        b.rounds = value;
                else if (flag == 'c')
                        b.chain_rounds = value;
                else if (flag == 'b' && n_besides < LENGTH(besides) && value < BRIDGE_PORTS_MAX - 1)
                        besides[n_besides++] = value;
                else
                        argc = 0;
        }
        if (argc - optind != 3) {
                (void) fputs("usage: network-bench [-n ROUNDS] [-c ROUNDS OF THE CHAIN] [-b BESIDE]... "
                             "SKIFF-BRIDGE "
                             "NETWORK-FLOOR PLUGIN-DIR\n",
                             stderr);
                return 64;
        }
        b.skiff = argv[optind];
        b.floor = argv[optind + 1];
        b.chain_dir = b.chain_rounds ? argv[optind + 2] : NULL;
        must(prctl(PR_SET_CHILD_SUBREAPER, 1) == 0, "subreaper");
        if (!n_besides)
                n_besides = 1;
        for (size_t i = 0; i < n_besides; i++) {
                if (besides[i] > filled) {
                        fill(&b, filled, besides[i]);
                        fill_floor(filled, besides[i]);
                        filled = besides[i];
                }
                measure(&b, besides[i]);
        }
        return 0;
}
