/* An image's config with one layer more, and what ids of a user namespace become in it. */
#include "images/config_edit.h"
#include "images/layer_ids.h"
#include "tests/unit/unit.h"
#include <linux/posix_acl.h>
#include <linux/posix_acl_xattr.h>

#define DIFF_ID "sha256:2222222222222222222222222222222222222222222222222222222222222222"
#define WHEN "2026-01-02T03:04:05.000000006Z"

static const char before[] =
        "{\"architecture\":\"amd64\",\"x-own\":[1,{\"a\":null}],\"author\":\"first\",\"created\":\"then\","
        "\"config\":{\"Env\":[\"PATH=/"
        "bin\",\"A=1\"],\"Cmd\":[\"sh\"],\"Labels\":{\"k\":\"v\",\"l\":\"w\"},\"Own\":7},"
        "\"rootfs\":{\"type\":\"layers\",\"diff_ids\":[\"sha256:11\"]},\"history\":[{\"created_by\":\"x\"}]}";

static struct error *edit_once(const char *json, const struct image_commit *commit)
{
        struct buf out;
        buf_init(&out, 1 << 20);
        struct error *e = config_edit(json, commit, DIFF_ID, WHEN, &out);
        buf_done(&out);
        return e;
}

static void edit(const char *json, const struct image_changes *changes, const char *author,
                 const char *expected)
{
        const struct image_commit commit = {
                .container_id = "0123456789abcdef", .author = author, .comment = "", .changes = changes
        };
        struct buf out;
        buf_init(&out, 1 << 20);
        assert_ok(config_edit(json, &commit, DIFF_ID, WHEN, &out));
        assert_string_equal(out.bytes, expected);
        buf_done(&out);
        WALK_FAILURES(edit_once(json, &commit));
}

static void without_changes_all_stays_and_a_layer_comes(void **state)
{
        static const struct image_changes none;
        (void) state;
        edit(before, &none, "",
             "{\"architecture\":\"amd64\",\"x-own\":[1,{\"a\":null}],\"author\":\"first\",\"created\":\"" WHEN
             "\","
             "\"config\":{\"Env\":[\"PATH=/"
             "bin\",\"A=1\"],\"Cmd\":[\"sh\"],\"Labels\":{\"k\":\"v\",\"l\":\"w\"},\"Own\":7},"
             "\"rootfs\":{\"type\":\"layers\",\"diff_ids\":[\"sha256:11\",\"" DIFF_ID "\"]},"
             "\"history\":[{\"created_by\":\"x\"},{\"created\":\"" WHEN "\",\"created_by\":\"skiff commit "
             "0123456789ab\"}]}");
}

static void changes_replace_what_has_their_key(void **state)
{
        char *const env[] = { "A=2", "B=3", "B=4", NULL }, *const labels[] = { "k=x=y", "n=", NULL };
        char *const words[] = { "run", NULL }, *const ports[] = { "80/tcp", "80/tcp", NULL };
        const struct image_changes changes = {
                .env = env, .labels = labels, .entrypoint = words, .ports = ports
        };
        (void) state;
        edit(before, &changes, "second",
             "{\"architecture\":\"amd64\",\"x-own\":[1,{\"a\":null}],\"created\":\"" WHEN
             "\",\"author\":\"second\","
             "\"config\":{\"Own\":7,\"Env\":[\"PATH=/bin\",\"A=2\",\"B=4\"],"
             "\"Labels\":{\"l\":\"w\",\"k\":\"x=y\",\"n\":\"\"},\"ExposedPorts\":{\"80/tcp\":{}},"
             "\"Entrypoint\":[\"run\"]},"
             "\"rootfs\":{\"type\":\"layers\",\"diff_ids\":[\"sha256:11\",\"" DIFF_ID "\"]},"
             "\"history\":[{\"created_by\":\"x\"},{\"created\":\"" WHEN "\",\"created_by\":\"skiff commit "
             "0123456789ab\",\"author\":\"second\"}]}");
}

