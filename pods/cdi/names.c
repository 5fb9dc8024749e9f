#include "pods/cdi/names.h"
#include "base/cleanup.h"
#include <ctype.h>
#include <string.h>

#define NET_DEVICES_MAX 1000 /* each is compared with all before it */
#define SHOWN_BYTES 100

static struct error *bad(const char *what, const char *text)
{
        return error_new(ERROR_INVALID_ARGUMENT, "%s \"%.*s\"", what, SHOWN_BYTES, text ? text : "");
}

/* ASCII whatever the locale. */
static bool is_letter(char c)
{
        return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
}

static bool is_alphanumeric(char c)
{
        return is_letter(c) || (c >= '0' && c <= '9');
}

static bool is_spelled(const char *text, size_t n, const char *also)
{
        if (n == 0 || !is_alphanumeric(text[n - 1]))
                return false;
        for (size_t i = 0; i < n; i++)
                if (!is_alphanumeric(text[i]) && !(i > 0 && strchr(also, text[i])))
                        return false;
        return true;
}

static bool is_vendor_or_class(const char *text, size_t n)
{
        return is_spelled(text, n, "_-.") && is_letter(*text);
}

static bool is_device(const char *text)
{
        return is_spelled(text, strlen(text), "_-.:");
}

static bool is_kind(const char *text, size_t n)
{
        const char *slash = memchr(text, '/', n);
        size_t vendor_bytes = slash ? (size_t) (slash - text) : 0;
        return slash && is_vendor_or_class(text, vendor_bytes) &&
               is_vendor_or_class(slash + 1, n - vendor_bytes - 1);
}

bool cdi_name_is_qualified(const char *text)
{
        const char *equals = strchr(text, '=');
        return equals && is_kind(text, (size_t) (equals - text)) && is_device(equals + 1);
}

/* --- versions: as 100 * major + minor --- */

static const struct {
        const char *text;
        int number;
} versions[] = {
        { "0.3.0", 3 }, { "0.4.0", 4 }, { "0.5.0", 5 },   { "0.6.0", 6 },
        { "0.7.0", 7 }, { "0.8.0", 8 }, { "1.0.0", 100 }, { "1.1.0", 101 },
};

static struct error *version_number(const char *text, int *out)
{
        const char *digits = text ? text + (*text == 'v') : "";
        for (size_t i = 0; i < LENGTH(versions); i++) {
                *out = versions[i].number;
                if (strcmp(versions[i].text, digits) == 0)
                        return NULL;
        }
        return bad("cdiVersion: not one of 0.3.0 to 0.8.0, 1.0.0 and 1.1.0:", text);
}

static void at_least(int *needed, bool is_used, int version)
{
        if (is_used && *needed < version)
                *needed = version;
}

static void edits_need(const struct cdi_edits *edits, int *needed)
{
        const struct cdi_rdt *rdt = &edits->rdt;
        for (size_t i = 0; i < edits->n_mounts; i++)
                at_least(needed, edits->mounts[i].type && *edits->mounts[i].type, 4);
        for (size_t i = 0; i < edits->n_nodes; i++)
                at_least(needed, edits->nodes[i].host_path && *edits->nodes[i].host_path, 5);
        at_least(needed, rdt->is_set || edits->n_gids, 7);
        at_least(needed, rdt->schemata || (rdt->monitoring.is_set && rdt->monitoring.value), 101);
        at_least(needed, edits->n_net_devices > 0, 101);
}

static int version_needed(const struct cdi_document *document)
{
        int needed = 3;
        const char *slash = strchr(document->kind, '/');
        at_least(&needed, document->has_annotations || (slash && strchr(slash, '.')), 6);
        edits_need(&document->edits, &needed);
        for (size_t i = 0; i < document->n_devices; i++) {
                const struct cdi_device *device = &document->devices[i];
                at_least(&needed, device->name && isdigit((unsigned char) *device->name), 5);
                at_least(&needed, device->has_annotations, 6);
                edits_need(&device->edits, &needed);
        }
        return needed;
}

static struct error *check_version(const struct cdi_document *document)
{
        int version = 0, needed = version_needed(document);
        TRY(version_number(document->version, &version));
        if (version < needed)
                return error_new(ERROR_INVALID_ARGUMENT,
                                 "cdiVersion: it must be %d.%d.0 at least for what is used in it",
                                 needed / 100, needed % 100);
        return NULL;
}

/* --- edits --- */

static bool is_there(const char *text)
{
        return text && *text;
}

static struct error *check_env(char *const *env)
{
        for (; env && *env; env++)
                if (strcspn(*env, "=") == 0 || !strchr(*env, '='))
                        return bad("no variable:", *env);
        return NULL;
}

