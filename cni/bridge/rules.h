/* rules.h - the packet filter's part of an attachment: masquerade, port mappings, the check for forged addresses.
 *
 * Threads: one at a time. */
#pragma once
#include "cni/bridge/link.h"
#include "cni/bridge/result.h"

struct rules; /* owns a socket to nftables */

/* Errors: FAILED_PRECONDITION where the kernel has no nftables. */
MUST_CHECK struct error *rules_open(struct rules **out);

/* May wait for a grace period of RCU after something was removed. */
void rules_free(struct rules *rules);
DEFINE_FREEP(struct rules, rules_free)

/* What an attachment is to the filter. */
struct rules_attachment {
        const struct config *config;
        const struct environment *env;
        const struct result *result;
        size_t first_ip; /* those before it are others' */
        const struct veth *veth;
};

/* Whether the configuration asks for anything here. */
bool rules_wanted(const struct config *config);

/* All of it in one transaction. Errors: ALREADY_EXISTS for a port that another pod has. */
MUST_CHECK struct error *rules_add(struct rules *rules, const struct rules_attachment *attachment);
MUST_CHECK struct error *rules_check(struct rules *rules, const struct rules_attachment *attachment);

/* Remove what one attachment has, or all that is not in the list. None is no error. */
MUST_CHECK struct error *rules_remove(struct rules *rules, const char *network, const char *container_id,
                                      const char *ifname);
MUST_CHECK struct error *rules_keep_only(struct rules *rules, const char *network,
                                         const struct attachment *valid, size_t n);
