/* cni.h - the face of pod networking: CNI 0.3.0 to 1.1 by the plugins of a conflist.
 *
 * The bytes of the conflist that a pod was attached with are the caller's to keep (before the ADD, so that a DEL after
 * a crash uses the same), and so is the result. Knows neither CRI nor pods. Source: CNI SPEC.md 1.0.0.
 *
 * Threads: any, at once; a plugin runs as a process of its own and no lock is held meanwhile. */
#pragma once
#include "base/error.h"
#include "base/wait.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct cni;

struct cni_config {
        const char *conf_dir; /* need not exist yet */
        const char *bin_dirs; /* colon-separated */
        /* A descriptor that every plugin inherits (a flocked file): after a crash the holders are found by it. -1: none */
        int holder_fd;
};

/* What config points at is copied, holder_fd borrowed; no file is read yet. Freed after the last call has returned. */
MUST_CHECK struct error *cni_open(const struct cni_config *config, struct cni **out);
void cni_free(struct cni *cni);
DEFINE_FREEP(struct cni, cni_free)

/* NULL when a valid configuration is there now, else FAILED_PRECONDITION with what is missing, as NetworkReady's message
 * ("no network configuration in /etc/cni/net.d", "10-x.conflist: line 3: ..."). Cheap: reads the directory again only
 * when it has changed (inotify, or its mtime and those of its files). */
MUST_CHECK struct error *cni_ready(struct cni *cni);

/* The bytes of the conflist in use (a .conf is wrapped into a list): the first valid by name among .conflist, .conf,
 * .json. Errors: as cni_ready. */
MUST_CHECK struct error *cni_current(struct cni *cni, char **out_conflist);

struct cni_port {
        const char *protocol; /* "tcp", "udp", "sctp" */
        int32_t container_port, host_port;
        const char *host_ip; /* "" or NULL: all */
};

struct cni_attachment {
        const char *conflist;     /* from cni_current */
        const char *container_id; /* the pod's id */
        const char *netns_path;   /* /run/netns/...; "" for a DEL whose namespace is gone */
        const char *ifname;       /* "eth0" */
        const char *pod_name, *pod_namespace, *pod_uid; /* CNI_ARGS: K8S_POD_* */
        const struct cni_port *ports; /* capability portMappings, for plugins that declare it */
        size_t n_ports;
        const char *const *dns_servers, *const *dns_searches,
                                                *const *dns_options; /* capability dns; NULL: none */
        const char *cgroup_parent;                                   /* capability cgroupPath; NULL: none */
        const char *bandwidth_json; /* runtimeConfig.bandwidth as JSON, or NULL */
        const char *prev_result;    /* of the ADD, for DEL and CHECK; NULL: none */
};

struct cni_result {
        char *json; /* as the last plugin gave it: keep it for DEL */
        char **ips; /* "10.1.2.3" without the prefix length, the interface's own, NULL-terminated */
        char **dns_nameservers, **dns_searches, **dns_options; /* NULL-terminated */
};
void cni_result_done(struct cni_result *result);

/* Runs ADD over the list. On failure DELs what was added, best effort, and returns the failing plugin's own message:
 * "plugin bridge: ...". *out is written only on success. */
MUST_CHECK struct error *cni_add(struct cni *cni, const struct cni_attachment *attachment,
                                 const struct wait *wait, struct cni_result *out);

/* Runs DEL over the list in reverse. Idempotent; all plugins are tried, the first failure is returned. */
MUST_CHECK struct error *cni_del(struct cni *cni, const struct cni_attachment *attachment,
                                 const struct wait *wait);

/* Runs CHECK over the list: NULL when the attachment is as the ADD left it. A list without CHECK (before 0.4.0, or with
 * disableCheck) always is. */
MUST_CHECK struct error *cni_check(struct cni *cni, const struct cni_attachment *attachment,
                                   const struct wait *wait);

/* Parses a kept result. Errors: INVALID_ARGUMENT. */
MUST_CHECK struct error *cni_result_parse(const char *json, struct cni_result *out);

/* --- netns.h's part: a namespace given as a descriptor gets a path, since CNI takes one --- */

/* Binds netns_fd at /run/netns/NAME (the directory is made a shared mount as iproute2 does where needed). Idempotent. */
MUST_CHECK struct error *netns_pin(int netns_fd, const char *name);
MUST_CHECK struct error *netns_unpin(const char *name); /* succeeds where there is none */
/* Whether a namespace is at path. A kill between the two halves of pin or unpin leaves a plain file there, at which plugins
 * stumble. */
bool netns_is_at(const char *path);
MUST_CHECK struct error *netns_loopback_up(int netns_fd); /* lo up, by libnl-3 in a thread of its own */

/* Counters of an interface since it was made. */
struct netns_link {
        char name[16];
        uint64_t rx_bytes, rx_packets, rx_errors, rx_dropped, tx_bytes, tx_packets, tx_errors, tx_dropped;
};
/* All but lo, by index; *out is an array of *n owned by the caller (free). */
MUST_CHECK struct error *netns_links(int netns_fd, struct netns_link **out, size_t *n);
