#include "images/flight.h"
#include "base/clock.h"
#include <poll.h>
#include <pthread.h>
#include <string.h>
#include <sys/eventfd.h>

enum { ENDED_MAX = 64 };

struct flight {
        char *key;
        size_t references; /* of the list, of the leader and of each who waits; below the lock */
        int ended_fd;      /* readable for ever once it has ended */
        int64_t ended_ns;  /* monotonic; 0: it is under way */
        bool is_done;      /* what follows counts; false after an end: somebody else is to do it */
        enum error_code code;
        char *message, *result; /* message: NULL for a success */
        struct flight *next;
};

struct flights {
        pthread_mutex_t lock;
        struct flight *first; /* under way, and the last that have ended: the newest first */
};

struct flights *flights_new(void)
{
        struct flights *flights = NEW(struct flights);
        (void) pthread_mutex_init(&flights->lock, NULL);
        return flights;
}

static void flight_free(struct flight *flight)
{
        closep(&flight->ended_fd);
        free(flight->key);
        free(flight->message);
        free(flight->result);
        free(flight);
}

void flights_free(struct flights *flights)
{
        if (!flights)
                return;
        for (struct flight *flight = flights->first, *next; flight; flight = next) {
                next = flight->next;
                flight_free(flight);
        }
        (void) pthread_mutex_destroy(&flights->lock);
        free(flights);
}

static void flight_drop(struct flights *flights, struct flight *flight)
{
        (void) pthread_mutex_lock(&flights->lock);
        bool is_last = --flight->references == 0;
        (void) pthread_mutex_unlock(&flights->lock);
        if (is_last)
                flight_free(flight);
}

static bool counts_for(const struct flight *flight, const char *key, int64_t asked_ns)
{
        return strcmp(flight->key, key) == 0 &&
               (!flight->ended_ns || (flight->is_done && flight->ended_ns >= asked_ns));
}

/* The one that counts with a reference more, or a new one (*leads) that is under way from now on. */
static struct flight *flight_join(struct flights *flights, const char *key, int64_t asked_ns, int fresh_fd,
                                  bool *leads)
{
        (void) pthread_mutex_lock(&flights->lock);
        struct flight *flight = flights->first;
        while (flight && !counts_for(flight, key, asked_ns))
                flight = flight->next;
        *leads = !flight;
        if (*leads) {
                flight = NEW(struct flight);
                *flight = (struct flight){
                        .key = dup_string(key), .references = 1, .ended_fd = fresh_fd, .next = flights->first
                };
                flights->first = flight;
        }
        flight->references++;
        (void) pthread_mutex_unlock(&flights->lock);
        return flight;
}

/* *again: it was not done. */
static struct error *flight_wait(struct flights *flights, struct flight *flight, const struct wait *wait,
                                 char **result, bool *again)
{
        struct error *e = NULL;
        TRY(wait_fd(wait, flight->ended_fd, POLLIN, "wait for the same pull of another"));
        (void) pthread_mutex_lock(&flights->lock);
        *again = !flight->is_done;
        if (!*again && flight->message)
                e = error_new(flight->code, "%s", flight->message);
        else if (!*again)
                *result = dup_string(flight->result);
        (void) pthread_mutex_unlock(&flights->lock);
        return e;
}

struct error *flight_enter(struct flights *flights, const char *key, int64_t asked_ns,
                           const struct wait *wait, struct flight **lead, char **result)
{
        *lead = NULL;
        for (bool again = true; again;) {
                bool leads;
                _cleanup_(closep) int fresh_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
                if (fresh_fd < 0)
                        return error_errno(errno, "eventfd");
                struct flight *flight = flight_join(flights, key, asked_ns, fresh_fd, &leads);
                if (leads) {
                        fresh_fd = -1;
                        *lead = flight;
                        return NULL;
                }
                struct error *e = flight_wait(flights, flight, wait, result, &again);
                flight_drop(flights, flight);
                TRY(e);
        }
        return NULL;
}

/* The oldest of more than so many that have ended, taken out of the list; NULL where there are not more. */
static struct flight *take_oldest(struct flights *flights)
{
        struct flight **oldest = NULL;
        size_t n = 0;
        for (struct flight **at = &flights->first; *at; at = &(*at)->next)
                if ((*at)->ended_ns) {
                        oldest = at;
                        n++;
                }
        if (n <= ENDED_MAX)
                return NULL;
        struct flight *taken = *oldest;
        *oldest = taken->next;
        return taken;
}

void flight_end(struct flights *flights, struct flight *flight, const struct error *e, const char *result)
{
        enum error_code code = e ? error_code_of(e) : ERROR_UNKNOWN;
        (void) pthread_mutex_lock(&flights->lock);
        flight->is_done = code != ERROR_CANCELLED && code != ERROR_DEADLINE_EXCEEDED;
        flight->code = code;
        flight->message = dup_string(e ? error_message(e) : NULL);
        flight->result = dup_string(result);
        flight->ended_ns = clock_monotonic_ns();
        struct flight *oldest = take_oldest(flights);
        (void) pthread_mutex_unlock(&flights->lock);
        (void) eventfd_write(flight->ended_fd, 1);
        flight_drop(flights, flight);
        if (oldest)
                flight_drop(flights, oldest);
}
