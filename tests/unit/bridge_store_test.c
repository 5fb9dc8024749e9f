/* Addresses on disk: order, bounds, what is asked for, what is torn, and what another process does at the same time. */
#include "cni/bridge/store.h"
#include "tests/unit/unit.h"
#include <fcntl.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>

static struct arena arena;

/* The ipam of a configuration; text has ' for ". */
static struct error *parse(const char *text, struct config *out)
{
        struct environment env = { .command = COMMAND_ADD };
        const struct jv *json = NULL;
        char *quoted = arena_copy(&arena, text, strlen(text));
        for (char *c = quoted; *c; c++)
                if (*c == '\'')
                        *c = '"';
        *out = (struct config){ .arena = &arena, .version = CNI_1_0_0 };
        TRY(jv_parse(&arena, arena_format(&arena, "{\"ipam\":%s}", quoted), strlen(quoted) + 9, &json));
        out->json = json;
        return config_read_ipam(&env, out);
}

static struct error *allocate(const char *dir, const char *ipam, const char *id, char *out, size_t size_bytes)
{
        struct config config;
        struct store store;
        struct result result = { .arena = &arena };
        TRY(parse(ipam, &config));
        struct error *e = store_open(dir, "net", false, &store);
        if (!e)
                e = store_allocate(&store, &config.ipam, id, "eth0", &result);
        store_close(&store);
        out[0] = '\0';
        for (size_t i = 0; !e && i < result.n_ips; i++) {
                char text[ADDRESS_TEXT_BYTES];
                size_t at = strlen(out);
                (void) snprintf(out + at, size_bytes - at, "%s%s", i ? " " : "",
                                address_cidr(&result.ips[i].address, text));
        }
        return e;
}

#define assert_gives(text, dir, ipam, id)                                                                    \
        do {                                                                                                 \
                char given_[200];                                                                            \
                assert_ok(allocate(dir, ipam, id, given_, sizeof(given_)));                                  \
                assert_string_equal(given_, text);                                                           \
        } while (0)

#define assert_refuses(code, text, dir, ipam, id)                                                            \
        do {                                                                                                 \
                char given_[200];                                                                            \
                assert_fails(code, text, allocate(dir, ipam, id, given_, sizeof(given_)));                   \
        } while (0)

static void release(const char *dir, const char *id)
{
        struct store store;
        assert_ok(store_open(dir, "net", true, &store));
        assert_ok(store_release(&store, id, "eth0"));
        store_close(&store);
}

static char *path_of(const char *dir, const char *name)
{
        return arena_format(&arena, "%s/net/%s", dir, name);
}

static void put(const char *dir, const char *name, const char *text)
{
        FILE *f = fopen(path_of(dir, name), "w");
        assert_non_null(f);
        assert_true(fputs(text, f) >= 0);
        assert_int_equal(fclose(f), 0);
}

static char *text_of(const char *dir, const char *name)
{
        char *text = arena_take(&arena, 200);
        FILE *f = fopen(path_of(dir, name), "r");
        if (!f)
                return NULL;
        assert_true(fread(text, 1, 199, f) < 200);
        (void) fclose(f);
        return text;
}

#define SMALL "{'ranges':[[{'subnet':'10.1.0.0/24','rangeStart':'10.1.0.2','rangeEnd':'10.1.0.4'}]]}"

static void addresses_go_round_and_a_freed_one_comes_last(void **dir)
{
        assert_gives("10.1.0.2/24", *dir, SMALL, "a");
        assert_gives("10.1.0.3/24", *dir, SMALL, "b");
        release(*dir, "a");
        assert_gives("10.1.0.4/24", *dir, SMALL, "c");
        assert_gives("10.1.0.2/24", *dir, SMALL, "d");
        assert_refuses(
                ERROR_RESOURCE_EXHAUSTED,
                "failed to allocate for range 0: no IP addresses available in range set: 10.1.0.2-10.1.0.4",
                *dir, SMALL, "e");
        release(*dir, "c");
        assert_gives("10.1.0.4/24", *dir, SMALL, "e");
        arena_done(&arena);
}

