#include "cni/bridge/firewall.h"
#include "cni/bridge/firewall_conntrack.h"
#include "cni/bridge/firewall_elements.h"
#include "cni/bridge/link.h"
#include <arpa/inet.h>
#include <errno.h>
#include <linux/netfilter/nfnetlink.h>
#include <net/if.h>
#include <string.h>
#include <sys/socket.h>

#define ATTEMPTS 8 /* others may add and remove between two of them */

static void ignore_message(const struct nlmsghdr *message, void *context)
{
        (void) message;
        (void) context;
}

struct error *fw_open(struct fw **out)
{
        static const char sentence[] =
                "nftables cannot be used, which ipMasq, portMappings and macspoofchk need";
        _cleanup_(fw_freep) struct fw *fw = NEW(struct fw);
        int errnum = 0;
        TRY_AS(ERROR_FAILED_PRECONDITION, netlink_open_netfilter(&fw->nl));
        nft_begin(fw->nl, NFT_MSG_GETGEN, 0, AF_UNSPEC);
        TRY(netlink_ask(fw->nl, ignore_message, NULL, &errnum));
        if (errnum == EPERM)
                return error_new(ERROR_FAILED_PRECONDITION, "%s: CAP_NET_ADMIN is missing", sentence);
        if (errnum)
                return error_new(ERROR_FAILED_PRECONDITION, "%s: the kernel has none (CONFIG_NF_TABLES)",
                                 sentence);
        TRY(fw_find_schema(fw));
        *out = TAKE(fw);
        return NULL;
}

void fw_free(struct fw *fw)
{
        if (!fw)
                return;
        netlink_free(fw->nl);
        free(fw);
}

/* What an attachment is in the tables: its own elements, and the subnets that they lead to. */
struct plan {
        const struct fw_attachment *a;
        struct fw_owner owner;
        uint32_t mark;
        struct fw_elements elements;
        struct address marks[2];          /* IPv4, IPv6; family 0: none */
        const struct address *targets[2]; /* of ports */
        struct fw_conditions conditions[2];
        struct fw_group *groups; /* of ports with conditions */
        size_t n_groups;
};

static void plan_done(struct plan *plan)
{
        fw_elements_done(&plan->elements);
        free(plan->groups);
}

static bool is_unspecified(const struct address *a)
{
        static const uint8_t zeros[16];
        return memcmp(a->bytes, zeros, sizeof(zeros)) == 0;
}

static void plan_masquerade(struct plan *plan, const struct address *address)
{
        size_t six = address->family == AF_INET6;
        struct fw_element *e = fw_elements_add(&plan->elements, FW_MASQUERADE + (enum fw_set) six);
        memcpy(e->key, address->bytes, address_length(address));
}

/* from is NULL in the key of a port itself. */
static void port_key(const struct fw_port *port, bool one_address, const struct address *from, uint8_t *key)
{
        uint16_t number = htons(port->host_port);
        if (one_address) {
                memcpy(key, port->host.bytes, address_length(&port->host));
                key += address_length(&port->host);
        }
        if (from) {
                struct address network = address_network(from);
                memcpy(key, network.bytes, address_length(from));
                key += address_length(from);
        }
        key[0] = port->protocol;
        memcpy(key + 4, &number, sizeof(number));
}

static const char *protocol_name(uint8_t protocol)
{
        return protocol == IPPROTO_TCP ? "tcp" : protocol == IPPROTO_UDP ? "udp" : "sctp";
}

/* The last element, unless the attachment has it already: an address that is none in particular is said in more ways than
 * one. Errors: INVALID_ARGUMENT when it led elsewhere. */
static struct error *plan_settle(struct plan *plan, const struct fw_port *port)
{
        struct fw_elements *elements = &plan->elements;
        const struct fw_element *last = &elements->all[elements->n - 1];
        for (size_t i = 0; i + 1 < elements->n; i++) {
                const struct fw_element *e = &elements->all[i];
                if (e->set != last->set || memcmp(e->key, last->key, fw_sets[e->set].key_bytes) != 0)
                        continue;
                if (memcmp(e->value, last->value, fw_sets[e->set].value_bytes) != 0)
                        return error_new(ERROR_INVALID_ARGUMENT,
                                         "host port %u/%s is asked for twice, for different ports of the pod",
                                         port->host_port, protocol_name(port->protocol));
                elements->n--;
                return NULL;
        }
        return NULL;
}

static const struct address loopback = { .family = AF_INET, .bytes = { 127 }, .prefix = 8 };

