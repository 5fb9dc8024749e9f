/* ADD, CHECK, DEL, STATUS and GC over the plugins of a list: what each is given, and what becomes of what it says. */
#include "base/clock.h"
#include "base/json.h"
#include "cni/cni.h"
#include "cni/conf.h"
#include "cni/exclusion.h"
#include "cni/plugin.h"
#include "cni/result.h"
#include <string.h>

#define CONF_MAX_BYTES (4 * CONFLIST_MAX_BYTES)
#define UNDO_TIMEOUT_MS 30000
#define STATUS_TIMEOUT_MS 5000
#define STATUS_HOLDS_NS INT64_C(2000000000)
#define WITH_STATUS_AND_GC "1.1.0"

struct cni {
        struct conf_dir conf_dir;
        char *bin_dirs;
        int holder_fd, ending_holder_fd;
        pthread_mutex_t status_lock; /* of what follows; for moments */
        bool asking;
        int64_t asked_ns;     /* monotonic; 0: never */
        char *asked, *answer; /* the conflist whose plugins were asked; what is wrong, NULL: nothing */
        struct exclusion exclusion;
};

struct error *cni_open(const struct cni_config *config, struct cni **out)
{
        _cleanup_(cni_freep) struct cni *cni = NEW(struct cni);
        conf_dir_init(&cni->conf_dir, config->conf_dir);
        cni->bin_dirs = dup_string(config->bin_dirs);
        cni->holder_fd = config->holder_fd;
        cni->ending_holder_fd = config->ending_holder_fd >= 0 ? config->ending_holder_fd : config->holder_fd;
        (void) pthread_mutex_init(&cni->status_lock, NULL);
        TRY(exclusion_init(&cni->exclusion));
        *out = TAKE(cni);
        return NULL;
}

void cni_free(struct cni *cni)
{
        if (!cni)
                return;
        conf_dir_done(&cni->conf_dir);
        free(cni->bin_dirs);
        free(cni->asked);
        free(cni->answer);
        exclusion_done(&cni->exclusion);
        (void) pthread_mutex_destroy(&cni->status_lock);
        free(cni);
}

/* A list whose plugins are not all there can add nothing, nor take away what it added: it is not ready. */
static struct error *plugins_check(const struct cni *cni, const char *text)
{
        _cleanup_(json_freep) struct json *conflist = NULL;
        TRY(json_parse(text, strlen(text), &conflist));
        const struct json *plugins = json_get(conflist, "plugins");
        for (size_t i = 0; i < json_length(plugins); i++) {
                const char *types[] = { json_text(json_get(json_at(plugins, i), "type"), NULL),
                                        json_text(json_get(json_get(json_at(plugins, i), "ipam"), "type"),
                                                  NULL) };
                if (types[0] && types[1] && strcmp(types[0], "skiff-bridge") == 0 &&
                    strcmp(types[1], "host-local") == 0)
                        types[1] = NULL; /* it is host-local itself */
                for (size_t j = 0; j < LENGTH(types); j++) {
                        _cleanup_(freep) char *path = NULL;
                        if (types[j] && *types[j])
                                TRY_WRAP(plugin_find(cni->bin_dirs, types[j], &path), "plugin %s", types[j]);
                }
        }
        return NULL;
}

struct error *cni_current(struct cni *cni, char **out_conflist)
{
        _cleanup_(freep) char *conflist = NULL;
        TRY(conf_dir_get(&cni->conf_dir, &conflist));
        TRY(plugins_check(cni, conflist));
        *out_conflist = TAKE(conflist);
        return NULL;
}

/* --- what a plugin is given --- */

static struct error *put_strings(struct buf *out, const char *key, const char *const *strings)
{
        TRY(buf_append_format(out, "\"%s\":[", key));
        for (size_t i = 0; strings && strings[i]; i++) {
                TRY(buf_append_text(out, i ? "," : ""));
                TRY(json_put_text(out, strings[i]));
        }
        return buf_append_text(out, "]");
}

static struct error *put_port_mappings(struct buf *out, const struct cni_attachment *attachment)
{
        TRY(buf_append_text(out, "["));
        for (size_t i = 0; i < attachment->n_ports; i++) {
                const struct cni_port *port = &attachment->ports[i];
                TRY(buf_append_format(out, "%s{\"hostPort\":%d,\"containerPort\":%d,\"protocol\":",
                                      i ? "," : "", port->host_port, port->container_port));
                TRY(json_put_text(out, port->protocol));
                if (port->host_ip && *port->host_ip) {
                        TRY(buf_append_text(out, ",\"hostIP\":"));
                        TRY(json_put_text(out, port->host_ip));
                }
                TRY(buf_append_text(out, "}"));
        }
        return buf_append_text(out, "]");
}