static void files_are_those_of_host_local(void **dir)
{
        struct stat st;
        assert_gives("10.1.0.2/24 fd00::2/64", *dir,
                     "{'ranges':[[{'subnet':'10.1.0.0/24'}],[{'subnet':'fd00::/64'}]]}", "abc");
        assert_string_equal(text_of(*dir, "10.1.0.2"), "abc\r\neth0");
        assert_string_equal(text_of(*dir, "fd00::2"), "abc\r\neth0");
        assert_string_equal(text_of(*dir, "last_reserved_ip.0"), "10.1.0.2");
        assert_string_equal(text_of(*dir, "last_reserved_ip.1"), "fd00::2");
        assert_int_equal(stat(path_of(*dir, "lock"), &st), 0);
        assert_int_equal(stat(path_of(*dir, "10.1.0.2"), &st), 0);
        assert_int_equal(st.st_mode & 07777, 0644);
        release(*dir, "abc");
        assert_null(text_of(*dir, "10.1.0.2"));
        assert_null(text_of(*dir, "fd00::2"));
        assert_string_equal(text_of(*dir, "last_reserved_ip.0"), "10.1.0.2");
        arena_done(&arena);
}

static void the_gateway_is_left_out_and_ranges_follow_each_other(void **dir)
{
        static const char ipam[] = "{'ranges':[[{'subnet':'10.1.0.0/30'},{'subnet':'10.2.0.0/29','gateway':"
                                   "'10.2.0.2','rangeEnd':'10.2.0.3'}]]}";
        assert_gives("10.1.0.2/30", *dir, ipam, "a");
        assert_gives("10.2.0.1/29", *dir, ipam, "b");
        assert_gives("10.2.0.3/29", *dir, ipam, "c");
        assert_refuses(ERROR_RESOURCE_EXHAUSTED, "10.1.0.1-10.1.0.2,10.2.0.1-10.2.0.3", *dir, ipam, "d");
        arena_done(&arena);
}

static void a_full_second_set_gives_the_first_back(void **dir)
{
        static const char ipam[] = "{'ranges':[[{'subnet':'10.1.0.0/24'}],[{'subnet':'10.2.0.0/30'}]]}";
        assert_gives("10.1.0.2/24 10.2.0.2/30", *dir, ipam, "a");
        assert_refuses(ERROR_RESOURCE_EXHAUSTED, "range 1", *dir, ipam, "b");
        assert_null(text_of(*dir, "10.1.0.3"));
        arena_done(&arena);
}

static void an_interface_has_an_address_once(void **dir)
{
        assert_gives("10.1.0.2/24", *dir, SMALL, "a");
        assert_refuses(ERROR_ALREADY_EXISTS, "10.1.0.2 has been allocated to a, duplicate", *dir, SMALL, "a");
        assert_string_equal(text_of(*dir, "10.1.0.2"), "a\r\neth0");
        /* A lease of the time when they had no interface is this container's too. */
        put(*dir, "10.1.0.4", "old");
        assert_refuses(ERROR_ALREADY_EXISTS, "10.1.0.4 has been allocated to old", *dir, SMALL, "old");
        release(*dir, "old");
        assert_null(text_of(*dir, "10.1.0.4"));
        arena_done(&arena);
}

