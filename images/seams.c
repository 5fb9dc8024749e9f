#include "images/seams.h"
#include "base/buf.h"
#include "base/digest.h"
#include "images/unpack_protocol.h"
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
/* uthash's macros convert signs */
#pragma GCC diagnostic ignored "-Wsign-conversion"
#ifndef __clang__ /* gcc's analyzer does not see that the table holds what is put into it */
#pragma GCC diagnostic ignored "-Wanalyzer-malloc-leak"
#endif
#include <uthash.h>

enum { STACK_MAX = 512, BLOCK_BYTES = 4096, ATTRIBUTE_MAX = 64 << 10 };
#define LISTS_MAX_BYTES                                                                                      \
        (4 * SEAMS_MAX_BYTES) /* of all layers: what is more keeps the attributes that it has */

/* A directory of which a layer did not say all. */
struct place {
        char *path;                                                      /* the key */
        uint64_t undescribed[STACK_MAX / 64], whiteouts[STACK_MAX / 64]; /* by which layers */
        UT_hash_handle hh;
};

struct stack {
        struct layers *layers;
        int fds[STACK_MAX]; /* borrowed from the layers, base first */
        bool is_opaque[STACK_MAX];
        char *absent[STACK_MAX]; /* the last path that a layer did not have: nor has it what is in it */
        bool absent_hides[STACK_MAX];
        size_t n;
        struct place *places;
        size_t lists_bytes;
};

/* What the layers together show at a path. */
struct view {
        size_t n_layers;   /* that have a directory there which shows */
        size_t top;        /* the topmost of these */
        size_t attributes; /* the topmost that describes it, else top */
};

static void stack_done(struct stack *stack)
{
        struct place *place = stack->places;
        HASH_CLEAR(hh, stack->places); /* the list outlives the table */
        while (place) {
                struct place *next = place->hh.next;
                free(place->path);
                free(place);
                place = next;
        }
        for (size_t i = 0; i < stack->n; i++)
                free(stack->absent[i]);
}

static bool has_bit(const uint64_t *bits, size_t i)
{
        return bits[i / 64] >> (i % 64) & 1;
}

/* --- what the layers told (places_write_seams) --- */

/* skiff-unpack is not believed: no path but one that leads down. */
static bool is_path(const char *path)
{
        if (!*path)
                return true;
        for (const char *s = path;; s++) {
                size_t n = strcspn(s, "/");
                if (n == 0 || n > 255 || (n == 1 && s[0] == '.') || (n == 2 && s[0] == '.' && s[1] == '.'))
                        return false;
                s += n;
                if (!*s)
                        return true;
        }
}

static struct place *place_of(struct stack *stack, const char *path)
{
        struct place *place = NULL;
        HASH_FIND_STR(stack->places, path, place);
        if (place)
                return place;
        place = NEW(struct place);
        place->path = dup_string(path);
        HASH_ADD_KEYPTR(hh, stack->places, place->path, strlen(place->path), place);
        return place;
}

static void list_read(struct stack *stack, size_t i, const char *text, size_t len_bytes)
{
        for (const char *s = text, *end = text + len_bytes; s < end; s += strlen(s) + 1) {
                if ((*s != 'd' && *s != 'w') || !is_path(s + 1))
                        continue;
                struct place *place = place_of(stack, s + 1);
                uint64_t *bits = *s == 'd' ? place->undescribed : place->whiteouts;
                bits[i / 64] |= UINT64_C(1) << (i % 64);
        }
}

static struct error *layer_read(struct stack *stack, struct layer *layer, size_t i)
{
        struct buf list;
        buf_init(&list, SEAMS_MAX_BYTES + 1);
        struct error *e = layer_seams(stack->layers, layer, &list);
        stack->lists_bytes += list.len_bytes;
        if (!e && stack->lists_bytes <= LISTS_MAX_BYTES)
                list_read(stack, i, list.bytes, list.len_bytes);
        buf_done(&list);
        return e;
}

/* Of equal layers only the topmost shows anything. */
static bool is_repeated(struct layer *const *list, size_t n, size_t i)
{
        for (size_t j = i + 1; j < n; j++)
                if (list[j] == list[i])
                        return true;
        return false;
}

static struct error *stack_read(struct stack *stack, struct layer *const *list, size_t n)
{
        for (size_t i = 0; i < n && stack->n < STACK_MAX; i++) {
                size_t at = stack->n;
                if (is_repeated(list, n, i))
                        continue;
                TRY(layer_lower(stack->layers, list[i], &stack->fds[at], &stack->is_opaque[at]));
                stack->n++;
                TRY(layer_read(stack, list[i], at));
        }
        return NULL;
}

/* --- what they show --- */

static bool is_marked_opaque(int fd)
{
        char value[2];
        return fgetxattr(fd, "trusted.overlay.opaque", value, sizeof(value)) == 1 && value[0] == 'y';
}

