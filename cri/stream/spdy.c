#include "cri/stream/spdy.h"
#include "cri/stream/connection.h"
#include "cri/stream/header_block.h"
#include "cri/stream/purpose.h"
#include "cri/stream/spdy_frame.h"
#include "cri/stream/websocket_frame.h"
#include <string.h>

enum { WINDOW_AT_FIRST = 64 << 10, BULK_BYTES = 16 << 10 };

struct spdy {
        struct mux mux;
        struct spdy_reader reader;
        struct header_reader *headers; /* NULL once no streams are to come */
        struct stream **streams;       /* by id */
        size_t n_streams, room_streams, streams_max;
        uint32_t last_id; /* of the client's */
        bool has_replied;
        bool client_leaves;
        bool keeps_windows, keeps_session_window; /* the peer */
        int64_t initial_window_bytes, session_window_bytes;
        bool is_bulk; /* the client sends large frames that go straight to a pipe */
        bool in_tunnel;
        struct websocket_reader outer;
};

static struct spdy *spdy_of(struct mux *mux)
{
        return CONTAINER_OF(mux, struct spdy, mux);
}

/* Queues a whole frame. */
static void emit(struct spdy *spdy, const uint8_t *frame, size_t len_bytes)
{
        uint8_t outer[WEBSOCKET_HEADER_MAX];
        if (spdy->in_tunnel)
                transport_queue(spdy->mux.transport, outer,
                                websocket_write_header(outer, WEBSOCKET_BINARY, len_bytes));
        transport_queue(spdy->mux.transport, frame, len_bytes);
}

static void emit_reset(struct spdy *spdy, uint32_t id, enum spdy_status status)
{
        uint8_t frame[SPDY_SMALL_MAX];
        emit(spdy, frame, spdy_write_reset(frame, id, status));
}

/* Where the stream is, or would be. */
static size_t place_of(const struct spdy *spdy, uint32_t id)
{
        size_t low = 0, high = spdy->n_streams;
        while (low < high) {
                size_t middle = (low + high) / 2;
                if (spdy->streams[middle]->id < id)
                        low = middle + 1;
                else
                        high = middle;
        }
        return low;
}

static struct stream *find(const struct spdy *spdy, uint32_t id)
{
        size_t at = place_of(spdy, id);
        return at < spdy->n_streams && spdy->streams[at]->id == id ? spdy->streams[at] : NULL;
}

static struct stream *stream_add(struct spdy *spdy, uint32_t id)
{
        if (spdy->n_streams == spdy->room_streams) {
                spdy->room_streams += 8;
                spdy->streams = grow_array(spdy->streams, spdy->room_streams, sizeof(struct stream *));
        }
        struct stream *stream = NEW(struct stream);
        *stream = (struct stream){ .id = id, .window_bytes = spdy->initial_window_bytes };
        spdy->streams[spdy->n_streams++] = stream; /* ids only grow */
        return stream;
}

static void spdy_forget(struct mux *mux, struct stream *stream)
{
        struct spdy *spdy = spdy_of(mux);
        size_t at = place_of(spdy, stream->id);
        spdy->n_streams--;
        for (; at < spdy->n_streams; at++)
                spdy->streams[at] = spdy->streams[at + 1];
        free(stream);
}

static void stream_open(struct spdy *spdy, const struct spdy_event *event, const struct headers *headers)
{
        struct purpose *purpose = spdy->mux.purpose;
        uint8_t frame[SPDY_REPLY_MAX];
        if (spdy->n_streams == spdy->streams_max || spdy->client_leaves) {
                emit_reset(spdy, event->stream_id, SPDY_REFUSED_STREAM);
                return;
        }
        struct stream *stream = stream_add(spdy, event->stream_id);
        uint32_t refused = purpose->ops->open(purpose, stream, headers);
        if (refused) {
                emit_reset(spdy, event->stream_id, refused);
                spdy_forget(&spdy->mux, stream);
                return;
        }
        emit(spdy, frame, spdy_write_reply(frame, event->stream_id, !spdy->has_replied));
        spdy->has_replied = true;
        if (event->flags & SPDY_FLAG_FIN) {
                stream->fin_got = true;
                purpose->ops->fin(purpose, stream);
        }
}

