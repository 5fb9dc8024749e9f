#include "images/config.h"
#include "images/manifest.h"
#include "images/platform.h"
#include "images/resolve.h"
#include "images/strings.h"
#include "tests/unit/unit.h"
#include <sys/utsname.h>

#define DIGEST "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
#define OCI "application/vnd.oci.image."
#define CONFIG "\"config\":{\"mediaType\":\"" OCI "config.v1+json\",\"digest\":\"" DIGEST "\",\"size\":7}"
#define LAYER(type) "{\"mediaType\":\"" type "\",\"digest\":\"" DIGEST "\",\"size\":9}"
#define IMAGE(layers) "{\"schemaVersion\":2," CONFIG ",\"layers\":[" layers "]}"
#define FOR(arch, variant, size)                                                                             \
        "{\"mediaType\":\"" OCI "manifest.v1+json\",\"digest\":\"" DIGEST "\",\"size\":" size                \
        ",\"platform\":{\"os\":\"linux\",\"architecture\":\"" arch "\"" variant "}}"

static struct error *parse(const char *text, struct manifest **out)
{
        return manifest_parse(text, strlen(text), "", out);
}

static void images_of_both_families_are_read(void **state)
{
        (void) state;
        _cleanup_(manifest_freep) struct manifest *oci = NULL, *docker = NULL;
        assert_ok(parse(IMAGE(LAYER(OCI "layer.v1.tar+gzip") "," LAYER(OCI "layer.v1.tar+zstd")), &oci));
        assert_int_equal(oci->kind, MANIFEST_IMAGE);
        assert_int_equal(oci->n, 2);
        assert_int_equal(oci->config.size_bytes, 7);
        assert_int_equal(oci->entries[1].size_bytes, 9);
        const char *text =
                "{\"schemaVersion\":2,\"mediaType\":\"application/vnd.docker.distribution.manifest.v2+json\","
                "\"config\":{\"mediaType\":\"application/vnd.docker.container.image.v1+json\",\"digest\":"
                "\"" DIGEST
                "\",\"size\":7},\"layers\":[" LAYER("application/vnd.docker.image.rootfs.diff.tar.gzip") "]}";
        assert_ok(parse(text, &docker));
        assert_int_equal(docker->n, 1);
}

static void what_is_no_image_is_refused_with_its_kind(void **state)
{
        (void) state;
        static const struct {
                enum error_code code;
                const char *says, *text;
        } cases[] = {
                { ERROR_UNIMPLEMENTED, "schema 1", "{\"schemaVersion\":1,\"fsLayers\":[]}" },
                { ERROR_UNIMPLEMENTED, "oci.empty",
                  "{\"schemaVersion\":2,\"layers\":[],\"config\":{\"mediaType\":\"application/"
                  "vnd.oci.empty.v1+json\","
                  "\"digest\":\"" DIGEST "\",\"size\":7}}" },
                { ERROR_UNIMPLEMENTED, "of an artifact application/vnd.x",
                  "{\"schemaVersion\":2,\"artifactType\":\"application/vnd.x\",\"layers\":[],\"config\":{"
                  "\"mediaType\":\"application/vnd.y\",\"digest\":\"" DIGEST "\",\"size\":7}}" },
                { ERROR_INVALID_ARGUMENT, "both", "{\"schemaVersion\":2,\"layers\":[],\"manifests\":[]}" },
                { ERROR_INVALID_ARGUMENT, "not what it holds",
                  "{\"schemaVersion\":2,\"mediaType\":\"" OCI "index.v1+json\",\"layers\":[]}" },
                { ERROR_INVALID_ARGUMENT, "schemaVersion", "{\"layers\":[]}" },
                { ERROR_INVALID_ARGUMENT, "not an object", "[]" },
                { ERROR_INVALID_ARGUMENT, "line 1", "{" },
                { ERROR_INVALID_ARGUMENT, "\"config\"", "{\"schemaVersion\":2,\"layers\":[]}" },
                { ERROR_INVALID_ARGUMENT, "\"layers\" 0: \"digest\" is missing", IMAGE("{}") },
                { ERROR_INVALID_ARGUMENT, "\"size\" is out of range",
                  IMAGE("{\"mediaType\":\"" OCI "layer.v1.tar\",\"digest\":\"" DIGEST "\",\"size\":-1}") },
                { ERROR_INVALID_ARGUMENT, "digest",
                  IMAGE("{\"mediaType\":\"" OCI "layer.v1.tar\",\"digest\":\"sha256:../x\",\"size\":1}") },
        };
        for (size_t i = 0; i < LENGTH(cases); i++) {
                struct manifest *manifest = NULL;
                assert_fails(cases[i].code, cases[i].says, parse(cases[i].text, &manifest));
        }
}