static struct error *check_node(const struct cdi_device_node *node)
{
        const char *type = node->type ? node->type : "", *permissions = node->permissions;
        if (!is_there(node->path))
                return error_new(ERROR_INVALID_ARGUMENT, "a device node without a path");
        if (strlen(type) > 1 || !strchr("bcup", *type))
                return bad("a device node's type:", type);
        if (permissions && strcmp(permissions, "none") != 0 &&
            strspn(permissions, "rwm") != strlen(permissions))
                return bad("a device node's permissions:", permissions);
        return NULL;
}

static struct error *check_hook(const struct cdi_hook *hook)
{
        static const char *const names[] = { "prestart",       "createRuntime", "createContainer",
                                             "startContainer", "poststart",     "poststop" };
        bool is_known = false;
        for (size_t i = 0; i < LENGTH(names); i++)
                is_known = is_known || (hook->name && strcmp(hook->name, names[i]) == 0);
        if (!is_known)
                return bad("no hook's name:", hook->name);
        if (!is_there(hook->path))
                return error_new(ERROR_INVALID_ARGUMENT, "a hook without a path");
        return check_env(hook->env);
}

static struct error *check_rdt(const struct cdi_rdt *rdt)
{
        const char *id = rdt->clos_id ? rdt->clos_id : "";
        if (strcmp(id, "/") != 0 &&
            (strlen(id) >= 4096 || strcmp(id, ".") == 0 || strcmp(id, "..") == 0 || strpbrk(id, "/\n")))
                return bad("intelRdt.closID:", id);
        return NULL;
}

static struct error *check_net_devices(const struct cdi_edits *edits)
{
        if (edits->n_net_devices > NET_DEVICES_MAX)
                return error_new(ERROR_INVALID_ARGUMENT, "more than %d network devices", NET_DEVICES_MAX);
        for (size_t i = 0; i < edits->n_net_devices; i++) {
                const struct cdi_net_device *device = &edits->net_devices[i];
                if (!is_there(device->host_name) || !is_there(device->name))
                        return error_new(ERROR_INVALID_ARGUMENT,
                                         "a network device without both of its names");
                for (size_t j = 0; j < i; j++)
                        if (strcmp(edits->net_devices[j].host_name, device->host_name) == 0 ||
                            strcmp(edits->net_devices[j].name, device->name) == 0)
                                return bad("two network devices of one name:", device->name);
        }
        return NULL;
}

struct error *cdi_check_edits(const struct cdi_edits *edits)
{
        TRY(check_env(edits->env));
        for (size_t i = 0; i < edits->n_nodes; i++)
                TRY(check_node(&edits->nodes[i]));
        for (size_t i = 0; i < edits->n_hooks; i++)
                TRY(check_hook(&edits->hooks[i]));
        for (size_t i = 0; i < edits->n_mounts; i++)
                if (!is_there(edits->mounts[i].host_path) || !is_there(edits->mounts[i].container_path))
                        return error_new(ERROR_INVALID_ARGUMENT, "a mount without both of its paths");
        TRY(check_rdt(&edits->rdt));
        return check_net_devices(edits);
}

/* --- all of it --- */

static int by_name(const void *a, const void *b)
{
        return strcmp(*(char *const *) a, *(char *const *) b);
}

/* Sorted, since there may be tens of thousands. */
static struct error *check_doubles(const struct cdi_document *document)
{
        _cleanup_(freep) char **names = NEW_ARRAY(char *, document->n_devices);
        for (size_t i = 0; i < document->n_devices; i++)
                names[i] = document->devices[i].name;
        qsort(names, document->n_devices, sizeof(*names), by_name);
        for (size_t i = 1; i < document->n_devices; i++)
                if (strcmp(names[i - 1], names[i]) == 0)
                        return bad("two devices of one name:", names[i]);
        return NULL;
}

struct error *cdi_check_document(const struct cdi_document *document)
{
        if (!document->kind || !is_kind(document->kind, strlen(document->kind)))
                return bad("kind: not VENDOR/CLASS:", document->kind);
        TRY(check_version(document));
        TRY_WRAP(cdi_check_edits(&document->edits), "containerEdits");
        if (document->n_devices == 0)
                return error_new(ERROR_INVALID_ARGUMENT, "it has no devices");
        for (size_t i = 0; i < document->n_devices; i++) {
                const struct cdi_device *device = &document->devices[i];
                if (!device->name || !is_device(device->name))
                        return bad("no device's name:", device->name);
                if (cdi_edits_are_empty(&device->edits))
                        return bad("nothing is edited for device", device->name);
                TRY_WRAP(cdi_check_edits(&device->edits), "device %s", device->name);
        }
        return check_doubles(document);
}
