/* session_client.h - what skiff-stream does with a session, for tests. Everything waits some seconds at most. */
#pragma once
#include "tests/unit/runtime_fixture.h"
#include <sys/socket.h>

/* sh -c script in the container. */
struct error *session_exec(struct fixture *f, const char *id, const char *script,
                           const struct session_streams *streams, struct session_fds *out);

/* The same to its end, which must be this exit code: what it wrote to out, the caller's. */
char *session_run(struct fixture *f, const char *id, const char *script,
                  const struct session_streams *streams, int exit_code);

/* Waits for SESSION_EXIT and the end of the channel behind it. */
int session_exit_of(const struct session_fds *s);

/* Waits for a message, without a descriptor. False at the channel's end. */
bool session_next(int channel_fd, struct session_message *out, int *fd);

void session_write(int fd, const char *text);  /* all of it */
char *session_text(int fd);                    /* what is there now; the caller's */
char *session_await(int fd, const char *text); /* reads until that has come, and fails when it does not */

/* Writes all of it to in while it reads out, to the ends of both (in is closed). How many bytes came. */
size_t session_pump(struct session_fds *s, const char *bytes, size_t n_bytes, char *into, size_t size_bytes);
