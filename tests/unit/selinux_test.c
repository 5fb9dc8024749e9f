/* SELinux contexts over a policy's files of the test's own; labels on files, which a kernel without SELinux keeps for root. */
#include "runtime/selinux.h"
#include "tests/unit/unit.h"
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/xattr.h>

#define FILE_LABEL "system_u:object_r:container_file_t:s0:c1,c2"

static void put_file(const char *dir, const char *name, const char *text)
{
        _cleanup_(freep) char *path = format_string("%s/%s", dir, name);
        _cleanup_(closep) int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
        assert_true(fd >= 0);
        assert_int_equal(write(fd, text, strlen(text)), strlen(text));
}

static void make_dirs(const char *dir, const char *const *names, size_t n)
{
        for (size_t i = 0; i < n; i++) {
                _cleanup_(freep) char *path = format_string("%s/%s", dir, names[i]);
                assert_int_equal(mkdir(path, 0755), 0);
        }
}

static void policy_make(const char *dir, const char *contexts)
{
        static const char *const dirs[] = { "fs", "etc", "etc/mine", "etc/mine/contexts" };
        make_dirs(dir, dirs, LENGTH(dirs));
        put_file(dir, "fs/context", "");
        put_file(dir, "etc/config", "# SELINUXTYPE=other\nSELINUX=enforcing\nSELINUXTYPE=mine\n");
        if (contexts)
                put_file(dir, "etc/mine/contexts/lxc_contexts", contexts);
}

static struct selinux *opened(const char *dir)
{
        _cleanup_(freep) char *fs = format_string("%s/fs", dir);
        _cleanup_(freep) char *etc = format_string("%s/etc", dir);
        const struct selinux_config config = { .fs_dir = fs, .etc_dir = etc };
        struct selinux *s = NULL;
        selinux_open(&config, &s);
        return s;
}

#define CONTEXTS                                                                                             \
        "# of containers\nprocess = \"system_u:system_r:container_t:s0\"\ncontent = "                        \
        "\"system_u:object_r:virt_var_lib_t:s0\"\nfile=system_u:object_r:container_file_t:s0\n"

static void a_kernel_without_labels_nothing(void **dir)
{
        _cleanup_(selinux_freep) struct selinux *s = opened(*dir);
        assert_false(selinux_is_on(s) || selinux_labels(s));
}

static void without_contexts_for_containers_asking_is_an_error(void **dir)
{
        const struct selinux_asked nothing = { .user = NULL };
        struct selinux_contexts made = { NULL, NULL };
        policy_make(*dir, NULL);
        _cleanup_(selinux_freep) struct selinux *s = opened(*dir);
        assert_true(selinux_is_on(s));
        assert_false(selinux_labels(s));
        assert_fails(ERROR_FAILED_PRECONDITION, "lxc_contexts", selinux_contexts(s, &nothing, 7, &made));
        assert_null(made.process);
}

static void what_is_asked_goes_into_the_policys_own(void **dir)
{
        static const struct {
                struct selinux_asked asked;
                uint32_t pair;
                const char *process, *file;
        } cases[] = {
                { { 0 }, 0, "system_u:system_r:container_t:s0", "system_u:object_r:container_file_t:s0" },
                { { 0 },
                  1,
                  "system_u:system_r:container_t:s0:c0,c1",
                  "system_u:object_r:container_file_t:s0:c0,c1" },
                { { 0 },
                  1023,
                  "system_u:system_r:container_t:s0:c0,c1023",
                  "system_u:object_r:container_file_t:s0:c0,c1023" },
                { { 0 },
                  1024,
                  "system_u:system_r:container_t:s0:c1,c2",
                  "system_u:object_r:container_file_t:s0:c1,c2" },
                { { 0 },
                  SELINUX_PAIRS,
                  "system_u:system_r:container_t:s0:c1022,c1023",
                  "system_u:object_r:container_file_t:s0:c1022,c1023" },
                { { .level = "s0:c4,c7", .type = "spc_t" },
                  9,
                  "system_u:system_r:spc_t:s0:c4,c7",
                  "system_u:object_r:container_file_t:s0:c4,c7" },
                { { .user = "u", .role = "r", .level = "s0-s0:c0.c1023" },
                  0,
                  "u:r:container_t:s0-s0:c0.c1023",
                  "u:object_r:container_file_t:s0-s0:c0.c1023" },
        };
        policy_make(*dir, CONTEXTS);
        _cleanup_(selinux_freep) struct selinux *s = opened(*dir);
        assert_true(selinux_labels(s));
        for (size_t i = 0; i < LENGTH(cases); i++) {
                _cleanup_(selinux_contexts_done) struct selinux_contexts made = { NULL, NULL };
                assert_ok(selinux_contexts(s, &cases[i].asked, cases[i].pair, &made));
                assert_string_equal(made.process, cases[i].process);
                assert_string_equal(made.file, cases[i].file);
        }
}

