/* What skiff-bridge reads: a network configuration for ADD (a first byte of 0), STATUS (1), GC (2) or DEL (3), or else a
 * result, which must be read back as it was written. */
#include "cni/bridge/config.h"
#include "cni/bridge/firewall_conditions.h"
#include "cni/bridge/result.h"
#include <sys/socket.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len_bytes);

static void check_config(const struct config *config)
{
        if (!config_name_is_valid(config->name) || !config_ifname_is_valid(config->bridge))
                abort();
        for (size_t s = 0; s < config->ipam.n_sets; s++)
                for (size_t i = 0; i < config->ipam.sets[s].n_ranges; i++) {
                        const struct range *range = &config->ipam.sets[s].ranges[i];
                        if (address_compare(&range->start, &range->end) > 0 ||
                            !address_within(&range->subnet, &range->start) ||
                            !address_within(&range->subnet, &range->end))
                                abort();
                }
        for (size_t i = 0; i < config->n_trunk; i++)
                if (!config->trunk[i].first || config->trunk[i].first > config->trunk[i].last ||
                    config->trunk[i].last > 4094 ||
                    (i && config->trunk[i].first <= config->trunk[i - 1].last + 1))
                        abort();
        struct fw_conditions conditions;
        struct error *refused = fw_conditions_parse(config->conditions_v4, AF_INET, &conditions);
        if (refused || conditions.n > FW_CONDITIONS_MAX)
                abort();
        for (size_t i = 0; i < config->n_ports; i++)
                if (!config->ports[i].host_port || !config->ports[i].container_port ||
                    !config->ports[i].protocol)
                        abort();
}

static struct error *read_config(struct arena *arena, uint8_t which, const struct jv *json)
{
        static const enum command commands[] = { COMMAND_ADD, COMMAND_STATUS, COMMAND_GC, COMMAND_DEL };
        struct environment env = { .command = commands[which], .command_text = "" };
        struct config config = { .arena = arena };
        TRY(config_read(&env, json, &config));
        check_config(&config);
        return NULL;
}

/* Written and read again, it is written the same. */
static struct error *read_result(struct arena *arena, const struct jv *json)
{
        struct result first, second;
        struct buf one, two;
        const struct jv *again = NULL;
        TRY(result_parse(arena, json, CNI_1_1_0, &first));
        buf_init(&one, (size_t) 16 << 20);
        buf_init(&two, (size_t) 16 << 20);
        struct error *e = result_write(&first, CNI_1_1_0, &one);
        if (!e)
                e = jv_parse(arena, one.bytes, one.len_bytes, &again);
        if (!e)
                e = result_parse(arena, again, CNI_1_1_0, &second);
        if (!e)
                e = result_write(&second, CNI_1_1_0, &two);
        if (e || one.len_bytes != two.len_bytes || memcmp(one.bytes, two.bytes, one.len_bytes) != 0)
                abort();
        buf_done(&one);
        buf_done(&two);
        return NULL;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len_bytes)
{
        struct arena arena = { 0 };
        const struct jv *json = NULL;
        if (len_bytes == 0)
                return 0;
        struct error *e = jv_parse(&arena, (const char *) bytes + 1, len_bytes - 1, &json);
        if (!e && bytes[0] < 4)
                e = read_config(&arena, bytes[0], json);
        else if (!e)
                e = read_result(&arena, json);
        error_free(e);
        arena_done(&arena);
        return 0;
}