static void layers_are_bounded(void **state)
{
        (void) state;
        struct buf text;
        struct manifest *manifest = NULL;
        buf_init(&text, 1 << 20);
        for (int i = 0; i <= LAYERS_MAX; i++)
                assert_ok(buf_append_text(&text,
                                          i ? "," LAYER(OCI "layer.v1.tar") : LAYER(OCI "layer.v1.tar")));
        _cleanup_(freep) char *whole =
                format_string("{\"schemaVersion\":2," CONFIG ",\"layers\":[%s]}", text.bytes);
        assert_fails(ERROR_INVALID_ARGUMENT, "501 entries", parse(whole, &manifest));
        buf_done(&text);
}

static void odd_types_and_nulls_cost_nothing(void **state)
{
        (void) state;
        _cleanup_(manifest_freep) struct manifest *odd = NULL, *none = NULL, *empty = NULL;
        assert_ok(parse(IMAGE(LAYER("application/octet-stream") "," LAYER(OCI "layer.v1.tar")), &odd));
        assert_string_equal(manifest_odd_layer(odd), "application/octet-stream");
        assert_true(manifest_config_is_known(odd));
        assert_ok(parse("{\"schemaVersion\":2,\"layers\":null,\"config\":{\"digest\":\"" DIGEST
                        "\",\"size\":7}}",
                        &none));
        assert_int_equal(none->kind, MANIFEST_IMAGE);
        assert_int_equal(none->n, 0);
        assert_false(manifest_config_is_known(none));
        assert_ok(parse("{\"schemaVersion\":2,\"manifests\":null}", &empty));
        assert_int_equal(empty->kind, MANIFEST_INDEX);
        assert_int_equal(empty->n, 0);
}

#if defined(__aarch64__)
#define MACHINE "arm64"
#else
#define MACHINE "amd64"
#endif

static bool is_amd64(void)
{
        struct utsname uts;
        assert_int_equal(uname(&uts), 0);
        return strcmp(uts.machine, "x86_64") == 0;
}

static void the_index_entries_for_this_machine_are_ranked(void **state)
{
        (void) state;
        size_t n = 0;
        _cleanup_(manifest_freep) struct manifest *index = NULL, *other = NULL;
        const struct descriptor **list = NULL;
        if (!is_amd64())
                skip();
        assert_ok(parse(
                "{\"schemaVersion\":2,\"manifests\":[" FOR("arm64", "", "1") "," FOR("386", "", "5") "," FOR(
                        "amd64", ",\"variant\":\"v3\"",
                        "2") "," FOR("x86_64", "", "3") "," FOR("amd64", ",\"variant\":\"v1\"", "4") "]}",
                &index));
        assert_int_equal(index->kind, MANIFEST_INDEX);
        manifest_candidates(index, &list, &n);
        assert_int_equal(n, 4);
        assert_int_equal(list[0]->size_bytes, 3);
        assert_int_equal(list[1]->size_bytes, 4);
        assert_int_equal(list[2]->size_bytes, 2);
        assert_int_equal(list[3]->size_bytes, 5);
        free(list);
        assert_ok(parse("{\"schemaVersion\":2,\"manifests\":[" FOR("unknown", "", "1") "," FOR("aarch64", "",
                                                                                               "2") "]}",
                        &other));
        manifest_candidates(other, &list, &n);
        assert_int_equal(n, 0);
        free(list);
        assert_fails(ERROR_NOT_FOUND, "no image for linux/amd64 in the index, but for linux/arm64",
                     manifest_no_image(other));
}

/* The same on arm64, whose older sister is arm. */
static void on_arm64_its_own_come_first_and_then_arm(void **state)
{
        (void) state;
        size_t n = 0;
        _cleanup_(manifest_freep) struct manifest *index = NULL;
        const struct descriptor **list = NULL;
        if (is_amd64())
                skip();
        assert_ok(parse(
                "{\"schemaVersion\":2,\"manifests\":[" FOR("amd64", "", "1") "," FOR(
                        "arm", ",\"variant\":\"6\"",
                        "2") "," FOR("arm", ",\"variant\":\"7\"",
                                     "3") "," FOR("arm64", ",\"variant\":\"v9\"",
                                                  "4") "," FOR("aarch64", ",\"variant\":\"8\"", "5") "]}",
                &index));
        manifest_candidates(index, &list, &n);
        assert_int_equal(n, 4);
        assert_int_equal(list[0]->size_bytes, 5);
        assert_int_equal(list[1]->size_bytes, 4);
        assert_int_equal(list[2]->size_bytes, 3);
        assert_int_equal(list[3]->size_bytes, 2);
        free(list);
}

