/* form.h - in what form a layer lies on disk. Only descriptors of directories leave it, never paths.
 *
 * hex is the layer's diffID without its prefix. Threads: any; one at a time a layer. */
#pragma once
#include "base/error.h"
#include "images/trash.h"
#include <stdbool.h>

struct layer_form {
        const char *name; /* as images.db has it */

        /* Whether this machine can use it. */
        bool (*probe)(int layers_fd);

        /* Makes the place for a layer to be unpacked to: what skiff-unpack gets a detached mount of. What an earlier
         * attempt left goes to the trash. */
        struct error *(*begin)(int layers_fd, const char *hex, struct trash *trash, int *out_fd);

        /* What begin made is whole: it gets its name. Not durable yet (layers_sync). */
        struct error *(*commit)(int layers_fd, const char *hex);
        struct error *(*abandon)(int layers_fd, const char *hex, struct trash *trash);

        /* Whether it is there. */
        bool (*exists)(int layers_fd, const char *hex);

        /* A directory that overlayfs can take as a lower; *is_opaque: it hides all layers below it. */
        struct error *(*lower_open)(int layers_fd, const char *hex, int *out_fd, bool *is_opaque);

        /* The same directory, below another mount of the one that holds all layers; only as a place (O_PATH). */
        struct error *(*lower_open_again)(int layers_fd, const char *hex, int *out_fd);

        struct error *(*remove)(int layers_fd, const char *hex, struct trash *trash);
};

extern const struct layer_form form_dir; /* a directory of the layer's files */

const struct layer_form *form_choose(int layers_fd);     /* the best that this machine can use: never NULL */
const struct layer_form *form_by_name(const char *name); /* NULL for one that this build does not know */
