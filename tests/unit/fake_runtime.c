#include "tests/unit/fake_runtime.h"
#include "base/clock.h"
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/stat.h>

enum { PODS_MAX = 16, CONTAINERS_MAX = 32, EVENTS_MAX = 64 };

struct fake_container {
        char id[65];
        const struct container_spec *spec;
        int64_t started_wall_ns;
        int last_signal;
        bool runs, ignores_signals;
};

struct fake_pod {
        char id[65];
        dev_t device;
        ino_t directory; /* of STATE/pods/ID */
        bool lives;
        struct fake_container containers[CONTAINERS_MAX];
        size_t n_containers;
        struct runtime_exit exits[EVENTS_MAX];
        size_t n_exits;
        struct runtime_event events[EVENTS_MAX];
        size_t n_events, n_told;
        int event_fd;
};

struct runtime {
        int unused;
};

struct runtime_pod {
        struct fake_pod *pod;
        struct runtime_container running[CONTAINERS_MAX]; /* as of the attach */
        size_t n_running;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct fake_pod pods[PODS_MAX];
static size_t n_pods;
static bool refused[FAKE_CALLS];

/* --- what the test says; all below with the lock --- */

static struct fake_container *find_container(const char *id, struct fake_pod **pod)
{
        for (size_t i = 0; i < n_pods; i++)
                for (size_t j = 0; j < pods[i].n_containers; j++)
                        if (strcmp(pods[i].containers[j].id, id) == 0) {
                                *pod = &pods[i];
                                return &pods[i].containers[j];
                        }
        return NULL;
}

static void tell(struct fake_pod *pod, const struct runtime_event *event)
{
        const uint64_t one = 1;
        pod->events[pod->n_events++ % EVENTS_MAX] = *event;
        (void) !write(pod->event_fd, &one, sizeof(one));
}

static void end_container(struct fake_pod *pod, struct fake_container *c, int exit_code)
{
        struct runtime_event event = { .kind = RUNTIME_EVENT_EXIT };
        if (!c->runs)
                return;
        c->runs = false;
        (void) snprintf(event.exit.container_id, sizeof(event.exit.container_id), "%s", c->id);
        event.exit.started_wall_ns = c->started_wall_ns;
        event.exit.finished_wall_ns = clock_wall_ns();
        event.exit.exit_code = exit_code;
        pod->exits[pod->n_exits++ % EVENTS_MAX] = event.exit;
        tell(pod, &event);
}

static void end_supervisor(struct fake_pod *pod)
{
        pod->lives = false;
        for (size_t i = 0; i < pod->n_containers; i++)
                pod->containers[i].runs = false;
        tell(pod, &(struct runtime_event){ .kind = RUNTIME_EVENT_LOST });
}

void fake_reset(void)
{
        (void) pthread_mutex_lock(&lock);
        for (size_t i = 0; i < n_pods; i++)
                (void) close(pods[i].event_fd);
        memset(pods, 0, sizeof(pods));
        n_pods = 0;
        memset(refused, 0, sizeof(refused));
        (void) pthread_mutex_unlock(&lock);
}

void fake_refuse(enum fake_call call)
{
        (void) pthread_mutex_lock(&lock);
        refused[call] = true;
        (void) pthread_mutex_unlock(&lock);
}

static struct error *refusal(enum fake_call call)
{
        (void) pthread_mutex_lock(&lock);
        bool is_refused = refused[call];
        refused[call] = false;
        (void) pthread_mutex_unlock(&lock);
        return is_refused ? error_new(ERROR_UNAVAILABLE, "refused") : NULL;
}

void fake_exit(const char *container_id, int exit_code)
{
        struct fake_pod *pod = NULL;
        (void) pthread_mutex_lock(&lock);
        struct fake_container *c = find_container(container_id, &pod);
        if (c)
                end_container(pod, c, exit_code);
        (void) pthread_mutex_unlock(&lock);
}

void fake_ignore_signals(const char *container_id)
{
        struct fake_pod *pod = NULL;
        (void) pthread_mutex_lock(&lock);
        struct fake_container *c = find_container(container_id, &pod);
        if (c)
                c->ignores_signals = true;
        (void) pthread_mutex_unlock(&lock);
}

void fake_cut(const char *pod_id)
{
        (void) pthread_mutex_lock(&lock);
        for (size_t i = 0; i < n_pods; i++)
                if (strcmp(pods[i].id, pod_id) == 0 && pods[i].lives) {
                        pods[i].n_told = pods[i].n_events; /* what was on its way is lost */
                        tell(&pods[i], &(struct runtime_event){ .kind = RUNTIME_EVENT_DISCONNECTED });
                }
        (void) pthread_mutex_unlock(&lock);
}

void fake_exit_unseen(const char *container_id, int exit_code)
{
        struct fake_pod *pod = NULL;
        (void) pthread_mutex_lock(&lock);
        struct fake_container *c = find_container(container_id, &pod);
        if (c) {
                end_container(pod, c, exit_code);
                pod->n_events--;
        }
        (void) pthread_mutex_unlock(&lock);
}

void fake_lose(const char *pod_id)
{
        (void) pthread_mutex_lock(&lock);
        for (size_t i = 0; i < n_pods; i++)
                if (strcmp(pods[i].id, pod_id) == 0 && pods[i].lives)
                        end_supervisor(&pods[i]);
        (void) pthread_mutex_unlock(&lock);
}

const struct container_spec *fake_spec(const char *container_id)
{
        struct fake_pod *pod = NULL;
        (void) pthread_mutex_lock(&lock);
        const struct fake_container *c = find_container(container_id, &pod);
        const struct container_spec *spec = c ? c->spec : NULL;
        (void) pthread_mutex_unlock(&lock);
        return spec;
}

int fake_last_signal(const char *container_id)
{
        struct fake_pod *pod = NULL;
        (void) pthread_mutex_lock(&lock);
        const struct fake_container *c = find_container(container_id, &pod);
        int number = c ? c->last_signal : 0;
        (void) pthread_mutex_unlock(&lock);
        return number;
}

size_t fake_supervisors(void)
{
        size_t n = 0;
        (void) pthread_mutex_lock(&lock);
        for (size_t i = 0; i < n_pods; i++)
                n += pods[i].lives;
        (void) pthread_mutex_unlock(&lock);
        return n;
}

/* --- handler.h --- */

struct error *runtime_open(const struct runtime_config *config, struct runtime **out)
{
        (void) config;
        *out = NEW(struct runtime);
        return NULL;
}

void runtime_free(struct runtime *runtime)
{
        free(runtime);
}

static void note_running(struct runtime_pod *connection)
{
        struct fake_pod *pod = connection->pod;
        connection->n_running = 0;
        for (size_t i = 0; i < pod->n_containers; i++)
                if (pod->containers[i].runs) {
                        struct runtime_container *to = &connection->running[connection->n_running++];
                        *to = (struct runtime_container){ .pid = 1000,
                                                          .started_wall_ns =
                                                                  pod->containers[i].started_wall_ns };
                        (void) snprintf(to->id, sizeof(to->id), "%s", pod->containers[i].id);
                }
}

static struct runtime_pod *connect_to(struct fake_pod *pod)
{
        struct runtime_pod *connection = NEW(struct runtime_pod);
        connection->pod = pod;
        note_running(connection);
        return connection;
}

struct error *runtime_pod_start(struct runtime *runtime, const struct pod_spec *spec, const struct wait *wait,
                                struct runtime_pod **out)
{
        struct stat st;
        (void) runtime;
        (void) wait;
        TRY(refusal(FAKE_POD_START));
        if (fstat(spec->dir_fd, &st) < 0)
                return error_errno(errno, "the pod's directory");
        (void) pthread_mutex_lock(&lock);
        struct fake_pod *pod = &pods[n_pods++ % PODS_MAX];
        *pod = (struct fake_pod){ .device = st.st_dev, .directory = st.st_ino, .lives = true };
        pod->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        (void) snprintf(pod->id, sizeof(pod->id), "%s", spec->id);
        *out = connect_to(pod);
        (void) pthread_mutex_unlock(&lock);
        return NULL;
}

struct error *runtime_pod_commit(struct runtime_pod *pod, const struct wait *wait)
{
        (void) pod;
        (void) wait;
        return refusal(FAKE_POD_COMMIT);
}

struct error *runtime_pod_attach(struct runtime *runtime, const char *id, int dir_fd, const struct wait *wait,
                                 struct runtime_pod **out)
{
        (void) runtime;
        (void) dir_fd;
        (void) wait;
        TRY(refusal(FAKE_POD_ATTACH));
        *out = NULL;
        (void) pthread_mutex_lock(&lock);
        for (size_t i = 0; i < n_pods; i++)
                if (strcmp(pods[i].id, id) == 0 && pods[i].lives) {
                        *out = connect_to(&pods[i]);
                        tell(&pods[i], &(struct runtime_event){ .kind = RUNTIME_EVENT_ATTACHED });
                }
        (void) pthread_mutex_unlock(&lock);
        return NULL;
}

struct error *runtime_pod_await(struct runtime_pod *pod, const struct wait *wait, bool *lives)
{
        (void) wait;
        *lives = pod->pod->lives;
        return NULL;
}

struct error *runtime_pod_reattach(struct runtime_pod *pod, const struct wait *wait, bool *lives)
{
        (void) wait;
        TRY(refusal(FAKE_POD_ATTACH));
        (void) pthread_mutex_lock(&lock);
        *lives = pod->pod->lives;
        note_running(pod);
        if (*lives)
                tell(pod->pod, &(struct runtime_event){ .kind = RUNTIME_EVENT_ATTACHED });
        (void) pthread_mutex_unlock(&lock);
        return NULL;
}

bool runtime_pod_is_known(const struct runtime_pod *pod)
{
        (void) pod;
        return true;
}

const char *runtime_pod_undriven(const struct runtime_pod *pod)
{
        (void) pod;
        return NULL;
}

struct error *runtime_pod_kill(struct runtime_pod *pod)
{
        TRY(refusal(FAKE_POD_STOP));
        (void) pthread_mutex_lock(&lock);
        if (pod->pod->lives)
                end_supervisor(pod->pod);
        (void) pthread_mutex_unlock(&lock);
        return NULL;
}

struct error *runtime_pod_reap(const struct runtime_pod *pod, const struct wait *wait)
{
        (void) pod;
        (void) wait;
        return NULL;
}

struct error *runtime_pod_stop(struct runtime_pod *pod, const struct wait *wait)
{
        (void) wait;
        return runtime_pod_kill(pod);
}

void runtime_pod_free(struct runtime_pod *pod)
{
        free(pod);
}

struct error *runtime_pod_userns(const struct runtime_pod *pod, int *out_fd)
{
        (void) pod;
        (void) out_fd;
        return error_new(ERROR_UNIMPLEMENTED, "no user namespaces in tests");
}

int runtime_pod_netns(const struct runtime_pod *pod)
{
        (void) pod;
        return -1;
}

bool runtime_pod_keeper_alive(const struct runtime_pod *pod)
{
        return pod->pod->lives;
}

pid_t runtime_pod_supervisor_pid(const struct runtime_pod *pod)
{
        (void) pod;
        return 999;
}

pid_t runtime_pod_keeper_pid(const struct runtime_pod *pod)
{
        (void) pod;
        return 999;
}

const char *runtime_pod_notice(const struct runtime_pod *pod)
{
        (void) pod;
        return NULL;
}

int runtime_pod_event_fd(const struct runtime_pod *pod)
{
        return pod->pod->event_fd;
}

struct error *runtime_pod_next_event(struct runtime_pod *pod, struct runtime_event *out, bool *got)
{
        uint64_t drained;
        (void) pthread_mutex_lock(&lock);
        *got = pod->pod->n_told < pod->pod->n_events;
        if (*got)
                *out = pod->pod->events[pod->pod->n_told++ % EVENTS_MAX];
        else
                (void) !read(pod->pod->event_fd, &drained, sizeof(drained));
        (void) pthread_mutex_unlock(&lock);
        return NULL;
}

size_t runtime_pod_running(const struct runtime_pod *pod, const struct runtime_container **out)
{
        *out = pod->running;
        return pod->n_running;
}

struct error *runtime_exits_read(int dir_fd, struct runtime_exit **out, size_t *n)
{
        struct stat st;
        *n = 0;
        *out = NULL;
        if (fstat(dir_fd, &st) < 0)
                return error_errno(errno, "the pod's directory");
        (void) pthread_mutex_lock(&lock);
        for (size_t i = 0; i < n_pods; i++)
                if (pods[i].device == st.st_dev && pods[i].directory == st.st_ino) {
                        *n = pods[i].n_exits;
                        *out = NEW_ARRAY(struct runtime_exit, *n + 1);
                        memcpy(*out, pods[i].exits, *n * sizeof(**out));
                }
        (void) pthread_mutex_unlock(&lock);
        return NULL;
}

struct error *runtime_container_start(struct runtime_pod *pod, const struct container_spec *spec,
                                      const struct runtime_start *start, const struct wait *wait, pid_t *pid)
{
        _cleanup_(closep) int rootfs_fd = -1, log_fd = -1;
        (void) wait;
        TRY(refusal(FAKE_START));
        if (start->log)
                TRY(start->log(start->context, &log_fd));
        TRY(start->rootfs(start->context, &rootfs_fd));
        (void) pthread_mutex_lock(&lock);
        struct fake_container *c = &pod->pod->containers[pod->pod->n_containers++ % CONTAINERS_MAX];
        *c = (struct fake_container){ .spec = spec, .started_wall_ns = start->started_wall_ns, .runs = true };
        (void) snprintf(c->id, sizeof(c->id), "%s", spec->id);
        (void) pthread_mutex_unlock(&lock);
        *pid = 1000;
        return NULL;
}

struct error *runtime_container_signal(struct runtime_pod *pod, const char *id, int signal,
                                       const struct wait *wait)
{
        struct fake_pod *its = NULL;
        (void) pod;
        (void) wait;
        TRY(refusal(FAKE_SIGNAL));
        (void) pthread_mutex_lock(&lock);
        struct fake_container *c = find_container(id, &its);
        if (c && c->runs) {
                c->last_signal = signal;
                if (signal == SIGKILL || !c->ignores_signals)
                        end_container(its, c, 128 + signal);
        }
        (void) pthread_mutex_unlock(&lock);
        return NULL;
}

struct error *runtime_container_poststop(const struct container_spec *spec,
                                         const struct hook_surroundings *surroundings,
                                         const struct wait *wait)
{
        (void) spec;
        (void) surroundings;
        (void) wait;
        return NULL;
}

struct error *runtime_container_reopen_log(struct runtime_pod *pod, const char *id, int log_fd,
                                           const struct wait *wait)
{
        (void) pod;
        (void) id;
        (void) log_fd;
        (void) wait;
        return NULL;
}

void exec_result_done(struct exec_result *result)
{
        free(result->out);
        free(result->err);
        *result = (struct exec_result){ 0 };
}

struct error *runtime_exec_sync(struct runtime_pod *pod, const char *container_id,
                                const struct process_spec *process, const struct seccomp_program *seccomp,
                                int64_t timeout_ms, size_t limit_bytes, struct share *share,
                                const struct wait *wait, struct exec_result *out)
{
        (void) pod;
        (void) container_id;
        (void) process;
        (void) seccomp;
        (void) timeout_ms;
        (void) limit_bytes;
        (void) share;
        (void) wait;
        *out = (struct exec_result){ 0 };
        return NULL;
}

/* --- sessions --- */

static struct fake_session session;

static struct error *session_note(enum fake_session_kind kind, const char *id,
                                  const struct process_spec *process, const struct session_streams *streams,
                                  struct session_fds *out)
{
        *out = SESSION_FDS_NONE;
        TRY(refusal(FAKE_SESSION));
        (void) pthread_mutex_lock(&lock);
        session = (struct fake_session){ .kind = kind };
        (void) snprintf(session.container_id, sizeof(session.container_id), "%s", id);
        if (streams)
                session.streams = *streams;
        if (process) {
                (void) snprintf(session.command, sizeof(session.command), "%s", process->argv[0]);
                for (char *const *e = process->env; *e; e++)
                        if (strncmp(*e, "TERM=", 5) == 0)
                                (void) snprintf(session.term, sizeof(session.term), "%s", *e + 5);
        }
        (void) pthread_mutex_unlock(&lock);
        out->channel_fd = eventfd(0, EFD_CLOEXEC);
        return NULL;
}

struct fake_session fake_session(void)
{
        (void) pthread_mutex_lock(&lock);
        struct fake_session last = session;
        session = (struct fake_session){ .kind = FAKE_SESSION_NONE };
        (void) pthread_mutex_unlock(&lock);
        return last;
}

struct error *runtime_exec_open(struct runtime_pod *pod, const char *container_id,
                                const struct process_spec *process, const struct seccomp_program *seccomp,
                                const struct session_streams *streams, const struct wait *wait,
                                struct session_fds *out)
{
        (void) pod;
        (void) seccomp;
        (void) wait;
        return session_note(FAKE_SESSION_EXEC, container_id, process, streams, out);
}

struct error *runtime_attach_open(struct runtime_pod *pod, const char *container_id,
                                  const struct session_streams *streams, const struct wait *wait,
                                  struct session_fds *out)
{
        (void) pod;
        (void) wait;
        return session_note(FAKE_SESSION_ATTACH, container_id, NULL, streams, out);
}

struct error *runtime_forward_open(struct runtime_pod *pod, const struct wait *wait, struct session_fds *out)
{
        (void) wait;
        return session_note(FAKE_SESSION_FORWARD, pod->pod->id, NULL, NULL, out);
}
