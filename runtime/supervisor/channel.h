/* channel.h - skiff-pod's end of a session's channel (base/session.h).
 *
 * Its other end is held by a process that skiff-pod does not trust: it speaks with the network. So nothing is believed, a
 * message that is none ends the channel, and no descriptor is ever taken from it: to close one of a stranger's can block,
 * as a FUSE file or a lingering socket does. From kernel 6.16 on none can be sent; before, they are dropped unseen. */
#pragma once
#include "base/loop.h"
#include "base/session.h"

/* Takes fd over: it is watched by source, whose `ready` is set. */
MUST_CHECK struct error *channel_open(struct loop *loop, struct source *source, int fd);

/* The other side is told at once, though a child that is being made may have a copy of it. Fine when it is closed. */
void channel_close(struct loop *loop, struct source *source);

enum channel_state { CHANNEL_NOTHING, CHANNEL_MESSAGE, CHANNEL_ENDED };

/* Receives one, without a wait. Ended: the peer is gone, or has sent what is no message. */
enum channel_state channel_read(const struct source *source, struct session_message *out);
