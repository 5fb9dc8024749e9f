/* Configurations and results as text and files; no plugin runs here. */
#include "base/file.h"
#include "cni/cni.h"
#include "cni/conf.h"
#include "cni/result.h"
#include "tests/unit/unit.h"
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#define VALID "{\"cniVersion\":\"1.0.0\",\"name\":\"%s\",\"plugins\":[{\"type\":\"bridge\"}]}"

static struct error *parse(const char *text)
{
        _cleanup_(json_freep) struct json *list = NULL;
        return conflist_parse(text, strlen(text), &list);
}

static void a_conflist_needs_a_name_and_plugins_with_types(void **state)
{
        (void) state;
        assert_ok(parse("{\"cniVersion\":\"1.0.0\",\"name\":\"a\",\"plugins\":[{\"type\":\"bridge\"}]}"));
        assert_fails(ERROR_INVALID_ARGUMENT, "line 2", parse("{\n\"name\":}"));
        assert_fails(ERROR_INVALID_ARGUMENT, "no object", parse("[]"));
        assert_fails(ERROR_INVALID_ARGUMENT, "\"name\" is missing", parse("{}"));
        assert_fails(ERROR_INVALID_ARGUMENT, "\"name\"", parse("{\"name\":\"../x\",\"plugins\":[]}"));
        assert_fails(ERROR_INVALID_ARGUMENT, "\"plugins\"", parse("{\"name\":\"a\"}"));
        assert_fails(ERROR_INVALID_ARGUMENT, "\"plugins\"", parse("{\"name\":\"a\",\"plugins\":[]}"));
        assert_fails(ERROR_INVALID_ARGUMENT, "plugin 2: \"type\"",
                     parse("{\"name\":\"a\",\"plugins\":[{\"type\":\"x\"},{}]}"));
        assert_fails(ERROR_INVALID_ARGUMENT, "no file name",
                     parse("{\"name\":\"a\",\"plugins\":[{\"type\":\"../../bin/sh\"}]}"));
        assert_fails(ERROR_INVALID_ARGUMENT, "cniVersion \"9.0.0\"",
                     parse("{\"cniVersion\":\"9.0.0\",\"name\":\"a\",\"plugins\":[{\"type\":\"x\"}]}"));
}

static void the_highest_known_version_is_spoken(void **state)
{
        (void) state;
        _cleanup_(json_freep) struct json *list = NULL;
        const char *text =
                "{\"cniVersion\":\"0.4.0\",\"cniVersions\":[\"0.3.1\",\"1.0.0\",\"2.0.0\"],\"name\":\"a\","
                "\"plugins\":[{\"type\":\"x\"}]}";
        assert_ok(conflist_parse(text, strlen(text), &list));
        assert_string_equal(conflist_version(list), "1.0.0");
        assert_true(cni_version_at_least("1.0.0", "0.4.0"));
        assert_false(cni_version_at_least("0.3.1", "0.4.0"));
}

static void a_conf_is_wrapped_into_a_list(void **state)
{
        (void) state;
        _cleanup_(freep) char *wrapped = NULL;
        const char *text = "{\"cniVersion\":\"0.3.1\",\"name\":\"net\",\"type\":\"ptp\",\"mtu\":1400}";
        assert_ok(conf_wrap(text, strlen(text), &wrapped));
        assert_string_equal(wrapped,
                            "{\"cniVersion\":\"0.3.1\",\"name\":\"net\",\"plugins\":["
                            "{\"cniVersion\":\"0.3.1\",\"name\":\"net\",\"type\":\"ptp\",\"mtu\":1400}]}");
        assert_ok(parse(wrapped));
        char *none = NULL;
        assert_fails(ERROR_INVALID_ARGUMENT, ".conflist", conf_wrap("{\"plugins\":[]}", 14, &none));
}

/* --- the directory --- */

