/* lease.h - one lease of the address store: a file named as an address, which says who has it.
 *
 * Threads: one at a time. */
#pragma once
#include <stdbool.h>
#include <stddef.h>

#define LEASE_MAX_BYTES ((size_t) 1024)

struct lease {
        char text[LEASE_MAX_BYTES + 1];
        const char *id,
                *ifname; /* in text; id "" where nothing stands; ifname NULL where there is only an id */
};

/* What stands in the file of this name below a directory; false when there is no such file or it cannot be read. */
bool lease_read(int dir_fd, const char *name, struct lease *out);

/* Whether it is the container's: one without interface is that of all its interfaces. */
bool lease_is_of(const struct lease *lease, const char *container_id, const char *ifname);

/* Whether a file of this name is a lease: host-local leaves its lock and last_reserved_ip.N beside them. */
bool lease_name_is_valid(const char *name);
