/* network-floor ADD ID NETNS | DEL ID ADDRESS: what an attachment takes of the bare kernel, for network-bench to measure plugins
 * against: a lease file under a lock, a veth of which one end is a port of the bridge, a set element each for masquerading,
 * for a port of the node and for its hairpin, and the pod's end with an address and a route; DEL takes the same away. Raw
 * netlink and no more: no configuration is read, nothing is looked at before, nothing undone; what the kernel refuses ends
 * it. The directory, the bridge and the table are FLOOR_DIR, FLOOR_BRIDGE and `inet bench-floor`: network-bench makes them.
 *
 * A veth is made with one queue, since the kernel waits for RCU where it cuts their number down; DEL leaves the link to a
 * child, since its end is waited for as well. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_link.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/rtnetlink.h>
#include <linux/veth.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#define TABLE "bench-floor"
#define INET 1 /* NFPROTO_INET */
#define UP 1U  /* IFF_UP, which linux/if.h and musl's net/if.h both want to define */
#define GATEWAY "10.212.0.1"
#define PREFIX 16

static union {
        struct nlmsghdr alignment;
        char bytes[8192];
} out;
static size_t len_bytes, message_at, n_acks;

static void must(int succeeds, const char *what)
{
        if (succeeds)
                return;
        perror(what);
        exit(1);
}

static void put_bytes(const void *bytes, size_t n)
{
        memcpy(out.bytes + len_bytes, bytes, n);
        len_bytes += (n + 3) & ~(size_t) 3;
}

static void put(uint16_t type, const void *bytes, size_t n)
{
        const struct nlattr head = { (uint16_t) (sizeof(head) + n), type };
        put_bytes(&head, sizeof(head));
        put_bytes(bytes, n);
}

static void put_text(uint16_t type, const char *text)
{
        put(type, text, strlen(text) + 1);
}

static void put_u32(uint16_t type, uint32_t value)
{
        put(type, &value, sizeof(value));
}

static size_t nest(uint16_t type)
{
        size_t at = len_bytes;
        put(type | NLA_F_NESTED, NULL, 0);
        return at;
}

static void end(size_t at)
{
        ((struct nlattr *) (void *) (out.bytes + at))->nla_len = (uint16_t) (len_bytes - at);
}

static void finish(void)
{
        ((struct nlmsghdr *) (void *) (out.bytes + message_at))->nlmsg_len =
                (uint32_t) (len_bytes - message_at);
}

static void begin(uint16_t type, uint16_t flags, const void *body, size_t n)
{
        struct nlmsghdr head = { .nlmsg_type = type, .nlmsg_flags = NLM_F_REQUEST | flags };
        message_at = len_bytes;
        n_acks += (flags & NLM_F_ACK) != 0;
        put_bytes(&head, sizeof(head));
        put_bytes(body, n);
}

static int netlink(int protocol)
{
        const struct sockaddr_nl kernel = { .nl_family = AF_NETLINK };
        int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, protocol);
        must(fd >= 0 && connect(fd, (const struct sockaddr *) &kernel, sizeof(kernel)) == 0, "netlink");
        return fd;
}

/* Sends what was put and reads all acknowledgements. */
static void talk(int fd, const char *what)
{
        static char answer[16384];
        must(send(fd, out.bytes, len_bytes, 0) == (ssize_t) len_bytes, what);
        while (n_acks) {
                ssize_t n = recv(fd, answer, sizeof(answer), 0);
                must(n > 0, what);
                for (struct nlmsghdr *m = (void *) answer; NLMSG_OK(m, n); m = NLMSG_NEXT(m, n)) {
                        const struct nlmsgerr *e = NLMSG_DATA(m);
                        errno = -e->error;
                        must(m->nlmsg_type == NLMSG_ERROR && !e->error, what);
                        n_acks--;
                }
        }
        len_bytes = 0;
}

/* --- the store --- */

