/* select.h - which objects a filter means, private to pods/. Threads: with the lock held. */
#pragma once
#include "pods/state.h"
#include <string.h>

/* A pod that is being made, or whose failed make is still to be undone, is nobody's business yet. */
static inline bool pod_is_visible(const struct sandbox *pod)
{
        return pod->state != POD_MAKING;
}

static inline bool container_is_visible(const struct container *c)
{
        return c->state != CONTAINER_MAKING;
}

/* Label selectors: every entry wanted must be there; both are maps as protobuf-c has them, pairs in a list. */
#define SELECTS(wanted, n_wanted, have, n_have)                                                              \
        ({                                                                                                   \
                bool all_ = true;                                                                            \
                for (size_t i_ = 0; i_ < (n_wanted) && all_; i_++) {                                         \
                        bool one_ = false;                                                                   \
                        for (size_t j_ = 0; j_ < (n_have) && !one_; j_++)                                    \
                                one_ = strcmp((wanted)[i_]->key, (have)[j_]->key) == 0 &&                    \
                                       strcmp((wanted)[i_]->value, (have)[j_]->value) == 0;                  \
                        all_ = one_;                                                                         \
                }                                                                                            \
                all_;                                                                                        \
        })

/* wanted is the start of an id; "" is the start of all. */
static inline bool id_matches(const char *id, const char *wanted)
{
        return strncmp(id, wanted, strlen(wanted)) == 0;
}