static void a_variant_is_named_as_others_write_it(void **state)
{
        (void) state;
        static const char *const written[][2] = { { "7", "linux/arm/v7" },
                                                  { "", "linux/arm/v7" },
                                                  { "v6", "linux/arm/v6" },
                                                  { "6", "linux/arm/v6" },
                                                  { "8", "linux/arm/v8" } };
        for (size_t i = 0; i < LENGTH(written); i++) {
                const struct platform arm = { "linux", "arm", written[i][0] };
                char text[PLATFORM_TEXT_SIZE];
                platform_format(&arm, text);
                assert_string_equal(text, written[i][1]);
        }
}

static void what_lies_beside_images_is_no_candidate(void **state)
{
        (void) state;
        size_t n = 0;
        _cleanup_(manifest_freep) struct manifest *index = NULL;
        const struct descriptor **list = NULL;
#define ENTRY(type, more) "{\"mediaType\":\"" type "\",\"digest\":\"" DIGEST "\",\"size\":1" more "}"
        assert_ok(parse(
                "{\"schemaVersion\":2,\"manifests\":[" ENTRY(
                        OCI "manifest.v1+json",
                        ",\"artifactType\":"
                        "\"application/"
                        "spdx+json\"") "," ENTRY(OCI "manifest.v1+json",
                                                 ",\"annotations\":{\"vnd.docker.reference.type\":"
                                                 "\"attestation-manifest\"}") "," ENTRY("application/"
                                                                                        "vnd.dev.cosign."
                                                                                        "simplesigning.v1+"
                                                                                        "json",
                                                                                        "") "," ENTRY(OCI
                                                                                                      "index."
                                                                                                      "v1+"
                                                                                                      "json",
                                                                                                      ",\"ann"
                                                                                                      "o"
                                                                                                      "tation"
                                                                                                      "s"
                                                                                                      "\":"
                                                                                                      "null,"
                                                                                                      "\"plat"
                                                                                                      "f"
                                                                                                      "orm\":"
                                                                                                      "null") "]}",
                &index));
        manifest_candidates(index, &list, &n);
        assert_int_equal(n, 1);
        assert_string_equal(list[0]->media_type, OCI "index.v1+json");
        free(list);
}

/* Manifests by the size that an entry says. */
struct shelf {
        const char *const *texts;
        size_t n_read;
};

static struct error *read_shelf(void *context, const struct descriptor *from, struct manifest **out)
{
        struct shelf *shelf = context;
        shelf->n_read++;
        return parse(shelf->texts[from->size_bytes], out);
}

static void an_index_in_an_index_leads_to_an_image(void **state)
{
        (void) state;
#define INDEX(entries) "{\"schemaVersion\":2,\"manifests\":[" entries "]}"
#define INNER(at) "{\"mediaType\":\"" OCI "index.v1+json\",\"digest\":\"" DIGEST "\",\"size\":" at "}"
#define SIGNATURE(at) "{\"mediaType\":\"" OCI "manifest.v1+json\",\"digest\":\"" DIGEST "\",\"size\":" at "}"
        static const char *const texts[] = {
                INDEX(INNER("1") "," INNER("2")),
                INDEX(FOR("s390x", "", "4")),
                INDEX(SIGNATURE("3") "," FOR("amd64", "", "4")),
                "{\"schemaVersion\":2,\"artifactType\":\"application/"
                "vnd.x\",\"layers\":[],\"config\":{\"mediaType\":"
                "\"application/vnd.oci.empty.v1+json\",\"digest\":\"" DIGEST "\",\"size\":2}}",
                IMAGE(LAYER(OCI "layer.v1.tar")),
                INDEX(INNER("5")),
                INDEX(SIGNATURE("3")),
        };
        struct shelf shelf = { texts, 0 };
        const struct manifest_reader reader = { read_shelf, &shelf };
        _cleanup_(manifest_freep) struct manifest *top = NULL, *image = NULL, *loop = NULL, *signature = NULL,
                                                  *nothing = NULL;
        if (!is_amd64())
                skip();
        assert_ok(parse(texts[0], &top));
        assert_ok(manifest_resolve(top, &reader, &image));
        assert_int_equal(image->kind, MANIFEST_IMAGE);
        assert_int_equal(shelf.n_read,
                         3); /* two indexes, and of the second the entry that says its platform */
        assert_ok(parse(texts[5], &loop));
        assert_fails(ERROR_INVALID_ARGUMENT, "deep", manifest_resolve(loop, &reader, &nothing));
        assert_ok(parse(texts[6], &signature));
        assert_fails(ERROR_UNIMPLEMENTED, "application/vnd.x",
                     manifest_resolve(signature, &reader, &nothing));
}

