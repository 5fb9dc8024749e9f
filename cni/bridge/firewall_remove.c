#include "cni/bridge/firewall.h"
#include "cni/bridge/firewall_conntrack.h"
#include "cni/bridge/firewall_elements.h"
#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#define ATTEMPTS 8

/* One transaction without the elements that are not there, of which *n_gone is set. */
static struct error *remove_elements(struct fw *fw, struct fw_elements *elements, size_t *n_gone)
{
        nft_batch_begin(fw->nl);
        for (size_t i = 0; i < elements->n; i++) {
                elements->all[i].message = netlink_begun(fw->nl);
                fw_put_removal(fw->nl, &elements->all[i]);
        }
        netlink_want_answer(fw->nl);
        nft_batch_end(fw->nl);
        size_t n_messages = netlink_begun(fw->nl), n = 0;
        _cleanup_(freep) int *errnums = NEW_ARRAY(int, n_messages);
        TRY(netlink_batch(fw->nl, errnums, n_messages));
        int refused = errnums[0];
        for (size_t i = 0; i < elements->n; i++) {
                int errnum = errnums[elements->all[i].message];
                if (errnum != ENOENT)
                        elements->all[n++] = elements->all[i];
                if (errnum && errnum != ENOENT)
                        refused = errnum;
        }
        *n_gone = elements->n - n;
        elements->n = n;
        return refused ? error_errno(refused, "nftables%s", netlink_reason(fw->nl)) : NULL;
}

static bool is_port(enum fw_set set)
{
        return (set >= FW_PORTS && set <= FW_PORTS6) || (set >= FW_HOST_PORTS && set <= FW_HOST_PORTS6) ||
               (set >= FW_CONDITION_PORTS && set <= FW_CONDITION_PORTS6);
}

/* Those whose end flows have to be forgotten for: protocol and port end each key. */
static struct fw_elements ports_of(const struct fw_elements *elements)
{
        struct fw_elements ports = { 0 };
        for (size_t i = 0; i < elements->n; i++) {
                const struct fw_element *e = &elements->all[i];
                if (is_port(e->set) && fw_has_flows(e->key[fw_sets[e->set].key_bytes - 8]))
                        *fw_elements_add(&ports, e->set) = *e;
        }
        return ports;
}

/* A failure is told and no more: they end by themselves. */
static void forget_flows(struct fw *fw, const struct fw_element *port)
{
        const uint8_t *end = port->key + fw_sets[port->set].key_bytes - 8;
        bool six = port->set == FW_PORTS6 || port->set == FW_HOST_PORTS6 || port->set == FW_CONDITION_PORTS6;
        struct fw_flows flows = { .family = six ? AF_INET6 : AF_INET,
                                  .protocol = end[0],
                                  .port = (uint16_t) (end[4] << 8 | end[5]),
                                  .only_mapped = true };
        fw_tell(fw_forget(fw->nl, &flows));
}

static bool has_element(const struct fw_elements *elements, const struct fw_element *e)
{
        for (size_t i = 0; i < elements->n; i++)
                if (elements->all[i].set == e->set &&
                    memcmp(elements->all[i].key, e->key, fw_sets[e->set].key_bytes) == 0)
                        return true;
        return false;
}

static struct fw_elements copy_of(const struct fw_elements *elements)
{
        struct fw_elements copy = { 0 };
        for (size_t i = 0; i < elements->n; i++)
                *fw_elements_add(&copy, elements->all[i].set) = elements->all[i];
        return copy;
}

/* After some of elements were not there: reads the index again, of which listed is what it said. Where it says the same they
 * have been removed by hand, and stay out; else elements is what it says now. */
