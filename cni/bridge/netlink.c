#include "cni/bridge/netlink.h"
#include <errno.h>
#include <string.h>
#include <sys/socket.h>

/* Pages that no message comes to are not taken. */
#define OUT_BYTES ((size_t) 4 << 20)
#define NETFILTER_SOCKET_BYTES (16 << 20)
#define IN_BYTES ((size_t) 65536)

struct netlink {
        int fd;
        uint32_t seq, n_messages;
        size_t len_bytes, message_at; /* of out; where the last message begins */
        int overflow;
        char reason[160];
        _Alignas(8) char out[OUT_BYTES];
        _Alignas(8) char in[IN_BYTES];
};

static struct error *open_protocol(int protocol, struct netlink **out)
{
        static const int on = 1;
        _cleanup_(netlink_freep) struct netlink *nl = NEW(struct netlink);
        nl->fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, protocol);
        if (nl->fd < 0)
                return error_errno(errno, "open netlink");
        /* Old kernels have neither; answers are only shorter on words, and dumps longer, then. */
        (void) setsockopt(nl->fd, SOL_NETLINK, NETLINK_EXT_ACK, &on, sizeof(on));
        (void) setsockopt(nl->fd, SOL_NETLINK, NETLINK_CAP_ACK, &on, sizeof(on));
        (void) setsockopt(nl->fd, SOL_NETLINK, NETLINK_GET_STRICT_CHK, &on, sizeof(on));
        *out = TAKE(nl);
        return NULL;
}

struct error *netlink_open(struct netlink **out)
{
        return open_protocol(NETLINK_ROUTE, out);
}

struct error *netlink_open_netfilter(struct netlink **out)
{
        static const int size_bytes = NETFILTER_SOCKET_BYTES;
        TRY(open_protocol(NETLINK_NETFILTER, out));
        /* For batches and their answers; without the right to it the kernel's own sizes do for most. */
        (void) setsockopt((*out)->fd, SOL_SOCKET, SO_SNDBUFFORCE, &size_bytes, sizeof(size_bytes));
        (void) setsockopt((*out)->fd, SOL_SOCKET, SO_RCVBUFFORCE, &size_bytes, sizeof(size_bytes));
        return NULL;
}

void netlink_free(struct netlink *nl)
{
        if (!nl)
                return;
        closep(&nl->fd);
        free(nl);
}

/* Room for len_bytes, zeroed and aligned; NULL when there is none. */
static void *room(struct netlink *nl, size_t len_bytes)
{
        size_t aligned_bytes = NLMSG_ALIGN(len_bytes);
        if (nl->overflow || OUT_BYTES - nl->len_bytes < aligned_bytes) {
                nl->overflow = 1;
                return NULL;
        }
        void *at = nl->out + nl->len_bytes;
        memset(at, 0, aligned_bytes);
        nl->len_bytes += aligned_bytes;
        return at;
}

static void end_message(struct netlink *nl)
{
        if (nl->n_messages && !nl->overflow)
                ((struct nlmsghdr *) (void *) (nl->out + nl->message_at))->nlmsg_len =
                        (uint32_t) (nl->len_bytes - nl->message_at);
}

void netlink_begin(struct netlink *nl, uint16_t type, uint16_t flags, const void *header, size_t len_bytes)
{
        end_message(nl);
        size_t at = nl->len_bytes;
        struct nlmsghdr *message = room(nl, sizeof(*message));
        nl->n_messages++;
        if (!message)
                return;
        nl->message_at = at;
        *message = (struct nlmsghdr){ .nlmsg_type = type,
                                      .nlmsg_flags = flags | NLM_F_REQUEST,
                                      .nlmsg_seq = nl->seq + nl->n_messages };
        netlink_put_raw(nl, header, len_bytes);
}

void netlink_drop(struct netlink *nl)
{
        nl->seq += nl->n_messages;
        nl->len_bytes = nl->n_messages = 0;
        nl->overflow = 0;
}

size_t netlink_begun(const struct netlink *nl)
{
        return nl->n_messages;
}

void netlink_want_answer(struct netlink *nl)
{
        if (!nl->overflow)
                ((struct nlmsghdr *) (void *) (nl->out + nl->message_at))->nlmsg_flags |= NLM_F_ACK;
}

