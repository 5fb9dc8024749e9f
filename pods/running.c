#include "pods/running.h"
#include "pods/lifecycle/container.h"
#include "pods/spec/spec.h"
#include "pods/table.h"

#define EXEC_OUTPUT_LIMIT_BYTES ((16 << 20) - (64 << 10)) /* kubelet takes 16 MiB a message */
#define SUPERVISOR_ANSWERS_MS 5000

struct error *running_find(struct node *node, const char *id, struct container **out)
{
        _cleanup_(container_unrefp) struct container *c = table_find_container(node, id);
        if (!c)
                return error_new(ERROR_NOT_FOUND, "container %s does not exist", id);
        (void) pthread_mutex_lock(&node->lock);
        bool running = c->state == CONTAINER_RUNNING, reached = c->pod->runtime != NULL;
        (void) pthread_mutex_unlock(&node->lock);
        if (running && !reached)
                return error_new(ERROR_UNAVAILABLE, "the supervisor of container %s cannot be reached now",
                                 id);
        if (!running)
                return error_new(ERROR_FAILED_PRECONDITION, "container %s is not running", id);
        *out = TAKE(c);
        return NULL;
}

struct error *node_reopen_log(struct node *node, const char *id, const struct wait *wait)
{
        _cleanup_(container_unrefp) struct container *c = NULL;
        _cleanup_(closep) int log_fd = -1;
        TRY(running_find(node, id, &c));
        TRY(container_open_log(c, &log_fd));
        if (log_fd < 0)
                return NULL;
        struct wait asked = wait_within(wait, SUPERVISOR_ANSWERS_MS);
        return runtime_container_reopen_log(c->pod->runtime, c->id, log_fd, &asked);
}

static struct error *send_exec_result(const struct exec_result *result, const struct node_reply *reply)
{
        Cri__ExecSyncResponse response = CRI__EXEC_SYNC_RESPONSE__INIT;
        response.stdout = (ProtobufCBinaryData){ result->out_bytes, (uint8_t *) result->out };
        response.stderr = (ProtobufCBinaryData){ result->err_bytes, (uint8_t *) result->err };
        response.exit_code = result->exit_code;
        return reply->send(reply->context, &response.base);
}

struct error *node_exec_sync(struct node *node, const Cri__ExecSyncRequest *request, struct share *share,
                             const struct wait *wait, const struct node_reply *reply)
{
        _cleanup_(container_unrefp) struct container *c = NULL;
        _cleanup_(process_spec_done) struct process_spec process = { 0 };
        _cleanup_(exec_result_done) struct exec_result result = { 0 };
        int64_t timeout_ms = request->timeout <= 0                    ? 0
                             : request->timeout > INT64_MAX / 1000000 ? INT64_MAX / 1000
                                                                      : request->timeout * 1000;
        TRY(running_find(node, request->container_id, &c));
        TRY(spec_ensure(node, c));
        spec_exec(c, (char *const *) request->cmd, request->n_cmd, false, &process);
        TRY(runtime_exec_sync(c->pod->runtime, c->id, &process, c->spec->seccomp, timeout_ms,
                              EXEC_OUTPUT_LIMIT_BYTES, share, wait, &result));
        return send_exec_result(&result, reply);
}