static struct error *take_syn_stream(struct spdy *spdy, const struct spdy_event *event)
{
        _cleanup_(headers_done) struct headers headers = { 0 };
        if (event->stream_id % 2 == 0 || event->stream_id <= spdy->last_id)
                return error_new(ERROR_INVALID_ARGUMENT, "stream %u after %u", event->stream_id,
                                 spdy->last_id);
        spdy->last_id = event->stream_id;
        if (!spdy->headers) {
                emit_reset(spdy, event->stream_id, SPDY_REFUSED_STREAM);
                return NULL;
        }
        TRY(header_block_read(spdy->headers, event->bytes, event->len_bytes, &headers));
        stream_open(spdy, event, &headers);
        return NULL;
}

/* Nothing depends on the headers, but inflate must have seen them. */
static struct error *take_headers(struct spdy *spdy, const struct spdy_event *event)
{
        _cleanup_(headers_done) struct headers headers = { 0 };
        return spdy->headers ? header_block_read(spdy->headers, event->bytes, event->len_bytes, &headers)
                             : NULL;
}

/* A peer that keeps windows waits for ours. What it sends is taken when it is read: what holds it back is TCP. */
static void tell_window(struct spdy *spdy, uint32_t id, size_t len_bytes)
{
        uint8_t frame[SPDY_SMALL_MAX];
        if (!spdy->keeps_windows || len_bytes == 0)
                return;
        emit(spdy, frame, spdy_write_window(frame, id, (uint32_t) len_bytes));
        if (spdy->keeps_session_window)
                emit(spdy, frame, spdy_write_window(frame, 0, (uint32_t) len_bytes));
}

static void take_data(struct spdy *spdy, const struct spdy_event *event)
{
        struct purpose *purpose = spdy->mux.purpose;
        struct stream *stream = find(spdy, event->stream_id);
        if (!stream && event->stream_id > spdy->last_id && event->is_last)
                emit_reset(spdy, event->stream_id, SPDY_INVALID_STREAM);
        tell_window(spdy, event->stream_id, event->len_bytes);
        if (!stream || stream->fin_got || stream->is_reset)
                return; /* it was on its way when we closed the stream */
        if (event->is_last && event->flags & SPDY_FLAG_FIN)
                stream->fin_got = true;
        if (event->len_bytes)
                purpose->ops->data(purpose, stream, event->bytes, event->len_bytes);
        if (stream->fin_got)
                purpose->ops->fin(purpose, stream);
}

static void take_reset(struct spdy *spdy, const struct spdy_event *event)
{
        struct purpose *purpose = spdy->mux.purpose;
        struct stream *stream = find(spdy, event->stream_id);
        if (!stream || stream->is_reset)
                return;
        stream->is_reset = true;
        purpose->ops->reset(purpose, stream);
}

static void take_settings(struct spdy *spdy, const struct spdy_event *event)
{
        spdy->keeps_windows = true;
        if (event->value == 0 || event->value > INT32_MAX)
                return;
        int64_t more_bytes = (int64_t) event->value - spdy->initial_window_bytes;
        spdy->initial_window_bytes = event->value;
        for (size_t i = 0; i < spdy->n_streams; i++)
                spdy->streams[i]->window_bytes += more_bytes;
}

static struct error *take_window(struct spdy *spdy, const struct spdy_event *event)
{
        struct stream *stream = find(spdy, event->stream_id);
        spdy->keeps_windows = true;
        if (event->stream_id == 0) {
                spdy->keeps_session_window = true;
                spdy->session_window_bytes += event->value;
                return spdy->session_window_bytes > INT32_MAX
                               ? error_new(ERROR_INVALID_ARGUMENT, "a window past its end")
                               : NULL;
        }
        if (!stream || stream->is_reset)
                return NULL;
        stream->window_bytes += event->value;
        if (stream->window_bytes <= INT32_MAX)
                return NULL;
        emit_reset(spdy, event->stream_id, SPDY_FLOW_CONTROL_ERROR);
        stream->is_reset = true;
        spdy->mux.purpose->ops->reset(spdy->mux.purpose, stream);
        return NULL;
}

