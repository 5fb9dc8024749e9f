/* cri-bench - times CRI calls against any endpoint, or two in turns, beside what the bare kernel takes for the same work.
 *
 * --parallel, --growth, --memory, --pull and --removal are measurements of their own beside (or with -n 0 in place of) the serial
 * lives. Whatever it made is removed at its end, on Ctrl-C too. As root. */
#include "base/file.h"
#include "base/id.h"
#include "runtime/cgroup/cgroup.h"
#include "tests/bench/pulls.h"
#include "tests/bench/report.h"
#include <getopt.h>
#include <signal.h>
#include <string.h>

#define PARENTS_REMOVE_MS 2000

static volatile sig_atomic_t interrupted;

static void on_signal(int signal)
{
        (void) signal;
        interrupted = 1;
}

static const char usage[] =
        "usage: cri-bench --endpoint unix:///PATH [--versus unix:///PATH]\n"
        "  -n ROUNDS              pod lives one after another at each endpoint (100; 0: none)\n"
        "  --image NAME           must be there at both (docker.io/library/busybox:latest)\n"
        "  --host-network | --cni whose network the pods have (host)\n"
        "  --ports                each pod has a port of the node (--cni)\n"
        "  --versus-host-network  pods of the other one have the host's all the same (--cni)\n"
        "  --unconfined           no seccomp profile, else RuntimeDefault\n"
        "  --cgroup PATH          the cpuacct cgroup that holds the daemon; its pods go to PATH/pods, and "
        "CPU is\n"
        "                         read there; without it pods go to /skiff-bench\n"
        "  --versus-cgroup PATH   the same of the other one\n"
        "  --userns, --versus-userns   pods with user namespaces at the one, at the other (--cni)\n"
        "  --parent, --versus-parent SLICE   the pods' cgroup_parent, where systemd makes it\n"
        "  --versus-image NAME    another image at the other one, which may be the same endpoint\n"
        "  --background N         keep N pods running meanwhile\n"
        "  --floor                the bare kernel's part, after each round\n"
        "  --cpu                  processor time of a life and of an exec\n"
        "  --parallel N           N clients at once: pods started, and whole lives, a second\n"
        "  --growth N             RunPodSandbox while pods pile up to N\n"
        "  --memory N             PSS a pod, as the slope over N pods\n"
        "  --pull NAME[,NAME...]  PullImage from a cold store, -n times, and nothing else; several at once\n"
        "  --removal NAME[,...]   RunPodSandbox while removed images are cleaned up, -n times, and nothing "
        "else\n"
        "  --json                 for scripts\n";

struct options {
        struct plan plan;
        bool cpu, json;
};

enum flag {
        FLAG_ENDPOINT = 256,
        FLAG_VERSUS,
        FLAG_IMAGE,
        FLAG_HOST,
        FLAG_CNI,
        FLAG_PORTS,
        FLAG_VERSUS_HOST,
        FLAG_UNCONFINED,
        FLAG_CGROUP,
        FLAG_VERSUS_CGROUP,
        FLAG_USERNS,
        FLAG_VERSUS_USERNS,
        FLAG_VERSUS_IMAGE,
        FLAG_PARENT,
        FLAG_VERSUS_PARENT,
        FLAG_BACKGROUND,
        FLAG_FLOOR,
        FLAG_CPU,
        FLAG_PARALLEL,
        FLAG_GROWTH,
        FLAG_MEMORY,
        FLAG_PULL,
        FLAG_REMOVAL,
        FLAG_JSON,
};

static size_t number(const char *text)
{
        return (size_t) strtoul(text, NULL, 10);
}

