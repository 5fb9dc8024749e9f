#include "pods/spec/cdi_devices.h"
#include "pods/cdi/cdi.h"
#include "pods/cdi/names.h"
#include <string.h>

#define ANNOTATION_PREFIX "cdi.k8s.io/"
#define NAMES_MAX 1024
#define EDITS_MAX_BYTES (1U << 20) /* as much as a file */

struct names {
        char **texts; /* NULL-terminated once there is one */
        size_t n;
};

static void names_done(struct names *names)
{
        free_strings(names->texts);
}

static struct error *names_add(struct names *names, const char *name)
{
        for (size_t i = 0; i < names->n; i++)
                if (strcmp(names->texts[i], name) == 0)
                        return NULL;
        if (names->n == NAMES_MAX)
                return error_new(ERROR_INVALID_ARGUMENT, "config.CDI_devices: more than %d", NAMES_MAX);
        names->texts = grow_array(names->texts, names->n + 2, sizeof(char *));
        names->texts[names->n++] = dup_string(name);
        names->texts[names->n] = NULL;
        return NULL;
}

static struct error *names_of_annotation(struct names *names, const char *key, const char *value)
{
        _cleanup_(freep) char *copy = dup_string(value);
        char *rest = copy;
        for (char *name; (name = strsep(&rest, ","));) {
                if (!cdi_name_is_qualified(name))
                        return error_new(ERROR_INVALID_ARGUMENT,
                                         "config.annotations[\"%.100s\"]: invalid CDI device name \"%.100s\"",
                                         key, name);
                TRY(names_add(names, name));
        }
        return NULL;
}

static struct error *names_of(const Cri__ContainerConfig *config, struct names *out)
{
        for (size_t i = 0; i < config->n_cdi_devices; i++)
                TRY(names_add(out, config->cdi_devices[i]->name));
        for (size_t i = 0; i < config->n_annotations; i++)
                if (strncmp(config->annotations[i]->key, ANNOTATION_PREFIX, strlen(ANNOTATION_PREFIX)) == 0)
                        TRY(names_of_annotation(out, config->annotations[i]->key,
                                                config->annotations[i]->value));
        return NULL;
}

struct error *cdi_devices_resolve(struct container *c)
{
        _cleanup_(names_done) struct names names = { .n = 0 };
        _cleanup_(cdi_edits_done) struct cdi_edits edits = { .env = NULL };
        _cleanup_(buf_done) struct buf json;
        buf_init(&json, EDITS_MAX_BYTES);
        TRY(names_of(c->config, &names));
        if (names.n == 0)
                return NULL;
        TRY_WRAP(cdi_resolve(c->pod->node->cdi, names.texts, &edits), "CDI device injection failed");
        TRY_WRAP(cdi_edits_put(&edits, &json), "what the CDI devices change");
        c->cdi = buf_take_text(&json);
        return NULL;
}
