/* What of skiff itself may be amiss on a host: helpers that are not where skiffd looks for them, libraries that a program needs
 * and does not find, the certificates of authorities that registries are known by. */
#include "base/authorities.h"
#include "base/process.h"
#include "cri/client/host_checks.h"
#include <string.h>

#define OUTPUT_MAX_BYTES ((size_t) 64 << 10)
#define LOADER_TIMEOUT_MS 10000

/* The loader's list of a program's libraries in place of the program, ld.so(8). *out is the line of the first that is not
 * there, or of a version that it does not have; NULL when all is there. */
static struct error *find_missing(const char *path, char **out)
{
        const char *const argv[] = { path, NULL };
        const char *const env[] = { "LD_TRACE_LOADED_OBJECTS=1", "LC_ALL=C", NULL };
        struct process_start start = process_start_init(path, argv);
        struct wait wait = wait_of_ms(LOADER_TIMEOUT_MS);
        _cleanup_(buf_done) struct buf listed, told;
        int status = 0;
        buf_init(&listed, OUTPUT_MAX_BYTES);
        buf_init(&told, OUTPUT_MAX_BYTES);
        start.env = env;
        TRY(process_run(&start, NULL, 0, &listed, &told, &wait, &status));
        for (struct buf *text = &told;; text = &listed) {
                const char *found = text->len_bytes ? strstr(text->bytes, "not found") : NULL;
                if (found) {
                        const char *line = found;
                        while (line > text->bytes && line[-1] != '\n')
                                line--;
                        line += strspn(line, " \t");
                        *out = dup_bytes(line, strcspn(line, "\n"));
                        return NULL;
                }
                if (text == &listed)
                        return NULL;
        }
}

enum check_result check_programs(char *detail, size_t size_bytes)
{
        /* What is static is only looked for: the loader has no part in it. */
        static const struct {
                const char *name;
                bool is_static;
        } programs[] = { { "skiffd", false },
                         { "skiff-pod", true },
                         { "skiff-pull", false },
                         { "skiff-unpack", false },
                         { "skiff-stream", false } };
        char own[4096];
        ssize_t len_bytes = readlink("/proc/self/exe", own, sizeof(own) - 1);
        own[len_bytes > 0 ? len_bytes : 0] = '\0';
        char *slash = strrchr(own, '/');
        if (slash)
                *slash = '\0';
        for (size_t i = 0; i < LENGTH(programs); i++) {
                _cleanup_(freep) char *path = format_string("%s/%s", own, programs[i].name), *missing = NULL;
                if (i == 0 && access(path, F_OK) < 0) {
                        (void) snprintf(detail, size_bytes, "skiffd is not in %s: not looked at", own);
                        return CHECK_WARN;
                }
                if (access(path, X_OK) < 0) {
                        (void) snprintf(detail, size_bytes, "%s: %s", path, strerror(errno));
                        return CHECK_FAIL;
                }
                struct error *e = programs[i].is_static ? NULL : find_missing(path, &missing);
                if (e || missing) {
                        (void) snprintf(detail, size_bytes, "%s: %s", programs[i].name,
                                        e ? error_message(e) : missing);
                        error_free(e);
                        return CHECK_FAIL;
                }
        }
        (void) snprintf(detail, size_bytes, "all in %s, with their libraries", own);
        return CHECK_OK;
}

enum check_result check_authorities(char *detail, size_t size_bytes)
{
        static const char *const places[] = { AUTHORITIES_PLACES };
        for (size_t i = 0; i < LENGTH(places); i++)
                if (access(places[i], R_OK) == 0) {
                        (void) snprintf(detail, size_bytes, "%s", places[i]);
                        return CHECK_OK;
                }
        (void) snprintf(detail, size_bytes, "there is neither %s nor what other distributions have",
                        places[0]);
        return CHECK_WARN;
}
