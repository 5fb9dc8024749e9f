#include "cni/bridge/store_index.h"
#include "base/fault.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#define LINK_BYTES 32   /* HASH.N */
#define TARGET_BYTES 64 /* ../ADDRESS */
#define UP "../"

uint64_t index_hash(const char *container_id, const char *ifname)
{
        /* FNV-1a, with a NUL between and behind. Two owners of one hash share a count, no more. */
        const char *words[] = { container_id, ifname };
        uint64_t hash = 0xcbf29ce484222325;
        for (size_t i = 0; i < LENGTH(words); i++)
                for (const char *c = words[i];; c++) {
                        hash = (hash ^ (uint8_t) *c) * 0x100000001b3;
                        if (!*c)
                                break;
                }
        return hash;
}

static void link_name(uint64_t hash, unsigned n, char out[LINK_BYTES])
{
        (void) snprintf(out, LINK_BYTES, "%016llx.%u", (unsigned long long) hash, n);
}

static bool is_marked(const struct stat *st)
{
        return st->st_mtim.tv_nsec == INDEX_MARK_NS;
}

struct index index_open(int store_fd)
{
        struct index index = { .store_fd = store_fd, .fd = -1 };
        struct stat store, own;
        if (store_fd < 0)
                return index;
        index.fd = openat(store_fd, INDEX_NAME, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (index.fd >= 0 && fstat(store_fd, &store) == 0 && fstat(index.fd, &own) == 0)
                index.is_whole =
                        is_marked(&store) && is_marked(&own) && store.st_mtim.tv_sec == own.st_mtim.tv_sec;
        return index;
}

void index_close(struct index *index)
{
        closep(&index->fd);
        index->is_whole = false;
}

/* The address that a link leads to. */
static bool read_link(const struct index *index, const char *link, char *name, size_t size_bytes)
{
        char target[TARGET_BYTES];
        ssize_t n_bytes = readlinkat(index->fd, link, target, sizeof(target) - 1);
        if (n_bytes <= (ssize_t) strlen(UP) || memcmp(target, UP, strlen(UP)) != 0)
                return false;
        target[n_bytes] = '\0';
        (void) snprintf(name, size_bytes, "%s", target + strlen(UP));
        return lease_name_is_valid(name);
}

bool index_find(const struct index *index, const char *container_id, const char *ifname, unsigned n,
                char *name, size_t size_bytes)
{
        char link[LINK_BYTES];
        link_name(index_hash(container_id, ifname), n, link);
        return index->fd >= 0 && read_link(index, link, name, size_bytes);
}

static void add(struct index *index, uint64_t hash, const char *name)
{
        char target[TARGET_BYTES], link[LINK_BYTES];
        int made = -1;
        (void) snprintf(target, sizeof(target), UP "%s", name);
        for (unsigned n = 0; made < 0; n++) {
                link_name(hash, n, link);
                made = symlinkat(target, index->fd, link);
                if (made < 0 && errno != EEXIST) {
                        index->is_whole = false;
                        return;
                }
        }
}

void index_add(struct index *index, const char *container_id, const char *ifname, const char *name)
{
        if (index->fd >= 0)
                add(index, index_hash(container_id, ifname), name);
}

void index_remove(struct index *index, const char *container_id, const char *ifname, unsigned n)
{
        char link[LINK_BYTES], next[LINK_BYTES];
        uint64_t hash = index_hash(container_id, ifname);
        unsigned last = n;
        if (index->fd < 0)
                return;
        do
                link_name(hash, ++last, next);
        while (faccessat(index->fd, next, F_OK, AT_SYMLINK_NOFOLLOW) == 0);
        link_name(hash, n, link);
        link_name(hash, --last, next);
        int failed = last == n ? unlinkat(index->fd, link, 0) : renameat(index->fd, next, index->fd, link);
        if (failed)
                index->is_whole = false;
}

static int compare_names(const void *a, const void *b)
{
        return strcmp(((const struct indexed *) a)->name, ((const struct indexed *) b)->name);
}

/* Whether a link is one that should be there, and the only one of its lease. */
static bool is_right(const struct index *index, const char *link, struct indexed *leases, size_t n)
{
        struct indexed key = { .hash = 0 };
        char expected[LINK_BYTES], *end = NULL;
        if (!read_link(index, link, key.name, sizeof(key.name)))
                return false;
        struct indexed *lease = n ? bsearch(&key, leases, n, sizeof(*leases), compare_names) : NULL;
        const char *dot = strchr(link, '.');
        if (!lease || lease->is_there || !dot)
                return false;
        unsigned long number = strtoul(dot + 1, &end, 10);
        link_name(lease->hash, (unsigned) number, expected);
        if (*end || number > n || strcmp(link, expected) != 0)
                return false;
        link_name(lease->hash, (unsigned) number - 1, expected);
        if (number && faccessat(index->fd, expected, F_OK, AT_SYMLINK_NOFOLLOW) < 0)
                return false;
        lease->is_there = true;
        return true;
}

/* Looks at every link. With remove all of them go; otherwise false when one is wrong. */
static bool each_link(const struct index *index, struct indexed *leases, size_t n, bool remove)
{
        int fd = openat(index->fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        DIR *dir = fd < 0 ? NULL : fdopendir(fd);
        bool right = dir != NULL;
        if (!dir)
                closep(&fd);
        const struct dirent *entry;
        while (right && (entry = readdir(dir))) {
                if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
                        continue;
                right = remove ? unlinkat(index->fd, entry->d_name, 0) == 0
                               : is_right(index, entry->d_name, leases, n);
        }
        if (dir)
                (void) closedir(dir);
        return right;
}

static bool set_mark(int fd, time_t now)
{
        const struct timespec times[] = { { .tv_nsec = UTIME_OMIT },
                                          { .tv_sec = now, .tv_nsec = INDEX_MARK_NS } };
        return futimens(fd, times) == 0;
}

/* Opens the index to be written, where it can be one. */
static bool make(struct index *index)
{
        struct stat st;
        if (index->fd < 0 && mkdirat(index->store_fd, INDEX_NAME, 0755) < 0 && errno != EEXIST)
                return false;
        if (index->fd < 0)
                index->fd =
                        openat(index->store_fd, INDEX_NAME, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        return index->fd >= 0 && set_mark(index->fd, time(NULL)) && fstat(index->fd, &st) == 0 &&
               is_marked(&st);
}

void index_mend(struct index *index, struct indexed *leases, size_t n)
{
        index->is_whole = false;
        if (index->store_fd < 0 || !make(index))
                return;
        if (n)
                qsort(leases, n, sizeof(*leases), compare_names);
        if (!each_link(index, leases, n, false)) {
                for (size_t i = 0; i < n; i++)
                        leases[i].is_there = false;
                if (!each_link(index, leases, n, true))
                        return;
        }
        index->is_whole = true;
        for (size_t i = 0; i < n && index->is_whole; i++)
                if (!leases[i].is_there)
                        add(index, leases[i].hash, leases[i].name);
}

void index_mark(struct index *index)
{
        time_t now = time(NULL);
        if (index->is_whole && index->fd >= 0 && set_mark(index->fd, now))
                (void) set_mark(index->store_fd, now);
}
