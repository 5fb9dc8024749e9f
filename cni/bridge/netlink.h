/* netlink.h - messages to rtnetlink, several in one send, and their answers.
 *
 * A socket belongs to the network namespace in which it was opened, wherever its process goes later. Messages are built one
 * behind the other and go with one send; each is answered. Threads: one at a time. Source: netlink(7), rtnetlink(7). */
#pragma once
#include "base/error.h"
#include <linux/netlink.h>
#include <stddef.h>
#include <stdint.h>

struct netlink; /* owns the socket */

/* Errors: INTERNAL. */
MUST_CHECK struct error *netlink_open(struct netlink **out);

/* The same for the subsystems of netfilter, whose batches and answers are larger. */
MUST_CHECK struct error *netlink_open_netfilter(struct netlink **out);
void netlink_free(struct netlink *nl); /* NULL is fine */
DEFINE_FREEP(struct netlink, netlink_free)

/* Begins a message: its type, flags (NLM_F_REQUEST is added) and fixed header. Then its attributes, nested ones between
 * netlink_nest and netlink_nest_end. There is room for what the plugin sends; past it the next netlink_talk fails. */
void netlink_begin(struct netlink *nl, uint16_t type, uint16_t flags, const void *header, size_t len_bytes);
void netlink_put(struct netlink *nl, uint16_t type, const void *value, size_t len_bytes);
void netlink_put_u8(struct netlink *nl, uint16_t type, uint8_t value);
void netlink_put_u16(struct netlink *nl, uint16_t type, uint16_t value);
void netlink_put_u32(struct netlink *nl, uint16_t type, uint32_t value);
void netlink_put_text(struct netlink *nl, uint16_t type, const char *value); /* with its NUL */
size_t netlink_nest(struct netlink *nl, uint16_t type);
void netlink_nest_end(struct netlink *nl, size_t nest);

/* Drops what was begun and not sent, which a failure in between may have left. */
void netlink_drop(struct netlink *nl);

/* How many messages were begun since the last send; that the last of them is answered although it is one of a batch. */
size_t netlink_begun(const struct netlink *nl);
void netlink_want_answer(struct netlink *nl);

/* A header inside an attribute, as the peer of a veth has. */
void netlink_put_raw(struct netlink *nl, const void *bytes, size_t len_bytes);

/* Sends what was begun, and waits for each answer: errnums[i] is 0 or what the kernel refused message i with. At most n
 * messages. Errors: INTERNAL when the socket itself fails. */
MUST_CHECK struct error *netlink_talk(struct netlink *nl, int *errnums, size_t n);

/* Sends what was begun as one batch of netfilter, which happens as a whole or not at all: errnums as above. The kernel
 * answers while it is sent: what it refuses, and what asks for it by NLM_F_ACK, as one message must. */
MUST_CHECK struct error *netlink_batch(struct netlink *nl, int *errnums, size_t n);

/* What the kernel said in words about the last refusal, or "". */
const char *netlink_reason(const struct netlink *nl);

/* Sends the one message that was begun, a question, and calls found for each message of the answer. errnum as above. */
typedef void netlink_found(const struct nlmsghdr *message, void *context);
MUST_CHECK struct error *netlink_ask(struct netlink *nl, netlink_found *found, void *context, int *errnum);

/* The attribute of this type in len_bytes of attributes, or NULL. */
const struct nlattr *netlink_attribute(const void *attributes, size_t len_bytes, uint16_t type);
static inline const void *netlink_value(const struct nlattr *a)
{
        return (const char *) a + sizeof(*a);
}
static inline size_t netlink_length(const struct nlattr *a)
{
        return a->nla_len - sizeof(*a);
}
