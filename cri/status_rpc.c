/* Version, Status, RuntimeConfig, UpdateRuntimeConfig: what kubelet asks when it starts, and then every few seconds. */
#include "api/cri.pb-c.h"
#include "base/buf.h"
#include "base/json.h"
#include "cni/cni.h"
#include "cri/daemon.h"
#include "pods/node.h"
#include "runtime/cgroup/cgroup.h"
#include <arpa/inet.h>
#include <string.h>

static struct error *version(void *context, struct rpc_call *call)
{
        (void) context;
        Cri__VersionResponse response = CRI__VERSION_RESPONSE__INIT;
        response.version = "0.1.0"; /* kubelet's own kubeRuntimeVersion */
        response.runtime_name = "skiff";
        response.runtime_version = SKIFF_VERSION;
        response.runtime_api_version = "v1";
        return rpc_reply(call, &response.base);
}

/* Files of devices that cannot be used: whoever misses one looks here. */
static struct error *put_cdi_problems(struct daemon *daemon, struct buf *json)
{
        char **lines = node_cdi_problems(daemon->node);
        struct error *e = buf_append_text(json, ",\"cdiErrors\":[");
        for (char **line = lines; !e && *line; line++) {
                if (line > lines)
                        e = buf_append_text(json, ",");
                if (!e)
                        e = json_put_text(json, *line);
        }
        free_strings(lines);
        return e ? e : buf_append_text(json, "]");
}

static struct error *status_info(struct daemon *daemon, bool network_ready, struct buf *json)
{
        TRY(buf_append_format(json, "{\"cgroupVersion\":%d,\"cgroupDriver\":\"%s\",\"networkReady\":%s",
                              cgroups_is_v2(daemon->cgroups) ? 2 : 1,
                              cgroups_by_systemd(daemon->cgroups) ? "systemd" : "cgroupfs",
                              network_ready ? "true" : "false"));
        TRY(put_cdi_problems(daemon, json));
        return buf_append_format(json, ",\"version\":\"%s\"}", SKIFF_VERSION);
}

static struct error *status(void *context, struct rpc_call *call)
{
        struct daemon *daemon = context;
        const Cri__StatusRequest *request = (const void *) rpc_request(call);
        Cri__StatusResponse response = CRI__STATUS_RESPONSE__INIT;
        Cri__RuntimeStatus runtime_status = CRI__RUNTIME_STATUS__INIT;
        Cri__RuntimeCondition runtime = CRI__RUNTIME_CONDITION__INIT, network = CRI__RUNTIME_CONDITION__INIT;
        Cri__RuntimeCondition *conditions[] = { &runtime, &network };
        Cri__RuntimeHandlerFeatures handler_features = CRI__RUNTIME_HANDLER_FEATURES__INIT;
        Cri__RuntimeHandler handler = CRI__RUNTIME_HANDLER__INIT, *handlers[] = { &handler };
        Cri__RuntimeFeatures features = CRI__RUNTIME_FEATURES__INIT;
        Cri__StatusResponse__InfoEntry entry = CRI__STATUS_RESPONSE__INFO_ENTRY__INIT,
                                       *entries[] = { &entry };
        _cleanup_(error_freep) struct error *not_ready = cni_ready(daemon->cni);
        _cleanup_(buf_done) struct buf info;
        buf_init(&info, 1 << 20);
        runtime.type = "RuntimeReady";
        runtime.status = true; /* it answers */
        network.type = "NetworkReady";
        network.status = !not_ready;
        if (not_ready) {
                network.reason = "NetworkPluginNotReady";
                network.message = error_message(not_ready);
        }
        runtime_status.conditions = conditions;
        runtime_status.n_conditions = LENGTH(conditions);
        response.status = &runtime_status;
        handler_features.recursive_read_only_mounts = daemon->recursive_readonly;
        handler_features.user_namespaces = daemon->user_namespaces;
        handler.name = ""; /* kubelet looks the default handler up by this name */
        handler.features = &handler_features;
        response.runtime_handlers = handlers;
        response.n_runtime_handlers = LENGTH(handlers);
        features.supplemental_groups_policy = true;
        features.mount_options = true;
        response.features = &features;
        if (request->verbose) {
                TRY(status_info(daemon, !not_ready, &info));
                entry.key = "info";
                entry.value = info.bytes;
                response.info = entries;
                response.n_info = 1;
        }
        return rpc_reply(call, &response.base);
}

/* The driver is always said: its enum's 0 is SYSTEMD. */
static struct error *runtime_config(void *context, struct rpc_call *call)
{
        struct daemon *daemon = context;
        Cri__RuntimeConfigResponse response = CRI__RUNTIME_CONFIG_RESPONSE__INIT;
        Cri__LinuxRuntimeConfiguration linux_config = CRI__LINUX_RUNTIME_CONFIGURATION__INIT;
        linux_config.cgroup_driver = cgroups_by_systemd(daemon->cgroups) ? CRI__CGROUP_DRIVER__SYSTEMD
                                                                         : CRI__CGROUP_DRIVER__CGROUPFS;
        response.linux = &linux_config;
        return rpc_reply(call, &response.base);
}

/* One or, of a node with both families, two with a comma between; none is fine too. */
static struct error *check_cidrs(const char *text)
{
        _cleanup_(freep) char *copy = dup_string(text);
        char *rest = copy;
        for (char *cidr; *text && (cidr = strsep(&rest, ","));) {
                unsigned char address[16];
                char *slash = strchr(cidr, '/');
                int family = strchr(cidr, ':') ? AF_INET6 : AF_INET;
                if (slash)
                        *slash++ = '\0';
                size_t n_digits = slash ? strlen(slash) : 0;
                bool is_length = n_digits > 0 && n_digits < 4 && strspn(slash, "0123456789") == n_digits &&
                                 strtol(slash, NULL, 10) <= (family == AF_INET ? 32 : 128);
                if (!is_length || inet_pton(family, cidr, address) != 1)
                        return error_new(ERROR_INVALID_ARGUMENT,
                                         "runtime_config.network_config.pod_cidr: \"%.100s\" is no CIDR",
                                         text);
        }
        return NULL;
}

/* kubelet tells the node's pod CIDR here. skiff takes its network from the CNI configuration alone, so there is nothing
 * to be kept: it is checked, and taken note of by answering. */
static struct error *update_runtime_config(void *context, struct rpc_call *call)
{
        const Cri__UpdateRuntimeConfigRequest *request = (const void *) rpc_request(call);
        const Cri__NetworkConfig *network =
                request->runtime_config ? request->runtime_config->network_config : NULL;
        (void) context;
        if (network)
                TRY(check_cidrs(network->pod_cidr));
        Cri__UpdateRuntimeConfigResponse response = CRI__UPDATE_RUNTIME_CONFIG_RESPONSE__INIT;
        return rpc_reply(call, &response.base);
}

const struct rpc status_rpcs[] = {
        { RUNTIME_SERVICE, "Version", POOL_QUICK, false, version },
        { RUNTIME_SERVICE, "Status", POOL_QUICK, false, status },
        { RUNTIME_SERVICE, "RuntimeConfig", POOL_QUICK, false, runtime_config },
        { RUNTIME_SERVICE, "UpdateRuntimeConfig", POOL_QUICK, false, update_runtime_config },
};
const size_t n_status_rpcs = LENGTH(status_rpcs);
