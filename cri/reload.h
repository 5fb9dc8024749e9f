/* reload.h - another configuration for a skiffd that runs.
 *
 * Threads: one, that which waits for signals. */
#pragma once
#include "cri/config.h"
#include "pods/node.h"

struct images;

/* What of the configuration goes to the node, and may change. */
struct node_settings settings_of(const struct skiff_config *config);

/* Reads argv and the files again, gives what can change while skiffd runs to images and node, and tells in the log, and the
 * service manager, of every key that differs whether it counts now or needs a restart. When anything is wrong with the files
 * all stays as it was. */
void reload(struct skiff_config *config, int argc, char *const *argv, struct images *images,
            struct node *node);
