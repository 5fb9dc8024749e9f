/* skiffd: reads its options, opens the parts from the bottom up, serves until SIGTERM or SIGINT, and leaves pods running. */
#include "api/admin.pb-c.h"
#include "api/cri.pb-c.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/holders.h"
#include "base/instance.h"
#include "base/log.h"
#include "base/pool.h"
#include "cni/cni.h"
#include "cri/config.h"
#include "cri/daemon.h"
#include "cri/notify.h"
#include "cri/reload.h"
#include "cri/streamer.h"
#include "images/images.h"
#include "pods/node.h"
#include "runtime/apparmor.h"
#include "runtime/capabilities.h"
#include "runtime/cgroup/cgroup.h"
#include "runtime/handler.h"
#include "runtime/seccomp.h"
#include "runtime/selinux.h"
#include <fcntl.h>
#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sysexits.h>

#define STOP_GRACE_MS 2000
#define EXEC_OUTPUT_BYTES (64 << 20)
#define BACKGROUND_END_MS 1000
#define HOLDERS_TIMEOUT_MS 20000
#define ENDINGS_PATIENCE_MS 10000
#define HOUSEKEEPING_SECONDS 15
#define LISTENER_END_MS 500
#define MALLOC_THRESHOLD_BYTES (128 << 10)
#define ARENAS_MAX 4

/* Threads an operation of each kind may have at once. */
static const size_t pool_caps[POOL_KINDS] = {
        [POOL_QUICK] = 8, [POOL_POD] = 128, [POOL_EXEC] = 256, [POOL_PULL] = 16, [POOL_LISTEN] = 1024
};

/* Everything that is open, in the order of opening. */
struct skiffd {
        struct skiff_config config;
        char *program_dir;
        struct instance *root_claim, *state_claim;
        struct server *server;
        int state_fd, holder_fd, ending_holder_fd;
        struct pool *pool;
        struct cgroups *cgroups;
        struct seccomp_cache *seccomp;
        struct apparmor *apparmor;
        struct selinux *selinux;
        struct images *images;
        struct cni *cni;
        struct runtime *runtime;
        char *no_userns; /* why there are no user namespaces; NULL: there are */
        struct node *node;
        struct streamer *streamer;
        struct rpc *rpcs;
        size_t n_rpcs;
        struct daemon daemon;
};

/* The other programs lie beside skiffd's own. */
static struct error *find_programs(struct skiffd *d)
{
        char path[4096];
        ssize_t len_bytes = readlink("/proc/self/exe", path, sizeof(path) - 1);
        if (len_bytes < 0)
                return error_errno(errno, "read /proc/self/exe");
        path[len_bytes] = '\0';
        *strrchr(path, '/') = '\0';
        d->program_dir = dup_string(path);
        return NULL;
}

static struct error *claim(const char *dir, mode_t mode, struct instance **out)
{
        TRY(file_mkdirs(AT_FDCWD, dir, mode));
        if (chmod(dir, mode) < 0)
                return error_errno(errno, "chmod %s", dir);
        return instance_claim(dir, out);
}

