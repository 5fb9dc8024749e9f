/* struct image: what images.h hands out. */
#include "images/image.h"
#include "images/strings.h"

void image_free(struct image *image)
{
        if (!image)
                return;
        free(image->id);
        free_strings(image->repo_tags);
        free_strings(image->repo_digests);
        free(image->user);
        free(image->config_json);
        free_strings(image->diff_ids);
        free(image->seam);
        free(image);
}

void image_list_free(struct image **list, size_t n)
{
        for (size_t i = 0; list && i < n; i++)
                image_free(list[i]);
        free(list);
}

struct image *image_copy(const struct image *from)
{
        struct image *to = NEW(struct image);
        *to = (struct image){
                .id = dup_string(from->id),
                .repo_tags = strings_copy(from->repo_tags),
                .repo_digests = strings_copy(from->repo_digests),
                .size_bytes = from->size_bytes,
                .pinned = from->pinned,
                .user = dup_string(from->user),
                .diff_ids = strings_copy(from->diff_ids),
                .seam = dup_string(from->seam),
        };
        return to;
}
