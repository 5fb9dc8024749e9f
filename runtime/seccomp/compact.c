#include "runtime/seccomp/compact.h"
#include <linux/seccomp.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define ARCHES_MAX 8
#define INSTRUCTIONS_MAX 4096
#define LEAVES_MAX 64
#define TREE_RANGES_MAX 192 /* and 64 answers: what a conditional jump reaches */

/* What the accumulator holds while a program is asked. */
enum holds { HOLDS_NOTHING, HOLDS_NUMBER, HOLDS_ARCH };

/* A program's answer to an architecture and a number: an action, or "it depends", and where the arguments come in. */
struct verdict {
        bool depends;
        uint32_t value; /* the action; the instruction that loads the first argument */
};

struct range {
        uint32_t from; /* to the next one's */
        struct verdict verdict;
};

struct compaction {
        const struct sock_filter *program;
        size_t n;
        bool unknown; /* something in it is beyond us */
        uint32_t arches[ARCHES_MAX];
        size_t n_arches;
        uint32_t *points; /* numbers at which the answer may change, ascending, from 0 */
        size_t n_points;
        struct sock_filter out[INSTRUCTIONS_MAX];
        size_t n_out;
        /* The tree that is being written: its different answers, and which of them a node leads to (from 1; 0: none). */
        struct verdict leaves[LEAVES_MAX];
        size_t n_leaves;
        uint8_t leaf_below[INSTRUCTIONS_MAX], leaf_from[INSTRUCTIONS_MAX];
        /* The copied part: which instructions, and those of out that jump there (k is the old place). */
        bool copied[INSTRUCTIONS_MAX];
        bool leads[INSTRUCTIONS_MAX];
        size_t place[INSTRUCTIONS_MAX];
};

/* --- asking --- */

static void arch_seen(struct compaction *c, uint32_t arch)
{
        for (size_t i = 0; i < c->n_arches; i++)
                if (c->arches[i] == arch)
                        return;
        if (c->n_arches < ARCHES_MAX)
                c->arches[c->n_arches++] = arch;
        else
                c->unknown = true;
}

static struct verdict give_up(struct compaction *c)
{
        c->unknown = true;
        return (struct verdict){ 0 };
}

/* The comparison's outcome. Only such as keep their outcome between two points may look at a number, and only equality
 * at an architecture. */
static bool compare(struct compaction *c, const struct sock_filter *at, enum holds holds, uint32_t a)
{
        switch (at->code) {
        case BPF_JMP | BPF_JEQ | BPF_K:
                if (holds == HOLDS_ARCH)
                        arch_seen(c, at->k);
                return a == at->k;
        case BPF_JMP | BPF_JGT | BPF_K:
                c->unknown = c->unknown || holds != HOLDS_NUMBER;
                return a > at->k;
        case BPF_JMP | BPF_JGE | BPF_K:
                c->unknown = c->unknown || holds != HOLDS_NUMBER;
                return a >= at->k;
        default:
                c->unknown = true;
                return false;
        }
}

static struct verdict ask(struct compaction *c, uint32_t arch, uint32_t number)
{
        enum holds holds = HOLDS_NOTHING;
        uint32_t a = 0;
        for (size_t pc = 0; pc < c->n; pc++) { /* jumps lead forward only */
                const struct sock_filter *at = &c->program[pc];
                if (at->code == (BPF_LD | BPF_W | BPF_ABS)) {
                        if (at->k >= offsetof(struct seccomp_data, instruction_pointer))
                                return (struct verdict){ .depends = true, .value = (uint32_t) pc };
                        holds = at->k == offsetof(struct seccomp_data, nr) ? HOLDS_NUMBER : HOLDS_ARCH;
                        a = holds == HOLDS_NUMBER ? number : arch;
                } else if (at->code == (BPF_RET | BPF_K)) {
                        return (struct verdict){ .value = at->k };
                } else if (at->code == (BPF_JMP | BPF_JA)) {
                        pc += at->k;
                } else if (BPF_CLASS(at->code) == BPF_JMP && holds != HOLDS_NOTHING) {
                        pc += compare(c, at, holds, a) ? at->jt : at->jf;
                } else {
                        return give_up(c);
                }
        }
        return give_up(c);
}

static int by_value(const void *a, const void *b)
{
        uint32_t x = *(const uint32_t *) a, y = *(const uint32_t *) b;
        return (x > y) - (x < y);
}