static struct error *put_dns(struct buf *out, const struct cni_attachment *attachment)
{
        TRY(buf_append_text(out, "{"));
        TRY(put_strings(out, "servers", attachment->dns_servers));
        TRY(buf_append_text(out, ","));
        TRY(put_strings(out, "searches", attachment->dns_searches));
        TRY(buf_append_text(out, ","));
        TRY(put_strings(out, "options", attachment->dns_options));
        return buf_append_text(out, "}");
}

static struct error *put_cgroup_path(struct buf *out, const struct cni_attachment *attachment)
{
        return json_put_text(out, attachment->cgroup_parent);
}

static struct error *put_bandwidth(struct buf *out, const struct cni_attachment *attachment)
{
        return buf_append_text(out, attachment->bandwidth_json);
}

static bool has_ports(const struct cni_attachment *attachment)
{
        return attachment->n_ports > 0;
}

static bool has_dns(const struct cni_attachment *attachment)
{
        return attachment->dns_servers || attachment->dns_searches || attachment->dns_options;
}

static bool has_cgroup_path(const struct cni_attachment *attachment)
{
        return attachment->cgroup_parent && *attachment->cgroup_parent;
}

static struct error *put_annotations(struct buf *out, const struct cni_attachment *attachment)
{
        TRY(buf_append_text(out, "{"));
        for (size_t i = 0; i < attachment->n_annotations; i++) {
                TRY(buf_append_text(out, i ? "," : ""));
                TRY(json_put_text(out, attachment->annotations[i].key));
                TRY(buf_append_text(out, ":"));
                TRY(json_put_text(out, attachment->annotations[i].value));
        }
        return buf_append_text(out, "}");
}

static bool has_annotations(const struct cni_attachment *attachment)
{
        return attachment->n_annotations > 0;
}

static bool has_bandwidth(const struct cni_attachment *attachment)
{
        return attachment->bandwidth_json && *attachment->bandwidth_json;
}

/* Capabilities by the names that conventions give them. Source: CNI CONVENTIONS.md. */
static const struct {
        const char *name;
        bool (*has)(const struct cni_attachment *attachment);
        struct error *(*put)(struct buf *out, const struct cni_attachment *attachment);
} capabilities[] = {
        { "portMappings", has_ports, put_port_mappings },
        { "dns", has_dns, put_dns },
        { "cgroupPath", has_cgroup_path, put_cgroup_path },
        { "bandwidth", has_bandwidth, put_bandwidth },
        { "io.kubernetes.cri.pod-annotations", has_annotations, put_annotations }, /* containerd's */
};

/* runtimeConfig: only what the plugin declares, and only what there is. */
static struct error *put_runtime_config(struct buf *out, const struct json *plugin,
                                        const struct cni_attachment *attachment)
{
        const struct json *declared = json_get(plugin, "capabilities");
        bool first = true;
        for (size_t i = 0; i < LENGTH(capabilities); i++) {
                if (!json_boolean(json_get(declared, capabilities[i].name), false) ||
                    !capabilities[i].has(attachment))
                        continue;
                TRY(buf_append_format(out, "%s\"%s\":", first ? ",\"runtimeConfig\":{" : ",",
                                      capabilities[i].name));
                TRY(capabilities[i].put(out, attachment));
                first = false;
        }
        return first ? NULL : buf_append_text(out, "}");
}

/* What we set ourselves, and what is for us alone. */
static bool is_ours(const char *key)
{
        static const char *const ours[] = { "cniVersion",    "name",       "capabilities",
                                            "runtimeConfig", "prevResult", "cni.dev/valid-attachments" };
        for (size_t i = 0; i < LENGTH(ours); i++)
                if (strcmp(key, ours[i]) == 0)
                        return true;
        return false;
}

/* The execution configuration of one plugin (spec section 3): its own keys, the list's name and version, what it may
 * know of the runtime, and the result before it. */
