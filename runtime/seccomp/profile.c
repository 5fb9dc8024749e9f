#include "runtime/seccomp/profile.h"
#include "runtime/capabilities.h"
#include "runtime/seccomp/calls.h"
#include "runtime/seccomp/compact.h"
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <seccomp.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/utsname.h>

#define BPF_BYTES_MAX (4096 * sizeof(struct sock_filter))
#define ARGS_MAX 6
#define OPTIMIZE_BINARY_TREE 2
#define X32_BIT 0x40000000U
#define OWN_MAX 32 /* calls that libseccomp does not know: runtime/seccomp/calls.h has less */

/* A call that libseccomp does not know: answered in front of its program. */
struct own_rule {
        int number;
        uint32_t action;
};

struct compiler {
        scmp_filter_ctx filter;
        uint64_t capabilities;
        uint32_t default_action;
        int highest; /* the highest call number that the profile names */
        struct own_rule own[OWN_MAX];
        size_t n_own;
};

static void filter_release(scmp_filter_ctx *filter)
{
        if (*filter)
                seccomp_release(*filter);
}

struct named {
        const char *name;
        uint32_t value;
};

static struct error *find(const struct named *table, size_t n, const char *name, const char *what,
                          uint32_t *out)
{
        for (size_t i = 0; i < n; i++) {
                if (strcmp(table[i].name, name) == 0) {
                        *out = table[i].value;
                        return NULL;
                }
        }
        return error_new(ERROR_INVALID_ARGUMENT, "unknown %s \"%s\"", what, name);
}

static struct error *action_of(const struct json *object, const char *key, const char *errno_key,
                               uint32_t *out)
{
        static const struct named actions[] = {
                { "SCMP_ACT_KILL", SCMP_ACT_KILL_THREAD },
                { "SCMP_ACT_KILL_THREAD", SCMP_ACT_KILL_THREAD },
                { "SCMP_ACT_KILL_PROCESS", SCMP_ACT_KILL_PROCESS },
                { "SCMP_ACT_TRAP", SCMP_ACT_TRAP },
                { "SCMP_ACT_ERRNO", SCMP_ACT_ERRNO(EPERM) },
                { "SCMP_ACT_TRACE", SCMP_ACT_TRACE(EPERM) },
                { "SCMP_ACT_ALLOW", SCMP_ACT_ALLOW },
                { "SCMP_ACT_LOG", SCMP_ACT_LOG },
        };
        const char *name;
        TRY(json_need_text(object, key, &name));
        TRY(find(actions, LENGTH(actions), name, key, out));
        int64_t number = json_integer(json_get(object, errno_key), -1);
        if (number < 0)
                return NULL;
        if (number > 4095)
                return error_new(ERROR_INVALID_ARGUMENT, "\"%s\" %lld is no errno", errno_key,
                                 (long long) number);
        if (strcmp(name, "SCMP_ACT_ERRNO") == 0)
                *out = SCMP_ACT_ERRNO((uint32_t) number);
        if (strcmp(name, "SCMP_ACT_TRACE") == 0)
                *out = SCMP_ACT_TRACE((uint32_t) number);
        return NULL;
}

/* --- who a rule is for --- */

static bool has_capability(uint64_t capabilities, const char *name)
{
        int capability;
        struct error *e = capability_parse(name, &capability);
        bool has = !e && capabilities >> capability & 1;
        error_ignore(e); /* one that we do not know is one that the container does not have */
        return has;
}

static const char *our_arch(void)
{
        switch (seccomp_arch_native()) {
        case SCMP_ARCH_X86_64:
                return "amd64";
        case SCMP_ARCH_AARCH64:
                return "arm64";
        default:
                return "?";
        }
}

static bool arch_listed(const struct json *arches)
{
        for (size_t i = 0; i < json_length(arches); i++) {
                const char *name = json_text(json_at(arches, i), "");
                if (strcmp(name, our_arch()) == 0)
                        return true;
        }
        return false;
}

static bool kernel_at_least(const char *wanted)
{
        struct utsname host;
        unsigned want_major = 0, want_minor = 0, major = 0, minor = 0;
        if (uname(&host) < 0 || sscanf(wanted, "%u.%u", &want_major, &want_minor) != 2 ||
            sscanf(host.release, "%u.%u", &major, &minor) != 2)
                return false;
        return major > want_major || (major == want_major && minor >= want_minor);
}

