#include "cri/config.h"
#include "base/file.h"
#include "base/toml.h"
#include <inttypes.h>
#include <stdbool.h>
#include <string.h>

#define DEFAULT_CONFIG "/etc/skiff/skiff.toml"

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
};

#define AT(member) offsetof(struct skiff_config, member)
/* Line breaks are for --help. */
static const struct option options[] = {
        { "root", "root", OPTION_PATH, AT(root), "/var/lib/skiff", 0, 0, "DIR",
          "what must survive a reboot: images, layers, records" },
        { "state", "state", OPTION_PATH, AT(state), "/run/skiff", 0, 0, "DIR",
          "what must not: sockets, pods that run" },
        { "listen", "listen", OPTION_TEXT, AT(listen), "unix:///run/skiff/skiff.sock", 0, 0, "ENDPOINT",
          "the socket that kubelet connects to, unix:///PATH" },
        { "cni-conf-dir", "cni_conf_dir", OPTION_PATH, AT(cni_conf_dir), "/etc/cni/net.d", 0, 0, "DIR",
          "network configurations; the first valid one by name is used" },
        { "cni-bin-dir", "cni_bin_dir", OPTION_PATHS, AT(cni_bin_dir), "/opt/cni/bin:/usr/lib/cni", 0, 0,
          "DIR[:DIR]", "network plugins" },
        { "cni-gc-seconds", "cni_gc_seconds", OPTION_NUMBER, AT(cni_gc_seconds), "3600", 0, INT32_MAX,
          "SECONDS", "how often plugins are told which pods there are (GC); 0: at the start alone" },
        { "registry-config-dir", "registry_config_dir", OPTION_PATHS, AT(registry_config_dir),
          "/etc/skiff/certs.d:/etc/containerd/certs.d", 0, 0, "DIR[:DIR]", "HOST/hosts.toml for registries" },
        { "cgroup-driver", "cgroup_driver", OPTION_TEXT, AT(cgroup_driver), "auto", 0, 0, "DRIVER",
          "auto, cgroupfs or systemd" },
        { "log-level", "log_level", OPTION_TEXT, AT(log_level), "info", 0, 0, "LEVEL",
          "debug, info, warn or error" },
        { "pinned-images", "pinned_images", OPTION_LIST, AT(pinned_images), "", 0, 0, "IMAGE[,IMAGE]",
          "images that are never collected" },
        /* Not `nobody`: containers run as that. No passwd entry needs to be there. */
        { "pull-uid", "pull_uid", OPTION_NUMBER, AT(pull_uid), "60717", 1, UINT32_MAX - 1, "UID",
          "the user and group that registries are spoken to as" },
        { "pull-stall-seconds", "pull_stall_seconds", OPTION_NUMBER, AT(pull_stall_seconds), "30", 1, 3600,
          "SECONDS", "a registry that sends nothing for so long is given up" },
        { "max-container-log-line-size", "max_container_log_line_size", OPTION_NUMBER, AT(log_line_max_bytes),
          "16384", 64, 1 << 20, "BYTES", "longer lines are written as partial ones" },
        { "container-log-max-bytes", "container_log_max_bytes", OPTION_NUMBER, AT(log_max_bytes), "0", 0,
          INT64_MAX, "BYTES",
          "a container's log that is so long gets nothing more until it is rotated; 0: no bound" },
        { "container-rw-layer-max-bytes", "container_rw_layer_max_bytes", OPTION_NUMBER,
          AT(rw_layer_max_bytes), "0", 0, INT64_MAX, "BYTES",
          "what a container may write into its root; needs project quotas; 0: no bound" },
        { "cdi-spec-dirs", "cdi_spec_dirs", OPTION_PATHS, AT(cdi_spec_dirs), "/etc/cdi:/var/run/cdi", 0, 0,
          "DIR[:DIR]", "CDI files of devices; the later directory wins" },
        { "device-ownership-from-security-context", "device_ownership_from_security_context", OPTION_SWITCH,
          AT(device_ownership), "false", 0, 0, "true|false",
          "devices belong to the user and group that a container runs as" },
        { "stream-address", "stream_address", OPTION_TEXT, AT(stream_address), "127.0.0.1", 0, 0, "ADDRESS",
          "where exec, attach and port-forward are served" },
        { "stream-port", "stream_port", OPTION_NUMBER, AT(stream_port), "0", 0, UINT16_MAX, "PORT",
          "its port; 0: one that is free" },
        { "stream-uid", "stream_uid", OPTION_NUMBER, AT(stream_uid), "60718", 1, UINT32_MAX - 1, "UID",
          "the user and group that serves them" },
        { "stream-tls-cert", "stream_tls_cert", OPTION_FILE, AT(stream_tls_cert), "", 0, 0, "FILE",
          "PEM certificate: they are served over TLS" },
        { "stream-tls-key", "stream_tls_key", OPTION_FILE, AT(stream_tls_key), "", 0, 0, "FILE", "its key" },
        { "stream-tls-ca", "stream_tls_ca", OPTION_FILE, AT(stream_tls_ca), "", 0, 0, "FILE",
          "clients have to show a certificate of this CA" },
};

