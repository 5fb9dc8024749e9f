/* What every program of a TSan build runs with; $TSAN_OPTIONS goes before. gRPC's own library is not instrumented, so
 * what it seems to do is ignored; and a child that only execs may be made by a process with threads. */
const char *__tsan_default_options(void); /* sanitizer/common_interface_defs.h has no declaration of it */

const char *__tsan_default_options(void)
{
        return "ignore_noninstrumented_modules=1:die_after_fork=0";
}