/* includes: all of the capabilities, one of the architectures, the kernel. excludes: any of them keeps it out. */
bool profile_rule_applies(uint64_t capabilities, const struct json *rule)
{
        const struct json *in = json_get(rule, "includes"), *out = json_get(rule, "excludes");
        const struct json *in_caps = json_get(in, "caps"), *out_caps = json_get(out, "caps");
        const struct json *in_arches = json_get(in, "arches");
        for (size_t i = 0; i < json_length(in_caps); i++)
                if (!has_capability(capabilities, json_text(json_at(in_caps, i), "")))
                        return false;
        for (size_t i = 0; i < json_length(out_caps); i++)
                if (has_capability(capabilities, json_text(json_at(out_caps, i), "")))
                        return false;
        if (json_length(in_arches) && !arch_listed(in_arches))
                return false;
        if (arch_listed(json_get(out, "arches")))
                return false;
        const char *in_kernel = json_text(json_get(in, "minKernel"), NULL);
        const char *out_kernel = json_text(json_get(out, "minKernel"), NULL);
        return (!in_kernel || kernel_at_least(in_kernel)) && (!out_kernel || !kernel_at_least(out_kernel));
}

/* --- rules --- */

static struct error *arg_of(const struct json *json, struct scmp_arg_cmp *out)
{
        static const struct named ops[] = {
                { "SCMP_CMP_NE", SCMP_CMP_NE },
                { "SCMP_CMP_LT", SCMP_CMP_LT },
                { "SCMP_CMP_LE", SCMP_CMP_LE },
                { "SCMP_CMP_EQ", SCMP_CMP_EQ },
                { "SCMP_CMP_GE", SCMP_CMP_GE },
                { "SCMP_CMP_GT", SCMP_CMP_GT },
                { "SCMP_CMP_MASKED_EQ", SCMP_CMP_MASKED_EQ },
        };
        int64_t index, value;
        const char *name;
        uint32_t op = 0;
        TRY(json_need_integer(json, "index", &index));
        TRY(json_need_integer(json, "value", &value));
        TRY(json_need_text(json, "op", &name));
        TRY(find(ops, LENGTH(ops), name, "op", &op));
        if (index < 0 || index >= ARGS_MAX)
                return error_new(ERROR_INVALID_ARGUMENT, "\"index\" %lld is no argument", (long long) index);
        *out = (struct scmp_arg_cmp){ .arg = (unsigned) index,
                                      .op = (enum scmp_compare) op,
                                      .datum_a = (scmp_datum_t) value,
                                      .datum_b = (scmp_datum_t) json_integer(json_get(json, "valueTwo"), 0) };
        return NULL;
}

static bool same_argument_twice(const struct scmp_arg_cmp *args, size_t n)
{
        for (size_t i = 0; i < n; i++)
                for (size_t j = 0; j < i; j++)
                        if (args[i].arg == args[j].arg)
                                return true;
        return false;
}

/* The first rule of a call counts, as with libseccomp. */
static struct error *own_rule_add(struct compiler *c, const char *name, int number, uint32_t action,
                                  size_t n_args)
{
        const struct scmp_version *library = seccomp_version();
        if (n_args)
                return error_new(ERROR_INVALID_ARGUMENT,
                                 "rule for %s: libseccomp %u.%u.%u does not know this call, so its arguments "
                                 "cannot be looked at",
                                 name, library->major, library->minor, library->micro);
        for (size_t i = 0; i < c->n_own; i++)
                if (c->own[i].number == number)
                        return NULL;
        if (c->n_own < OWN_MAX)
                c->own[c->n_own++] = (struct own_rule){ number, action };
        return NULL;
}

