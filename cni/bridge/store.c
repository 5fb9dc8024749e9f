#include "cni/bridge/store.h"
#include "base/fault.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>

#define ADDRESSES_PER_SET ((uint64_t) 1 << 20) /* that are tried before a set counts as full */

static struct error *make_directories(const char *path)
{
        _cleanup_(freep) char *copy = dup_string(path);
        for (char *at = copy + 1; *at; at++) {
                if (*at != '/')
                        continue;
                *at = '\0';
                if (mkdir(copy, 0755) < 0 && errno != EEXIST)
                        return error_errno(errno, "make %s", copy);
                *at = '/';
        }
        if (mkdir(copy, 0755) < 0 && errno != EEXIST)
                return error_errno(errno, "make %s", copy);
        return NULL;
}

static struct error *open_directory(struct store *store, bool must_exist)
{
        int flags = O_RDONLY | O_DIRECTORY | O_CLOEXEC;
        store->dir_fd = open(store->path, flags);
        if (store->dir_fd < 0 && errno == ENOENT && !must_exist) {
                TRY(make_directories(store->path));
                store->dir_fd = open(store->path, flags);
        }
        if (store->dir_fd < 0 && !(must_exist && errno == ENOENT))
                return error_errno(errno, "open %s", store->path);
        return NULL;
}

