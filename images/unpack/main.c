/* skiff-unpack - writes one layer from a stream that nobody trusts yet. See images/unpack_protocol.h. */
#include "base/socket.h"
#include "images/unpack/confine.h"
#include "images/unpack/sink_dir.h"
#include "images/unpack/tar.h"
#include "images/unpack_protocol.h"
#include <fcntl.h>
#include <locale.h>
#include <string.h>

static const struct wait for_ever = { .deadline_ns = WAIT_FOREVER, .cancel_fd = -1 };

static ssize_t read_stream(void *context, void *bytes, size_t size_bytes)
{
        (void) context;
        return read(UNPACK_FD_STREAM, bytes, size_bytes);
}

static struct error *receive_job(struct unpack_job *job)
{
        size_t len_bytes = 0, n_fds = 0;
        TRY(socket_receive(UNPACK_FD_SOCKET, job, sizeof(*job), &len_bytes, NULL, &n_fds, &for_ever));
        if (len_bytes != sizeof(*job))
                return error_new(ERROR_INTERNAL, "a job of %zu bytes", len_bytes);
        return NULL;
}

static struct error *send_opaque(void *context, int dir_fd)
{
        struct unpack_reply reply = { .type = UNPACK_OPAQUE };
        (void) context;
        return socket_send(UNPACK_FD_SOCKET, &reply, sizeof(reply), &dir_fd, 1, &for_ever);
}

static struct error *check_digest(const char *what, const struct digest *want, const struct digest *got)
{
        char want_text[DIGEST_TEXT_SIZE], got_text[DIGEST_TEXT_SIZE];
        if (digest_equal(want, got))
                return NULL;
        digest_format(want, want_text);
        digest_format(got, got_text);
        return error_new(ERROR_DATA_LOSS, "%s has digest %s, not %s", what, got_text, want_text);
}

static struct error *check_blob(const struct unpack_job *job, const struct inflate_result *result)
{
        TRY(check_digest("the blob", &job->blob, &result->in));
        if (result->in_bytes != job->blob_bytes)
                return error_new(ERROR_DATA_LOSS, "the blob has %llu bytes, not %llu",
                                 (unsigned long long) result->in_bytes, (unsigned long long) job->blob_bytes);
        return NULL;
}

/* What else there is to say about a stream that could not be inflated or whose tar is broken: it is mostly a broken
 * download, which the digest of all of it says best. */
static struct error *blame(const struct unpack_job *job, struct inflate *inflate, struct error *broken)
{
        struct inflate_result result;
        if (!job->has_blob)
                return broken;
        struct error *e = inflate_drain(inflate, &result);
        if (!e)
                e = check_blob(job, &result);
        if (!e)
                return broken;
        error_free(broken);
        return e;
}

static struct error *unpack(const struct unpack_job *job, struct inflate **inflate,
                            struct unpack_reply *reply)
{
        const struct inflate_source source = { .read = read_stream };
        struct inflate_result result;
        struct sink_usage usage;
        TRY(inflate_open(&source, job->has_blob ? job->blob_bytes : UINT64_MAX, job->max_tar_bytes, inflate));
        _cleanup_(closep) int root_fd = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
        if (root_fd < 0)
                return error_errno(errno, "open the layer");
        _cleanup_(sink_dir_freep) struct layer_sink *sink = sink_dir_new(root_fd, send_opaque, NULL);
        struct error *e = tar_unpack(*inflate, sink, job->max_entries, &usage);
        if (!e)
                e = inflate_finish(*inflate, &result);
        /* What a layer may not hold is an error of its own, however much of it has come. */
        if (e)
                return error_code_of(e) == ERROR_DATA_LOSS ? blame(job, *inflate, e) : e;
        if (job->has_blob)
                TRY(check_blob(job, &result));
        TRY(check_digest("the layer's tar", &job->diff, &result.out));
        TRY_WRAP(sink_dir_seams(sink, UNPACK_FD_SEAMS), "write the seams");
        reply->n_left_out = sink->notes.n;
        memcpy(reply->message, sink->notes.first, sizeof(sink->notes.first));
        reply->bytes = usage.bytes;
        reply->inodes = usage.inodes;
        return NULL;
}

static void fill_error(struct error *e, bool at_end, struct unpack_reply *reply)
{
        reply->type = UNPACK_ERROR;
        reply->code = error_code_of(e);
        reply->at_end = at_end;
        (void) snprintf(reply->message, sizeof(reply->message), "%s", error_message(e));
        error_free(e);
}

static struct error *run(struct unpack_reply *reply, struct inflate **inflate)
{
        struct unpack_job job;
        TRY(receive_job(&job));
        /* Names are bytes; libarchive reads pax names as the locale's text. OpenSSL reads its files on first use. */
        (void) setlocale(LC_CTYPE, "C.UTF-8");
        digest_stream_free(digest_stream_new());
        TRY_WRAP(confine(UNPACK_FD_LAYER), "confine");
        return unpack(&job, inflate, reply);
}

int main(void)
{
        struct unpack_reply reply = { .type = UNPACK_DONE };
        struct inflate *inflate = NULL;
        struct error *e = run(&reply, &inflate);
        if (e)
                fill_error(e, inflate && inflate_at_end(inflate), &reply);
        e = socket_send(UNPACK_FD_SOCKET, &reply, sizeof(reply), NULL, 0, &for_ever);
        _exit(e ? 1 : 0); /* nobody to tell, and nothing to free that the kernel does not */
}