static struct error *put_conf(struct buf *out, const struct json *list, const struct json *plugin,
                              const struct cni_attachment *attachment, const char *prev_result,
                              const char *valid_attachments)
{
        TRY(buf_append_text(out, "{\"cniVersion\":"));
        TRY(json_put_text(out, conflist_version(list)));
        TRY(buf_append_text(out, ",\"name\":"));
        TRY(json_put_text(out, json_text(json_get(list, "name"), "")));
        for (size_t i = 0; i < json_length(plugin); i++) {
                if (is_ours(json_key_at(plugin, i)))
                        continue;
                TRY(buf_append_text(out, ","));
                TRY(json_put_text(out, json_key_at(plugin, i)));
                TRY(buf_append_text(out, ":"));
                TRY(json_write(json_value_at(plugin, i), out));
        }
        TRY(put_runtime_config(out, plugin, attachment));
        if (prev_result && *prev_result)
                TRY(buf_append_format(out, ",\"prevResult\":%s", prev_result));
        if (valid_attachments)
                TRY(buf_append_format(out, ",\"cni.dev/valid-attachments\":%s", valid_attachments));
        return buf_append_text(out, "}");
}

/* A command for the network as a whole (STATUS, GC) has no container, and no arguments. CNI_ARGS is split at ';' and '=', so a value with one of them would be another argument. */
static struct error *args_make(const struct cni_attachment *attachment, char **out)
{
        const char *const values[] = { attachment->pod_namespace, attachment->pod_name,
                                       attachment->container_id, attachment->pod_uid };
        if (!*attachment->container_id) {
                *out = dup_string("");
                return NULL;
        }
        for (size_t i = 0; i < LENGTH(values); i++)
                if (values[i] && strpbrk(values[i], ";="))
                        return error_new(ERROR_INVALID_ARGUMENT, "\"%s\" has a ';' or '=' in it", values[i]);
        *out = format_string(
                "IgnoreUnknown=1;K8S_POD_NAMESPACE=%s;K8S_POD_NAME=%s;K8S_POD_INFRA_CONTAINER_ID=%s;"
                "K8S_POD_UID=%s",
                values[0] ? values[0] : "", values[1] ? values[1] : "", values[2],
                values[3] ? values[3] : "");
        return NULL;
}

struct command {
        const char *name;
        const struct cni_attachment *attachment;
        const char *valid_attachments; /* of GC; else NULL */
        bool ends;                     /* takes something away: not to be killed in its middle */
};

static struct error *run_plugin(struct cni *cni, const struct command *command, const struct json *list,
                                size_t i, const char *prev_result, const struct wait *wait,
                                struct buf *printed)
{
        const struct json *plugin = json_at(json_get(list, "plugins"), i);
        _cleanup_(freep) char *args = NULL;
        _cleanup_(buf_done) struct buf conf;
        buf_init(&conf, CONF_MAX_BYTES);
        TRY(args_make(command->attachment, &args));
        TRY(put_conf(&conf, list, plugin, command->attachment, prev_result, command->valid_attachments));
        struct plugin_run run = { .bin_dirs = cni->bin_dirs,
                                  .holder_fd = command->ends ? cni->ending_holder_fd : cni->holder_fd,
                                  .type = json_text(json_get(plugin, "type"), ""),
                                  .command = command->name,
                                  .args = args,
                                  .attachment = command->attachment };
        return plugin_run(&run, &conf, wait, printed);
}

/* --- ADD --- */

/* What ADD printed must be a result; it is what the next plugin and later the DEL are given, so it is kept as it was
 * read, not as it was written. */
static struct error *take_result(const struct buf *printed, const char *type, const char *ifname,
                                 struct cni_result *out)
{
        _cleanup_(json_freep) struct json *json = NULL;
        _cleanup_(buf_done) struct buf compact;
        buf_init(&compact, PLUGIN_OUTPUT_MAX_BYTES * 2);
        if (!printed->len_bytes)
                return error_new(ERROR_INTERNAL, "plugin %s: ADD: it printed no result", type);
        struct error *e = json_parse(printed->bytes, printed->len_bytes, &json);
        if (!e)
                e = result_read(json, ifname, out);
        if (e)
                return error_wrap(error_as(e, ERROR_INTERNAL), "plugin %s: ADD: bad result", type);
        e = json_write(json, &compact);
        if (!e && !(out->json = buf_take_text(&compact)))
                e = error_errno(ENOMEM, "keep the result");
        if (e)
                cni_result_done(out);
        return e;
}

static struct error *add_all(struct cni *cni, const struct json *list,
                             const struct cni_attachment *attachment, const struct wait *wait,
                             struct cni_result *result)
{
        const struct json *plugins = json_get(list, "plugins");
        const struct command command = { "ADD", attachment, NULL, false };
        for (size_t i = 0; i < json_length(plugins); i++) {
                struct cni_result next = { 0 };
                _cleanup_(buf_done) struct buf printed;
                buf_init(&printed, PLUGIN_OUTPUT_MAX_BYTES);
                TRY(run_plugin(cni, &command, list, i, result->json, wait, &printed));
                TRY(take_result(&printed, json_text(json_get(json_at(plugins, i), "type"), ""),
                                attachment->ifname, &next));
                cni_result_done(result);
                *result = next;
        }
        return NULL;
}

