#include "pods/lifecycle/container.h"
#include "base/clock.h"
#include "base/fault.h"
#include "base/file.h"
#include "base/log.h"
#include "base/utf8.h"
#include "images/images.h"
#include "pods/feed.h"
#include "pods/lifecycle/bundle.h"
#include "pods/message.h"
#include "pods/records.h"
#include "pods/spec/cdi_devices.h"
#include "pods/spec/rw_layer.h"
#include "pods/spec/spec.h"
#include "pods/spec/volumes.h"
#include "pods/table.h"
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>

#define CONFIG_WHOLE_BYTES                                                                                   \
        (8 << 10) /* of a larger one only what is needed is kept: labels may be megabytes */
#define EXIT_CODE_NOT_STARTED 128
#define MESSAGE_MAX_BYTES 16384

static void lock(struct container *c)
{
        (void) pthread_mutex_lock(&c->pod->node->lock);
}

static void unlock(struct container *c)
{
        (void) pthread_mutex_unlock(&c->pod->node->lock);
}

/* --- what follows from the record --- */

static struct error *derive_log_path(struct container *c)
{
        const char *directory = c->pod->config->log_directory, *name = c->config->log_path;
        if (!*directory || !*name)
                return NULL;
        if (*directory != '/')
                return error_new(ERROR_INVALID_ARGUMENT, "log_directory: \"%s\" is not an absolute path",
                                 directory);
        for (const char *part = name; part; part = strchr(part, '/')) {
                part += *part == '/' && part != name;
                size_t part_bytes = strcspn(part, "/");
                if (part_bytes == 0 || part_bytes > NAME_MAX || (part_bytes == 1 && *part == '.') ||
                    (part_bytes == 2 && strncmp(part, "..", 2) == 0) || strpbrk(name, "\r\n"))
                        return error_new(ERROR_INVALID_ARGUMENT,
                                         "config.log_path: \"%.200s\" is no path of a file below the pod's "
                                         "log directory",
                                         name);
        }
        c->log_path = format_string("%s/%s", directory, name);
        return NULL;
}

struct error *container_derive(struct node *node, struct container *c)
{
        (void) node;
        c->cgroup_path = format_string("%s/%s", c->pod->cgroup_home, c->id);
        return derive_log_path(c);
}

/* --- create_container: the steps --- */

static struct error *make_rootfs(void *object, const struct wait *wait)
{
        struct container *c = object;
        (void) wait;
        uint64_t max_bytes = 0;
        TRY(rw_layer_bound(c, &max_bytes));
        TRY(rootfs_make(c->pod->node->config.images, c->id, c->image_id));
        if (max_bytes)
                TRY(rootfs_bound(c->pod->node->config.images, c->id, max_bytes));
        return volumes_hold(c);
}

/* After make_rootfs, which holds the image: from there on it cannot go away. */
static struct error *make_spec(void *object, const struct wait *wait)
{
        struct container *c = object;
        (void) wait;
        return spec_ensure(c->pod->node, c);
}

static struct error *make_cgroup(void *object, const struct wait *wait)
{
        struct container *c = object;
        struct cgroups *cgroups = c->pod->node->config.cgroups;
        _cleanup_(spec_limits_done) struct cgroup_limits limits = { 0 };
        (void) wait;
        TRY(spec_check_least(spec_resources_of(c)));
        TRY(spec_limits(spec_resources_of(c), &limits));
        TRY_WRAP(cgroup_make(cgroups, c->cgroup_path, CGROUP_CONTAINER, &limits), "resources");
        return cgroup_devices(cgroups, c->cgroup_path, c->spec->device_rules, c->spec->n_device_rules,
                              c->spec->all_devices);
}

static struct error *make_created(void *object, const struct wait *wait)
{
        struct container *c = object;
        (void) wait;
        lock(c);
        c->state = CONTAINER_CREATED;
        unlock(c);
        return record_container_created(c->pod->node->db, c);
}

static struct error *unmake_created(void *object, const struct wait *wait)
{
        struct container *c = object;
        (void) wait;
        lock(c);
        c->state = CONTAINER_MAKING;
        unlock(c);
        return record_container_progress(c->pod->node->db, c);
}

static const struct step create_table[] = {
        { "rootfs", make_rootfs, container_drop_rootfs },
        { "spec", make_spec, NULL },
        { "cgroup", make_cgroup, container_drop_cgroup },
        { "created", make_created, unmake_created },
};
/* One record before the first step says enough: see sandbox.c. */
static const struct steps create_container = { .name = "create_container",
                                               .table = create_table,
                                               .n = LENGTH(create_table) };

