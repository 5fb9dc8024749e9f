/* request.h - what skiffd may ask for, message by message: which connection it may come on, and who takes it.
 *
 * A connection is of no kind until its first request, and takes but one: the rest of what may come belongs to that. */
#pragma once
#include "runtime/supervisor/pod.h"

/* Takes the message that r holds. fds: n_fds of them, and -1 up to RECEIVE_FDS; what it does not take is closed by the
 * caller. False when it may not come here, or is malformed: the connection ends. */
bool request_take(struct connection *c, struct wire_reader *r, int *fds, size_t n_fds);

/* One kind of message, its type read. As request_take. */
typedef bool request_handler(struct connection *c, struct wire_reader *r, int *fds, size_t n_fds);

/* Whether we read what is written in it; what a request that ends with its version, or is from before there was a word for
 * it, is written in. False when that is none of ours. */
bool request_version_is_ours(uint32_t version);
bool request_version(struct wire_reader *r, uint32_t *version);

/* A sealed memfd with len_bytes of spec, mapped (munmap); NULL when it is not that. */
void *request_spec_map(int memfd, uint64_t len_bytes);

/* --- exec_request.c --- */

request_handler exec_request, exec_kill_request, exec_open_request; /* EXEC, EXEC_KILL, EXEC_OPEN */

/* --- dial.c --- */

request_handler forward_open_request; /* FORWARD_OPEN */
