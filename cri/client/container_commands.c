/* logs, stop, rm. */
#include "base/file.h"
#include "base/json.h"
#include "base/wait.h"
#include "cri/client/command.h"
#include "cri/client/log_reader.h"
#include <getopt.h>
#include <poll.h>
#include <string.h>

/* CRI has no call that waits for a container's end, so it is asked this often. */
#define STATUS_EVERY_MS 500
#define STOP_GRACE_S 10
#define LOG_ROOT "/var/log/pods/"

struct error *container_status(struct context *context, const char *id, Cri__ContainerStatusResponse **out)
{
        Cri__ContainerStatusRequest request = CRI__CONTAINER_STATUS_REQUEST__INIT;
        request.container_id = id;
        TRY(runtime_call(context, "ContainerStatus", &request, CALL_TIMEOUT_MS, out));
        if (!(*out)->status)
                return error_new(ERROR_INTERNAL, "ContainerStatus: the answer has no status");
        return NULL;
}

struct error *container_status_patiently(struct context *context, const char *id,
                                         Cri__ContainerStatusResponse **out)
{
        const struct wait wait = { .deadline_ns = WAIT_FOREVER, .cancel_fd = -1 };
        struct error *e;
        while ((e = container_status(context, id, out))) {
                TRY(call_forgive(context, e));
                TRY(wait_delay(&wait, AWAY_RETRY_MS, "wait for skiffd"));
        }
        return NULL;
}

/* Follows until the container has ended; what it wrote last is shown too. */
static struct error *follow(struct context *context, const char *id, struct log_reader *reader)
{
        for (bool running = true; running;) {
                _cleanup_(client_answer_freep) Cri__ContainerStatusResponse *answer = NULL;
                struct pollfd more = { .fd = log_reader_fd(reader), .events = POLLIN };
                TRY(log_reader_show(reader));
                if (poll(&more, 1, STATUS_EVERY_MS) > 0)
                        continue;
                struct error *e = container_status_patiently(context, id, &answer);
                if (e && error_code_of(e) == ERROR_NOT_FOUND) {
                        error_ignore(e); /* it was removed meanwhile */
                        break;
                }
                if (e)
                        return e;
                running = answer->status->state == CRI__CONTAINER_STATE__CONTAINER_RUNNING ||
                          answer->status->state == CRI__CONTAINER_STATE__CONTAINER_CREATED;
        }
        return log_reader_show(reader);
}

struct error *logs_command(struct context *context, int argc, char **argv)
{
        static const struct option flags[] = { { "follow", no_argument, NULL, 'f' },
                                               { "timestamps", no_argument, NULL, 't' },
                                               { 0 } };
        bool following = false, times = false;
        for (int flag; (flag = getopt_long(argc, argv, "ft", flags, NULL)) != -1;) {
                if (flag != 'f' && flag != 't')
                        return USAGE_ERROR("unknown flag %s", argv[optind - 1]);
                following |= flag == 'f';
                times |= flag == 't';
        }
        if (optind + 1 != argc)
                return USAGE_ERROR("one container is needed");
        _cleanup_(object_done) struct object object = { 0 };
        _cleanup_(client_answer_freep) Cri__ContainerStatusResponse *answer = NULL;
        _cleanup_(log_reader_freep) struct log_reader *reader = NULL;
        TRY(object_find(context, OBJECT_CONTAINER, argv[optind], &object));
        TRY(container_status(context, object.id, &answer));
        if (!*answer->status->log_path)
                return error_new(ERROR_FAILED_PRECONDITION,
                                 "%s has no log: it was made without a log directory or path", argv[optind]);
        TRY(log_reader_open(answer->status->log_path, times, &reader));
        return following ? follow(context, object.id, reader) : log_reader_show(reader);
}

/* --- stop, rm --- */