static struct error *plan_snat(struct plan *plan, const struct fw_port *port, bool one_address,
                               const struct address *from)
{
        enum fw_set set = (one_address ? FW_HOST_SNAT : FW_SNAT) + (from->family == AF_INET6);
        port_key(port, one_address, from, fw_elements_add(&plan->elements, set)->key);
        return plan_settle(plan, port);
}

/* The group of a port, which may be a new one. */
static const struct fw_group *plan_group(struct plan *plan, const struct fw_port *port, bool one_address,
                                         size_t six)
{
        struct fw_group group = { .conditions = plan->conditions[six], .mark = plan->mark };
        group.family = plan->targets[six]->family;
        if (one_address)
                group.host = port->host;
        if (plan->a->snat)
                group.from[0] = plan->marks[six];
        if (plan->a->snat && !six && !plan->a->masq_all)
                group.from[1] = loopback;
        fw_group_name(&group);
        for (size_t i = 0; i < plan->n_groups; i++)
                if (memcmp(plan->groups[i].id, group.id, sizeof(group.id)) == 0)
                        return &plan->groups[i];
        plan->groups = grow_array(plan->groups, plan->n_groups + 1, sizeof(*plan->groups));
        plan->groups[plan->n_groups] = group;
        return &plan->groups[plan->n_groups++];
}

static struct error *plan_conditioned(struct plan *plan, const struct fw_port *port, bool one_address,
                                      size_t six)
{
        const struct address *target = plan->targets[six];
        const struct fw_group *group = plan_group(plan, port, one_address, six);
        size_t id_bytes = sizeof(group->id);
        uint16_t number = htons(port->container_port);
        struct fw_element *e = fw_elements_add(&plan->elements, FW_CONDITION_PORTS + (enum fw_set) six);
        memcpy(e->key, group->id, id_bytes);
        port_key(port, false, NULL, e->key + id_bytes);
        memcpy(e->value, target->bytes, address_length(target));
        memcpy(e->value + address_length(target), &number, sizeof(number));
        TRY(plan_settle(plan, port));
        for (size_t i = 0; i < LENGTH(group->from); i++) {
                if (!group->from[i].family)
                        continue;
                e = fw_elements_add(&plan->elements, FW_CONDITION_SNAT + (enum fw_set) six);
                memcpy(e->key, group->id, id_bytes);
                port_key(port, false, &group->from[i], e->key + id_bytes);
                TRY(plan_settle(plan, port));
        }
        return NULL;
}

static struct error *plan_port(struct plan *plan, const struct fw_port *port, size_t six)
{
        const struct address *target = plan->targets[six];
        bool one_address = port->host.family && !is_unspecified(&port->host);
        uint16_t number = htons(port->container_port);
        if (!target || (port->host.family && (port->host.family == AF_INET6) != six))
                return NULL;
        if (plan->conditions[six].n)
                return plan_conditioned(plan, port, one_address, six);
        struct fw_element *e = fw_elements_add(&plan->elements,
                                               (one_address ? FW_HOST_PORTS : FW_PORTS) + (enum fw_set) six);
        port_key(port, one_address, NULL, e->key);
        memcpy(e->value, target->bytes, address_length(target));
        memcpy(e->value + address_length(target), &number, sizeof(number));
        TRY(plan_settle(plan, port));
        if (!plan->a->snat)
                return NULL;
        TRY(plan_snat(plan, port, one_address, &plan->marks[six]));
        return six || plan->a->masq_all ? NULL : plan_snat(plan, port, one_address, &loopback);
}

static void plan_sender(struct plan *plan)
{
        struct fw_element *e = fw_elements_add(&plan->elements, FW_CHECKED);
        (void) snprintf((char *) e->key, 16, "%s", plan->a->host_ifname);
        e = fw_elements_add(&plan->elements, FW_SENDERS);
        (void) snprintf((char *) e->key, 16, "%s", plan->a->host_ifname);
        memcpy(e->key + 16, plan->a->mac, sizeof(plan->a->mac));
}