static struct error *open_state(struct skiffd *d)
{
        struct wait wait = wait_of_ms(HOLDERS_TIMEOUT_MS);
        TRY(claim(d->config.root, 0700, &d->root_claim));
        TRY(claim(d->config.state, 0711, &d->state_claim));
        d->state_fd = open(d->config.state, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (d->state_fd < 0)
                return error_errno(errno, "open %s", d->config.state);
        TRY(holders_claim(d->state_fd, "helpers", 0, &wait, &d->holder_fd));
        /* A DEL in its middle: what it has not come to would stay for good. It runs again after this. */
        TRY(holders_claim(d->state_fd, "endings", ENDINGS_PATIENCE_MS, &wait, &d->ending_holder_fd));
        return NULL;
}

static void add_rpcs(struct skiffd *d, const struct rpc *rpcs, size_t n)
{
        d->rpcs = grow_array(d->rpcs, d->n_rpcs + n, sizeof(*rpcs));
        memcpy(d->rpcs + d->n_rpcs, rpcs, n * sizeof(*rpcs));
        d->n_rpcs += n;
}

/* Binding would take a socket away from whoever answers at it, another skiffd with a root of its own, say. */
static struct error *check_nobody_listens(const char *listen)
{
        struct sockaddr_un address = { .sun_family = AF_UNIX };
        const char *path = strncmp(listen, "unix://", 7) == 0 ? listen + 7 : listen;
        if (strlen(path) >= sizeof(address.sun_path))
                return NULL; /* server_open says so */
        memcpy(address.sun_path, path, strlen(path) + 1);
        _cleanup_(closep) int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        if (fd < 0)
                return error_errno(errno, "make a socket");
        if (connect(fd, (struct sockaddr *) &address, sizeof(address)) == 0 || errno == EAGAIN)
                return error_new(ERROR_FAILED_PRECONDITION, "somebody answers there already");
        return NULL;
}

/* A helper that a killed skiffd was just starting holds its socket until it has been exec'ed. */
static struct error *check_patiently(const char *listen)
{
        struct wait wait = wait_of_ms(LISTENER_END_MS);
        for (;;) {
                struct error *e = check_nobody_listens(listen);
                if (!e || error_code_of(e) != ERROR_FAILED_PRECONDITION || wait_left_ms(&wait) == 0)
                        return e;
                error_free(e);
                error_ignore(wait_delay(&wait, 20, "wait for a socket"));
        }
}

static struct error *open_server(struct skiffd *d)
{
        TRY(check_patiently(d->config.listen));
        static const ProtobufCServiceDescriptor *const services[] = { &cri__runtime_service__descriptor,
                                                                      &cri__image_service__descriptor,
                                                                      &admin__admin__descriptor, NULL };
        add_rpcs(d, status_rpcs, n_status_rpcs);
        add_rpcs(d, sandbox_rpcs, n_sandbox_rpcs);
        add_rpcs(d, container_rpcs, n_container_rpcs);
        add_rpcs(d, stats_rpcs, n_stats_rpcs);
        add_rpcs(d, image_rpcs, n_image_rpcs);
        add_rpcs(d, admin_rpcs, n_admin_rpcs);
        add_rpcs(d, stream_rpcs, n_stream_rpcs);
        add_rpcs(d, event_rpcs, n_event_rpcs);
        const struct server_config config = {
                .listen = d->config.listen, .services = services, .rpcs = d->rpcs, .n_rpcs = d->n_rpcs
        };
        return server_open(&config, &d->server);
}

/* Without our profile pods that ask for nothing run unconfined, as on a node without AppArmor. */
static void open_apparmor(struct skiffd *d)
{
        const struct apparmor_config config = { .sys_dir = "/sys" };
        struct error *no_default = NULL;
        apparmor_open(&config, &d->apparmor, &no_default);
        log_error(LOG_LEVEL_WARN, no_default,
                  "AppArmor is on, but not for containers that name no profile: " APPARMOR_DEFAULT
                  " cannot be loaded",
                  NULL, NULL);
}

static struct error *open_runtime(struct skiffd *d)
{
        _cleanup_(freep) char *notes = format_string("%s/cgroup-parents", d->config.state);
        const struct seccomp_program *program = NULL;
        TRY(cgroups_open("/sys/fs/cgroup", notes, &d->cgroups));
        TRY(cgroups_choose(d->cgroups, d->config.cgroup_driver));
        TRY(seccomp_cache_open(&d->seccomp));
        /* Compiled before the first pod wants it: it takes longer than the whole of a pod's start. */
        TRY_WRAP(seccomp_default(d->seccomp, capabilities_default(), &program), "default seccomp profile");
        open_apparmor(d);
        const struct selinux_config labels = { .fs_dir = "/sys/fs/selinux", .etc_dir = "/etc/selinux" };
        selinux_open(&labels, &d->selinux);
        const struct runtime_config config = { .program_dir = d->program_dir, .cgroups = d->cgroups };
        return runtime_open(&config, &d->runtime);
}

static struct error *open_images(struct skiffd *d)
{
        const struct images_config config = { .root = d->config.root,
                                              .state = d->config.state,
                                              .program_dir = d->program_dir,
                                              .registry_dirs = d->config.registry_config_dir,
                                              .pull_uid = (uint32_t) d->config.pull_uid,
                                              .pinned = (const char *const *) d->config.pinned_images,
                                              .stall_s = (uint32_t) d->config.pull_stall_seconds,
                                              .holder_fd = d->holder_fd };
        TRY(images_open(&config, &d->images));
        if (d->config.rw_layer_max_bytes)
                TRY_WRAP(rootfs_bound_check(d->images), "container_rw_layer_max_bytes: %s", d->config.root);
        return NULL;
}

static struct error *open_cni(struct skiffd *d)
{
        const struct cni_config config = { .conf_dir = d->config.cni_conf_dir,
                                           .bin_dirs = d->config.cni_bin_dir,
                                           .holder_fd = d->holder_fd,
                                           .ending_holder_fd = d->ending_holder_fd };
        return cni_open(&config, &d->cni);
}

/* Asked of the kernel and of the image store's filesystem once: kubelet wants to know before it sends such a pod. */
static void probe_userns(struct skiffd *d)
{
        const struct userns_range example = { .base = 65536, .length = 65536 };
        _cleanup_(closep) int userns_fd = -1;
        struct error *e = runtime_userns_try(&example, &userns_fd);
        if (!e)
                e = images_map_check(d->images, userns_fd);
        if (!e)
                return;
        d->no_userns = dup_string(error_message(e));
        log_error(LOG_LEVEL_INFO, e, "pods cannot have user namespaces here", NULL, NULL);
}

static struct error *open_node(struct skiffd *d)
{
        const struct node_config config = { .root = d->config.root,
                                            .state = d->config.state,
                                            .images = d->images,
                                            .cni = d->cni,
                                            .runtime = d->runtime,
                                            .cgroups = d->cgroups,
                                            .seccomp = d->seccomp,
                                            .apparmor = d->apparmor,
                                            .selinux = d->selinux,
                                            .pool = d->pool,
                                            .seccomp_dir = "/var/lib/kubelet/seccomp",
                                            .cdi_dirs = d->config.cdi_spec_dirs,
                                            .settings = settings_of(&d->config),
                                            .no_userns = d->no_userns };
        return node_open(&config, &d->node);
}

static struct error *open_streamer(struct skiffd *d)
{
        const struct streamer_config config = { .program_dir = d->program_dir,
                                                .address = d->config.stream_address,
                                                .port = (uint16_t) d->config.stream_port,
                                                .uid = (uint32_t) d->config.stream_uid,
                                                .tls_cert = d->config.stream_tls_cert,
                                                .tls_key = d->config.stream_tls_key,
                                                .tls_ca = d->config.stream_tls_ca,
                                                .pool = d->pool,
                                                .open = stream_open,
                                                .context = &d->daemon };
        return streamer_open(&config, &d->streamer);
}

static bool has_mount_setattr(void)
{
        return syscall(SYS_mount_setattr, -1, "", 0, NULL, 0) < 0 && errno != ENOSYS;
}

static struct error *write_pid_file(struct skiffd *d)
{
        char text[32];
        int len_bytes = snprintf(text, sizeof(text), "%d\n", getpid());
        return file_replace(d->state_fd, "skiffd.pid", text, (size_t) len_bytes, 0644, false);
}

static struct error *start(struct skiffd *d)
{
        TRY(find_programs(d));
        TRY(open_state(d));
        TRY_WRAP(open_server(d), "listen on %s",
                 d->config.listen); /* sets the umask: before any thread of ours */
        TRY(pool_open(pool_caps, &d->pool));
        TRY_WRAP(open_runtime(d), "runtime");
        TRY_WRAP(open_images(d), "image store");
        probe_userns(d);
        TRY_WRAP(open_cni(d), "network");
        TRY_WRAP(open_node(d), "pods");
        d->daemon = (struct daemon){ .node = d->node,
                                     .images = d->images,
                                     .cni = d->cni,
                                     .cgroups = d->cgroups,
                                     .recursive_readonly = has_mount_setattr(),
                                     .user_namespaces = !d->no_userns };
        budget_init(&d->daemon.exec_output, EXEC_OUTPUT_BYTES);
        TRY_WRAP(open_streamer(d), "streaming");
        d->daemon.streamer = d->streamer;
        TRY(server_start(d->server, d->pool, &d->daemon));
        /* For people and scripts. On a full disk pods must be stopped and removed all the same. */
        log_error(LOG_LEVEL_WARN, write_pid_file(d), "write skiffd.pid", NULL, NULL);
        return NULL;
}

/* What cannot be cancelled and does not end in time is at work in what would be freed: then nothing is, and it goes as in a
 * kill, which loses nothing. */
static void stop_calls(struct skiffd *d)
{
        if (d->node)
                node_close(d->node);
        bool ended = server_stop(d->server, STOP_GRACE_MS);
        if (ended && (!d->node || node_idle(d->node, BACKGROUND_END_MS)))
                return;
        if (d->state_fd >= 0)
                (void) unlinkat(d->state_fd, "skiffd.pid", 0);
        log_event(LOG_LEVEL_INFO, "ended with work under way, which the next start takes up", NULL);
        _exit(EX_OK);
}

static void stop(struct skiffd *d)
{
        stop_calls(d);
        streamer_free(d->streamer);
        node_free(d->node);
        runtime_free(d->runtime);
        cni_free(d->cni);
        images_free(d->images);
        selinux_free(d->selinux);
        apparmor_free(d->apparmor);
        seccomp_cache_free(d->seccomp);
        cgroups_free(d->cgroups);
        pool_free(d->pool);
        if (d->state_fd >= 0)
                (void) unlinkat(d->state_fd, "skiffd.pid", 0);
        closep(&d->holder_fd);
        closep(&d->ending_holder_fd);
        closep(&d->state_fd);
        instance_free(d->state_claim);
        instance_free(d->root_claim);
        free(d->rpcs);
        free(d->program_dir);
        free(d->no_userns);
        skiff_config_done(&d->config);
}

/* The plugins' turn, every so often since the start, which had one. */
static void collect_when_due(struct skiffd *d, int64_t *collected_ns)
{
        int64_t every_ns = d->config.cni_gc_seconds * 1000000000, now_ns = clock_monotonic_ns();
        if (!every_ns || now_ns - *collected_ns < every_ns)
                return;
        *collected_ns = now_ns;
        node_collect(d->node);
}

/* Waits for a signal to end; meanwhile reads the configuration anew on SIGHUP, and does what is to be done now and then. */
static void serve(struct skiffd *d, const sigset_t *signals, int argc, char *const *argv)
{
        int64_t collected_ns = clock_monotonic_ns();
        for (;;) {
                /* A shorter time of the plugins' is kept as well as it can be. */
                int64_t every_s = d->config.cni_gc_seconds;
                const struct timespec rest = { .tv_sec = every_s && every_s < HOUSEKEEPING_SECONDS
                                                                 ? every_s
                                                                 : HOUSEKEEPING_SECONDS };
                int number = sigtimedwait(signals, NULL, &rest);
                if (number == SIGTERM || number == SIGINT)
                        return;
                if (number == SIGHUP)
                        reload(&d->config, argc, argv, d->images, d->node);
                if (number >= 0 || errno != EAGAIN)
                        continue;
                collect_when_due(d, &collected_ns);
                images_tidy(d->images);
                log_error(LOG_LEVEL_WARN, node_checkpoint(d->node), "checkpoint the records", NULL, NULL);
                (void) malloc_trim(0); /* after large answers gRPC's memory stays resident otherwise */
        }
}

static void prepare_process(sigset_t *signals)
{
        struct rlimit files, core;
        struct sigaction now;
        /* Whoever started us from a script may ignore some (`skiffd &`, nohup), and containers would inherit that. */
        for (int number = 1; number < NSIG; number++)
                if (sigaction(number, NULL, &now) == 0 && now.sa_handler == SIG_IGN)
                        (void) signal(number, SIG_DFL);
        (void) sigemptyset(signals);
        (void) sigaddset(signals, SIGTERM);
        (void) sigaddset(signals, SIGINT);
        (void) sigaddset(signals, SIGHUP);
        (void) pthread_sigmask(SIG_BLOCK, signals, NULL); /* before gRPC: its threads inherit the mask */
        (void) signal(SIGPIPE, SIG_IGN);
        (void) mallopt(M_MMAP_THRESHOLD, MALLOC_THRESHOLD_BYTES);
        (void) mallopt(M_TRIM_THRESHOLD, MALLOC_THRESHOLD_BYTES);
        (void) mallopt(M_ARENA_MAX, ARENAS_MAX); /* each keeps what it grew to: a dozen is a megabyte more */
        (void) umask(0022);
        if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
                files.rlim_cur = files.rlim_max; /* some descriptors a pod */
                (void) setrlimit(RLIMIT_NOFILE, &files);
        }
        if (getrlimit(RLIMIT_CORE, &core) == 0) {
                core.rlim_cur = 0; /* ours would hold credentials; containers have the hard one */
                (void) setrlimit(RLIMIT_CORE, &core);
        }
}

