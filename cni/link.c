/* Links by netlink, in a thread that enters the namespace: setns(2) moves the calling thread, and one that came back
 * wrongly would do a stranger's work in a pod's network. It ends instead. Source: setns(2), libnl-3. */
#include "cni/cni.h"
#include <net/if.h>
#include <netlink/route/link.h>
#include <netlink/socket.h>
#include <pthread.h>
#include <sched.h>

#define LOOPBACK_INDEX 1 /* of every network namespace */
#define STACK_BYTES (256 * 1024)

struct entering {
        int netns_fd;
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

static struct error *loopback_up(void)
{
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
                entering->error = loopback_up();
        return NULL;
}

struct error *netns_loopback_up(int netns_fd)
{
        struct entering entering = { .netns_fd = netns_fd };
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
