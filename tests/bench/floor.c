#include "tests/bench/floor.h"
#include "tests/bench/floor_work.h"
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>

static const char *const names[FLOOR_N] = {
        [FLOOR_CGROUP_POD] = "floor: pod's cgroups",
        [FLOOR_CLONE_POD] = "floor: pod's clone3",
        [FLOOR_CGROUP_CONTAINER] = "floor: container's cgroups",
        [FLOOR_OVERLAY] = "floor: overlay",
        [FLOOR_CONTAINER] = "floor: container to its exec",
        [FLOOR_STARTED] = "floor: pod + container",
        [FLOOR_EXEC] = "floor: exec true",
        [FLOOR_KILL_CONTAINER] = "floor: kill container, reap",
        [FLOOR_KILL_POD] = "floor: kill pod, reap",
        [FLOOR_REMOVE] = "floor: remove",
};

const char *floor_name(enum floor_step step)
{
        return names[step];
}

void floor_timings_done(struct floor_timings *timings)
{
        for (size_t i = 0; i < FLOOR_N; i++)
                samples_done(&timings->of[i]);
}

/* The small process, and our end of the conversation. */
static struct {
        pid_t pid;
        int fd;
} worker = { .fd = -1 };

_Noreturn static void worker_main(int fd, const char *dir, const char *cgroup, bool host_network)
{
        struct floor_result result;
        char go;
        (void) prctl(PR_SET_PDEATHSIG, SIGKILL);
        (void) signal(SIGINT, SIG_IGN); /* the end of the conversation ends it */
        bool ready = floor_work_prepare(dir, cgroup, host_network, &result);
        if (ready)
                floor_work_tidy();
        while (read(fd, &go, 1) == 1) {
                if (ready) {
                        floor_work_round(&result);
                        floor_work_tidy();
                }
                if (write(fd, &result, sizeof(result)) != (ssize_t) sizeof(result))
                        break;
        }
        floor_work_end();
        _exit(0);
}

struct error *floor_open(const char *dir, const char *cgroup, bool host_network)
{
        int ends[2];
        if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0)
                return error_errno(errno, "socketpair");
        worker.pid = fork();
        if (worker.pid == 0) {
                (void) close(ends[0]);
                worker_main(ends[1], dir, cgroup, host_network);
        }
        (void) close(ends[1]);
        worker.fd = ends[0];
        return worker.pid < 0 ? error_errno(errno, "fork") : NULL;
}

void floor_close(void)
{
        closep(&worker.fd);
        if (worker.pid > 0)
                (void) waitpid(worker.pid, NULL, 0);
        worker.pid = 0;
}

struct error *floor_round(struct floor_timings *timings)
{
        struct floor_result result;
        if (write(worker.fd, "g", 1) != 1 ||
            read(worker.fd, &result, sizeof(result)) != (ssize_t) sizeof(result))
                return error_new(ERROR_INTERNAL, "floor: the small process has ended");
        if (result.failed)
                return error_new(ERROR_INTERNAL, "floor: %s: %s", result.what, strerror(result.errnum));
        for (size_t i = 0; timings && i < FLOOR_N; i++)
                samples_add(&timings->of[i], result.ms[i]);
        return NULL;
}
