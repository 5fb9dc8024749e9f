#include "images/unpacker.h"
#include "base/mount.h"
#include "base/process.h"
#include "base/socket.h"
#include <linux/mount.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/xattr.h>

struct unpacker {
        struct process process;
        int socket_fd;
        dev_t device; /* of the layer: nothing else is ever marked */
};

static struct error *spawn(const char *path, const struct unpacker_place *place, int mount_fd, int stream_fd,
                           int its_fd, struct process *out)
{
        const char *const argv[] = { "skiff-unpack", NULL };
        struct process_start start = process_start_init(path, argv);
        start.fds[UNPACK_FD_STREAM] = stream_fd;
        start.fds[1] = start.fds[2] = -1;
        start.fds[UNPACK_FD_SOCKET] = its_fd;
        start.fds[UNPACK_FD_LAYER] = mount_fd;
        start.fds[UNPACK_FD_HOLDER] = place->holder_fd;
        start.fds[UNPACK_FD_SEAMS] = place->seams_fd;
        start.n_fds = UNPACK_FD_SEAMS + 1;
        return process_spawn(&start, out);
}

struct error *unpacker_start(const char *path, const struct unpacker_place *place, int stream_fd,
                             const struct unpack_job *job, const struct wait *wait, struct unpacker **out)
{
        int pair[2];
        struct stat st;
        _cleanup_(closep) int mount_fd = -1;
        _cleanup_(unpacker_freep) struct unpacker *unpacker = NEW(struct unpacker);
        unpacker->process.pid_fd = unpacker->socket_fd = -1;
        if (fstat(place->layer_fd, &st) < 0)
                return error_errno(errno, "look at the layer's directory");
        unpacker->device = st.st_dev;
        TRY(mount_clone(place->layer_fd, "", false, &mount_fd));
        TRY(mount_attributes(mount_fd, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC, 0, 0,
                             false));
        if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) < 0)
                return error_errno(errno, "socketpair");
        unpacker->socket_fd = pair[0];
        _cleanup_(closep) int its_fd = pair[1];
        TRY(spawn(path, place, mount_fd, stream_fd, its_fd, &unpacker->process));
        TRY(socket_send(unpacker->socket_fd, job, sizeof(*job), NULL, 0, wait));
        *out = TAKE(unpacker);
        return NULL;
}

void unpacker_free(struct unpacker *unpacker)
{
        if (!unpacker)
                return;
        process_kill(&unpacker->process);
        closep(&unpacker->socket_fd);
        free(unpacker);
}

static struct error *mark_opaque(const struct unpacker *unpacker, int dir_fd)
{
        struct stat st;
        if (dir_fd < 0 || fstat(dir_fd, &st) < 0 || !S_ISDIR(st.st_mode) || st.st_dev != unpacker->device)
                return error_new(ERROR_INTERNAL, "skiff-unpack names no directory of the layer");
        if (fsetxattr(dir_fd, "trusted.overlay.opaque", "y", 1, 0) < 0)
                return error_errno(errno, "mark a directory as opaque");
        return NULL;
}

/* What it says may hold bytes of hostile names; what goes on from here is text. */
static void make_printable(char *text)
{
        for (; *text; text++)
                if (*text < 0x20 || *text > 0x7e)
                        *text = '?';
}

static struct error *death(struct unpacker *unpacker, const struct wait *wait)
{
        int status = 0;
        TRY(process_wait(&unpacker->process, wait, &status));
        return error_new(ERROR_INTERNAL, "skiff-unpack ended with status %d before it was done", status);
}

static struct error *next_reply(struct unpacker *unpacker, const struct wait *wait,
                                struct unpack_reply *reply)
{
        int fds[1] = { -1 };
        size_t n_fds = 1, len_bytes = 0;
        TRY(socket_receive(unpacker->socket_fd, reply, sizeof(*reply), &len_bytes, fds, &n_fds, wait));
        _cleanup_(closep) int dir_fd = n_fds ? fds[0] : -1;
        if (len_bytes == 0)
                return death(unpacker, wait);
        if (len_bytes != sizeof(*reply))
                return error_new(ERROR_INTERNAL, "skiff-unpack answers nonsense");
        reply->message[sizeof(reply->message) - 1] = '\0';
        make_printable(reply->message);
        return reply->type == UNPACK_OPAQUE ? mark_opaque(unpacker, dir_fd) : NULL;
}

struct error *unpacker_wait(struct unpacker *unpacker, const struct wait *wait,
                            const struct unpacker_idle *idle, struct unpacked *out, bool *at_end)
{
        struct unpack_reply reply;
        *at_end = false;
        do {
                if (idle)
                        TRY(idle->until(idle->context, unpacker->socket_fd));
                TRY(next_reply(unpacker, wait, &reply));
        } while (reply.type == UNPACK_OPAQUE);
        if (reply.type == UNPACK_ERROR && reply.code <= ERROR_UNAUTHENTICATED) {
                *at_end = reply.at_end;
                return error_new(reply.code, "%s", reply.message);
        }
        if (reply.type != UNPACK_DONE)
                return error_new(ERROR_INTERNAL, "skiff-unpack answers nonsense");
        *out = (struct unpacked){ reply.bytes, reply.inodes, reply.n_left_out, "" };
        (void) snprintf(out->left_out, sizeof(out->left_out), "%s", reply.message);
        return NULL;
}