static void asked_addresses_are_given_or_refused(void **dir)
{
        struct config config;
        struct result result = { .arena = &arena };
        struct store store;
        assert_ok(parse("{'ranges':[[{'subnet':'10.1.0.0/24'}]]}", &config));
        static const struct {
                const char *ip, *refused;
                enum error_code code;
        } cases[] = { { "10.1.0.9", NULL, 0 },
                      { "10.1.0.9", "requested IP address 10.1.0.9 is not available", ERROR_ALREADY_EXISTS },
                      { "10.1.0.1", "requested IP 10.1.0.1 is the subnet's gateway", ERROR_INVALID_ARGUMENT },
                      { "10.9.0.1", "failed to allocate all requested IPs: 10.9.0.1",
                        ERROR_INVALID_ARGUMENT } };
        for (size_t i = 0; i < LENGTH(cases); i++) {
                struct address asked;
                assert_ok(address_parse_either(cases[i].ip, &asked));
                config.ipam.requested = &asked;
                config.ipam.n_requested = 1;
                assert_ok(store_open(*dir, "net", false, &store));
                struct error *e = store_allocate(&store, &config.ipam, i ? "other" : "a", "eth0", &result);
                if (cases[i].refused)
                        assert_fails(cases[i].code, cases[i].refused, e);
                else
                        assert_ok(e);
                store_close(&store);
        }
        assert_string_equal(text_of(*dir, "10.1.0.9"), "a\r\neth0");
        assert_gives("10.1.0.10/24", *dir, "{'ranges':[[{'subnet':'10.1.0.0/24'}]]}", "b");
        arena_done(&arena);
}

static void torn_files_are_passed_over(void **dir)
{
        assert_gives("10.1.0.2/24", *dir, SMALL, "a");
        put(*dir, "10.1.0.3", "");
        put(*dir, "no-address", "b\r\neth0");
        put(*dir, "last_reserved_ip.0", "rubbish\n");
        assert_gives("10.1.0.4/24", *dir, SMALL, "b");
        release(*dir, "b");
        assert_non_null(text_of(*dir, "10.1.0.3"));
        assert_non_null(text_of(*dir, "no-address"));
        put(*dir, "last_reserved_ip.0", "");
        assert_gives("10.1.0.4/24", *dir, SMALL, "c");
        arena_done(&arena);
}

static void gc_keeps_what_is_valid(void **dir)
{
        static const struct attachment valid[] = { { "a", "eth0" }, { "old", "eth0" }, { "c", "eth1" } };
        struct store store;
        assert_gives("10.1.0.2/24", *dir, SMALL, "a");
        assert_gives("10.1.0.3/24", *dir, SMALL, "c");
        put(*dir, "10.1.0.4", "old");
        put(*dir, "10.1.0.5", "");
        assert_ok(store_open(*dir, "net", true, &store));
        assert_ok(store_keep_only(&store, valid, LENGTH(valid)));
        assert_ok(store_check(&store, "a", "eth0"));
        assert_fails(ERROR_NOT_FOUND, "no address", store_check(&store, "c", "eth0"));
        store_close(&store);
        assert_non_null(text_of(*dir, "10.1.0.4"));
        assert_null(text_of(*dir, "10.1.0.3"));
        assert_null(text_of(*dir, "10.1.0.5"));
        assert_non_null(text_of(*dir, "last_reserved_ip.0"));
        arena_done(&arena);
}

static void a_store_that_is_not_there_has_nothing_to_give_back(void **dir)
{
        release(*dir, "a");
        struct stat st;
        assert_int_equal(stat(path_of(*dir, ""), &st), -1);
        arena_done(&arena);
}

/* No two processes are given the same, and none is lost. */
static void many_at_once(void **dir)
{
        enum { CHILDREN = 30 };
        static const char ipam[] = "{'ranges':[[{'subnet':'10.1.0.0/24'}]]}";
        pid_t children[CHILDREN];
        for (int i = 0; i < CHILDREN; i++) {
                children[i] = fork();
                if (children[i] == 0) {
                        char given[64], id[16];
                        (void) snprintf(id, sizeof(id), "c%d", i);
                        _exit(allocate(*dir, ipam, id, given, sizeof(given)) != NULL);
                }
        }
        for (int i = 0; i < CHILDREN; i++) {
                int status = -1;
                assert_int_equal(waitpid(children[i], &status, 0), children[i]);
                assert_int_equal(status, 0);
        }
        for (int i = 0; i < CHILDREN; i++) {
                char name[20];
                (void) snprintf(name, sizeof(name), "10.1.0.%d", i + 2);
                assert_non_null(text_of(*dir, name));
        }
        arena_done(&arena);
}

