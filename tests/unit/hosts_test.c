/* hosts.toml to endpoints, and what holds where it says nothing. */
#include "images/hosts.h"
#include "images/loopback.h"
#include "images/pull_protocol.h"
#include "tests/unit/unit.h"
#include <fcntl.h>
#include <sys/stat.h>

#define ALL (PULL_ENDPOINT_RESOLVE | PULL_ENDPOINT_PULL)

static struct hosts parse(const char *text)
{
        struct hosts hosts;
        assert_ok(hosts_parse(text, strlen(text), "/nonexistent", "registry.example:5000", &hosts));
        return hosts;
}

static void put(const char *root, const char *dir, const char *name, const char *text)
{
        _cleanup_(freep) char *in = format_string("%s/%s", root, dir),
                              *path = format_string("%s/%s/%s", root, dir, name);
        (void) mkdir(in, 0755);
        _cleanup_(closep) int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
        assert_int_equal(write(fd, text, strlen(text)), strlen(text));
}

static void a_host_may_be_written_in_many_ways(void **state)
{
        static const struct {
                const char *written, *meant;
        } urls[] = {
                { "mirror", "https://mirror/v2" },
                { "mirror:5000", "https://mirror:5000/v2" },
                { "http://mirror", "http://mirror/v2" },
                { "HTTPS://mirror/", "https://mirror/v2" },
                { "https://mirror/v2", "https://mirror/v2" },
                { "https://mirror/v2/", "https://mirror/v2" },
                { "https://mirror/a//b/./c/../", "https://mirror/a/b/v2" },
                { "https://mirror/../../a", "https://mirror/a/v2" },
                { "https://name:word@mirror/a?b#c", "https://mirror/a/v2" },
                { "https://[::1]:5000/v2", "https://[::1]:5000/v2" },
        };
        (void) state;
        for (size_t i = 0; i < LENGTH(urls); i++) {
                _cleanup_(freep) char *text = format_string("server = \"%s\"\n", urls[i].written);
                struct hosts hosts = parse(text);
                assert_int_equal(hosts.n, 1);
                assert_string_equal(hosts.endpoints[0].url, urls[i].meant);
                hosts_done(&hosts);
        }
        struct hosts hosts = parse("server = \"https://mirror/api/\"\noverride_path = true\n");
        assert_string_equal(hosts.endpoints[0].url, "https://mirror/api");
        hosts_done(&hosts);
}

static void hosts_come_in_the_files_order_and_the_server_last(void **state)
{
        (void) state;
        struct hosts hosts = parse("server = \"z\"\n[host.\"https://b\"]\ncapabilities = [\"PULL\"]\n"
                                   "dial_timeout = \"1m0.5s\"\n"
                                   "[host.\"https://a\"]\nproxy = \"\"\ndial_timeout = \"-5s\"\n"
                                   "[host.\"https://a\".header]\nx = [\"1\", \"2\"]\n");
        assert_int_equal(hosts.n, 3);
        assert_string_equal(hosts.endpoints[0].url, "https://b/v2");
        assert_int_equal(hosts.endpoints[0].flags, PULL_ENDPOINT_PULL);
        assert_int_equal(hosts.endpoints[0].dial_timeout_ms, 60500);
        assert_string_equal(hosts.endpoints[1].url, "https://a/v2");
        assert_string_equal(hosts.endpoints[1].headers, "x: 1\nx: 2\n");
        assert_string_equal(hosts.endpoints[1].proxy, "-");
        assert_int_equal(hosts.endpoints[1].dial_timeout_ms, 0);
        assert_string_equal(hosts.endpoints[2].url, "https://z/v2");
        assert_int_equal(hosts.endpoints[2].flags, ALL | PULL_ENDPOINT_CREDENTIALS);
        hosts_done(&hosts);
        hosts = parse("server = \"https://z\"\n[host.\"https://z\"]\n[host.\"https://a\"]\n"); /* z once */
        assert_int_equal(hosts.n, 2);
        assert_string_equal(hosts.endpoints[0].url, "https://z/v2");
        assert_int_equal(hosts.endpoints[0].flags, ALL | PULL_ENDPOINT_CREDENTIALS);
        assert_null(hosts.warnings);
        hosts_done(&hosts);
}

static void what_is_not_known_is_passed_over_with_its_line(void **state)
{
        (void) state;
        struct hosts hosts = parse("server = \"a\"\nlater = 1\ncapabilities = [\"resolve\", \"sign\"]\n");
        assert_int_equal(hosts.endpoints[0].flags, PULL_ENDPOINT_RESOLVE | PULL_ENDPOINT_CREDENTIALS);
        assert_non_null(strstr(hosts.warnings[0], "line 2: key \"later\""));
        assert_non_null(strstr(hosts.warnings[1], "line 3: capability \"sign\""));
        assert_null(hosts.warnings[2]);
        hosts_done(&hosts);
}

static void nonsense_is_refused_with_its_line(void **state)
{
        static const char *const texts[] = {
                "\nserver = 1\n",
                "\nserver = \"ftp://a\"\n",
                "\nserver = \"https:// a\"\n",
                "\nserver = \"https:///v2\"\n",
                "\ndial_timeout = \"1 s\"\n",
                "\ndial_timeout = \"1\"\n",
                "\nskip_verify = \"yes\"\n",
                "\nca = \"absent.pem\"\n",
                "\nclient = [[\"a\", \"b\", \"c\"]]\n",
                "\nheader = { \"a b\" = \"c\" }\n",
                "\nheader = { a = \"c\\r\\nd: e\" }\n",
                "\nhost = 3\n",
                "\nno toml\n",
        };
        (void) state;
        for (size_t i = 0; i < LENGTH(texts); i++) {
                struct hosts hosts = { NULL, 0, NULL };
                struct error *e = hosts_parse(texts[i], strlen(texts[i]), "/nonexistent", "a", &hosts);
                if (!e || !strstr(error_message(e), "line 2"))
                        fail_msg("%s: %s", texts[i], e ? error_message(e) : "taken");
                error_free(e);
                assert_int_equal(hosts.n, 0);
        }
}

