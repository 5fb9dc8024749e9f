/* Pulls from a real docker-registry on loopback, whose storage is written here. Needs root and Debian's docker-registry. */
#include "base/clock.h"
#include "images/images.h"
#include "tests/unit/image_maker.h"
#include "tests/unit/unit.h"
#include <arpa/inet.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>

/* bcrypt of "skiff-secret" */
#define HTPASSWD_LINE "user:$2b$05$abcdefghijklmnopqrstuuotPvqF7ng4KL9fbEcFnHuwiciLS7vTG\n"

extern char **environ; /* POSIX has no header for it */

static void put_file(const char *dir, const char *path, const void *bytes, size_t len_bytes)
{
        _cleanup_(freep) char *whole = format_string("%s/registry/docker/registry/v2/%s", dir, path);
        for (char *s = whole + 1; (s = strchr(s, '/')); *s++ = '/') {
                *s = '\0';
                (void) mkdir(whole, 0755);
        }
        _cleanup_(closep) int fd = open(whole, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
        assert_int_equal(write(fd, bytes, len_bytes), len_bytes);
}

static char *put_blob(const char *dir, const char *repository, const void *bytes, size_t len_bytes)
{
        char *digest = dup_string(digest_text_of(bytes, len_bytes));
        const char *hex = digest + 7;
        _cleanup_(freep) char *data = format_string("blobs/sha256/%.2s/%s/data", hex, hex);
        _cleanup_(freep) char *link =
                format_string("repositories/%s/_layers/sha256/%s/link", repository, hex);
        put_file(dir, data, bytes, len_bytes);
        put_file(dir, link, digest, strlen(digest));
        return digest;
}

static char *put_manifest(const char *dir, const char *repository, const char *tag, const char *text)
{
        char *digest = put_blob(dir, repository, text, strlen(text));
        _cleanup_(freep) char *revision =
                format_string("repositories/%s/_manifests/revisions/sha256/%s/link", repository, digest + 7);
        _cleanup_(freep) char *current =
                format_string("repositories/%s/_manifests/tags/%s/current/link", repository, tag);
        put_file(dir, revision, digest, strlen(digest));
        put_file(dir, current, digest, strlen(digest));
        return digest;
}

#define OCI "application/vnd.oci.image."

/* An image of one layer under tag, and an index with it under tag-index; the manifest's digest is the caller's. */
static char *put_image(const char *dir, const char *tag, bool spoil)
{
        struct buf tar, gzip;
        buf_init(&tar, 64 << 20);
        buf_init(&gzip, 64 << 20);
        static char noise[3 << 20];
        for (size_t i = 0; i < sizeof(noise); i++)
                noise[i] = (char) (i * 2654435761u >> 11);
        tar_put(&tar, &(struct tar_entry){ .name = "hello", .mode = 0644, .data = tag });
        tar_put(&tar, &(struct tar_entry){
                              .name = "noise", .mode = 0644, .data = noise, .len_bytes = sizeof(noise) });
        tar_end(&tar);
        gzip_bytes(&tar, &gzip);
        const char *diff_id = digest_text_of(tar.bytes, tar.len_bytes);
        _cleanup_(freep) char *config =
                format_string("{\"os\":\"linux\",\"architecture\":\"amd64\",\"rootfs\":{\"type\":"
                              "\"layers\",\"diff_ids\":[\"%s\"]}}",
                              diff_id);
        _cleanup_(freep) char *config_digest = put_blob(dir, "test/a", config, strlen(config));
        _cleanup_(freep) char *layer_digest = put_blob(dir, "test/a", gzip.bytes, gzip.len_bytes);
        if (spoil) {
                _cleanup_(freep) char *data =
                        format_string("blobs/sha256/%.2s/%s/data", layer_digest + 7, layer_digest + 7);
                gzip.bytes[gzip.len_bytes / 2] ^= 1;
                put_file(dir, data, gzip.bytes, gzip.len_bytes);
        }
        _cleanup_(freep) char *manifest = format_string(
                "{\"schemaVersion\":2,\"mediaType\":\"" OCI
                "manifest.v1+json\",\"config\":{\"mediaType\":\"" OCI
                "config.v1+json\",\"digest\":\"%s\",\"size\":%zu},\"layers\":[{\"mediaType\":\"" OCI
                "layer.v1.tar+gzip\",\"digest\":\"%s\",\"size\":%zu}]}",
                config_digest, strlen(config), layer_digest, gzip.len_bytes);
        char *digest = put_manifest(dir, "test/a", tag, manifest);
        _cleanup_(freep) char *index = format_string("{\"schemaVersion\":2,\"mediaType\":\"" OCI
                                                     "index.v1+json\",\"manifests\":[{\"mediaType\":\"" OCI
                                                     "manifest.v1+json\",\"digest\":\"%s\",\"size\":%zu,"
                                                     "\"platform\":{\"os\":\"linux\",\"architecture\":"
                                                     "\"amd64\"}}]}",
                                                     digest, strlen(manifest));
        _cleanup_(freep) char *index_tag = format_string("%s-index", tag);
        free(put_manifest(dir, "test/a", index_tag, index));
        buf_done(&tar);
        buf_done(&gzip);
        return digest;
}

/* A port that was free a moment ago. */
static unsigned free_port(void)
{
        struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
        socklen_t len = sizeof(address);
        _cleanup_(closep) int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        assert_int_equal(bind(fd, (struct sockaddr *) &address, len), 0);
        assert_int_equal(getsockname(fd, (struct sockaddr *) &address, &len), 0);
        return ntohs(address.sin_port);
}

static void wait_for_port(unsigned port)
{
        const struct wait wait = wait_of_ms(20000);
        struct sockaddr_in address = { .sin_family = AF_INET,
                                       .sin_port = htons((uint16_t) port),
                                       .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
        for (;;) { /* it tells nobody when it listens */
                _cleanup_(closep) int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
                if (connect(fd, (struct sockaddr *) &address, sizeof(address)) == 0)
                        return;
                assert_ok(wait_delay(&wait, 20, "wait for docker-registry"));
        }
}

struct registry {
        pid_t pid;
        unsigned port;
};

/* htpasswd: a line of its file, or NULL for no authentication. */
static struct registry start_registry(const char *dir, const char *htpasswd)
{
        struct registry registry = { .port = free_port() };
        _cleanup_(freep) char *config_path = format_string("%s/registry.yml", dir);
        _cleanup_(freep) char *auth_path = format_string("%s/htpasswd", dir), *auth = dup_string("");
        if (htpasswd) {
                FILE *file = fopen(auth_path, "we");
                assert_non_null(file);
                assert_true(fputs(htpasswd, file) >= 0 && fclose(file) == 0);
                free(auth);
                auth = format_string("auth:\n  htpasswd:\n    realm: test\n    path: %s\n", auth_path);
        }
        FILE *file = fopen(config_path, "we");
        assert_non_null(file);
        assert_true(fprintf(file,
                            "version: 0.1\nlog:\n  level: error\n  accesslog:\n    disabled: true\nstorage:\n"
                            "  filesystem:\n    rootdirectory: %s/registry\nhttp:\n  addr: 127.0.0.1:%u\n%s",
                            dir, registry.port, auth) > 0);
        assert_int_equal(fclose(file), 0);
        posix_spawn_file_actions_t actions;
        assert_int_equal(posix_spawn_file_actions_init(&actions), 0);
        assert_int_equal(posix_spawn_file_actions_addopen(&actions, 1, "/dev/null", O_WRONLY, 0), 0);
        assert_int_equal(posix_spawn_file_actions_addopen(&actions, 2, "/dev/null", O_WRONLY, 0), 0);
        char *argv[] = { (char *) "docker-registry", (char *) "serve", config_path, NULL };
        assert_int_equal(posix_spawnp(&registry.pid, argv[0], &actions, NULL, argv, environ), 0);
        (void) posix_spawn_file_actions_destroy(&actions);
        wait_for_port(registry.port);
        return registry;
}

static void stop_registry(struct registry *registry)
{
        if (registry->pid <= 0)
                return;
        (void) kill(registry->pid, SIGKILL);
        (void) waitpid(registry->pid, NULL, 0);
        registry->pid = 0;
}

static struct images *open_store(const char *dir, const char *registry_dirs)
{
        struct images *images = NULL;
        _cleanup_(freep) char *root = format_string("%s/store", dir);
        const struct images_config config = { .root = root,
                                              .state = root,
                                              .program_dir = PROGRAM_DIR,
                                              .registry_dirs = registry_dirs,
                                              .pull_uid = 64321 };
        assert_ok(images_open(&config, &images));
        return images;
}

static struct error *pull(struct images *images, const char *reference, const struct image_auth *auth,
                          char **id)
{
        const struct wait wait = wait_of_ms(60000);
        _cleanup_(freep) char *ignored = NULL;
        return images_pull(images, reference, auth, NULL, clock_monotonic_ns(), &wait, id ? id : &ignored);
}

static void an_image_is_pulled_by_tag_digest_and_index(void **dir)
{
        _cleanup_(freep) char *digest = put_image(*dir, "one", false), *id = NULL;
        _cleanup_(stop_registry) struct registry registry = start_registry(*dir, NULL);
        struct images *images = open_store(*dir, "");
        _cleanup_(freep) char *tag = format_string("127.0.0.1:%u/test/a:one", registry.port);
        _cleanup_(freep) char *by_digest = format_string("localhost:%u/test/a@%s", registry.port, digest);
        _cleanup_(freep) char *index = format_string("127.0.0.1:%u/test/a:one-index", registry.port);
        _cleanup_(freep) char *missing = format_string("127.0.0.1:%u/test/a:none", registry.port);
        assert_ok(pull(images, tag, NULL, &id));
        struct image *image = NULL;
        assert_ok(images_find(images, tag, &image));
        assert_string_equal(image->id, id);
        _cleanup_(freep) char *repo_digest = format_string("127.0.0.1:%u/test/a@%s", registry.port, digest);
        assert_string_equal(image->repo_digests[0], repo_digest);
        image_free(image);
        assert_ok(pull(images, by_digest, NULL, NULL));
        assert_ok(pull(images, index, NULL, NULL));
        _cleanup_(closep) int fd = -1;
        assert_ok(rootfs_view(images, id, &fd));
        struct stat st;
        assert_int_equal(fstatat(fd, "noise", &st, 0), 0);
        assert_int_equal(st.st_size, 3 << 20);
        assert_fails(ERROR_NOT_FOUND, "HTTP 404", pull(images, missing, NULL, NULL));
        images_free(images);
}

static void a_spoiled_blob_or_a_dead_registry_fails_the_pull(void **dir)
{
        free(put_image(*dir, "bad", true));
        _cleanup_(stop_registry) struct registry registry = start_registry(*dir, NULL);
        struct images *images = open_store(*dir, "");
        _cleanup_(freep) char *tag = format_string("127.0.0.1:%u/test/a:bad", registry.port);
        assert_fails(ERROR_DATA_LOSS, "layer sha256:", pull(images, tag, NULL, NULL));
        stop_registry(&registry);
        assert_fails(ERROR_UNAVAILABLE, "connect", pull(images, tag, NULL, NULL));
        struct image **list = NULL;
        size_t n = 1;
        assert_ok(images_list(images, &list, &n));
        assert_int_equal(n, 0);
        image_list_free(list, n);
        images_free(images);
}

static void credentials_are_used_and_never_repeated(void **dir)
{
        free(put_image(*dir, "priv", false));
        _cleanup_(stop_registry) struct registry registry = start_registry(*dir, HTPASSWD_LINE);
        struct images *images = open_store(*dir, "");
        _cleanup_(freep) char *tag = format_string("127.0.0.1:%u/test/a:priv", registry.port);
        const struct image_auth good = { .username = "user", .password = "skiff-secret" };
        const struct image_auth encoded = { .auth = "dXNlcjpza2lmZi1zZWNyZXQ=" };
        const struct image_auth bad = { .username = "user", .password = "skiff-wrong" };
        const struct image_auth elsewhere = { .username = "user",
                                              .password = "skiff-secret",
                                              .server_address = "https://other.example" };
        assert_fails(ERROR_UNAUTHENTICATED, "username and password", pull(images, tag, NULL, NULL));
        assert_fails(ERROR_UNAUTHENTICATED, "username and password", pull(images, tag, &elsewhere, NULL));
        struct error *e = pull(images, tag, &bad, NULL);
        assert_null(strstr(error_message(e), "skiff-wrong"));
        assert_fails(ERROR_UNAUTHENTICATED, "HTTP 401", e);
        assert_ok(pull(images, tag, &good, NULL));
        assert_ok(images_remove(images, tag));
        assert_ok(pull(images, tag, &encoded, NULL));
        images_free(images);
}

static void hosts_toml_leads_to_a_mirror(void **dir)
{
        free(put_image(*dir, "one", false));
        _cleanup_(stop_registry) struct registry registry = start_registry(*dir, NULL);
        _cleanup_(freep) char *certs = format_string("%s/certs.d", (char *) *dir);
        _cleanup_(freep) char *host = format_string("%s/registry.example", certs);
        _cleanup_(freep) char *path = format_string("%s/hosts.toml", host);
        assert_int_equal(mkdir(certs, 0755), 0);
        assert_int_equal(mkdir(host, 0755), 0);
        FILE *file = fopen(path, "we");
        assert_non_null(file);
        assert_true(fprintf(file,
                            "server = \"http://127.0.0.1:1\"\n[host.\"http://127.0.0.1:2\"]\ncapabilities = "
                            "[\"pull\", "
                            "\"resolve\"]\n[host.\"http://127.0.0.1:%u/v2\"]\noverride_path = true\n",
                            registry.port) > 0);
        assert_int_equal(fclose(file), 0);
        struct images *images = open_store(*dir, certs);
        assert_ok(pull(images, "registry.example/test/a:one", NULL, NULL));
        struct image *image = NULL;
        assert_ok(images_find(images, "registry.example/test/a:one", &image));
        image_free(image);
        file = fopen(path, "we");
        assert_non_null(file);
        assert_true(fputs("server = 1\n", file) >= 0 && fclose(file) == 0);
        assert_fails(ERROR_FAILED_PRECONDITION, "hosts.toml",
                     pull(images, "registry.example/test/a:one", NULL, NULL));
        images_free(images);
}

UNIT_MAIN(IN_TMPDIR(an_image_is_pulled_by_tag_digest_and_index),
          IN_TMPDIR(a_spoiled_blob_or_a_dead_registry_fails_the_pull),
          IN_TMPDIR(credentials_are_used_and_never_repeated), IN_TMPDIR(hosts_toml_leads_to_a_mirror))