const char *const *config_keys(void)
{
        static const char *keys[LENGTH(options) + 1];
        for (size_t i = 0; i < LENGTH(options); i++)
                keys[i] = options[i].key;
        return keys;
}

void config_print_help(FILE *to)
{
        (void) fprintf(to,
                       "skiffd " SKIFF_VERSION ": runs pods for kubelet, over CRI.\n\n"
                       "  --config FILE\n      TOML with the keys below, '_' for '-' (" DEFAULT_CONFIG ")\n");
        for (size_t i = 0; i < LENGTH(options); i++)
                (void) fprintf(to, "  --%s %s\n      %s (%s)\n", options[i].flag, options[i].value,
                               options[i].help, *options[i].standard ? options[i].standard : "none");
        (void) fprintf(to, "  --help, --version\n\nSIGTERM stops it and leaves pods running.\n");
}

/* --- setting one option --- */

static char **text_at(struct skiff_config *config, const struct option *option)
{
        return (char **) (void *) ((char *) config + option->offset);
}

static struct error *check_path(const char *text, size_t len)
{
        if (len == 0 || text[0] != '/')
                return error_new(ERROR_INVALID_ARGUMENT, "\"%.*s\" is not an absolute path", (int) len, text);
        return NULL;
}

static struct error *set_text(struct skiff_config *config, const struct option *option, const char *text)
{
        char *copy = dup_string(text);
        size_t len = strlen(copy);
        if (option->type == OPTION_PATH)
                while (len > 1 && copy[len - 1] == '/')
                        copy[--len] = '\0';
        free(*text_at(config, option));
        *text_at(config, option) = copy;
        if (option->type == OPTION_PATH || (option->type == OPTION_FILE && len))
                return check_path(copy, len);
        for (const char *at = copy; option->type == OPTION_PATHS && at;) {
                size_t part = strcspn(at, ":");
                TRY(check_path(at, part));
                at = at[part] ? at + part + 1 : NULL;
        }
        return NULL;
}

static struct error *set_number(struct skiff_config *config, const struct option *option, int64_t number)
{
        if (number < option->least || number > option->most)
                return error_new(ERROR_INVALID_ARGUMENT,
                                 "%" PRId64 " is not between %" PRId64 " and %" PRId64, number, option->least,
                                 option->most);
        *(int64_t *) (void *) ((char *) config + option->offset) = number;
        return NULL;
}

/* A number that is 0 or 1, so that there is one kind of member for both. */
static struct error *set_switch(struct skiff_config *config, const struct option *option, bool on)
{
        *(int64_t *) (void *) ((char *) config + option->offset) = on;
        return NULL;
}

static void set_list(struct skiff_config *config, const struct option *option, const char *const *items,
                     size_t n)
{
        char ***list = (char ***) (void *) ((char *) config + option->offset);
        free_strings(*list);
        *list = NEW_ARRAY(char *, n + 1);
        for (size_t i = 0; i < n; i++)
                (*list)[i] = dup_string(items[i]);
}

static struct error *set_list_from_text(struct skiff_config *config, const struct option *option,
                                        const char *text)
{
        _cleanup_(freep) char *copy = dup_string(text);
        _cleanup_(freep) const char **items = NEW_ARRAY(const char *, strlen(text) + 1);
        char *rest = copy;
        size_t n = 0;
        for (char *item; (item = strsep(&rest, ","));)
                if (*item)
                        items[n++] = item;
        set_list(config, option, items, n);
        return NULL;
}