struct error *parse_seconds(const char *text, int64_t *out)
{
        char *end = NULL;
        errno = 0;
        long long seconds = strtoll(text, &end, 10);
        if (errno || end == text || *end || seconds < 0 || seconds > 1000000000)
                return USAGE_ERROR("\"%s\" is no number of seconds", text);
        *out = seconds;
        return NULL;
}

static struct error *stop_container(struct context *context, const char *id, int64_t grace_s)
{
        Cri__StopContainerRequest request = CRI__STOP_CONTAINER_REQUEST__INIT;
        _cleanup_(client_answer_freep) Cri__StopContainerResponse *answer = NULL;
        request.container_id = id;
        request.timeout = grace_s;
        return runtime_call(context, "StopContainer", &request, grace_s * 1000 + CALL_TIMEOUT_MS, &answer);
}

static struct error *stop_pod(struct context *context, const char *id)
{
        Cri__StopPodSandboxRequest request = CRI__STOP_POD_SANDBOX_REQUEST__INIT;
        _cleanup_(client_answer_freep) Cri__StopPodSandboxResponse *answer = NULL;
        request.pod_sandbox_id = id;
        return runtime_call(context, "StopPodSandbox", &request, CALL_TIMEOUT_MS, &answer);
}

/* StopPodSandbox kills; each container gets its grace first. */
static struct error *stop_containers_of(struct context *context, const char *pod_id, int64_t grace_s)
{
        Cri__ContainerFilter filter = CRI__CONTAINER_FILTER__INIT;
        Cri__ListContainersRequest request = CRI__LIST_CONTAINERS_REQUEST__INIT;
        _cleanup_(client_answer_freep) Cri__ListContainersResponse *answer = NULL;
        filter.pod_sandbox_id = pod_id;
        request.filter = &filter;
        TRY(runtime_call(context, "ListContainers", &request, CALL_TIMEOUT_MS, &answer));
        for (size_t i = 0; i < answer->n_containers; i++)
                if (answer->containers[i]->state == CRI__CONTAINER_STATE__CONTAINER_RUNNING)
                        TRY(stop_container(context, answer->containers[i]->id, grace_s));
        return NULL;
}

struct error *stop_command(struct context *context, int argc, char **argv)
{
        static const struct option flags[] = { { "timeout", required_argument, NULL, 't' }, { 0 } };
        int64_t grace_s = STOP_GRACE_S;
        for (int flag; (flag = getopt_long(argc, argv, "+t:", flags, NULL)) != -1;) {
                if (flag != 't')
                        return USAGE_ERROR("unknown flag %s", argv[optind - 1]);
                TRY(parse_seconds(optarg, &grace_s));
        }
        if (optind == argc)
                return USAGE_ERROR("what is to be stopped?");
        for (int i = optind; i < argc; i++) {
                _cleanup_(object_done) struct object object = { 0 };
                TRY(object_find(context, OBJECT_POD | OBJECT_CONTAINER, argv[i], &object));
                if (object.kind == OBJECT_CONTAINER) {
                        TRY(stop_container(context, object.id, grace_s));
                } else {
                        TRY(stop_containers_of(context, object.id, grace_s));
                        TRY(stop_pod(context, object.id));
                }
                (void) printf("%s\n", object.id);
        }
        return NULL;
}

/* The directory that `skiff run` made for the pod's logs stands in the pod's annotations; only one below LOG_ROOT that
 * has the form of ours is removed, since anyone can write an annotation. */