static struct error *read_again(struct fw *fw, const uint8_t owner[FW_OWNER_BYTES],
                                struct fw_elements *elements, struct fw_elements *listed)
{
        struct fw_elements now = { 0 };
        struct error *e = fw_owned(fw, owner, &now);
        bool is_same = now.n == listed->n;
        for (size_t i = 0; i < now.n && is_same; i++)
                is_same = has_element(listed, &now.all[i]);
        if (e || is_same) {
                fw_elements_done(&now);
                return e;
        }
        fw_elements_done(elements);
        fw_elements_done(listed);
        *elements = now;
        *listed = copy_of(&now);
        return NULL;
}

static struct error *remove_owned(struct fw *fw, const uint8_t owner[FW_OWNER_BYTES])
{
        struct fw_elements elements = { 0 };
        size_t n_gone = 1;
        netlink_drop(fw->nl);
        struct error *e = fw_owned(fw, owner, &elements);
        struct fw_elements ports = ports_of(&elements), listed = copy_of(&elements);
        /* Somebody may have removed some by hand, or removes all at the same time; and may have added others since, which the
         * index has then: what is in a transaction is what the index says, less what it says and is not there. */
        for (unsigned i = 0; !e && i < ATTEMPTS && n_gone && elements.n; i++) {
                e = remove_elements(fw, &elements, &n_gone);
                if (!e && n_gone)
                        e = read_again(fw, owner, &elements, &listed);
        }
        if (!e && n_gone && elements.n)
                e = error_new(ERROR_ABORTED, "nftables: others changed the table at the same time");
        for (size_t i = 0; !e && i < ports.n; i++)
                forget_flows(fw, &ports.all[i]);
        fw_elements_done(&ports);
        fw_elements_done(&listed);
        fw_elements_done(&elements);
        return e;
}

struct error *fw_remove(struct fw *fw, const char *network, const char *container_id, const char *ifname)
{
        struct fw_owner owner = fw_owner_of(network, container_id, ifname);
        return remove_owned(fw, owner.hash);
}

/* A collection on its way: which owners there are of a network, but those that stay. */
struct collecting {
        const char *network;
        const struct fw_id *valid;
        size_t n_valid;
        uint8_t of_network[FW_NETWORK_BYTES];
        uint8_t (*owners)[FW_OWNER_BYTES];
        size_t n_owners;
};

static bool is_valid(const struct collecting *c, const uint8_t *hash)
{
        for (size_t i = 0; i < c->n_valid; i++) {
                struct fw_owner owner = fw_owner_of(c->network, c->valid[i].container_id, c->valid[i].ifname);
                if (memcmp(owner.hash, hash, FW_OWNER_BYTES) == 0)
                        return true;
        }
        return false;
}

static void collect_owner(const struct fw_found *index, void *context)
{
        static const uint8_t first[4];
        struct collecting *c = context;
        size_t name_bytes = strlen(c->network);
        /* Another network may have the same hash. */
        if (memcmp(index->key, c->of_network, FW_NETWORK_BYTES) != 0 ||
            memcmp(index->key + FW_OWNER_BYTES, first, sizeof(first)) != 0 ||
            strncmp(index->comment, c->network,
                    name_bytes < FW_COMMENT_BYTES ? name_bytes : FW_COMMENT_BYTES - 1) != 0 ||
            is_valid(c, index->key))
                return;
        c->owners = grow_array(c->owners, c->n_owners + 1, FW_OWNER_BYTES);
        memcpy(c->owners[c->n_owners++], index->key, FW_OWNER_BYTES);
}

static void collect(const struct nlmsghdr *message, void *context)
{
        fw_each_element(message, collect_owner, context);
}

struct error *fw_keep_only(struct fw *fw, const char *network, const struct fw_id *valid, size_t n)
{
        struct collecting c = { .network = network, .valid = valid, .n_valid = n };
        memcpy(c.of_network, fw_owner_of(network, "", "").hash, FW_NETWORK_BYTES);
        struct error *e = fw_find_all(fw, FW_ATTACHMENTS, collect, &c);
        for (size_t i = 0; !e && i < c.n_owners; i++)
                e = remove_owned(fw, c.owners[i]);
        free(c.owners);
        return e;
}