static void the_loopback_is_spoken_to_in_what_it_speaks(void **state)
{
        static const struct {
                const char *domain, *url;
                unsigned flags;
        } registries[] = {
                { "docker.io", "https://registry-1.docker.io/v2", 0 },
                { "a.example", "https://a.example/v2", 0 },
                { "127.0.0.2:5000", "http://127.0.0.2:5000/v2",
                  PULL_ENDPOINT_EITHER_SCHEME | PULL_ENDPOINT_SKIP_VERIFY },
                { "[::1]:5000", "http://[::1]:5000/v2",
                  PULL_ENDPOINT_EITHER_SCHEME | PULL_ENDPOINT_SKIP_VERIFY },
                { "localhost", "https://localhost/v2", PULL_ENDPOINT_SKIP_VERIFY },
                { "localhost:443", "https://localhost:443/v2", PULL_ENDPOINT_SKIP_VERIFY },
                { "localhost:80", "http://localhost:80/v2", 0 },
                { "127.example:5000", "https://127.example:5000/v2", 0 },
        };
        (void) state;
        for (size_t i = 0; i < LENGTH(registries); i++) {
                struct hosts hosts;
                assert_ok(hosts_load("", registries[i].domain, &hosts));
                assert_int_equal(hosts.n, 1);
                assert_string_equal(hosts.endpoints[0].url, registries[i].url);
                assert_int_equal(hosts.endpoints[0].flags,
                                 registries[i].flags | ALL | PULL_ENDPOINT_CREDENTIALS);
                hosts_done(&hosts);
        }
        assert_true(is_loopback("LocalHost"));
        assert_false(is_loopback("128.0.0.1"));
}

static void http_with_settings_for_tls_begins_with_https(void **state)
{
        (void) state;
        struct hosts hosts = parse("[host.\"http://a:5000\"]\nskip_verify = false\n[host.\"http://b:80\"]\n"
                                   "skip_verify = true\n[host.\"http://c\"]\n");
        assert_string_equal(hosts.endpoints[0].url, "https://a:5000/v2");
        assert_int_equal(hosts.endpoints[0].flags, ALL | PULL_ENDPOINT_EITHER_SCHEME);
        assert_string_equal(hosts.endpoints[1].url, "http://b:80/v2");
        assert_string_equal(hosts.endpoints[2].url, "http://c/v2");
        assert_int_equal(hosts.endpoints[2].flags, ALL);
        hosts_done(&hosts);
}

/* The first directory that has anything counts, its default too. */
static void directories_are_looked_through_in_order(void **dir)
{
        struct hosts hosts;
        const char *in = *dir;
        _cleanup_(freep) char *first = format_string("%s/first", in),
                              *second = format_string("%s/second", in),
                              *dirs = format_string("%s:%s", first, second);
        assert_int_equal(mkdir(first, 0755) + mkdir(second, 0755), 0);
        put(second, "a:5000", "hosts.toml", "server = \"colon\"\n");
        assert_ok(hosts_load(dirs, "a:5000", &hosts));
        assert_string_equal(hosts.endpoints[0].url, "https://colon/v2");
        hosts_done(&hosts);
        put(second, "a_5000_", "hosts.toml", "server = \"line\"\nodd = 1\n");
        assert_ok(hosts_load(dirs, "a:5000", &hosts));
        assert_string_equal(hosts.endpoints[0].url, "https://line/v2");
        assert_non_null(strstr(hosts.warnings[0], "second/a_5000_/hosts.toml: line 2"));
        hosts_done(&hosts);
        put(first, "_default", "hosts.toml", "server = \"default\"\n");
        assert_ok(hosts_load(dirs, "a:5000", &hosts));
        assert_string_equal(hosts.endpoints[0].url, "https://default/v2");
        hosts_done(&hosts);
        put(first, "_default", "hosts.toml", "");
        put(first, "_default", "x.crt", "authority");
        put(first, "_default", "me.cert", "certificate");
        put(first, "_default", "me.key", "key");
        put(first, "_default", "other.cert", "another");
        assert_ok(hosts_load(dirs, "a:5000", &hosts));
        assert_string_equal(hosts.endpoints[0].url, "https://a:5000/v2");
        assert_string_equal(hosts.endpoints[0].ca_pem, "authority\n");
        assert_string_equal(hosts.endpoints[0].cert_pem, "certificate\n");
        assert_string_equal(hosts.endpoints[0].key_pem, "key\n");
        assert_non_null(strstr(hosts.warnings[0], "other.cert"));
        hosts_done(&hosts);
        put(first, "_default", "hosts.toml", "server = [");
        assert_fails(ERROR_FAILED_PRECONDITION, "first/_default/hosts.toml", hosts_load(dirs, "b", &hosts));
}

UNIT_MAIN(TEST(a_host_may_be_written_in_many_ways), TEST(hosts_come_in_the_files_order_and_the_server_last),
          TEST(what_is_not_known_is_passed_over_with_its_line), TEST(nonsense_is_refused_with_its_line),
          TEST(the_loopback_is_spoken_to_in_what_it_speaks),
          TEST(http_with_settings_for_tls_begins_with_https),
          IN_TMPDIR(directories_are_looked_through_in_order))