static void what_is_no_context_is_refused(void **dir)
{
        char longest[300];
        const struct selinux_asked bad[] = {
                { .type = "a b" }, { .level = "s0\"" }, { .user = "a\nb" }, { .type = longest }
        };
        struct selinux_contexts made = { NULL, NULL };
        memset(longest, 'x', sizeof(longest) - 1);
        longest[sizeof(longest) - 1] = '\0';
        policy_make(*dir, CONTEXTS);
        _cleanup_(selinux_freep) struct selinux *s = opened(*dir);
        for (size_t i = 0; i < LENGTH(bad); i++)
                assert_fails(ERROR_INVALID_ARGUMENT, "is no SELinux context",
                             selinux_contexts(s, &bad[i], 0, &made));
        assert_null(made.process);
}

static void assert_label(const char *dir, const char *name, const char *wanted)
{
        _cleanup_(freep) char *path = format_string("%s/%s", dir, name);
        char found[256] = "";
        (void) lgetxattr(path, "security.selinux", found, sizeof(found) - 1);
        assert_string_equal(found, wanted);
}

static void a_volume_is_labelled_whole_and_nothing_outside(void **dir)
{
        static const char *const dirs[] = { "volume", "volume/a", "volume/a/b", "outside" };
        make_dirs(*dir, dirs, LENGTH(dirs));
        put_file(*dir, "volume/a/b/file", "");
        put_file(*dir, "outside/file", "");
        put_file(*dir, "single", "");
        _cleanup_(freep) char *volume = format_string("%s/volume", (char *) *dir);
        _cleanup_(freep) char *link = format_string("%s/volume/link", (char *) *dir);
        _cleanup_(freep) char *single = format_string("%s/single", (char *) *dir);
        assert_int_equal(symlink("../outside", link), 0);
        for (int again = 0; again < 2; again++) {
                assert_ok(selinux_relabel(volume, FILE_LABEL));
                assert_label(*dir, "volume", FILE_LABEL);
                assert_label(*dir, "volume/a", FILE_LABEL);
                assert_label(*dir, "volume/a/b/file", FILE_LABEL);
                assert_label(*dir, "volume/link", FILE_LABEL);
                assert_label(*dir, "outside", "");
                assert_label(*dir, "outside/file", "");
        }
        assert_ok(selinux_relabel(single, FILE_LABEL));
        assert_label(*dir, "single", FILE_LABEL);
        /* The volume itself may be named by a link of kubelet's. */
        assert_ok(selinux_relabel(link, "system_u:object_r:other_t:s0"));
        assert_label(*dir, "outside/file", "system_u:object_r:other_t:s0");
}

static void what_belongs_to_the_machine_is_not_relabelled(void **dir)
{
        static const char *const places[] = { "/",    "/etc",  "/usr", "/home", "/usr/../etc/",
                                              "/var", "//tmp", "/dev", "/proc", "/sys" };
        for (size_t i = 0; i < LENGTH(places); i++)
                if (access(places[i], F_OK) == 0)
                        assert_fails(ERROR_INVALID_ARGUMENT, "it belongs to the machine",
                                     selinux_relabel(places[i], FILE_LABEL));
        _cleanup_(freep) char *link = format_string("%s/link", (char *) *dir);
        assert_int_equal(symlink("/etc", link), 0);
        assert_fails(ERROR_INVALID_ARGUMENT, "/etc: it belongs to the machine",
                     selinux_relabel(link, FILE_LABEL));
        assert_fails(ERROR_INVALID_ARGUMENT, "No such file", selinux_relabel("/nonexistent/x", FILE_LABEL));
}

UNIT_MAIN(IN_TMPDIR(a_kernel_without_labels_nothing),
          IN_TMPDIR(without_contexts_for_containers_asking_is_an_error),
          IN_TMPDIR(what_is_asked_goes_into_the_policys_own), IN_TMPDIR(what_is_no_context_is_refused),
          IN_TMPDIR(a_volume_is_labelled_whole_and_nothing_outside),
          IN_TMPDIR(what_belongs_to_the_machine_is_not_relabelled))