/* Every constant, and the number after it: whatever a comparison is of, its outcome changes nowhere else. */
static void points_find(struct compaction *c)
{
        size_t n = 0;
        c->points[n++] = 0;
        for (size_t i = 0; i < c->n; i++) {
                if (BPF_CLASS(c->program[i].code) != BPF_JMP || BPF_OP(c->program[i].code) == BPF_JA)
                        continue;
                c->points[n++] = c->program[i].k;
                if (c->program[i].k < UINT32_MAX)
                        c->points[n++] = c->program[i].k + 1;
        }
        qsort(c->points, n, sizeof(*c->points), by_value);
        c->n_points = 1;
        for (size_t i = 1; i < n; i++)
                if (c->points[i] != c->points[c->n_points - 1])
                        c->points[c->n_points++] = c->points[i];
}

/* --- writing --- */

static void emit(struct compaction *c, struct sock_filter instruction)
{
        if (c->n_out == INSTRUCTIONS_MAX)
                c->unknown = true;
        else
                c->out[c->n_out++] = instruction;
}

/* Marks what can be reached from an instruction. */
static void copy_from(struct compaction *c, size_t pc)
{
        while (pc < c->n && !c->copied[pc]) {
                const struct sock_filter *at = &c->program[pc];
                c->copied[pc] = true;
                if (BPF_CLASS(at->code) == BPF_RET)
                        return;
                if (at->code == (BPF_JMP | BPF_JA)) {
                        pc += 1 + at->k;
                } else if (BPF_CLASS(at->code) == BPF_JMP) {
                        copy_from(c, pc + 1 + at->jt); /* as deep as one call's comparisons */
                        pc += 1 + at->jf;
                } else {
                        pc++;
                }
        }
}

static void emit_verdict(struct compaction *c, struct verdict verdict)
{
        if (!verdict.depends) {
                emit(c, (struct sock_filter) BPF_STMT(BPF_RET | BPF_K, verdict.value));
                return;
        }
        copy_from(c, verdict.value);
        if (c->n_out < INSTRUCTIONS_MAX)
                c->leads[c->n_out] = true;
        emit(c, (struct sock_filter) BPF_STMT(BPF_JMP | BPF_JA, verdict.value));
}

/* A jump from a node of the search tree to the answer, whose place is known when the tree is written. */
static void lead_to(struct compaction *c, struct verdict verdict, uint8_t *leaf)
{
        size_t i = 0;
        while (i < c->n_leaves &&
               (c->leaves[i].depends != verdict.depends || c->leaves[i].value != verdict.value))
                i++;
        if (i == LEAVES_MAX) {
                c->unknown = true;
                return;
        }
        if (i == c->n_leaves)
                c->leaves[c->n_leaves++] = verdict;
        *leaf = (uint8_t) (i + 1);
}

/* The number is in the accumulator. A node a boundary: below it one goes on at once, else behind that part. */
static void emit_tree(struct compaction *c, const struct range *ranges, size_t n)
{
        size_t node = c->n_out, lower = n / 2;
        emit(c, (struct sock_filter) BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, ranges[lower].from, 0, 0));
        if (c->unknown)
                return;
        if (lower == 1)
                lead_to(c, ranges[0].verdict, &c->leaf_below[node]);
        else
                emit_tree(c, ranges, lower);
        c->unknown = c->unknown || lower - 1 > UINT8_MAX;
        c->out[node].jt = (uint8_t) (lower - 1); /* so many boundaries has the lower part */
        if (n - lower == 1)
                lead_to(c, ranges[lower].verdict, &c->leaf_from[node]);
        else
                emit_tree(c, ranges + lower, n - lower);
}

/* The answers behind the tree that began at first, and the jumps to them. */
static void emit_leaves(struct compaction *c, size_t first)
{
        size_t behind = c->n_out;
        for (size_t i = 0; i < c->n_leaves; i++)
                emit_verdict(c, c->leaves[i]);
        for (size_t node = first; node < behind && !c->unknown; node++) {
                size_t far = behind - node - 2; /* leaf 1 is the first */
                c->unknown = far + c->n_leaves > UINT8_MAX;
                if (c->leaf_below[node])
                        c->out[node].jf = (uint8_t) (far + c->leaf_below[node]);
                if (c->leaf_from[node])
                        c->out[node].jt = (uint8_t) (far + c->leaf_from[node]);
        }
        c->n_leaves = 0;
}

/* A tree with its answers; of more ranges than a short jump reaches over, a long jump between two such. */
static void emit_ranges(struct compaction *c, const struct range *ranges, size_t n)
{
        size_t first = c->n_out, lower = n / 2;
        if (n == 1) {
                emit_verdict(c, ranges[0].verdict);
        } else if (n <= TREE_RANGES_MAX) {
                emit_tree(c, ranges, n);
                emit_leaves(c, first);
        } else {
                emit(c, (struct sock_filter) BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, ranges[lower].from, 0, 1));
                emit(c, (struct sock_filter) BPF_STMT(BPF_JMP | BPF_JA, 0));
                emit_ranges(c, ranges, lower);
                if (!c->unknown)
                        c->out[first + 1].k = (uint32_t) (c->n_out - first - 2);
                emit_ranges(c, ranges + lower, n - lower);
        }
}

