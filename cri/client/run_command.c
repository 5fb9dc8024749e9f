/* run: a pod with one container, in the foreground or not. */
#include "base/file.h"
#include "cri/client/command.h"
#include "cri/client/log_reader.h"
#include "cri/client/run_spec.h"
#include <poll.h>
#include <string.h>

/* CRI has no call that waits for a container's end, so it is asked: soon after it wrote something, then less often. */
#define STATUS_FIRST_MS 5
#define STATUS_EVERY_MS 200
#define STOP_GRACE_S 10

static volatile sig_atomic_t interrupts; /* how often Ctrl-C was pressed, or SIGTERM came */

static void on_signal(int number)
{
        (void) number;
        interrupts++;
}

static void catch_signals(void)
{
        struct sigaction action = { .sa_handler = on_signal }; /* no SA_RESTART: a poll ends */
        (void) sigaction(SIGINT, &action, NULL);
        (void) sigaction(SIGTERM, &action, NULL);
}

static void run_spec_freep(struct run_spec **spec)
{
        if (*spec)
                run_spec_done(*spec);
}

struct running {
        const char *pod_id, *container_id; /* borrowed from the answers */
        Cri__RunPodSandboxResponse *pod;
        Cri__CreateContainerResponse *container;
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

static struct error *start(struct context *context, struct run_spec *spec, struct running *running)
{
        Cri__RunPodSandboxRequest run = CRI__RUN_POD_SANDBOX_REQUEST__INIT;
        Cri__CreateContainerRequest create = CRI__CREATE_CONTAINER_REQUEST__INIT;
        Cri__StartContainerRequest begin = CRI__START_CONTAINER_REQUEST__INIT;
        _cleanup_(client_answer_freep) Cri__StartContainerResponse *begun = NULL;
        run.config = create.sandbox_config = &spec->pod;
        create.config = &spec->container;
        TRY_WRAP(file_mkdirs(AT_FDCWD, spec->log_directory, 0755), "log directory");
        TRY(runtime_call(context, "RunPodSandbox", &run, RUN_POD_TIMEOUT_MS, &running->pod));
        running->pod_id = running->pod->pod_sandbox_id;
        create.pod_sandbox_id = running->pod_id;
        TRY(runtime_call(context, "CreateContainer", &create, RUN_POD_TIMEOUT_MS, &running->container));
        running->container_id = begin.container_id = running->container->container_id;
        return runtime_call(context, "StartContainer", &begin, CALL_TIMEOUT_MS, &begun);
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
        TRY(runtime_call(context, "ContainerStatus", &request, CALL_TIMEOUT_MS, &answer));
        if (!answer->status || answer->status->state != CRI__CONTAINER_STATE__CONTAINER_EXITED)
                return NULL;
        *ended = true;
        context->exit_code = answer->status->exit_code;
        if (strcmp(answer->status->reason, "OOMKilled") == 0)
                (void) fprintf(stderr, "skiff run: the container ran out of memory\n");
        return NULL;
}

/* Shows the log until the container has ended, then what it wrote last. Ctrl-C asks it to end, a second one insists. */
static struct error *foreground(struct context *context, const struct run_spec *spec,
                                const struct running *running)
{
        _cleanup_(log_reader_freep) struct log_reader *reader = NULL;
        _cleanup_(freep) char *path = format_string("%s/%s", spec->log_directory, spec->container.log_path);
        TRY(log_reader_open(path, false, &reader));
        int asked = 0, quiet_ms = STATUS_FIRST_MS;
        for (bool ended = false; !ended;) {
                TRY(log_reader_show(reader));
                if (interrupts > asked) {
                        asked = interrupts;
                        TRY(stop_container(context, running->container_id, asked > 1 ? 0 : STOP_GRACE_S));
                        continue;
                }
                struct pollfd more = { .fd = log_reader_fd(reader), .events = POLLIN };
                if (poll(&more, 1, quiet_ms) > 0) {
                        quiet_ms = STATUS_FIRST_MS;
                        continue;
                }
                TRY(ask_ended(context, running->container_id, &ended));
                quiet_ms = quiet_ms * 2 < STATUS_EVERY_MS ? quiet_ms * 2 : STATUS_EVERY_MS;
        }
        return log_reader_show(reader);
}

/* Whatever happened, nothing is left. The first error is the one that is told. */
static struct error *clean_up(struct context *context, const struct run_spec *spec,
                              const struct running *running, struct error *e)
{
        struct error *failed = running->pod_id ? pod_remove(context, running->pod_id) : NULL;
        (void) rmdir(spec->log_directory); /* where no pod came to be */
        if (e && failed)
                return error_wrap(failed, "%s; and the pod %s is left", error_message(e), running->pod_id);
        return e ? e : failed;
}

struct error *run_command(struct context *context, int argc, char **argv)
{
        _cleanup_(run_spec_freep) struct run_spec *spec = NEW(struct run_spec);
        _cleanup_(running_done) struct running running = { 0 };
        TRY(run_spec_parse(argc, argv, spec));
        TRY(image_find(context, spec));
        catch_signals();
        context->interrupted = &interrupts;
        struct error *e = start(context, spec, &running);
        context->interrupted =
                NULL; /* from here on Ctrl-C is for the container, and what cleans up must get through */
        if (!e && spec->detach) {
                (void) printf("%s\n", running.pod_id);
                return NULL;
        }
        if (!e)
                e = foreground(context, spec, &running);
        return clean_up(context, spec, &running, e);
}
