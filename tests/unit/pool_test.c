#include "base/pool.h"
#include "tests/unit/unit.h"
#include <dirent.h>
#include <stdatomic.h>
#include <unistd.h>

struct counted {
        atomic_int running, most, done;
};

static void work(void *argument)
{
        struct counted *c = argument;
        int now = atomic_fetch_add(&c->running, 1) + 1;
        int most = atomic_load(&c->most);
        while (now > most && !atomic_compare_exchange_weak(&c->most, &most, now))
                ;
        usleep(2000);
        atomic_fetch_sub(&c->running, 1);
        atomic_fetch_add(&c->done, 1);
}

static void a_kind_stays_below_its_cap_and_all_work_is_done(void **state)
{
        (void) state;
        struct pool *pool = NULL;
        struct counted pods = { 0 }, quick = { 0 };
        assert_ok(pool_open((size_t[POOL_KINDS]){ 4, 3, 2, 1 }, &pool));
        for (int i = 0; i < 60; i++)
                assert_ok(pool_run(pool, i % 2 ? POOL_POD : POOL_QUICK, work, i % 2 ? &pods : &quick));
        pool_free(pool);
        assert_int_equal(atomic_load(&pods.done) + atomic_load(&quick.done), 60);
        assert_in_range(atomic_load(&pods.most), 1, 3);
        assert_in_range(atomic_load(&quick.most), 1, 4);
}

static void what_enters_counts_against_the_cap(void **state)
{
        (void) state;
        struct pool *pool = NULL;
        struct counted pods = { 0 };
        assert_ok(pool_open((size_t[POOL_KINDS]){ 1, 2, 1, 1 }, &pool));
        assert_true(pool_enter(pool, POOL_POD));
        assert_true(pool_enter(pool, POOL_POD));
        assert_false(pool_enter(pool, POOL_POD));
        assert_true(pool_enter(pool, POOL_QUICK));
        pool_leave(pool, POOL_QUICK);
        pool_leave(pool, POOL_POD);
        for (int i = 0; i < 5; i++)
                assert_ok(pool_run(pool, POOL_POD, work, &pods));
        while (atomic_load(&pods.done) < 5)
                usleep(1000);
        assert_int_equal(atomic_load(&pods.most), 1);
        pool_leave(pool, POOL_POD);
        pool_free(pool);
}

static atomic_int gate;
static void blocked(void *argument)
{
        (void) argument;
        while (!atomic_load(&gate))
                usleep(1000);
}

static void quick_work_does_not_wait_behind_slow_kinds(void **state)
{
        (void) state;
        struct pool *pool = NULL;
        struct counted quick = { 0 };
        assert_ok(pool_open((size_t[POOL_KINDS]){ 2, 2, 2, 1 }, &pool));
        for (int i = 0; i < 10; i++)
                assert_ok(pool_run(pool, POOL_PULL, blocked, NULL));
        assert_ok(pool_run(pool, POOL_QUICK, work, &quick));
        for (int i = 0; i < 2000 && !atomic_load(&quick.done); i++)
                usleep(1000);
        assert_int_equal(atomic_load(&quick.done), 1);
        atomic_store(&gate, 1);
        pool_free(pool);
}

static size_t threads(void)
{
        size_t n = 0;
        _cleanup_(closedirp) DIR *dir = opendir("/proc/self/task");
        while (dir && readdir(dir))
                n++;
        return n;
}

static void what_waits_for_its_cap_makes_no_threads(void **state)
{
        (void) state;
        struct pool *pool = NULL;
        struct counted served = { 0 };
        atomic_store(&gate, 0);
        assert_ok(pool_open((size_t[POOL_KINDS]){ 2, 2, 2, 1 }, &pool));
        for (int i = 0; i < 500; i++)
                assert_ok(pool_run(pool, POOL_EXEC, blocked, NULL));
        size_t before = threads();
        for (int i = 0; i < 200; i++) {
                assert_ok(pool_run(pool, POOL_SERVER, work, &served));
                while (atomic_load(&served.done) <= i)
                        usleep(200);
        }
        assert_in_range(threads(), 1, before + 4);
        atomic_store(&gate, 1);
        pool_free(pool);
}

UNIT_MAIN(TEST(a_kind_stays_below_its_cap_and_all_work_is_done), TEST(what_enters_counts_against_the_cap),
          TEST(quick_work_does_not_wait_behind_slow_kinds), TEST(what_waits_for_its_cap_makes_no_threads))
