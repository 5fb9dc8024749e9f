#include "images/puller/handle.h"
#include <curl/curl.h>
#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>

enum { IDLE_MAX = 4 };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static CURL *idle[IDLE_MAX];
static size_t n_idle;

void *handle_take(void)
{
        (void) pthread_mutex_lock(&lock);
        CURL *curl = n_idle ? idle[--n_idle] : NULL;
        (void) pthread_mutex_unlock(&lock);
        return curl ? curl : curl_easy_init();
}

void handle_give(void *curl)
{
        curl_easy_reset(curl); /* keeps the connections */
        (void) pthread_mutex_lock(&lock);
        bool kept = n_idle < IDLE_MAX;
        if (kept)
                idle[n_idle++] = curl;
        (void) pthread_mutex_unlock(&lock);
        if (!kept)
                curl_easy_cleanup(curl);
}