static struct error *rule_add(struct compiler *c, const char *name, uint32_t action,
                              const struct scmp_arg_cmp *args, size_t n)
{
        bool by_us;
        int number = call_number(name, &by_us);
        if (number == CALL_UNKNOWN)
                return NULL; /* neither this kernel nor this architecture has it: nothing to allow */
        if (number > c->highest)
                c->highest = number;
        if (action == c->default_action)
                return NULL;
        if (by_us)
                return own_rule_add(c, name, number, action, n);
        /* libseccomp takes one comparison an argument; of several, each is a rule of its own, as runc does. */
        if (same_argument_twice(args, n)) {
                for (size_t i = 0; i < n; i++) {
                        int rc = seccomp_rule_add_array(c->filter, action, number, 1, &args[i]);
                        if (rc < 0)
                                return error_errno(-rc, "rule for %s", name);
                }
                return NULL;
        }
        int rc = seccomp_rule_add_array(c->filter, action, number, (unsigned) n, args);
        if (rc < 0 && rc != -EEXIST)
                return error_errno(-rc, "rule for %s", name);
        return NULL;
}

static struct error *rule_read(struct compiler *c, const struct json *rule)
{
        struct scmp_arg_cmp args[ARGS_MAX];
        const struct json *names = json_get(rule, "names"), *list = json_get(rule, "args");
        uint32_t action = 0;
        size_t n = json_length(list);
        TRY(action_of(rule, "action", "errnoRet", &action));
        if (n > ARGS_MAX)
                return error_new(ERROR_INVALID_ARGUMENT, "%zu args", n);
        for (size_t i = 0; i < n; i++)
                TRY_WRAP(arg_of(json_at(list, i), &args[i]), "args[%zu]", i);
        if (!json_length(names) && !json_get(rule, "name"))
                return error_new(ERROR_INVALID_ARGUMENT, "\"names\" is missing");
        if (!profile_rule_applies(c->capabilities, rule))
                return NULL;
        if (json_get(rule, "name"))
                TRY(rule_add(c, json_text(json_get(rule, "name"), ""), action, args, n));
        for (size_t i = 0; i < json_length(names); i++)
                TRY(rule_add(c, json_text(json_at(names, i), ""), action, args, n));
        return NULL;
}

static struct error *arch_add(struct compiler *c, const char *name)
{
        char lower[32];
        size_t i = 0;
        if (strncmp(name, "SCMP_ARCH_", 10) != 0)
                return error_new(ERROR_INVALID_ARGUMENT, "unknown architecture \"%s\"", name);
        for (name += 10; name[i] && i + 1 < sizeof(lower); i++)
                lower[i] = (char) (name[i] >= 'A' && name[i] <= 'Z' ? name[i] - 'A' + 'a' : name[i]);
        lower[i] = '\0';
        uint32_t arch = seccomp_arch_resolve_name(lower);
        if (arch == 0)
                return error_new(ERROR_INVALID_ARGUMENT, "unknown architecture \"SCMP_ARCH_%s\"", name);
        int rc = seccomp_arch_add(c->filter, arch);
        return rc < 0 && rc != -EEXIST ? error_errno(-rc, "architecture %s", name) : NULL;
}

static struct error *arches_read(struct compiler *c, const struct json *profile)
{
        const struct json *list = json_get(profile, "architectures"), *map = json_get(profile, "archMap");
        for (size_t i = 0; i < json_length(list); i++)
                TRY(arch_add(c, json_text(json_at(list, i), "")));
        const char *native = seccomp_arch_native() == SCMP_ARCH_X86_64    ? "SCMP_ARCH_X86_64"
                             : seccomp_arch_native() == SCMP_ARCH_AARCH64 ? "SCMP_ARCH_AARCH64"
                                                                          : "";
        for (size_t i = 0; i < json_length(map); i++) {
                const struct json *entry = json_at(map, i), *subs = json_get(entry, "subArchitectures");
                if (strcmp(json_text(json_get(entry, "architecture"), ""), native) != 0)
                        continue;
                for (size_t j = 0; j < json_length(subs); j++)
                        TRY(arch_add(c, json_text(json_at(subs, j), "")));
        }
        return NULL;
}

/* --- output --- */

/* Calls newer than the profile answer ENOSYS, so that programs take their older way instead of failing with EPERM
 * (glibc's clone3, for one); those that libseccomp does not know have their own answers. Put in front of libseccomp's program,
 * whose jumps are all relative; its actions are the kernel's return values. For this machine's own calls alone: 32-bit programs
 * get what libseccomp knows. */