static int lock_store(void)
{
        const char *dir = getenv("FLOOR_DIR");
        must(dir && chdir(dir) == 0, "FLOOR_DIR");
        int fd = open("lock", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
        must(fd >= 0 && flock(fd, LOCK_EX) == 0, "lock");
        return fd;
}

static void write_file(const char *name, int flags, const char *text)
{
        int fd = open(name, O_WRONLY | O_CREAT | flags | O_CLOEXEC, 0644);
        must(fd >= 0 && write(fd, text, strlen(text)) >= 0, name);
        (void) close(fd);
}

static struct in_addr take_address(const char *id, char text[16])
{
        struct in_addr address = { htonl(0x0ad40001) }; /* GATEWAY */
        int lock = lock_store(), last = open("last_reserved_ip.0", O_RDONLY | O_CLOEXEC);
        memset(text, 0, 16);
        if (last >= 0 && read(last, text, 15) > 0)
                must(inet_pton(AF_INET, text, &address) == 1, "last_reserved_ip.0");
        (void) close(last);
        do {
                address.s_addr = htonl(ntohl(address.s_addr) + 1);
                (void) inet_ntop(AF_INET, &address, text, 16);
        } while (access(text, F_OK) == 0);
        write_file(text, O_EXCL, id);
        write_file("last_reserved_ip.0", O_TRUNC, text);
        (void) close(lock);
        return address;
}

/* --- links --- */

/* Both ends, in two namespaces, the near one up and a port of the bridge. */
static void make_veth(int rt, const char *name, int netns, unsigned bridge)
{
        const struct ifinfomsg near = { .ifi_flags = UP, .ifi_change = UP }, far = { 0 };
        begin(RTM_NEWLINK, NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL, &near, sizeof(near));
        put_text(IFLA_IFNAME, name);
        put_u32(IFLA_MASTER, bridge);
        put_u32(IFLA_NUM_TX_QUEUES, 1);
        put_u32(IFLA_NUM_RX_QUEUES, 1);
        size_t info = nest(IFLA_LINKINFO);
        put_text(IFLA_INFO_KIND, "veth");
        size_t data = nest(IFLA_INFO_DATA), peer = nest(VETH_INFO_PEER);
        put_bytes(&far, sizeof(far));
        put_text(IFLA_IFNAME, "eth0");
        put_u32(IFLA_NUM_TX_QUEUES, 1);
        put_u32(IFLA_NUM_RX_QUEUES, 1);
        put_u32(IFLA_NET_NS_FD, (uint32_t) netns);
        end(peer);
        end(data);
        end(info);
        finish();
        talk(rt, "veth");
}

static unsigned index_of(int rt, const char *name)
{
        static char answer[16384];
        const struct ifinfomsg any = { 0 };
        begin(RTM_GETLINK, 0, &any, sizeof(any));
        put_text(IFLA_IFNAME, name);
        finish();
        must(send(rt, out.bytes, len_bytes, 0) > 0 && recv(rt, answer, sizeof(answer), 0) > 0, name);
        len_bytes = 0;
        const struct nlmsghdr *m = (void *) answer;
        must(m->nlmsg_type == RTM_NEWLINK, name);
        return (unsigned) ((const struct ifinfomsg *) NLMSG_DATA(m))->ifi_index;
}

static void set_hairpin(int rt, unsigned index)
{
        const struct ifinfomsg port = { .ifi_family = AF_BRIDGE, .ifi_index = (int) index };
        const uint8_t on = 1;
        begin(RTM_SETLINK, NLM_F_ACK, &port, sizeof(port));
        size_t info = nest(IFLA_PROTINFO);
        put(IFLA_BRPORT_MODE, &on, sizeof(on));
        end(info);
        finish();
        talk(rt, "hairpin");
}

static void set_up(int index)
{
        const struct ifinfomsg up = { .ifi_index = index, .ifi_flags = UP, .ifi_change = UP };
        begin(RTM_NEWLINK, NLM_F_ACK, &up, sizeof(up));
        finish();
}

static void configure_pod(struct in_addr address)
{
        const struct in_addr gateway = { htonl(0x0ad40001) };
        int sysctl = open("/proc/sys/net/ipv4/conf/eth0/arp_notify", O_WRONLY | O_CLOEXEC),
            rt = netlink(NETLINK_ROUTE);
        must(sysctl >= 0 && write(sysctl, "1", 1) == 1, "arp_notify");
        int index = (int) index_of(rt, "eth0");
        const struct ifaddrmsg a = { .ifa_family = AF_INET,
                                     .ifa_prefixlen = PREFIX,
                                     .ifa_index = (unsigned) index };
        const struct rtmsg route = { .rtm_family = AF_INET,
                                     .rtm_table = RT_TABLE_MAIN,
                                     .rtm_type = RTN_UNICAST };
        set_up(1);
        set_up(index);
        begin(RTM_NEWADDR, NLM_F_ACK | NLM_F_CREATE, &a, sizeof(a));
        put(IFA_LOCAL, &address, sizeof(address));
        put(IFA_ADDRESS, &address, sizeof(address));
        finish();
        begin(RTM_NEWROUTE, NLM_F_ACK | NLM_F_CREATE, &route, sizeof(route));
        put(RTA_GATEWAY, &gateway, sizeof(gateway));
        put_u32(RTA_OIF, (uint32_t) index);
        finish();
        talk(rt, "address and route");
}

/* --- set elements --- */

static void batch_mark(uint16_t type)
{
        const struct nfgenmsg head = { .res_id = htons(NFNL_SUBSYS_NFTABLES) };
        begin(type, 0, &head, sizeof(head));
        finish();
}

static void put_data(uint16_t type, const void *bytes, size_t n)
{
        size_t data = nest(type);
        put(NFTA_DATA_VALUE, bytes, n);
        end(data);
}

static void element(uint16_t type, const char *set, const void *key, size_t key_bytes, const void *value,
                    size_t value_bytes)
{
        const struct nfgenmsg head = { .nfgen_family = INET };
        begin((uint16_t) (NFNL_SUBSYS_NFTABLES << 8 | type), NLM_F_ACK | NLM_F_CREATE, &head, sizeof(head));
        put_text(NFTA_SET_ELEM_LIST_TABLE, TABLE);
        put_text(NFTA_SET_ELEM_LIST_SET, set);
        size_t list = nest(NFTA_SET_ELEM_LIST_ELEMENTS), one = nest(NFTA_LIST_ELEM);
        put_data(NFTA_SET_ELEM_KEY, key, key_bytes);
        if (value)
                put_data(NFTA_SET_ELEM_DATA, value, value_bytes);
        end(one);
        end(list);
        finish();
}

static void elements(int nf, uint16_t type, struct in_addr address)
{
        const struct {
                uint8_t protocol, pad[3];
                uint16_t port, pad2;
        } port = { .protocol = 6, .port = htons(17080) };
        const struct {
                struct in_addr address;
                uint16_t port, pad;
        } pod = { address, htons(80), 0 };
        struct {
                struct in_addr address;
                uint8_t protocol, pad[3];
                uint16_t port, pad2;
        } hairpin = { .address = address, .protocol = 6, .port = htons(80) };
        batch_mark(NFNL_MSG_BATCH_BEGIN);
        element(type, "pods", &address, sizeof(address), NULL, 0);
        element(type, "ports", &port, sizeof(port), type == NFT_MSG_NEWSETELEM ? &pod : NULL, sizeof(pod));
        element(type, "hairpins", &hairpin, sizeof(hairpin), NULL, 0);
        batch_mark(NFNL_MSG_BATCH_END);
        talk(nf, "elements");
}

/* --- commands --- */

static void host_name(const char *id, char name[16])
{
        (void) snprintf(name, 16, "floor%.9s", id);
}

static void add(const char *id, const char *netns_path)
{
        char name[16], text[16];
        int netns = open(netns_path, O_RDONLY | O_CLOEXEC), rt = netlink(NETLINK_ROUTE),
            nf = netlink(NETLINK_NETFILTER);
        must(netns >= 0, netns_path);
        host_name(id, name);
        make_veth(rt, name, netns, index_of(rt, getenv("FLOOR_BRIDGE")));
        set_hairpin(rt, index_of(rt, name));
        struct in_addr address = take_address(id, text);
        elements(nf, NFT_MSG_NEWSETELEM, address);
        must(setns(netns, CLONE_NEWNET) == 0, "setns");
        configure_pod(address);
        (void) puts(text);
}

static void del(const char *id, const char *text)
{
        char name[16];
        struct in_addr address = { 0 };
        int nf = netlink(NETLINK_NETFILTER), rt = netlink(NETLINK_ROUTE);
        must(inet_pton(AF_INET, text, &address) == 1, text);
        elements(nf, NFT_MSG_DELSETELEM, address);
        int lock = lock_store();
        must(unlink(text) == 0, text);
        (void) close(lock);
        host_name(id, name);
        pid_t child = (pid_t) syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);
        must(child >= 0, "clone");
        if (child)
                _exit(0);
        for (int fd = 0; fd < 3; fd++) /* whoever reads our output waits for no more */
                (void) close(fd);
        const struct ifinfomsg any = { 0 };
        begin(RTM_DELLINK, NLM_F_ACK, &any, sizeof(any));
        put_text(IFLA_IFNAME, name);
        finish();
        talk(rt, "link");
}

int main(int argc, char **argv)
{
        if (argc != 4) {
                (void) fputs("usage: network-floor ADD ID NETNS | DEL ID ADDRESS\n", stderr);
                return 64;
        }
        if (strcmp(argv[1], "ADD") == 0)
                add(argv[2], argv[3]);
        else
                del(argv[2], argv[3]);
        return 0;
}
