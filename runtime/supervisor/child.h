/* child.h - what runs between clone and exec: system calls on what was prepared before, by descriptors.
 *
 * The first thing that fails is written to the report socket as stage, errno and index, and the child ends. Source: runc's
 * published advisories (facts of past escapes) for the order of things; capabilities(7), mount_setattr(2), openat2(2). */
#pragma once
#include "runtime/supervisor/pod.h"

struct child {
        const struct pod *pod;
        const struct container_message *message; /* a container; NULL for an exec */
        const struct process_spec *process;
        const struct seccomp_program *seccomp; /* NULL: none */
        const int *fds;                        /* what the message's indexes name */
        int container_fd;                      /* an exec: the pidfd whose namespaces it enters */
        const int *enter_fds;                  /* v1 `tasks` files to write "0" into */
        size_t n_enter_fds;
        int report_fd, stdin_fd, stdout_fd, stderr_fd; /* of the latter, -1: the container's null device */
        int console_fd;         /* it has a terminal instead, whose master goes here; -1: it has none */
        uint16_t rows, columns; /* of the terminal; 0: not known */
        int talk_fd; /* a container: the socket that its root filesystem comes on; until the exec, where it has hooks */
};

/* All of it, up to the exec; on a failure child_fail. */
_Noreturn void child_run(const struct child *child);

/* Writes the report and ends. */
_Noreturn void child_fail(const struct child *child, enum stage stage, size_t index);

/* --- child_stdio.c --- */

/* The pipes to descriptors 0 to 2; then, in the container's mount namespace, its null device to the others. */
void child_stdio_pipes(const struct child *child);
void child_stdio_null(const struct child *child);

/* --- child_terminal.c --- */

/* In the container's mount namespace: a terminal of its devpts for descriptors 0 to 2, and to control the session; a
 * container's is /dev/console too. */
void child_terminal(const struct child *child);

/* --- child_target.c --- */

/* How a path of the container is opened once its root is "/". For sys_openat2. */
#define CHILD_IN_ROOT (RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS)

/* Opens path below "/" (O_PATH), never through a magic link; missing parts are made, the last as a directory or an empty
 * file, also where a link of the image's leads to nothing. -1 and errno. */
int child_target_open(const char *path, int want_file, mode_t mode);

/* --- child_mounts.c --- */

/* Enters the rootfs and mounts everything in it. */
void child_mounts(const struct child *child);

/* --- child_hooks.c --- */

/* Lets skiffd run the hooks of the host, where there are any. What is mounted already is private afterwards. */
void child_hooks_of_host(const struct child *child);

/* Runs those of the container's own stage, as what the container is by then. */
void child_hooks_of_container(const struct child *child);

/* --- child_devices.c --- */

/* The usual devices and links in the /dev that is mounted now, and those of the spec that lie below it; later all
 * others. */
void child_dev_fill(const struct child *child);
void child_devices_elsewhere(const struct child *child);

/* --- child_identity.c: limits, AppArmor, SELinux, user, capabilities, seccomp --- */
void child_identity(const struct child *child);
/* The SELinux context of the process, if it has one, to an attribute of its: "exec", from the exec on; "keycreate", of the keys
 * that it makes. */
void child_label(const struct child *child, const char *attribute);