static struct error *forget(struct container *c)
{
        TRY(record_container_gone(c->pod->node->db, c->id));
        table_remove_container(c->pod->node, c);
        return NULL;
}

struct error *container_undo_make(struct container *c)
{
        bool joined;
        struct error *result;
        TRY(operation_begin(&c->operation, &c->pod->node->lock, OPERATION_REMOVE, NULL, &joined, &result));
        if (joined)
                return result;
        struct error *e = steps_undo(&create_container, c, create_container.n, 0);
        if (!e)
                e = forget(c);
        operation_end(&c->operation, &c->pod->node->lock, e);
        return e;
}

static struct error *create_recorded(struct container *c, const struct wait *wait)
{
        struct step_times times = { 0 };
        TRY(record_container(c->pod->node->db, c));
        struct error *e = fault_point("create_container.record.after");
        if (!e)
                e = steps_make(&create_container, c, wait, &times);
        lock(c);
        c->create_times = times;
        unlock(c);
        return e;
}

static struct error *create_new(struct container *c, const struct wait *caller)
{
        struct wait wait;
        TRY(operation_wait(&c->operation, &c->pod->node->lock, caller, &wait));
        struct error *e = create_recorded(c, &wait);
        operation_wait_done(&wait);
        if (e) {
                /* A record that is left behind is MAKING: the next start undoes what it names. */
                error_ignore(record_container_gone(c->pod->node->db, c->id));
                table_remove_container(c->pod->node, c);
        }
        return e;
}

static bool is_id_of(const struct image *image, const char *text)
{
        const char *digits = strchr(image->id, ':') ? strchr(image->id, ':') + 1 : image->id;
        if (strncmp(text, "sha256:", 7) == 0)
                text += 7;
        return *text && strncmp(digits, text, strlen(text)) == 0;
}

/* "zz:1" and "zz" are "registry.example/zz:1" and "docker.io/library/zz:latest" to who wrote them. */
static bool is_written_as(const char *tag, const char *written)
{
        const char *slash = strrchr(written, '/');
        bool has_tag = strchr(slash ? slash : written, ':') != NULL;
        _cleanup_(freep) char *text = format_string("%s%s", written, has_tag ? "" : ":latest");
        size_t tag_bytes = strlen(tag), text_bytes = strlen(text);
        if (tag_bytes < text_bytes || strcmp(tag + tag_bytes - text_bytes, text) != 0)
                return false;
        return tag_bytes == text_bytes || tag[tag_bytes - text_bytes - 1] == '/';
}

/* kubelet resolves an image to its id before it makes a container of it, and a person who reads the status wants its name:
 * the one that the pod's author wrote, where it has that, else the first. */
static char *name_of(const struct image *image, const char *asked, const char *written)
{
        if (!is_id_of(image, asked))
                return NULL;
        for (char **tag = image->repo_tags; *written && *tag; tag++)
                if (is_written_as(*tag, written))
                        return dup_string(*tag);
        return dup_string(image->repo_tags[0] ? image->repo_tags[0] : image->repo_digests[0]);
}

static struct error *resolve_image(struct container *c)
{
        _cleanup_(image_freep) struct image *image = NULL;
        const char *asked = c->config->image ? c->config->image->image : "";
        if (!*asked)
                return error_new(ERROR_INVALID_ARGUMENT, "config.image.image is missing");
        struct error *e = images_find(c->pod->node->config.images, asked, &image);
        /* To kubelet NOT_FOUND here would mean that the sandbox is gone. */
        if (e && error_code_of(e) == ERROR_NOT_FOUND)
                return error_as(error_wrap(e, "image %s", asked), ERROR_FAILED_PRECONDITION);
        if (e)
                return error_wrap(e, "config.image.image");
        c->image_id = dup_string(image->id);
        c->image_name = name_of(image, asked, c->config->image->user_specified_image);
        if (strlen(image->config_json) > CONFIG_WHOLE_BYTES)
                TRY_WRAP(image_config_trim(image->config_json, &c->image_config), "image %s", asked);
        else
                c->image_config = dup_string(image->config_json);
        c->image_ref = dup_string(image->repo_digests[0] ? image->repo_digests[0] : image->id);
        return NULL;
}