static void emit_arch(struct compaction *c, uint32_t arch, struct range *ranges)
{
        size_t n = 0;
        for (size_t i = 0; i < c->n_points; i++) {
                struct verdict verdict = ask(c, arch, c->points[i]);
                const struct verdict *last = n ? &ranges[n - 1].verdict : NULL;
                if (!last || last->depends != verdict.depends || last->value != verdict.value)
                        ranges[n++] = (struct range){ c->points[i], verdict };
        }
        if (n > 1)
                emit(c, (struct sock_filter) BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
                                                      offsetof(struct seccomp_data, nr)));
        emit_ranges(c, ranges, n);
}

/* An architecture that the program names nowhere. */
static uint32_t foreign_arch(const struct compaction *c)
{
        uint32_t arch = 0;
        for (size_t i = 0; i < c->n; i++) /* at most n constants, so one of n + 1 numbers is none of them */
                for (size_t j = 0; j < c->n; j++)
                        arch += BPF_CLASS(c->program[j].code) == BPF_JMP && c->program[j].k == arch;
        return arch;
}

static void emit_arches(struct compaction *c, struct range *ranges)
{
        uint32_t foreign = foreign_arch(c);
        for (size_t i = 0; i < c->n_points;
             i++) /* shows all comparisons with an architecture, since none is met */
                (void) ask(c, foreign, c->points[i]);
        size_t n_arches = c->n_arches;
        emit(c, (struct sock_filter) BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, arch)));
        for (size_t i = 0; i < n_arches && !c->unknown; i++) {
                size_t test = c->n_out;
                emit(c, (struct sock_filter) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, c->arches[i], 1, 0));
                emit(c, (struct sock_filter) BPF_STMT(BPF_JMP | BPF_JA, 0));
                emit_arch(c, c->arches[i], ranges);
                if (!c->unknown)
                        c->out[test + 1].k = (uint32_t) (c->n_out - test - 2);
        }
        emit_arch(c, foreign, ranges);
        c->unknown = c->unknown || c->n_arches != n_arches; /* one that is looked for behind another */
}

/* The copy, in its old order: so jumps still lead forward, and none becomes longer. */
static void emit_copy(struct compaction *c)
{
        size_t n_ours = c->n_out;
        for (size_t pc = 0; pc < c->n; pc++)
                if (c->copied[pc]) {
                        c->place[pc] = c->n_out;
                        emit(c, c->program[pc]);
                }
        if (c->unknown)
                return;
        for (size_t i = 0; i < n_ours; i++)
                if (c->leads[i])
                        c->out[i].k = (uint32_t) (c->place[c->out[i].k] - i - 1);
        for (size_t pc = 0; pc < c->n; pc++) {
                struct sock_filter *at = &c->out[c->place[pc]];
                if (!c->copied[pc] || BPF_CLASS(at->code) != BPF_JMP)
                        continue;
                if (BPF_OP(at->code) == BPF_JA) {
                        at->k = (uint32_t) (c->place[pc + 1 + at->k] - c->place[pc] - 1);
                } else {
                        at->jt = (uint8_t) (c->place[pc + 1 + at->jt] - c->place[pc] - 1);
                        at->jf = (uint8_t) (c->place[pc + 1 + at->jf] - c->place[pc] - 1);
                }
        }
}

/* Whether every jump stays inside, so that following them needs no more checks. */
static bool is_sound(const struct sock_filter *program, size_t n)
{
        for (size_t pc = 0; pc < n; pc++) {
                const struct sock_filter *at = &program[pc];
                if (BPF_CLASS(at->code) != BPF_JMP)
                        continue;
                size_t left = n - pc - 1;
                if (BPF_OP(at->code) == BPF_JA ? at->k >= left : at->jt >= left || at->jf >= left)
                        return false;
        }
        return n > 0 && n < INSTRUCTIONS_MAX;
}

struct error *bpf_compact(const struct sock_filter *program, size_t n, struct buf *out)
{
        bool shorter = false;
        if (!is_sound(program, n))
                return buf_append(out, program, n * sizeof(*program));
        struct compaction *c = NEW(struct compaction);
        struct range *ranges = NEW_ARRAY(struct range, 2 * n + 1);
        c->program = program;
        c->n = n;
        c->points = NEW_ARRAY(uint32_t, 2 * n + 1);
        points_find(c);
        emit_arches(c, ranges);
        emit_copy(c);
        shorter = !c->unknown && c->n_out < n;
        struct error *e =
                buf_append(out, shorter ? c->out : program, (shorter ? c->n_out : n) * sizeof(*program));
        free(ranges);
        free(c->points);
        free(c);
        return e;
}
