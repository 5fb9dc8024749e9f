#include "cri/config_internal.h"
#include <string.h>

#define DEFAULT_CONFIG "/etc/skiff/skiff.toml"

#define AT(member) offsetof(struct skiff_config, member)
/* Line breaks are for --help. */
const struct option config_options[] = {
        { "root", "root", OPTION_PATH, AT(root), "/var/lib/skiff", 0, 0, "DIR",
          "what must survive a reboot: images, layers, records", false },
        { "state", "state", OPTION_PATH, AT(state), "/run/skiff", 0, 0, "DIR",
          "what must not: sockets, pods that run", false },
        { "listen", "listen", OPTION_TEXT, AT(listen), "unix:///run/skiff/skiff.sock", 0, 0, "ENDPOINT",
          "the socket that kubelet connects to, unix:///PATH", false },
        { "cni-conf-dir", "cni_conf_dir", OPTION_PATH, AT(cni_conf_dir), "/etc/cni/net.d", 0, 0, "DIR",
          "network configurations; the first valid one by name is used", false },
        { "cni-bin-dir", "cni_bin_dir", OPTION_PATHS, AT(cni_bin_dir), "/opt/cni/bin:/usr/lib/cni", 0, 0,
          "DIR[:DIR]", "network plugins", false },
        { "cni-gc-seconds", "cni_gc_seconds", OPTION_NUMBER, AT(cni_gc_seconds), "3600", 0, INT32_MAX,
          "SECONDS", "how often plugins are told which pods there are (GC); 0: at the start alone", true },
        { "registry-config-dir", "registry_config_dir", OPTION_PATHS, AT(registry_config_dir),
          "/etc/skiff/certs.d:/etc/containerd/certs.d", 0, 0, "DIR[:DIR]", "HOST/hosts.toml for registries",
          true },
        { "cgroup-driver", "cgroup_driver", OPTION_TEXT, AT(cgroup_driver), "auto", 0, 0, "DRIVER",
          "auto, cgroupfs or systemd", false },
        { "log-level", "log_level", OPTION_TEXT, AT(log_level), "info", 0, 0, "LEVEL",
          "debug, info, warn or error", true },
        { "pinned-images", "pinned_images", OPTION_LIST, AT(pinned_images), "", 0, 0, "IMAGE[,IMAGE]",
          "images that are never collected", true },
        /* Not `nobody`: containers run as that. No passwd entry needs to be there. */
        { "pull-uid", "pull_uid", OPTION_NUMBER, AT(pull_uid), "60717", 1, UINT32_MAX - 1, "UID",
          "the user and group that registries are spoken to as", false },
        { "pull-stall-seconds", "pull_stall_seconds", OPTION_NUMBER, AT(pull_stall_seconds), "30", 1, 3600,
          "SECONDS", "a registry that sends nothing for so long is given up", true },
        { "max-container-log-line-size", "max_container_log_line_size", OPTION_NUMBER, AT(log_line_max_bytes),
          "16384", 64, 1 << 20, "BYTES", "longer lines are written as partial ones", true },
        { "container-log-max-bytes", "container_log_max_bytes", OPTION_NUMBER, AT(log_max_bytes), "0", 0,
          INT64_MAX, "BYTES",
          "a container's log that is so long gets nothing more until it is rotated; 0: no bound", true },
        { "container-rw-layer-max-bytes", "container_rw_layer_max_bytes", OPTION_NUMBER,
          AT(rw_layer_max_bytes), "0", 0, INT64_MAX, "BYTES",
          "what a container may write into its root; needs project quotas; 0: no bound", true },
        { "cdi-spec-dirs", "cdi_spec_dirs", OPTION_PATHS, AT(cdi_spec_dirs), "/etc/cdi:/var/run/cdi", 0, 0,
          "DIR[:DIR]", "CDI files of devices; the later directory wins", false },
        { "device-ownership-from-security-context", "device_ownership_from_security_context", OPTION_SWITCH,
          AT(device_ownership), "false", 0, 0, "true|false",
          "devices belong to the user and group that a container runs as", true },
        { "stream-address", "stream_address", OPTION_TEXT, AT(stream_address), "127.0.0.1", 0, 0, "ADDRESS",
          "where exec, attach and port-forward are served", false },
        { "stream-port", "stream_port", OPTION_NUMBER, AT(stream_port), "0", 0, UINT16_MAX, "PORT",
          "its port; 0: one that is free", false },
        { "stream-uid", "stream_uid", OPTION_NUMBER, AT(stream_uid), "60718", 1, UINT32_MAX - 1, "UID",
          "the user and group that serves them", false },
        { "stream-tls-cert", "stream_tls_cert", OPTION_FILE, AT(stream_tls_cert), "", 0, 0, "FILE",
          "PEM certificate: they are served over TLS", false },
        { "stream-tls-key", "stream_tls_key", OPTION_FILE, AT(stream_tls_key), "", 0, 0, "FILE", "its key",
          false },
        { "stream-tls-ca", "stream_tls_ca", OPTION_FILE, AT(stream_tls_ca), "", 0, 0, "FILE",
          "clients have to show a certificate of this CA", false },
};