static void configs_are_read(void **state)
{
        (void) state;
        struct image_config config, copy;
        _cleanup_(freep) char *trimmed = NULL;
        _cleanup_(free_stringsp) char **diff_ids = NULL;
        const char *text =
                "{\"architecture\":\"" MACHINE
                "\",\"os\":\"linux\",\"config\":{\"User\":\"7:8\",\"Entrypoint\":["
                "\"/a\"],"
                "\"Cmd\":[\"b\",\"c\"],\"Env\":[\"A=1\"],\"Volumes\":{\"/v\":{}},\"WorkingDir\":\"/w\","
                "\"StopSignal\":\"SIGINT\",\"Labels\":{\"k\":\"v\"}},\"rootfs\":{\"type\":\"layers\",\"diff_"
                "ids\":[\"" DIGEST "\"]}}";
        assert_ok(config_parse(text, strlen(text), &config, &diff_ids));
        image_config_done(&config);
        assert_ok(image_config_trim(text, &trimmed));
        assert_null(strstr(trimmed, "Labels"));
        assert_ok(image_config_parse(trimmed, &copy));
        assert_string_equal(copy.entrypoint[0], "/a");
        assert_string_equal(copy.cmd[1], "c");
        assert_string_equal(copy.env[0], "A=1");
        assert_string_equal(copy.volumes[0], "/v");
        assert_string_equal(copy.user, "7:8");
        assert_string_equal(copy.stop_signal, "SIGINT");
        assert_string_equal(diff_ids[0], DIGEST);
        assert_null(diff_ids[1]);
        image_config_done(&copy);
        free_strings(TAKE(diff_ids));
        text = "{\"config\":null,\"rootfs\":{\"diff_ids\":[]}}";
        assert_ok(config_parse(text, strlen(text), &config, &diff_ids));
        assert_null(config.entrypoint[0]);
        image_config_done(&config);
}

static void broken_configs_are_refused(void **state)
{
        (void) state;
        static const char *const cases[][2] = {
                { "\"rootfs\"", "{}" },
                { "\"diff_ids\"", "{\"rootfs\":{\"diff_ids\":[\"x\"]}}" },
                { "\"diff_ids\" 0 is not a string", "{\"rootfs\":{\"diff_ids\":[1]}}" },
                { "\"Env\" is not a list", "{\"config\":{\"Env\":{}},\"rootfs\":{}}" },
                { "\"User\" is not a string", "{\"config\":{\"User\":0},\"rootfs\":{}}" },
                { "not an object", "\"x\"" },
                { "UTF8", "{\"config\":{\"User\":\"\xff\"},\"rootfs\":{}}" },
        };
        struct image_config config;
        char **diff_ids = NULL;
        for (size_t i = 0; i < LENGTH(cases); i++)
                assert_fails(ERROR_INVALID_ARGUMENT, cases[i][0],
                             config_parse(cases[i][1], strlen(cases[i][1]), &config, &diff_ids));
        const char *windows = "{\"os\":\"windows\",\"rootfs\":{}}";
        assert_fails(ERROR_FAILED_PRECONDITION, "windows",
                     config_parse(windows, strlen(windows), &config, &diff_ids));
        const char *other = "{\"architecture\":\"sparc64\",\"rootfs\":{}}";
        assert_fails(ERROR_FAILED_PRECONDITION, "linux/sparc64",
                     config_parse(other, strlen(other), &config, &diff_ids));
}

static void docker_manifests_are_read(void **state)
{
        (void) state;
        struct docker_image *images = NULL;
        size_t n = 0;
        const char *text = "[{\"Config\":\"a.json\",\"RepoTags\":[\"x:1\"],\"Layers\":[\"l/layer.tar\"]},"
                           "{\"Config\":\"b.json\",\"RepoTags\":null,\"Layers\":[]}]";
        assert_ok(docker_manifest_parse(text, strlen(text), &images, &n));
        assert_int_equal(n, 2);
        assert_string_equal(images[0].layers[0], "l/layer.tar");
        assert_null(images[1].repo_tags[0]);
        docker_images_free(images, n);
        assert_fails(ERROR_INVALID_ARGUMENT, "image 0: \"Config\" is missing",
                     docker_manifest_parse("[{}]", 4, &images, &n));
        assert_fails(ERROR_INVALID_ARGUMENT, "not a list", docker_manifest_parse("[]", 2, &images, &n));
}

UNIT_MAIN(TEST(images_of_both_families_are_read), TEST(what_is_no_image_is_refused_with_its_kind),
          TEST(layers_are_bounded), TEST(odd_types_and_nulls_cost_nothing),
          TEST(the_index_entries_for_this_machine_are_ranked), TEST(on_arm64_its_own_come_first_and_then_arm),
          TEST(a_variant_is_named_as_others_write_it), TEST(what_lies_beside_images_is_no_candidate),
          TEST(an_index_in_an_index_leads_to_an_image), TEST(configs_are_read),
          TEST(broken_configs_are_refused), TEST(docker_manifests_are_read))