static struct error *take_event(struct spdy *spdy, const struct spdy_event *event)
{
        uint8_t frame[SPDY_SMALL_MAX];
        switch (event->type) {
        case SPDY_SYN_STREAM:
                return take_syn_stream(spdy, event);
        case SPDY_HEADERS:
                return take_headers(spdy, event);
        case SPDY_DATA:
                take_data(spdy, event);
                return NULL;
        case SPDY_RST_STREAM:
                take_reset(spdy, event);
                return NULL;
        case SPDY_SETTINGS:
                take_settings(spdy, event);
                return NULL;
        case SPDY_WINDOW_UPDATE:
                return take_window(spdy, event);
        case SPDY_PING:
                if (event->value % 2) /* else an answer to a ping that we never sent */
                        emit(spdy, frame, spdy_write_ping(frame, event->value));
                return NULL;
        case SPDY_GOAWAY:
                spdy->client_leaves = true;
                return NULL;
        default:
                return NULL;
        }
}

static struct error *feed_frames(struct spdy *spdy, const uint8_t *bytes, size_t len_bytes)
{
        while (len_bytes) {
                struct spdy_event event;
                size_t used = 0;
                TRY(spdy_read(&spdy->reader, bytes, len_bytes, &used, &event));
                TRY(take_event(spdy, &event));
                bytes += used;
                len_bytes -= used;
        }
        return NULL;
}

static void emit_outer(struct spdy *spdy, enum websocket_opcode opcode, const uint8_t *bytes,
                       size_t len_bytes)
{
        uint8_t outer[WEBSOCKET_HEADER_MAX];
        transport_queue(spdy->mux.transport, outer, websocket_write_header(outer, opcode, len_bytes));
        transport_queue(spdy->mux.transport, bytes, len_bytes);
}

/* The bounds of messages mean nothing: their contents, put together, are what would be on a TCP connection. */
static struct error *feed_messages(struct spdy *spdy, uint8_t *bytes, size_t len_bytes)
{
        while (len_bytes) {
                struct websocket_event event;
                size_t used = 0;
                TRY(websocket_read(&spdy->outer, bytes, len_bytes, &used, &event));
                if (event.opcode == WEBSOCKET_BINARY || event.opcode == WEBSOCKET_TEXT)
                        TRY(feed_frames(spdy, event.bytes, event.len_bytes));
                else if (event.opcode == WEBSOCKET_PING)
                        emit_outer(spdy, WEBSOCKET_PONG, event.bytes, event.len_bytes);
                else if (event.opcode == WEBSOCKET_CLOSE)
                        connection_leave(spdy->mux.purpose->connection);
                bytes += used;
                len_bytes -= used;
        }
        return NULL;
}

static struct error *spdy_feed(struct mux *mux, uint8_t *bytes, size_t len_bytes)
{
        struct spdy *spdy = spdy_of(mux);
        return spdy->in_tunnel ? feed_messages(spdy, bytes, len_bytes) : feed_frames(spdy, bytes, len_bytes);
}

/* The pipe of the frame that is being read. A client that sends large frames is read header by header, so that their data is still in
 * the socket when its length is known. */
static size_t spdy_straight(struct mux *mux, int *pipe_fd, size_t *feed_bytes)
{
        struct spdy *spdy = spdy_of(mux);
        uint32_t id = 0;
        size_t left_bytes = spdy->in_tunnel ? 0 : spdy_data_left(&spdy->reader, &id);
        struct stream *stream = left_bytes ? find(spdy, id) : NULL;
        *feed_bytes = SIZE_MAX;
        if (stream && !stream->fin_got && !stream->is_reset)
                *pipe_fd = spdy->mux.purpose->ops->straight(spdy->mux.purpose, stream);
        if (left_bytes)
                spdy->is_bulk = *pipe_fd >= 0 && (left_bytes >= BULK_BYTES || spdy->is_bulk);
        else if (spdy->is_bulk && spdy->reader.header_bytes < SPDY_HEADER_BYTES)
                *feed_bytes = SPDY_HEADER_BYTES - spdy->reader.header_bytes;
        return spdy->is_bulk ? left_bytes : 0;
}

static void spdy_went_straight(struct mux *mux, size_t len_bytes)
{
        struct spdy *spdy = spdy_of(mux);
        uint32_t id = 0;
        (void) spdy_data_left(&spdy->reader, &id);
        tell_window(spdy, id, len_bytes);
        if (!spdy_pass(&spdy->reader, len_bytes))
                return;
        struct stream *stream = find(spdy, id);
        stream->fin_got = true;
        spdy->mux.purpose->ops->fin(spdy->mux.purpose, stream);
}