static bool parse_flag(struct options *o, int flag, const char *value)
{
        struct plan *plan = &o->plan;
        switch (flag) {
        case 'n':
                plan->rounds = number(value);
                return true;
        case FLAG_ENDPOINT:
                plan->targets[0].endpoint = value;
                return true;
        case FLAG_VERSUS:
                plan->targets[1].endpoint = value;
                plan->n_targets = 2;
                return true;
        case FLAG_IMAGE:
                plan->workload.image = value;
                return true;
        case FLAG_HOST:
        case FLAG_CNI:
                plan->workload.host_network = flag == FLAG_HOST;
                return true;
        case FLAG_PORTS:
                plan->workload.ports = true;
                return true;
        case FLAG_VERSUS_HOST:
                plan->targets[1].host_network = true;
                return true;
        case FLAG_UNCONFINED:
                plan->workload.unconfined = true;
                return true;
        case FLAG_CGROUP:
        case FLAG_VERSUS_CGROUP:
                plan->targets[flag == FLAG_VERSUS_CGROUP].cgroup = value;
                return true;
        case FLAG_USERNS:
        case FLAG_VERSUS_USERNS:
                plan->targets[flag == FLAG_VERSUS_USERNS].userns = true;
                return true;
        case FLAG_PARENT:
        case FLAG_VERSUS_PARENT:
                plan->targets[flag == FLAG_VERSUS_PARENT].slice = value;
                return true;
        case FLAG_VERSUS_IMAGE:
                plan->targets[1].image = value;
                return true;
        case FLAG_BACKGROUND:
                plan->background = number(value);
                return true;
        case FLAG_FLOOR:
                plan->floor = true;
                return true;
        case FLAG_CPU:
                o->cpu = true;
                return true;
        case FLAG_PARALLEL:
                plan->parallel = number(value);
                return true;
        case FLAG_GROWTH:
                plan->growth = number(value);
                return true;
        case FLAG_MEMORY:
                plan->memory = number(value);
                return true;
        case FLAG_PULL:
                plan->pull = value;
                return true;
        case FLAG_REMOVAL:
                plan->removal = value;
                return true;
        case FLAG_JSON:
                o->json = true;
                return true;
        default:
                return false;
        }
}

static bool parse(int argc, char **argv, struct options *o)
{
        static const struct option flags[] = {
                { "endpoint", required_argument, NULL, FLAG_ENDPOINT },
                { "versus", required_argument, NULL, FLAG_VERSUS },
                { "image", required_argument, NULL, FLAG_IMAGE },
                { "host-network", no_argument, NULL, FLAG_HOST },
                { "cni", no_argument, NULL, FLAG_CNI },
                { "ports", no_argument, NULL, FLAG_PORTS },
                { "versus-host-network", no_argument, NULL, FLAG_VERSUS_HOST },
                { "unconfined", no_argument, NULL, FLAG_UNCONFINED },
                { "cgroup", required_argument, NULL, FLAG_CGROUP },
                { "versus-cgroup", required_argument, NULL, FLAG_VERSUS_CGROUP },
                { "userns", no_argument, NULL, FLAG_USERNS },
                { "versus-userns", no_argument, NULL, FLAG_VERSUS_USERNS },
                { "versus-image", required_argument, NULL, FLAG_VERSUS_IMAGE },
                { "parent", required_argument, NULL, FLAG_PARENT },
                { "versus-parent", required_argument, NULL, FLAG_VERSUS_PARENT },
                { "background", required_argument, NULL, FLAG_BACKGROUND },
                { "floor", no_argument, NULL, FLAG_FLOOR },
                { "cpu", no_argument, NULL, FLAG_CPU },
                { "parallel", required_argument, NULL, FLAG_PARALLEL },
                { "growth", required_argument, NULL, FLAG_GROWTH },
                { "memory", required_argument, NULL, FLAG_MEMORY },
                { "pull", required_argument, NULL, FLAG_PULL },
                { "removal", required_argument, NULL, FLAG_REMOVAL },
                { "json", no_argument, NULL, FLAG_JSON },
                { 0 }
        };
        for (int flag; (flag = getopt_long(argc, argv, "n:", flags, NULL)) != -1;)
                if (!parse_flag(o, flag, optarg))
                        return false;
        return optind == argc && o->plan.targets[0].endpoint;
}

static struct error *run(const struct options *o, struct figures figures[TARGETS_MAX],
                         struct floor_timings *floor)
{
        const struct plan *plan = &o->plan;
        if (plan->pull)
                return mode_pull(plan, figures);
        if (plan->removal)
                return mode_removal(plan, figures);
        TRY(mode_background(plan));
        if (plan->rounds)
                TRY(mode_serial(plan, figures, floor));
        if (o->cpu)
                TRY(mode_cpu(plan, figures));
        if (plan->parallel)
                TRY(mode_parallel(plan, figures));
        if (plan->growth)
                TRY(mode_growth(plan, figures));
        return plan->memory ? mode_memory(plan, figures) : NULL;
}

