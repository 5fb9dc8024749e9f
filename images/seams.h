/* seams.h - what an image's layers do not say of themselves, but only one above the other.
 *
 * A layer may hold /tmp/x and not describe /tmp: then the container's /tmp has the lower layer's mode, owner and extended
 * attributes (1777), and not those of a directory that was made on the way. And a whiteout in a directory that no other
 * layer has hides nothing, but overlayfs, which reads such a directory as it lies, shows it as a name that cannot be looked
 * at. Both depend on what lies below, while one unpacked layer serves many images, with other layers below.
 *
 * overlayfs takes the attributes of a directory from the topmost layer that has it, and filters what it reads where two have
 * it. So an image whose layers need it gets one layer more on top of them, its seam: directories only, with the attributes
 * that the container shall see. Most images need none. A seam is a layer like others, named by a digest of the layers'
 * diffIDs below it, and so shared by images with the same ones; layers stay shared by diffID, and may be unpacked in any
 * order. (To key layers by the whole chain below them, as containerd does, unpacks the same layer anew for each chain and
 * one after another; to correct the layer itself is wrong for the second image that has it.)
 *
 * Threads: any, at once. Source: Documentation/filesystems/overlayfs.rst; containerd's pkg/archive, whose WithParents copies
 * attributes so. */
#pragma once
#include "images/layers.h"

/* The seam of layers (pinned, base first) in *out, pinned; NULL where they need none. It is not durable yet: layers_sync.
 * Errors: those of layers_claim; RESOURCE_EXHAUSTED (disk). */
MUST_CHECK struct error *seam_make(struct layers *layers, struct layer *const *list, size_t n,
                                   const struct wait *wait, struct layer **out);

/* Opens a layer's directory at path (without a slash at either end, links not followed); -1 where it has none. *hides: what
 * lower layers have there does not show; is_opaque says so of the layer's root. *missing_at: how much of path was looked at. */
int layer_open(int layer_fd, const char *path, bool is_opaque, bool *hides, size_t *missing_at);
