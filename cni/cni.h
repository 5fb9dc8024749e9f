/* cni.h - the face of pod networking: CNI 0.3.0 to 1.1 by the plugins of a conflist.
 *
 * The bytes of the conflist that a pod was attached with are the caller's to keep (before the ADD, so that a DEL after
 * a crash uses the same), and so is the result. Knows neither CRI nor pods. Source: CNI SPEC.md 1.0.0.
 *
 * Threads: any, at once; a plugin runs as a process of its own. ADDs and DELs go on beside each other, and a GC beside neither:
 * while there is one they wait, and it waits for them (SPEC.md 1.1.0, "Lifecycle & Ordering"). */
#pragma once
#include "base/error.h"
#include "base/trace.h"
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
        /* The same for those that take something away, DEL and GC, which must not be killed in their middle. -1: holder_fd */
        int ending_holder_fd;
};

/* What config points at is copied, descriptors borrowed; no file is read yet. Freed after the last call has returned. */
MUST_CHECK struct error *cni_open(const struct cni_config *config, struct cni **out);
void cni_free(struct cni *cni);
DEFINE_FREEP(struct cni, cni_free)

/* NULL when a valid configuration is there now and its plugins say that they can serve, else FAILED_PRECONDITION with what
 * is missing, as NetworkReady's message ("no network configuration in /etc/cni/net.d", "10-x.conflist: line 3: ...",
 * "plugin x: STATUS: ..."). Reads the directory again only when it has changed. Plugins are asked where the list is of
 * version 1.1.0 or later, for at most five seconds; an answer holds for two, also for who comes while they are asked. */
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
        const char *bandwidth_json; /* capability bandwidth: from cni_bandwidth, or NULL */
        const struct cni_annotation {
                const char *key, *value;
        } * annotations; /* capability io.kubernetes.cri.pod-annotations */
        size_t n_annotations;
        const char *prev_result; /* of the ADD, for DEL and CHECK; NULL: none */
        const struct trace
                *trace; /* what this is part of: TRACEPARENT, TRACESTATE, BAGGAGE; NULL: none are told */
};

struct cni_result {
        char *json; /* as the last plugin gave it: keep it for DEL */
        char **ips; /* "10.1.2.3" without the prefix length, the interface's own, as ordered, NULL-terminated */
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

/* Tells the plugins of the configuration in use which attachments there are, so that they can drop what they keep of
 * others (GC, of lists of version 1.1.0 or later that do not disable it). ids(context) gives the container ids,
 * NULL-terminated, which are freed here (free_strings); it is called once no ADD or DEL is under way, and none begins until
 * this returns, so what is being made must be among them if its ADD is behind it. All plugins are told; the first failure is
 * returned. Errors: UNAVAILABLE where ADDs or DELs were under way for all of patience_ms; nothing is done then. */
MUST_CHECK struct error *cni_collect(struct cni *cni, char **(*ids)(void *context), void *context,
                                     const char *ifname, int64_t patience_ms, const struct wait *wait);

/* Parses a kept result: the addresses of ifname. Errors: INVALID_ARGUMENT. */
MUST_CHECK struct error *cni_result_parse(const char *json, const char *ifname, struct cni_result *out);

/* Limits for traffic to and from a pod, in bits a second as Kubernetes writes quantities ("10M", "1.5Gi"), to what
 * bandwidth_json takes, the caller's. NULL: no limit; both: *out_json is NULL. Errors: INVALID_ARGUMENT for what is no
 * quantity, or not from 1k to 1P. */
MUST_CHECK struct error *cni_bandwidth(const char *ingress, const char *egress, char **out_json);

/* --- netns.h's part: a namespace given as a descriptor gets a path, since CNI takes one --- */

/* Binds netns_fd at /run/netns/NAME (the directory is made a shared mount as iproute2 does where needed). Idempotent. No
 * lock that others may hold is waited for longer than a second. */
MUST_CHECK struct error *netns_pin(int netns_fd, const char *name);
MUST_CHECK struct error *netns_unpin(const char *name); /* succeeds where there is none */
/* Whether a namespace is at path. A kill between the two halves of pin or unpin leaves a plain file there, at which plugins
 * stumble. */
bool netns_is_at(const char *path);
MUST_CHECK struct error *netns_loopback_up(int netns_fd); /* lo up, by libnl-3 in a thread of its own */

/* Writes /proc/sys/PATH ("net/ipv4/conf/eth0/forwarding") as the namespace has it. Errors: INVALID_ARGUMENT when there is
 * no such setting or it cannot have that value. */
MUST_CHECK struct error *netns_sysctl(int netns_fd, const char *path, const char *value);

/* Counters of an interface since it was made. */
struct netns_link {
        char name[16]; /* a pod may name it by any bytes: here it is valid UTF-8 */
        uint64_t rx_bytes, rx_packets, rx_errors, rx_dropped, tx_bytes, tx_packets, tx_errors, tx_dropped;
};
/* All but lo, by index; *out is an array of *n owned by the caller (free). */
MUST_CHECK struct error *netns_links(int netns_fd, struct netns_link **out, size_t *n);