static void a_full_disk_and_one_that_is_read_only_are_told(void **dir)
{
        char *place = path_of(*dir, "");
        assert_int_equal(mkdir(place, 0755), 0);
        if (mount("small", place, "tmpfs", 0, "size=64k,nr_inodes=4") < 0)
                skip(); /* not root */
        assert_gives("10.1.0.2/24", *dir, SMALL, "a");
        assert_refuses(ERROR_RESOURCE_EXHAUSTED, "No space left", *dir, SMALL, "b");
        assert_null(text_of(*dir, "10.1.0.3"));
        release(*dir, "a");
        assert_null(text_of(*dir, "10.1.0.2"));
        assert_int_equal(mount(NULL, place, NULL, MS_REMOUNT | MS_RDONLY, NULL), 0);
        assert_refuses(ERROR_INTERNAL, "Read-only file system", *dir, SMALL, "b");
        assert_int_equal(umount(place), 0);
        arena_done(&arena);
}

static void a_failure_anywhere_leaves_no_lease(void **dir)
{
        static const char ipam[] = "{'ranges':[[{'subnet':'10.1.0.0/24'}],[{'subnet':'fd00::/64'}]]}";
        char given[200];
        unsigned n = 0;
        int hit;
        do {
                char id[16];
                (void) snprintf(id, sizeof(id), "c%u", ++n);
                error_inject(n);
                struct error *e = allocate(*dir, ipam, id, given, sizeof(given));
                hit = error_inject_hit();
                error_inject(0);
                struct store store;
                assert_ok(store_open(*dir, "net", false, &store));
                struct error *none = store_check(&store, id, "eth0");
                assert_true((e != NULL) == (none != NULL));
                error_free(none);
                error_free(e);
                store_close(&store);
        } while (hit && n < 1000);
        arena_done(&arena);
}

/* Whether the store believes that its index is whole; and what a link of it leads to, or NULL. */
static bool index_is_whole(const char *dir)
{
        struct store store;
        assert_ok(store_open(dir, "net", true, &store));
        bool whole = store.index.is_whole;
        store_close(&store);
        return whole;
}

static char *link_path(const char *dir, const char *id, const char *ifname, unsigned n)
{
        return arena_format(&arena, "%s/net/" INDEX_NAME "/%016llx.%u", dir,
                            (unsigned long long) index_hash(id, ifname), n);
}

static const char *link_of(const char *dir, const char *id, const char *ifname, unsigned n)
{
        char *target = arena_take(&arena, 100);
        return readlink(link_path(dir, id, ifname, n), target, 99) < 0 ? NULL : target;
}

static void put_in_place(const char *dir, const char *name, const char *text)
{
        int fd = open(path_of(dir, name), O_WRONLY | O_TRUNC);
        assert_true(fd >= 0);
        assert_int_equal(write(fd, text, strlen(text)), strlen(text));
        (void) close(fd);
}

#define DUAL "{'ranges':[[{'subnet':'10.1.0.0/24'}],[{'subnet':'fd00::/64'}]]}"