/* From a flag, or a default. */
static struct error *set_from_text(struct skiff_config *config, const struct option *option, const char *text)
{
        if (option->type == OPTION_LIST)
                return set_list_from_text(config, option, text);
        if (option->type == OPTION_SWITCH) {
                bool on = strcmp(text, "true") == 0;
                return on || strcmp(text, "false") == 0
                               ? set_switch(config, option, on)
                               : error_new(ERROR_INVALID_ARGUMENT, "\"%s\" is neither true nor false", text);
        }
        if (option->type != OPTION_NUMBER)
                return set_text(config, option, text);
        char *end = NULL;
        errno = 0;
        int64_t number = strtoll(text, &end, 10);
        if (errno || end == text || *end)
                return error_new(ERROR_INVALID_ARGUMENT, "\"%s\" is not a whole number", text);
        return set_number(config, option, number);
}

static struct error *wrong_type(const struct toml_value *value, const char *wanted)
{
        return error_new(ERROR_INVALID_ARGUMENT, "%s where %s should be", toml_type_name(toml_type_of(value)),
                         wanted);
}

static struct error *set_from_toml(struct skiff_config *config, const struct option *option,
                                   const struct toml_value *value)
{
        if (option->type == OPTION_NUMBER)
                return toml_type_of(value) == TOML_INTEGER
                               ? set_number(config, option, toml_integer(value, 0))
                               : wrong_type(value, "a whole number");
        if (option->type == OPTION_SWITCH)
                return toml_type_of(value) == TOML_BOOLEAN
                               ? set_switch(config, option, toml_boolean(value, false))
                               : wrong_type(value, "true or false");
        if (option->type != OPTION_LIST)
                return toml_type_of(value) == TOML_STRING ? set_text(config, option, toml_text(value, ""))
                                                          : wrong_type(value, "a string");
        if (toml_type_of(value) != TOML_ARRAY)
                return wrong_type(value, "a list");
        size_t n = toml_length(value);
        _cleanup_(freep) const char **items = NEW_ARRAY(const char *, n);
        for (size_t i = 0; i < n; i++) {
                if (toml_type_of(toml_at(value, i)) != TOML_STRING)
                        return wrong_type(toml_at(value, i), "a string");
                items[i] = toml_text(toml_at(value, i), "");
        }
        set_list(config, option, items, n);
        return NULL;
}

/* --- the file --- */

static const struct option *find_option(const char *name, bool by_key)
{
        for (size_t i = 0; i < LENGTH(options); i++)
                if (strcmp(by_key ? options[i].key : options[i].flag, name) == 0)
                        return &options[i];
        return NULL;
}

static struct error *read_tree(struct skiff_config *config, const struct toml_value *root)
{
        for (size_t i = 0; i < toml_length(root); i++) {
                const char *key = toml_key_at(root, i);
                const struct toml_value *value = toml_at(root, i);
                const struct option *option = find_option(key, true);
                if (!option)
                        return error_new(ERROR_INVALID_ARGUMENT, "line %u: unknown key \"%s\"",
                                         toml_line(value), key);
                TRY_WRAP(set_from_toml(config, option, value), "line %u: %s", toml_line(value), key);
        }
        return NULL;
}

static struct error *read_file(struct skiff_config *config, bool must_exist)
{
        _cleanup_(freep) char *text = NULL;
        _cleanup_(toml_freep) struct toml_value *root = NULL;
        size_t len_bytes = 0;
        struct error *e = file_read(AT_FDCWD, config->config, TOML_MAX_BYTES, &text, &len_bytes);
        if (e && error_errnum_of(e) == ENOENT && !must_exist) {
                error_ignore(e); /* the default file may be absent */
                return NULL;
        }
        if (e)
                return e;
        TRY(toml_parse(text, len_bytes, &root));
        return read_tree(config, root);
}

/* --- flags --- */

struct flags {
        const char *config;
        const char *values[LENGTH(options)]; /* NULL: not given */
};

