#include "base/fault.h"
#ifdef SKIFF_FAULTS
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <string.h>

/* Reads what is armed into out; false when nothing is. */
static int armed(char *out, size_t size_bytes)
{
        const char *direct = getenv("SKIFF_FAULT"), *path = getenv("SKIFF_FAULT_FILE");
        if (direct)
                return snprintf(out, size_bytes, "%s", direct) > 0;
        _cleanup_(closep) int fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
        ssize_t n_bytes = fd < 0 ? -1 : read(fd, out, size_bytes - 1);
        if (n_bytes <= 0)
                return 0;
        out[n_bytes] = '\0';
        out[strcspn(out, "\n")] = '\0';
        return 1;
}

static struct error *act(const char *name, const char *action)
{
        const char *path = getenv("SKIFF_FAULT_FILE");
        if (path)
                (void) unlink(path);
        if (strcmp(action, "kill") == 0)
                (void) kill(getpid(), SIGKILL);
        while (strcmp(action, "hang") == 0)
                (void) pause();
        return error_new(ERROR_ABORTED, "fault injected at %s", name);
}

struct error *fault_point(const char *fmt, ...)
{
        char name[128], what[256];
        if (!armed(what, sizeof(what)))
                return NULL;
        va_list args;
        va_start(args, fmt);
        (void) vsnprintf(name, sizeof(name), fmt, args);
        va_end(args);
        size_t len_bytes = strlen(name);
        if (strncmp(what, name, len_bytes) != 0 || what[len_bytes] != '=')
                return NULL;
        return act(name, what + len_bytes + 1);
}
#else
/* ISO C has no empty translation unit. */
typedef int fault_is_off;
#endif