static void a_whole_index_is_all_that_is_read(void **dir)
{
        assert_gives("10.1.0.2/24 fd00::2/64", *dir, DUAL, "a");
        assert_true(index_is_whole(*dir));
        assert_string_equal(link_of(*dir, "a", "eth0", 0), "../10.1.0.2");
        assert_string_equal(link_of(*dir, "a", "eth0", 1), "../fd00::2");
        /* What nobody does: only one who reads all leases would see it. */
        put_in_place(*dir, "10.1.0.2", "b\r\neth0");
        assert_gives("10.1.0.3/24 fd00::3/64", *dir, DUAL, "b");
        put_in_place(*dir, "10.1.0.2", "a\r\neth0");
        release(*dir, "a");
        assert_null(link_of(*dir, "a", "eth0", 0));
        assert_null(text_of(*dir, "10.1.0.2"));
        assert_null(text_of(*dir, "fd00::2"));
        assert_non_null(text_of(*dir, "fd00::3"));
        assert_true(index_is_whole(*dir));
        arena_done(&arena);
}

static void leases_of_others_are_found_and_learnt(void **dir)
{
        assert_gives("10.1.0.2/24", *dir, SMALL, "a");
        put(*dir, "10.1.0.3", "theirs\r\neth0");
        put(*dir, "10.1.0.9", "old");
        assert_false(index_is_whole(*dir));
        assert_refuses(ERROR_ALREADY_EXISTS, "10.1.0.3 has been allocated to theirs", *dir, SMALL, "theirs");
        assert_false(index_is_whole(*dir)); /* a refusal changes nothing */
        assert_gives("10.1.0.4/24", *dir, SMALL, "b");
        assert_true(index_is_whole(*dir));
        assert_string_equal(link_of(*dir, "theirs", "eth0", 0), "../10.1.0.3");
        assert_string_equal(link_of(*dir, "old", "", 0), "../10.1.0.9");
        assert_refuses(ERROR_ALREADY_EXISTS, "10.1.0.3 has been allocated to theirs", *dir, SMALL, "theirs");
        release(*dir, "theirs");
        release(*dir, "old");
        assert_null(text_of(*dir, "10.1.0.3"));
        assert_null(text_of(*dir, "10.1.0.9"));
        assert_int_equal(unlink(path_of(*dir, "10.1.0.2")), 0); /* by hand: its link leads nowhere */
        release(*dir, "b");
        assert_null(link_of(*dir, "a", "eth0", 0));
        assert_true(index_is_whole(*dir));
        arena_done(&arena);
}

static void damage(const char *dir, unsigned how)
{
        char *link = link_path(dir, "a", "eth0", 0);
        if (how == 0)
                assert_int_equal(unlink(link), 0);
        if (how == 1) /* that of the other family stays, with a gap before it */
                assert_int_equal(unlink(link) | unlink(path_of(dir, "10.1.0.2")), 0);
        if (how == 2)
                assert_int_equal(unlink(link) | symlink("../10.1.0.3", link), 0);
        if (how == 3)
                assert_int_equal(unlink(link) | symlink("/etc/passwd", link), 0);
        if (how == 4)
                assert_int_equal(rename(link, link_path(dir, "x", "eth0", 0)), 0);
        if (how == 5)
                assert_int_equal(rename(link, arena_format(&arena, "%s.more", link)), 0);
        if (how == 6)
                assert_int_equal(mkdir(arena_format(&arena, "%s.d", link), 0755), 0);
        if (how == 7)
                assert_int_equal(symlink("../10.1.0.2", link_path(dir, "a", "eth0", 7)), 0);
        if (how == 8)
                assert_int_equal(rename(path_of(dir, INDEX_NAME), path_of(dir, "moved")), 0);
        if (how == 9) {
                assert_int_equal(rename(path_of(dir, INDEX_NAME), path_of(dir, "moved")), 0);
                put(dir, INDEX_NAME, "a file");
        }
}

