#include "pods/cdi/edits.h"
#include "base/cleanup.h"
#include "base/json_writer.h"
#include <string.h>

/* --- their end --- */

static void node_done(struct cdi_device_node *node)
{
        free(node->path);
        free(node->host_path);
        free(node->type);
        free(node->permissions);
}

static void mount_done(struct cdi_mount *mount)
{
        free(mount->host_path);
        free(mount->container_path);
        free(mount->type);
        free_strings(mount->options);
}

static void hook_done(struct cdi_hook *hook)
{
        free(hook->name);
        free(hook->path);
        free_strings(hook->args);
        free_strings(hook->env);
}

static void rdt_done(struct cdi_rdt *rdt)
{
        free(rdt->clos_id);
        free(rdt->l3_schema);
        free(rdt->bandwidth_schema);
        free_strings(rdt->schemata);
}

void cdi_edits_done(struct cdi_edits *edits)
{
        free_strings(edits->env);
        for (size_t i = 0; i < edits->n_nodes; i++)
                node_done(&edits->nodes[i]);
        for (size_t i = 0; i < edits->n_mounts; i++)
                mount_done(&edits->mounts[i]);
        for (size_t i = 0; i < edits->n_hooks; i++)
                hook_done(&edits->hooks[i]);
        for (size_t i = 0; i < edits->n_net_devices; i++) {
                free(edits->net_devices[i].host_name);
                free(edits->net_devices[i].name);
        }
        rdt_done(&edits->rdt);
        free(edits->nodes);
        free(edits->mounts);
        free(edits->hooks);
        free(edits->net_devices);
        free(edits->gids);
        *edits = (struct cdi_edits){ .env = NULL };
}

bool cdi_edits_are_empty(const struct cdi_edits *edits)
{
        return !(edits->env && edits->env[0]) && !edits->n_nodes && !edits->n_mounts && !edits->n_hooks &&
               !edits->n_net_devices && !edits->n_gids && !edits->rdt.is_set;
}

/* --- copies --- */

static size_t count(char *const *texts)
{
        size_t n = 0;
        while (texts && texts[n])
                n++;
        return n;
}

/* A list with those of from behind its own. */
static void append_texts(char ***list, char *const *from)
{
        size_t n = count(*list), n_more = count(from);
        if (n_more == 0)
                return;
        *list = grow_array(*list, n + n_more + 1, sizeof(char *));
        for (size_t i = 0; i < n_more; i++)
                (*list)[n + i] = dup_string(from[i]);
        (*list)[n + n_more] = NULL;
}

static struct cdi_device_node node_copy(const struct cdi_device_node *from)
{
        struct cdi_device_node to = *from;
        to.path = dup_string(from->path);
        to.host_path = dup_string(from->host_path);
        to.type = dup_string(from->type);
        to.permissions = dup_string(from->permissions);
        return to;
}

static struct cdi_mount mount_copy(const struct cdi_mount *from)
{
        struct cdi_mount to = { .host_path = dup_string(from->host_path),
                                .container_path = dup_string(from->container_path),
                                .type = dup_string(from->type) };
        append_texts(&to.options, from->options);
        return to;
}

static struct cdi_hook hook_copy(const struct cdi_hook *from)
{
        struct cdi_hook to = { .name = dup_string(from->name),
                               .path = dup_string(from->path),
                               .timeout = from->timeout };
        append_texts(&to.args, from->args);
        append_texts(&to.env, from->env);
        return to;
}

