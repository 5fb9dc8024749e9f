#include "pods/spec/mount_options.h"
#include "base/buf.h"
#include <linux/mount.h>
#include <string.h>

#define SHOWN_MAX_BYTES 1024

#ifndef MOUNT_ATTR_NOSYMFOLLOW
#define MOUNT_ATTR_NOSYMFOLLOW 0x00200000
#endif

/* By the attribute that it is about: the kernel changes all of the access time's bits at once. */
static const struct option {
        const char *name;
        uint32_t set, clear;
        bool is_of_clients, is_of_tree;
} options[] = {
        { "ro", MOUNT_ATTR_RDONLY, 0, true, false },
        { "rw", 0, MOUNT_ATTR_RDONLY, true, false },
        { "nosuid", MOUNT_ATTR_NOSUID, 0, true, false },
        { "suid", 0, MOUNT_ATTR_NOSUID, false, false },
        { "nodev", MOUNT_ATTR_NODEV, 0, true, false },
        { "dev", 0, MOUNT_ATTR_NODEV, false, false },
        { "noexec", MOUNT_ATTR_NOEXEC, 0, true, false },
        { "exec", 0, MOUNT_ATTR_NOEXEC, false, false },
        { "noatime", MOUNT_ATTR_NOATIME, MOUNT_ATTR__ATIME, true, false },
        { "relatime", MOUNT_ATTR_RELATIME, MOUNT_ATTR__ATIME, true, false },
        { "strictatime", MOUNT_ATTR_STRICTATIME, MOUNT_ATTR__ATIME, true, false },
        { "atime", MOUNT_ATTR_RELATIME, MOUNT_ATTR__ATIME, true, false },
        { "nodiratime", MOUNT_ATTR_NODIRATIME, 0, true, false },
        { "diratime", 0, MOUNT_ATTR_NODIRATIME, true, false },
        { "nosymfollow", MOUNT_ATTR_NOSYMFOLLOW, 0, true, false },
        { "symfollow", 0, MOUNT_ATTR_NOSYMFOLLOW, false, false },
        { "rro", MOUNT_ATTR_RDONLY, 0, false, true },
        { "rnosuid", MOUNT_ATTR_NOSUID, 0, false, true },
        { "rnodev", MOUNT_ATTR_NODEV, 0, false, true },
        { "rnoexec", MOUNT_ATTR_NOEXEC, 0, false, true },
        { "rnoatime", MOUNT_ATTR_NOATIME, MOUNT_ATTR__ATIME, false, true },
        { "rrelatime", MOUNT_ATTR_RELATIME, MOUNT_ATTR__ATIME, false, true },
        { "rstrictatime", MOUNT_ATTR_STRICTATIME, MOUNT_ATTR__ATIME, false, true },
        { "rnodiratime", MOUNT_ATTR_NODIRATIME, 0, false, true },
        { "rnosymfollow", MOUNT_ATTR_NOSYMFOLLOW, 0, false, true },
};

static const struct option *find(const char *name)
{
        for (size_t i = 0; i < LENGTH(options); i++)
                if (strcmp(options[i].name, name) == 0)
                        return &options[i];
        return NULL;
}

/* The later one counts. */
static void change(struct mount_change *to, uint32_t set, uint32_t clear)
{
        to->set = (to->set & ~clear) | set;
        to->clear = (to->clear & ~set) | clear;
}

/* What a mount has a word for stays there: it is what other mounts are told by, and what a new filesystem gets. */
static bool add_by_word(struct container_mount *m, const struct option *option)
{
        uint64_t attribute = option->set | option->clear;
        bool *word = attribute == MOUNT_ATTR_RDONLY   ? &m->readonly
                     : attribute == MOUNT_ATTR_NOSUID ? &m->nosuid
                     : attribute == MOUNT_ATTR_NODEV  ? &m->nodev
                     : attribute == MOUNT_ATTR_NOEXEC ? &m->noexec
                                                      : NULL;
        if (word)
                *word = option->set != 0;
        if (word && option->clear)
                change(&m->itself, 0, option->clear);
        return word != NULL;
}

static void add(struct container_mount *m, const struct option *option, bool to_tree)
{
        if (to_tree)
                change(&m->tree, option->set, option->clear);
        else if (!add_by_word(m, option))
                change(&m->itself, option->set, option->clear);
}

bool mount_option_add(struct container_mount *m, const char *name)
{
        static const struct {
                const char *name;
                enum mount_propagation propagation;
        } propagations[] = { { "private", MOUNT_PRIVATE }, { "slave", MOUNT_SLAVE },
                             { "shared", MOUNT_SHARED },   { "rprivate", MOUNT_PRIVATE },
                             { "rslave", MOUNT_SLAVE },    { "rshared", MOUNT_SHARED } };
        for (size_t i = 0; i < LENGTH(propagations); i++) {
                if (strcmp(propagations[i].name, name) != 0)
                        continue;
                m->propagation = propagations[i].propagation;
                return true;
        }
        if (strcmp(name, "bind") == 0 || strcmp(name, "rbind") == 0) {
                m->alone = *name == 'b';
                return true;
        }
        const struct option *option = find(name);
        if (option)
                add(m, option, option->is_of_tree);
        return option != NULL;
}

struct error *mount_options_check(const Cri__Mount *mount)
{
        _cleanup_(buf_done) struct buf wrong;
        size_t n = 0;
        buf_init(&wrong, SHOWN_MAX_BYTES);
        for (size_t i = 0; i < mount->n_mount_options; i++) {
                const struct option *option = find(mount->mount_options[i]);
                if (option && option->is_of_clients)
                        continue;
                error_ignore(
                        buf_append_format(&wrong, "%s\"%.100s\"", n++ ? ", " : "", mount->mount_options[i]));
        }
        if (n)
                return error_new(ERROR_INVALID_ARGUMENT, "%s cannot be asked for",
                                 wrong.bytes ? wrong.bytes : "what is there");
        bool is_readonly = mount->readonly, is_writable = false;
        for (size_t i = 0; i < mount->n_mount_options; i++) {
                is_readonly = is_readonly || strcmp(mount->mount_options[i], "ro") == 0;
                is_writable = is_writable || strcmp(mount->mount_options[i], "rw") == 0;
        }
        return is_readonly && is_writable
                       ? error_new(ERROR_INVALID_ARGUMENT, "\"rw\" of a mount that is readonly")
                       : NULL;
}

void mount_options_add(struct container_mount *m, const Cri__Mount *mount)
{
        for (size_t i = 0; i < mount->n_mount_options; i++) {
                const struct option *option = find(mount->mount_options[i]);
                bool is_of_writing = (option->set | option->clear) == MOUNT_ATTR_RDONLY;
                if (!is_of_writing)
                        add(m, option, true);
                else if (
                        option->set) /* what is below follows recursive_read_only alone; "rw" is so already */
                        m->readonly = true;
        }
}
