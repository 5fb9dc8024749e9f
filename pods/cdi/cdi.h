/* cdi.h - the CDI devices of this host, by name. Private to pods/.
 *
 * They come from the files *.json and *.yaml of some directories, the later of which win. A file that cannot be read is left
 * out, and told of; the others work. The directories are looked at whenever a device is asked for, and files are read again
 * only when one of them has changed: who asks for no device pays nothing.
 *
 * Threads: any. Source: the cache of container-device-interface 1.1.0. */
#pragma once
#include "base/error.h"
#include "pods/cdi/edits.h"

struct cdi;

/* dirs: separated by colons, in rising order of precedence; they need not be there. NULL or "": none. */
struct cdi *cdi_new(const char *dirs);
void cdi_free(struct cdi *cdi); /* NULL is fine */

/* What the devices of these names ("vendor/class=device", NULL-terminated) change: the edits of a file before those of its
 * first device, the devices as they are asked for, and what a file leaves out about a node taken from the host's. *out is the
 * caller's (cdi_edits_done). Errors: INVALID_ARGUMENT naming every device that there is not, with what is wrong with the files
 * there; FAILED_PRECONDITION for a node that the host does not have. */
MUST_CHECK struct error *cdi_resolve(struct cdi *cdi, char *const *names, struct cdi_edits *out);

/* What is wrong with the files now, a line each, with the file's name: NULL-terminated, the caller's. */
char **cdi_problems(struct cdi *cdi);
