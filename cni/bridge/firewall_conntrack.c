#include "cni/bridge/firewall_conntrack.h"
#include <arpa/inet.h>
#include <errno.h>
#include <linux/netfilter/nf_conntrack_common.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_conntrack.h>
#include <string.h>

#define TUPLE_BYTES 96
#define AT_ONCE ((size_t) 256) /* in one send */

/* What CTA_FILTER_ORIG_FLAGS may hold (net/netfilter/nf_internals.h), of which a kernel before 5.8 knows nothing. */
enum { COMPARE_PROTOCOL = 1 << 3, COMPARE_DESTINATION_PORT = 1 << 5 };

struct flow {
        uint8_t tuple[TUPLE_BYTES];
        size_t tuple_bytes;
        uint32_t id;
        uint16_t zone;
        bool has_id, has_zone;
};

struct forgetting {
        const struct fw_flows *wanted;
        struct flow *all;
        size_t n;
};

bool fw_has_flows(uint8_t protocol)
{
        return protocol == IPPROTO_UDP || protocol == IPPROTO_SCTP;
}

static const struct nlattr *inside(const struct nlattr *outer, uint16_t type)
{
        return outer ? netlink_attribute(netlink_value(outer), netlink_length(outer), type) : NULL;
}

static bool holds(const struct nlattr *a, const void *bytes, size_t len_bytes)
{
        return a && netlink_length(a) >= len_bytes && memcmp(netlink_value(a), bytes, len_bytes) == 0;
}

static bool is_wanted(const struct fw_flows *f, const struct nlattr *tuple, const struct nlattr *status)
{
        const struct nlattr *proto = inside(tuple, CTA_TUPLE_PROTO), *ip = inside(tuple, CTA_TUPLE_IP);
        uint16_t port = htons(f->port);
        uint32_t bits = 0;
        if (status && netlink_length(status) >= sizeof(bits))
                memcpy(&bits, netlink_value(status), sizeof(bits));
        if (!holds(inside(proto, CTA_PROTO_NUM), &f->protocol, 1) ||
            !holds(inside(proto, CTA_PROTO_DST_PORT), &port, sizeof(port)) ||
            (f->only_mapped && !(ntohl(bits) & IPS_DST_NAT)))
                return false;
        return !f->host.family || holds(inside(ip, f->family == AF_INET ? CTA_IP_V4_DST : CTA_IP_V6_DST),
                                        f->host.bytes, address_length(&f->host));
}

static void collect(const struct nlmsghdr *message, void *context)
{
        struct forgetting *f = context;
        size_t fixed_bytes = sizeof(*message) + sizeof(struct nfgenmsg);
        if (message->nlmsg_len < fixed_bytes ||
            message->nlmsg_type != (NFNL_SUBSYS_CTNETLINK << 8 | IPCTNL_MSG_CT_NEW))
                return;
        const char *attributes = (const char *) message + fixed_bytes;
        size_t len_bytes = message->nlmsg_len - fixed_bytes;
        const struct nlattr *tuple = netlink_attribute(attributes, len_bytes, CTA_TUPLE_ORIG);
        const struct nlattr *status = netlink_attribute(attributes, len_bytes, CTA_STATUS);
        const struct nlattr *id = netlink_attribute(attributes, len_bytes, CTA_ID);
        const struct nlattr *zone = netlink_attribute(attributes, len_bytes, CTA_ZONE);
        if (!tuple || netlink_length(tuple) > TUPLE_BYTES || !is_wanted(f->wanted, tuple, status))
                return;
        if ((f->n & (f->n - 1)) == 0)
                f->all = grow_array(f->all, f->n ? 2 * f->n : 1, sizeof(*f->all));
        struct flow *flow = &f->all[f->n++];
        *flow = (struct flow){ .tuple_bytes = netlink_length(tuple) };
        memcpy(flow->tuple, netlink_value(tuple), flow->tuple_bytes);
        flow->has_id = id && netlink_length(id) == sizeof(flow->id);
        if (flow->has_id)
                memcpy(&flow->id, netlink_value(id), sizeof(flow->id));
        flow->has_zone = zone && netlink_length(zone) == sizeof(flow->zone);
        if (flow->has_zone)
                memcpy(&flow->zone, netlink_value(zone), sizeof(flow->zone));
}

static void begin(struct netlink *nl, uint8_t type, uint16_t flags, uint8_t family)
{
        struct nfgenmsg header = { .nfgen_family = family, .version = NFNETLINK_V0 };
        netlink_begin(nl, (uint16_t) (NFNL_SUBSYS_CTNETLINK << 8 | type), flags, &header, sizeof(header));
}

/* So that the kernel shows those of the port alone. */
static void put_filter(struct netlink *nl, const struct fw_flows *flows)
{
        uint16_t port = htons(flows->port);
        size_t tuple = netlink_nest(nl, CTA_TUPLE_ORIG);
        size_t proto = netlink_nest(nl, CTA_TUPLE_PROTO);
        netlink_put_u8(nl, CTA_PROTO_NUM, flows->protocol);
        netlink_put_u16(nl, CTA_PROTO_DST_PORT, port);
        netlink_nest_end(nl, proto);
        netlink_nest_end(nl, tuple);
        size_t filter = netlink_nest(nl, CTA_FILTER);
        netlink_put_u32(nl, CTA_FILTER_ORIG_FLAGS, COMPARE_PROTOCOL | COMPARE_DESTINATION_PORT);
        netlink_put_u32(nl, CTA_FILTER_REPLY_FLAGS, 0);
        netlink_nest_end(nl, filter);
}

static struct error *find(struct netlink *nl, struct forgetting *f, bool filtered, int *errnum)
{
        f->n = 0;
        begin(nl, IPCTNL_MSG_CT_GET, NLM_F_DUMP, f->wanted->family);
        if (filtered)
                put_filter(nl, f->wanted);
        return netlink_ask(nl, collect, f, errnum);
}

static struct error *forget_some(struct netlink *nl, const struct forgetting *f, size_t first, size_t n)
{
        int errnums[AT_ONCE] = { 0 };
        for (size_t i = first; i < first + n; i++) {
                const struct flow *flow = &f->all[i];
                begin(nl, IPCTNL_MSG_CT_DELETE, NLM_F_ACK, f->wanted->family);
                netlink_put(nl, CTA_TUPLE_ORIG | NLA_F_NESTED, flow->tuple, flow->tuple_bytes);
                if (flow->has_id)
                        netlink_put_u32(nl, CTA_ID, flow->id);
                if (flow->has_zone)
                        netlink_put_u16(nl, CTA_ZONE, flow->zone);
        }
        TRY(netlink_talk(nl, errnums, LENGTH(errnums)));
        for (size_t i = 0; i < n; i++)
                if (errnums[i] && errnums[i] != ENOENT) /* it may have ended */
                        return error_errno(errnums[i], "forget a flow to port %u", f->wanted->port);
        return NULL;
}

struct error *fw_forget(struct netlink *nl, const struct fw_flows *flows)
{
        struct forgetting f = { .wanted = flows };
        int errnum = 0;
        struct error *e = find(nl, &f, true, &errnum);
        if (!e && errnum)
                e = find(nl, &f, false, &errnum);
        for (size_t at = 0; !e && !errnum && at < f.n; at += AT_ONCE)
                e = forget_some(nl, &f, at, f.n - at < AT_ONCE ? f.n - at : AT_ONCE);
        free(f.all);
        return e;
}
