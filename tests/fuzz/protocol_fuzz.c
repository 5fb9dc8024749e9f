/* What skiff-pod decodes: the first byte chooses the message and how many descriptors came with it. */
#include "runtime/native/protocol.h"
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len_bytes);
int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len_bytes)
{
        struct container_message container;
        struct exec_message exec;
        struct pod_start start = { 0 };
        struct protocol_snapshot snapshot = { 0 };
        struct exec_open open;
        struct session_streams streams;
        struct wire_reader r;
        if (len_bytes == 0)
                return 0;
        const uint8_t *body = bytes + 1;
        size_t body_bytes = len_bytes - 1;
        for (uint32_t version = PROTOCOL_OLDEST; version <= PROTOCOL_VERSION; version++) {
                struct error *e = container_message_get(body, body_bytes, version, bytes[0], &container);
                if (!e)
                        container_message_done(&container);
                error_free(e);
                e = exec_message_get(body, body_bytes, version, &exec);
                if (!e)
                        exec_message_done(&exec);
                error_free(e);
        }
        wire_open(&r, body, body_bytes);
        exec_open_get(&r, &open);
        if (!r.bad && (strlen(open.id) > body_bytes || (open.streams.tty && open.streams.err)))
                __builtin_trap();
        wire_open(&r, body, body_bytes);
        (void) wire_get_text(&r);
        streams_get(&r, &streams);
        wire_open(&r, body, body_bytes);
        pod_start_get(&r, &start);
        free(start.sysctls);
        wire_open(&r, body, body_bytes);
        snapshot_get(&r, &snapshot);
        free(snapshot.running);
        return 0;
}