static struct error *flag_store(struct flags *flags, const char *name, const char *value)
{
        if (strcmp(name, "config") == 0) {
                flags->config = value;
                return NULL;
        }
        const struct option *option = find_option(name, false);
        if (!option)
                return error_new(ERROR_INVALID_ARGUMENT, "unknown flag --%s; --help lists them", name);
        flags->values[option - options] = value;
        return NULL;
}

static struct error *flags_read(int argc, char *const *argv, struct flags *flags, enum config_action *action)
{
        for (int i = 1; i < argc; i++) {
                if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0)
                        *action = CONFIG_HELP;
                else if (strcmp(argv[i], "--version") == 0)
                        *action = CONFIG_VERSION;
                if (*action != CONFIG_RUN)
                        return NULL;
                if (strncmp(argv[i], "--", 2) != 0)
                        return error_new(ERROR_INVALID_ARGUMENT, "\"%s\" is no flag; --help lists them",
                                         argv[i]);
                _cleanup_(freep) char *name = dup_string(argv[i] + 2);
                const char *equals = strchr(argv[i], '=');
                name[strcspn(name, "=")] = '\0';
                const char *value = equals ? equals + 1 : i + 1 < argc ? argv[i + 1] : NULL;
                if (!value)
                        return error_new(ERROR_INVALID_ARGUMENT, "--%s needs a value", name);
                TRY(flag_store(flags, name, value));
                i += equals == NULL;
        }
        return NULL;
}

static struct error *flags_apply(struct skiff_config *config, const struct flags *flags)
{
        for (size_t i = 0; i < LENGTH(options); i++)
                if (flags->values[i])
                        TRY_WRAP(set_from_text(config, &options[i], flags->values[i]), "--%s",
                                 options[i].flag);
        return NULL;
}

/* --- all of it --- */

static struct error *check_choices(struct skiff_config *config)
{
        static const char *const drivers[] = { "auto", "cgroupfs", "systemd" };
        bool known = false;
        for (size_t i = 0; i < LENGTH(drivers); i++)
                known |= strcmp(config->cgroup_driver, drivers[i]) == 0;
        if (!known)
                return error_new(ERROR_INVALID_ARGUMENT,
                                 "cgroup driver \"%s\" is none of auto, cgroupfs, systemd",
                                 config->cgroup_driver);
        if (strcmp(config->root, config->state) == 0)
                return error_new(ERROR_INVALID_ARGUMENT,
                                 "root and state are both %s: one survives a reboot, one does not",
                                 config->root);
        if ((*config->stream_tls_cert == '\0') != (*config->stream_tls_key == '\0'))
                return error_new(ERROR_INVALID_ARGUMENT,
                                 "stream_tls_cert and stream_tls_key go together: one of them is missing");
        if (*config->stream_tls_ca && !*config->stream_tls_cert)
                return error_new(ERROR_INVALID_ARGUMENT, "stream_tls_ca without stream_tls_cert");
        return log_parse_level(config->log_level, &config->level);
}

static struct error *load(const struct flags *flags, struct skiff_config *config)
{
        for (size_t i = 0; i < LENGTH(options); i++)
                TRY(set_from_text(config, &options[i], options[i].standard));
        config->config = dup_string(flags->config ? flags->config : DEFAULT_CONFIG);
        struct error *e = read_file(config, flags->config != NULL);
        if (!e)
                e = check_choices(config);
        if (e)
                return error_as(error_wrap(e, "%s", config->config), ERROR_FAILED_PRECONDITION);
        TRY(flags_apply(config, flags));
        return check_choices(config);
}

struct error *config_load(int argc, char *const *argv, struct skiff_config *out)
{
        struct flags flags = { 0 };
        _cleanup_(skiff_config_done) struct skiff_config config = { 0 };
        TRY(flags_read(argc, argv, &flags, &config.action));
        if (config.action == CONFIG_RUN)
                TRY(load(&flags, &config));
        *out = config;
        config = (struct skiff_config){ 0 };
        return NULL;
}

void skiff_config_done(struct skiff_config *config)
{
        free(config->config);
        for (size_t i = 0; i < LENGTH(options); i++) {
                if (options[i].type == OPTION_LIST)
                        free_strings(config->pinned_images);
                else if (options[i].type != OPTION_NUMBER && options[i].type != OPTION_SWITCH)
                        free(*text_at(config, &options[i]));
        }
        *config = (struct skiff_config){ 0 };
}
