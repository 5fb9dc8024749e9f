#include "pods/cdi/document.h"
#include "pods/cdi/yaml.h"
#include <string.h>

#define OBJECT(type, table)                                                                                  \
        {                                                                                                    \
                .size_bytes = sizeof(struct type), .fields = (table), .n = LENGTH(table),                    \
                .set_offset = SIZE_MAX                                                                       \
        }
#define TEXT(type, key, member)                                                                              \
        {                                                                                                    \
                .name = (key), .kind = YAML_TEXT, .offset = offsetof(struct type, member)                    \
        }
#define TEXTS(type, key, member)                                                                             \
        {                                                                                                    \
                .name = (key), .kind = YAML_TEXTS, .offset = offsetof(struct type, member)                   \
        }
#define NUMBER(type, key, member, from, to)                                                                  \
        {                                                                                                    \
                .name = (key), .kind = YAML_NUMBER, .offset = offsetof(struct type, member),                 \
                .least = (from), .most = (to)                                                                \
        }
#define OBJECTS(type, key, member, of)                                                                       \
        {                                                                                                    \
                .name = (key), .kind = YAML_OBJECTS, .offset = offsetof(struct type, member),                \
                .object = &(of)                                                                              \
        }

static const struct yaml_field node_fields[] = {
        TEXT(cdi_device_node, "path", path),
        TEXT(cdi_device_node, "hostPath", host_path),
        TEXT(cdi_device_node, "type", type),
        NUMBER(cdi_device_node, "major", major, 0, UINT32_MAX),
        NUMBER(cdi_device_node, "minor", minor, 0, UINT32_MAX),
        NUMBER(cdi_device_node, "fileMode", mode, 0, UINT32_MAX),
        TEXT(cdi_device_node, "permissions", permissions),
        NUMBER(cdi_device_node, "uid", uid, 0, UINT32_MAX),
        NUMBER(cdi_device_node, "gid", gid, 0, UINT32_MAX),
};
static const struct yaml_object node_object = OBJECT(cdi_device_node, node_fields);

static const struct yaml_field net_device_fields[] = {
        TEXT(cdi_net_device, "hostInterfaceName", host_name),
        TEXT(cdi_net_device, "name", name),
};
static const struct yaml_object net_device_object = OBJECT(cdi_net_device, net_device_fields);

static const struct yaml_field hook_fields[] = {
        TEXT(cdi_hook, "hookName", name),
        TEXT(cdi_hook, "path", path),
        TEXTS(cdi_hook, "args", args),
        TEXTS(cdi_hook, "env", env),
        NUMBER(cdi_hook, "timeout", timeout, INT64_MIN, INT64_MAX),
};
static const struct yaml_object hook_object = OBJECT(cdi_hook, hook_fields);

static const struct yaml_field mount_fields[] = {
        TEXT(cdi_mount, "hostPath", host_path),
        TEXT(cdi_mount, "containerPath", container_path),
        TEXTS(cdi_mount, "options", options),
        TEXT(cdi_mount, "type", type),
};
static const struct yaml_object mount_object = OBJECT(cdi_mount, mount_fields);

static const struct yaml_field rdt_fields[] = {
        TEXT(cdi_rdt, "closID", clos_id),
        TEXT(cdi_rdt, "l3CacheSchema", l3_schema),
        TEXT(cdi_rdt, "memBwSchema", bandwidth_schema),
        TEXTS(cdi_rdt, "schemata", schemata),
        { .name = "enableMonitoring", .kind = YAML_BOOLEAN, .offset = offsetof(struct cdi_rdt, monitoring) },
};
static const struct yaml_object rdt_object = { .size_bytes = sizeof(struct cdi_rdt),
                                               .fields = rdt_fields,
                                               .n = LENGTH(rdt_fields),
                                               .set_offset = offsetof(struct cdi_rdt, is_set) };

static const struct yaml_field edits_fields[] = {
        TEXTS(cdi_edits, "env", env),
        OBJECTS(cdi_edits, "deviceNodes", nodes, node_object),
        OBJECTS(cdi_edits, "netDevices", net_devices, net_device_object),
        OBJECTS(cdi_edits, "hooks", hooks, hook_object),
        OBJECTS(cdi_edits, "mounts", mounts, mount_object),
        { .name = "intelRdt",
          .kind = YAML_OBJECT,
          .offset = offsetof(struct cdi_edits, rdt),
          .object = &rdt_object },
        { .name = "additionalGids",
          .kind = YAML_NUMBERS,
          .offset = offsetof(struct cdi_edits, gids),
          .most = UINT32_MAX },
};
static const struct yaml_object edits_object = OBJECT(cdi_edits, edits_fields);

#define EDITS(type)                                                                                          \
        {                                                                                                    \
                .name = "containerEdits", .kind = YAML_OBJECT, .offset = offsetof(struct type, edits),       \
                .object = &edits_object                                                                      \
        }
#define ANNOTATIONS(type)                                                                                    \
        {                                                                                                    \
                .name = "annotations", .kind = YAML_TEXT_MAP,                                                \
                .offset = offsetof(struct type, has_annotations)                                             \
        }

static const struct yaml_field device_fields[] = {
        TEXT(cdi_device, "name", name),
        ANNOTATIONS(cdi_device),
        EDITS(cdi_device),
};
static const struct yaml_object device_object = OBJECT(cdi_device, device_fields);

static const struct yaml_field document_fields[] = {
        TEXT(cdi_document, "cdiVersion", version),
        TEXT(cdi_document, "kind", kind),
        ANNOTATIONS(cdi_document),
        OBJECTS(cdi_document, "devices", devices, device_object),
        EDITS(cdi_document),
};
static const struct yaml_object document_object = OBJECT(cdi_document, document_fields);

struct error *cdi_document_parse(const char *text, size_t len_bytes, struct cdi_document *out)
{
        *out = (struct cdi_document){ .kind = NULL };
        struct error *e = yaml_read(text, len_bytes, &document_object, out);
        if (e)
                cdi_document_done(out);
        return e;
}

void cdi_document_done(struct cdi_document *document)
{
        for (size_t i = 0; i < document->n_devices; i++) {
                free(document->devices[i].name);
                cdi_edits_done(&document->devices[i].edits);
        }
        free(document->devices);
        cdi_edits_done(&document->edits);
        free(document->version);
        free(document->kind);
        *document = (struct cdi_document){ .kind = NULL };
}

struct error *cdi_edits_parse(const char *text, size_t len_bytes, struct cdi_edits *out)
{
        *out = (struct cdi_edits){ .env = NULL };
        struct error *e = yaml_read(text, len_bytes, &edits_object, out);
        if (e)
                cdi_edits_done(out);
        return e;
}
