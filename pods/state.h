/* state.h - what a node is made of. Private to pods/.
 *
 * One lock, node->lock, guards the tables and every field marked "locked" below; it is held for moments only, never
 * across a wait. Longer things are ordered by operations (operation.h): an object has at most one at a time, and the
 * fields marked "operation" belong to whoever runs it. The rest is set when the object is made and never changes.
 *
 * Objects are counted: whoever works on one without the lock holds a reference (table.h). */
#pragma once
#include "api/cri.pb-c.h"
#include "base/db.h"
#include "base/id.h"
#include "base/steps.h"
#include "pods/node.h"
#include "pods/operation.h"
#include "runtime/container_spec.h"
#include "runtime/handler.h"
#include <pthread.h>
#include <stdatomic.h>
#include <uthash.h>

/* How far a sandbox is. Recorded: the numbers must not change. */
enum pod_state {
        POD_MAKING = 0, /* RunPodSandbox is under way: recovery undoes it */
        POD_READY = 1,
        POD_STOPPING = 2, /* Stop is under way, or the pod died by itself: recovery finishes it */
        POD_STOPPED = 3,
        POD_REMOVING = 4,
};

enum container_state {
        CONTAINER_MAKING = 0,
        CONTAINER_CREATED = 1,
        CONTAINER_STARTING = 2, /* recovery asks the supervisor whether it runs */
        CONTAINER_RUNNING = 3,
        CONTAINER_EXITED = 4,
        CONTAINER_REMOVING = 5,
};

/* What stats need of the last time they were asked for. */
struct cpu_rate {
        int64_t at_ns; /* monotonic; 0: never */
        uint64_t usage_ns, nano_cores;
        bool known;
};
struct layer_sample {
        int64_t at_ns;         /* monotonic: for when it holds; 0: never */
        int64_t walked_ns;     /* when it was counted */
        uint64_t cpu_usage_ns; /* what the container's processes had used before that */
        uint64_t bytes, inodes;
};

/* A moment at which something is to happen: events.h. */
struct alarm {
        int64_t due_ns;
        void (*fire)(struct alarm *alarm);
        struct alarm *prev, *next;
        bool is_set;
};

struct sandbox {
        char id[ID_LEN + 1];
        char *name; /* what must be unique: namespace/name/uid/attempt */
        struct node *node;
        Cri__PodSandboxConfig *config;
        char *handler, *cgroup_parent, *cgroup_home, *cgroup_path, *boot_id; /* cgroup.h has what a home is */
        int64_t created_ns;
        bool host_network, host_ipc, host_pid, share_pid;
        struct userns_range userns; /* length 0: none */

        /* locked */
        size_t references;
        enum pod_state state;
        struct operation operation;
        char **ips;                  /* NULL-terminated; NULL before the network is there */
        struct runtime_pod *runtime; /* NULL: no supervisor */
        struct step_times run_times, stop_times;
        struct container *containers; /* by prev/next in the pod */
        bool watched;                 /* events.h polls runtime's events */
        bool unreached;        /* its supervisor may live, but nobody reads its events: it is tried again */
        uint32_t selinux_pair; /* pods/spec/selinux.h; 0: none */
        bool lost;             /* its supervisor or infra has died: NOTREADY, and stopped in the background */
        bool name_released;    /* a failed make that could not be undone yet */
        struct cpu_rate rate;
        Cri__LinuxContainerResources *overhead, *resources; /* as updated since; NULL: as in config */

        /* operation */
        size_t begun;            /* steps of run_pod that may have run */
        char *conflist, *result; /* CNI: what ADD was done with, and what came of it */
        struct trace trace;      /* whose request the operation is */
        int dir_fd;              /* STATE/pods/ID; -1 when it is not open */

        UT_hash_handle by_id, by_name;
};

struct container {
        char id[ID_LEN + 1];
        char *name;          /* pod id/name/attempt */
        struct sandbox *pod; /* a reference */
        Cri__ContainerConfig *config;
        char *image_id, *image_ref; /* the config's digest; the name it was asked by, as CRI echoes it */
        char *image_name;           /* a tag of it, or else a digest, when it was asked for by its id; NULL */
        char *image_config;         /* its config as JSON: the image may be removed while we run */
        char *cdi; /* what its CDI devices change, settled when it was created: cdi_edits_put; NULL: it has none */
        char *cgroup_path, *log_path; /* absolute, or NULL: no log */
        int64_t created_ns;

        /* locked */
        size_t references;
        enum container_state state;
        struct operation operation;
        int64_t started_ns, finished_ns;
        int32_t exit_code;
        pid_t pid;
        bool oom_killed;
        char *reason, *message;
        struct {
                bool asked;         /* it has been sent its stop signal, or is about to be */
                int64_t kill_at_ns; /* monotonic */
                struct alarm alarm; /* then; while it is set it has a reference */
                struct node_waiter *waiters;
        } stopping;    /* parking.h */
        int exited_fd; /* eventfd, readable for ever once it has ended; made when first waited for; -1 */
        struct step_times create_times, start_times, stop_times;
        Cri__LinuxContainerResources *resources; /* as updated since; NULL: as in config */
        struct cpu_rate rate;
        struct layer_sample layer;
        struct container_user {
                int64_t uid, gid, *groups;
                size_t n_groups;
        } user;                  /* of its process; recorded when it has been created, as is what follows */
        Cri__Signal stop_signal; /* that a stop sends */

        struct container_spec *spec; /* NULL until it is needed; then it does not change */

        pthread_mutex_t pause_lock; /* of pauses: how many want it to stand still (pause.h) */
        unsigned pauses;

        pthread_mutex_t record_lock; /* keeps writes of the record in order; taken before node->lock */

        struct container *prev, *next; /* in the pod */
        UT_hash_handle by_id, by_name;
};

struct node {
        struct node_config config; /* but for its settings */
        struct {
                atomic_bool device_ownership;
                atomic_uint_least64_t log_line_max_bytes, rw_layer_max_bytes, log_max_bytes;
        } settings; /* struct node_settings, as it is now */
        char *root, *state, *boot_id;
        struct db *db;
        int state_fd; /* STATE */

        pthread_mutex_t lock;
        pthread_cond_t changed; /* an object has gone, a background job has ended */
        struct sandbox *pods, *pods_by_name;
        struct container *containers, *containers_by_name;
        size_t background; /* jobs under way */
        struct image_users *image_users;
        struct cdi *cdi;
        bool closing; /* nothing new is begun */

        struct events *events;
        struct feed *feed; /* locked */
};