static void a_damaged_index_is_mended_or_left(void **dir)
{
        for (unsigned how = 0; how < 10; how++) {
                bool is_left = how == 6 || how == 9; /* what is not ours to remove */
                char *base = arena_format(&arena, "%s/%u", (char *) *dir, how);
                assert_int_equal(mkdir(base, 0755), 0);
                assert_gives("10.1.0.2/24 fd00::2/64", base, DUAL, "a");
                assert_gives("10.1.0.3/24 fd00::3/64", base, DUAL, "b");
                damage(base, how);
                assert_false(index_is_whole(base));
                assert_refuses(ERROR_ALREADY_EXISTS, "allocated to a", base, DUAL, "a");
                assert_gives("10.1.0.4/24 fd00::4/64", base, DUAL, "c");
                assert_true(index_is_whole(base) == !is_left);
                release(base, "a");
                assert_null(text_of(base, "10.1.0.2"));
                assert_null(text_of(base, "fd00::2"));
                release(base, "b");
                release(base, "c");
                assert_null(text_of(base, "fd00::3"));
                assert_true(index_is_whole(base) == !is_left);
        }
        arena_done(&arena);
}

/* By hand, as if all that was changed had been changed by the store. */
static void mark(const char *dir)
{
        const struct timespec times[] = { { .tv_nsec = UTIME_OMIT },
                                          { .tv_sec = 1000, .tv_nsec = INDEX_MARK_NS } };
        assert_int_equal(utimensat(AT_FDCWD, path_of(dir, INDEX_NAME), times, 0), 0);
        assert_int_equal(utimensat(AT_FDCWD, path_of(dir, ""), times, 0), 0);
        assert_true(index_is_whole(dir));
}

static void owners_of_one_hash_keep_their_own(void **dir)
{
        for (unsigned first = 0; first < 2; first++) {
                char *base = arena_format(&arena, "%s/%u", (char *) *dir, first);
                assert_int_equal(mkdir(base, 0755), 0);
                assert_gives("10.1.0.2/24", base, SMALL, "a");
                assert_gives("10.1.0.3/24", base, SMALL, "b");
                if (first == 0) {
                        assert_int_equal(
                                rename(link_path(base, "a", "eth0", 0), link_path(base, "a", "eth0", 1)), 0);
                        assert_int_equal(symlink("../10.1.0.3", link_path(base, "a", "eth0", 0)), 0);
                } else {
                        assert_int_equal(symlink("../10.1.0.3", link_path(base, "a", "eth0", 1)), 0);
                }
                mark(base);
                release(base, "a");
                assert_null(text_of(base, "10.1.0.2"));
                assert_non_null(text_of(base, "10.1.0.3"));
                assert_string_equal(link_of(base, "a", "eth0", 0), "../10.1.0.3");
                assert_null(link_of(base, "a", "eth0", 1));
        }
        arena_done(&arena);
}

/* Wherever a call ends, the next one does not believe the index before it has read all. */
static void a_kill_leaves_an_index_that_is_not_believed(void **dir)
{
        static const char *const points[] = { "bridge.store.reserved", "bridge.store.given",
                                              "bridge.store.indexed", "bridge.store.released" };
#ifndef SKIFF_FAULTS
        skip();
#endif
        for (size_t i = 0; i < LENGTH(points); i++) {
                char *base = arena_format(&arena, "%s/%zu", (char *) *dir, i), given[100];
                int status = 0;
                assert_int_equal(mkdir(base, 0755), 0);
                assert_gives("10.1.0.2/24 fd00::2/64", base, DUAL, "a");
                pid_t pid = fork();
                if (pid == 0) {
                        (void) setenv("SKIFF_FAULT", arena_format(&arena, "%s=kill", points[i]), 1);
                        if (i == 3)
                                release(base, "a");
                        else
                                error_free(allocate(base, DUAL, "k", given, sizeof(given)));
                        _exit(0);
                }
                assert_int_equal(waitpid(pid, &status, 0), pid);
                assert_true(WIFSIGNALED(status));
                assert_false(index_is_whole(base));
                release(base, "k");
                release(base, "a");
                for (unsigned last = 2; last < 4; last++) {
                        assert_null(text_of(base, arena_format(&arena, "10.1.0.%u", last)));
                        assert_null(text_of(base, arena_format(&arena, "fd00::%u", last)));
                }
                assert_true(index_is_whole(base));
        }
        arena_done(&arena);
}

