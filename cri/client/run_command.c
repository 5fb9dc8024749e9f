/* run: a pod with one container, in the foreground or not. */
#include "base/file.h"
#include "base/wait.h"
#include "cri/client/command.h"
#include "cri/client/run_spec.h"
#include "cri/client/run_streams.h"
#include "cri/client/signals.h"
#include "cri/client/stream_status.h"
#include "cri/client/terminal.h"
#include <string.h>

/* CRI has no call that waits for a container's end, so it is asked: soon after it wrote something, then less often. */
#define STATUS_FIRST_MS 5
#define STATUS_EVERY_MS 200
#define STOP_GRACE_S 2 /* whoever pressed Ctrl-C waits */
#define LOST_MS 2000

static void run_spec_freep(struct run_spec **spec)
{
        if (*spec)
                run_spec_done(*spec);
}

struct running {
        const char *pod_id, *container_id; /* borrowed from the answers */
        Cri__RunPodSandboxResponse *pod;
        Cri__CreateContainerResponse *container;
        bool is_taken; /* the name is another pod's, and so is the log directory */
};

static void running_done(struct running *running)
{
        client_answer_freep(&running->pod);
        client_answer_freep(&running->container);
}

/* The image's id; an image that is not here is pulled, and that is said. */
static struct error *image_find(struct context *context, struct run_spec *spec)
{
        Cri__ImageStatusRequest request = CRI__IMAGE_STATUS_REQUEST__INIT;
        Cri__PullImageRequest pull = CRI__PULL_IMAGE_REQUEST__INIT;
        _cleanup_(client_answer_freep) Cri__ImageStatusResponse *answer = NULL;
        _cleanup_(client_answer_freep) Cri__PullImageResponse *pulled = NULL;
        spec->image_spec.image = spec->image;
        request.image = pull.image = &spec->image_spec;
        TRY(image_call(context, "ImageStatus", &request, CALL_TIMEOUT_MS, &answer));
        if (!answer->image) {
                (void) fprintf(stderr, "skiff run: %s is not here, pulling it\n", spec->image);
                TRY(image_call(context, "PullImage", &pull, 0, &pulled));
        }
        spec->owned[spec->n_owned++] = dup_string(answer->image ? answer->image->id : pulled->image_ref);
        spec->image_spec.image = spec->owned[spec->n_owned - 1];
        spec->image_spec.user_specified_image = spec->image;
        return NULL;
}

/* --name is the pod's uid too, so that skiffd, which tells pods apart by both, has one of a name. */
static struct error *pod_run(struct context *context, struct run_spec *spec, struct running *running)
{
        Cri__RunPodSandboxRequest run = CRI__RUN_POD_SANDBOX_REQUEST__INIT;
        run.config = &spec->pod;
        struct error *e = runtime_call(context, "RunPodSandbox", &run, RUN_POD_TIMEOUT_MS, &running->pod);
        if (e && error_code_of(e) == ERROR_ALREADY_EXISTS) {
                running->is_taken = true;
                e = error_wrap(e, "there is a pod called %s already; `skiff rm -f %s` removes it", spec->name,
                               spec->name);
        }
        return e;
}

static struct error *start(struct context *context, struct run_spec *spec, struct running *running)
{
        Cri__CreateContainerRequest create = CRI__CREATE_CONTAINER_REQUEST__INIT;
        Cri__StartContainerRequest begin = CRI__START_CONTAINER_REQUEST__INIT;
        _cleanup_(client_answer_freep) Cri__StartContainerResponse *begun = NULL;
        create.sandbox_config = &spec->pod;
        create.config = &spec->container;
        TRY_WRAP(file_mkdirs(AT_FDCWD, spec->log_directory, 0755), "log directory");
        TRY(pod_run(context, spec, running));
        running->pod_id = running->pod->pod_sandbox_id;
        create.pod_sandbox_id = running->pod_id;
        TRY(runtime_call(context, "CreateContainer", &create, RUN_POD_TIMEOUT_MS, &running->container));
        running->container_id = begin.container_id = running->container->container_id;
        struct error *e = runtime_call(context, "StartContainer", &begin, CALL_TIMEOUT_MS, &begun);
        /* The image was found and the container made, but its command cannot be run. */
        if (e && error_code_of(e) == ERROR_FAILED_PRECONDITION)
                context->error_exit_code = stream_status_not_run(error_message(e));
        return e;
}

static struct error *stop_container(struct context *context, const char *id, int64_t grace_s)
{
        Cri__StopContainerRequest request = CRI__STOP_CONTAINER_REQUEST__INIT;
        _cleanup_(client_answer_freep) Cri__StopContainerResponse *answer = NULL;
        request.container_id = id;
        request.timeout = grace_s;
        return runtime_call(context, "StopContainer", &request, grace_s * 1000 + CALL_TIMEOUT_MS, &answer);
}