const size_t n_config_options = LENGTH(config_options);

const char *const *config_keys(void)
{
        static const char *keys[LENGTH(config_options) + 1];
        for (size_t i = 0; i < LENGTH(config_options); i++)
                keys[i] = config_options[i].key;
        return keys;
}

void config_print_help(FILE *to)
{
        (void) fprintf(to, "skiffd " SKIFF_VERSION ": runs pods for kubelet, over CRI.\n\n"
                           "  --config FILE\n      TOML with the keys below, '_' for '-' (" DEFAULT_CONFIG
                           "); what is in\n"
                           "      FILE.d/*.toml wins over it\n");
        for (size_t i = 0; i < LENGTH(config_options); i++)
                (void) fprintf(to, "  --%s %s\n      %s (%s)\n", config_options[i].flag,
                               config_options[i].value, config_options[i].help,
                               *config_options[i].standard ? config_options[i].standard : "none");
        (void) fprintf(to, "  --help, --version\n\nSIGTERM stops it and leaves pods running; SIGHUP reads "
                           "the files anew.\n");
}

/* --- flags --- */

struct flags {
        const char *config;
        const char *values[LENGTH(config_options)]; /* NULL: not given */
};

static struct error *flag_store(struct flags *flags, const char *name, const char *value)
{
        if (strcmp(name, "config") == 0) {
                flags->config = value;
                return NULL;
        }
        for (size_t i = 0; i < LENGTH(config_options); i++)
                if (strcmp(config_options[i].flag, name) == 0) {
                        flags->values[i] = value;
                        return NULL;
                }
        return error_new(ERROR_INVALID_ARGUMENT, "unknown flag --%s; --help lists them", name);
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
        for (size_t i = 0; i < LENGTH(config_options); i++) {
                const struct option *option = &config_options[i];
                if (!flags->values[i])
                        continue;
                TRY_WRAP(option_set_from_text(config, option, flags->values[i]), "--%s", option->flag);
                free(config->sources[i]);
                config->sources[i] = format_string("--%s", option->flag);
        }
        return NULL;
}

/* --- all of it --- */

/* Puts before e where the key's value is from. */
static struct error *blame(const struct skiff_config *config, const char *key, struct error *e)
{
        const char *source = config_source(config, key);
        const char *line = source && *source == '/' ? strrchr(source, ':') : NULL;
        if (!e)
                return NULL;
        if (line)
                return error_wrap(e, "%.*s: line %s: %s", (int) (line - source), source, line + 1, key);
        return source ? error_wrap(e, "%s", source) : e;
}

