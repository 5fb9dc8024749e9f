#include "runtime/container_spec.h"

const char *hook_stage_name(enum hook_stage stage)
{
        static const char *const names[HOOK_STAGES] = {
                [HOOK_PRESTART] = "prestart",
                [HOOK_CREATE_RUNTIME] = "createRuntime",
                [HOOK_CREATE_CONTAINER] = "createContainer",
                [HOOK_START_CONTAINER] = "startContainer",
                [HOOK_POSTSTART] = "poststart",
                [HOOK_POSTSTOP] = "poststop",
        };
        return stage < HOOK_STAGES ? names[stage] : "?";
}

struct container_spec *container_spec_new(void)
{
        struct container_spec *spec = NEW(struct container_spec);
        spec->process.umask = 0022;
        return spec;
}

void process_spec_done(struct process_spec *process)
{
        free_strings(process->argv);
        free_strings(process->env);
        free(process->cwd);
        free(process->groups);
        free(process->rlimits);
        free(process->apparmor);
        free(process->selinux);
        *process = (struct process_spec){ 0 };
}

void container_mount_done(struct container_mount *mount)
{
        free(mount->target);
        free(mount->host_path);
        free(mount->image_id);
        free(mount->data);
        closep(&mount->source_fd);
}

static void limits_done(struct cgroup_limits *limits)
{
        for (size_t i = 0; i < limits->n_hugepages; i++)
                free((char *) (uintptr_t) limits->hugepages[i].page_size);
        for (size_t i = 0; i < limits->n_unified; i++) {
                free((char *) (uintptr_t) limits->unified[i].key);
                free((char *) (uintptr_t) limits->unified[i].value);
        }
        free((void *) (uintptr_t) limits->hugepages);
        free((void *) (uintptr_t) limits->unified);
        free((char *) (uintptr_t) limits->cpuset_cpus);
        free((char *) (uintptr_t) limits->cpuset_mems);
}

void container_spec_free(struct container_spec *spec)
{
        if (!spec)
                return;
        process_spec_done(&spec->process);
        for (size_t i = 0; i < spec->n_mounts; i++)
                container_mount_done(&spec->mounts[i]);
        for (size_t i = 0; i < spec->n_devices; i++)
                free(spec->devices[i].path);
        for (size_t i = 0; i < spec->n_hooks; i++) {
                free(spec->hooks[i].path);
                free_strings(spec->hooks[i].argv);
                free_strings(spec->hooks[i].env);
        }
        free(spec->hooks);
        free(spec->mounts);
        free(spec->devices);
        free(spec->device_rules);
        free_strings(spec->masked_paths);
        free_strings(spec->readonly_paths);
        limits_done(&spec->limits);
        free(spec->cgroup_path);
        free(spec->mount_context);
        free(spec->shm_context);
        free(spec->pid_target);
        free(spec->hostname);
        free(spec->id);
        free(spec);
}
