/* tar_unpack on any bytes (compressed or not) into a sink that writes nothing but checks what every sink may rely on. */
#include "images/unpack/tar.h"
#include <stdbool.h>
#include <string.h>

struct input {
        const uint8_t *bytes;
        size_t left_bytes;
};

static ssize_t read_input(void *context, void *bytes, size_t size_bytes)
{
        struct input *input = context;
        size_t n = input->left_bytes < size_bytes ? input->left_bytes : size_bytes;
        if (n)
                memcpy(bytes, input->bytes, n);
        input->bytes += n;
        input->left_bytes -= n;
        return (ssize_t) n;
}

/* Aborts on a name that is not inside the layer. */
static void check_path(const char *path, bool may_be_root)
{
        if (strlen(path) > SINK_PATH_MAX || (!*path && !may_be_root) ||
            (*path && path[strlen(path) - 1] == '/'))
                abort();
        for (const char *s = path; *s;) {
                size_t n = strcspn(s, "/");
                if (n == 0 || n > 255 || (n == 1 && *s == '.') || (n == 2 && memcmp(s, "..", 2) == 0))
                        abort();
                s += n;
                s += *s == '/';
        }
}

static struct error *on_entry(struct layer_sink *sink, const struct sink_entry *entry)
{
        (void) sink;
        check_path(entry->path, true);
        for (size_t i = 0; i < entry->n_xattrs; i++)
                if (strncmp(entry->xattrs[i].name, "trusted.", 8) == 0)
                        abort();
        return NULL;
}

static struct error *on_data(struct layer_sink *sink, const void *bytes, size_t len_bytes,
                             uint64_t offset_bytes)
{
        static volatile char touched;
        (void) sink, (void) offset_bytes;
        touched = ((const char *) bytes)[len_bytes - 1];
        (void) touched;
        return NULL;
}

static struct error *on_entry_end(struct layer_sink *sink, const struct sink_entry *entry)
{
        return on_entry(sink, entry);
}

static struct error *on_hardlink(struct layer_sink *sink, const char *path, const char *target)
{
        (void) sink;
        check_path(path, false);
        check_path(target, false);
        return NULL;
}

static struct error *on_whiteout(struct layer_sink *sink, const char *path)
{
        (void) sink;
        check_path(path, false);
        return NULL;
}

static struct error *on_opaque(struct layer_sink *sink, const char *path)
{
        (void) sink;
        check_path(path, true);
        return NULL;
}

static struct error *on_finish(struct layer_sink *sink, struct sink_usage *usage)
{
        (void) sink;
        *usage = (struct sink_usage){ 0, 0 };
        return NULL;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len_bytes);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len_bytes)
{
        struct layer_sink sink = {
                .entry = on_entry,
                .data = on_data,
                .entry_end = on_entry_end,
                .hardlink = on_hardlink,
                .whiteout = on_whiteout,
                .opaque = on_opaque,
                .finish = on_finish,
        };
        struct input input = { bytes, len_bytes };
        const struct inflate_source source = { read_input, &input };
        _cleanup_(inflate_freep) struct inflate *inflate = NULL;
        struct sink_usage usage;
        struct inflate_result result;
        struct error *e = inflate_open(&source, 1 << 20, 16 << 20, &inflate);
        if (!e)
                e = tar_unpack(inflate, &sink, 1000, &usage);
        if (!e)
                e = inflate_finish(inflate, &result);
        error_free(e);
        return 0;
}