static struct error *check_driver(const struct skiff_config *config)
{
        static const char *const drivers[] = { "auto", "cgroupfs", "systemd" };
        for (size_t i = 0; i < LENGTH(drivers); i++)
                if (strcmp(config->cgroup_driver, drivers[i]) == 0)
                        return NULL;
        return error_new(ERROR_INVALID_ARGUMENT, "cgroup driver \"%s\" is none of auto, cgroupfs, systemd",
                         config->cgroup_driver);
}

static struct error *check_tls(const struct skiff_config *config)
{
        const char *given = *config->stream_tls_cert ? "stream_tls_cert" : "stream_tls_key";
        if ((*config->stream_tls_cert == '\0') != (*config->stream_tls_key == '\0'))
                return blame(
                        config, given,
                        error_new(ERROR_INVALID_ARGUMENT,
                                  "stream_tls_cert and stream_tls_key go together: one of them is missing"));
        if (*config->stream_tls_ca && !*config->stream_tls_cert)
                return blame(config, "stream_tls_ca",
                             error_new(ERROR_INVALID_ARGUMENT, "stream_tls_ca without stream_tls_cert"));
        return NULL;
}

static struct error *check_choices(struct skiff_config *config)
{
        TRY(blame(config, "cgroup_driver", check_driver(config)));
        if (strcmp(config->root, config->state) == 0)
                return blame(config, config_source(config, "state") ? "state" : "root",
                             error_new(ERROR_INVALID_ARGUMENT,
                                       "root and state are both %s: one survives a reboot, one does not",
                                       config->root));
        TRY(check_tls(config));
        return blame(config, "log_level", log_parse_level(config->log_level, &config->level));
}

struct error *config_defaults(struct skiff_config *config)
{
        config->sources = NEW_ARRAY(char *, LENGTH(config_options));
        for (size_t i = 0; i < LENGTH(config_options); i++)
                TRY(option_set_from_text(config, &config_options[i], config_options[i].standard));
        return NULL;
}

static struct error *load(const struct flags *flags, struct skiff_config *config)
{
        TRY(config_defaults(config));
        config->config = dup_string(flags->config ? flags->config : DEFAULT_CONFIG);
        struct error *e = config_files_read(config, flags->config != NULL);
        if (!e)
                e = check_choices(config);
        if (e)
                return error_as(e, ERROR_FAILED_PRECONDITION);
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
        for (size_t i = 0; i < LENGTH(config_options); i++) {
                option_done(config, &config_options[i]);
                if (config->sources)
                        free(config->sources[i]);
        }
        free(config->sources);
        *config = (struct skiff_config){ 0 };
}

/* --- what it says --- */

const struct option *config_option(const char *key)
{
        for (size_t i = 0; i < LENGTH(config_options); i++)
                if (strcmp(config_options[i].key, key) == 0)
                        return &config_options[i];
        return NULL;
}

const char *config_source(const struct skiff_config *config, const char *key)
{
        const struct option *option = config_option(key);
        return option ? config->sources[option - config_options] : NULL;
}

bool config_key_reloads(const char *key)
{
        const struct option *option = config_option(key);
        return option && option->reloads;
}

struct error *config_append_toml(const struct skiff_config *config, struct buf *out)
{
        for (size_t i = 0; i < LENGTH(config_options); i++) {
                TRY(buf_append_format(out, "%s = ", config_options[i].key));
                TRY(option_append_toml(config, &config_options[i], out));
                TRY(buf_append_format(out, "  # %s\n", config->sources[i] ? config->sources[i] : "default"));
        }
        return NULL;
}

void config_adopt(struct skiff_config *config, struct skiff_config *next,
                  void (*changed)(const char *key, bool adopted))
{
        for (size_t i = 0; i < LENGTH(config_options); i++) {
                const struct option *option = &config_options[i];
                if (option_is_same(config, next, option))
                        continue;
                if (option->reloads)
                        option_swap(config, next, option);
                changed(option->key, option->reloads);
        }
        config->level = next->level;
}
