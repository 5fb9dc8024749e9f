/* How a child that cannot go on ends, whichever part of it that was: below all of them. */
#include "runtime/supervisor/child.h"
#include <errno.h>
#include <unistd.h>

_Noreturn void child_fail(const struct child *child, enum stage stage, size_t index)
{
        struct child_report report = { .stage = stage, .errnum = errno, .index = (uint32_t) index };
        ssize_t ignored = write(child->report_fd, &report, sizeof(report));
        (void) ignored;
        _exit(127);
}
