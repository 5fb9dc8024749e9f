#include "images/resolve.h"

enum { READS_MAX = 32, DEPTH_MAX = 4 };

struct search {
        const struct manifest_reader *reader;
        size_t n_read, depth;
        struct manifest *found;
        struct error *no_image; /* what the first entry that is none was */
};

static struct error *search_index(struct search *search, const struct manifest *index);

static struct error *search_entry(struct search *search, const struct descriptor *entry)
{
        _cleanup_(manifest_freep) struct manifest *manifest = NULL;
        if (search->n_read++ == READS_MAX)
                return error_new(ERROR_INVALID_ARGUMENT, "more than %d manifests lead to no image",
                                 READS_MAX);
        struct error *e = search->reader->read(search->reader->context, entry, &manifest);
        if (e && error_code_of(e) == ERROR_UNIMPLEMENTED) {
                if (search->no_image)
                        error_free(e);
                else
                        search->no_image = e;
                return NULL;
        }
        TRY(e);
        if (manifest->kind == MANIFEST_INDEX)
                return search_index(search, manifest);
        search->found = TAKE(manifest);
        return NULL;
}

static struct error *search_index(struct search *search, const struct manifest *index)
{
        const struct descriptor **list = NULL;
        size_t n = 0;
        struct error *e = NULL;
        if (search->depth == DEPTH_MAX)
                return error_new(ERROR_INVALID_ARGUMENT, "indexes inside indexes, more than %d deep",
                                 DEPTH_MAX);
        search->depth++;
        manifest_candidates(index, &list, &n);
        for (size_t i = 0; i < n && !e && !search->found; i++)
                e = search_entry(search, list[i]);
        free(list);
        search->depth--;
        return e;
}

struct error *manifest_resolve(const struct manifest *index, const struct manifest_reader *reader,
                               struct manifest **out)
{
        struct search search = { .reader = reader };
        struct error *e = search_index(&search, index);
        if (!e && search.found) {
                error_free(search.no_image);
                *out = search.found;
                return NULL;
        }
        manifest_free(search.found);
        if (!e && search.no_image)
                return search.no_image;
        error_free(search.no_image);
        return e ? e : manifest_no_image(index);
}
