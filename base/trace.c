#include "base/trace.h"
#include "base/id.h"
#include <string.h>

#define TRACE_ID_LEN 32
#define SPAN_ID_LEN 16
#define HEX "0123456789abcdef"

static bool is_hex(const char *text, size_t len)
{
        return strspn(text, HEX) >= len;
}

static bool is_zero(const char *text, size_t len)
{
        return strspn(text, "0") >= len;
}

/* A later version may be longer, and means in its first part what this one does. */
static bool is_parent(const char *text)
{
        size_t len = strlen(text);
        const char *trace_id = text + 3, *span_id = trace_id + TRACE_ID_LEN + 1,
                   *flags = span_id + SPAN_ID_LEN + 1;
        if (len < TRACE_PARENT_LEN || text[2] != '-' || trace_id[TRACE_ID_LEN] != '-' ||
            span_id[SPAN_ID_LEN] != '-')
                return false;
        if (!is_hex(text, 2) || !is_hex(trace_id, TRACE_ID_LEN) || !is_hex(span_id, SPAN_ID_LEN) ||
            !is_hex(flags, 2) || is_zero(trace_id, TRACE_ID_LEN) || is_zero(span_id, SPAN_ID_LEN))
                return false;
        if (strncmp(text, "ff", 2) == 0)
                return false;
        return len == TRACE_PARENT_LEN || (!is_zero(text, 2) && text[TRACE_PARENT_LEN] == '-');
}

static void parent_make(char out[TRACE_PARENT_LEN + 1])
{
        char digits[ID_LEN + 1];
        do
                id_make(digits);
        while (is_zero(digits, TRACE_ID_LEN) || is_zero(digits + TRACE_ID_LEN, SPAN_ID_LEN));
        (void) snprintf(out, TRACE_PARENT_LEN + 1, "00-%.*s-%.*s-00", TRACE_ID_LEN, digits, SPAN_ID_LEN,
                        digits + TRACE_ID_LEN);
}

/* An environment's variable is seen by scripts: nothing goes into one but what a header may have. */
static char *checked(const char *text, size_t max_bytes)
{
        size_t len = text ? strlen(text) : 0;
        if (len == 0 || len > max_bytes)
                return NULL;
        for (size_t i = 0; i < len; i++)
                if (text[i] < ' ' || text[i] > '~')
                        return NULL;
        return dup_string(text);
}

void trace_take(struct trace *trace, const char *parent, const char *state, const char *baggage)
{
        if (parent && is_parent(parent)) {
                (void) snprintf(trace->parent, sizeof(trace->parent), "00%.*s", TRACE_PARENT_LEN - 2,
                                parent + 2);
                trace->state = checked(state, TRACE_STATE_MAX_BYTES);
        } else {
                parent_make(trace->parent);
        }
        trace->baggage = checked(baggage, TRACE_BAGGAGE_MAX_BYTES);
}

void trace_set(struct trace *trace, const struct trace *other)
{
        bool is_there = other && *other->parent;
        trace_done(trace);
        trace_take(trace, is_there ? other->parent : NULL, is_there ? other->state : NULL,
                   is_there ? other->baggage : NULL);
}

void trace_done(struct trace *trace)
{
        freep(&trace->state);
        freep(&trace->baggage);
        *trace->parent = '\0';
}
