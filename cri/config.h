/* config.h - skiffd's options: flags over drop-ins over skiff.toml over defaults.
 *
 * One table has every option. A flag --some-option is the key some_option in a file: TOML people write underscores. A
 * key that is not in the table is an error with its line, so is a value of the wrong type. Files in the folder FILE.d that end in .toml are
 * read after it, in the order of their names, and win key by key; FILE may be missing then. A flag wins over all files.
 *
 * Some keys can change while skiffd runs (config_key_reloads): SIGHUP has the files read anew.
 *
 * Threads: one at a time on one configuration. */
#pragma once
#include "base/buf.h"
#include "base/error.h"
#include "base/log.h"
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

enum config_action { CONFIG_RUN, CONFIG_HELP, CONFIG_VERSION };

struct skiff_config {
        enum config_action action; /* after HELP and VERSION the rest is not set */
        char *config;   /* the file; it may be absent unless --config named it and there is no drop-in */
        char **sources; /* of each key, in config_keys' order: "FILE:LINE", "--flag"; NULL for the default */
        char *root;     /* what must survive a reboot */
        char *state;    /* what must not */
        char *listen;   /* "unix:///PATH" */
        char *cni_conf_dir;
        char *cni_bin_dir;         /* colon-separated */
        int64_t cni_gc_seconds;    /* 0: at the start alone */
        char *registry_config_dir; /* colon-separated */
        char *cgroup_driver;       /* "auto", "cgroupfs", "systemd" */
        char *log_level;
        enum log_level level; /* the same, parsed */
        char **pinned_images; /* NULL-terminated, never NULL */
        int64_t pull_uid;     /* fits uint32_t */
        int64_t pull_stall_seconds;
        int64_t log_line_max_bytes; /* max_container_log_line_size */
        int64_t rw_layer_max_bytes; /* container_rw_layer_max_bytes; 0: none */
        int64_t log_max_bytes;      /* container_log_max_bytes; 0: none */
        char *cdi_spec_dirs;        /* colon-separated */
        int64_t device_ownership;   /* device_ownership_from_security_context: 0 or 1 */
        char *stream_address;       /* numeric */
        int64_t stream_port;        /* fits uint16_t; 0: the kernel chooses */
        int64_t stream_uid;         /* fits uint32_t */
        char *stream_tls_cert, *stream_tls_key, *stream_tls_ca; /* files; "": none */
};

/* Reads argv and the files. Errors: INVALID_ARGUMENT for flags (EX_USAGE); FAILED_PRECONDITION for a file, with its name and
 * line (EX_CONFIG). */
MUST_CHECK struct error *config_load(int argc, char *const *argv, struct skiff_config *out);
void skiff_config_done(struct skiff_config *config);

void config_print_help(FILE *to); /* every flag, what it is, its default */

/* The names of all keys, NULL-terminated and static: a test holds deploy/skiff.toml against them. */
const char *const *config_keys(void);

/* Where a key's value is from: "FILE:LINE" or "--flag"; NULL when it is the default, or there is no such key. Borrowed. */
const char *config_source(const struct skiff_config *config, const char *key);

/* Whether a skiffd that runs can take another value; of others it needs a restart. */
bool config_key_reloads(const char *key);

/* Appends all of it as TOML, a key a line, each with a comment that says where it is from. Errors: buf's. */
MUST_CHECK struct error *config_append_toml(const struct skiff_config *config, struct buf *out);

/* Takes from next what can change while skiffd runs; the rest stays as it is. changed is told of each key that differs, and
 * whether it was taken. next is then only to be freed. */
void config_adopt(struct skiff_config *config, struct skiff_config *next,
                  void (*changed)(const char *key, bool adopted));
