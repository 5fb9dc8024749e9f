/* store_index.h - which addresses an interface of a container has, found without reading every lease.
 *
 * DATADIR/NETWORK/.interfaces/ has a symbolic link for each lease: HASH.N to ../ADDRESS, where HASH is of the id and the
 * interface in the lease and N counts from 0 without a gap. It is a hint: a lease is believed only as it stands in its own
 * file. host-local follows the links when it looks for an id, and removes those that lead to what it gives back.
 *
 * Whether no lease is missing in it is told by two times of modification: who has changed anything here sets that of
 * .interfaces and then that of the directory itself to one value that no clock gives (INDEX_MARK_NS). Whatever else is
 * made or removed in either, by host-local, by hand, or by a call that is killed, gives the directory a time of the clock
 * again; the next call then reads every lease, once, and puts the index right. What is written into a lease that exists
 * already is not seen: host-local never does that. Where a filesystem keeps no nanoseconds there is no index, and every
 * call reads.
 *
 * Threads: one at a time; processes: under the store's lock. */
#pragma once
#include "cni/bridge/lease.h"
#include <stddef.h>
#include <stdint.h>

#define INDEX_NAME ".interfaces"
#define INDEX_MARK_NS 100000007L

struct index {
        int store_fd, fd; /* the store's directory, not owned; its own, -1 without */
        bool is_whole;    /* every lease is in it */
};

/* Opens the index of a store's directory, if there is one. Always succeeds: without it the store is read. */
struct index index_open(int store_fd);
void index_close(struct index *index);

/* The n-th link of an owner (ifname "": of leases that have only the id): true, with the name of the address that it leads
 * to; false when there is none. Another owner of the same hash may have it: the lease tells. */
bool index_find(const struct index *index, const char *container_id, const char *ifname, unsigned n,
                char *name, size_t size_bytes);

/* Add a lease, remove the n-th link of an owner, whose last one takes its place. What fails leaves an index that is not
 * whole. */
void index_add(struct index *index, const char *container_id, const char *ifname, const char *name);
void index_remove(struct index *index, const char *container_id, const char *ifname, unsigned n);

/* A lease that was read, for index_mend. */
struct indexed {
        char name[48];
        uint64_t hash;
        bool is_there;
};

/* The hash of an owner, as it stands in the names. */
uint64_t index_hash(const char *container_id, const char *ifname);

/* Makes the index that of exactly these leases, which are all of the directory's; their order changes. */
void index_mend(struct index *index, struct indexed *leases, size_t n);

/* After all changes: says that every lease is in it, if that is so. */
void index_mark(struct index *index);
