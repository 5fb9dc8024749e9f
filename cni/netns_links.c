/* Links by netlink and sysctls, in a thread that enters the namespace: setns(2) moves the calling thread, and one that came back
 * wrongly would do a stranger's work in a pod's network. It ends instead. Source: setns(2), libnl-3. */
#include "base/utf8.h"
#include "cni/cni.h"
#include <fcntl.h>
#include <linux/openat2.h>
#include <net/if.h>
#include <netlink/cache.h>
#include <netlink/route/link.h>
#include <netlink/socket.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>

#define LOOPBACK_INDEX 1 /* of every network namespace */
#define STACK_BYTES (256 * 1024)

struct entering {
        int netns_fd;
        struct error *(*work)(void *context);
        void *context;
        struct error *error;
};

static void socket_freep(struct nl_sock **socket)
{
        if (*socket)
                nl_socket_free(*socket);
}

static void link_freep(struct rtnl_link **link)
{
        if (*link)
                rtnl_link_put(*link);
}

static void cache_freep(struct nl_cache **cache)
{
        if (*cache)
                nl_cache_free(*cache);
}

static struct error *loopback_up(void *context)
{
        (void) context;
        _cleanup_(socket_freep) struct nl_sock *socket = nl_socket_alloc();
        _cleanup_(link_freep) struct rtnl_link *which = rtnl_link_alloc(), *change = rtnl_link_alloc();
        if (!socket || !which || !change)
                return error_errno(ENOMEM, "netlink");
        int failed = nl_connect(socket, NETLINK_ROUTE);
        if (failed)
                return error_new(ERROR_INTERNAL, "netlink: %s", nl_geterror(failed));
        rtnl_link_set_ifindex(which, LOOPBACK_INDEX);
        rtnl_link_set_flags(change, IFF_UP);
        failed = rtnl_link_change(socket, which, change, 0);
        if (failed)
                return error_new(ERROR_INTERNAL, "set lo up: %s", nl_geterror(failed));
        return NULL;
}

static void *thread_main(void *argument)
{
        struct entering *entering = argument;
        if (setns(entering->netns_fd, CLONE_NEWNET) < 0)
                entering->error = error_errno(errno, "enter the network namespace");
        else
                entering->error = entering->work(entering->context);
        return NULL;
}

static struct error *work_in(int netns_fd, struct error *(*work)(void *context), void *context)
{
        struct entering entering = { .netns_fd = netns_fd, .work = work, .context = context };
        pthread_t thread;
        pthread_attr_t attributes;
        (void) pthread_attr_init(&attributes);
        (void) pthread_attr_setstacksize(&attributes, STACK_BYTES);
        int errnum = pthread_create(&thread, &attributes, thread_main, &entering);
        (void) pthread_attr_destroy(&attributes);
        if (errnum)
                return error_errno(errnum, "start a thread");
        (void) pthread_join(thread, NULL);
        return entering.error;
}

struct error *netns_loopback_up(int netns_fd)
{
        return work_in(netns_fd, loopback_up, NULL);
}

struct links {
        struct netns_link *list;
        size_t n;
};

static void links_take(struct nl_object *object, void *context)
{
        struct links *links = context;
        struct rtnl_link *link = (struct rtnl_link *) object;
        const char *name = rtnl_link_get_name(link);
        if (rtnl_link_get_ifindex(link) == LOOPBACK_INDEX || !name)
                return;
        links->list = grow_array(links->list, links->n + 1, sizeof(*links->list));
        struct netns_link *to = &links->list[links->n++];
        *to = (struct netns_link){ .rx_bytes = rtnl_link_get_stat(link, RTNL_LINK_RX_BYTES),
                                   .rx_packets = rtnl_link_get_stat(link, RTNL_LINK_RX_PACKETS),
                                   .rx_errors = rtnl_link_get_stat(link, RTNL_LINK_RX_ERRORS),
                                   .rx_dropped = rtnl_link_get_stat(link, RTNL_LINK_RX_DROPPED),
                                   .tx_bytes = rtnl_link_get_stat(link, RTNL_LINK_TX_BYTES),
                                   .tx_packets = rtnl_link_get_stat(link, RTNL_LINK_TX_PACKETS),
                                   .tx_errors = rtnl_link_get_stat(link, RTNL_LINK_TX_ERRORS),
                                   .tx_dropped = rtnl_link_get_stat(link, RTNL_LINK_TX_DROPPED) };
        _cleanup_(freep) char *text =
                utf8_repair(name, sizeof(to->name) - 1); /* never longer than the name was */
        (void) snprintf(to->name, sizeof(to->name), "%s", text);
}

static struct error *links_read(void *context)
{
        _cleanup_(socket_freep) struct nl_sock *socket = nl_socket_alloc();
        _cleanup_(cache_freep) struct nl_cache *cache = NULL;
        if (!socket)
                return error_errno(ENOMEM, "netlink");
        int failed = nl_connect(socket, NETLINK_ROUTE);
        if (!failed)
                failed = rtnl_link_alloc_cache(socket, AF_UNSPEC, &cache);
        if (failed)
                return error_new(ERROR_INTERNAL, "read links: %s", nl_geterror(failed));
        nl_cache_foreach(cache, links_take, context);
        return NULL;
}

struct error *netns_links(int netns_fd, struct netns_link **out, size_t *n)
{
        struct links links = { NULL, 0 };
        struct error *e = work_in(netns_fd, links_read, &links);
        if (e) {
                free(links.list);
                return e;
        }
        *out = links.list;
        *n = links.n;
        return NULL;
}

struct setting {
        const char *path, *value;
};

/* /proc/sys/net is that of the thread that opens it. */
static struct error *setting_write(void *context)
{
        const struct setting *s = context;
        const struct open_how how = { .flags = O_WRONLY | O_CLOEXEC,
                                      .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS };
        _cleanup_(closep) int sys_fd = open("/proc/sys", O_PATH | O_DIRECTORY | O_CLOEXEC);
        if (sys_fd < 0)
                return error_errno(errno, "open /proc/sys");
        _cleanup_(closep) int fd = (int) syscall(SYS_openat2, sys_fd, s->path, &how, sizeof(how));
        size_t len_bytes = strlen(s->value);
        if (fd >= 0 && write(fd, s->value, len_bytes) == (ssize_t) len_bytes)
                return NULL;
        bool wrong =
                errno == ENOENT || errno == EINVAL || errno == ERANGE || errno == ENOTDIR || errno == EISDIR;
        struct error *e = error_errno(errno, "set sysctl %s to \"%.80s\"", s->path, s->value);
        return wrong ? error_as(e, ERROR_INVALID_ARGUMENT) : e;
}

struct error *netns_sysctl(int netns_fd, const char *path, const char *value)
{
        struct setting setting = { path, value };
        return work_in(netns_fd, setting_write, &setting);
}