/* In reverse. All are tried: one that fails must not make another leak. */
static struct error *del_all(struct cni *cni, const struct json *list,
                             const struct cni_attachment *attachment, const struct wait *wait)
{
        struct error *first = NULL;
        const struct command command = { "DEL", attachment, NULL, true };
        /* Before 0.4.0 a DEL has no prevResult. */
        const char *prev_result =
                cni_version_at_least(conflist_version(list), "0.4.0") ? attachment->prev_result : NULL;
        for (size_t i = json_length(json_get(list, "plugins")); i-- > 0;) {
                _cleanup_(buf_done) struct buf printed;
                buf_init(&printed, PLUGIN_OUTPUT_MAX_BYTES);
                struct error *e = run_plugin(cni, &command, list, i, prev_result, wait, &printed);
                if (first)
                        error_ignore(e); /* the first failure is the one that is told */
                else
                        first = e;
        }
        return first;
}

static struct error *parse_list(const struct cni_attachment *attachment, struct json **out)
{
        TRY_WRAP(conflist_parse(attachment->conflist, strlen(attachment->conflist), out),
                 "network configuration");
        return NULL;
}

/* Between exclusion_enter and exclusion_leave, and so is its undo. */
static struct error *add_entered(struct cni *cni, const struct json *list,
                                 const struct cni_attachment *attachment, const struct wait *wait,
                                 struct cni_result *out)
{
        _cleanup_(cni_result_done) struct cni_result result = { 0 };
        struct error *e = add_all(cni, list, attachment, wait, &result);
        if (e) {
                /* The caller's time may be spent, and a lease that leaks is worse than a late answer. */
                struct wait undo = wait_of_ms(UNDO_TIMEOUT_MS);
                struct cni_attachment added = *attachment;
                added.prev_result = result.json;
                error_ignore(del_all(cni, list, &added, &undo)); /* best effort; the caller DELs again */
                return e;
        }
        *out = result;
        result = (struct cni_result){ 0 };
        return NULL;
}

struct error *cni_add(struct cni *cni, const struct cni_attachment *attachment, const struct wait *wait,
                      struct cni_result *out)
{
        _cleanup_(json_freep) struct json *list = NULL;
        TRY(parse_list(attachment, &list));
        TRY(exclusion_enter(&cni->exclusion, wait));
        struct error *e = add_entered(cni, list, attachment, wait, out);
        exclusion_leave(&cni->exclusion);
        return e;
}

struct error *cni_del(struct cni *cni, const struct cni_attachment *attachment, const struct wait *wait)
{
        _cleanup_(json_freep) struct json *list = NULL;
        _cleanup_(freep) char *args = NULL;
        TRY(parse_list(attachment, &list));
        struct error *e = args_make(attachment, &args);
        if (e) {
                error_ignore(e); /* what no plugin can be told none was told of: the ADD was refused */
                return NULL;
        }
        TRY(exclusion_enter(&cni->exclusion, wait));
        e = del_all(cni, list, attachment, wait);
        exclusion_leave(&cni->exclusion);
        return e;
}

struct error *cni_check(struct cni *cni, const struct cni_attachment *attachment, const struct wait *wait)
{
        _cleanup_(json_freep) struct json *list = NULL;
        const struct command command = { "CHECK", attachment, NULL, false };
        TRY(parse_list(attachment, &list));
        if (json_boolean(json_get(list, "disableCheck"), false) ||
            !cni_version_at_least(conflist_version(list), "0.4.0"))
                return NULL;
        for (size_t i = 0; i < json_length(json_get(list, "plugins")); i++) {
                _cleanup_(buf_done) struct buf printed;
                buf_init(&printed, PLUGIN_OUTPUT_MAX_BYTES);
                TRY(run_plugin(cni, &command, list, i, attachment->prev_result, wait, &printed));
        }
        return NULL;
}

/* --- STATUS and GC: of the network as a whole --- */

#define NO_ATTACHMENT(of_trace)                                                                              \
        {                                                                                                    \
                .container_id = "", .netns_path = "", .ifname = "", .trace = (of_trace)                      \
        }

