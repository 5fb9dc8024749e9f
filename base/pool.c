#include "base/pool.h"
#include <pthread.h>
#include <stdbool.h>
#include <time.h>

#define QUEUE_MAX 16384
#define IDLE_SECONDS 10
#define STACK_BYTES (512 * 1024)

struct work {
        struct work *next;
        void (*run)(void *);
        void *argument;
};

struct pool {
        pthread_mutex_t lock;
        pthread_cond_t wake, ended;
        struct {
                struct work *first, **last;
                size_t waiting, running, cap;
        } kinds[POOL_KINDS];
        size_t threads, idle, waiting;
        unsigned turn; /* the kind that is looked at first next time */
        bool closing;
};

struct error *pool_open(const size_t caps[POOL_KINDS], struct pool **out)
{
        struct pool *pool = NEW(struct pool);
        pthread_condattr_t monotonic;
        (void) pthread_mutex_init(&pool->lock, NULL);
        (void) pthread_condattr_init(&monotonic);
        (void) pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
        (void) pthread_cond_init(&pool->wake, &monotonic);
        (void) pthread_cond_init(&pool->ended, &monotonic);
        (void) pthread_condattr_destroy(&monotonic);
        for (size_t i = 0; i < POOL_KINDS; i++) {
                pool->kinds[i].last = &pool->kinds[i].first;
                pool->kinds[i].cap = i == POOL_SERVER ? QUEUE_MAX : caps[i];
        }
        *out = pool;
        return NULL;
}

/* The next piece of work of a kind that is below its cap, kinds in turn; NULL when none may run now. */
static struct work *take_work(struct pool *pool, unsigned *kind)
{
        for (unsigned i = 0; i < POOL_KINDS; i++) {
                unsigned k = (pool->turn + i) % POOL_KINDS;
                struct work *work = pool->kinds[k].first;
                if (!work || pool->kinds[k].running >= pool->kinds[k].cap)
                        continue;
                pool->kinds[k].first = work->next;
                if (!work->next)
                        pool->kinds[k].last = &pool->kinds[k].first;
                pool->kinds[k].waiting--;
                pool->kinds[k].running++;
                pool->waiting--;
                pool->turn = k + 1;
                *kind = k;
                return work;
        }
        return NULL;
}

/* Waits for work; NULL when this thread should end. Called and returns with the lock held. */
static struct work *next_work(struct pool *pool, unsigned *kind)
{
        struct timespec until;
        (void) clock_gettime(CLOCK_MONOTONIC, &until);
        until.tv_sec += IDLE_SECONDS;
        for (;;) {
                struct work *work = take_work(pool, kind);
                if (work)
                        return work;
                if (pool->closing && pool->waiting == 0)
                        return NULL;
                pool->idle++;
                int timed_out = pthread_cond_timedwait(&pool->wake, &pool->lock, &until);
                pool->idle--;
                if (timed_out == ETIMEDOUT)
                        return take_work(pool, kind);
        }
}

static void *thread_main(void *argument)
{
        struct pool *pool = argument;
        unsigned kind = 0;
        (void) pthread_mutex_lock(&pool->lock);
        for (struct work *work; (work = next_work(pool, &kind));) {
                (void) pthread_mutex_unlock(&pool->lock);
                work->run(work->argument);
                free(work);
                (void) pthread_mutex_lock(&pool->lock);
                pool->kinds[kind].running--;
        }
        pool->threads--;
        (void) pthread_cond_broadcast(&pool->wake); /* the last piece of work is gone: others may end too */
        (void) pthread_cond_signal(&pool->ended);
        (void) pthread_mutex_unlock(&pool->lock);
        return NULL;
}

static int thread_start(struct pool *pool)
{
        pthread_t thread;
        pthread_attr_t attributes;
        (void) pthread_attr_init(&attributes);
        (void) pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
        (void) pthread_attr_setstacksize(&attributes, STACK_BYTES);
        int errnum = pthread_create(&thread, &attributes, thread_main, pool);
        (void) pthread_attr_destroy(&attributes);
        return errnum;
}

/* What waits and may run now: the rest waits for its kind's cap, and more threads would not help it. */
static size_t runnable(const struct pool *pool)
{
        size_t n = 0;
        for (size_t i = 0; i < POOL_KINDS; i++) {
                size_t running = pool->kinds[i].running, cap = pool->kinds[i].cap;
                size_t room = cap > running ? cap - running : 0;
                n += pool->kinds[i].waiting < room ? pool->kinds[i].waiting : room;
        }
        return n;
}

/* With the lock held. A thread that cannot be started matters only when there is none at all. */
static struct error *ensure_thread(struct pool *pool)
{
        if (pool->idle >= runnable(pool))
                return NULL;
        int errnum = thread_start(pool);
        if (errnum && pool->threads == 0)
                return error_errno(errnum, "start a thread");
        pool->threads += errnum == 0;
        return NULL;
}

struct error *pool_run(struct pool *pool, enum pool_kind kind, void (*run)(void *), void *argument)
{
        struct work *work = NEW(struct work);
        *work = (struct work){ .run = run, .argument = argument };
        (void) pthread_mutex_lock(&pool->lock);
        struct error *e = NULL;
        if (pool->kinds[kind].waiting >= QUEUE_MAX) {
                e = error_new(ERROR_RESOURCE_EXHAUSTED, "%d operations are waiting already", QUEUE_MAX);
        } else {
                *pool->kinds[kind].last = work;
                pool->kinds[kind].last = &work->next;
                pool->kinds[kind].waiting++;
                pool->waiting++;
                /* Should no thread start, the work stays queued for the threads that there are. */
                e = ensure_thread(pool);
                (void) pthread_cond_signal(&pool->wake);
                work = NULL;
        }
        (void) pthread_mutex_unlock(&pool->lock);
        free(work);
        return e;
}

bool pool_enter(struct pool *pool, enum pool_kind kind)
{
        (void) pthread_mutex_lock(&pool->lock);
        bool free = pool->kinds[kind].running < pool->kinds[kind].cap && pool->kinds[kind].waiting == 0;
        if (free)
                pool->kinds[kind].running++;
        (void) pthread_mutex_unlock(&pool->lock);
        return free;
}

/* What waits for the cap is taken by this very thread, when it comes back for more. */
void pool_leave(struct pool *pool, enum pool_kind kind)
{
        (void) pthread_mutex_lock(&pool->lock);
        pool->kinds[kind].running--;
        (void) pthread_mutex_unlock(&pool->lock);
}

void pool_free(struct pool *pool)
{
        if (!pool)
                return;
        (void) pthread_mutex_lock(&pool->lock);
        pool->closing = true;
        (void) pthread_cond_broadcast(&pool->wake);
        while (pool->threads)
                (void) pthread_cond_wait(&pool->ended, &pool->lock);
        (void) pthread_mutex_unlock(&pool->lock);
        (void) pthread_mutex_destroy(&pool->lock);
        (void) pthread_cond_destroy(&pool->wake);
        (void) pthread_cond_destroy(&pool->ended);
        free(pool);
}
