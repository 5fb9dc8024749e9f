/* conf.h - network configurations: a conflist's shape, and which file of a directory is the one in use.
 *
 * Files are taken in the order of their names, .conflist, .conf and .json alike, and the first valid one wins. A .conf
 * or .json holds one plugin and is wrapped into a list. Threads: see each. Source: CNI SPEC.md 1.0.0 section 1; libcni
 * for the order and the endings. */
#pragma once
#include "base/error.h"
#include "base/json.h"
#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>

#define CONFLIST_MAX_BYTES ((size_t) 1 << 20)

/* Parses a conflist and checks what running it relies on: its name, its version, and the type of each of its plugins.
 * Errors: INVALID_ARGUMENT. Threads: no state. */
MUST_CHECK struct error *conflist_parse(const char *text, size_t len_bytes, struct json **out);

/* The version that the plugins are spoken to in: the highest of cniVersion and cniVersions that is known here. */
const char *conflist_version(const struct json *conflist);

/* Turns the one plugin of a .conf into a conflist's text. Errors: INVALID_ARGUMENT. Threads: no state. */
MUST_CHECK struct error *conf_wrap(const char *text, size_t len_bytes, char **out);

/* Whether version is at least wanted ("0.4.0"); both are known here. */
bool cni_version_at_least(const char *version, const char *wanted);

/* A directory and what was found in it. Its files are looked at (stat) each time and read again when one has changed,
 * come or gone: no thread, no inotify whose queue can overflow, and a directory that appears later is no special case. */
struct conf_dir {
        char *path;
        pthread_mutex_t lock;
        char *fingerprint; /* of what the rest was read from */
        char *conflist;    /* NULL: none is valid */
        char *failure;     /* why */
};
void conf_dir_init(struct conf_dir *dir, const char *path);
void conf_dir_done(struct conf_dir *dir);

/* The conflist in use; *out (may be NULL) is the caller's. Errors: FAILED_PRECONDITION. Threads: any, at once. */
MUST_CHECK struct error *conf_dir_get(struct conf_dir *dir, char **out);
