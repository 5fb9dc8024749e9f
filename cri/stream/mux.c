#include "cri/stream/mux.h"
#include "cri/stream/base64.h"
#include <sys/ioctl.h>

/* Below this a copy costs less than splice's three calls. From sockets all is copied: a pipe in between, lent while the client
 * reads slowly, took 0.4 in place of 0.6 s of CPU a GiB, which is not worth its keeping. */
enum { SPLICE_LEAST_BYTES = 8 << 10 };

void mux_send(struct mux *mux, struct stream *stream, const void *bytes, size_t len_bytes)
{
        uint8_t header[MUX_HEADER_MAX];
        if (stream->is_reset || stream->fin_sent)
                return;
        if (!mux->is_base64) {
                transport_queue(mux->transport, header, mux->ops->header(mux, stream, len_bytes, header));
                transport_queue(mux->transport, bytes, len_bytes);
                return;
        }
        char *coded = malloc(BASE64_SIZE(len_bytes));
        if (!coded) {
                mux->transport->is_broken = true;
                return;
        }
        size_t coded_bytes = base64_encode(bytes, len_bytes, coded);
        transport_queue(mux->transport, header, mux->ops->header(mux, stream, coded_bytes, header));
        transport_queue(mux->transport, coded, coded_bytes);
        free(coded);
}

void mux_fin(struct mux *mux, struct stream *stream)
{
        if (!stream->is_reset && !stream->fin_sent)
                mux->ops->fin(mux, stream);
        stream->fin_sent = true;
}

void mux_reset(struct mux *mux, struct stream *stream)
{
        if (!stream->is_reset)
                mux->ops->reset(mux, stream);
        stream->is_reset = true;
}

bool mux_takes(const struct mux *mux, const struct stream *stream)
{
        return transport_is_free(mux->transport) && mux->ops->room(mux, stream) > 0;
}

static enum pump pump_splice(struct mux *mux, struct stream *stream, struct outlet *outlet, size_t len_bytes)
{
        uint8_t header[MUX_HEADER_MAX];
        size_t header_bytes = mux->ops->header(mux, stream, len_bytes, header);
        transport_splice(mux->transport, header, header_bytes, outlet->fd, len_bytes);
        outlet->left_bytes -= len_bytes;
        return PUMP_SENT;
}

static enum pump pump_copy(struct mux *mux, struct stream *stream, struct outlet *outlet, size_t most_bytes)
{
        uint8_t header[MUX_HEADER_MAX];
        const void *payload = mux->scratch->out;
        ssize_t n = read(outlet->fd, mux->scratch->out,
                         most_bytes < MUX_COPY_BYTES ? most_bytes : MUX_COPY_BYTES);
        if (n < 0)
                return errno == EAGAIN || errno == EINTR ? PUMP_EMPTY
                       : errno == EIO ? PUMP_ENDED /* a terminal that nobody has open any more */
                                      : PUMP_BROKEN;
        if (n == 0)
                return PUMP_ENDED;
        size_t payload_bytes = (size_t) n;
        outlet->left_bytes -= payload_bytes;
        if (mux->is_base64) {
                payload_bytes = base64_encode(mux->scratch->out, payload_bytes, mux->scratch->coded);
                payload = mux->scratch->coded;
        }
        size_t header_bytes = mux->ops->header(mux, stream, payload_bytes, header);
        transport_send(mux->transport, header, header_bytes, payload, payload_bytes);
        return PUMP_SENT;
}

enum pump mux_pump(struct mux *mux, struct stream *stream, struct outlet *outlet)
{
        int there_bytes = 0;
        size_t most_bytes = mux->ops->room(mux, stream);
        if (outlet->left_bytes == 0)
                return PUMP_ENDED;
        if (most_bytes == 0 || !transport_is_free(mux->transport))
                return PUMP_HELD;
        if (most_bytes > outlet->left_bytes)
                most_bytes = outlet->left_bytes;
        if (outlet->is_pipe && !mux->is_base64 && transport_splices(mux->transport) &&
            ioctl(outlet->fd, FIONREAD, &there_bytes) == 0 && there_bytes >= SPLICE_LEAST_BYTES) {
                size_t len_bytes = (size_t) there_bytes < most_bytes ? (size_t) there_bytes : most_bytes;
                return pump_splice(mux, stream, outlet,
                                   len_bytes < MUX_SPLICE_BYTES ? len_bytes : MUX_SPLICE_BYTES);
        }
        return pump_copy(mux, stream, outlet, most_bytes);
}
