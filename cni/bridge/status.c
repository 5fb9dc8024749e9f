#include "cni/bridge/commands.h"
#include "cni/bridge/ipam.h"
#include "cni/bridge/link.h"
#include "cni/bridge/vlan.h"
#include <errno.h>
#include <string.h>
#include <unistd.h>

/* A pool or a bridge that is full is not told here: a runtime would take the node for one without network, where only the
 * next pod has none. ADD says it. */
struct error *command_status(const struct environment *env, const struct config *config)
{
        _cleanup_(netlink_freep) struct netlink *nl = NULL;
        _cleanup_(rules_freep) struct rules *rules = NULL;
        struct link bridge;
        TRY(netlink_open(&nl));
        TRY(link_get(nl, config->bridge, 0, &bridge));
        if (bridge.index && strcmp(bridge.kind, "bridge") != 0)
                return error_new(ERROR_FAILED_PRECONDITION, "\"%s\" already exists but is not a bridge",
                                 config->bridge);
        if (bridge.index && vlan_wanted(config)) {
                const char *path =
                        arena_format(config->arena, "/sys/class/net/%s/bridge/vlan_filtering", bridge.name);
                if (access(path, F_OK) < 0 && errno == ENOENT)
                        return vlan_error_unsupported();
        }
        TRY(rules_open(&rules));
        return ipam_status(env, config);
}
