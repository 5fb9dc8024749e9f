#include "runtime/cgroup/systemd_bus.h"
#include "base/clock.h"
#include "base/file.h"
#include <dlfcn.h>
#include <poll.h>
#include <pthread.h>
#include <string.h>
#include <sys/eventfd.h>
#include <systemd/sd-bus.h>

#define SOCKET_PATH "/run/systemd/private"
#define NAME "org.freedesktop.systemd1"
#define PATH "/org/freedesktop/systemd1"
#define MANAGER NAME ".Manager"
#define ANSWER_MS 30000
#define STOP_USEC 10000000
#define COMM_MAX_BYTES 64

/* Named as they are in the library. */
#define FUNCTIONS(X)                                                                                         \
        X(sd_bus_new)                                                                                        \
        X(sd_bus_set_address)                                                                                \
        X(sd_bus_start)                                                                                      \
        X(sd_bus_close_unref)                                                                                \
        X(sd_bus_match_signal)                                                                               \
        X(sd_bus_process)                                                                                    \
        X(sd_bus_get_fd)                                                                                     \
        X(sd_bus_get_events)                                                                                 \
        X(sd_bus_call_async)                                                                                 \
        X(sd_bus_slot_unref)                                                                                 \
        X(sd_bus_message_new_method_call)                                                                    \
        X(sd_bus_message_append)                                                                             \
        X(sd_bus_message_open_container)                                                                     \
        X(sd_bus_message_close_container)                                                                    \
        X(sd_bus_message_read)                                                                               \
        X(sd_bus_message_get_error)                                                                          \
        X(sd_bus_message_unref)

struct systemd {
        void *library;
#define FIELD(function) typeof(function) *(function);
        FUNCTIONS(FIELD)
#undef FIELD
        pthread_mutex_t lock;
        sd_bus *bus;                /* NULL: no connection */
        struct systemd_call *calls; /* that are under way */
        int64_t heard_ns;           /* when something last came */
};

/* --- the library --- */

