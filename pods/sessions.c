#include "pods/running.h"
#include "pods/spec/spec.h"
#include "pods/table.h"

/* What is asked of any container. */
static struct error *check_streams(const struct session_streams *streams)
{
        if (!streams->in && !streams->out && !streams->err)
                return error_new(ERROR_INVALID_ARGUMENT, "one of stdin, stdout and stderr must be set");
        if (streams->tty && streams->err)
                return error_new(ERROR_INVALID_ARGUMENT,
                                 "tty and stderr cannot both be set: a terminal has one output");
        return NULL;
}

/* --- exec --- */

static struct session_streams exec_streams(const Cri__ExecRequest *request)
{
        return (struct session_streams){
                .in = request->stdin, .out = request->stdout, .err = request->stderr, .tty = request->tty
        };
}

static struct error *exec_find(struct node *node, const Cri__ExecRequest *request, struct container **out)
{
        const struct session_streams streams = exec_streams(request);
        if (request->n_cmd == 0)
                return error_new(ERROR_INVALID_ARGUMENT, "cmd: an exec needs a command");
        TRY(check_streams(&streams));
        return running_find(node, request->container_id, out);
}

struct error *node_check_exec(struct node *node, const Cri__ExecRequest *request)
{
        _cleanup_(container_unrefp) struct container *c = NULL;
        return exec_find(node, request, &c);
}

struct error *node_open_exec(struct node *node, const Cri__ExecRequest *request, uint16_t rows,
                             uint16_t columns, const struct wait *wait, struct session_fds *out)
{
        _cleanup_(container_unrefp) struct container *c = NULL;
        _cleanup_(process_spec_done) struct process_spec process = { 0 };
        struct session_streams streams = exec_streams(request);
        *out = SESSION_FDS_NONE;
        TRY(exec_find(node, request, &c));
        TRY(spec_ensure(node, c));
        spec_exec(c, (char *const *) request->cmd, request->n_cmd, streams.tty, &process);
        streams.rows = rows;
        streams.columns = columns;
        return runtime_exec_open(c->pod->runtime, c->id, &process, c->spec->seccomp, &streams, wait, out);
}

/* --- attach --- */

/* A container's terminal is what there is to join: it has no stderr, whatever is asked for. */
static struct session_streams attach_streams(const Cri__AttachRequest *request, const struct container *c)
{
        return (struct session_streams){ .in = request->stdin,
                                         .out = request->stdout,
                                         .err = request->stderr && !c->config->tty,
                                         .tty = c->config->tty };
}

static struct error *attach_find(struct node *node, const Cri__AttachRequest *request, struct container **out)
{
        _cleanup_(container_unrefp) struct container *c = NULL;
        const struct session_streams asked = {
                .in = request->stdin, .out = request->stdout, .err = request->stderr, .tty = request->tty
        };
        TRY(check_streams(&asked));
        TRY(running_find(node, request->container_id, &c));
        if (request->stdin && !c->config->stdin)
                return error_new(ERROR_INVALID_ARGUMENT, "container %s has no stdin open", c->id);
        if (request->tty && !c->config->tty)
                return error_new(ERROR_INVALID_ARGUMENT, "container %s has no terminal", c->id);
        *out = TAKE(c);
        return NULL;
}

struct error *node_check_attach(struct node *node, const Cri__AttachRequest *request)
{
        _cleanup_(container_unrefp) struct container *c = NULL;
        return attach_find(node, request, &c);
}

struct error *node_open_attach(struct node *node, const Cri__AttachRequest *request, uint16_t rows,
                               uint16_t columns, const struct wait *wait, struct session_fds *out)
{
        _cleanup_(container_unrefp) struct container *c = NULL;
        *out = SESSION_FDS_NONE;
        TRY(attach_find(node, request, &c));
        struct session_streams streams = attach_streams(request, c);
        streams.rows = rows;
        streams.columns = columns;
        return runtime_attach_open(c->pod->runtime, c->id, &streams, wait, out);
}

/* --- port-forward --- */

static struct error *forward_find(struct node *node, const Cri__PortForwardRequest *request,
                                  struct sandbox **out)
{
        _cleanup_(sandbox_unrefp) struct sandbox *pod = NULL;
        for (size_t i = 0; i < request->n_port; i++)
                if (request->port[i] < 1 || request->port[i] > UINT16_MAX)
                        return error_new(ERROR_INVALID_ARGUMENT, "port[%zu]: %d is no port", i,
                                         request->port[i]);
        pod = table_find_pod(node, request->pod_sandbox_id);
        if (!pod)
                return error_new(ERROR_NOT_FOUND, "pod %s does not exist", request->pod_sandbox_id);
        (void) pthread_mutex_lock(&node->lock);
        bool ready = pod->state == POD_READY && !pod->lost, reached = pod->runtime != NULL;
        (void) pthread_mutex_unlock(&node->lock);
        if (!ready)
                return error_new(ERROR_FAILED_PRECONDITION, "pod %s is not ready", pod->id);
        if (!reached)
                return error_new(ERROR_UNAVAILABLE, "the supervisor of pod %s cannot be reached now",
                                 pod->id);
        *out = TAKE(pod);
        return NULL;
}

struct error *node_check_forward(struct node *node, const Cri__PortForwardRequest *request)
{
        _cleanup_(sandbox_unrefp) struct sandbox *pod = NULL;
        return forward_find(node, request, &pod);
}

struct error *node_open_forward(struct node *node, const Cri__PortForwardRequest *request,
                                const struct wait *wait, struct session_fds *out)
{
        _cleanup_(sandbox_unrefp) struct sandbox *pod = NULL;
        *out = SESSION_FDS_NONE;
        TRY(forward_find(node, request, &pod));
        return runtime_forward_open(pod->runtime, wait, out);
}
