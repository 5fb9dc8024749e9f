/* The image store through its face, with the real skiff-pull and skiff-unpack, overlayfs and SIGKILL. Needs root. */
#include "images/images.h"
#include "images/store.h"
#include "tests/unit/image_maker.h"
#include "tests/unit/unit.h"
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <sys/xattr.h>

static const char container[] = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

static struct images *open_store(const char *dir)
{
        struct images *images = NULL;
        const struct images_config config = {
                .root = dir, .state = dir, .program_dir = PROGRAM_DIR, .registry_dirs = "", .pull_uid = 64321
        };
        assert_ok(images_open(&config, &images));
        return images;
}

static size_t count_entries(const char *dir, const char *name)
{
        _cleanup_(freep) char *path = format_string("%s/%s", dir, name);
        _cleanup_(closedirp) DIR *entries = opendir(path);
        size_t n = 0;
        assert_non_null(entries);
        for (struct dirent *entry; (entry = readdir(entries));)
                n += entry->d_name[0] != '.';
        return n;
}

/* The background thread offers nothing to wait for. */
static void assert_trash_empties(const char *dir)
{
        const struct wait wait = wait_of_ms(10000);
        for (int i = 0; i < 1000 && count_entries(dir, "trash"); i++)
                assert_ok(wait_delay(&wait, 10, "wait for the trash"));
        assert_int_equal(count_entries(dir, "trash"), 0);
}

static int memory_file(const struct buf *content)
{
        int fd = memfd_create("archive", MFD_CLOEXEC);
        assert_int_equal(write(fd, content->bytes, content->len_bytes), content->len_bytes);
        return fd;
}

static struct error *import_bytes(struct images *images, const struct buf *archive, const char *name,
                                  char **first_id)
{
        _cleanup_(closep) int fd = memory_file(archive);
        _cleanup_(free_stringsp) char **ids = NULL;
        const struct wait wait = wait_of_ms(60000);
        TRY(images_import(images, fd, name, &wait, &ids));
        if (first_id)
                *first_id = dup_string(ids[0]);
        return NULL;
}

#define BUF(name)                                                                                            \
        struct buf name;                                                                                     \
        buf_init(&(name), 256 << 20)
#define PUT(tar, ...) tar_put(&tar, &(struct tar_entry){ __VA_ARGS__ })

static void make_base(struct buf *to)
{
        static const char capability[20] = "\x01\0\0\x02\0\x20\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
        buf_init(to, 64 << 20);
        PUT((*to), "bin", TAR_DIR, .mode = 0755);
        PUT((*to), "bin/sh", .mode = 0755, .data = "#!");
        PUT((*to), "bin/su", .mode = 04755, .uid = 0, .data = "su");
        tar_put_pax(to, "SCHILY.xattr.security.capability", capability, sizeof(capability));
        PUT((*to), "bin/ping", .mode = 0755, .data = "ping");
        tar_put_pax(to, "SCHILY.xattr.user.note", "hello", 5);
        PUT((*to), "noted", .mode = 0644, .uid = 1000, .gid = 2000, .mtime = 12345, .data = "n");
        PUT((*to), "gone", .mode = 0644, .data = "g");
        PUT((*to), "full/old", .mode = 0644, .data = "o");
        PUT((*to), "dev/null", TAR_CHAR, .mode = 0666, .major = 1, .minor = 3);
        tar_end(to);
}

static void make_top(struct buf *to)
{
        buf_init(to, 64 << 20);
        PUT((*to), ".wh.gone", .mode = 0);
        PUT((*to), "full/.wh..wh..opq", .mode = 0);
        PUT((*to), "full/new", .mode = 0644, .data = "new");
        tar_end(to);
}

