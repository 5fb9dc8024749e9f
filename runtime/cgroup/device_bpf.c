#include "runtime/cgroup/cgroup_internal.h"
#include <linux/bpf.h>
#include <string.h>
#include <sys/syscall.h>

const struct device_rule cgroup_device_defaults[] = {
        { .allow = true, .type = 'c', .major = -1, .minor = -1, .mknod = true },
        { .allow = true, .type = 'b', .major = -1, .minor = -1, .mknod = true },
        { .allow = true, .type = 'c', .major = 1, .minor = 3, .read = true, .write = true, .mknod = true },
        { .allow = true, .type = 'c', .major = 1, .minor = 5, .read = true, .write = true, .mknod = true },
        { .allow = true, .type = 'c', .major = 1, .minor = 7, .read = true, .write = true, .mknod = true },
        { .allow = true, .type = 'c', .major = 1, .minor = 8, .read = true, .write = true, .mknod = true },
        { .allow = true, .type = 'c', .major = 1, .minor = 9, .read = true, .write = true, .mknod = true },
        { .allow = true, .type = 'c', .major = 5, .minor = 0, .read = true, .write = true, .mknod = true },
        { .allow = true, .type = 'c', .major = 5, .minor = 2, .read = true, .write = true, .mknod = true },
        { .allow = true, .type = 'c', .major = 10, .minor = 200, .read = true, .write = true, .mknod = true },
        { .allow = true, .type = 'c', .major = 136, .minor = -1, .read = true, .write = true, .mknod = true },
};
const size_t cgroup_n_device_defaults = LENGTH(cgroup_device_defaults);

#define OLD_PROGRAMS_MAX 64

/* The registers that hold the question, and one to work in. */
enum { R_RESULT = 0, R_CONTEXT = 1, R_TYPE = 2, R_ACCESS = 3, R_MAJOR = 4, R_MINOR = 5, R_WORK = 6 };

struct program {
        struct bpf_insn *insns;
        size_t n, room;
};

static void put(struct program *p, uint8_t code, uint8_t to, uint8_t from, int16_t offset, int32_t value)
{
        if (p->n < p->room) {
                struct bpf_insn *insn = &p->insns[p->n];
                *insn = (struct bpf_insn){ .code = code, .off = offset, .imm = value };
                insn->dst_reg = (uint8_t) (to & 0xf);
                insn->src_reg = (uint8_t) (from & 0xf);
        }
        p->n++;
}

static void load(struct program *p, uint8_t to, size_t offset)
{
        put(p, BPF_LDX | BPF_MEM | BPF_W, to, R_CONTEXT, (int16_t) offset, 0);
}

static void answer(struct program *p, int allow)
{
        put(p, BPF_ALU64 | BPF_MOV | BPF_K, R_RESULT, 0, 0, allow);
        put(p, BPF_JMP | BPF_EXIT, 0, 0, 0, 0);
}

static int32_t access_of(const struct device_rule *rule)
{
        return (rule->mknod ? BPF_DEVCG_ACC_MKNOD : 0) | (rule->read ? BPF_DEVCG_ACC_READ : 0) |
               (rule->write ? BPF_DEVCG_ACC_WRITE : 0);
}

/* "If it is not this rule's, go on to the next": the jumps are patched when the rule's end is known. */
static void put_rule(struct program *p, const struct device_rule *rule)
{
        size_t jumps[4], n = 0;
        if (rule->type != 'a') {
                jumps[n++] = p->n;
                put(p, BPF_JMP | BPF_JNE | BPF_K, R_TYPE, 0, 0,
                    rule->type == 'b' ? BPF_DEVCG_DEV_BLOCK : BPF_DEVCG_DEV_CHAR);
        }
        put(p, BPF_ALU64 | BPF_MOV | BPF_X, R_WORK, R_ACCESS, 0, 0);
        put(p, BPF_ALU64 | BPF_AND | BPF_K, R_WORK, 0, 0, access_of(rule));
        jumps[n++] = p->n;
        if (rule->allow) /* all that is asked is in the rule */
                put(p, BPF_JMP | BPF_JNE | BPF_X, R_WORK, R_ACCESS, 0, 0);
        else /* something that is asked is in the rule */
                put(p, BPF_JMP | BPF_JEQ | BPF_K, R_WORK, 0, 0, 0);
        if (rule->major >= 0) {
                jumps[n++] = p->n;
                put(p, BPF_JMP | BPF_JNE | BPF_K, R_MAJOR, 0, 0, (int32_t) rule->major);
        }
        if (rule->minor >= 0) {
                jumps[n++] = p->n;
                put(p, BPF_JMP | BPF_JNE | BPF_K, R_MINOR, 0, 0, (int32_t) rule->minor);
        }
        answer(p, rule->allow);
        for (size_t i = 0; i < n && p->n <= p->room; i++)
                p->insns[jumps[i]].off = (int16_t) (p->n - jumps[i] - 1);
}