struct error *store_open(const char *data_dir, const char *network, bool must_exist, struct store *out)
{
        *out = (struct store){ .path = format_string("%s/%s", data_dir, network),
                               .dir_fd = -1,
                               .lock_fd = -1,
                               .index = { .store_fd = -1, .fd = -1 } };
        TRY_WRAP(open_directory(out, must_exist), "address store");
        if (out->dir_fd < 0)
                return NULL;
        out->lock_fd = openat(out->dir_fd, "lock", O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0750);
        int errnum = errno;
        /* flock needs no right to write: it is the lease's own failure that is told then. */
        if (out->lock_fd < 0)
                out->lock_fd = openat(out->dir_fd, "lock", O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
        if (out->lock_fd < 0)
                return error_errno(errnum, "address store: open %s/lock", out->path);
        while (flock(out->lock_fd, LOCK_EX) < 0)
                if (errno != EINTR)
                        return error_errno(errno, "address store: lock %s", out->path);
        out->index = index_open(out->dir_fd);
        return fault_point("bridge.store.locked");
}

void store_close(struct store *store)
{
        index_close(&store->index);
        closep(&store->lock_fd);
        closep(&store->dir_fd);
        freep(&store->path);
}

/* Calls visit for each file that is named as an address, until one fails. */
typedef struct error *lease_visit(struct store *store, const char *name, const struct lease *lease,
                                  void *context);

static struct error *each_lease(struct store *store, lease_visit *visit, void *context)
{
        if (store->dir_fd < 0)
                return NULL;
        int fd = openat(store->dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        _cleanup_(closedirp) DIR *dir = fd < 0 ? NULL : fdopendir(fd);
        if (!dir) {
                struct error *e = error_errno(errno, "address store: read %s", store->path);
                closep(&fd);
                return e;
        }
        const struct dirent *entry;
        while ((entry = readdir(dir))) {
                struct lease lease;
                if (lease_name_is_valid(entry->d_name) && lease_read(store->dir_fd, entry->d_name, &lease))
                        TRY(visit(store, entry->d_name, &lease, context));
        }
        return NULL;
}

/* Leases that stay, for the index. */
struct listing {
        struct indexed *all;
        size_t n;
};

static void listing_add(struct listing *listing, const char *name, const struct lease *lease)
{
        if (!*lease->id)
                return;
        if ((listing->n & (listing->n - 1)) == 0)
                listing->all =
                        grow_array(listing->all, listing->n ? 2 * listing->n : 1, sizeof(*listing->all));
        struct indexed *one = &listing->all[listing->n++];
        *one = (struct indexed){ .hash = index_hash(lease->id, lease->ifname ? lease->ifname : "") };
        (void) snprintf(one->name, sizeof(one->name), "%s", name);
}

static void listing_done(struct listing *listing)
{
        free(listing->all);
}

struct owner {
        const char *container_id, *ifname;
        const struct ipam *ipam; /* whose ranges count; NULL: all */
        bool found;
        struct listing others;
};

/* The owner's next lease by the index, from its n-th link on; false when there is none. */
static bool next_own(const struct store *store, const struct owner *owner, const char *ifname, unsigned *n,
                     char name[ADDRESS_TEXT_BYTES])
{
        struct lease lease;
        for (; index_find(&store->index, owner->container_id, ifname, *n, name, ADDRESS_TEXT_BYTES); ++*n)
                if (lease_read(store->dir_fd, name, &lease) &&
                    lease_is_of(&lease, owner->container_id, owner->ifname))
                        return true;
        return false;
}

static bool in_set(const struct range_set *set, const struct address *a)
{
        for (size_t i = 0; i < set->n_ranges; i++) {
                const struct range *range = &set->ranges[i];
                if (address_within(&range->subnet, a) && address_compare(a, &range->start) >= 0 &&
                    address_compare(a, &range->end) <= 0)
                        return true;
        }
        return false;
}

static struct error *refuse_in_ranges(const struct owner *owner, const char *name)
{
        struct address a;
        TRY(address_parse(name, &a));
        for (size_t i = 0; i < owner->ipam->n_sets; i++)
                if (in_set(&owner->ipam->sets[i], &a))
                        return error_new(ERROR_ALREADY_EXISTS,
                                         "%s has been allocated to %s, duplicate allocation is not allowed",
                                         name, owner->container_id);
        return NULL;
}

static struct error *refuse_if_own(struct store *store, const char *name, const struct lease *lease,
                                   void *context)
{
        struct owner *owner = context;
        if (!*lease->id)
                (void) fprintf(stderr, "skiff-bridge: lease %s/%s is empty: passed over\n", store->path,
                               name);
        listing_add(&owner->others, name, lease);
        return lease_is_of(lease, owner->container_id, owner->ifname) ? refuse_in_ranges(owner, name) : NULL;
}

static struct error *refuse_if_any(struct store *store, struct owner *owner)
{
        const char *const forms[] = { owner->ifname, "" };
        char name[ADDRESS_TEXT_BYTES];
        if (!store->index.is_whole)
                return each_lease(store, refuse_if_own, owner);
        for (size_t i = 0; i < LENGTH(forms); i++)
                for (unsigned n = 0; next_own(store, owner, forms[i], &n, name); n++)
                        TRY(refuse_in_ranges(owner, name));
        return NULL;
}

static struct error *remove_lease(struct store *store, const char *name)
{
        if (unlinkat(store->dir_fd, name, 0) < 0 && errno != ENOENT)
                return error_errno(errno, "address store: remove %s/%s", store->path, name);
        return fault_point("bridge.store.released");
}

static struct error *release_if_own(struct store *store, const char *name, const struct lease *lease,
                                    void *context)
{
        struct owner *owner = context;
        if (lease_is_of(lease, owner->container_id, owner->ifname))
                return remove_lease(store, name);
        listing_add(&owner->others, name, lease);
        return NULL;
}

static struct error *release_indexed(struct store *store, const struct owner *owner)
{
        const char *const forms[] = { owner->ifname, "" };
        char name[ADDRESS_TEXT_BYTES];
        for (size_t i = 0; i < LENGTH(forms); i++)
                for (unsigned n = 0; next_own(store, owner, forms[i], &n, name);) {
                        TRY(remove_lease(store, name));
                        index_remove(&store->index, owner->container_id, forms[i], n);
                }
        return NULL;
}

struct error *store_release(struct store *store, const char *container_id, const char *ifname)
{
        struct owner owner = { .container_id = container_id, .ifname = ifname };
        struct error *e;
        if (store->index.is_whole) {
                e = release_indexed(store, &owner);
        } else {
                e = each_lease(store, release_if_own, &owner);
                if (!e)
                        index_mend(&store->index, owner.others.all, owner.others.n);
                listing_done(&owner.others);
        }
        if (!e)
                index_mark(&store->index);
        return e;
}

static struct error *note_if_own(struct store *store, const char *name, const struct lease *lease,
                                 void *context)
{
        (void) store;
        (void) name;
        struct owner *owner = context;
        owner->found |= lease_is_of(lease, owner->container_id, owner->ifname);
        return NULL;
}

struct error *store_check(struct store *store, const char *container_id, const char *ifname)
{
        struct owner owner = { .container_id = container_id, .ifname = ifname };
        char name[ADDRESS_TEXT_BYTES];
        unsigned n = 0, m = 0;
        if (store->index.is_whole)
                owner.found =
                        next_own(store, &owner, ifname, &n, name) || next_own(store, &owner, "", &m, name);
        else
                TRY(each_lease(store, note_if_own, &owner));
        if (owner.found)
                return NULL;
        return error_new(ERROR_NOT_FOUND, "address store: %s of container %s has no address in %s", ifname,
                         container_id, store->path);
}

struct valid_list {
        const struct attachment *valid;
        size_t n;
        struct listing stay;
};

static struct error *remove_if_nobodys(struct store *store, const char *name, const struct lease *lease,
                                       void *context)
{
        struct valid_list *list = context;
        for (size_t i = 0; i < list->n; i++)
                if (lease_is_of(lease, list->valid[i].container_id, list->valid[i].ifname)) {
                        listing_add(&list->stay, name, lease);
                        return NULL;
                }
        return remove_lease(store, name);
}

struct error *store_keep_only(struct store *store, const struct attachment *valid, size_t n)
{
        struct valid_list list = { .valid = valid, .n = n };
        struct error *e = each_lease(store, remove_if_nobodys, &list);
        if (!e) {
                index_mend(&store->index, list.stay.all, list.stay.n);
                index_mark(&store->index);
        }
        listing_done(&list.stay);
        return e;
}

/* The content of a lease in a file without a name; -1 where the filesystem has no such files. */
static struct error *write_lease(int fd, const char *container_id, const char *ifname)
{
        char text[LEASE_MAX_BYTES];
        int len_bytes = snprintf(text, sizeof(text), "%s\r\n%s", container_id, ifname);
        ssize_t n_bytes = write(fd, text, (size_t) len_bytes);
        if (n_bytes == len_bytes)
                return NULL;
        return error_errno(n_bytes < 0 ? errno : ENOSPC, "write a lease");
}

static struct error *lease_nameless(struct store *store, const char *container_id, const char *ifname,
                                    int *out)
{
        *out = openat(store->dir_fd, ".", O_WRONLY | O_TMPFILE | O_CLOEXEC, 0644);
        if (*out < 0)
                return errno == EOPNOTSUPP || errno == EISDIR || errno == ENOENT
                               ? NULL
                               : error_errno(errno, "make a lease");
        return write_lease(*out, container_id, ifname);
}

/* Where there are no files without a name: as host-local does it, which a kill in between leaves empty. */
static struct error *lease_in_place(struct store *store, const char *name, const struct owner *owner,
                                    bool *taken)
{
        _cleanup_(closep) int fd = openat(store->dir_fd, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
        *taken = fd < 0 && errno == EEXIST;
        if (*taken)
                return NULL;
        if (fd < 0)
                return error_errno(errno, "make a lease");
        struct error *e = write_lease(fd, owner->container_id, owner->ifname);
        if (e)
                (void) unlinkat(store->dir_fd, name, 0);
        return e;
}

/* Where the next search begins: a hint. What is in its place and cannot be written is told of and passed over, but for a disk
 * that has no room for the lease either. */
static struct error *remember_last(struct store *store, size_t set, const char *address)
{
        char name[40];
        (void) snprintf(name, sizeof(name), "last_reserved_ip.%zu", set);
        _cleanup_(closep) int fd =
                openat(store->dir_fd, name,
                       O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, 0644);
        ssize_t n_bytes = fd < 0 ? -1 : write(fd, address, strlen(address));
        if (n_bytes == (ssize_t) strlen(address))
                return NULL;
        int errnum = n_bytes < 0 ? errno : ENOSPC;
        if (errnum != EISDIR && errnum != ELOOP && errnum != ENXIO && errnum != EAGAIN)
                return error_errno(errnum, "write %s", name);
        (void) fprintf(stderr, "skiff-bridge: address store %s: %s is no file: %s\n", store->path, name,
                       strerror(errnum));
        return NULL;
}

struct search {
        struct store *store;
        const struct owner *owner;
        int nameless_fd; /* the lease to be, -1 without */
};

/* Takes the address, unless somebody has it. */
static struct error *reserve(const struct search *s, size_t set, const struct address *a, bool *taken)
{
        char name[ADDRESS_TEXT_BYTES], from[64];
        (void) address_text(a, name);
        if (s->nameless_fd < 0) {
                TRY(lease_in_place(s->store, name, s->owner, taken));
        } else {
                (void) snprintf(from, sizeof(from), "/proc/self/fd/%d", s->nameless_fd);
                *taken = faccessat(s->store->dir_fd, name, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
                if (!*taken && linkat(s->nameless_fd, "", s->store->dir_fd, name, AT_EMPTY_PATH) < 0 &&
                    !(errno == ENOENT &&
                      linkat(AT_FDCWD, from, s->store->dir_fd, name, AT_SYMLINK_FOLLOW) == 0)) {
                        *taken = errno == EEXIST;
                        if (!*taken)
                                return error_errno(errno, "make lease %s", name);
                }
        }
        if (*taken)
                return NULL;
        TRY(fault_point("bridge.store.reserved"));
        return remember_last(s->store, set, name);
}

static char *set_text(const struct range_set *set)
{
        char *text = dup_string("");
        for (size_t i = 0; i < set->n_ranges; i++) {
                char from[ADDRESS_TEXT_BYTES], to[ADDRESS_TEXT_BYTES];
                char *more = format_string("%s%s%s-%s", text, i ? "," : "",
                                           address_text(&set->ranges[i].start, from),
                                           address_text(&set->ranges[i].end, to));
                free(text);
                text = more;
        }
        return text;
}

/* Where the search begins: the range and the address that was given last; false: at the set's beginning. */
static bool last_reserved(const struct store *store, size_t n, const struct range_set *set, size_t *range,
                          struct address *at)
{
        char name[40];
        struct lease file;
        (void) snprintf(name, sizeof(name), "last_reserved_ip.%zu", n);
        if (!lease_read(store->dir_fd, name, &file))
                return false;
        struct error *e = address_parse(file.id, at);
        error_free(e);
        for (*range = 0; !e && *range < set->n_ranges; ++*range) {
                const struct range *r = &set->ranges[*range];
                if (address_within(&r->subnet, at) && address_compare(at, &r->start) >= 0 &&
                    address_compare(at, &r->end) <= 0)
                        return true;
        }
        return false;
}

/* The address behind *at in the set, from range to range and around. */
static void advance(const struct range_set *set, size_t *range, struct address *at)
{
        if (address_compare(at, &set->ranges[*range].end) == 0) {
                *range = (*range + 1) % set->n_ranges;
                *at = set->ranges[*range].start;
        } else {
                *at = address_next(at);
        }
}

static void give(const struct range *range, const struct address *a, struct result *out)
{
        struct result_ip ip = { .address = *a, .gateway = range->gateway, .interface = -1 };
        ip.address.prefix = range->subnet.prefix;
        result_add_ip(out, &ip);
}

static struct error *allocate_next(const struct search *s, size_t n, const struct range_set *set,
                                   struct result *out)
{
        size_t range = 0;
        struct address at = set->ranges[0].start;
        bool in_middle = last_reserved(s->store, n, set, &range, &at);
        if (!in_middle) {
                range = 0;
                at = set->ranges[0].start;
        } else {
                advance(set, &range, &at);
        }
        struct address first = at;
        size_t first_range = range;
        uint64_t tried = 0;
        do {
                bool taken = address_compare(&at, &set->ranges[range].gateway) == 0;
                if (!taken)
                        TRY(reserve(s, n, &at, &taken));
                if (!taken) {
                        give(&set->ranges[range], &at, out);
                        return NULL;
                }
                advance(set, &range, &at);
        } while ((range != first_range || address_compare(&at, &first) != 0) && ++tried < ADDRESSES_PER_SET);
        _cleanup_(freep) char *text = set_text(set);
        return error_new(ERROR_RESOURCE_EXHAUSTED,
                         "failed to allocate for range %zu: no IP addresses available in range set: %s", n,
                         text);
}

static struct error *allocate_asked(const struct search *s, size_t n, const struct range_set *set,
                                    const struct address *asked, struct result *out)
{
        char text[ADDRESS_TEXT_BYTES];
        bool taken = false;
        const struct range *range = set->ranges;
        while (!(address_within(&range->subnet, asked) && address_compare(asked, &range->start) >= 0 &&
                 address_compare(asked, &range->end) <= 0))
                range++;
        if (address_compare(asked, &range->gateway) == 0)
                return error_new(ERROR_INVALID_ARGUMENT, "requested IP %s is the subnet's gateway",
                                 address_text(asked, text));
        TRY(reserve(s, n, asked, &taken));
        if (!taken) {
                give(range, asked, out);
                return NULL;
        }
        _cleanup_(freep) char *ranges = set_text(set);
        return error_new(ERROR_ALREADY_EXISTS, "requested IP address %s is not available in range set %s",
                         address_text(asked, text), ranges);
}

/* The first address asked for that lies in the set, or one of no family; *used is marked. */
static struct address asked_in(const struct ipam *ipam, const struct range_set *set, bool *used)
{
        for (size_t i = 0; i < ipam->n_requested; i++)
                if (!used[i] && in_set(set, &ipam->requested[i])) {
                        used[i] = true;
                        return ipam->requested[i];
                }
        return (struct address){ .family = 0 };
}

static struct error *allocate_sets(const struct search *s, const struct ipam *ipam, const bool *used,
                                   const struct address *asked, struct result *out)
{
        char text[ADDRESS_TEXT_BYTES];
        for (size_t i = 0; i < ipam->n_requested; i++)
                if (!used[i])
                        return error_new(ERROR_INVALID_ARGUMENT, "failed to allocate all requested IPs: %s",
                                         address_text(&ipam->requested[i], text));
        for (size_t n = 0; n < ipam->n_sets; n++)
                TRY(asked[n].family ? allocate_asked(s, n, &ipam->sets[n], &asked[n], out)
                                    : allocate_next(s, n, &ipam->sets[n], out));
        return NULL;
}

/* Behind the leases themselves: it is they that the last room on a disk is for. */
static void index_given(struct store *store, struct owner *owner, bool was_whole, const struct result *out,
                        size_t first)
{
        const struct lease own = { .id = owner->container_id, .ifname = owner->ifname };
        char name[ADDRESS_TEXT_BYTES];
        store->index.is_whole = was_whole;
        for (size_t i = first; i < out->n_ips; i++) {
                (void) address_text(&out->ips[i].address, name);
                if (was_whole)
                        index_add(&store->index, own.id, own.ifname, name);
                else
                        listing_add(&owner->others, name, &own);
        }
        if (!was_whole)
                index_mend(&store->index, owner->others.all, owner->others.n);
}

static struct error *allocate(struct store *store, struct owner *owner, struct result *out)
{
        const struct ipam *ipam = owner->ipam;
        struct search s = { .store = store, .owner = owner, .nameless_fd = -1 };
        bool *used = arena_take(out->arena, (ipam->n_requested + 1) * sizeof(*used));
        struct address *asked = arena_take(out->arena, (ipam->n_sets + 1) * sizeof(*asked));
        for (size_t n = 0; n < ipam->n_sets; n++)
                asked[n] = asked_in(ipam, &ipam->sets[n], used);
        /* All leases of one interface say the same, and are removed by name: one file with several names. */
        struct error *e = lease_nameless(store, owner->container_id, owner->ifname, &s.nameless_fd);
        if (!e)
                e = allocate_sets(&s, ipam, used, asked, out);
        closep(&s.nameless_fd);
        return e ? e : fault_point("bridge.store.given");
}

struct error *store_allocate(struct store *store, const struct ipam *ipam, const char *container_id,
                             const char *ifname, struct result *out)
{
        struct owner owner = { .container_id = container_id, .ifname = ifname, .ipam = ipam };
        size_t n_before = out->n_ips;
        bool was_whole = store->index.is_whole;
        struct error *e = refuse_if_any(store, &owner);
        if (e) {
                listing_done(&owner.others);
                return e;
        }
        store->index.is_whole = false; /* until what is given is in it */
        e = allocate(store, &owner, out);
        if (!e) {
                index_given(store, &owner, was_whole, out, n_before);
                e = fault_point("bridge.store.indexed");
        }
        listing_done(&owner.others);
        if (!e) {
                index_mark(&store->index);
                return NULL;
        }
        out->n_ips = n_before;
        error_ignore(store_release(store, container_id, ifname)); /* the first failure is what counts */
        return error_wrap(e, "address store %s", store->path);
}