static void ranges_are_checked(void **state)
{
        (void) state;
        static const struct {
                const char *ipam, *says;
        } cases[] = {
                { "{}", "no IP ranges specified" },
                { "{'ranges':[[{'subnet':'10.1.0.0/31'}]]}", "too small" },
                { "{'ranges':[[{'subnet':'10.1.0.0/32'}]]}", "too small" },
                { "{'ranges':[[{'subnet':'10.1.0.1/24'}]]}", "host bits" },
                { "{'ranges':[[{'subnet':'10.1.0.0'}]]}", "not an address with a prefix" },
                { "{'ranges':[[{'subnet':'10.1.0.0/33'}]]}", "not an address with a prefix" },
                { "{'ranges':[[{'subnet':'10.1.0.0/24','rangeStart':'10.2.0.1'}]]}",
                  "rangeStart 10.2.0.1 is not in" },
                { "{'ranges':[[{'subnet':'10.1.0.0/24','rangeEnd':'10.2.0.1'}]]}",
                  "rangeEnd 10.2.0.1 is not in" },
                { "{'ranges':[[{'subnet':'10.1.0.0/24','rangeStart':'10.1.0.9','rangeEnd':'10.1.0.8'}]]}",
                  "no address to give" },
                { "{'ranges':[[{'subnet':'10.1.0.0/24','rangeStart':'10.1.0.1','rangeEnd':'10.1.0.1'}]]}",
                  "no address to give" },
                { "{'ranges':[[{'subnet':'10.1.0.0/24'},{'subnet':'10.1.0.0/25'}]]}", "overlaps" },
                { "{'ranges':[[{'subnet':'10.1.0.0/24'}],[{'subnet':'10.1.0.0/25'}]]}", "overlaps" },
                { "{'ranges':[[{'subnet':'10.1.0.0/24'},{'subnet':'fd00::/64'}]]}", "mismatched" },
                { "{'ranges':[{'subnet':'10.1.0.0/24'}]}", "no list of ranges" },
                { "{'ranges':'10.1.0.0/24'}", "\"ranges\" is not a list" },
                { "{'ranges':[[{'subnet':7}]]}", "\"subnet\" is not text" },
                { "{'subnet':'10.1.0.0/24','routes':[{'gw':'10.1.0.1'}]}", "without \"dst\"" },
        };
        for (size_t i = 0; i < LENGTH(cases); i++) {
                struct config config;
                assert_fails(ERROR_INVALID_ARGUMENT, cases[i].says, parse(cases[i].ipam, &config));
        }
        arena_done(&arena);
}

UNIT_MAIN(IN_TMPDIR(addresses_go_round_and_a_freed_one_comes_last), IN_TMPDIR(files_are_those_of_host_local),
          IN_TMPDIR(the_gateway_is_left_out_and_ranges_follow_each_other),
          IN_TMPDIR(a_full_second_set_gives_the_first_back), IN_TMPDIR(an_interface_has_an_address_once),
          IN_TMPDIR(asked_addresses_are_given_or_refused), IN_TMPDIR(torn_files_are_passed_over),
          IN_TMPDIR(gc_keeps_what_is_valid), IN_TMPDIR(a_store_that_is_not_there_has_nothing_to_give_back),
          IN_TMPDIR(many_at_once), IN_TMPDIR(a_full_disk_and_one_that_is_read_only_are_told),
          IN_TMPDIR(a_failure_anywhere_leaves_no_lease), IN_TMPDIR(a_whole_index_is_all_that_is_read),
          IN_TMPDIR(leases_of_others_are_found_and_learnt), IN_TMPDIR(a_damaged_index_is_mended_or_left),
          IN_TMPDIR(owners_of_one_hash_keep_their_own),
          IN_TMPDIR(a_kill_leaves_an_index_that_is_not_believed), TEST(ranges_are_checked))
