#include "pods/lifecycle/network.h"
#include "cni/cni.h"
#include "pods/background.h"
#include "pods/lifecycle/sandbox.h"
#include "pods/records.h"
#include "pods/spec/sysctls.h"
#include <string.h>

#define POD_INTERFACE "eth0"
#define COLLECT_TIMEOUT_MS 10000
#define COLLECT_PATIENCE_MS 30000

static void netns_name(const struct sandbox *pod, char out[sizeof(POD_NETNS_PREFIX) + ID_LEN])
{
        (void) snprintf(out, sizeof(POD_NETNS_PREFIX) + ID_LEN, POD_NETNS_PREFIX "%s", pod->id);
}

struct error *network_pin(void *object, const struct wait *wait)
{
        struct sandbox *pod = object;
        char name[sizeof(POD_NETNS_PREFIX) + ID_LEN];
        (void) wait;
        if (pod->host_network)
                return NULL;
        netns_name(pod, name);
        int netns_fd = runtime_pod_netns(pod->runtime);
        TRY(netns_pin(netns_fd, name));
        return netns_loopback_up(netns_fd);
}

struct error *network_unpin(void *object, const struct wait *wait)
{
        struct sandbox *pod = object;
        char name[sizeof(POD_NETNS_PREFIX) + ID_LEN];
        (void) wait;
        if (pod->host_network)
                return NULL;
        netns_name(pod, name);
        return netns_unpin(name);
}

static const char *protocol_name(Cri__Protocol protocol)
{
        return protocol == CRI__PROTOCOL__UDP ? "udp" : protocol == CRI__PROTOCOL__SCTP ? "sctp" : "tcp";
}

/* Ports without a host port are for information only. *n is the number in the returned array. */
static struct cni_port *ports_of(const Cri__PodSandboxConfig *config, size_t *n)
{
        struct cni_port *ports = NEW_ARRAY(struct cni_port, config->n_port_mappings);
        *n = 0;
        for (size_t i = 0; i < config->n_port_mappings; i++) {
                const Cri__PortMapping *p = config->port_mappings[i];
                if (p->host_port > 0)
                        ports[(*n)++] = (struct cni_port){ protocol_name(p->protocol), p->container_port,
                                                           p->host_port, p->host_ip };
        }
        return ports;
}

/* The keys and values are borrowed. */
static struct cni_annotation *annotations_of(const Cri__PodSandboxConfig *config)
{
        struct cni_annotation *annotations = NEW_ARRAY(struct cni_annotation, config->n_annotations);
        for (size_t i = 0; i < config->n_annotations; i++)
                annotations[i] =
                        (struct cni_annotation){ config->annotations[i]->key, config->annotations[i]->value };
        return annotations;
}

static const char *annotation(const Cri__PodSandboxConfig *config, const char *key)
{
        for (size_t i = 0; i < config->n_annotations; i++)
                if (strcmp(config->annotations[i]->key, key) == 0)
                        return config->annotations[i]->value;
        return NULL;
}

static struct error *bandwidth_of(const Cri__PodSandboxConfig *config, char **out)
{
        TRY_WRAP(cni_bandwidth(annotation(config, "kubernetes.io/ingress-bandwidth"),
                               annotation(config, "kubernetes.io/egress-bandwidth"), out),
                 "config.annotations: kubernetes.io");
        return NULL;
}

struct error *network_check(const Cri__PodSandboxConfig *config)
{
        _cleanup_(freep) char *bandwidth = NULL;
        return bandwidth_of(config, &bandwidth);
}

/* CNI wants NULL-terminated lists; protobuf has counted ones. */
static const char **list_of(char *const *strings, size_t n)
{
        if (!n)
                return NULL;
        const char **list = NEW_ARRAY(const char *, n + 1);
        for (size_t i = 0; i < n; i++)
                list[i] = strings[i];
        return list;
}

struct attachment {
        struct cni_attachment cni;
        char path[sizeof("/run/netns/" POD_NETNS_PREFIX) + ID_LEN];
        struct cni_port *ports;
        struct cni_annotation *annotations;
        char *bandwidth;
        const char **servers, **searches, **options;
};

static void attachment_init(struct attachment *a, const struct sandbox *pod)
{
        const Cri__PodSandboxConfig *config = pod->config;
        const Cri__DNSConfig *dns = config->dns_config;
        *a = (struct attachment){ 0 };
        (void) snprintf(a->path, sizeof(a->path), "/run/netns/" POD_NETNS_PREFIX "%s", pod->id);
        if (dns) {
                a->servers = list_of((char *const *) dns->servers, dns->n_servers);
                a->searches = list_of((char *const *) dns->searches, dns->n_searches);
                a->options = list_of((char *const *) dns->options, dns->n_options);
        }
        a->cni = (struct cni_attachment){ .conflist = pod->conflist,
                                          .container_id = pod->id,
                                          .netns_path = a->path,
                                          .ifname = POD_INTERFACE,
                                          .pod_name = config->metadata->name,
                                          .pod_namespace = config->metadata->namespace_,
                                          .pod_uid = config->metadata->uid,
                                          .dns_servers = a->servers,
                                          .dns_searches = a->searches,
                                          .dns_options = a->options,
                                          .cgroup_parent = pod->cgroup_parent,
                                          .prev_result = pod->result,
                                          .trace = &pod->trace };
        a->ports = ports_of(config, &a->cni.n_ports);
        a->cni.ports = a->ports;
        a->annotations = annotations_of(config);
        a->cni.annotations = a->annotations;
        a->cni.n_annotations = config->n_annotations;
        error_ignore(bandwidth_of(config, &a->bandwidth)); /* checked before the pod was made */
        a->cni.bandwidth_json = a->bandwidth;
}