/* Writes text, with "%s" in it replaced by network. */
static void put(const char *dir, const char *name, const char *text, const char *network)
{
        _cleanup_(freep) char *path = format_string("%s/%s", dir, name);
        _cleanup_(fclosep) FILE *f = fopen(path, "we");
        assert_non_null(f);
        const char *at = strstr(text, "%s");
        if (at)
                (void) fprintf(f, "%.*s%s%s", (int) (at - text), text, network, at + 2);
        else
                (void) fputs(text, f);
}

static void assert_in_use(struct cni *cni, const char *network)
{
        _cleanup_(freep) char *conflist = NULL;
        assert_ok(cni_ready(cni));
        assert_ok(cni_current(cni, &conflist));
        assert_non_null(strstr(conflist, network));
}

static struct cni *open_dir(const char *dir)
{
        struct cni *cni = NULL;
        struct cni_config config = {
                .conf_dir = dir, .bin_dirs = "/usr/lib/cni", .holder_fd = -1, .ending_holder_fd = -1
        };
        assert_ok(cni_open(&config, &cni));
        return cni;
}

static void a_directory_that_appears_later_is_found(void **state)
{
        _cleanup_(freep) char *dir = format_string("%s/net.d", (char *) *state);
        _cleanup_(cni_freep) struct cni *cni = open_dir(dir);
        assert_fails(ERROR_FAILED_PRECONDITION, "No such file", cni_ready(cni));
        assert_int_equal(mkdir(dir, 0755), 0);
        assert_fails(ERROR_FAILED_PRECONDITION, "no network configuration in", cni_ready(cni));
        put(dir, "10-a.conflist", VALID, "dropped-in");
        assert_in_use(cni, "dropped-in");
}

static void the_first_valid_file_by_name_is_used(void **state)
{
        const char *dir = *state;
        _cleanup_(cni_freep) struct cni *cni = open_dir(dir);
        put(dir, "10-broken.conflist", "{\n\n\"name\": oops}", "");
        assert_fails(ERROR_FAILED_PRECONDITION, "10-broken.conflist: line 3", cni_ready(cni));
        put(dir, "30-c.conflist", VALID, "third");
        assert_in_use(cni, "third");
        put(dir, "20-b.conf", "{\"name\":\"%s\",\"type\":\"ptp\"}", "second");
        assert_in_use(cni, "second");
        put(dir, "05-ignored.conflist.bak", VALID, "ignored");
        assert_in_use(cni, "second");
}

static void renames_changes_and_removals_are_seen(void **state)
{
        const char *dir = *state;
        _cleanup_(cni_freep) struct cni *cni = open_dir(dir);
        _cleanup_(freep) char *from = format_string("%s/new.tmp", dir);
        _cleanup_(freep) char *to = format_string("%s/10-a.conflist", dir);
        put(dir, "new.tmp", VALID, "renamed-in");
        assert_fails(ERROR_FAILED_PRECONDITION, "no network configuration", cni_ready(cni));
        assert_int_equal(rename(from, to), 0);
        assert_in_use(cni, "renamed-in");
        put(dir, "new.tmp", VALID, "another-in");
        assert_int_equal(rename(from, to), 0);
        assert_in_use(cni, "another-in");
        put(dir, "10-a.conflist", "{", "");
        assert_fails(ERROR_FAILED_PRECONDITION, "10-a.conflist: line 1", cni_ready(cni));
        put(dir, "10-a.conflist", VALID, "well-again");
        assert_in_use(cni, "well-again");
        assert_int_equal(unlink(to), 0);
        assert_fails(ERROR_FAILED_PRECONDITION, "no network configuration", cni_ready(cni));
}

static struct error *load_anew(const char *dir)
{
        _cleanup_(cni_freep) struct cni *cni = NULL;
        char *conflist = NULL;
        struct cni_config config = {
                .conf_dir = dir, .bin_dirs = "/usr/lib/cni", .holder_fd = -1, .ending_holder_fd = -1
        };
        TRY(cni_open(&config, &cni));
        struct error *e = cni_current(cni, &conflist);
        free(conflist);
        return e;
}

static void every_way_out_of_a_load_is_clean(void **state)
{
        put(*state, "10-a.conf", "{\"name\":\"%s\",\"type\":\"ptp\"}", "net");
        WALK_FAILURES(load_anew(*state));
}