void netlink_put_raw(struct netlink *nl, const void *bytes, size_t len_bytes)
{
        void *at = room(nl, len_bytes);
        if (at)
                memcpy(at, bytes, len_bytes);
}

void netlink_put(struct netlink *nl, uint16_t type, const void *value, size_t len_bytes)
{
        struct nlattr *a = room(nl, sizeof(*a) + len_bytes);
        if (!a)
                return;
        *a = (struct nlattr){ .nla_type = type, .nla_len = (uint16_t) (sizeof(*a) + len_bytes) };
        if (len_bytes)
                memcpy(a + 1, value, len_bytes);
}

void netlink_put_u8(struct netlink *nl, uint16_t type, uint8_t value)
{
        netlink_put(nl, type, &value, sizeof(value));
}

void netlink_put_u16(struct netlink *nl, uint16_t type, uint16_t value)
{
        netlink_put(nl, type, &value, sizeof(value));
}

void netlink_put_u32(struct netlink *nl, uint16_t type, uint32_t value)
{
        netlink_put(nl, type, &value, sizeof(value));
}

void netlink_put_text(struct netlink *nl, uint16_t type, const char *value)
{
        netlink_put(nl, type, value, strlen(value) + 1);
}

size_t netlink_nest(struct netlink *nl, uint16_t type)
{
        size_t at = nl->len_bytes;
        netlink_put(nl, type | NLA_F_NESTED, NULL, 0);
        return at;
}

void netlink_nest_end(struct netlink *nl, size_t nest)
{
        if (!nl->overflow)
                ((struct nlattr *) (void *) (nl->out + nest))->nla_len = (uint16_t) (nl->len_bytes - nest);
}

static struct error *send_begun(struct netlink *nl, uint32_t *first_seq, uint32_t *n)
{
        struct sockaddr_nl kernel = { .nl_family = AF_NETLINK };
        int overflow = nl->overflow;
        end_message(nl);
        size_t len_bytes = nl->len_bytes;
        *n = nl->n_messages;
        *first_seq = nl->seq + 1;
        netlink_drop(nl);
        nl->reason[0] = '\0';
        if (overflow)
                return error_new(ERROR_RESOURCE_EXHAUSTED,
                                 "netlink: more than the %zu MiB of one transaction (host ports, mostly)",
                                 OUT_BYTES >> 20);
        if (sendto(nl->fd, nl->out, len_bytes, 0, (struct sockaddr *) &kernel, sizeof(kernel)) < 0)
                return error_errno(errno, "send to netlink");
        return NULL;
}

const struct nlattr *netlink_attribute(const void *attributes, size_t len_bytes, uint16_t type)
{
        const char *at = attributes;
        while (len_bytes >= sizeof(struct nlattr)) {
                const struct nlattr *a = (const void *) at;
                if (a->nla_len < sizeof(*a) || a->nla_len > len_bytes)
                        return NULL;
                if ((a->nla_type & NLA_TYPE_MASK) == type)
                        return a;
                size_t step_bytes = NLA_ALIGN(a->nla_len);
                if (step_bytes >= len_bytes)
                        return NULL;
                at += step_bytes;
                len_bytes -= step_bytes;
        }
        return NULL;
}

/* An answer's errno, and its words. */
static int answer_of(struct netlink *nl, const struct nlmsghdr *message)
{
        const struct nlmsgerr *answer = (const void *) (message + 1);
        size_t fixed_bytes = sizeof(*message) + sizeof(*answer);
        if (message->nlmsg_len < fixed_bytes)
                return EBADMSG;
        if (answer->error && (message->nlmsg_flags & NLM_F_ACK_TLVS) &&
            (message->nlmsg_flags & NLM_F_CAPPED)) {
                const struct nlattr *words =
                        netlink_attribute(answer + 1, message->nlmsg_len - fixed_bytes, NLMSGERR_ATTR_MSG);
                if (words)
                        (void) snprintf(nl->reason, sizeof(nl->reason), " (%.*s)",
                                        (int) netlink_length(words), (const char *) netlink_value(words));
        }
        return -answer->error;
}

