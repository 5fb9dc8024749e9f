/* ROOT/rootfs/D/ID/volumes/HEX is what a container writes to a volume that its image declares (HEX of the path in it): upper
 * and work of an overlay over what the image has there. So the volume has the image's content and owner without a copy, can
 * be written to under a read-only root, and goes with the rootfs. */
#include "base/digest.h"
#include "base/file.h"
#include "base/id.h"
#include "base/mount.h"
#include "images/store.h"
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

static struct error *make_parts(int home_fd, const char *name, int *dir_fd, int *upper_fd, int *work_fd)
{
        static const char *const parts[] = { "upper", "work", "nothing" };
        TRY(file_mkdirs(home_fd, name, 0700));
        TRY(file_open_beneath(home_fd, name, O_RDONLY | O_DIRECTORY, 0, dir_fd));
        for (size_t i = 0; i < LENGTH(parts); i++)
                TRY(file_mkdirs(*dir_fd, parts[i], 0755));
        TRY(file_open_beneath(*dir_fd, "upper", O_RDONLY | O_DIRECTORY, 0, upper_fd));
        return file_open_beneath(*dir_fd, "work", O_RDONLY | O_DIRECTORY, 0, work_fd);
}

/* What the image has at path, a link's way inside the image followed; where it has no directory, an empty one. */
static struct error *open_content(struct images *images, const char *container_id, const char *path,
                                  int dir_fd, int *out_fd)
{
        _cleanup_(closep) int view_fd = -1;
        TRY(rootfs_view_below(images, container_id, &view_fd));
        struct error *e = file_open_in_root(view_fd, path, O_PATH | O_DIRECTORY, 0, out_fd);
        int errnum = e ? error_errnum_of(e) : 0;
        if (errnum != ENOENT && errnum != ENOTDIR && errnum != ELOOP)
                return e;
        error_ignore(e); /* nothing is what the volume begins with */
        return file_open_beneath(dir_fd, "nothing", O_PATH | O_DIRECTORY, 0, out_fd);
}

static struct error *mount_volume(struct images *images, const char *container_id, const char *path,
                                  int *out_fd)
{
        _cleanup_(closep) int home_fd = -1, dir_fd = -1, upper_fd = -1, work_fd = -1, content_fd = -1;
        char digest_text[DIGEST_TEXT_SIZE];
        struct digest digest;
        struct stat st;
        digest_of(path, strlen(path), &digest);
        digest_format(&digest, digest_text);
        _cleanup_(freep) char *name = format_string("volumes/%.32s", digest_text + strlen("sha256:"));
        TRY(file_open_beneath(rootfs_home(images->rootfs, container_id), container_id, O_RDONLY | O_DIRECTORY,
                              0, &home_fd));
        TRY(make_parts(home_fd, name, &dir_fd, &upper_fd, &work_fd));
        TRY(open_content(images, container_id, path, dir_fd, &content_fd));
        if (fstat(content_fd, &st) < 0 || fchown(upper_fd, st.st_uid, st.st_gid) < 0 ||
            fchmod(upper_fd, st.st_mode & 07777) < 0)
                return error_errno(errno, "give it the image's owner and mode");
        TRY(rootfs_forget_volatile(work_fd));
        return mount_overlay(&content_fd, 1, upper_fd, work_fd, true, out_fd);
}

struct error *rootfs_volume_mount(struct images *images, const char *container_id, const char *path,
                                  int *out_fd)
{
        if (!id_is_valid(container_id))
                return error_new(ERROR_INTERNAL, "volume %s: \"%s\" is no id", path, container_id);
        TRY_WRAP(mount_volume(images, container_id, path, out_fd), "volume %s", path);
        return NULL;
}
