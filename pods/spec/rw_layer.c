#include "pods/spec/rw_layer.h"
#include <string.h>

/* Less than an image's mount points take. */
#define LEAST_BYTES 65536

#define FIND(config)                                                                                         \
        ({                                                                                                   \
                const char *found_ = NULL;                                                                   \
                for (size_t i_ = 0; i_ < (config)->n_annotations; i_++)                                      \
                        if (strcmp((config)->annotations[i_]->key, RW_LAYER_ANNOTATION) == 0)                \
                                found_ = (config)->annotations[i_]->value;                                   \
                found_;                                                                                      \
        })

static struct error *parse(const char *text, uint64_t *out)
{
        static const struct {
                const char *suffix;
                unsigned shift;
        } units[] = { { "", 0 }, { "Ki", 10 }, { "Mi", 20 }, { "Gi", 30 } };
        char *end = NULL;
        errno = 0;
        unsigned long long number = strtoull(text, &end, 10);
        for (size_t i = 0; i < LENGTH(units); i++) {
                if (strcmp(end, units[i].suffix) != 0 || errno || *text < '0' || *text > '9' ||
                    number > UINT64_MAX >> units[i].shift || number << units[i].shift < LEAST_BYTES)
                        continue;
                *out = number << units[i].shift;
                return NULL;
        }
        return error_new(ERROR_INVALID_ARGUMENT,
                         "annotation " RW_LAYER_ANNOTATION ": \"%.40s\" is no number of bytes, %d at least",
                         text, LEAST_BYTES);
}

struct error *rw_layer_bound(const struct container *c, uint64_t *out)
{
        uint64_t of_node = atomic_load(&c->pod->node->settings.rw_layer_max_bytes);
        const char *text = FIND(c->config);
        if (!text)
                text = FIND(c->pod->config);
        *out = of_node;
        if (!text)
                return NULL;
        TRY(parse(text, out));
        if (of_node && of_node < *out)
                *out = of_node;
        return NULL;
}
