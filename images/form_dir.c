/* The directory form: ROOT/layers/HEX holds the layer's files as overlayfs wants them; HEX.partial is one being
 * unpacked. */
#include "base/file.h"
#include "base/id.h"
#include "images/form.h"
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>

enum { PARTIAL_SIZE = 64 + sizeof(".partial") };

static void partial_name(const char *hex, char out[PARTIAL_SIZE])
{
        (void) snprintf(out, PARTIAL_SIZE, "%s.partial", hex);
}

static bool dir_probe(int layers_fd)
{
        (void) layers_fd;
        return true;
}

/* Where ext4 puts a directory of a top directory (layers.c) is decided by its first name. An ext4 without a journal is slow
 * where inodes were freed in the last minutes, so a layer that comes back does not go to the place where it was. What a
 * kill leaves here is swept at the next start, like a partial layer. */
static struct error *make_anywhere(int layers_fd, const char *name)
{
        char unique[ID_LEN + 1];
        id_make(unique);
        if (mkdirat(layers_fd, unique, 0755) < 0)
                return error_errno(errno, "make the layer's directory");
        if (renameat(layers_fd, unique, layers_fd, name) == 0)
                return NULL;
        struct error *e = error_errno(errno, "name the layer's directory");
        (void) unlinkat(layers_fd, unique, AT_REMOVEDIR); /* else the next start does */
        return e;
}

static struct error *dir_begin(int layers_fd, const char *hex, struct trash *trash, int *out_fd)
{
        char name[PARTIAL_SIZE];
        partial_name(hex, name);
        TRY(trash_put(trash, layers_fd, name));
        TRY(make_anywhere(layers_fd, name));
        return file_open_beneath(layers_fd, name, O_RDONLY | O_DIRECTORY, 0, out_fd);
}

static struct error *dir_commit(int layers_fd, const char *hex)
{
        char name[PARTIAL_SIZE];
        partial_name(hex, name);
        if (renameat(layers_fd, name, layers_fd, hex) < 0)
                return error_errno(errno, "name the layer's directory");
        return NULL;
}

static struct error *dir_abandon(int layers_fd, const char *hex, struct trash *trash)
{
        char name[PARTIAL_SIZE];
        partial_name(hex, name);
        return trash_put(trash, layers_fd, name);
}

static bool dir_exists(int layers_fd, const char *hex)
{
        struct stat st;
        return fstatat(layers_fd, hex, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISDIR(st.st_mode);
}

static struct error *dir_lower_open(int layers_fd, const char *hex, int *out_fd, bool *is_opaque)
{
        char value[2];
        TRY(file_open_beneath(layers_fd, hex, O_RDONLY | O_DIRECTORY, 0, out_fd));
        /* overlayfs heeds no opaque mark on the root of a lower. */
        *is_opaque =
                fgetxattr(*out_fd, "trusted.overlay.opaque", value, sizeof(value)) == 1 && value[0] == 'y';
        return NULL;
}

static struct error *dir_lower_open_again(int layers_fd, const char *hex, int *out_fd)
{
        *out_fd = openat(layers_fd, hex, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        return *out_fd < 0 ? error_errno(errno, "open %s", hex) : NULL;
}

static struct error *dir_remove(int layers_fd, const char *hex, struct trash *trash)
{
        return trash_put(trash, layers_fd, hex);
}

const struct layer_form form_dir = {
        .name = "dir",
        .probe = dir_probe,
        .begin = dir_begin,
        .commit = dir_commit,
        .abandon = dir_abandon,
        .exists = dir_exists,
        .lower_open = dir_lower_open,
        .lower_open_again = dir_lower_open_again,
        .remove = dir_remove,
};

const struct layer_form *form_choose(int layers_fd)
{
        static const struct layer_form *const forms[] = { &form_dir };
        for (size_t i = 0; i + 1 < LENGTH(forms); i++)
                if (forms[i]->probe(layers_fd))
                        return forms[i];
        return &form_dir; /* works everywhere */
}

const struct layer_form *form_by_name(const char *name)
{
        return strcmp(name, form_dir.name) == 0 ? &form_dir : NULL;
}