/* --- results --- */

static void addresses_inside_the_sandbox_are_the_pods(void **state)
{
        (void) state;
        _cleanup_(cni_result_done) struct cni_result result = { 0 };
        assert_ok(cni_result_parse("{\"cniVersion\":\"1.0.0\",\"interfaces\":[{\"name\":\"br0\"},"
                                   "{\"name\":\"eth0\",\"sandbox\":\"/run/netns/x\"}],\"ips\":["
                                   "{\"address\":\"10.1.0.1/16\",\"interface\":0},"
                                   "{\"address\":\"10.1.2.3/16\",\"interface\":1},"
                                   "{\"address\":\"fd00::3/64\"}],\"dns\":{\"nameservers\":[\"10.0.0.10\"],"
                                   "\"search\":[\"a.b\"],\"options\":[\"ndots:5\"]}}",
                                   "eth0", &result));
        assert_string_equal(result.ips[0], "10.1.2.3");
        assert_string_equal(result.ips[1], "fd00::3");
        assert_null(result.ips[2]);
        assert_string_equal(result.dns_nameservers[0], "10.0.0.10");
        assert_string_equal(result.dns_searches[0], "a.b");
        assert_string_equal(result.dns_options[0], "ndots:5");
}

static void old_results_have_their_addresses_elsewhere(void **state)
{
        (void) state;
        _cleanup_(cni_result_done) struct cni_result result = { 0 };
        assert_ok(cni_result_parse("{\"cniVersion\":\"0.2.0\",\"ip4\":{\"ip\":\"10.0.0.2/24\"},"
                                   "\"ip6\":{\"ip\":\"fd00::2/64\"}}",
                                   "eth0", &result));
        assert_string_equal(result.ips[0], "10.0.0.2");
        assert_string_equal(result.ips[1], "fd00::2");
}

static void bad_results_say_what_is_wrong(void **state)
{
        (void) state;
        struct cni_result result;
        assert_fails(ERROR_INVALID_ARGUMENT, "line 1", cni_result_parse("rubbish", "eth0", &result));
        assert_fails(ERROR_INVALID_ARGUMENT, "no object", cni_result_parse("[]", "eth0", &result));
        assert_fails(ERROR_INVALID_ARGUMENT, "no list", cni_result_parse("{\"ips\":1}", "eth0", &result));
        assert_fails(ERROR_INVALID_ARGUMENT, "\"address\" is missing",
                     cni_result_parse("{\"ips\":[{}]}", "eth0", &result));
        assert_fails(ERROR_INVALID_ARGUMENT, "no IP address",
                     cni_result_parse("{\"ips\":[{\"address\":\"10.0.0.300/8\"}]}", "eth0", &result));
        assert_fails(
                ERROR_INVALID_ARGUMENT, "no name",
                cni_result_parse("{\"dns\":{\"search\":[\"a\\nnameserver 6.6.6.6\"]}}", "eth0", &result));
}

static void netns_names_stay_in_their_directory(void **state)
{
        (void) state;
        assert_fails(ERROR_INVALID_ARGUMENT, "no name", netns_pin(-1, "../../etc/passwd"));
        assert_fails(ERROR_INVALID_ARGUMENT, "no name", netns_unpin(".."));
        assert_fails(ERROR_INVALID_ARGUMENT, "no name", netns_unpin(""));
}