static size_t spdy_header(struct mux *mux, struct stream *stream, size_t payload_bytes,
                          uint8_t out[MUX_HEADER_MAX])
{
        struct spdy *spdy = spdy_of(mux);
        size_t outer_bytes = 0;
        stream->window_bytes -= (int64_t) payload_bytes;
        spdy->session_window_bytes -= (int64_t) payload_bytes;
        if (spdy->in_tunnel)
                outer_bytes =
                        websocket_write_header(out, WEBSOCKET_BINARY, SPDY_HEADER_BYTES + payload_bytes);
        return outer_bytes + spdy_write_data_header(out + outer_bytes, stream->id, 0, payload_bytes);
}

static size_t spdy_room(const struct mux *mux, const struct stream *stream)
{
        const struct spdy *spdy = CONTAINER_OF(mux, const struct spdy, mux);
        int64_t room_bytes = SPDY_DATA_MAX;
        if (spdy->keeps_windows && stream->window_bytes < room_bytes)
                room_bytes = stream->window_bytes;
        if (spdy->keeps_session_window && spdy->session_window_bytes < room_bytes)
                room_bytes = spdy->session_window_bytes;
        return room_bytes > 0 ? (size_t) room_bytes : 0;
}

static void spdy_fin(struct mux *mux, struct stream *stream)
{
        uint8_t frame[SPDY_HEADER_BYTES];
        emit(spdy_of(mux), frame, spdy_write_data_header(frame, stream->id, SPDY_FLAG_FIN, 0));
}

static void spdy_reset(struct mux *mux, struct stream *stream)
{
        emit_reset(spdy_of(mux), stream->id, SPDY_CANCEL);
}

static void spdy_seal(struct mux *mux)
{
        struct spdy *spdy = spdy_of(mux);
        header_reader_free(spdy->headers);
        spdy->headers = NULL;
}

/* A ping of the server's own: its number is even. */
static void spdy_probe(struct mux *mux)
{
        uint8_t frame[SPDY_SMALL_MAX];
        emit(spdy_of(mux), frame, spdy_write_ping(frame, 2));
}

static void spdy_finish(struct mux *mux, bool well)
{
        static const uint8_t normal[] = { WEBSOCKET_NORMAL >> 8, WEBSOCKET_NORMAL & 0xff };
        struct spdy *spdy = spdy_of(mux);
        uint8_t frame[SPDY_SMALL_MAX];
        emit(spdy, frame, spdy_write_goaway(frame, spdy->last_id, well ? 0 : SPDY_PROTOCOL_ERROR));
        if (spdy->in_tunnel)
                emit_outer(spdy, WEBSOCKET_CLOSE, normal, sizeof(normal));
}

static void spdy_free(struct mux *mux)
{
        struct spdy *spdy = spdy_of(mux);
        spdy_seal(mux);
        spdy_reader_done(&spdy->reader);
        for (size_t i = 0; i < spdy->n_streams; i++)
                free(spdy->streams[i]);
        free(spdy->streams);
        free(spdy);
}

static const struct mux_ops spdy_ops = {
        .feed = spdy_feed,
        .straight = spdy_straight,
        .went_straight = spdy_went_straight,
        .header = spdy_header,
        .room = spdy_room,
        .fin = spdy_fin,
        .reset = spdy_reset,
        .forget = spdy_forget,
        .seal = spdy_seal,
        .probe = spdy_probe,
        .finish = spdy_finish,
        .free = spdy_free,
};

struct mux *spdy_new(struct transport *transport, struct scratch *scratch, size_t streams_max, bool in_tunnel)
{
        struct spdy *spdy = NEW(struct spdy);
        *spdy = (struct spdy){ .mux = { .ops = &spdy_ops, .transport = transport, .scratch = scratch },
                               .streams_max = streams_max,
                               .initial_window_bytes = WINDOW_AT_FIRST,
                               .session_window_bytes = WINDOW_AT_FIRST,
                               .in_tunnel = in_tunnel };
        spdy_reader_init(&spdy->reader);
        spdy->headers = header_reader_new();
        if (spdy->headers)
                return &spdy->mux;
        free(spdy);
        return NULL;
}
