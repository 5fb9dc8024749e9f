/* The VLANs of a configuration, checked as the plugin bridge checks them. */
#include "cni/bridge/config.h"
#include <net/if.h>
#include <string.h>

#define VLAN_MAX 4094

/* An id that is there, or 0. */
static struct error *read_id(const struct jv *json, const char *key, uint16_t *out)
{
        int64_t id = 0;
        TRY(jv_want_integer(json, key, 1, VLAN_MAX, &id));
        *out = (uint16_t) id;
        return NULL;
}

static struct error *read_entry(const struct jv *json, bool *in_trunk)
{
        uint16_t id = 0, first = 0, last = 0;
        if (json->type != JV_OBJECT)
                return error_new(ERROR_INVALID_ARGUMENT, "an entry is no object");
        TRY(read_id(json, "id", &id));
        TRY(read_id(json, "minID", &first));
        TRY(read_id(json, "maxID", &last));
        if (!first != !last)
                return error_new(ERROR_INVALID_ARGUMENT, "\"%s\" is missing: minID and maxID go together",
                                 first ? "maxID" : "minID");
        if (first > last)
                return error_new(ERROR_INVALID_ARGUMENT, "minID %u is greater than maxID %u", first, last);
        for (uint16_t i = first; i && i <= last; i++)
                in_trunk[i] = true;
        in_trunk[id] = true;
        return NULL;
}

static struct error *read_trunk(struct config *c)
{
        bool in_trunk[VLAN_MAX + 2] = { false }; /* by id; 0 stands for none, and behind the last is none */
        const struct jv *list = NULL;
        size_t n = 0;
        TRY(jv_want(c->json, "vlanTrunk", JV_ARRAY, &list));
        c->has_trunk = list != NULL;
        if (!list)
                return NULL;
        for (const struct jv *v = list->first; v; v = v->next, n++)
                TRY_WRAP(read_entry(v, in_trunk), "vlanTrunk[%zu]", n);
        in_trunk[0] = false;
        c->trunk = arena_take(c->arena, (VLAN_MAX / 2 + 1) * sizeof(*c->trunk));
        for (uint16_t id = 1; id <= VLAN_MAX; id++) {
                if (!in_trunk[id])
                        continue;
                if (!in_trunk[id - 1])
                        c->trunk[c->n_trunk++].first = id;
                c->trunk[c->n_trunk - 1].last = id;
        }
        return NULL;
}

struct error *config_read_vlans(struct config *c)
{
        int64_t vlan = 0;
        char name[IFNAMSIZ + 8];
        TRY(jv_want_integer(c->json, "vlan", 0, VLAN_MAX, &vlan));
        c->vlan = (uint16_t) vlan;
        TRY(read_trunk(c));
        TRY(jv_want_bool(c->json, "preserveDefaultVlan", &c->preserve_default_vlan));
        (void) snprintf(name, sizeof(name), "%s.%u", c->bridge, c->vlan);
        if (c->vlan && c->is_gateway && strlen(name) >= IFNAMSIZ)
                return error_new(
                        ERROR_INVALID_ARGUMENT,
                        "\"bridge\" is too long for a gateway of its VLAN: %s has more than 15 bytes", name);
        return NULL;
}