static void check_rootfs(int fd)
{
        struct stat st;
        char value[64];
        assert_int_equal(fstatat(fd, "bin/su", &st, 0), 0);
        assert_int_equal(st.st_mode, S_IFREG | 04755);
        assert_int_equal(fstatat(fd, "gone", &st, AT_SYMLINK_NOFOLLOW), -1);
        assert_int_equal(fstatat(fd, "full/old", &st, AT_SYMLINK_NOFOLLOW), -1);
        assert_int_equal(fstatat(fd, "full/new", &st, AT_SYMLINK_NOFOLLOW), 0);
        assert_int_equal(fstatat(fd, "dev/null", &st, AT_SYMLINK_NOFOLLOW), 0);
        assert_int_equal(st.st_rdev, makedev(1, 3));
        _cleanup_(closep) int noted = openat(fd, "noted", O_RDONLY | O_CLOEXEC);
        assert_int_equal(fgetxattr(noted, "user.note", value, sizeof(value)), 5);
        assert_int_equal(fstat(noted, &st), 0);
        assert_int_equal(st.st_uid * 10 + st.st_gid, 12000);
        assert_int_equal(st.st_mtime, 12345);
        _cleanup_(closep) int ping = openat(fd, "bin/ping", O_RDONLY | O_CLOEXEC);
        assert_int_equal(fgetxattr(ping, "security.capability", value, sizeof(value)), 20);
}