int layer_open(int layer_fd, const char *path, bool is_opaque, bool *hides, size_t *missing_at)
{
        char name[256];
        int fd = openat(layer_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        *hides = is_opaque;
        for (const char *s = path; *s && fd >= 0;) {
                size_t n = strcspn(s, "/");
                if (n >= sizeof(name)) {
                        closep(&fd);
                        break;
                }
                memcpy(name, s, n);
                name[n] = '\0';
                int next = openat(fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
                if (next < 0)
                        *hides |= errno != ENOENT;
                else
                        *hides |= is_marked_opaque(next);
                s += n;
                *missing_at = (size_t) (s - path);
                s += *s == '/';
                (void) close(fd);
                fd = next;
        }
        return fd;
}

static bool is_in(const char *path, const char *dir)
{
        size_t n = strlen(dir);
        return strncmp(path, dir, n) == 0 && (path[n] == '/' || path[n] == '\0');
}

/* Paths come sorted: what a layer did not have a moment ago it has not now. */
static int stack_open(struct stack *stack, size_t i, const char *path, bool *hides)
{
        size_t missing_at = 0;
        if (stack->absent[i] && is_in(path, stack->absent[i])) {
                *hides = stack->absent_hides[i];
                return -1;
        }
        int fd = layer_open(stack->fds[i], path, stack->is_opaque[i], hides, &missing_at);
        if (fd < 0) {
                free(stack->absent[i]);
                stack->absent[i] = dup_bytes(path, missing_at);
                stack->absent_hides[i] = *hides;
        }
        return fd;
}

static void view_of(struct stack *stack, const char *path, const struct place *place, struct view *out)
{
        bool hides = false, described = false;
        *out = (struct view){ .n_layers = 0 };
        for (size_t i = stack->n; i > 0 && !hides; i--) {
                _cleanup_(closep) int fd = stack_open(stack, i - 1, path, &hides);
                if (fd < 0)
                        continue;
                if (out->n_layers++ == 0)
                        out->top = out->attributes = i - 1;
                if (!described && (!place || !has_bit(place->undescribed, i - 1))) {
                        out->attributes = i - 1;
                        described = true;
                }
        }
}

/* --- what is needed, and making it --- */

static bool is_kept(const char *name)
{
        return strncmp(name, "user.", 5) == 0 || strncmp(name, "system.posix_acl_", 17) == 0;
}

static bool has_kept_attributes(int fd)
{
        _cleanup_(freep) char *names = new_zeroed(ATTRIBUTE_MAX, 1);
        ssize_t n = flistxattr(fd, names, ATTRIBUTE_MAX);
        for (char *name = names; n > 0 && name < names + n; name += strlen(name) + 1)
                if (is_kept(name))
                        return true;
        return false;
}

/* Times differ always, and nobody depends on those of such a directory. */
static bool differs(struct stack *stack, const char *path, const struct view *view)
{
        bool hides;
        struct stat a, b;
        size_t at;
        _cleanup_(closep) int top_fd = layer_open(stack->fds[view->top], path, false, &hides, &at);
        _cleanup_(closep) int fd = layer_open(stack->fds[view->attributes], path, false, &hides, &at);
        if (top_fd < 0 || fd < 0 || fstat(top_fd, &a) < 0 || fstat(fd, &b) < 0)
                return false;
        return a.st_mode != b.st_mode || a.st_uid != b.st_uid || a.st_gid != b.st_gid ||
               has_kept_attributes(fd);
}

static bool is_needed(struct stack *stack, const struct place *place)
{
        struct view view;
        view_of(stack, place->path, place, &view);
        if (view.n_layers == 1 && has_bit(place->whiteouts, view.top))
                return true;
        return *place->path && view.n_layers > 1 && view.attributes != view.top &&
               differs(stack, place->path, &view);
}

static struct error *attributes_copy(int from_fd, int to_fd)
{
        struct stat st;
        _cleanup_(freep) char *names = new_zeroed(ATTRIBUTE_MAX, 1), *value = new_zeroed(ATTRIBUTE_MAX, 1);
        if (fstat(from_fd, &st) < 0 || fchown(to_fd, st.st_uid, st.st_gid) < 0 ||
            fchmod(to_fd, st.st_mode & 07777) < 0)
                return error_errno(errno, "copy a directory's attributes");
        ssize_t n = flistxattr(from_fd, names, ATTRIBUTE_MAX);
        for (char *name = names; n > 0 && name < names + n; name += strlen(name) + 1) {
                ssize_t len_bytes = is_kept(name) ? fgetxattr(from_fd, name, value, ATTRIBUTE_MAX) : -1;
                if (len_bytes >= 0 && fsetxattr(to_fd, name, value, (size_t) len_bytes, 0) < 0)
                        return error_errno(errno, "copy the attribute %s", name);
        }
        return NULL;
}

static struct error *times_copy(int from_fd, int to_fd)
{
        struct stat st;
        if (fstat(from_fd, &st) < 0)
                return error_errno(errno, "look at a directory");
        const struct timespec times[] = { st.st_mtim, st.st_mtim };
        return futimens(to_fd, times) < 0 ? error_errno(errno, "set a directory's time") : NULL;
}

/* Makes path's last component in the seam as the container shall see it; its parents are there. */
static struct error *directory_make(struct stack *stack, int seam_fd, const char *path, uint64_t *inodes)
{
        struct place *place = NULL;
        struct view view;
        bool hides;
        size_t at;
        const char *slash = strrchr(path, '/');
        _cleanup_(freep) char *parent = dup_bytes(path, slash ? (size_t) (slash - path) : 0);
        HASH_FIND_STR(stack->places, path, place);
        view_of(stack, path, place, &view);
        if (view.n_layers == 0)
                return NULL;
        _cleanup_(closep) int parent_fd = layer_open(seam_fd, parent, false, &hides, &at);
        if (parent_fd < 0)
                return NULL;
        if (mkdirat(parent_fd, slash ? slash + 1 : path, 0700) < 0)
                return errno == EEXIST ? NULL : error_errno(errno, "make a directory");
        _cleanup_(closep) int fd = layer_open(seam_fd, path, false, &hides, &at);
        _cleanup_(closep) int from_fd = layer_open(stack->fds[view.attributes], path, false, &hides, &at);
        if (fd < 0 || from_fd < 0)
                return error_errno(errno, "open a directory");
        TRY(attributes_copy(from_fd, fd));
        TRY(times_copy(from_fd, fd));
        ++*inodes;
        /* What was made in the parent is no change of it. */
        _cleanup_(closep) int parents_fd = -1;
        if (!*parent)
                return NULL;
        HASH_FIND_STR(stack->places, parent, place);
        view_of(stack, parent, place, &view);
        parents_fd = layer_open(stack->fds[view.attributes], parent, false, &hides, &at);
        return parents_fd < 0 ? NULL : times_copy(parents_fd, parent_fd);
}

static struct error *directories_make(struct stack *stack, int seam_fd, char *path, uint64_t *inodes)
{
        for (char *end = path; *path && end;) {
                end = strchr(end, '/');
                if (end)
                        *end = '\0';
                struct error *e = directory_make(stack, seam_fd, path, inodes);
                if (end)
                        *end++ = '/';
                TRY(e);
        }
        return NULL;
}

static struct error *fill(struct stack *stack, char **paths, int seam_fd, uint64_t *inodes)
{
        for (size_t i = 0; i < stack->n; i++) /* the paths begin anew */
                freep(&stack->absent[i]);
        for (; *paths; paths++)
                TRY(directories_make(stack, seam_fd, *paths, inodes));
        return NULL;
}

static int by_path(const struct place *a, const struct place *b)
{
        return strcmp(a->path, b->path);
}

/* The name says what it is made of, and in which way. */
static struct error *seam_name(struct layer *const *list, size_t n, char out[DIGEST_TEXT_SIZE])
{
        struct buf text;
        struct digest digest;
        buf_init(&text, 64 << 10);
        struct error *e = buf_append_text(&text, "skiff seam 1\n");
        for (size_t i = 0; i < n && !e; i++)
                e = buf_append_format(&text, "%s\n", layer_diff_id(list[i]));
        if (!e) {
                digest_of(text.bytes, text.len_bytes, &digest);
                digest_format(&digest, out);
        }
        buf_done(&text);
        return e;
}

static struct error *seam_put(struct stack *stack, struct layer *seam, char **paths)
{
        _cleanup_(closep) int fd = -1, seams_fd = -1;
        uint64_t inodes = 1;
        TRY(layer_begin(stack->layers, seam, &fd, &seams_fd));
        TRY(fill(stack, paths, fd, &inodes));
        return layer_commit(stack->layers, seam, inodes * BLOCK_BYTES, inodes);
}

/* Whether any needs one, and for which directories; *paths is the caller's, ends with NULL. */
static bool stack_needs(struct stack *stack, char ***paths)
{
        size_t n = 0;
        bool needs = false;
        HASH_SORT(stack->places, by_path);
        *paths = NEW_ARRAY(char *, HASH_COUNT(stack->places) + 1);
        for (struct place *place = stack->places; place; place = place->hh.next) {
                if (!is_needed(stack, place))
                        continue;
                needs = true;
                (*paths)[n++] = place->path;
        }
        return needs;
}

struct error *seam_make(struct layers *layers, struct layer *const *list, size_t n, const struct wait *wait,
                        struct layer **out)
{
        _cleanup_(stack_done) struct stack stack = { .layers = layers };
        _cleanup_(freep) char **paths = NULL;
        char name[DIGEST_TEXT_SIZE];
        struct layer *seam = NULL;
        bool must_make = false;
        *out = NULL;
        TRY(stack_read(&stack, list, n));
        if (!stack.places || !stack_needs(&stack, &paths))
                return NULL;
        TRY(seam_name(list, n, name));
        TRY(layers_claim(layers, name, wait, &seam, &must_make));
        struct error *e = must_make ? seam_put(&stack, seam, paths) : NULL;
        if (e) {
                layer_abandon(layers, seam);
                return error_wrap(e, "seam of the image's layers");
        }
        *out = seam;
        return NULL;
}