static struct error *plan_make(const struct fw_attachment *a, struct plan *plan)
{
        if (a->mark_masq_bit > 31)
                return error_new(ERROR_INVALID_ARGUMENT, "\"markMasqBit\" is %d, and a mark has 32 bits",
                                 a->mark_masq_bit);
        *plan = (struct plan){ .a = a, .owner = fw_owner_of(a->network, a->container_id, a->ifname) };
        if (a->n_ports) {
                TRY_WRAP(fw_conditions_parse(a->conditions_v4, AF_INET, &plan->conditions[0]),
                         "conditionsV4");
                TRY_WRAP(fw_conditions_parse(a->conditions_v6, AF_INET6, &plan->conditions[1]),
                         "conditionsV6");
        }
        plan->owner.pod = a->pod;
        plan->mark = 1U << (a->mark_masq_bit < 0 ? FW_MARK_BIT : a->mark_masq_bit);
        for (size_t i = 0; i < a->n_addresses; i++) {
                const struct address *address = &a->addresses[i];
                size_t six = address->family == AF_INET6;
                if (!plan->targets[six]) {
                        plan->targets[six] = address;
                        plan->marks[six] = *address;
                        if (a->masq_all)
                                plan->marks[six] = (struct address){ .family = address->family };
                }
                if (a->masquerade)
                        plan_masquerade(plan, address);
        }
        for (size_t i = 0; i < a->n_ports; i++)
                for (size_t six = 0; six < 2; six++)
                        TRY(plan_port(plan, &a->ports[i], six));
        if (a->spoof_check)
                plan_sender(plan);
        return NULL;
}

/* One try to put a plan in. */
struct attempt {
        struct fw *fw;
        struct plan *plan;
        bool with_schema;
        struct fw_elements stale; /* to go with the same transaction */
        size_t n_messages, index_at, n_index;
        int *errnums;
};

/* That are marked without conditions. */
static bool has_ports(const struct plan *plan, size_t six)
{
        return plan->a->n_ports && plan->a->snat && plan->targets[six] && !plan->conditions[six].n;
}

/* Those that are wanted: where one is not there, the whole schema goes first. */
static struct error *find_networks(struct attempt *t)
{
        const struct plan *plan = t->plan;
        bool there = t->fw->schema != 0;
        for (size_t i = 0; there && i < plan->a->n_addresses && plan->a->masquerade; i++)
                TRY(fw_has_network(t->fw->nl, &plan->a->addresses[i], &there));
        for (size_t six = 0; there && six < 2; six++)
                if (has_ports(plan, six))
                        TRY(fw_has_mark(t->fw->nl, &plan->marks[six], plan->mark, &there));
        if (there && has_ports(plan, 0) && !plan->a->masq_all)
                TRY(fw_has_mark(t->fw->nl, &loopback, plan->mark, &there));
        for (size_t i = 0; there && i < plan->n_groups; i++)
                TRY(fw_has_group(t->fw->nl, &plan->groups[i], &there));
        t->with_schema = !there;
        return NULL;
}

static void put_networks(struct attempt *t)
{
        struct netlink *nl = t->fw->nl;
        struct plan *plan = t->plan;
        for (size_t i = 0; i < plan->a->n_addresses && plan->a->masquerade; i++)
                fw_put_network(nl, &plan->a->addresses[i]);
        for (size_t six = 0; six < 2; six++)
                if (has_ports(plan, six))
                        fw_put_mark(nl, &plan->marks[six], plan->mark);
        if (has_ports(plan, 0) && !plan->a->masq_all)
                fw_put_mark(nl, &loopback, plan->mark);
        for (size_t i = 0; i < plan->n_groups; i++)
                fw_put_group(nl, &plan->groups[i]);
}

static struct error *attempt_send(struct attempt *t)
{
        struct netlink *nl = t->fw->nl;
        struct plan *plan = t->plan;
        nft_batch_begin(nl);
        if (t->with_schema) {
                fw_put_schema(nl, NFT_INET);
                fw_put_schema_number(nl);
                if (plan->a->spoof_check)
                        fw_put_schema(nl, NFT_BRIDGE);
                put_networks(t);
        }
        for (size_t i = 0; i < t->stale.n; i++) {
                t->stale.all[i].message = netlink_begun(nl);
                fw_put_removal(nl, &t->stale.all[i]);
        }
        for (size_t i = 0; i < plan->elements.n; i++) {
                plan->elements.all[i].message = netlink_begun(nl);
                fw_put_element(nl, &plan->elements.all[i], &plan->owner);
        }
        t->index_at = netlink_begun(nl);
        t->n_index = fw_put_index(nl, &plan->elements, &plan->owner);
        netlink_want_answer(nl);
        nft_batch_end(nl);
        t->n_messages = netlink_begun(nl);
        free(t->errnums);
        t->errnums = NEW_ARRAY(int, t->n_messages);
        return netlink_batch(nl, t->errnums, t->n_messages);
}