/* Beside the pod's own interface a plugin may make others, and bridges and the host's ends are told too. */
static void the_addresses_are_those_of_the_pods_interface(void **state)
{
        (void) state;
        struct cni_result result;
        assert_ok(cni_result_parse(
                "{\"interfaces\":[{\"name\":\"eth0\"},{\"name\":\"net1\",\"sandbox\":\"/n\"},{\"name\":"
                "\"eth0\",\"sandbox\":\"/n\"}],\"ips\":[{\"interface\":1,\"address\":\"192.168.0.9/24\"},"
                "{\"interface\":0,\"address\":\"10.0.0.1/24\"},{\"interface\":2,\"address\":\"fd00::2/64\"},"
                "{\"interface\":2,\"address\":\"10.0.0.2/24\"}]}",
                "eth0", &result));
        assert_string_equal(result.ips[0], "fd00::2");
        assert_string_equal(result.ips[1], "10.0.0.2");
        assert_null(result.ips[2]);
        cni_result_done(&result);
        /* A plugin that calls it otherwise is taken at its word. */
        assert_ok(cni_result_parse(
                "{\"interfaces\":[{\"name\":\"br0\"},{\"name\":\"ens1\",\"sandbox\":\"/n\"}],"
                "\"ips\":[{\"interface\":1,\"address\":\"10.0.0.2/24\"}]}",
                "eth0", &result));
        assert_string_equal(result.ips[0], "10.0.0.2");
        cni_result_done(&result);
}

static void bandwidth_is_read_as_kubernetes_writes_it(void **state)
{
        (void) state;
        static const struct {
                const char *text;
                unsigned long long rate;
        } good[] = { { "1k", 1000 },
                     { "1000", 1000 },
                     { "10M", 10000000 },
                     { "1.5Mi", 1572864 },
                     { "1Gi", 1073741824 },
                     { "1e6", 1000000 },
                     { "1E3", 1000 },
                     { "+2k", 2000 },
                     { "1000500m", 1001 },
                     { "0.000001P", 1000000000 },
                     { "1P", 1000000000000000 },
                     { ".5M", 500000 },
                     { "000000000000000000000002k", 2000 },
                     { "1000000000000n", 1000 } };
        static const char *const bad[] = { "",
                                           "fast",
                                           "1kk",
                                           "1 M",
                                           "-1M",
                                           "1..5M",
                                           "1e",
                                           "1e400",
                                           "Mi",
                                           "0x10",
                                           "1K",
                                           "1\n",
                                           "12345678901234567890",
                                           "1E6x",
                                           "M" };
        static const char *const far[] = { "0",    "999", "0.9k", "1001T", "1E", "1Ei", "999999999999999999E",
                                           "1e18", "1n" };
        for (size_t i = 0; i < LENGTH(good); i++) {
                _cleanup_(freep) char *json = NULL, *want = NULL;
                assert_ok(cni_bandwidth(good[i].text, NULL, &json));
                want = format_string("{\"ingressRate\":%llu,\"ingressBurst\":4294967295}", good[i].rate);
                assert_string_equal(json, want);
        }
        char *json = NULL;
        for (size_t i = 0; i < LENGTH(bad); i++)
                assert_fails(ERROR_INVALID_ARGUMENT, "egress bandwidth", cni_bandwidth(NULL, bad[i], &json));
        for (size_t i = 0; i < LENGTH(far); i++)
                assert_fails(ERROR_INVALID_ARGUMENT, "is not from 1k to 1P",
                             cni_bandwidth(NULL, far[i], &json));
        assert_ok(cni_bandwidth(NULL, NULL, &json));
        assert_null(json);
        assert_ok(cni_bandwidth("1M", "2M", &json));
        assert_string_equal(json,
                            "{\"ingressRate\":1000000,\"ingressBurst\":4294967295,\"egressRate\":2000000,"
                            "\"egressBurst\":4294967295}");
        free(json);
}

UNIT_MAIN(TEST(the_addresses_are_those_of_the_pods_interface),
          TEST(bandwidth_is_read_as_kubernetes_writes_it),
          TEST(a_conflist_needs_a_name_and_plugins_with_types), TEST(the_highest_known_version_is_spoken),
          TEST(a_conf_is_wrapped_into_a_list), IN_TMPDIR(a_directory_that_appears_later_is_found),
          IN_TMPDIR(the_first_valid_file_by_name_is_used), IN_TMPDIR(renames_changes_and_removals_are_seen),
          IN_TMPDIR(every_way_out_of_a_load_is_clean), TEST(addresses_inside_the_sandbox_are_the_pods),
          TEST(old_results_have_their_addresses_elsewhere), TEST(bad_results_say_what_is_wrong),
          TEST(netns_names_stay_in_their_directory))