static struct error *measure(struct options *o)
{
        struct plan *plan = &o->plan;
        struct figures figures[TARGETS_MAX] = { 0 };
        struct floor_timings floor = { 0 };
        for (size_t t = 0; t < plan->n_targets; t++)
                TRY(target_probe(&plan->targets[t]));
        struct error *e = run(o, figures, &floor);
        for (size_t t = 0; t < plan->n_targets; t++) {
                struct error *left = session_sweep(&plan->targets[t], &plan->workload);
                if (left)
                        (void) fprintf(stderr, "cri-bench: clean up: %s\n", error_message(left));
                error_free(left);
        }
        if (!e && o->json)
                e = report_json(plan, figures, &floor);
        else if (!e)
                report_table(plan, figures, &floor);
        for (size_t t = 0; t < TARGETS_MAX; t++)
                figures_done(&figures[t]);
        floor_timings_done(&floor);
        return e;
}

static void name_targets(struct plan *plan, char *parents[TARGETS_MAX])
{
        for (size_t t = 0; t < plan->n_targets; t++) {
                struct target *target = &plan->targets[t];
                parents[t] = target->slice    ? dup_string(target->slice)
                             : target->cgroup ? format_string("%s/pods", target->cgroup)
                                              : dup_string("/skiff-bench");
                const char *slash = strrchr(target->endpoint, '/');
                target->name = slash ? slash + 1 : target->endpoint;
                target->cgroup_parent = parents[t];
        }
}

/* The pods' parents: kubelet makes a pod's cgroup before it asks for the pod, so no runtime is timed for that. */
static struct error *parents_make(const struct plan *plan, const char *dir, struct cgroups **out)
{
        _cleanup_(freep) char *notes = format_string("%s/cgroups", dir);
        TRY(cgroups_open("/sys/fs/cgroup", notes, out));
        for (size_t t = 0; t < plan->n_targets; t++)
                if (!plan->targets[t].slice)
                        TRY(cgroup_make(*out, plan->targets[t].cgroup_parent, CGROUP_CONTAINER, NULL));
        return NULL;
}

static void parents_remove(const struct plan *plan, struct cgroups *cgroups)
{
        struct wait wait = wait_of_ms(PARENTS_REMOVE_MS);
        for (size_t t = 0; cgroups && t < plan->n_targets; t++)
                if (!plan->targets[t].slice)
                        error_ignore(cgroup_remove(cgroups, plan->targets[t].cgroup_parent,
                                                   &wait)); /* a pod is left */
        cgroups_free(cgroups);
}

int main(int argc, char **argv)
{
        char run_id[ID_LEN + 1], dir[] = "/tmp/cri-bench.XXXXXX";
        char *parents[TARGETS_MAX] = { NULL };
        struct options o = { .plan = { .n_targets = 1, .rounds = 100, .interrupted = &interrupted } };
        const struct sigaction stop = { .sa_handler = on_signal };
        o.plan.workload =
                (struct workload){ .image = "docker.io/library/busybox:latest", .host_network = true };
        if (!parse(argc, argv, &o) || !mkdtemp(dir)) {
                (void) fputs(usage, stderr);
                return 64;
        }
        id_make(run_id);
        o.plan.workload.run = run_id;
        o.plan.workload.log_dir = dir;
        name_targets(&o.plan, parents);
        (void) sigaction(SIGINT, &stop, NULL);
        (void) sigaction(SIGTERM, &stop, NULL);
        struct cgroups *cgroups = NULL;
        struct error *e = NULL;
        if (o.plan.floor)
                e = floor_open(dir, "/skiff-bench-floor", o.plan.workload.host_network);
        if (!e)
                e = parents_make(&o.plan, dir, &cgroups);
        if (!e)
                e = measure(&o);
        floor_close();
        parents_remove(&o.plan, cgroups);
        error_ignore(file_remove_tree(AT_FDCWD, dir)); /* logs in /tmp */
        for (size_t t = 0; t < TARGETS_MAX; t++)
                free(parents[t]);
        if (e)
                (void) fprintf(stderr, "cri-bench: %s\n", error_message(e));
        int code = e ? 1 : 0;
        error_free(e);
        return code;
}
