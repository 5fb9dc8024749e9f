/* config_internal.h - what the files that read skiffd's options share: the table of them, and one option's value.
 *
 * Threads: one at a time on one configuration. */
#pragma once
#include "base/buf.h"
#include "base/toml.h"
#include "cri/config.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum option_type {
        OPTION_TEXT,
        OPTION_PATH,
        OPTION_FILE,
        OPTION_PATHS,
        OPTION_NUMBER,
        OPTION_SWITCH,
        OPTION_LIST
};

struct option {
        const char *flag, *key;
        enum option_type type;
        size_t offset; /* in struct skiff_config */
        const char *standard;
        int64_t least, most; /* OPTION_NUMBER */
        const char *value, *help;
        bool reloads; /* a running skiffd can take another value */
};

extern const struct option config_options[]; /* config.c */
extern const size_t n_config_options;

/* By the name in files, or NULL. */
const struct option *config_option(const char *key);

/* Sets every option of a zeroed configuration to its default. */
MUST_CHECK struct error *config_defaults(struct skiff_config *config);

/* --- one option's value (config_value.c) --- */

/* Sets it from a flag or a default, or from a file's value. Errors: INVALID_ARGUMENT saying what is wrong with the value. */
MUST_CHECK struct error *option_set_from_text(struct skiff_config *config, const struct option *option,
                                              const char *text);
MUST_CHECK struct error *option_set_from_toml(struct skiff_config *config, const struct option *option,
                                              const struct toml_value *value);

/* Appends it as TOML: a string in quotes, a list in brackets. Errors: buf's. */
MUST_CHECK struct error *option_append_toml(const struct skiff_config *config, const struct option *option,
                                            struct buf *out);

/* Whether it has one value in both; and exchanges its values, with no memory to free. */
bool option_is_same(const struct skiff_config *a, const struct skiff_config *b, const struct option *option);
void option_swap(struct skiff_config *a, struct skiff_config *b, const struct option *option);
void option_done(struct skiff_config *config, const struct option *option); /* frees what it holds */

/* --- files (config_files.c) --- */

/* Reads config->config and then the files in its folder of drop-ins, and notes where each value is from. Without must_exist
 * the first may be absent, and with a drop-in it always may. Errors: INVALID_ARGUMENT or the file's, all with the file's name,
 * and its line where it has one. */
MUST_CHECK struct error *config_files_read(struct skiff_config *config, bool must_exist);

/* The same of one file's text. */
MUST_CHECK struct error *config_text_read(struct skiff_config *config, const char *path, const char *text,
                                          size_t len_bytes);
