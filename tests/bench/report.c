#include "tests/bench/report.h"
#include "base/json.h"
#include <string.h>

static const double shares[] = { 0.5, 0.9, 0.99 };

/* --- for people --- */

static void print_samples(const char *name, struct samples *of[], size_t n)
{
        if (!of[0]->n)
                return;
        printf("%-30s", name);
        for (size_t t = 0; t < n; t++)
                printf(" | %7.2f %7.2f %7.2f", samples_quantile(of[t], shares[0]),
                       samples_quantile(of[t], shares[1]), samples_quantile(of[t], shares[2]));
        if (n == 2 && samples_quantile(of[0], 0.5) > 0 && samples_quantile(of[0], 0.99) > 0)
                printf(" | %6.1fx %6.1fx", samples_quantile(of[1], 0.5) / samples_quantile(of[0], 0.5),
                       samples_quantile(of[1], 0.99) / samples_quantile(of[0], 0.99));
        printf("\n");
}

/* A figure that is better when smaller, or when larger. */
static void print_figure(const char *name, const double values[], size_t n, bool larger_is_better)
{
        if (values[0] == 0)
                return;
        printf("%-30s", name);
        for (size_t t = 0; t < n; t++)
                printf(" | %23.2f", values[t]);
        if (n == 2 && values[1] > 0)
                printf(" | %6.1fx", larger_is_better ? values[0] / values[1] : values[1] / values[0]);
        printf("\n");
}

#define PRINT_FIGURE(name, field, larger)                                                                    \
        print_figure(name, (double[]){ figures[0].field, figures[1].field }, plan->n_targets, larger)

#define PRINT_SAMPLES(name, field)                                                                           \
        print_samples(name, (struct samples *[]){ &figures[0].field, &figures[1].field }, plan->n_targets)

static void print_timings(const struct plan *plan, struct figures figures[TARGETS_MAX])
{
        for (size_t i = 0; i < TIMED_N; i++) {
                struct samples *of[] = { &figures[0].timings.of[i], &figures[1].timings.of[i] };
                print_samples(timed_name((enum timed) i), of, plan->n_targets);
        }
        if (plan->parallel)
                printf("-- %zu at once, whole lives\n", plan->parallel);
        for (size_t i = 0; i < TIMED_N; i++) {
                struct samples *of[] = { &figures[0].parallel.of[i], &figures[1].parallel.of[i] };
                print_samples(timed_name((enum timed) i), of, plan->n_targets);
        }
}

void report_table(const struct plan *plan, struct figures figures[TARGETS_MAX], struct floor_timings *floor)
{
        printf("%s network, seccomp %s, %zu rounds, %zu pods in the background; ms: p50 p90 p99\n",
               plan->workload.host_network ? "host" : "CNI",
               plan->workload.unconfined ? "unconfined" : "RuntimeDefault", plan->rounds, plan->background);
        printf("%-30s", "");
        for (size_t t = 0; t < plan->n_targets; t++)
                printf(" | %-23s", plan->targets[t].name);
        printf("\n");
        print_timings(plan, figures);
        PRINT_SAMPLES("CPU of a pull, cgroup", pull_cpu_ms);
        PRINT_SAMPLES("CPU of a pull, machine", pull_machine_ms);
        PRINT_SAMPLES("CPU of a removal, cgroup", removal_cpu_ms);
        PRINT_FIGURE("highest PSS in a pull, kB", peak_kb, false);
        PRINT_SAMPLES("RunPodSandbox, quiet", run_quiet);
        PRINT_SAMPLES("RunPodSandbox, in a removal", run_removal);
        PRINT_FIGURE("pods started a second", starts_per_s, true);
        PRINT_FIGURE("whole lives a second", lives_per_s, true);
        PRINT_FIGURE("CPU of a life, cgroup, ms", cpu_life_ms, false);
        PRINT_FIGURE("CPU of a life, machine, ms", machine_life_ms, false);
        PRINT_FIGURE("CPU of an exec, cgroup, ms", cpu_exec_ms, false);
        PRINT_FIGURE("CPU of an exec, machine, ms", machine_exec_ms, false);
        PRINT_FIGURE("RunPodSandbox, first 20", first_ms, false);
        PRINT_FIGURE("RunPodSandbox, middle 20", middle_ms, false);
        PRINT_FIGURE("RunPodSandbox, last 20", last_ms, false);
        PRINT_FIGURE("helpers' PSS a pod, kB", helpers_kb, false);
        PRINT_FIGURE("daemon's PSS, kB", daemon_kb, false);
        PRINT_FIGURE("daemon's growth a pod, kB", daemon_growth_kb, false);
        for (size_t i = 0; i < FLOOR_N; i++)
                print_samples(floor_name((enum floor_step) i), (struct samples *[]){ &floor->of[i] }, 1);
}

