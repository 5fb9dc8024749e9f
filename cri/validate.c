#include "cri/validate.h"
#include <string.h>

#define NAME_MAX_BYTES 1024 /* far more than Kubernetes allows; a record's size is bounded by it */

struct error *validate_id(const char *field, const char *id)
{
        if (!*id)
                return error_new(ERROR_INVALID_ARGUMENT, "%s is missing", field);
        if (strspn(id, "0123456789abcdef") != strlen(id) || strlen(id) > 64)
                return error_new(ERROR_NOT_FOUND, "%s: \"%.80s\" does not exist", field, id);
        return NULL;
}

/* A part of a name that must be unique: parts are joined by '/'. */
static struct error *validate_name(const char *field, const char *name)
{
        if (!*name)
                return error_new(ERROR_INVALID_ARGUMENT, "%s is missing", field);
        if (strchr(name, '/') || strlen(name) > NAME_MAX_BYTES)
                return error_new(ERROR_INVALID_ARGUMENT, "%s: \"%.80s\" has a '/' or is too long", field,
                                 name);
        return NULL;
}

static struct error *validate_port(const Cri__PortMapping *port, size_t i)
{
        if (port->container_port < 0 || port->container_port > 65535 || port->host_port < 0 ||
            port->host_port > 65535)
                return error_new(ERROR_INVALID_ARGUMENT,
                                 "config.port_mappings[%zu]: a port is from 0 to 65535", i);
        if (port->host_port && !port->container_port)
                return error_new(ERROR_INVALID_ARGUMENT,
                                 "config.port_mappings[%zu].container_port is missing", i);
        if ((int) port->protocol < 0 || port->protocol > CRI__PROTOCOL__SCTP)
                return error_new(ERROR_INVALID_ARGUMENT,
                                 "config.port_mappings[%zu].protocol: %d is no protocol", i,
                                 (int) port->protocol);
        return NULL;
}

static struct error *validate_namespaces(const char *field, const Cri__NamespaceOption *options)
{
        if (!options)
                return NULL;
        if (options->network != CRI__NAMESPACE_MODE__POD && options->network != CRI__NAMESPACE_MODE__NODE)
                return error_new(ERROR_INVALID_ARGUMENT, "%s.network: must be POD or NODE", field);
        if (options->ipc != CRI__NAMESPACE_MODE__POD && options->ipc != CRI__NAMESPACE_MODE__NODE)
                return error_new(ERROR_INVALID_ARGUMENT, "%s.ipc: must be POD or NODE", field);
        if ((int) options->pid < 0 || options->pid > CRI__NAMESPACE_MODE__TARGET)
                return error_new(ERROR_INVALID_ARGUMENT, "%s.pid: %d is no namespace mode", field,
                                 (int) options->pid);
        return NULL;
}

struct error *validate_pod_config(const Cri__PodSandboxConfig *config)
{
        if (!config)
                return error_new(ERROR_INVALID_ARGUMENT, "config is missing");
        if (!config->metadata)
                return error_new(ERROR_INVALID_ARGUMENT, "config.metadata is missing");
        TRY(validate_name("config.metadata.name", config->metadata->name));
        TRY(validate_name("config.metadata.uid", config->metadata->uid));
        TRY(validate_name("config.metadata.namespace", config->metadata->namespace_));
        if (*config->log_directory && *config->log_directory != '/')
                return error_new(ERROR_INVALID_ARGUMENT,
                                 "config.log_directory: \"%s\" is not an absolute path",
                                 config->log_directory);
        if (strstr(config->log_directory, "/../") || strpbrk(config->log_directory, "\r\n"))
                return error_new(ERROR_INVALID_ARGUMENT,
                                 "config.log_directory: \"%.200s\" is not a clean path",
                                 config->log_directory);
        for (size_t i = 0; i < config->n_port_mappings; i++)
                TRY(validate_port(config->port_mappings[i], i));
        if (config->linux && config->linux->security_context)
                TRY(validate_namespaces("config.linux.security_context.namespace_options",
                                        config->linux->security_context->namespace_options));
        return NULL;
}

struct error *validate_container_config(const Cri__ContainerConfig *config)
{
        if (!config)
                return error_new(ERROR_INVALID_ARGUMENT, "config is missing");
        if (!config->metadata)
                return error_new(ERROR_INVALID_ARGUMENT, "config.metadata is missing");
        TRY(validate_name("config.metadata.name", config->metadata->name));
        if (!config->image || !*config->image->image)
                return error_new(ERROR_INVALID_ARGUMENT, "config.image.image is missing");
        for (size_t i = 0; i < config->n_mounts; i++)
                if (!*config->mounts[i]->container_path)
                        return error_new(ERROR_INVALID_ARGUMENT,
                                         "config.mounts[%zu].container_path is missing", i);
        if (config->linux && config->linux->security_context)
                TRY(validate_namespaces("config.linux.security_context.namespace_options",
                                        config->linux->security_context->namespace_options));
        return NULL;
}

struct error *validate_image_spec(const Cri__ImageSpec *image)
{
        if (!image || !*image->image)
                return error_new(ERROR_INVALID_ARGUMENT, "image.image is missing");
        return NULL;
}

struct error *validate_exec_sync(const Cri__ExecSyncRequest *request)
{
        TRY(validate_id("container_id", request->container_id));
        if (!request->n_cmd || !*request->cmd[0])
                return error_new(ERROR_INVALID_ARGUMENT, "cmd is missing");
        if (request->timeout < 0)
                return error_new(ERROR_INVALID_ARGUMENT, "timeout: %lld is negative",
                                 (long long) request->timeout);
        return NULL;
}