static int exit_code_of(const struct error *e)
{
        switch (error_code_of(e)) {
        case ERROR_INVALID_ARGUMENT:
                return EX_USAGE;
        case ERROR_FAILED_PRECONDITION:
                return EX_CONFIG;
        case ERROR_RESOURCE_EXHAUSTED:
                return EX_TEMPFAIL;
        default:
                return EX_SOFTWARE;
        }
}

static int fail(struct error *e)
{
        int code = exit_code_of(e);
        (void) fprintf(stderr, "skiffd: %s\n", error_message(e));
        error_free(e);
        return code;
}

static int run(struct skiffd *d, int argc, char *const *argv)
{
        sigset_t signals;
        if (geteuid() != 0) {
                (void) fprintf(stderr, "skiffd: must run as root\n");
                return EX_NOPERM;
        }
        prepare_process(&signals);
        log_set_level(d->config.level);
        struct error *e = start(d);
        if (!e) {
                log_event(LOG_LEVEL_INFO, "ready", "version", SKIFF_VERSION, "listen", d->config.listen,
                          NULL);
                notify_send("READY=1");
                serve(d, &signals, argc, argv);
                notify_send("STOPPING=1");
                log_event(LOG_LEVEL_INFO, "stopping; pods go on", NULL);
        }
        stop(d);
        return e ? fail(e) : EX_OK;
}

int main(int argc, char **argv)
{
        struct skiffd d = { .state_fd = -1, .holder_fd = -1, .ending_holder_fd = -1 };
        struct error *e = config_load(argc, argv, &d.config);
        if (e)
                return fail(e);
        if (d.config.action == CONFIG_HELP) {
                config_print_help(stdout);
                return EX_OK;
        }
        if (d.config.action == CONFIG_VERSION) {
                (void) printf("skiffd %s\n", SKIFF_VERSION);
                return EX_OK;
        }
        return run(&d, argc, argv);
}