static struct error *ask_ended(struct context *context, const char *id, bool *ended)
{
        Cri__ContainerStatusRequest request = CRI__CONTAINER_STATUS_REQUEST__INIT;
        _cleanup_(client_answer_freep) Cri__ContainerStatusResponse *answer = NULL;
        request.container_id = id;
        struct error *e = runtime_call(context, "ContainerStatus", &request, CALL_TIMEOUT_MS, &answer);
        if (e) /* while skiffd is away the container goes on, and so does what it writes */
                return call_forgive(context, e);
        if (!answer->status || answer->status->state != CRI__CONTAINER_STATE__CONTAINER_EXITED)
                return NULL;
        *ended = true;
        context->exit_code = answer->status->exit_code;
        if (strcmp(answer->status->reason, "OOMKilled") == 0)
                (void) fprintf(stderr, "skiff run: the container ran out of memory\n");
        return NULL;
}

/* The first time it is asked and has a moment; a second Ctrl-C ends that, and then it is killed. */
static struct error *interrupt_container(struct context *context, const char *id)
{
        if (signals_insisting)
                return stop_container(context, id, 0);
        context->interrupted = &signals_insisting;
        struct error *e = stop_container(context, id, STOP_GRACE_S);
        context->interrupted = NULL;
        if (!e || !signals_insisting)
                return e;
        error_ignore(e); /* cancelled */
        return stop_container(context, id, 0);
}

/* A terminal's connection is gone, which e tells. That may be the container's end, which is then known soon. */
static struct error *lost(struct context *context, const char *id, struct error *e)
{
        struct wait wait = wait_of_ms(LOST_MS);
        bool ended = false;
        while (!ended && wait_left_ms(&wait)) {
                struct error *unknown = ask_ended(context, id, &ended);
                if (!unknown && !ended)
                        unknown = wait_delay(&wait, STATUS_FIRST_MS, "the container's end");
                error_ignore(unknown); /* e is told */
        }
        if (!ended)
                return e;
        error_ignore(e); /* it was */
        return NULL;
}

/* Shows what it writes until the container has ended, then what it wrote last. Ctrl-C asks it to end, a second one insists; with
 * a terminal it is a key like others. *left: by the detach keys. */
static struct error *foreground(struct context *context, struct run_spec *spec, const struct running *running,
                                bool *left)
{
        _cleanup_(run_streams_freep) struct run_streams *streams = NULL;
        TRY(run_streams_open(context, spec, running->container_id, &streams));
        int asked = 0, quiet_ms = STATUS_FIRST_MS;
        for (bool ended = false; !ended;) {
                bool is_quiet = false;
                if (signals_ending > asked) {
                        asked = signals_ending;
                        TRY(interrupt_container(context, running->container_id));
                }
                TRY(run_streams_step(streams, quiet_ms, &is_quiet));
                *left = run_streams_detached(streams);
                if (*left)
                        return NULL;
                struct error *e = run_streams_lost(streams);
                if (e) {
                        TRY(lost(context, running->container_id, e));
                        break;
                }
                if (!is_quiet) {
                        quiet_ms = STATUS_FIRST_MS;
                        continue;
                }
                TRY(ask_ended(context, running->container_id, &ended));
                quiet_ms = quiet_ms * 2 < STATUS_EVERY_MS ? quiet_ms * 2 : STATUS_EVERY_MS;
        }
        return run_streams_finish(streams);
}

static struct error *remove_patiently(struct context *context, const char *pod_id)
{
        const struct wait wait = { .deadline_ns = WAIT_FOREVER, .cancel_fd = -1 };
        struct error *e;
        while ((e = pod_remove(context, pod_id))) {
                TRY(call_forgive(context, e));
                TRY(wait_delay(&wait, AWAY_RETRY_MS, "wait for skiffd"));
        }
        return NULL;
}

/* Whatever happened, nothing is left. The first error is the one that is told. */
static struct error *clean_up(struct context *context, const struct run_spec *spec,
                              const struct running *running, struct error *e)
{
        struct error *failed = running->pod_id ? remove_patiently(context, running->pod_id) : NULL;
        if (!running->is_taken)
                (void) rmdir(spec->log_directory); /* where no pod came to be */
        if (e && failed)
                return error_wrap(failed, "%s; and the pod %s is left", error_message(e), running->pod_id);
        return e ? e : failed;
}

static struct error *check_terminal(const struct run_spec *spec)
{
        if (!spec->container.tty || spec->detach)
                return NULL;
        TRY(terminal_need(STDIN_FILENO));
        return signals_catch_terminal();
}

struct error *run_command(struct context *context, int argc, char **argv)
{
        _cleanup_(run_spec_freep) struct run_spec *spec = NEW(struct run_spec);
        _cleanup_(running_done) struct running running = { 0 };
        bool left = false;
        TRY(run_spec_parse(argc, argv, spec));
        TRY(check_terminal(spec));
        TRY(image_find(context, spec));
        TRY(signals_catch()); /* whatever would end us: the pod must not stay behind */
        context->interrupted = &signals_ending;
        struct error *e = start(context, spec, &running);
        context->interrupted =
                NULL; /* from here on Ctrl-C is for the container, and what cleans up must get through */
        if (!e && spec->detach) {
                (void) printf("%s\n", running.pod_id);
                return NULL;
        }
        if (!e)
                e = foreground(context, spec, &running, &left);
        if (!e && left) {
                (void) fprintf(stderr, "\nskiff run: %s runs on; `skiff attach %s` joins it again\n",
                               spec->name, spec->name);
                return NULL;
        }
        return clean_up(context, spec, &running, e);
}