const char *netlink_reason(const struct netlink *nl)
{
        return nl->reason;
}

static struct error *receive(struct netlink *nl, size_t *len_bytes)
{
        ssize_t n_bytes;
        do
                n_bytes = recv(nl->fd, nl->in, IN_BYTES, 0);
        while (n_bytes < 0 && errno == EINTR);
        if (n_bytes < 0)
                return error_errno(errno, "receive from netlink");
        *len_bytes = (size_t) n_bytes;
        return NULL;
}

/* The messages in what was received: sets *message to the next and shortens the rest. */
static int next_message(const char **at, size_t *len_bytes, const struct nlmsghdr **message)
{
        const struct nlmsghdr *m = (const void *) *at;
        if (*len_bytes < sizeof(*m) || m->nlmsg_len < sizeof(*m) || m->nlmsg_len > *len_bytes)
                return 0;
        size_t step_bytes = NLMSG_ALIGN(m->nlmsg_len);
        if (step_bytes > *len_bytes)
                step_bytes = *len_bytes;
        *at += step_bytes;
        *len_bytes -= step_bytes;
        *message = m;
        return 1;
}

struct error *netlink_talk(struct netlink *nl, int *errnums, size_t n)
{
        uint32_t first = 0, n_sent = 0;
        TRY(send_begun(nl, &first, &n_sent));
        if (n_sent > n)
                return error_new(ERROR_INTERNAL, "netlink: more messages than answers");
        for (uint32_t n_answers = 0; n_answers < n_sent;) {
                size_t len_bytes = 0;
                TRY(receive(nl, &len_bytes));
                const char *at = nl->in;
                const struct nlmsghdr *message;
                while (next_message(&at, &len_bytes, &message))
                        if (message->nlmsg_type == NLMSG_ERROR && message->nlmsg_seq - first < n_sent) {
                                errnums[message->nlmsg_seq - first] = answer_of(nl, message);
                                n_answers++;
                        }
        }
        return NULL;
}

struct error *netlink_batch(struct netlink *nl, int *errnums, size_t n)
{
        uint32_t first = 0, n_sent = 0, n_answers = 0;
        memset(errnums, 0, n * sizeof(*errnums));
        TRY(send_begun(nl, &first, &n_sent));
        if (n_sent > n)
                return error_new(ERROR_INTERNAL, "netlink: more messages than answers");
        for (;;) {
                ssize_t n_bytes = recv(nl->fd, nl->in, IN_BYTES, MSG_DONTWAIT);
                if (n_bytes < 0 && errno == EINTR)
                        continue;
                if (n_bytes < 0 && errno == EAGAIN)
                        break;
                if (n_bytes < 0)
                        return error_errno(errno, "receive from netlink");
                size_t len_bytes = (size_t) n_bytes;
                const char *at = nl->in;
                const struct nlmsghdr *message;
                while (next_message(&at, &len_bytes, &message))
                        if (message->nlmsg_type == NLMSG_ERROR && message->nlmsg_seq - first < n_sent) {
                                errnums[message->nlmsg_seq - first] = answer_of(nl, message);
                                n_answers++;
                        }
        }
        return n_answers ? NULL : error_new(ERROR_INTERNAL, "netlink: no answer to a batch");
}

struct error *netlink_ask(struct netlink *nl, netlink_found *found, void *context, int *errnum)
{
        uint32_t first = 0, n_sent = 0;
        TRY(send_begun(nl, &first, &n_sent));
        *errnum = 0;
        for (;;) {
                size_t len_bytes = 0;
                TRY(receive(nl, &len_bytes));
                const char *at = nl->in;
                const struct nlmsghdr *message;
                while (next_message(&at, &len_bytes, &message)) {
                        if (message->nlmsg_seq != first)
                                continue;
                        if (message->nlmsg_type == NLMSG_ERROR)
                                *errnum = answer_of(nl, message);
                        if (message->nlmsg_type == NLMSG_ERROR || message->nlmsg_type == NLMSG_DONE)
                                return NULL;
                        found(message, context);
                        if (!(message->nlmsg_flags & NLM_F_MULTI))
                                return NULL;
                }
        }
}