static struct error *check_pod_ready(struct sandbox *pod)
{
        (void) pthread_mutex_lock(&pod->node->lock);
        bool ready = pod->state == POD_READY && !pod->lost;
        (void) pthread_mutex_unlock(&pod->node->lock);
        return ready ? NULL : error_new(ERROR_FAILED_PRECONDITION, "pod %s is not ready", pod->id);
}

/* Before the start is begun, which would end the container. */
static struct error *check_supervisor(struct sandbox *pod)
{
        (void) pthread_mutex_lock(&pod->node->lock);
        const char *why = pod->runtime ? runtime_pod_undriven(pod->runtime) : "it cannot be reached now";
        (void) pthread_mutex_unlock(&pod->node->lock);
        return why ? error_new(ERROR_UNAVAILABLE, "the supervisor of pod %s: %s", pod->id, why) : NULL;
}

/* Makes way for a container of the same name, as sandbox.c does for pods. in_use is owned here. */
static struct error *make_way(struct container *other, const struct wait *wait, struct error *in_use)
{
        _cleanup_(error_freep) struct error *refused = in_use;
        pthread_mutex_t *node_lock = &other->pod->node->lock;
        bool joined;
        struct error *result;
        lock(other);
        enum operation_kind busy = other->operation.kind;
        enum container_state state = other->state;
        unlock(other);
        if (busy == OPERATION_NONE && state == CONTAINER_MAKING)
                return container_undo_make(other);
        if (busy == OPERATION_NONE && state == CONTAINER_REMOVING)
                return container_remove(other);
        if (busy != OPERATION_MAKE && busy != OPERATION_REMOVE)
                return TAKE(refused);
        TRY(operation_begin(&other->operation, node_lock, OPERATION_OTHER, wait, &joined, &result));
        operation_end(&other->operation, node_lock, NULL);
        return NULL;
}

/* A stop of the pod that began while the container went into the table may have missed it. */
static struct error *add_to_pod(struct container *c, const struct wait *wait)
{
        for (struct error *e; (e = table_add_container(c->pod->node, c));) {
                _cleanup_(container_unrefp) struct container *other =
                        table_find_container_by_name(c->pod->node, c->name);
                if (other)
                        TRY(make_way(other, wait, e));
                else
                        error_free(e); /* gone meanwhile */
        }
        struct error *e = check_pod_ready(c->pod);
        if (e)
                table_remove_container(c->pod->node, c);
        return e;
}

static void tell_created(struct container *c)
{
        lock(c);
        feed_container(c, CRI__CONTAINER_EVENT_TYPE__CONTAINER_CREATED_EVENT);
        unlock(c);
}

struct error *node_create_container(struct node *node, const Cri__CreateContainerRequest *request,
                                    const struct wait *wait, char **out_id)
{
        char id[ID_LEN + 1];
        bool joined;
        struct error *result;
        _cleanup_(sandbox_unrefp) struct sandbox *pod = table_find_pod(node, request->pod_sandbox_id);
        if (!pod)
                return error_new(ERROR_NOT_FOUND, "pod %s does not exist", request->pod_sandbox_id);
        TRY(check_pod_ready(pod));
        id_make(id);
        _cleanup_(container_unrefp) struct container *c =
                container_new(id, pod->id, message_copy(request->config));
        c->pod = sandbox_ref(pod);
        c->created_ns = clock_wall_ns();
        TRY(container_derive(node, c));
        TRY(resolve_image(c));
        TRY(volumes_resolve(c));
        TRY(cdi_devices_resolve(c));
        TRY(operation_begin(&c->operation, &node->lock, OPERATION_MAKE, wait, &joined, &result));
        struct error *e = add_to_pod(c, wait);
        if (!e)
                e = create_new(c, wait);
        if (!e)
                tell_created(c);
        operation_end(&c->operation, &node->lock, e);
        if (!e)
                *out_id = dup_string(id);
        return e;
}

/* --- start_container --- */

struct start {
        struct container *c;
        int *mount_fds; /* of image volumes, or NULL */
};

/* Until the start is over. */
static struct error *map_ids(const struct container *c)
{
        const struct sandbox *pod = c->pod;
        _cleanup_(closep) int userns_fd = -1;
        if (!pod->userns.length)
                return NULL;
        TRY(runtime_pod_userns(pod->runtime, &userns_fd));
        return rootfs_map(pod->node->config.images, c->id, userns_fd, pod->userns.base);
}

