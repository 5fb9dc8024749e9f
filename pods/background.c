#include "pods/background.h"
#include "base/log.h"
#include "pods/table.h"

struct job {
        struct node *node;
        struct sandbox *pod;         /* a reference; NULL for a container's */
        struct container *container; /* likewise */
        struct error *(*node_work)(struct node *node);
        struct error *(*pod_work)(struct sandbox *pod);
        struct error *(*container_work)(struct container *container);
        const char *what;
};

static void job_log(const struct job *job, struct error *e)
{
        const char *noun = job->pod ? "pod" : job->container ? "container" : NULL;
        log_error(LOG_LEVEL_WARN, e, job->what, noun,
                  job->pod         ? job->pod->id
                  : job->container ? job->container->id
                                   : NULL);
}

static struct error *job_work(const struct job *job)
{
        if (job->pod)
                return job->pod_work(job->pod);
        return job->container ? job->container_work(job->container) : job->node_work(job->node);
}

/* The node may be freed as soon as the count says so: nothing of it is touched afterwards. */
static void job_end(struct job *job)
{
        struct node *node = job->node;
        sandbox_unref(job->pod);
        container_unref(job->container);
        free(job);
        (void) pthread_mutex_lock(&node->lock);
        node->background--;
        (void) pthread_cond_broadcast(&node->changed);
        (void) pthread_mutex_unlock(&node->lock);
}

static void job_run(void *argument)
{
        struct job *job = argument;
        job_log(job, job_work(job));
        job_end(job);
}

static void job_start(const struct job *template)
{
        struct job *job = NEW(struct job);
        struct node *node = template->node;
        *job = *template;
        (void) pthread_mutex_lock(&node->lock);
        bool closing = node->closing;
        node->background++;
        (void) pthread_mutex_unlock(&node->lock);
        struct error *e = closing ? NULL : pool_run(node->config.pool, POOL_POD, job_run, job);
        if (!closing && !e)
                return;
        job_log(job, e);
        job_end(job);
}

void background_pod(struct sandbox *pod, struct error *(*work)(struct sandbox *pod), const char *what)
{
        const struct job job = { .node = pod->node, .pod = sandbox_ref(pod), .pod_work = work, .what = what };
        job_start(&job);
}

void background_container(struct container *container, struct error *(*work)(struct container *container),
                          const char *what)
{
        const struct job job = {
                .node = container->pod->node, .container = container, .container_work = work, .what = what
        };
        job_start(&job);
}

void background_node(struct node *node, struct error *(*work)(struct node *node), const char *what)
{
        const struct job job = { .node = node, .node_work = work, .what = what };
        job_start(&job);
}