size_t device_bpf_build(const struct device_rule *rules, size_t n_rules, struct bpf_insn *out, size_t room)
{
        struct program p = { .insns = out, .room = room };
        load(&p, R_ACCESS, offsetof(struct bpf_cgroup_dev_ctx, access_type));
        put(&p, BPF_ALU64 | BPF_MOV | BPF_X, R_TYPE, R_ACCESS, 0, 0);
        put(&p, BPF_ALU64 | BPF_AND | BPF_K, R_TYPE, 0, 0, 0xffff);
        put(&p, BPF_ALU64 | BPF_RSH | BPF_K, R_ACCESS, 0, 0, 16);
        load(&p, R_MAJOR, offsetof(struct bpf_cgroup_dev_ctx, major));
        load(&p, R_MINOR, offsetof(struct bpf_cgroup_dev_ctx, minor));
        for (size_t i = n_rules; i > 0; i--)
                put_rule(&p, &rules[i - 1]);
        answer(&p, 0);
        return p.n <= p.room ? p.n : 0;
}

static int sys_bpf(int command, union bpf_attr *attr)
{
        return (int) syscall(__NR_bpf, command, attr, sizeof(*attr));
}

static struct error *program_load(const struct bpf_insn *insns, size_t n, int *out_fd)
{
        union bpf_attr attr;
        memset(&attr, 0, sizeof(attr));
        attr.prog_type = BPF_PROG_TYPE_CGROUP_DEVICE;
        attr.insns = (uint64_t) (uintptr_t) insns;
        attr.insn_cnt = (uint32_t) n;
        attr.license = (uint64_t) (uintptr_t) "GPL";
        int fd = sys_bpf(BPF_PROG_LOAD, &attr);
        if (fd < 0)
                return error_errno(errno, "load the device program of %zu instructions", n);
        *out_fd = fd;
        return NULL;
}

static size_t programs_attached(int cgroup_fd, uint32_t *ids)
{
        union bpf_attr attr;
        memset(&attr, 0, sizeof(attr));
        attr.query.target_fd = (uint32_t) cgroup_fd;
        attr.query.attach_type = BPF_CGROUP_DEVICE;
        attr.query.prog_ids = (uint64_t) (uintptr_t) ids;
        attr.query.prog_cnt = OLD_PROGRAMS_MAX;
        return sys_bpf(BPF_PROG_QUERY, &attr) < 0 ? 0 : attr.query.prog_cnt;
}

static void program_detach(int cgroup_fd, uint32_t id)
{
        union bpf_attr attr;
        memset(&attr, 0, sizeof(attr));
        attr.prog_id = id;
        _cleanup_(closep) int fd = sys_bpf(BPF_PROG_GET_FD_BY_ID, &attr);
        memset(&attr, 0, sizeof(attr));
        attr.target_fd = (uint32_t) cgroup_fd;
        attr.attach_bpf_fd = (uint32_t) fd;
        attr.attach_type = BPF_CGROUP_DEVICE;
        if (fd >= 0)
                (void) sys_bpf(BPF_PROG_DETACH, &attr);
}

struct error *device_bpf_attach(int cgroup_fd, const struct device_rule *rules, size_t n_rules)
{
        uint32_t old[OLD_PROGRAMS_MAX];
        union bpf_attr attr;
        _cleanup_(closep) int fd = -1;
        _cleanup_(freep) struct bpf_insn *insns = NEW_ARRAY(struct bpf_insn, DEVICE_BPF_MAX);
        size_t n = device_bpf_build(rules, n_rules, insns, DEVICE_BPF_MAX);
        if (n == 0)
                return error_new(ERROR_RESOURCE_EXHAUSTED, "%zu device rules are too many", n_rules);
        TRY(program_load(insns, n, &fd));
        size_t n_old = programs_attached(cgroup_fd, old);
        memset(&attr, 0, sizeof(attr));
        attr.target_fd = (uint32_t) cgroup_fd;
        attr.attach_bpf_fd = (uint32_t) fd;
        attr.attach_type = BPF_CGROUP_DEVICE;
        attr.attach_flags = BPF_F_ALLOW_MULTI;
        if (sys_bpf(BPF_PROG_ATTACH, &attr) < 0)
                return error_errno(errno, "attach the device program");
        /* All that are attached must agree, so the new one holds before the old ones go. */
        for (size_t i = 0; i < n_old; i++)
                program_detach(cgroup_fd, old[i]);
        return NULL;
}
