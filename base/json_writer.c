#include "base/json_writer.h"

static void put(struct json_writer *w, const char *text)
{
        if (!w->error)
                w->error = buf_append_text(w->out, text);
}

void json_write_begin(struct json_writer *w, const char *key, const char *bracket)
{
        if (w->comma)
                put(w, ",");
        if (key && !w->error)
                w->error = json_put_text(w->out, key);
        if (key)
                put(w, ":");
        put(w, bracket);
        w->comma = false;
}

void json_write_end(struct json_writer *w, const char *bracket)
{
        put(w, bracket);
        w->comma = true;
}

void json_write_text(struct json_writer *w, const char *key, const char *text)
{
        json_write_begin(w, key, "");
        if (!w->error)
                w->error = json_put_text(w->out, text);
        w->comma = true;
}

void json_write_number(struct json_writer *w, const char *key, int64_t number)
{
        json_write_begin(w, key, "");
        if (!w->error)
                w->error = buf_append_format(w->out, "%lld", (long long) number);
        w->comma = true;
}

void json_write_bool(struct json_writer *w, const char *key, bool value)
{
        json_write_begin(w, key, value ? "true" : "false");
        w->comma = true;
}

void json_write_value(struct json_writer *w, const char *key, const struct json *value)
{
        json_write_begin(w, key, "");
        if (!w->error)
                w->error = json_write(value, w->out);
        w->comma = true;
}

void json_write_texts(struct json_writer *w, const char *key, char *const *texts)
{
        json_write_begin(w, key, "[");
        for (size_t i = 0; texts && texts[i]; i++)
                json_write_text(w, NULL, texts[i]);
        json_write_end(w, "]");
}
