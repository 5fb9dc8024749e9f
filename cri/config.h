/* config.h - skiffd's options: flags over skiff.toml over defaults.
 *
 * One table has every option. A flag --some-option is the key some_option in the file: TOML people write underscores. A
 * key that is not in the table is an error with its line, so is a value of the wrong type; a flag wins over the file.
 *
 * Threads: once, at the start. */
#pragma once
#include "base/error.h"
#include "base/log.h"
#include <stdint.h>
#include <stdio.h>

enum config_action { CONFIG_RUN, CONFIG_HELP, CONFIG_VERSION };

struct skiff_config {
        enum config_action action; /* after HELP and VERSION the rest is not set */
        char *config;              /* the file; it may be absent unless --config named it */
        char *root;                /* what must survive a reboot */
        char *state;               /* what must not */
        char *listen;              /* "unix:///PATH" */
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

/* Reads argv and the file. Errors: INVALID_ARGUMENT for flags (EX_USAGE); FAILED_PRECONDITION for the file, with its
 * name and line (EX_CONFIG). */
MUST_CHECK struct error *config_load(int argc, char *const *argv, struct skiff_config *out);
void skiff_config_done(struct skiff_config *config);

void config_print_help(FILE *to); /* every flag, what it is, its default */

/* The names of all keys, NULL-terminated and static: a test holds deploy/skiff.toml against them. */
const char *const *config_keys(void);
