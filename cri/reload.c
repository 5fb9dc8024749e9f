#include "cri/reload.h"
#include "base/clock.h"
#include "base/log.h"
#include "cri/notify.h"
#include "images/images.h"
#include <inttypes.h>

struct node_settings settings_of(const struct skiff_config *config)
{
        return (struct node_settings){
                .device_ownership = config->device_ownership != 0,
                .log_line_max_bytes = (uint64_t) config->log_line_max_bytes,
                .rw_layer_max_bytes = (uint64_t) config->rw_layer_max_bytes,
                .log_max_bytes = (uint64_t) config->log_max_bytes,
        };
}

static void tell_change(const char *key, bool adopted)
{
        if (adopted)
                log_event(LOG_LEVEL_INFO, "reloaded", "key", key, NULL);
        else
                log_event(LOG_LEVEL_WARN, "changed in the files, but needs a restart of skiffd", "key", key,
                          NULL);
}

/* Whatever can fail comes before what takes effect. */
static struct error *apply(const struct skiff_config *next, struct images *images, struct node *node)
{
        if (next->rw_layer_max_bytes)
                TRY_WRAP(rootfs_bound_check(images), "container_rw_layer_max_bytes");
        const struct images_config of_images = { .registry_dirs = next->registry_config_dir,
                                                 .pinned = (const char *const *) next->pinned_images,
                                                 .stall_s = (uint32_t) next->pull_stall_seconds };
        TRY(images_configure(images, &of_images));
        const struct node_settings of_node = settings_of(next);
        node_configure(node, &of_node);
        log_set_level(next->level);
        return NULL;
}

void reload(struct skiff_config *config, int argc, char *const *argv, struct images *images,
            struct node *node)
{
        _cleanup_(skiff_config_done) struct skiff_config next = { 0 };
        _cleanup_(freep) char *reloading =
                format_string("RELOADING=1\nMONOTONIC_USEC=%" PRId64, clock_monotonic_ns() / 1000);
        notify_send(reloading); /* sd_notify(3) */
        struct error *e = config_load(argc, argv, &next);
        if (!e)
                e = apply(&next, images, node);
        if (e) {
                log_error(LOG_LEVEL_ERROR, e, "not reloaded: all stays as it was", NULL, NULL);
                notify_send("READY=1\nSTATUS=The configuration was not reloaded: it is wrong, see the log.");
                return;
        }
        log_event(LOG_LEVEL_INFO, "configuration read anew", "file", config->config, NULL);
        config_adopt(config, &next, tell_change);
        notify_send("READY=1\nSTATUS=");
}