static struct error *open_volumes(void *object, const struct wait *wait)
{
        struct start *start = object;
        (void) wait;
        TRY(map_ids(start->c));
        rootfs_label(start->c->pod->node->config.images, start->c->id, start->c->spec->mount_context);
        return volumes_open(start->c, &start->mount_fds);
}

/* While the process is being made: parts of the start of their own, with fault points like steps. */
static struct error *open_log(void *context, int *out_fd)
{
        TRY(fault_point("start_container.log.before"));
        TRY(container_open_log(context, out_fd));
        return fault_point("start_container.log.after");
}

static struct error *mount_rootfs(void *context, int *out_fd)
{
        const struct container *c = context;
        TRY(fault_point("start_container.rootfs.before"));
        TRY(rootfs_mount(c->pod->node->config.images, c->id, out_fd));
        return fault_point("start_container.rootfs.after");
}

/* From here on the start has happened, whoever gave up waiting for it. A record that cannot be written says STARTING, and
 * a restart asks the supervisor then. */
static void note_running(struct container *c, pid_t pid)
{
        error_ignore(fault_point("start_container.running.before"));
        lock(c);
        c->pid = pid;
        if (c->state == CONTAINER_STARTING) { /* else its exit was faster than the answer, and was told */
                c->state = CONTAINER_RUNNING;
                feed_container(c, CRI__CONTAINER_EVENT_TYPE__CONTAINER_STARTED_EVENT);
        }
        unlock(c);
        log_error(LOG_LEVEL_WARN, record_container_progress(c->pod->node->db, c), "record a start",
                  "container", c->id);
        error_ignore(fault_point("start_container.running.after"));
}

static struct error *start_process(void *object, const struct wait *wait)
{
        struct start *start = object;
        struct container *c = start->c;
        _cleanup_(bundle_done) struct bundle bundle = { .path = NULL };
        struct runtime_start how = { .started_wall_ns = c->started_ns,
                                     .rootfs = mount_rootfs,
                                     .log = c->log_path ? open_log : NULL,
                                     .context = c,
                                     .mount_fds = start->mount_fds,
                                     .log_line_max_bytes =
                                             atomic_load(&c->pod->node->settings.log_line_max_bytes),
                                     .log_max_bytes = atomic_load(&c->pod->node->settings.log_max_bytes) };
        pid_t pid = 0;
        TRY(bundle_make(c, &bundle, &how.hooks));
        TRY(runtime_container_start(c->pod->runtime, c->spec, &how, wait, &pid));
        note_running(c, pid);
        return NULL;
}

/* The process is the last step: nothing that could fail comes after it has run. */
static const struct step start_table[] = {
        { "volumes", open_volumes, NULL },
        { "process", start_process, NULL },
};
static const struct steps start_container = { .name = "start_container",
                                              .table = start_table,
                                              .n = LENGTH(start_table) };

static struct error *check_startable(struct container *c)
{
        lock(c);
        enum container_state state = c->state;
        unlock(c);
        if (state == CONTAINER_CREATED)
                return NULL;
        return error_new(ERROR_FAILED_PRECONDITION,
                         "container %s is %s: only a created container can be started", c->id,
                         state == CONTAINER_RUNNING ? "running already" : "not in the created state");
}

/* A start that failed has ended the container: exit code 128, reason StartError, the words as message. One that was
 * cancelled before its process ran leaves it created. */
static void start_failed(struct container *c, struct error *e)
{
        enum error_code code = error_code_of(e);
        lock(c);
        if (c->state != CONTAINER_EXITED) {
                bool again = code == ERROR_CANCELLED || code == ERROR_DEADLINE_EXCEEDED;
                c->state = again ? CONTAINER_CREATED : CONTAINER_EXITED;
                c->started_ns = 0;
                if (!again) {
                        c->finished_ns = clock_wall_ns();
                        c->exit_code = EXIT_CODE_NOT_STARTED;
                        c->reason = dup_string("StartError");
                        c->message = utf8_repair(error_message(e),
                                                 MESSAGE_MAX_BYTES); /* a name on the host may be any bytes */
                        feed_container(c, CRI__CONTAINER_EVENT_TYPE__CONTAINER_STOPPED_EVENT);
                }
        }
        unlock(c);
        error_ignore(
                record_container_progress(c->pod->node->db, c)); /* STARTING is settled by recovery too */
}