static void a_config_of_nothing_gets_what_it_needs(void **state)
{
        char *const none[] = { NULL };
        const struct image_changes changes = { .cmd = none, .user = "7" };
        (void) state;
        edit("{}", &changes, "",
             "{\"created\":\"" WHEN
             "\",\"config\":{\"Cmd\":[],\"User\":\"7\"},\"rootfs\":{\"type\":\"layers\","
             "\"diff_ids\":[\"" DIFF_ID "\"]},\"history\":[{\"created\":\"" WHEN
             "\",\"created_by\":\"skiff commit "
             "0123456789ab\"}]}");
}

static void what_no_config_can_have_is_refused(void **state)
{
        char *const no_value[] = { "A", NULL }, *const no_key[] = { "=A", NULL },
                    *const here[] = { "here", NULL };
        const struct image_changes bad[] = { { .env = no_value },
                                             { .env = no_key },
                                             { .labels = no_value },
                                             { .volumes = here },
                                             { .working_dir = "here" } };
        struct buf out;
        (void) state;
        buf_init(&out, 1 << 20);
        for (size_t i = 0; i < LENGTH(bad); i++) {
                const struct image_commit commit = {
                        .container_id = "1", .author = "", .comment = "", .changes = &bad[i]
                };
                assert_fails(ERROR_INVALID_ARGUMENT, "\" is not ",
                             config_edit(before, &commit, DIFF_ID, WHEN, &out));
        }
        const struct image_changes fine = { .user = "" };
        const struct image_commit commit = {
                .container_id = "1", .author = "", .comment = "", .changes = &fine
        };
        assert_fails(ERROR_INVALID_ARGUMENT, "the image's config",
                     config_edit("{", &commit, DIFF_ID, WHEN, &out));
        buf_done(&out);
}

static const struct layer_ids ids = { 300000, 65536 }, plain = { 0, 0 };

static void owners_are_those_inside(void **state)
{
        (void) state;
        assert_int_equal(layer_id_of(ids, 300000), 0);
        assert_int_equal(layer_id_of(ids, 365535), 65535);
        assert_int_equal(layer_id_of(ids, 365536), 65534);
        assert_int_equal(layer_id_of(ids, 299999), 65534);
        assert_int_equal(layer_id_of(ids, 0), 0);
        assert_int_equal(layer_id_of(plain, 300000), 300000);
}

static void acls_name_those_inside(void **state)
{
        struct {
                struct posix_acl_xattr_header header;
                struct posix_acl_xattr_entry entries[3];
        } acl = { .header.a_version = POSIX_ACL_XATTR_VERSION,
                  .entries = {
                          { ACL_USER, 7, 300007 }, { ACL_GROUP, 5, 5 }, { ACL_MASK, 7, (uint32_t) -1 } } };
        (void) state;
        assert_int_equal(layer_attribute_of(ids, "system.posix_acl_access", (char *) &acl, sizeof(acl)),
                         sizeof(acl));
        assert_int_equal(acl.entries[0].e_id, 7);
        assert_int_equal(acl.entries[1].e_id, 65534);
        assert_int_equal(acl.entries[2].e_id, (uint32_t) -1);
        assert_int_equal(layer_attribute_of(ids, "system.posix_acl_access", (char *) &acl, 3), 3);
}

static void capabilities_lose_the_root_that_they_were_given_to(void **state)
{
        char third[24] = { 1, 0, 0, 3, 4 }, second[20] = { 1, 0, 0, 2, 4 };
        (void) state;
        assert_int_equal(layer_attribute_of(ids, "security.capability", third, sizeof(third)),
                         sizeof(second));
        assert_memory_equal(third, second, sizeof(second));
        assert_int_equal(layer_attribute_of(ids, "security.capability", second, sizeof(second)),
                         sizeof(second));
        assert_int_equal(layer_attribute_of(ids, "user.x", third, 24), 24);
        assert_int_equal(layer_attribute_of(plain, "security.capability", third, 24), 24);
}

UNIT_MAIN(TEST(without_changes_all_stays_and_a_layer_comes), TEST(changes_replace_what_has_their_key),
          TEST(a_config_of_nothing_gets_what_it_needs), TEST(what_no_config_can_have_is_refused),
          TEST(owners_are_those_inside), TEST(acls_name_those_inside),
          TEST(capabilities_lose_the_root_that_they_were_given_to))
