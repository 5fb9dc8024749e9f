/* commands.h - one function a command of CNI, each in its own file.
 *
 * What they print goes to out. Threads: one at a time. Source: CNI SPEC.md 1.1.0 section 2. */
#pragma once
#include "cni/bridge/config.h"
#include "cni/bridge/netlink.h"
#include "cni/bridge/rules.h"

/* Makes the attachment and writes its result; one that fails leaves nothing. */
MUST_CHECK struct error *command_add(const struct environment *env, const struct config *config,
                                     struct buf *out);

/* Removes all that an attachment has. What others see is gone when it returns; a child of it then takes the device
 * away, which the kernel makes wait. */
MUST_CHECK struct error *command_del(const struct environment *env, const struct config *config);

/* Errors: FAILED_PRECONDITION or NOT_FOUND, with what of prevResult is not there any more. */
MUST_CHECK struct error *command_check(const struct environment *env, const struct config *config);

/* Removes the attachments of this network that are not in config's list. */
MUST_CHECK struct error *command_gc(const struct environment *env, const struct config *config);

/* Errors: FAILED_PRECONDITION, with what would make every ADD fail. */
MUST_CHECK struct error *command_status(const struct environment *env, const struct config *config);

/* Leaves n links to a child of this process, which has nl and rules (may be NULL) as well and none of the descriptors that
 * this process was started with, so nobody waits for it. Where there can be no child they are removed here. */
MUST_CHECK struct error *leave_links(struct netlink *nl, struct rules *rules, const int *indexes, size_t n);
