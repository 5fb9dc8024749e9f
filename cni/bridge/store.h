/* store.h - the addresses of a network that are taken, on disk, as host-local keeps them.
 *
 * DATADIR/NETWORK/ has a file for each address that is taken, named by the address; in it are the container's id, CR, LF
 * and the interface's name, without an end of line (older versions: the id alone). last_reserved_ip.N is the address
 * that range set N gave last: the search begins behind it, so what was freed comes last. `lock` is held with flock(2)
 * from open to close. The files, their order and their lock are host-local's, so both plugins may use one directory.
 *
 * A lease appears under its name with all of its content (O_TMPFILE, linkat(2)), so no kill leaves half of one. One
 * without content, which host-local or a crash of the machine can leave, says nothing of who has it: it is told on
 * stderr where every lease is read, and its address not given again, until keep_only removes it.
 *
 * store_index.h says which leases are an interface's, so that a call does not read all of them. Where it may not know of
 * one, all are read: once, for it knows then.
 *
 * Threads: one at a time; processes: any. */
#pragma once
#include "cni/bridge/config.h"
#include "cni/bridge/result.h"
#include "cni/bridge/store_index.h"

struct store {
        char *path; /* for messages; owned */
        int dir_fd, lock_fd;
        struct index index;
};

/* Makes the directory where it is missing, opens it and waits for the lock. With must_exist a directory that is missing is
 * no error: store->dir_fd is -1 then and the calls below find nothing. Errors: with the path. */
MUST_CHECK struct error *store_open(const char *data_dir, const char *network, bool must_exist,
                                    struct store *out);
void store_close(struct store *store); /* also gives the lock back; one that was not opened has -1, -1 */

/* One address of each range set, or those that are asked for, appended to out with their gateways. Errors:
 * ALREADY_EXISTS when this container's interface has one; RESOURCE_EXHAUSTED for a set that is full, a full disk;
 * INVALID_ARGUMENT for an address that cannot be given. Nothing is taken then. */
MUST_CHECK struct error *store_allocate(struct store *store, const struct ipam *ipam,
                                        const char *container_id, const char *ifname, struct result *out);

/* Removes what the container's interface has; none is no error. */
MUST_CHECK struct error *store_release(struct store *store, const char *container_id, const char *ifname);

/* Errors: NOT_FOUND unless the container's interface has an address. */
MUST_CHECK struct error *store_check(struct store *store, const char *container_id, const char *ifname);

/* Removes the leases of all that is not in the list, and those without content. */
MUST_CHECK struct error *store_keep_only(struct store *store, const struct attachment *valid, size_t n);
