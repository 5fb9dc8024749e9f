#include "base/json.h"
#include "cri/client/command.h"
#include "cri/client/message_json.h"
#include "cri/client/print.h"
#include <string.h>

#define JSON_MAX_BYTES ((size_t) 64 << 20)

static const Admin__Layer *find_layer(const Admin__ListLayersResponse *answer, const char *diff_id)
{
        for (size_t i = 0; i < answer->n_layers; i++)
                if (strcmp(answer->layers[i]->diff_id, diff_id) == 0)
                        return answer->layers[i];
        return NULL;
}

/* "NAME ID", a line for each of its names. */
static void print_names(const Cri__ListImagesResponse *images, const char *image_id)
{
        _cleanup_(freep) char *id = print_id(image_id);
        size_t n = 0;
        for (size_t i = 0; i < images->n_images; i++) {
                const Cri__Image *image = images->images[i];
                if (strcmp(image->id, image_id) != 0)
                        continue;
                for (; n < image->n_repo_tags; n++)
                        (void) printf("%s %s\n", image->repo_tags[n], id);
                if (n == 0 && image->n_repo_digests > 0)
                        (void) printf("%s %s\n", image->repo_digests[n++], id);
        }
        if (n == 0)
                (void) printf("<none> %s\n", id);
}

static void print_layer(const Admin__Layer *layer, const char *diff_id, bool is_last)
{
        _cleanup_(freep) char *id = print_id(diff_id), *size = print_size(layer ? layer->bytes : 0);
        (void) printf("%s %s  %s", is_last ? "`-" : "|-", id, size);
        if (layer && layer->images > 1)
                (void) printf("  shared by %u", layer->images);
        (void) printf("\n");
}

/* --- as JSON: {"images": [{"id", "repo_tags", "layers": [...]}], "other_layers": [...]} --- */

static struct error *put_layer(const Admin__ListLayersResponse *answer, const char *diff_id, struct buf *out)
{
        const Admin__Layer *layer = find_layer(answer, diff_id);
        Admin__Layer unknown = ADMIN__LAYER__INIT;
        unknown.diff_id = diff_id;
        return message_json(layer ? &layer->base : &unknown.base, out);
}

static struct error *put_image(const Admin__ListLayersResponse *answer, const Cri__ListImagesResponse *images,
                               const Admin__ImageLayers *image, struct buf *out)
{
        size_t n = 0;
        TRY(buf_append_text(out, "{\"id\":"));
        TRY(json_put_text(out, image->image_id));
        TRY(buf_append_text(out, ",\"repo_tags\":["));
        for (size_t i = 0; i < images->n_images; i++) {
                const Cri__Image *named = images->images[i];
                for (size_t j = 0; strcmp(named->id, image->image_id) == 0 && j < named->n_repo_tags; j++) {
                        TRY(buf_append_text(out, n++ ? "," : ""));
                        TRY(json_put_text(out, named->repo_tags[j]));
                }
        }
        TRY(buf_append_text(out, "],\"layers\":["));
        for (size_t i = 0; i < image->n_diff_ids; i++) {
                TRY(buf_append_text(out, i ? "," : ""));
                TRY(put_layer(answer, image->diff_ids[i], out));
        }
        return buf_append_text(out, "]}");
}

static struct error *tree_json(const Admin__ListLayersResponse *answer, const Cri__ListImagesResponse *images)
{
        _cleanup_(buf_done) struct buf out;
        size_t n = 0;
        buf_init(&out, JSON_MAX_BYTES);
        TRY(buf_append_text(&out, "{\"images\":["));
        for (size_t i = 0; i < answer->n_images; i++) {
                TRY(buf_append_text(&out, i ? "," : ""));
                TRY(put_image(answer, images, answer->images[i], &out));
        }
        TRY(buf_append_text(&out, "],\"other_layers\":["));
        for (size_t i = 0; i < answer->n_layers; i++) {
                if (answer->layers[i]->images)
                        continue;
                TRY(buf_append_text(&out, n++ ? "," : ""));
                TRY(message_json(&answer->layers[i]->base, &out));
        }
        TRY(buf_append_text(&out, "]}\n"));
        (void) fwrite(out.bytes, 1, out.len_bytes, stdout);
        return NULL;
}

struct error *print_image_tree(struct context *context)
{
        Admin__ListLayersRequest request = ADMIN__LIST_LAYERS_REQUEST__INIT;
        Cri__ListImagesRequest images_request = CRI__LIST_IMAGES_REQUEST__INIT;
        _cleanup_(client_answer_freep) Admin__ListLayersResponse *answer = NULL;
        _cleanup_(client_answer_freep) Cri__ListImagesResponse *images = NULL;
        TRY(admin_call(context, "ListLayers", &request, CALL_TIMEOUT_MS, &answer));
        TRY(image_call(context, "ListImages", &images_request, CALL_TIMEOUT_MS, &images));
        if (context->json)
                return tree_json(answer, images);
        for (size_t i = 0; i < answer->n_images; i++) {
                const Admin__ImageLayers *image = answer->images[i];
                print_names(images, image->image_id);
                for (size_t j = 0; j < image->n_diff_ids; j++)
                        print_layer(find_layer(answer, image->diff_ids[j]), image->diff_ids[j],
                                    j + 1 == image->n_diff_ids);
        }
        for (size_t i = 0; i < answer->n_layers; i++)
                if (answer->layers[i]->images == 0) {
                        if (i == 0 || answer->layers[i - 1]->images)
                                (void) printf("of no image, kept for containers or pulls\n");
                        print_layer(answer->layers[i], answer->layers[i]->diff_id, true);
                }
        return NULL;
}