static struct error *error_port_taken(const struct fw_element *e, const struct fw_found *holder)
{
        size_t number_at = fw_sets[e->set].key_bytes - 4U;
        unsigned port = (unsigned) e->key[number_at] << 8 | e->key[number_at + 1];
        return error_new(ERROR_ALREADY_EXISTS, "host port %u/%s is taken by %s%s%s%s", port,
                         protocol_name(e->key[number_at - 4]), *holder->pod ? "pod " : "", holder->pod,
                         *holder->pod ? ", " : "", holder->comment);
}

/* An address of two networks, or one that was asked for by hand. */
static struct error *error_held(const struct fw_element *e, const struct fw_found *holder)
{
        bool is_address = e->set == FW_MASQUERADE || e->set == FW_MASQUERADE6;
        char text[INET6_ADDRSTRLEN] = "";
        if (is_address)
                (void) inet_ntop(e->set == FW_MASQUERADE ? AF_INET : AF_INET6, e->key, text, sizeof(text));
        return error_new(ERROR_ALREADY_EXISTS, "%s %s is held by %s%s%s%s",
                         is_address ? "address" : "what is in", is_address ? text : fw_sets[e->set].name,
                         *holder->pod ? "pod " : "", holder->pod, *holder->pod ? ", " : "", holder->comment);
}

static bool is_port(enum fw_set set)
{
        return (set >= FW_PORTS && set <= FW_HOST_SNAT6) ||
               (set >= FW_CONDITION_PORTS && set <= FW_CONDITION_SNAT6);
}

/* Whether the holder's pair of links is there. A DEL of ours takes what is in the tables before the link; where the link
 * went alone, with its namespace or by another plugin's DEL, nobody holds anything any more. */
static bool holder_lives(const struct fw_found *holder)
{
        char text[sizeof(holder->comment)], name[16], *rest = text;
        (void) snprintf(text, sizeof(text), "%s", holder->comment);
        const char *network = strsep(&rest, "/"), *id = strsep(&rest, "/"), *ifname = strsep(&rest, "/");
        if (!ifname || !*ifname || strlen(holder->comment) + 1 == FW_COMMENT_BYTES) /* it may be cut */
                return true;
        return if_nametoindex(link_host_name(network, id, ifname, name)) != 0;
}

/* Somebody has what an element is for. */
static struct error *resolve_taken(struct attempt *t, const struct fw_element *e)
{
        struct fw_found holder;
        TRY(fw_find(t->fw, e->set, e->key, &holder));
        if (!holder.is_there)
                return NULL;
        bool is_own = memcmp(holder.owner, t->plan->owner.hash, FW_OWNER_BYTES) == 0;
        if (!is_own && holder_lives(&holder))
                return !is_port(e->set) ? error_held(e, &holder) : error_port_taken(e, &holder);
        size_t n_before = t->stale.n;
        TRY(fw_owned(t->fw, holder.owner, &t->stale));
        if (t->stale.n == n_before) /* in no index */
                *fw_elements_add(&t->stale, e->set) = *e;
        return NULL;
}

/* Drops what of stale was not there any more; says whether something was. */
static bool drop_gone(struct attempt *t)
{
        size_t n = 0;
        for (size_t i = 0; i < t->stale.n; i++)
                if (t->errnums[t->stale.all[i].message] != ENOENT)
                        t->stale.all[n++] = t->stale.all[i];
        bool some = n < t->stale.n;
        t->stale.n = n;
        return some;
}

static struct error *error_refused(struct attempt *t, int errnum)
{
        struct error *e = error_errno(errnum, "nftables%s", netlink_reason(t->fw->nl));
        return errnum == EOPNOTSUPP || errnum == ENOENT ? error_as(e, ERROR_FAILED_PRECONDITION) : e;
}

/* Sets *again if another attempt may do, with what is changed for it. */
static struct error *attempt_judge(struct attempt *t, bool *again)
{
        int first = 0;
        bool gone = drop_gone(t);
        for (size_t i = 0; i < t->n_messages && !first; i++)
                first = t->errnums[i];
        *again = first != 0;
        if (!first || gone)
                return NULL;
        for (size_t i = 0; i < t->n_messages; i++)
                if (t->errnums[i] == ENOENT && !t->with_schema) {
                        t->with_schema = true;
                        return NULL;
                }
        bool taken = false;
        for (size_t i = 0; i < t->plan->elements.n; i++)
                if (t->errnums[t->plan->elements.all[i].message] == EEXIST) {
                        taken = true;
                        TRY(resolve_taken(t, &t->plan->elements.all[i]));
                }
        for (size_t i = 0; i < t->n_index; i++)
                if (t->errnums[t->index_at + i] == EEXIST) {
                        taken = true;
                        TRY(fw_owned(t->fw, t->plan->owner.hash, &t->stale));
                        break;
                }
        return taken ? NULL : error_refused(t, first);
}