/* The container whose pid namespace is wanted must run in the same pod. */
static struct error *check_pid_target(struct container *c)
{
        if (c->spec->pid_mode != PID_MODE_TARGET)
                return NULL;
        _cleanup_(container_unrefp) struct container *target =
                table_find_container(c->pod->node, c->spec->pid_target);
        lock(c);
        bool runs = target && target->pod == c->pod && target->state == CONTAINER_RUNNING;
        unlock(c);
        if (!runs)
                return error_new(ERROR_FAILED_PRECONDITION,
                                 "namespace_options.target_id: %s is no running container of this pod",
                                 c->spec->pid_target);
        return NULL;
}

static struct error *start_held(struct container *c, const struct wait *caller)
{
        struct start start = { .c = c };
        struct step_times times = { 0 };
        struct wait wait;
        TRY(check_startable(c));
        TRY(check_pod_ready(c->pod));
        TRY(check_supervisor(c->pod));
        TRY(spec_ensure(c->pod->node, c));
        TRY(check_pid_target(c));
        TRY(operation_wait(&c->operation, &c->pod->node->lock, caller, &wait));
        lock(c);
        c->state = CONTAINER_STARTING;
        c->started_ns = clock_wall_ns(); /* which start it is: container_exited */
        unlock(c);
        struct error *e = record_container_progress(c->pod->node->db, c);
        if (!e)
                e = steps_make(&start_container, &start, &wait, &times);
        operation_wait_done(&wait);
        volumes_close(c, start.mount_fds);
        if (c->pod->userns.length)
                rootfs_unmap(c->pod->node->config.images, c->id);
        lock(c);
        c->start_times = times;
        unlock(c);
        if (e)
                start_failed(c, e);
        return e;
}

struct error *node_start_container(struct node *node, const char *id, const struct wait *wait)
{
        bool joined;
        struct error *result;
        _cleanup_(container_unrefp) struct container *c = table_find_container(node, id);
        if (!c)
                return error_new(ERROR_NOT_FOUND, "container %s does not exist", id);
        TRY(operation_begin(&c->operation, &node->lock, OPERATION_START, wait, &joined, &result));
        struct error *e = start_held(c, wait);
        operation_end(&c->operation, &node->lock, e);
        return e;
}

/* --- the log file --- */

/* One step down from *dir_fd, which is closed; the directory is made where it is missing. */
static struct error *enter_directory(int *dir_fd, const char *name)
{
        if (mkdirat(*dir_fd, name, 0755) < 0 && errno != EEXIST)
                return error_errno(errno, "make directory %s", name);
        int below_fd = openat(*dir_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (below_fd < 0)
                return error_errno(errno, "open directory %s", name);
        closep(dir_fd);
        *dir_fd = below_fd;
        return NULL;
}

/* What stands at the file's name may have been planted: a device's driver must not even be opened, a fifo neither block us
 * nor, later, the supervisor. */
static struct error *open_log_file(int dir_fd, const char *name, int *out_fd)
{
        struct stat st;
        if (fstatat(dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0 && !S_ISREG(st.st_mode))
                return error_new(ERROR_FAILED_PRECONDITION, "%s is there and is not a regular file", name);
        _cleanup_(closep) int fd =
                openat(dir_fd, name,
                       O_WRONLY | O_CREAT | O_APPEND | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC, 0640);
        if (fd < 0 || fstat(fd, &st) < 0)
                return error_errno(errno, "open %s", name);
        if (!S_ISREG(st.st_mode))
                return error_new(ERROR_FAILED_PRECONDITION, "%s is not a regular file", name);
        *out_fd = TAKE_FD(fd);
        return NULL;
}

static struct error *open_log_below(int *dir_fd, char *path, int *out_fd)
{
        char *rest = NULL, *name = strtok_r(path, "/", &rest);
        for (char *next; (next = strtok_r(NULL, "/", &rest)); name = next)
                TRY(enter_directory(dir_fd, name));
        return open_log_file(*dir_fd, name, out_fd);
}

/* The directory is kubelet's; in it nothing that a container could have put there is followed, no link, no device and no
 * fifo (CVE-2024-5154). */
struct error *container_open_log(const struct container *c, int *out_fd)
{
        if (!c->log_path)
                return NULL;
        const char *directory = c->pod->config->log_directory;
        _cleanup_(freep) char *name = dup_string(c->config->log_path);
        TRY(file_mkdirs(AT_FDCWD, directory, 0755));
        _cleanup_(closep) int dir_fd = open(directory, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (dir_fd < 0)
                return error_errno(errno, "open the log directory %s", directory);
        TRY_WRAP(open_log_below(&dir_fd, name, out_fd), "log %s", c->log_path);
        return NULL;
}