static struct error *front_put(const struct compiler *c, struct buf *out)
{
        const uint32_t audit_arch = seccomp_arch_native(); /* libseccomp's tokens are AUDIT_ARCH_ numbers */
        const bool refuses = c->default_action != SCMP_ACT_ALLOW && c->default_action != SCMP_ACT_LOG;
        const uint8_t own = (uint8_t) (2 * c->n_own), newer = refuses && c->highest > 0 ? 2 : 0;
        if (own + newer == 0)
                return NULL;
        const struct sock_filter head[] = {
                BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, arch)),
                BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, audit_arch, 0, (uint8_t) (2 + own + newer)),
                BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
                BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, X32_BIT, (uint8_t) (own + newer), 0),
        };
        TRY(buf_append(out, head, sizeof(head)));
        for (size_t i = 0; i < c->n_own; i++) {
                const struct sock_filter rule[] = {
                        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t) c->own[i].number, 0, 1),
                        BPF_STMT(BPF_RET | BPF_K, c->own[i].action),
                };
                TRY(buf_append(out, rule, sizeof(rule)));
        }
        const struct sock_filter tail[] = {
                BPF_JUMP(BPF_JMP | BPF_JGT | BPF_K, (uint32_t) c->highest, 0, 1),
                BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOSYS),
        };
        return newer ? buf_append(out, tail, sizeof(tail)) : NULL;
}

/* Of the OCI format, what changes nothing here is passed over: TSYNC is for threads, of which a process has one at its exec, and
 * SPEC_ALLOW gives up a mitigation. The others would be missed. */
static struct error *features_check(const struct json *profile)
{
        const struct json *flags = json_get(profile, "flags");
        for (size_t i = 0; i < json_length(flags); i++) {
                const char *flag = json_text(json_at(flags, i), "");
                if (strcmp(flag, "SECCOMP_FILTER_FLAG_TSYNC") != 0 &&
                    strcmp(flag, "SECCOMP_FILTER_FLAG_SPEC_ALLOW") != 0)
                        return error_new(ERROR_INVALID_ARGUMENT, "flags[%zu]: \"%s\" is not supported", i,
                                         flag);
        }
        if (*json_text(json_get(profile, "listenerPath"), ""))
                return error_new(ERROR_INVALID_ARGUMENT,
                                 "listenerPath: a listener for SCMP_ACT_NOTIFY is not supported");
        return NULL;
}

static struct error *export_bpf(const struct compiler *c, struct buf *out)
{
        _cleanup_(closep) int fd = memfd_create("skiff-seccomp", MFD_CLOEXEC);
        if (fd < 0)
                return error_errno(errno, "memfd_create");
        int rc = seccomp_export_bpf(c->filter, fd);
        if (rc < 0)
                return error_errno(-rc, "compile the profile");
        if (lseek(fd, 0, SEEK_SET) < 0)
                return error_errno(errno, "read the program");
        return buf_read_all(out, fd);
}

struct error *profile_compile(const struct json *profile, uint64_t capabilities, struct buf *out)
{
        _cleanup_(filter_release) scmp_filter_ctx filter = NULL;
        struct compiler c = { .capabilities = capabilities, .highest = -1 };
        const struct json *rules = json_get(profile, "syscalls");
        TRY(features_check(profile));
        TRY(action_of(profile, "defaultAction", "defaultErrnoRet", &c.default_action));
        c.filter = filter = seccomp_init(c.default_action);
        if (!filter)
                return error_new(ERROR_INVALID_ARGUMENT, "defaultAction is refused by this kernel");
        (void) seccomp_attr_set(filter, SCMP_FLTATR_CTL_OPTIMIZE, OPTIMIZE_BINARY_TREE);
        (void) seccomp_attr_set(filter, SCMP_FLTATR_CTL_NNP, 0);
        TRY(arches_read(&c, profile));
        for (size_t i = 0; i < json_length(rules); i++)
                TRY_WRAP(rule_read(&c, json_at(rules, i)), "syscalls[%zu]", i);
        struct buf program;
        buf_init(&program, BPF_BYTES_MAX);
        struct error *e = front_put(&c, &program);
        if (!e)
                e = export_bpf(&c, &program);
        if (!e)
                e = bpf_compact((const struct sock_filter *) (void *) program.bytes,
                                program.len_bytes / sizeof(struct sock_filter), out);
        buf_done(&program);
        return e;
}