static struct error *attempt_all(struct attempt *t)
{
        bool again = true;
        TRY(find_networks(t));
        for (unsigned i = 0; i < ATTEMPTS && again; i++) {
                TRY(attempt_send(t));
                TRY(attempt_judge(t, &again));
        }
        return again ? error_new(ERROR_ABORTED, "nftables: others changed the table at the same time") : NULL;
}

/* What was sent to the ports before finds them now. A failure is told and no more: they are mapped all the same. */
static void forget_flows(struct fw *fw, const struct plan *plan)
{
        for (size_t i = 0; i < plan->a->n_ports; i++)
                for (size_t six = 0; six < 2; six++) {
                        const struct fw_port *port = &plan->a->ports[i];
                        struct fw_flows flows = { .protocol = port->protocol, .port = port->host_port };
                        if (!plan->targets[six] || !fw_has_flows(port->protocol) ||
                            (port->host.family && (port->host.family == AF_INET6) != six))
                                continue;
                        flows.family = plan->targets[six]->family;
                        if (port->host.family && !is_unspecified(&port->host))
                                flows.host = port->host;
                        fw_tell(fw_forget(fw->nl, &flows));
                }
}

struct error *fw_add(struct fw *fw, const struct fw_attachment *a)
{
        _cleanup_(plan_done) struct plan plan = { 0 };
        struct attempt t = { .fw = fw, .plan = &plan };
        netlink_drop(fw->nl);
        TRY(plan_make(a, &plan));
        if (!plan.elements.n)
                return NULL;
        struct error *e = attempt_all(&t);
        if (!e)
                forget_flows(fw, &plan);
        fw_elements_done(&t.stale);
        free(t.errnums);
        return e;
}

static struct error *check_chains(struct netlink *nl, const struct plan *plan)
{
        TRY(fw_check_schema(nl, NFT_INET));
        if (plan->a->spoof_check)
                TRY(fw_check_schema(nl, NFT_BRIDGE));
        for (size_t i = 0; i < plan->a->n_addresses && plan->a->masquerade; i++)
                TRY(fw_check_network(nl, &plan->a->addresses[i]));
        for (size_t six = 0; six < 2; six++)
                if (has_ports(plan, six))
                        TRY(fw_check_mark(nl, &plan->marks[six], plan->mark));
        if (has_ports(plan, 0) && !plan->a->masq_all)
                TRY(fw_check_mark(nl, &loopback, plan->mark));
        for (size_t i = 0; i < plan->n_groups; i++)
                TRY(fw_check_group(nl, &plan->groups[i]));
        return NULL;
}

struct error *fw_check(struct fw *fw, const struct fw_attachment *a)
{
        _cleanup_(plan_done) struct plan plan = { 0 };
        netlink_drop(fw->nl);
        TRY(plan_make(a, &plan));
        if (plan.elements.n)
                TRY(check_chains(fw->nl, &plan));
        for (size_t i = 0; i < plan.elements.n; i++) {
                const struct fw_element *e = &plan.elements.all[i];
                struct fw_found found;
                TRY(fw_find(fw, e->set, e->key, &found));
                if (!found.is_there || memcmp(found.owner, plan.owner.hash, FW_OWNER_BYTES) != 0 ||
                    memcmp(found.value, e->value, fw_sets[e->set].value_bytes) != 0)
                        return error_new(ERROR_NOT_FOUND, "nftables: %s has nothing of %s any more",
                                         fw_sets[e->set].name, plan.owner.comment);
        }
        return NULL;
}

bool fw_needs_route_localnet(const struct fw_attachment *a)
{
        bool has_v4 = false;
        for (size_t i = 0; i < a->n_addresses; i++)
                has_v4 |= a->addresses[i].family == AF_INET;
        for (size_t i = 0; has_v4 && a->snat && i < a->n_ports; i++) {
                const struct address *host = &a->ports[i].host;
                if (!host->family ||
                    (host->family == AF_INET && (host->bytes[0] == 127 || is_unspecified(host))))
                        return true;
        }
        return false;
}
