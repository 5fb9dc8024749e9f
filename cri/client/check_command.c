/* check: does this host have what skiff needs, is skiffd well, and (--leaks) is anything left over. */
#include "base/buf.h"
#include "base/json.h"
#include "cri/client/command.h"
#include "cri/client/host_checks.h"
#include <string.h>

#define LINES_MAX_BYTES ((size_t) 1 << 20)

/* What was found, for people line by line, for scripts as one JSON list. */
struct report {
        bool json;
        size_t n, failed;
        struct buf list;
};

static const char *const result_names[] = {
        [CHECK_OK] = "ok", [CHECK_WARN] = "warning", [CHECK_FAIL] = "failed"
};

static struct error *report_add(struct report *report, const char *name, enum check_result result,
                                const char *detail, const char *remedy)
{
        report->failed += result == CHECK_FAIL;
        if (!report->json) {
                (void) printf("%-8s %-15s %s\n", result_names[result], name, detail);
                if (result != CHECK_OK)
                        (void) printf("%-8s %-15s -> %s\n", "", "", remedy);
                return NULL;
        }
        TRY(buf_append_text(&report->list, report->n++ ? ",{\"name\":" : "{\"name\":"));
        TRY(json_put_text(&report->list, name));
        TRY(buf_append_format(&report->list, ",\"result\":\"%s\",\"detail\":", result_names[result]));
        TRY(json_put_text(&report->list, detail));
        if (result != CHECK_OK) {
                TRY(buf_append_text(&report->list, ",\"remedy\":"));
                TRY(json_put_text(&report->list, remedy));
        }
        return buf_append_text(&report->list, "}");
}

static struct error *report_host(struct report *report)
{
        for (size_t i = 0; i < n_host_checks; i++) {
                char detail[512] = "";
                enum check_result result = host_checks[i].probe(detail, sizeof(detail));
                TRY(report_add(report, host_checks[i].name, result, detail, host_checks[i].remedy));
        }
        return NULL;
}

/* The daemon's own conditions; that it does not run is a warning, since the host can be checked before it is started. */
static struct error *report_daemon(struct report *report, struct context *context)
{
        Cri__StatusRequest request = CRI__STATUS_REQUEST__INIT;
        _cleanup_(client_answer_freep) Cri__StatusResponse *answer = NULL;
        struct error *e = runtime_call(context, "Status", &request, CALL_TIMEOUT_MS, &answer);
        if (e) {
                struct error *failed = report_add(report, "skiffd", CHECK_WARN, error_message(e),
                                                  "start skiffd, or name its socket with --endpoint");
                error_free(e);
                return failed;
        }
        for (size_t i = 0; answer->status && i < answer->status->n_conditions; i++) {
                const Cri__RuntimeCondition *condition = answer->status->conditions[i];
                TRY(report_add(report, condition->type, condition->status ? CHECK_OK : CHECK_FAIL,
                               *condition->message ? condition->message : "yes",
                               strcmp(condition->type, "NetworkReady") == 0
                                       ? "put a network configuration into skiffd's --cni-conf-dir"
                                       : "skiffd's log says more"));
        }
        return NULL;
}

static struct error *report_leaks(struct report *report, struct context *context)
{
        Admin__LeaksRequest request = ADMIN__LEAKS_REQUEST__INIT;
        _cleanup_(client_answer_freep) Admin__LeaksResponse *answer = NULL;
        TRY(admin_call(context, "Leaks", &request, CALL_TIMEOUT_MS, &answer));
        for (size_t i = 0; i < answer->n_leaks; i++)
                TRY(report_add(report, "leak", CHECK_FAIL, answer->leaks[i],
                               "restart skiffd: what is its own it removes at start"));
        if (answer->n_leaks == 0)
                TRY(report_add(report, "leaks", CHECK_OK, "nothing is left over", ""));
        return NULL;
}

static struct error *report_all(struct report *report, struct context *context, bool leaks)
{
        if (leaks)
                return report_leaks(report, context);
        TRY(report_host(report));
        return report_daemon(report, context);
}

struct error *check_command(struct context *context, int argc, char **argv)
{
        bool leaks = false;
        struct report report = { 0 };
        for (int i = 1; i < argc; i++) {
                if (strcmp(argv[i], "--leaks") == 0)
                        leaks = true;
                else if (strcmp(argv[i], "--json") == 0)
                        report.json = true;
                else
                        return USAGE_ERROR("\"%s\" is too much", argv[i]);
        }
        buf_init(&report.list, LINES_MAX_BYTES);
        struct error *e = report_all(&report, context, leaks);
        if (!e && report.json)
                (void) printf("[%s]\n", report.list.bytes ? report.list.bytes : "");
        buf_done(&report.list);
        context->exit_code = report.failed ? 1 : 0;
        return e;
}
