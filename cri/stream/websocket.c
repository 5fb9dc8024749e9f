#include "cri/stream/websocket.h"
#include "base/loop.h"
#include "cri/stream/base64.h"
#include "cri/stream/connection.h"
#include "cri/stream/purpose.h"
#include "cri/stream/spdy_frame.h"
#include "cri/stream/websocket_frame.h"

enum { CHANNELS = 256, CHANNEL_CLOSE = 255, FIRST_WITH_CLOSE = 5 };

struct websocket {
        struct mux mux;
        struct websocket_reader reader;
        struct stream **streams; /* by channel, NULL where there is none */
        unsigned version;
        /* of the message that is being read */
        bool has_channel;
        uint8_t channel;
        struct base64_reader base64;
};

static struct websocket *websocket_of(struct mux *mux)
{
        return CONTAINER_OF(mux, struct websocket, mux);
}

static void emit(struct websocket *w, enum websocket_opcode opcode, const void *bytes, size_t len_bytes)
{
        uint8_t header[WEBSOCKET_HEADER_MAX];
        transport_queue(w->mux.transport, header, websocket_write_header(header, opcode, len_bytes));
        transport_queue(w->mux.transport, bytes, len_bytes);
}

/* Its own code comes back, as RFC 6455 has it. */
static void take_close(struct websocket *w, const struct websocket_event *event)
{
        emit(w, WEBSOCKET_CLOSE, event->bytes, event->len_bytes < 2 ? 0 : 2);
        connection_leave(w->mux.purpose->connection);
}

static void end_channel(struct websocket *w, uint8_t channel)
{
        struct stream *stream = w->streams[channel];
        if (!stream || stream->fin_got)
                return;
        stream->fin_got = true;
        w->mux.purpose->ops->fin(w->mux.purpose, stream);
}

static void take_bytes(struct websocket *w, const uint8_t *bytes, size_t len_bytes)
{
        struct stream *stream = w->streams[w->channel];
        if (len_bytes == 0)
                return;
        if (w->channel == CHANNEL_CLOSE && w->version >= FIRST_WITH_CLOSE)
                end_channel(w, bytes[0]);
        else if (stream && !stream->fin_got)
                w->mux.purpose->ops->data(w->mux.purpose, stream, bytes, len_bytes);
}

/* Some of a message: its first byte is the channel. */
static struct error *take_data(struct websocket *w, const struct websocket_event *event, uint8_t *bytes)
{
        size_t len_bytes = event->len_bytes;
        if (event->begins) {
                w->has_channel = false;
                w->base64 = (struct base64_reader){ 0 };
        }
        if (!w->has_channel && len_bytes) {
                w->has_channel = true;
                w->channel = w->mux.is_base64 ? (uint8_t) (bytes[0] - '0') : bytes[0];
                bytes++;
                len_bytes--;
        }
        if (w->mux.is_base64 && !base64_decode(&w->base64, bytes, len_bytes, bytes, &len_bytes))
                return error_new(ERROR_INVALID_ARGUMENT, "WebSocket: no base64");
        take_bytes(w, bytes, len_bytes);
        return NULL;
}

static struct error *websocket_feed(struct mux *mux, uint8_t *bytes, size_t len_bytes)
{
        struct websocket *w = websocket_of(mux);
        while (len_bytes) {
                struct websocket_event event;
                size_t used = 0;
                TRY(websocket_read(&w->reader, bytes, len_bytes, &used, &event));
                if (event.opcode == WEBSOCKET_TEXT || event.opcode == WEBSOCKET_BINARY)
                        TRY(take_data(w, &event, bytes + used - event.len_bytes));
                else if (event.opcode == WEBSOCKET_PING)
                        emit(w, WEBSOCKET_PONG, event.bytes, event.len_bytes);
                else if (event.opcode == WEBSOCKET_CLOSE)
                        take_close(w, &event);
                bytes += used;
                len_bytes -= used;
                if (event.opcode == WEBSOCKET_CLOSE)
                        break; /* nothing of it counts any more */
        }
        return NULL;
}

static size_t websocket_header(struct mux *mux, struct stream *stream, size_t payload_bytes,
                               uint8_t out[MUX_HEADER_MAX])
{
        size_t n = websocket_write_header(out, mux->is_base64 ? WEBSOCKET_TEXT : WEBSOCKET_BINARY,
                                          payload_bytes + 1);
        out[n] = (uint8_t) (stream->id + (mux->is_base64 ? '0' : 0));
        return n + 1;
}

static size_t websocket_room(const struct mux *mux, const struct stream *stream)
{
        (void) mux, (void) stream;
        return MUX_SPLICE_BYTES;
}

/* A server has no way to end one channel: a client knows the end by the status, or by the end of all. */
static void websocket_nothing(struct mux *mux, struct stream *stream)
{
        (void) mux, (void) stream;
}

static void websocket_forget(struct mux *mux, struct stream *stream)
{
        websocket_of(mux)->streams[stream->id] = NULL;
        free(stream);
}

static struct stream *websocket_channel(struct mux *mux, uint32_t id)
{
        struct stream *stream = NEW(struct stream);
        stream->id = id;
        websocket_of(mux)->streams[id] = stream;
        return stream;
}

static void websocket_seal(struct mux *mux)
{
        (void) mux; /* there is nothing that only new streams need */
}

/* Any other code than 1000 is an error to client-go, whatever the status said. */
static void websocket_probe(struct mux *mux)
{
        emit(CONTAINER_OF(mux, struct websocket, mux), WEBSOCKET_PING, "", 0);
}

static void websocket_finish(struct mux *mux, bool well)
{
        enum websocket_code code = well ? WEBSOCKET_NORMAL : WEBSOCKET_PROTOCOL_ERROR;
        const uint8_t bytes[] = { (uint8_t) (code >> 8), (uint8_t) code };
        emit(websocket_of(mux), WEBSOCKET_CLOSE, bytes, sizeof(bytes));
}

static void websocket_free(struct mux *mux)
{
        struct websocket *w = websocket_of(mux);
        for (size_t i = 0; i < CHANNELS; i++)
                free(w->streams[i]);
        free(w->streams);
        free(w);
}

static const struct mux_ops websocket_ops = {
        .feed = websocket_feed,
        .header = websocket_header,
        .room = websocket_room,
        .fin = websocket_nothing,
        .reset = websocket_nothing,
        .forget = websocket_forget,
        .channel = websocket_channel,
        .seal = websocket_seal,
        .probe = websocket_probe,
        .finish = websocket_finish,
        .free = websocket_free,
};

struct mux *websocket_new(struct transport *transport, struct scratch *scratch, bool is_base64,
                          unsigned version)
{
        struct websocket *w = NEW(struct websocket);
        *w = (struct websocket){ .mux = { .ops = &websocket_ops,
                                          .transport = transport,
                                          .scratch = scratch,
                                          .is_base64 = is_base64,
                                          .is_framed_by_channel = true },
                                 .streams = NEW_ARRAY(struct stream *, CHANNELS),
                                 .version = version };
        return &w->mux;
}
