#include "images/unpack/sink.h"
#include <stdarg.h>
#include <stdio.h>

void sink_note(struct layer_sink *sink, const char *path, const char *fmt, ...)
{
        char what[256];
        va_list arguments;
        if (sink->notes.n++ > 0)
                return;
        va_start(arguments, fmt);
        (void) vsnprintf(what, sizeof(what), fmt, arguments);
        va_end(arguments);
        (void) snprintf(sink->notes.first, sizeof(sink->notes.first), "\"%s\": %s", path, what);
}