void cdi_edits_append(struct cdi_edits *edits, const struct cdi_edits *more)
{
        append_texts(&edits->env, more->env);
        edits->nodes = grow_array(edits->nodes, edits->n_nodes + more->n_nodes + 1, sizeof(*edits->nodes));
        for (size_t i = 0; i < more->n_nodes; i++)
                edits->nodes[edits->n_nodes++] = node_copy(&more->nodes[i]);
        edits->mounts =
                grow_array(edits->mounts, edits->n_mounts + more->n_mounts + 1, sizeof(*edits->mounts));
        for (size_t i = 0; i < more->n_mounts; i++)
                edits->mounts[edits->n_mounts++] = mount_copy(&more->mounts[i]);
        edits->hooks = grow_array(edits->hooks, edits->n_hooks + more->n_hooks + 1, sizeof(*edits->hooks));
        for (size_t i = 0; i < more->n_hooks; i++)
                edits->hooks[edits->n_hooks++] = hook_copy(&more->hooks[i]);
        edits->net_devices = grow_array(edits->net_devices, edits->n_net_devices + more->n_net_devices + 1,
                                        sizeof(*edits->net_devices));
        for (size_t i = 0; i < more->n_net_devices; i++)
                edits->net_devices[edits->n_net_devices++] =
                        (struct cdi_net_device){ dup_string(more->net_devices[i].host_name),
                                                 dup_string(more->net_devices[i].name) };
        edits->gids = grow_array(edits->gids, edits->n_gids + more->n_gids + 1, sizeof(*edits->gids));
        for (size_t i = 0; i < more->n_gids; i++)
                edits->gids[edits->n_gids++] = more->gids[i];
        edits->rdt.is_set |= more->rdt.is_set; /* what it says is never applied */
}

/* --- as JSON --- */

static void put_text(struct json_writer *w, const char *key, const char *text)
{
        if (text)
                json_write_text(w, key, text);
}

static void put_number(struct json_writer *w, const char *key, struct cdi_number number)
{
        if (number.is_set)
                json_write_number(w, key, number.value);
}

static void put_node(struct json_writer *w, const struct cdi_device_node *node)
{
        json_write_begin(w, NULL, "{");
        put_text(w, "path", node->path);
        put_text(w, "hostPath", node->host_path);
        put_text(w, "type", node->type);
        put_text(w, "permissions", node->permissions);
        put_number(w, "major", node->major);
        put_number(w, "minor", node->minor);
        put_number(w, "fileMode", node->mode);
        put_number(w, "uid", node->uid);
        put_number(w, "gid", node->gid);
        json_write_end(w, "}");
}

static void put_mount(struct json_writer *w, const struct cdi_mount *mount)
{
        json_write_begin(w, NULL, "{");
        put_text(w, "hostPath", mount->host_path);
        put_text(w, "containerPath", mount->container_path);
        put_text(w, "type", mount->type);
        json_write_texts(w, "options", mount->options);
        json_write_end(w, "}");
}

static void put_hook(struct json_writer *w, const struct cdi_hook *hook)
{
        json_write_begin(w, NULL, "{");
        put_text(w, "hookName", hook->name);
        put_text(w, "path", hook->path);
        json_write_texts(w, "args", hook->args);
        json_write_texts(w, "env", hook->env);
        put_number(w, "timeout", hook->timeout);
        json_write_end(w, "}");
}

struct error *cdi_edits_put(const struct cdi_edits *edits, struct buf *out)
{
        struct json_writer w = { .out = out };
        json_write_begin(&w, NULL, "{");
        json_write_texts(&w, "env", edits->env);
        json_write_begin(&w, "deviceNodes", "[");
        for (size_t i = 0; i < edits->n_nodes; i++)
                put_node(&w, &edits->nodes[i]);
        json_write_end(&w, "]");
        json_write_begin(&w, "mounts", "[");
        for (size_t i = 0; i < edits->n_mounts; i++)
                put_mount(&w, &edits->mounts[i]);
        json_write_end(&w, "]");
        json_write_begin(&w, "hooks", "[");
        for (size_t i = 0; i < edits->n_hooks; i++)
                put_hook(&w, &edits->hooks[i]);
        json_write_end(&w, "]");
        json_write_begin(&w, "additionalGids", "[");
        for (size_t i = 0; i < edits->n_gids; i++)
                put_number(&w, NULL, (struct cdi_number){ edits->gids[i], true });
        json_write_end(&w, "]");
        json_write_end(&w, "}");
        return w.error;
}
