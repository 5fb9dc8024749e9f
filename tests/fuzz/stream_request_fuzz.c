/* The head of a request, its target and its negotiation, for each kind of session. An answer is always whole. */
#include "cri/stream/request.h"
#include "cri/stream/upgrade.h"
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len_bytes);

static void negotiate(const struct request *request, enum control_kind kind)
{
        struct upgrade upgrade;
        struct buf answer;
        buf_init(&answer, REQUEST_HEAD_MAX * 4);
        int status = upgrade_negotiate(request, kind, &upgrade, &answer);
        if (!answer.bytes || !strstr(answer.bytes, "\r\n\r\n") || status < 101)
                abort();
        buf_done(&answer);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len_bytes)
{
        struct request request;
        enum control_kind kind;
        const char *token;
        if (len_bytes > REQUEST_HEAD_MAX)
                return 0;
        char *head = malloc(len_bytes + 1);
        if (!head)
                return 0;
        memcpy(head, bytes, len_bytes);
        size_t head_bytes = request_head_end(head, len_bytes, 0);
        struct error *e = head_bytes ? request_parse(head, head_bytes, &request) : NULL;
        if (head_bytes && !e) {
                (void) upgrade_target(&request, &kind, &token);
                negotiate(&request, CONTROL_EXEC);
                negotiate(&request, CONTROL_FORWARD);
        }
        error_free(e);
        free(head);
        return 0;
}
