/* What skiffd knows of a pod's supervisor: below those who ask it. */
#include "runtime/native/call.h"
#include <fcntl.h>
#include <stdio.h>
#include <sys/wait.h>

struct runtime_pod *runtime_pod_new(struct runtime *runtime, const char *id, int dir_fd)
{
        struct runtime_pod *pod = NEW(struct runtime_pod);
        pod->runtime = runtime;
        (void) snprintf(pod->id, sizeof(pod->id), "%s", id);
        pod->dir_fd = fcntl(dir_fd, F_DUPFD_CLOEXEC, 3);
        pod->event_fd = pod->self_fd = -1;
        pod->infra_fd = -1;
        pod->netns_fd = -1;
        return pod;
}

void pod_reap(const struct runtime_pod *pod)
{
        siginfo_t info;
        if (pod->self_fd >= 0)
                (void) waitid(P_PIDFD, (id_t) pod->self_fd, &info, WEXITED | WNOHANG | __WALL);
}

void fd_drop(_Atomic int *fd)
{
        int taken = atomic_exchange(fd, -1);
        closep(&taken);
}

void runtime_pod_free(struct runtime_pod *pod)
{
        if (!pod)
                return;
        pod_reap(pod);
        closep(&pod->dir_fd);
        closep(&pod->event_fd);
        closep(&pod->self_fd);
        fd_drop(&pod->infra_fd);
        fd_drop(&pod->netns_fd);
        free(pod->notice);
        free(pod->undriven);
        free(pod->running);
        free(pod);
}

int runtime_pod_netns(const struct runtime_pod *pod)
{
        return pod->netns_fd;
}

bool runtime_pod_keeper_alive(const struct runtime_pod *pod)
{
        return pod->keeper_alive;
}

pid_t runtime_pod_supervisor_pid(const struct runtime_pod *pod)
{
        return pod->supervisor_pid;
}

pid_t runtime_pod_keeper_pid(const struct runtime_pod *pod)
{
        return pod->keeper_pid;
}

const char *runtime_pod_notice(const struct runtime_pod *pod)
{
        const char *undriven = pod->undriven;
        if (undriven)
                return undriven;
        return pod->version ? pod->notice : "its supervisor has not answered yet";
}

bool runtime_pod_is_known(const struct runtime_pod *pod)
{
        return pod->version != 0;
}

const char *runtime_pod_undriven(const struct runtime_pod *pod)
{
        return pod->undriven;
}

size_t runtime_pod_running(const struct runtime_pod *pod, const struct runtime_container **out)
{
        *out = pod->running;
        return pod->n_running;
}

int runtime_pod_event_fd(const struct runtime_pod *pod)
{
        return pod->event_fd;
}