static void attachment_done(struct attachment *a)
{
        free(a->ports);
        free(a->annotations);
        free(a->bandwidth);
        free(a->servers);
        free(a->searches);
        free(a->options);
}

static void ips_set(struct sandbox *pod, char **ips)
{
        (void) pthread_mutex_lock(&pod->node->lock);
        char **before = pod->ips;
        pod->ips = ips;
        (void) pthread_mutex_unlock(&pod->node->lock);
        free_strings(before);
}

/* Those of the interface: before, it was not there. */
static struct error *sysctls_set(const struct sandbox *pod)
{
        const Cri__LinuxPodSandboxConfig *config = pod->config->linux;
        for (size_t i = 0; config && i < config->n_sysctls; i++) {
                _cleanup_(freep) char *path = sysctl_path(config->sysctls[i]->key);
                if (sysctl_is_of_interface(path))
                        TRY_WRAP(netns_sysctl(runtime_pod_netns(pod->runtime), path,
                                              config->sysctls[i]->value),
                                 "config.linux.sysctls");
        }
        return NULL;
}

struct error *network_add(void *object, const struct wait *wait)
{
        struct sandbox *pod = object;
        _cleanup_(attachment_done) struct attachment attachment = { 0 };
        _cleanup_(cni_result_done) struct cni_result result = { 0 };
        if (pod->host_network)
                return NULL;
        TRY_WRAP(cni_current(pod->node->config.cni, &pod->conflist), "network");
        TRY(record_pod_network(pod->node->db, pod->id, pod->conflist, NULL));
        attachment_init(&attachment, pod);
        TRY_WRAP(cni_add(pod->node->config.cni, &attachment.cni, wait, &result), "network");
        pod->result = TAKE(result.json);
        ips_set(pod, TAKE(result.ips));
        TRY(record_pod_network(pod->node->db, pod->id, pod->conflist, pod->result));
        if (!pod->ips || !pod->ips[0]) /* kubelet would make such a pod anew, for ever */
                return error_new(ERROR_INTERNAL, "network: the plugins gave " POD_INTERFACE " no address");
        return sysctls_set(pod);
}

struct error *network_del(void *object, const struct wait *wait)
{
        struct sandbox *pod = object;
        _cleanup_(attachment_done) struct attachment attachment = { 0 };
        if (pod->host_network || !pod->conflist)
                return NULL;
        attachment_init(&attachment, pod);
        if (!netns_is_at(attachment.path))      /* after a reboot, or a kill during unpin */
                attachment.cni.netns_path = ""; /* the lease is given back all the same */
        TRY_WRAP(cni_del(pod->node->config.cni, &attachment.cni, wait), "network");
        return NULL;
}

struct error *network_restore(struct sandbox *pod)
{
        _cleanup_(cni_result_done) struct cni_result result = { 0 };
        if (!pod->result)
                return NULL;
        TRY(cni_result_parse(pod->result, POD_INTERFACE, &result));
        ips_set(pod, TAKE(result.ips));
        return NULL;
}

/* That its pod has a network, or is being given one, or will have it taken away by what is under way. With the lock held. What
 * a dead skiffd left half made is not: that is undone. */
static bool has_network(const struct sandbox *pod)
{
        if (pod->host_network)
                return false;
        bool busy = pod->operation.kind != OPERATION_NONE;
        return (pod->state == POD_READY && !pod->lost) ||
               (busy && (pod->state == POD_READY || pod->state == POD_MAKING || pod->state == POD_STOPPING));
}

static char **networked_ids(void *context)
{
        struct node *node = context;
        struct sandbox *pod = NULL, *next = NULL;
        size_t n = 0;
        (void) pthread_mutex_lock(&node->lock);
        char **ids = NEW_ARRAY(char *, HASH_CNT(by_id, node->pods) + 1U);
        HASH_ITER(by_id, node->pods, pod, next)
        {
                if (has_network(pod))
                        ids[n++] = dup_string(pod->id);
        }
        (void) pthread_mutex_unlock(&node->lock);
        return ids;
}

struct error *network_collect(struct node *node)
{
        const struct wait wait = wait_of_ms(COLLECT_TIMEOUT_MS);
        struct error *e =
                cni_collect(node->config.cni, networked_ids, node, POD_INTERFACE, COLLECT_PATIENCE_MS, &wait);
        if (!e || error_code_of(e) != ERROR_FAILED_PRECONDITION)
                return e;
        error_free(e); /* no configuration yet, which NetworkReady tells: nothing to collect by */
        return NULL;
}

void node_collect(struct node *node)
{
        background_node(node, network_collect, "tell CNI plugins which pods there are");
}