/* All plugins; the first failure. One that fails need not keep the others from a GC, and does from a STATUS. */
static struct error *run_for_all(struct cni *cni, const char *conflist, const struct command *command,
                                 bool ends_at_first, const struct wait *wait)
{
        _cleanup_(json_freep) struct json *list = NULL;
        struct error *first = NULL;
        TRY_WRAP(conflist_parse(conflist, strlen(conflist), &list), "network configuration");
        if (!cni_version_at_least(conflist_version(list), WITH_STATUS_AND_GC) ||
            (command->valid_attachments && json_boolean(json_get(list, "disableGC"), false)))
                return NULL;
        for (size_t i = 0; i < json_length(json_get(list, "plugins")) && !(first && ends_at_first); i++) {
                _cleanup_(buf_done) struct buf printed;
                buf_init(&printed, PLUGIN_OUTPUT_MAX_BYTES);
                struct error *e = run_plugin(cni, command, list, i, NULL, wait, &printed);
                if (first)
                        error_ignore(e); /* the first failure is the one that is told */
                else
                        first = e;
        }
        return first;
}

/* Whether the last answer still counts for the conflist; *out is that then. Else it is the caller's to ask. */
static bool status_known(struct cni *cni, const char *conflist, struct error **out)
{
        (void) pthread_mutex_lock(&cni->status_lock);
        bool same = cni->asked && strcmp(cni->asked, conflist) == 0;
        bool known = same && (cni->asking || clock_monotonic_ns() - cni->asked_ns < STATUS_HOLDS_NS);
        *out = known && cni->answer ? error_new(ERROR_FAILED_PRECONDITION, "%s", cni->answer) : NULL;
        if (!known)
                cni->asking = true;
        (void) pthread_mutex_unlock(&cni->status_lock);
        return known;
}

static void status_keep(struct cni *cni, const char *conflist, const struct error *e)
{
        (void) pthread_mutex_lock(&cni->status_lock);
        free(cni->asked);
        free(cni->answer);
        cni->asked = dup_string(conflist);
        cni->answer = e ? dup_string(error_message(e)) : NULL;
        cni->asked_ns = clock_monotonic_ns();
        cni->asking = false;
        (void) pthread_mutex_unlock(&cni->status_lock);
}

struct error *cni_ready(struct cni *cni)
{
        _cleanup_(freep) char *conflist = NULL;
        _cleanup_(trace_done) struct trace trace = { 0 };
        const struct cni_attachment no_attachment = NO_ATTACHMENT(&trace);
        const struct command command = { "STATUS", &no_attachment, NULL, false };
        const struct wait wait = wait_of_ms(STATUS_TIMEOUT_MS);
        struct error *e = NULL;
        TRY(cni_current(cni, &conflist));
        if (status_known(cni, conflist, &e))
                return e;
        trace_set(&trace, NULL);
        e = run_for_all(cni, conflist, &command, true, &wait);
        if (e)
                e = error_as(e, ERROR_FAILED_PRECONDITION);
        status_keep(cni, conflist, e);
        return e;
}

static struct error *put_attachments(struct buf *out, char *const *ids, const char *ifname)
{
        TRY(buf_append_text(out, "["));
        for (size_t i = 0; ids[i]; i++) {
                TRY(buf_append_format(out, "%s{\"containerID\":", i ? "," : ""));
                TRY(json_put_text(out, ids[i]));
                TRY(buf_append_text(out, ",\"ifname\":"));
                TRY(json_put_text(out, ifname));
                TRY(buf_append_text(out, "}"));
        }
        return buf_append_text(out, "]");
}

/* With nothing else under way. */
static struct error *collect_alone(struct cni *cni, const char *conflist, char *const *ids,
                                   const char *ifname, const struct wait *wait)
{
        _cleanup_(trace_done) struct trace trace = { 0 };
        _cleanup_(buf_done) struct buf valid;
        buf_init(&valid, CONF_MAX_BYTES);
        TRY(put_attachments(&valid, ids, ifname));
        trace_set(&trace, NULL);
        const struct cni_attachment no_attachment = NO_ATTACHMENT(&trace);
        const struct command command = { "GC", &no_attachment, valid.bytes, true };
        return run_for_all(cni, conflist, &command, false, wait);
}

struct error *cni_collect(struct cni *cni, char **(*ids)(void *context), void *context, const char *ifname,
                          int64_t patience_ms, const struct wait *wait)
{
        _cleanup_(freep) char *conflist = NULL;
        TRY(cni_current(cni, &conflist));
        TRY(exclusion_begin(&cni->exclusion, patience_ms));
        char **valid = ids(context);
        struct error *e = collect_alone(cni, conflist, valid, ifname, wait);
        exclusion_end(&cni->exclusion);
        free_strings(valid);
        return e;
}