static struct error *remove_logs(const char *directory)
{
        const char *name = directory + strlen(LOG_ROOT);
        if (strncmp(directory, LOG_ROOT "skiff_", strlen(LOG_ROOT "skiff_")) != 0 || strchr(name, '/'))
                return NULL;
        _cleanup_(closep) int root = open(LOG_ROOT, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        return root < 0 ? NULL : file_remove_tree(root, name);
}

static const char *log_directory_of(const Cri__PodSandboxStatusResponse *answer)
{
        for (size_t i = 0; answer->status && i < answer->status->n_annotations; i++)
                if (strcmp(answer->status->annotations[i]->key, "skiff.log-directory") == 0)
                        return answer->status->annotations[i]->value;
        return "";
}

struct error *pod_remove(struct context *context, const char *pod_id)
{
        Cri__PodSandboxStatusRequest ask = CRI__POD_SANDBOX_STATUS_REQUEST__INIT;
        Cri__RemovePodSandboxRequest request = CRI__REMOVE_POD_SANDBOX_REQUEST__INIT;
        _cleanup_(client_answer_freep) Cri__PodSandboxStatusResponse *status = NULL;
        _cleanup_(client_answer_freep) Cri__RemovePodSandboxResponse *answer = NULL;
        ask.pod_sandbox_id = request.pod_sandbox_id = pod_id;
        struct error *e = runtime_call(context, "PodSandboxStatus", &ask, CALL_TIMEOUT_MS, &status);
        if (e && error_code_of(e) == ERROR_NOT_FOUND) {
                error_ignore(e); /* gone already */
                return NULL;
        }
        if (e)
                return e;
        TRY(stop_pod(context, pod_id));
        TRY(runtime_call(context, "RemovePodSandbox", &request, CALL_TIMEOUT_MS, &answer));
        return remove_logs(log_directory_of(status));
}

static struct error *refuse_running(struct context *context, const struct object *object)
{
        if (object->kind == OBJECT_CONTAINER) {
                _cleanup_(client_answer_freep) Cri__ContainerStatusResponse *answer = NULL;
                TRY(container_status(context, object->id, &answer));
                if (answer->status->state == CRI__CONTAINER_STATE__CONTAINER_RUNNING)
                        return error_new(ERROR_FAILED_PRECONDITION, "%s runs; stop it first, or rm -f",
                                         object->id);
                return NULL;
        }
        Cri__PodSandboxStatusRequest request = CRI__POD_SANDBOX_STATUS_REQUEST__INIT;
        _cleanup_(client_answer_freep) Cri__PodSandboxStatusResponse *answer = NULL;
        request.pod_sandbox_id = object->id;
        TRY(runtime_call(context, "PodSandboxStatus", &request, CALL_TIMEOUT_MS, &answer));
        if (answer->status && answer->status->state == CRI__POD_SANDBOX_STATE__SANDBOX_READY)
                return error_new(ERROR_FAILED_PRECONDITION, "%s is ready; stop it first, or rm -f",
                                 object->id);
        return NULL;
}

static struct error *remove_one(struct context *context, const char *text, bool force)
{
        _cleanup_(object_done) struct object object = { 0 };
        TRY(object_find(context, OBJECT_POD | OBJECT_CONTAINER, text, &object));
        if (!force)
                TRY(refuse_running(context, &object));
        if (object.kind == OBJECT_POD) {
                TRY(pod_remove(context, object.id));
        } else {
                Cri__RemoveContainerRequest request = CRI__REMOVE_CONTAINER_REQUEST__INIT;
                _cleanup_(client_answer_freep) Cri__RemoveContainerResponse *answer = NULL;
                request.container_id = object.id;
                TRY(runtime_call(context, "RemoveContainer", &request, CALL_TIMEOUT_MS, &answer));
        }
        (void) printf("%s\n", object.id);
        return NULL;
}

struct error *rm_command(struct context *context, int argc, char **argv)
{
        static const struct option flags[] = { { "force", no_argument, NULL, 'f' }, { 0 } };
        bool force = false;
        for (int flag; (flag = getopt_long(argc, argv, "+f", flags, NULL)) != -1;) {
                if (flag != 'f')
                        return USAGE_ERROR("unknown flag %s", argv[optind - 1]);
                force = true;
        }
        if (optind == argc)
                return USAGE_ERROR("what is to be removed?");
        for (int i = optind; i < argc; i++)
                TRY(remove_one(context, argv[i], force));
        return NULL;
}