static struct error *library_load(struct systemd *s)
{
        s->library = dlopen("libsystemd.so.0", RTLD_NOW | RTLD_LOCAL);
        if (!s->library)
                return error_new(ERROR_FAILED_PRECONDITION,
                                 "the systemd cgroup driver: %s: install libsystemd0, or set cgroup_driver ="
                                 " \"cgroupfs\" in skiffd's configuration",
                                 dlerror());
#define LOAD(function)                                                                                       \
        s->function = (typeof(function) *) dlsym(s->library, #function);                                     \
        if (!s->function)                                                                                    \
                return error_new(ERROR_FAILED_PRECONDITION, "libsystemd.so.0 has no " #function);
        FUNCTIONS(LOAD)
#undef LOAD
        return NULL;
}

struct error *systemd_open(struct systemd **out)
{
        _cleanup_(systemd_freep) struct systemd *s = NEW(struct systemd);
        (void) pthread_mutex_init(&s->lock, NULL);
        TRY(library_load(s));
        *out = TAKE(s);
        return NULL;
}

void systemd_free(struct systemd *s)
{
        if (!s)
                return;
        if (s->bus)
                (void) s->sd_bus_close_unref(s->bus);
        if (s->library)
                (void) dlclose(s->library);
        (void) pthread_mutex_destroy(&s->lock);
        free(s);
}

bool systemd_is_pid_1(void)
{
        _cleanup_(freep) char *comm = NULL;
        size_t len_bytes = 0;
        struct error *e = file_read(AT_FDCWD, "/proc/1/comm", COMM_MAX_BYTES, &comm, &len_bytes);
        bool is = !e && strcmp(comm, "systemd\n") == 0 && access("/run/systemd/system", F_OK) == 0;
        error_ignore(e); /* who cannot know does not use it */
        return is;
}

bool systemd_has_socket(void)
{
        return access(SOCKET_PATH, F_OK) == 0;
}

/* --- the connection, with s->lock held --- */

static void call_end(struct systemd_call *call, struct error *e)
{
        if (call->is_done) {
                error_ignore(e); /* what came first counts */
                return;
        }
        call->is_done = true;
        call->error = e;
        (void) eventfd_write(call->done_fd, 1);
}

static struct error *error_lost(int errnum)
{
        return error_as(error_errno(errnum, "ask systemd by " SOCKET_PATH), ERROR_UNAVAILABLE);
}

static void bus_close(struct systemd *s)
{
        for (struct systemd_call *call = s->calls; call; call = call->next)
                call->slot = s->sd_bus_slot_unref(call->slot);
        s->bus = s->sd_bus_close_unref(s->bus);
}

static void bus_lost(struct systemd *s, int errnum)
{
        bus_close(s);
        for (struct systemd_call *call = s->calls; call; call = call->next)
                call_end(call, error_lost(errnum));
}

/* (id, job, unit, result). systemd tells of all jobs. */
static int job_removed(sd_bus_message *m, void *context, sd_bus_error *error)
{
        struct systemd *s = context;
        uint32_t id;
        const char *job = "", *unit = "", *result = "";
        (void) error;
        if (s->sd_bus_message_read(m, "uoss", &id, &job, &unit, &result) < 0)
                return 0;
        for (struct systemd_call *call = s->calls; call; call = call->next) {
                if (!call->job || strcmp(call->job, job) != 0)
                        continue;
                call->failed_job = strcmp(result, "done") != 0;
                call_end(call, call->failed_job
                                       ? error_new(ERROR_FAILED_PRECONDITION,
                                                   "systemd's job for %s ended as \"%s\"", unit, result)
                                       : NULL);
        }
        return 0;
}

static struct error *bus_open(struct systemd *s)
{
        sd_bus *bus = NULL;
        int r = s->sd_bus_new(&bus);
        if (r >= 0)
                r = s->sd_bus_set_address(bus, "unix:path=" SOCKET_PATH);
        if (r >= 0)
                r = s->sd_bus_start(bus);
        if (r >= 0)
                r = s->sd_bus_match_signal(bus, NULL, NULL, PATH, MANAGER, "JobRemoved", job_removed, s);
        if (r < 0) {
                (void) s->sd_bus_close_unref(bus);
                return error_lost(-r);
        }
        s->bus = bus;
        return NULL;
}

/* Reads and writes what can be without waiting. */
static void bus_process(struct systemd *s)
{
        int r = s->bus ? 1 : 0;
        while (r > 0) {
                r = s->sd_bus_process(s->bus, NULL);
                if (r > 0)
                        s->heard_ns = clock_monotonic_ns();
        }
        if (r < 0)
                bus_lost(s, -r);
}

/* --- calls --- */

static enum systemd_refusal refusal_of(const char *name)
{
        if (strcmp(name, NAME ".NoSuchUnit") == 0)
                return SYSTEMD_REFUSAL_NO_UNIT;
        return strcmp(name, NAME ".UnitExists") == 0 ? SYSTEMD_REFUSAL_UNIT_EXISTS : SYSTEMD_REFUSAL_OTHER;
}

static int answered(sd_bus_message *m, void *context, sd_bus_error *unused)
{
        struct systemd_call *call = context;
        struct systemd *s = call->systemd;
        const sd_bus_error *refused = s->sd_bus_message_get_error(m);
        const char *job = NULL;
        (void) unused;
        if (refused && strcmp(refused->name, SD_BUS_ERROR_NO_REPLY) == 0) {
                /* Said by sd-bus when the connection ends, to each call in turn. */
                call_end(call, error_lost(ECONNRESET));
        } else if (refused) {
                const char *text = refused->message ? refused->message : refused->name;
                call->refusal = refusal_of(refused->name);
                call_end(call, error_new(ERROR_FAILED_PRECONDITION, "systemd: %s", text));
        } else if (!call->wants_job) {
                call_end(call, NULL);
        } else if (s->sd_bus_message_read(m, "o", &job) < 0) {
                call_end(call, error_new(ERROR_INTERNAL, "systemd's answer cannot be read"));
        } else {
                call->job = dup_string(job);
        }
        return 0;
}

static void call_forget(struct systemd *s, struct systemd_call *call)
{
        struct systemd_call **at = &s->calls;
        while (*at && *at != call)
                at = &(*at)->next;
        if (*at)
                *at = call->next;
        if (call->slot)
                call->slot = s->sd_bus_slot_unref(call->slot);
        closep(&call->done_fd);
        free(TAKE(call->job));
        if (!s->calls && s->bus)
                bus_close(s);
}

static struct error *call_send(struct systemd *s, sd_bus_message *m, struct systemd_call *call)
{
        sd_bus_slot *slot = NULL;
        *call = (struct systemd_call){ .systemd = s, .wants_job = call->wants_job, .next = s->calls };
        call->done_fd = eventfd(0, EFD_CLOEXEC);
        if (call->done_fd < 0)
                return error_errno(errno, "eventfd");
        int r = s->sd_bus_call_async(s->bus, &slot, m, answered, call, UINT64_MAX);
        if (r < 0) {
                closep(&call->done_fd);
                return error_lost(-r);
        }
        call->slot = slot;
        s->calls = call;
        /* Out now: order is that of beginning. What cannot go yet goes with whoever waits first. */
        bus_process(s);
        return NULL;
}

/* Makes a message by `fill` and sends it. */
static struct error *call_begin(struct systemd *s, const char *method,
                                int (*fill)(struct systemd *s, sd_bus_message *m, const void *context),
                                const void *context, struct systemd_call *call)
{
        sd_bus_message *m = NULL;
        (void) pthread_mutex_lock(&s->lock);
        struct error *e = s->bus ? NULL : bus_open(s);
        if (!e) {
                int r = s->sd_bus_message_new_method_call(s->bus, &m, NAME, PATH, MANAGER, method);
                if (r >= 0)
                        r = fill(s, m, context);
                e = r < 0 ? error_errno(-r, "make a message to systemd") : call_send(s, m, call);
        }
        if (m)
                (void) s->sd_bus_message_unref(m);
        if (e && !s->calls && s->bus)
                bus_close(s);
        (void) pthread_mutex_unlock(&s->lock);
        return e;
}

/* CollectMode: one that failed is not kept, and its name is free. No dependency on shutdown.target, which would end pods early
 * in a shutdown. No device policy, and no limit that a container's own may be: those are below. */
static int fill_scope(struct systemd *s, sd_bus_message *m, const void *context)
{
        const struct systemd_scope *scope = context;
        typeof(s->sd_bus_message_append) append = s->sd_bus_message_append;
        const struct {
                const char *name, *type;
                uint64_t value;
        } numbers[] = { { "TasksMax", "t", UINT64_MAX },
                        { "TimeoutStopUSec", "t", STOP_USEC },
                        { "CPUWeight", "t", scope->cpu_weight } };
        static const struct {
                const char *name;
                int value;
        } switches[] = { { "Delegate", 1 },         { "DefaultDependencies", 0 }, { "CPUAccounting", 1 },
                         { "MemoryAccounting", 1 }, { "IOAccounting", 1 },        { "TasksAccounting", 1 } };
        int r = append(m, "ss", scope->unit,
                       "replace"); /* a stop of its slice that is on its way, not a unit */
        if (r >= 0)
                r = s->sd_bus_message_open_container(m, SD_BUS_TYPE_ARRAY, "(sv)");
        if (r >= 0)
                r = append(m, "(sv)", "Description", "s", scope->description);
        if (r >= 0)
                r = append(m, "(sv)", "Slice", "s", scope->slice);
        if (r >= 0)
                r = append(m, "(sv)", "PIDs", "au", 1, (uint32_t) scope->pid);
        if (r >= 0)
                r = append(m, "(sv)", "CollectMode", "s", "inactive-or-failed");
        for (size_t i = 0; r >= 0 && i < LENGTH(switches); i++)
                r = append(m, "(sv)", switches[i].name, "b", switches[i].value);
        for (size_t i = 0; r >= 0 && i < LENGTH(numbers); i++)
                if (numbers[i].value)
                        r = append(m, "(sv)", numbers[i].name, numbers[i].type, numbers[i].value);
        if (r >= 0)
                r = s->sd_bus_message_close_container(m);
        return r < 0 ? r : append(m, "a(sa(sv))", 0);
}

static int fill_stop(struct systemd *s, sd_bus_message *m, const void *context)
{
        return s->sd_bus_message_append(m, "ss", (const char *) context, "replace");
}

static int fill_unit(struct systemd *s, sd_bus_message *m, const void *context)
{
        return s->sd_bus_message_append(m, "s", (const char *) context);
}

struct weight {
        const char *unit;
        uint64_t cpu_weight;
};

/* Of the running unit alone: nothing is written to /etc. */
static int fill_weight(struct systemd *s, sd_bus_message *m, const void *context)
{
        const struct weight *weight = context;
        int r = s->sd_bus_message_append(m, "sb", weight->unit, 1);
        return r < 0 ? r : s->sd_bus_message_append(m, "a(sv)", 1, "CPUWeight", "t", weight->cpu_weight);
}

struct error *systemd_begin_scope(struct systemd *s, const struct systemd_scope *scope,
                                  struct systemd_call *call)
{
        call->wants_job = true;
        return call_begin(s, "StartTransientUnit", fill_scope, scope, call);
}

struct error *systemd_begin_stop(struct systemd *s, const char *unit, struct systemd_call *call)
{
        call->wants_job = true;
        return call_begin(s, "StopUnit", fill_stop, unit, call);
}

struct error *systemd_begin_weight(struct systemd *s, const char *unit, uint64_t cpu_weight,
                                   struct systemd_call *call)
{
        const struct weight weight = { unit, cpu_weight };
        call->wants_job = false;
        return call_begin(s, "SetUnitProperties", fill_weight, &weight, call);
}

struct error *systemd_begin_reset_failed(struct systemd *s, const char *unit, struct systemd_call *call)
{
        call->wants_job = false;
        return call_begin(s, "ResetFailedUnit", fill_unit, unit, call);
}

/* For the answer, or for something to read. */
static struct error *await_news(struct systemd *s, const struct systemd_call *call, const struct wait *wait)
{
        struct pollfd fds[] = { { .fd = call->done_fd, .events = POLLIN },
                                { .fd = wait->cancel_fd, .events = POLLIN },
                                { .fd = -1 } };
        if (s->bus) {
                int events = s->sd_bus_get_events(s->bus);
                fds[2].fd = s->sd_bus_get_fd(s->bus);
                fds[2].events = (short) (events < 0 ? POLLIN : events | POLLIN);
        }
        (void) pthread_mutex_unlock(&s->lock);
        int r = poll(fds, LENGTH(fds), wait_left_ms(wait));
        int errnum = errno;
        (void) pthread_mutex_lock(&s->lock);
        if (r < 0 && errnum != EINTR)
                return error_errno(errnum, "poll");
        return wait_check(wait, "wait for systemd");
}

/* A caller that has more time than systemd gets is told that it is systemd's fault; what says nothing at all is not asked by
 * the same connection again. */
static void call_late(struct systemd *s, struct systemd_call *call, int64_t since_ns)
{
        call_end(call, error_new(ERROR_UNAVAILABLE, "systemd has not answered on " SOCKET_PATH " within %d s",
                                 ANSWER_MS / 1000));
        if (s->heard_ns < since_ns && s->bus)
                bus_lost(s, ETIMEDOUT);
}

struct error *systemd_finish(struct systemd_call *call, const struct wait *wait)
{
        struct systemd *s = call->systemd;
        struct wait bounded = wait_within(wait, ANSWER_MS);
        int64_t since_ns = clock_monotonic_ns();
        struct error *e = NULL;
        (void) pthread_mutex_lock(&s->lock);
        while (!e && !call->is_done) {
                bus_process(s);
                if (!call->is_done)
                        e = await_news(s, call, &bounded);
        }
        if (e && error_code_of(e) == ERROR_DEADLINE_EXCEEDED && wait_left_ms(wait) != 0)
                call_late(s, call, since_ns);
        if (call->is_done) {
                error_ignore(e); /* just in time, or said better */
                e = TAKE(call->error);
        }
        call_forget(s, call);
        (void) pthread_mutex_unlock(&s->lock);
        return e;
}

bool systemd_lost(const struct error *e)
{
        return error_code_of(e) == ERROR_UNAVAILABLE && error_errnum_of(e) != 0 &&
               error_errnum_of(e) != ETIMEDOUT;
}