static void an_imported_image_runs_as_a_rootfs_until_it_is_removed(void **dir)
{
        struct buf base, top;
        BUF(archive);
        _cleanup_(freep) char *id = NULL;
        _cleanup_(closep) int fd = -1, view_fd = -1;
        make_base(&base);
        make_top(&top);
        const struct made_layer layers[] = { { &base, MADE_GZIP, NULL, 0 }, { &top, MADE_ZSTD, NULL, 0 } };
        make_oci_archive(&archive, "docker.io/library/made:1", layers, 2);
        struct images *images = open_store(*dir);
        assert_ok(import_bytes(images, &archive, NULL, &id));
        struct image *image = NULL;
        assert_ok(images_find(images, "made:1", &image));
        assert_string_equal(image->id, id);
        assert_string_equal(image->repo_tags[0], "docker.io/library/made:1");
        assert_non_null(strstr(image->repo_digests[0], "docker.io/library/made@sha256:"));
        assert_string_equal(image->user, "1000");
        assert_true(image->size_bytes > 10000);
        image_free(image);
        char prefix[13];
        (void) snprintf(prefix, sizeof(prefix), "%.12s", id + 7);
        assert_ok(images_find(images, prefix, &image));
        image_free(image);
        assert_fails(ERROR_NOT_FOUND, "nothere", images_find(images, "nothere", &image));
        assert_fails(ERROR_INVALID_ARGUMENT, "No:Such", images_find(images, "No:Such:", &image));

        assert_ok(rootfs_view(images, id, &view_fd));
        check_rootfs(view_fd);
        assert_int_equal(openat(view_fd, "x", O_CREAT | O_WRONLY | O_CLOEXEC, 0600), -1);
        assert_ok(rootfs_make(images, container, id));
        assert_ok(rootfs_make(images, container, id));
        assert_ok(rootfs_mount(images, container, &fd));
        check_rootfs(fd);
        _cleanup_(closep) int written = openat(fd, "written", O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
        assert_int_equal(write(written, "0123456789", 10), 10);
        uint64_t bytes = 0, inodes = 0;
        assert_ok(rootfs_usage(images, container, &bytes, &inodes));
        assert_int_equal(inodes, 2);

        struct images_usage usage;
        assert_ok(images_usage(images, &usage));
        assert_true(usage.image_bytes > 10000 && usage.image_inodes > 10 && usage.container_inodes == 2);
        assert_true(usage.mountpoint[0] == '/');

        assert_ok(images_remove(images, "made:1"));
        assert_fails(ERROR_NOT_FOUND, "not here", images_find(images, id, &image));
        assert_int_equal(count_entries(*dir, "layers"), 2); /* the container has them */
        check_rootfs(fd);
        images_free(images);
        images = open_store(*dir);
        _cleanup_(free_stringsp) char **ids = NULL;
        assert_ok(rootfs_list(images, &ids));
        assert_string_equal(ids[0], container);
        assert_int_equal(count_entries(*dir, "layers"), 2);
        closep(&written);
        closep(&fd);
        assert_ok(rootfs_mount(images, container, &fd)); /* a volatile overlay once more */
        assert_int_equal(faccessat(fd, "written", F_OK, 0), 0);
        closep(&fd);
        closep(&view_fd);
        assert_ok(rootfs_remove(images, container));
        assert_ok(rootfs_remove(images, container));
        assert_int_equal(count_entries(*dir, "layers"), 0);
        assert_int_equal(count_entries(*dir, "rootfs/0"), 0);
        assert_trash_empties(*dir);
        images_free(images);
        buf_done(&base);
        buf_done(&top);
        buf_done(&archive);
}

static void docker_archives_of_all_compressions_are_one_image(void **dir)
{
        struct buf base, top;
        BUF(docker);
        BUF(gzip);
        BUF(zstd);
        make_base(&base);
        make_top(&top);
        const struct made_layer layers[] = { { &base, MADE_PLAIN, NULL, 0 }, { &top, MADE_PLAIN, NULL, 0 } };
        make_docker_archive(&docker, "saved:2", layers, 2);
        gzip_bytes(&docker, &gzip);
        zstd_bytes(&docker, &zstd);
        struct images *images = open_store(*dir);
        _cleanup_(freep) char *first = NULL, *second = NULL, *third = NULL;
        assert_ok(import_bytes(images, &gzip, NULL, &first));
        assert_ok(import_bytes(images, &docker, NULL, &second));
        assert_ok(images_remove(images, first));
        assert_int_equal(count_entries(*dir, "layers"), 0);
        assert_ok(import_bytes(images, &zstd, NULL, &third));
        assert_string_equal(first, second);
        assert_string_equal(first, third);
        struct image **list = NULL;
        size_t n = 0;
        assert_ok(images_list(images, &list, &n));
        assert_int_equal(n, 1);
        assert_string_equal(list[0]->repo_tags[0], "docker.io/library/saved:2");
        assert_int_equal(count_entries(*dir, "layers"), 2);
        image_list_free(list, n);
        images_free(images);
        buf_done(&base);
        buf_done(&top);
        buf_done(&docker);
        buf_done(&gzip);
        buf_done(&zstd);
}

static void layers_are_shared_and_names_move(void **dir)
{
        struct buf base, top;
        BUF(one);
        BUF(two);
        make_base(&base);
        make_top(&top);
        const struct made_layer layers[] = { { &base, MADE_GZIP, NULL, 0 },
                                             { &top, MADE_PLAIN, NULL, 0 },
                                             { &base, MADE_ZSTD, NULL, 0 } };
        make_oci_archive(&one, "latest", layers, 1);
        make_oci_archive(&two, "latest", layers, 3);
        struct images *images = open_store(*dir);
        _cleanup_(freep) char *first = NULL, *second = NULL;
        _cleanup_(closep) int fd = -1;
        assert_ok(import_bytes(images, &one, "given:x", &first));
        assert_ok(import_bytes(images, &two, "given:x", &second));
        struct image *image = NULL;
        assert_ok(images_find(images, "given:x", &image));
        assert_string_equal(image->id, second);
        image_free(image);
        assert_ok(images_find(images, first, &image));
        assert_null(image->repo_tags[0]);
        image_free(image);
        assert_int_equal(count_entries(*dir, "layers"), 2);
        assert_ok(rootfs_view(images, second, &fd)); /* one layer twice: the upper one brings "gone" back */
        assert_int_equal(faccessat(fd, "gone", F_OK, 0), 0);
        assert_ok(images_remove(images, second));
        assert_int_equal(count_entries(*dir, "layers"), 1);
        images_free(images);
        images = open_store(*dir);
        assert_int_equal(count_entries(*dir, "layers"), 1);
        assert_ok(images_find(images, first, &image));
        image_free(image);
        images_free(images);
        buf_done(&base);
        buf_done(&top);
        buf_done(&one);
        buf_done(&two);
}

static struct stat stat_below(int fd, const char *name)
{
        struct stat st = { 0 };
        if (fstatat(fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
                fail_msg("%s: %s", name, strerror(errno));
        return st;
}

static bool lists(int dir_fd, const char *path, const char *name)
{
        _cleanup_(closedirp) DIR *dir = fdopendir(openat(dir_fd, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC));
        for (struct dirent *entry; (entry = readdir(dir));)
                if (strcmp(entry->d_name, name) == 0)
                        return true;
        return false;
}

static void make_describing(struct buf *tar)
{
        buf_init(tar, 1 << 20);
        tar_put(tar, &(struct tar_entry){ .name = "./", .type = TAR_DIR, .mode = 0700, .uid = 9 });
        tar_put(tar, &(struct tar_entry){ .name = "tmp", .type = TAR_DIR, .mode = 01777 });
        tar_put(tar, &(struct tar_entry){ .name = "home", .type = TAR_DIR, .mode = 0711 });
        tar_put_pax(tar, "SCHILY.xattr.user.note", "kept", 4);
        tar_put(tar, &(struct tar_entry){ .name = "home/u", .type = TAR_DIR, .mode = 0700, .uid = 1000 });
        tar_put(tar, &(struct tar_entry){ .name = "srv", .type = TAR_DIR, .mode = 0750 });
        tar_put(tar, &(struct tar_entry){ .name = "srv/old", .data = "x" });
        tar_put(tar, &(struct tar_entry){ .name = "gone", .type = TAR_DIR, .mode = 0701 });
        tar_end(tar);
}

static void make_silent(struct buf *tar)
{
        buf_init(tar, 1 << 20);
        tar_put(tar, &(struct tar_entry){ .name = "/tmp/x", .data = "x", .mode = 0644 });
        tar_put(tar, &(struct tar_entry){ .name = "/home/u/app/x", .data = "x", .mode = 0644 });
        tar_put(tar, &(struct tar_entry){ .name = "/srv/x", .data = "x", .mode = 0644 });
        tar_put(tar, &(struct tar_entry){ .name = "/srv/.wh.old" });
        tar_put(tar, &(struct tar_entry){ .name = "/only/here/.wh.nothing" });
        tar_put(tar, &(struct tar_entry){ .name = "/.wh.gone" });
        tar_put(tar, &(struct tar_entry){ .name = "/gone/x", .data = "x", .mode = 0644 });
        tar_end(tar);
}

/* What a layer leaves out is of the layer below it in this image, and of another, or nobody, in the next. */
static void what_a_layer_does_not_describe_is_as_below_it(void **dir)
{
        struct buf below, above;
        BUF(both);
        BUF(alone);
        make_describing(&below);
        make_silent(&above);
        const struct made_layer layers[] = { { &below, MADE_GZIP, NULL, 0 },
                                             { &above, MADE_PLAIN, NULL, 0 } };
        make_oci_archive(&both, "both:1", layers, 2);
        make_oci_archive(&alone, "alone:1", layers + 1, 1);
        struct images *images = open_store(*dir);
        _cleanup_(freep) char *id = NULL, *other = NULL;
        _cleanup_(closep) int fd = -1, alone_fd = -1, view_fd = -1;
        char value[8];
        assert_ok(import_bytes(images, &both, "both:1", &id));
        assert_ok(import_bytes(images, &alone, "alone:1", &other));
        for (int again = 0; again < 2; again++) {
                assert_ok(rootfs_make(images, container, id));
                assert_ok(rootfs_mount(images, container, &fd));
                assert_int_equal(stat_below(fd, ".").st_mode, S_IFDIR | 0755);
                assert_int_equal(stat_below(fd, ".").st_uid, 0);
                assert_int_equal(stat_below(fd, "tmp").st_mode, S_IFDIR | 01777);
                assert_int_equal(stat_below(fd, "home").st_mode, S_IFDIR | 0711);
                assert_int_equal(stat_below(fd, "home/u").st_mode, S_IFDIR | 0700);
                assert_int_equal(stat_below(fd, "home/u").st_uid, 1000);
                _cleanup_(closep) int home_fd = openat(fd, "home/u", O_RDONLY | O_CLOEXEC);
                assert_int_equal(fgetxattr(home_fd, "user.note", value, sizeof(value)), 4);
                assert_int_equal(stat_below(fd, "home/u/app").st_mode, S_IFDIR | 0755);
                assert_int_equal(stat_below(fd, "srv").st_mode, S_IFDIR | 0750);
                assert_int_equal(faccessat(fd, "srv/x", F_OK, 0), 0);
                assert_false(lists(fd, "srv", "old"));
                assert_false(lists(fd, "only/here", "nothing"));
                assert_int_equal(stat_below(fd, "gone").st_mode, S_IFDIR | 0755); /* another one */
                closep(&fd);
                assert_ok(rootfs_remove(images, container));
                images_free(images);
                images = open_store(*dir);
        }
        assert_ok(rootfs_make(images, container, other));
        assert_ok(rootfs_mount(images, container, &alone_fd));
        assert_int_equal(stat_below(alone_fd, "tmp").st_mode, S_IFDIR | 0755);
        assert_false(lists(alone_fd, "only/here", "nothing"));
        assert_false(lists(alone_fd, "srv", "old"));
        closep(&alone_fd);
        assert_ok(rootfs_view(images, other, &view_fd));
        assert_false(lists(view_fd, "srv", "old"));
        closep(&view_fd);
        assert_ok(rootfs_remove(images, container));
        assert_ok(images_remove(images, id));
        assert_ok(images_remove(images, other));
        assert_int_equal(count_entries(*dir, "layers"), 0);
        images_free(images);
        buf_done(&below);
        buf_done(&above);
        buf_done(&both);
        buf_done(&alone);
}

struct parallel {
        struct images *images;
        const struct buf *archive;
        char *id;
};

static void *import_in_thread(void *argument)
{
        struct parallel *parallel = argument;
        return import_bytes(parallel->images, parallel->archive, NULL, &parallel->id);
}

static void many_imports_at_once_unpack_a_layer_once(void **dir)
{
        struct buf base, top;
        BUF(archive);
        make_base(&base);
        make_top(&top);
        const struct made_layer layers[] = { { &base, MADE_GZIP, NULL, 0 }, { &top, MADE_PLAIN, NULL, 0 } };
        make_oci_archive(&archive, "par:1", layers, 2);
        struct images *images = open_store(*dir);
        struct parallel all[6];
        pthread_t threads[LENGTH(all)];
        for (size_t i = 0; i < LENGTH(all); i++) {
                all[i] = (struct parallel){ images, &archive, NULL };
                assert_int_equal(pthread_create(&threads[i], NULL, import_in_thread, &all[i]), 0);
        }
        for (size_t i = 0; i < LENGTH(all); i++) {
                void *failed = NULL;
                assert_int_equal(pthread_join(threads[i], &failed), 0);
                assert_ok((struct error *) failed);
                assert_string_equal(all[i].id, all[0].id);
        }
        for (size_t i = 0; i < LENGTH(all); i++)
                free(all[i].id);
        assert_int_equal(count_entries(*dir, "layers"), 2);
        images_free(images);
        buf_done(&base);
        buf_done(&top);
        buf_done(&archive);
}

static void assert_store_is_empty(struct images *images, const char *dir)
{
        struct image **list = NULL;
        size_t n = 1;
        assert_ok(images_list(images, &list, &n));
        assert_int_equal(n, 0);
        image_list_free(list, n);
        assert_int_equal(count_entries(dir, "layers"), 0);
        assert_trash_empties(dir);
}

/* More workers than a pull has for itself: all layers come, whole or not at all, and the store has its workers back. */
static void spare_workers_are_lent_and_come_back(void **dir)
{
        enum { LAYERS = 8, SPARE = 3 };
        struct buf tars[LAYERS];
        struct made_layer layers[LAYERS];
        BUF(archive);
        BUF(broken);
        for (size_t i = 0; i < LAYERS; i++) {
                char name[] = { 'a', '0' + (char) i, '\0' };
                buf_init(&tars[i], 1 << 20);
                PUT(tars[i], name, .mode = 0644, .data = "x");
                tar_end(&tars[i]);
                layers[i] = (struct made_layer){ &tars[i], MADE_GZIP, NULL, 0 };
        }
        make_oci_archive(&archive, "many:1", layers, LAYERS);
        layers[5].spoil = 1;
        make_oci_archive(&broken, "bad:1", layers, LAYERS);
        struct images *images = open_store(*dir);
        atomic_store(&images->spare_workers, SPARE);
        assert_fails(ERROR_DATA_LOSS, "layer blobs/sha256/", import_bytes(images, &broken, NULL, NULL));
        assert_int_equal(atomic_load(&images->spare_workers), SPARE);
        assert_store_is_empty(images, *dir);
        assert_ok(import_bytes(images, &archive, NULL, NULL));
        assert_int_equal(atomic_load(&images->spare_workers), SPARE);
        assert_int_equal(count_entries(*dir, "layers"), LAYERS);
        assert_ok(images_remove(images, "many:1"));
        assert_store_is_empty(images, *dir);
        images_free(images);
        for (size_t i = 0; i < LAYERS; i++)
                buf_done(&tars[i]);
        buf_done(&archive);
        buf_done(&broken);
}

#define HEX "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"

static void broken_archives_leave_nothing(void **dir)
{
        struct buf base, hostile, cut;
        make_base(&base);
        buf_init(&hostile, 1 << 20);
        PUT(hostile, "fine", .mode = 0644, .data = "x");
        PUT(hostile, "escape", TAR_LINK, .link = "../../etc/passwd");
        tar_end(&hostile);
        const struct {
                struct made_layer layer;
                enum error_code code;
                const char *says;
        } cases[] = {
                { { &base, MADE_GZIP, NULL, 1 }, ERROR_DATA_LOSS, "layer blobs/sha256/" },
                { { &base, MADE_ZSTD, NULL, 1 }, ERROR_DATA_LOSS, "" },
                { { &base, MADE_PLAIN, NULL, 1 }, ERROR_DATA_LOSS, "digest" },
                { { &base, MADE_GZIP, NULL, 2 }, ERROR_DATA_LOSS, "the blob has digest" },
                { { &base, MADE_PLAIN, NULL, 2 }, ERROR_DATA_LOSS, "digest" },
                { { &base, MADE_GZIP, NULL, 3 }, ERROR_INVALID_ARGUMENT, "is not in the archive" },
                { { &base, MADE_GZIP, "sha256:" HEX, 0 }, ERROR_DATA_LOSS, "the layer's tar has digest" },
                { { &hostile, MADE_GZIP, NULL, 0 }, ERROR_DATA_LOSS, "entry \"escape\"" },
        };
        struct images *images = open_store(*dir);
        for (size_t i = 0; i < LENGTH(cases); i++) {
                BUF(archive);
                const struct made_layer layers[] = { { &hostile, MADE_PLAIN, NULL, 0 }, cases[i].layer };
                make_oci_archive(&archive, "bad:1", i < 7 ? &layers[1] : layers, i < 7 ? 1 : 2);
                assert_fails(cases[i].code, cases[i].says, import_bytes(images, &archive, NULL, NULL));
                assert_store_is_empty(images, *dir);
                buf_done(&archive);
        }
        BUF(none);
        tar_end(&none);
        assert_fails(ERROR_INVALID_ARGUMENT, "neither an OCI layout",
                     import_bytes(images, &none, NULL, NULL));
        buf_init(&cut, 1 << 20);
        assert_ok(buf_append_text(&cut, "no tar at all, only some text that is long enough to be looked at"));
        assert_fails(ERROR_INVALID_ARGUMENT, "archive", import_bytes(images, &cut, NULL, NULL));
        images_free(images);
        buf_done(&base);
        buf_done(&hostile);
        buf_done(&none);
        buf_done(&cut);
}

static void a_full_disk_is_said_and_leaves_nothing(void **dir)
{
        static char noise[12 << 20];
        struct buf big;
        BUF(archive);
        assert_int_equal(unshare(CLONE_NEWNS), 0); /* a failed assertion leaves no mount behind */
        assert_int_equal(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL), 0);
        assert_int_equal(mount("tmpfs", *dir, "tmpfs", 0, "size=14m"), 0);
        for (size_t i = 0; i < sizeof(noise); i++)
                noise[i] = (char) (i * 2654435761u >> 13);
        buf_init(&big, 64 << 20);
        PUT(big, "big", .mode = 0644, .data = noise, .len_bytes = sizeof(noise));
        tar_end(&big);
        const struct made_layer layers[] = { { &big, MADE_PLAIN, NULL, 0 } };
        make_oci_archive(&archive, "big:1", layers, 1);
        struct images *images = open_store(*dir);
        assert_fails(ERROR_RESOURCE_EXHAUSTED, "entry \"big\": no space left",
                     import_bytes(images, &archive, NULL, NULL));
        assert_store_is_empty(images, *dir);
        images_free(images);
        assert_int_equal(umount2(*dir, MNT_DETACH), 0);
        buf_done(&big);
        buf_done(&archive);
}

static void a_cancelled_import_leaves_nothing(void **dir)
{
        struct buf base;
        BUF(archive);
        make_base(&base);
        const struct made_layer layers[] = { { &base, MADE_PLAIN, NULL, 0 } };
        make_oci_archive(&archive, "c:1", layers, 1);
        struct images *images = open_store(*dir);
        _cleanup_(closep) int fd = memory_file(&archive), cancel_fd = eventfd(1, EFD_CLOEXEC);
        struct wait wait = wait_of_ms(60000);
        wait.cancel_fd = cancel_fd;
        char **ids = NULL;
        assert_fails(ERROR_CANCELLED, "cancelled", images_import(images, fd, NULL, &wait, &ids));
        assert_store_is_empty(images, *dir);
        images_free(images);
        buf_done(&base);
        buf_done(&archive);
}

/* skiffd dies at each of these; the next one finds nothing partial and can do it. */
static void sigkill_at_any_point_leaves_a_clean_store(void **dir)
{
#ifdef SKIFF_FAULTS
        static const char *const points[] = { "layer.unpacked",      "layer.commit.before",
                                              "image.unpacked",      "image.synced",
                                              "image.commit.before", "image.commit.after",
                                              "image.remove.before", "image.remove.after",
                                              "layer.remove",        "rootfs.make" };
        struct buf base, top;
        BUF(archive);
        make_base(&base);
        make_top(&top);
        const struct made_layer layers[] = { { &base, MADE_GZIP, NULL, 0 }, { &top, MADE_PLAIN, NULL, 0 } };
        make_oci_archive(&archive, "k:1", layers, 2);
        for (size_t i = 0; i < LENGTH(points); i++) {
                pid_t child = fork();
                if (child == 0) {
                        _cleanup_(freep) char *fault = format_string("%s=kill", points[i]), *id = NULL;
                        (void) setenv("SKIFF_FAULT", fault, 1);
                        struct images *images = open_store(*dir);
                        assert_ok(import_bytes(images, &archive, NULL, &id));
                        assert_ok(rootfs_make(images, container, id));
                        assert_ok(images_remove(images, "k:1"));
                        assert_ok(rootfs_remove(images, container));
                        _exit(0);
                }
                int status = 0;
                assert_int_equal(waitpid(child, &status, 0), child);
                if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGKILL)
                        fail_msg("%s was not reached", points[i]);
                struct images *images = open_store(*dir);
                struct image *image = NULL;
                struct error *e = images_find(images, "k:1", &image);
                size_t want = e ? 0 : 2;
                error_free(e);
                image_free(image);
                _cleanup_(free_stringsp) char **ids = NULL;
                assert_ok(rootfs_list(images, &ids));
                if (ids[0])
                        want = 2;
                assert_int_equal(count_entries(*dir, "layers"), want);
                _cleanup_(freep) char *id = NULL;
                assert_ok(import_bytes(images, &archive, NULL, &id));
                assert_ok(rootfs_make(images, container, id));
                _cleanup_(closep) int fd = -1;
                assert_ok(rootfs_mount(images, container, &fd));
                check_rootfs(fd);
                closep(&fd);
                assert_ok(rootfs_remove(images, container));
                assert_ok(images_remove(images, id));
                assert_store_is_empty(images, *dir);
                assert_int_equal(count_entries(*dir, "rootfs/0"), 0);
                images_free(images);
        }
        buf_done(&base);
        buf_done(&top);
        buf_done(&archive);
#else
        (void) dir;
        skip();
#endif
}

/* Whatever fails, the store is whole, nothing hangs and the same import works next time. */
static void every_way_out_of_an_import_is_clean(void **dir)
{
        struct buf base, top;
        BUF(archive);
        make_base(&base);
        make_top(&top);
        const struct made_layer layers[] = { { &base, MADE_GZIP, NULL, 0 }, { &top, MADE_PLAIN, NULL, 0 } };
        make_oci_archive(&archive, "w:1", layers, 2);
        struct images *images = open_store(*dir);
        WALK_FAILURES(import_bytes(images, &archive, NULL, NULL));
        assert_ok(images_remove(images, "w:1"));
        assert_store_is_empty(images, *dir);
        assert_ok(import_bytes(images, &archive, NULL, NULL));
        images_free(images);
        buf_done(&base);
        buf_done(&top);
        buf_done(&archive);
}

static void a_lost_layer_costs_its_image_not_the_store(void **dir)
{
        struct buf base;
        BUF(archive);
        make_base(&base);
        const struct made_layer layers[] = { { &base, MADE_PLAIN, NULL, 0 } };
        make_oci_archive(&archive, "lost:1", layers, 1);
        struct images *images = open_store(*dir);
        assert_ok(import_bytes(images, &archive, NULL, NULL));
        images_free(images);
        _cleanup_(freep) char *layer =
                format_string("%s/layers/%s", (char *) *dir, digest_text_of(base.bytes, base.len_bytes) + 7);
        _cleanup_(freep) char *aside = format_string("%s/aside", (char *) *dir);
        assert_int_equal(rename(layer, aside), 0);
        images = open_store(*dir);
        assert_store_is_empty(images, *dir);
        assert_ok(import_bytes(images, &archive, NULL, NULL));
        images_free(images);
        buf_done(&base);
        buf_done(&archive);
}

UNIT_MAIN(IN_TMPDIR(an_imported_image_runs_as_a_rootfs_until_it_is_removed),
          IN_TMPDIR(docker_archives_of_all_compressions_are_one_image),
          IN_TMPDIR(layers_are_shared_and_names_move),
          IN_TMPDIR(what_a_layer_does_not_describe_is_as_below_it),
          IN_TMPDIR(many_imports_at_once_unpack_a_layer_once),
          IN_TMPDIR(spare_workers_are_lent_and_come_back), IN_TMPDIR(broken_archives_leave_nothing),
          IN_TMPDIR(a_cancelled_import_leaves_nothing), IN_TMPDIR(sigkill_at_any_point_leaves_a_clean_store),
          IN_TMPDIR(every_way_out_of_an_import_is_clean),
          IN_TMPDIR(a_lost_layer_costs_its_image_not_the_store),
          IN_TMPDIR(a_full_disk_is_said_and_leaves_nothing))