/* --- JSON --- */

static struct error *put_samples(struct buf *out, const char *name, struct samples *samples)
{
        if (!samples->n)
                return NULL;
        TRY(json_put_text(out, name));
        return buf_append_format(out, ":{\"n\":%zu,\"p50\":%.4f,\"p90\":%.4f,\"p99\":%.4f},", samples->n,
                                 samples_quantile(samples, 0.5), samples_quantile(samples, 0.9),
                                 samples_quantile(samples, 0.99));
}

static struct error *put_timings(struct buf *out, const char *name, struct timings *timings)
{
        TRY(buf_append_format(out, "\"%s\":{", name));
        for (size_t i = 0; i < TIMED_N; i++)
                TRY(put_samples(out, timed_name((enum timed) i), &timings->of[i]));
        if (out->bytes[out->len_bytes - 1] == ',')
                out->len_bytes--;
        return buf_append_text(out, "},");
}

static struct error *put_target(struct buf *out, const struct target *target, struct figures *f)
{
        const struct {
                const char *name;
                double value;
        } single[] = { { "starts_per_s", f->starts_per_s },
                       { "lives_per_s", f->lives_per_s },
                       { "cpu_life_ms", f->cpu_life_ms },
                       { "machine_life_ms", f->machine_life_ms },
                       { "cpu_exec_ms", f->cpu_exec_ms },
                       { "machine_exec_ms", f->machine_exec_ms },
                       { "run_first_ms", f->first_ms },
                       { "run_middle_ms", f->middle_ms },
                       { "run_last_ms", f->last_ms },
                       { "helpers_kb", f->helpers_kb },
                       { "daemon_kb", f->daemon_kb },
                       { "daemon_growth_kb", f->daemon_growth_kb },
                       { "peak_kb", f->peak_kb } };
        struct {
                const char *name;
                struct samples *samples;
        } many[] = { { "pull_cpu_ms", &f->pull_cpu_ms },
                     { "pull_machine_ms", &f->pull_machine_ms },
                     { "removal_cpu_ms", &f->removal_cpu_ms },
                     { "run_quiet", &f->run_quiet },
                     { "run_removal", &f->run_removal } };
        TRY(buf_append_text(out, "{\"name\":"));
        TRY(json_put_text(out, target->name));
        TRY(buf_append_text(out, ",\"endpoint\":"));
        TRY(json_put_text(out, target->endpoint));
        TRY(buf_append_text(out, ","));
        TRY(put_timings(out, "serial", &f->timings));
        TRY(put_timings(out, "parallel", &f->parallel));
        for (size_t i = 0; i < LENGTH(many); i++)
                TRY(put_samples(out, many[i].name, many[i].samples));
        for (size_t i = 0; i < LENGTH(single); i++)
                TRY(buf_append_format(out, "\"%s\":%.4f%s", single[i].name, single[i].value,
                                      i + 1 < LENGTH(single) ? "," : ""));
        return buf_append_text(out, "}");
}

struct error *report_json(const struct plan *plan, struct figures figures[TARGETS_MAX],
                          struct floor_timings *floor)
{
        _cleanup_(buf_done) struct buf out;
        buf_init(&out, 1U << 20);
        TRY(buf_append_format(&out, "{\"host_network\":%s,\"seccomp\":%s,\"rounds\":%zu,\"background\":%zu,",
                              plan->workload.host_network ? "true" : "false",
                              plan->workload.unconfined ? "false" : "true", plan->rounds, plan->background));
        TRY(buf_append_text(&out, "\"floor\":{"));
        for (size_t i = 0; i < FLOOR_N; i++)
                TRY(put_samples(&out, floor_name((enum floor_step) i), &floor->of[i]));
        if (out.bytes[out.len_bytes - 1] == ',')
                out.len_bytes--;
        TRY(buf_append_text(&out, "},\"targets\":["));
        for (size_t t = 0; t < plan->n_targets; t++) {
                TRY(buf_append_text(&out, t ? "," : ""));
                TRY(put_target(&out, &plan->targets[t], &figures[t]));
        }
        TRY(buf_append_text(&out, "]}"));
        _cleanup_(freep) char *text = buf_take_text(&out);
        puts(text);
        return NULL;
}
