/* Debian's own plugins (bridge, host-local, portmap), and small shell scripts that fail, hang or print rubbish. All of it
 * runs in a network and a mount namespace of the test's own with a tmpfs on /run; leases lie in the test's directory.
 * Needs root. */
#include "base/clock.h"
#include "cni/cni.h"
#include "tests/unit/unit.h"
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>

#define PLUGINS "/usr/lib/cni"

/* --- what tests share --- */

static void *unshare_main(void *argument)
{
        if (unshare(CLONE_NEWNET) == 0)
                *(int *) argument = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
        return NULL;
}

/* A new network namespace that its descriptor alone keeps. */
static int new_netns(void)
{
        int fd = -1;
        pthread_t thread;
        assert_int_equal(pthread_create(&thread, NULL, unshare_main, &fd), 0);
        (void) pthread_join(thread, NULL);
        assert_true(fd >= 0);
        return fd;
}

static char *output_of(const char *command)
{
        static char text[65536];
        FILE *f = popen(command, "re");
        assert_non_null(f);
        size_t len = fread(text, 1, sizeof(text) - 1, f);
        text[len] = '\0';
        (void) pclose(f);
        return text;
}

static char *file_text(const char *dir, const char *name)
{
        _cleanup_(freep) char *command = format_string("cat %s/%s 2>/dev/null", dir, name);
        return output_of(command);
}

/* Runs it; %s is the directory, twice at most. */
static void run_with(const char *dir, const char *format)
{
        char command[1024];
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
        (void) snprintf(command, sizeof(command), format, dir, dir);
#pragma GCC diagnostic pop
        (void) output_of(command);
}

static void conflist_write(const char *dir, const char *text)
{
        _cleanup_(freep) char *path = format_string("%s/10.conflist", dir);
        FILE *f = fopen(path, "we");
        assert_non_null(f);
        (void) fputs(text, f);
        (void) fclose(f);
}

static void script(const char *dir, const char *name, const char *body)
{
        _cleanup_(freep) char *path = format_string("%s/%s", dir, name);
        FILE *f = fopen(path, "we");
        assert_non_null(f);
        (void) fprintf(f, "#!/bin/sh\ncd %s\n%s\n", dir, body);
        (void) fclose(f);
        assert_int_equal(chmod(path, 0755), 0);
}

struct net {
        struct cni *cni;
        char *bin_dirs, *conflist;
        struct cni_attachment attachment;
        int netns_fd;
};

/* A list with the plugins' JSON, and an attachment of a new namespace, pinned as "skiff-test". */
static void net_open(struct net *net, const char *dir, const char *plugins)
{
        *net = (struct net){ .netns_fd = new_netns() };
        net->bin_dirs = format_string("%s:%s", dir, PLUGINS);
        net->conflist =
                format_string("{\"cniVersion\":\"1.0.0\",\"name\":\"testnet\",\"plugins\":[%s]}", plugins);
        struct cni_config config = {
                .conf_dir = dir, .bin_dirs = net->bin_dirs, .holder_fd = -1, .ending_holder_fd = -1
        };
        assert_ok(cni_open(&config, &net->cni));
        assert_ok(netns_pin(net->netns_fd, "skiff-test"));
        net->attachment = (struct cni_attachment){ .conflist = net->conflist,
                                                   .container_id = "0123abcd",
                                                   .netns_path = "/run/netns/skiff-test",
                                                   .ifname = "eth0",
                                                   .pod_name = "web",
                                                   .pod_namespace = "default",
                                                   .pod_uid = "u-1" };
}

static void net_close(struct net *net)
{
        assert_ok(netns_unpin("skiff-test"));
        cni_free(net->cni);
        free(net->bin_dirs);
        free(net->conflist);
        closep(&net->netns_fd);
}

static struct error *add(struct net *net, int64_t timeout_ms)
{
        struct wait wait = wait_of_ms(timeout_ms);
        struct cni_result result = { 0 };
        struct error *e = cni_add(net->cni, &net->attachment, &wait, &result);
        cni_result_done(&result);
        return e;
}

static struct error *del(struct net *net)
{
        struct wait wait = wait_of_ms(20000);
        return cni_del(net->cni, &net->attachment, &wait);
}

#define PASS_ON                                                                                              \
        "cat > $CNI_COMMAND.in; env | sort > $CNI_COMMAND.env; printf "                                      \
        "'{\"cniVersion\":\"1.0.0\",\"ips\":[]}'"

/* --- Debian's plugins --- */

static char *bridge_plugins(const char *dir)
{
        return format_string(
                "{\"type\":\"bridge\",\"bridge\":\"sktest0\",\"isGateway\":true,\"ipam\":{\"type\":"
                "\"host-local\",\"dataDir\":\"%s/leases\",\"ranges\":[[{\"subnet\":\"10.231.0.0/24\"}]]}},"
                "{\"type\":\"portmap\",\"capabilities\":{\"portMappings\":true}}",
                dir);
}

static void assert_no_lease(const char *dir)
{
        _cleanup_(freep) char *command = format_string("ls %s/leases/testnet | grep ^10", dir);
        assert_string_equal(output_of(command), "");
}

static void bridge_host_local_and_portmap_attach_and_detach(void **state)
{
        const char *dir = *state;
        struct net net;
        _cleanup_(freep) char *plugins = bridge_plugins(dir);
        net_open(&net, dir, plugins);
        const struct cni_port port = { "tcp", 80, 18080, "" };
        net.attachment.ports = &port;
        net.attachment.n_ports = 1;
        struct wait wait = wait_of_ms(60000);
        _cleanup_(cni_result_done) struct cni_result result = { 0 };
        assert_ok(cni_add(net.cni, &net.attachment, &wait, &result));
        assert_string_equal(result.ips[0], "10.231.0.2");
        assert_null(result.ips[1]);
        assert_non_null(strstr(output_of("ip -n skiff-test -o addr show eth0"), "10.231.0.2/24"));
        assert_non_null(strstr(output_of("iptables-save -t nat; nft list ruleset 2>/dev/null"), "18080"));
        net.attachment.prev_result = result.json;
        assert_ok(del(&net));
        assert_string_equal(output_of("ip -n skiff-test -o addr show eth0 2>/dev/null"), "");
        assert_null(strstr(output_of("iptables-save -t nat; nft list ruleset 2>/dev/null"), "18080"));
        assert_no_lease(dir);
        assert_ok(del(&net));
        struct cni_result again;
        assert_ok(cni_result_parse(result.json, "eth0", &again));
        assert_string_equal(again.ips[0], "10.231.0.2");
        cni_result_done(&again);
        net.attachment.prev_result = NULL;
        net_close(&net);
}

/* Without ports: Debian's portmap fails a CHECK of a pod with ports and no IPv6 address. */
static void check_says_whether_the_attachment_is_as_it_was(void **state)
{
        struct net net;
        _cleanup_(freep) char *plugins = bridge_plugins(*state);
        net_open(&net, *state, plugins);
        struct wait wait = wait_of_ms(60000);
        _cleanup_(cni_result_done) struct cni_result result = { 0 };
        assert_ok(cni_add(net.cni, &net.attachment, &wait, &result));
        net.attachment.prev_result = result.json;
        assert_ok(cni_check(net.cni, &net.attachment, &wait));
        assert_string_equal(output_of("ip -n skiff-test addr flush dev eth0 2>&1"), "");
        assert_fails(ERROR_INTERNAL, "plugin bridge: CHECK", cni_check(net.cni, &net.attachment, &wait));
        assert_ok(del(&net));
        assert_no_lease(*state);
        net.attachment.prev_result = NULL;
        net_close(&net);
}

static void del_gives_the_lease_back_when_the_namespace_is_gone(void **state)
{
        struct net net;
        _cleanup_(freep) char *plugins = bridge_plugins(*state);
        net_open(&net, *state, plugins);
        assert_ok(add(&net, 60000));
        assert_ok(netns_unpin("skiff-test"));
        assert_ok(del(&net)); /* the path is gone */
        assert_no_lease(*state);
        net.attachment.netns_path = "";
        assert_ok(del(&net));
        net_close(&net);
}

static void a_failure_later_in_the_list_undoes_what_was_added(void **state)
{
        struct net net;
        _cleanup_(freep) char *bridge = bridge_plugins(*state);
        _cleanup_(freep) char *plugins = format_string("%s,{\"type\":\"failing\"}", bridge);
        script(*state, "failing",
               "cat > /dev/null; test $CNI_COMMAND = DEL && exit 0\n"
               "printf '{\"cniVersion\":\"1.0.0\",\"code\":7,\"msg\":\"no such VLAN\",\"details\":\"trunk "
               "4\"}'; exit 1");
        net_open(&net, *state, plugins);
        assert_fails(ERROR_INTERNAL, "plugin failing: ADD: no such VLAN; trunk 4 (code 7)", add(&net, 60000));
        assert_no_lease(*state);
        assert_string_equal(output_of("ip -n skiff-test -o addr show eth0 2>/dev/null"), "");
        net_close(&net);
}

/* --- what plugins are given --- */

static void plugins_get_what_the_specification_says(void **state)
{
        const char *dir = *state;
        struct net net;
        script(dir, "recorder", PASS_ON);
        net_open(&net, dir,
                 "{\"type\":\"recorder\",\"mtu\":1400,\"capabilities\":{\"portMappings\":true,\"dns\":true,"
                 "\"cgroupPath\":true,\"bandwidth\":true,\"io.kubernetes.cri.pod-annotations\":true}}");
        const struct cni_port ports[] = { { "tcp", 80, 8080, "127.0.0.1" }, { "udp", 53, 53, NULL } };
        const char *const servers[] = { "10.0.0.10", NULL }, *const searches[] = { "a.b", NULL };
        net.attachment.ports = ports;
        net.attachment.n_ports = 2;
        net.attachment.dns_servers = servers;
        net.attachment.dns_searches = searches;
        net.attachment.cgroup_parent = "/kubepods/pod1";
        net.attachment.bandwidth_json = "{\"ingressRate\":1000}";
        const struct cni_annotation annotations[] = { { "k8s.v1.cni.cncf.io/networks", "[{\"name\":\"a\"}]" },
                                                      { "b", "" } };
        net.attachment.annotations = annotations;
        net.attachment.n_annotations = 2;
        assert_ok(add(&net, 20000));
        assert_string_equal(file_text(dir, "ADD.in"),
                            "{\"cniVersion\":\"1.0.0\",\"name\":\"testnet\",\"type\":\"recorder\",\"mtu\":"
                            "1400,\"runtimeConfig\":{"
                            "\"portMappings\":[{\"hostPort\":8080,\"containerPort\":80,\"protocol\":\"tcp\","
                            "\"hostIP\":\"127.0.0.1\"},"
                            "{\"hostPort\":53,\"containerPort\":53,\"protocol\":\"udp\"}],"
                            "\"dns\":{\"servers\":[\"10.0.0.10\"],\"searches\":[\"a.b\"],\"options\":[]},"
                            "\"cgroupPath\":\"/kubepods/pod1\",\"bandwidth\":{\"ingressRate\":1000},"
                            "\"io.kubernetes.cri.pod-annotations\":{\"k8s.v1.cni.cncf.io/networks\":"
                            "\"[{\\\"name\\\":\\\"a\\\"}]\",\"b\":\"\"}}}");
        const char *env = file_text(dir, "ADD.env");
        assert_non_null(strstr(env, "CNI_ARGS=IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=web;"
                                    "K8S_POD_INFRA_CONTAINER_ID=0123abcd;K8S_POD_UID=u-1\n"));
        assert_non_null(strstr(env, "CNI_COMMAND=ADD\n"));
        assert_non_null(strstr(env, "CNI_CONTAINERID=0123abcd\n"));
        assert_non_null(strstr(env, "CNI_IFNAME=eth0\n"));
        assert_non_null(strstr(env, "CNI_NETNS=/run/netns/skiff-test\n"));
        assert_non_null(strstr(env, "CNI_PATH=/"));
        net_close(&net);
}

static void what_is_not_declared_is_not_given(void **state)
{
        struct net net;
        script(*state, "recorder", PASS_ON);
        net_open(&net, *state, "{\"type\":\"recorder\",\"capabilities\":{\"dns\":false}}");
        const struct cni_port port = { "tcp", 80, 8080, NULL };
        const char *const servers[] = { "10.0.0.10", NULL };
        net.attachment.ports = &port;
        net.attachment.n_ports = 1;
        net.attachment.dns_servers = servers;
        assert_ok(add(&net, 20000));
        assert_string_equal(file_text(*state, "ADD.in"),
                            "{\"cniVersion\":\"1.0.0\",\"name\":\"testnet\",\"type\":\"recorder\"}");
        net.attachment.pod_name = "web;CNI_ARGS=evil";
        assert_fails(ERROR_INVALID_ARGUMENT, "';'", add(&net, 20000));
        net_close(&net);
}

static void results_go_from_plugin_to_plugin_and_to_del(void **state)
{
        struct net net;
        script(*state, "first",
               "echo first-$CNI_COMMAND >> order; cat > first-$CNI_COMMAND.in\n"
               "printf "
               "'{\"cniVersion\":\"1.0.0\",\"ips\":[{\"address\":\"10.9.9.9/"
               "24\"}],\"big\":12345678901234567890}'");
        script(*state, "second",
               "echo second-$CNI_COMMAND >> order; cat > second-$CNI_COMMAND.in\n"
               "sed 's/.*\"prevResult\"://; s/}$//' second-$CNI_COMMAND.in");
        net_open(&net, *state, "{\"type\":\"first\"},{\"type\":\"second\"}");
        struct wait wait = wait_of_ms(20000);
        _cleanup_(cni_result_done) struct cni_result result = { 0 };
        assert_ok(cni_add(net.cni, &net.attachment, &wait, &result));
        assert_string_equal(result.ips[0], "10.9.9.9");
        assert_null(strstr(file_text(*state, "first-ADD.in"), "prevResult"));
        assert_non_null(strstr(file_text(*state, "second-ADD.in"),
                               ",\"prevResult\":{\"cniVersion\":\"1.0.0\",\"ips\":["
                               "{\"address\":\"10.9.9.9/24\"}],"
                               "\"big\":12345678901234567890}}"));
        net.attachment.prev_result = result.json;
        assert_ok(del(&net));
        assert_non_null(strstr(file_text(*state, "first-DEL.in"), "12345678901234567890"));
        assert_string_equal(file_text(*state, "order"), "first-ADD\nsecond-ADD\nsecond-DEL\nfirst-DEL\n");
        net.attachment.prev_result = NULL;
        net_close(&net);
}

static void plugins_inherit_the_holder_and_nothing_else(void **state)
{
        struct net net;
        script(*state, "fds", "cat > /dev/null; ls -l /proc/$$/fd > fds.out; printf '{}'");
        net_open(&net, *state, "{\"type\":\"fds\"}");
        cni_free(net.cni);
        _cleanup_(freep) char *path = format_string("%s/holder", (char *) *state);
        _cleanup_(closep) int holder = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
        _cleanup_(closep) int leak =
                open("/etc/passwd", O_RDONLY); // NOLINT: without CLOEXEC, that is the point
        struct cni_config config = {
                .conf_dir = *state, .bin_dirs = net.bin_dirs, .holder_fd = holder, .ending_holder_fd = -1
        };
        assert_ok(cni_open(&config, &net.cni));
        assert_ok(add(&net, 20000));
        assert_true(leak >= 0);
        const char *fds = file_text(*state, "fds.out");
        assert_non_null(strstr(fds, "3 -> "));
        assert_non_null(strstr(fds, "/holder"));
        assert_null(strstr(fds, "/etc/passwd"));
        net_close(&net);
}

/* --- plugins that misbehave --- */

static void assert_add_fails(const char *dir, const char *body, enum error_code code, const char *text)
{
        struct net net;
        script(dir, "bad", body);
        net_open(&net, dir, "{\"type\":\"bad\"}");
        assert_fails(code, text, add(&net, 20000));
        net_close(&net);
}

static void a_plugins_own_words_are_told(void **state)
{
        assert_add_fails(*state, "printf rubbish", ERROR_INTERNAL, "plugin bad: ADD: bad result: line 1");
        assert_add_fails(*state, "true", ERROR_INTERNAL, "it printed no result");
        assert_add_fails(*state, "printf '{\"ips\":[{\"address\":\"x\"}]}'", ERROR_INTERNAL,
                         "\"x\" is no IP address");
        assert_add_fails(*state, "echo broken pipe dream >&2; exit 3", ERROR_INTERNAL,
                         "plugin bad: ADD: exit code 3: broken pipe dream");
        assert_add_fails(*state, "printf '{\"code\":11,\"msg\":\"busy\"}'; exit 1", ERROR_UNAVAILABLE,
                         "busy (code 11)");
        assert_add_fails(*state, "printf '{\"code\":5,\"msg\":\"io\"}'; echo disk on fire >&2; exit 1",
                         ERROR_INTERNAL, "io (code 5); stderr: disk on fire");
        assert_add_fails(*state, "exit 1", ERROR_INTERNAL, "it said nothing");
        assert_add_fails(*state, "kill -SEGV $$", ERROR_INTERNAL, "killed by signal 11");
        assert_add_fails(*state, "yes", ERROR_RESOURCE_EXHAUSTED, "more than");
}

static void a_plugin_that_is_not_there_is_named(void **state)
{
        struct net net;
        net_open(&net, *state, "{\"type\":\"missing\"}");
        assert_fails(ERROR_FAILED_PRECONDITION, "plugin missing: there is no such program in /",
                     add(&net, 20000));
        assert_fails(ERROR_FAILED_PRECONDITION, "plugin missing", del(&net));
        net_close(&net);
}

static void a_hang_ends_at_the_deadline_with_all_that_it_started(void **state)
{
        struct net net;
        script(*state, "slow", "test $CNI_COMMAND = DEL && exit 0\nsleep 4321 & echo $! > child; sleep 4321");
        net_open(&net, *state, "{\"type\":\"slow\"}");
        int64_t started_ns = clock_monotonic_ns();
        assert_fails(ERROR_DEADLINE_EXCEEDED, "plugin slow: ADD", add(&net, 300));
        assert_true(clock_monotonic_ns() - started_ns < 5000000000);
        int child = atoi(file_text(*state, "child"));
        assert_true(child > 1);
        /* SIGKILL was sent; init reaps it in its own time. */
        for (int i = 0; i < 200 && kill(child, 0) == 0; i++) {
                _cleanup_(freep) char *path =
                        format_string("grep -c 'State:.Z' /proc/%d/status 2>/dev/null", child);
                if (output_of(path)[0] == '1')
                        break;
                (void) usleep(10000);
        }
        _cleanup_(freep) char *alive = format_string("grep 'State:.[SR]' /proc/%d/status 2>/dev/null", child);
        assert_string_equal(output_of(alive), "");
        net_close(&net);
}

static void a_del_that_fails_does_not_keep_the_others_from_it(void **state)
{
        struct net net;
        script(*state, "good", "cat >/dev/null; echo good >> deleted; printf '{}'");
        script(*state, "bad",
               "cat >/dev/null; test $CNI_COMMAND = ADD && printf '{}' && exit 0; echo no >&2; exit 1");
        net_open(&net, *state, "{\"type\":\"good\"},{\"type\":\"bad\"},{\"type\":\"good\"}");
        assert_ok(add(&net, 20000));
        (void) output_of("true");
        assert_fails(ERROR_INTERNAL, "plugin bad: DEL: exit code 1: no", del(&net));
        assert_string_equal(file_text(*state, "deleted"), "good\ngood\ngood\ngood\n");
        net_close(&net);
}

static void ready_is_what_the_plugins_say(void **state)
{
        const char *dir = *state;
        struct net net;
        script(dir, "teller",
               "cat > $CNI_COMMAND.in; env | sort > $CNI_COMMAND.env; echo $CNI_COMMAND >> asked; cat "
               "answer; test ! -s answer");
        script(dir, "write", "printf '%s' \"$1\" > answer");
        net_open(&net, dir, "{\"type\":\"teller\",\"capabilities\":{\"dns\":true}}");
        conflist_write(dir, "{\"cniVersion\":\"1.1.0\",\"name\":\"n\",\"plugins\":[{\"type\":\"teller\"}]}");
        _cleanup_(freep) char *no = format_string(
                "%s/write '{\"cniVersion\":\"1.1.0\",\"code\":50,\"msg\":\"no route to the fabric\"}'", dir);
        (void) output_of(no);
        assert_fails(ERROR_FAILED_PRECONDITION, "plugin teller: STATUS: no route to the fabric (code 50)",
                     cni_ready(net.cni));
        assert_string_equal(file_text(dir, "STATUS.in"),
                            "{\"cniVersion\":\"1.1.0\",\"name\":\"n\",\"type\":\"teller\"}");
        assert_non_null(strstr(file_text(dir, "STATUS.env"), "CNI_ARGS=\n"));
        run_with(dir, "%s/write ''");
        assert_fails(ERROR_FAILED_PRECONDITION, "fabric",
                     cni_ready(net.cni)); /* an answer holds for a moment */
        assert_string_equal(file_text(dir, "asked"), "STATUS\n");
        for (int i = 0; i < 1000; i++) {
                struct error *e = cni_ready(net.cni);
                error_free(e);
                if (!e)
                        break;
                (void) usleep(10000);
        }
        assert_ok(cni_ready(net.cni));
        assert_string_equal(file_text(dir, "asked"), "STATUS\nSTATUS\n");
        /* A list of before is not asked. */
        run_with(dir, "rm %s/asked; sed -i s/1.1.0/1.0.0/ %s/10.conflist");
        assert_ok(cni_ready(net.cni));
        assert_string_equal(file_text(dir, "asked"), "");
        net_close(&net);
}

static char **two_ids(void *context)
{
        char **ids = NEW_ARRAY(char *, 3);
        ids[0] = dup_string("aa");
        ids[1] = dup_string("bb");
        (*(int *) context)++;
        return ids;
}

static void plugins_are_told_which_attachments_there_are(void **state)
{
        const char *dir = *state;
        int asked = 0;
        struct net net;
        struct wait wait = wait_of_ms(20000);
        script(dir, "sweeper", "cat > $CNI_COMMAND.in; echo $CNI_COMMAND >> asked");
        script(dir, "lame", "cat > /dev/null; exit 3");
        net_open(&net, dir, "{\"type\":\"sweeper\"}");
        conflist_write(dir, "{\"cniVersion\":\"1.1.0\",\"name\":\"n\",\"plugins\":[{\"type\":\"lame\"},{"
                            "\"type\":\"sweeper\"}]}");
        assert_fails(ERROR_INTERNAL, "plugin lame: GC: exit code 3",
                     cni_collect(net.cni, two_ids, &asked, "eth0", 0, &wait));
        assert_string_equal(
                file_text(dir, "GC.in"),
                "{\"cniVersion\":\"1.1.0\",\"name\":\"n\",\"type\":\"sweeper\",\"cni.dev/valid-attachments\":"
                "[{\"containerID\":\"aa\",\"ifname\":\"eth0\"},{\"containerID\":\"bb\",\"ifname\":\"eth0\"}]"
                "}");
        run_with(dir, "sed -i 's/\"name\"/\"disableGC\":true,\"name\"/' %s/10.conflist; rm %s/asked");
        assert_ok(cni_collect(net.cni, two_ids, &asked, "eth0", 0, &wait));
        run_with(dir, "sed -i 's/\"disableGC\":true,//; s/1.1.0/1.0.0/' %s/10.conflist");
        assert_ok(cni_collect(net.cni, two_ids, &asked, "eth0", 0, &wait));
        assert_string_equal(file_text(dir, "asked"), "");
        assert_int_equal(asked, 3);
        net_close(&net);
}

struct caller {
        struct net *net;
        int asked;
        struct error *error;
};

static void *add_main(void *argument)
{
        struct caller *caller = argument;
        struct wait wait = wait_of_ms(20000);
        _cleanup_(cni_result_done) struct cni_result result = { 0 };
        caller->error = cni_add(caller->net->cni, &caller->net->attachment, &wait, &result);
        return NULL;
}

static void *collect_main(void *argument)
{
        struct caller *caller = argument;
        struct wait wait = wait_of_ms(20000);
        caller->error = cni_collect(caller->net->cni, two_ids, &caller->asked, "eth0", 20000, &wait);
        return NULL;
}

static void wait_for_file(const char *dir, const char *name)
{
        struct wait wait = wait_of_ms(20000);
        while (!*file_text(dir, name))
                assert_ok(wait_delay(&wait, 5, "wait for a file")); /* a script's: nothing to poll */
}

/* What an ADD under way makes is in no list yet. */
static void a_collection_and_an_add_wait_for_each_other(void **state)
{
        const char *dir = *state;
        struct net net;
        struct wait wait = wait_of_ms(20000), brief = wait_of_ms(100);
        struct caller adder = { .net = &net }, collector = { .net = &net };
        pthread_t adding, collecting;
        script(dir, "slow",
               "cat > /dev/null; echo $CNI_COMMAND begins >> order; echo x > $CNI_COMMAND\n"
               "while [ ! -e $CNI_COMMAND.go ]; do sleep 0.01; done; echo $CNI_COMMAND ends >> order\n"
               "echo '{\"cniVersion\":\"1.1.0\",\"ips\":[{\"address\":\"10.9.8.7/24\"}]}'");
        net_open(&net, dir, "{\"type\":\"slow\"}");
        conflist_write(dir, "{\"cniVersion\":\"1.1.0\",\"name\":\"n\",\"plugins\":[{\"type\":\"slow\"}]}");
        assert_int_equal(pthread_create(&adding, NULL, add_main, &adder), 0);
        wait_for_file(dir, "ADD");
        assert_fails(ERROR_UNAVAILABLE, "being made",
                     cni_collect(net.cni, two_ids, &collector.asked, "eth0", 50, &wait));
        assert_int_equal(collector.asked, 0);
        assert_int_equal(pthread_create(&collecting, NULL, collect_main, &collector), 0);
        run_with(dir, "sleep 0.1; touch %s/ADD.go");
        wait_for_file(dir, "GC");
        (void) pthread_join(adding, NULL);
        assert_ok(adder.error);
        /* And the other way round, where a caller's patience counts. */
        assert_fails(ERROR_DEADLINE_EXCEEDED, "collection", cni_del(net.cni, &net.attachment, &brief));
        assert_int_equal(pthread_create(&adding, NULL, add_main, &adder), 0);
        run_with(dir, "sleep 0.1; touch %s/GC.go");
        (void) pthread_join(collecting, NULL);
        (void) pthread_join(adding, NULL);
        assert_ok(collector.error);
        assert_ok(adder.error);
        assert_string_equal(file_text(dir, "order"),
                            "ADD begins\nADD ends\nGC begins\nGC ends\nADD begins\nADD ends\n");
        net_close(&net);
}

static void plugins_are_told_whose_trace_they_are_part_of(void **state)
{
        const char *dir = *state;
        struct net net;
        struct wait wait = wait_of_ms(20000);
        _cleanup_(cni_result_done) struct cni_result result = { 0 };
        _cleanup_(trace_done) struct trace trace = { 0 };
        const char *parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        _cleanup_(freep) char *wanted = format_string("%s state=1 user=x\n", parent);
        int asked = 0;
        script(dir, "told",
               "cat > /dev/null; echo $TRACEPARENT $TRACESTATE $BAGGAGE >> $CNI_COMMAND.env\n"
               "echo '{\"cniVersion\":\"1.1.0\",\"ips\":[{\"address\":\"10.9.8.7/24\"}]}'");
        net_open(&net, dir, "{\"type\":\"told\"}");
        conflist_write(dir, "{\"cniVersion\":\"1.1.0\",\"name\":\"n\",\"plugins\":[{\"type\":\"told\"}]}");
        trace_take(&trace, parent, "state=1", "user=x");
        net.attachment.trace = &trace;
        assert_ok(cni_add(net.cni, &net.attachment, &wait, &result));
        assert_ok(cni_check(net.cni, &net.attachment, &wait));
        assert_ok(cni_del(net.cni, &net.attachment, &wait));
        assert_string_equal(file_text(dir, "ADD.env"), wanted);
        assert_string_equal(file_text(dir, "CHECK.env"), wanted);
        assert_string_equal(file_text(dir, "DEL.env"), wanted);
        assert_ok(cni_ready(net.cni));
        assert_ok(cni_collect(net.cni, two_ids, &asked, "eth0", 0, &wait));
        assert_int_equal(strlen(file_text(dir, "STATUS.env")), TRACE_PARENT_LEN + 1);
        assert_int_equal(strlen(file_text(dir, "GC.env")), TRACE_PARENT_LEN + 1);
        net_close(&net);
}

/* --- namespaces --- */

static void pins_are_idempotent_and_follow_the_namespace(void **state)
{
        (void) state;
        _cleanup_(closep) int one = new_netns(), two = new_netns();
        struct stat wanted, there;
        assert_ok(netns_pin(one, "skiff-pin"));
        assert_ok(netns_pin(one, "skiff-pin"));
        assert_int_equal(stat("/run/netns/skiff-pin", &there), 0);
        assert_int_equal(fstat(one, &wanted), 0);
        assert_int_equal(there.st_ino, wanted.st_ino);
        assert_ok(netns_pin(two, "skiff-pin"));
        assert_int_equal(stat("/run/netns/skiff-pin", &there), 0);
        assert_int_equal(fstat(two, &wanted), 0);
        assert_int_equal(there.st_ino, wanted.st_ino);
        assert_non_null(strstr(output_of("ip netns list"), "skiff-pin"));
        assert_ok(netns_unpin("skiff-pin"));
        assert_ok(netns_unpin("skiff-pin"));
        assert_int_equal(access("/run/netns/skiff-pin", F_OK), -1);
        assert_null(strstr(output_of("cat /proc/self/mountinfo"), "skiff-pin"));
}

static void a_pin_is_seen_in_other_mount_namespaces(void **state)
{
        (void) state;
        int go[2], status = 0;
        _cleanup_(closep) int before = new_netns(), fd = new_netns();
        assert_ok(netns_pin(before, "skiff-before")); /* makes the directory shared */
        assert_int_equal(pipe2(go, O_CLOEXEC), 0);
        pid_t child = fork();
        if (child == 0) {
                char byte;
                struct stat pinned, plain;
                bool fine = unshare(CLONE_NEWNS) == 0 && write(go[1], "r", 1) == 1 && usleep(300000) == 0 &&
                            stat("/run/netns/skiff-late", &pinned) == 0 && stat("/run", &plain) == 0 &&
                            pinned.st_dev != plain.st_dev;
                (void) byte;
                _exit(fine ? 0 : 1);
        }
        char byte;
        assert_int_equal(read(go[0], &byte, 1), 1);
        assert_ok(netns_pin(fd, "skiff-late"));
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_int_equal(status, 0);
        assert_ok(netns_unpin("skiff-late"));
        assert_ok(netns_unpin("skiff-before"));
        (void) close(go[0]);
        (void) close(go[1]);
}

/* Any user can open the directory and hold its lock. */
static void a_lock_that_another_holds_stops_no_pin(void **state)
{
        (void) state;
        _cleanup_(closep) int fd = new_netns();
        assert_ok(netns_pin(fd, "skiff-first"));
        assert_ok(netns_unpin("skiff-first"));
        _cleanup_(closep) int held = open("/run/netns", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        assert_int_equal(flock(held, LOCK_EX), 0);
        int64_t began_ns = clock_monotonic_ns();
        assert_ok(netns_pin(fd, "skiff-locked"));
        assert_true(clock_monotonic_ns() - began_ns <
                    900000000); /* the directory is shared already: no lock */
        assert_ok(netns_unpin("skiff-locked"));
        closep(&held);
        /* As on a node that has just booted: the lock is wanted, and waited for a while. */
        assert_int_equal(umount2("/run/netns", MNT_DETACH), 0);
        held = open("/run/netns", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        assert_int_equal(flock(held, LOCK_EX), 0);
        assert_ok(netns_pin(fd, "skiff-locked"));
        assert_true(netns_is_at("/run/netns/skiff-locked"));
        assert_ok(netns_unpin("skiff-locked"));
}

static void sysctls_are_set_in_the_namespace(void **state)
{
        (void) state;
        _cleanup_(closep) int fd = new_netns();
        assert_ok(netns_pin(fd, "skiff-sys"));
        (void) output_of("ip -n skiff-sys link add eth0 type bridge");
        assert_ok(netns_sysctl(fd, "net/ipv4/conf/eth0/forwarding", "1"));
        assert_string_equal(output_of("ip netns exec skiff-sys cat /proc/sys/net/ipv4/conf/eth0/forwarding"),
                            "1\n");
        static const char *const bad[][2] = { { "net/ipv4/conf/eth9/forwarding", "1" },
                                              { "net/ipv4/conf/eth0", "1" },
                                              { "net/ipv4/conf/eth0/forwarding", "x" } };
        for (size_t i = 0; i < LENGTH(bad); i++)
                assert_fails(ERROR_INVALID_ARGUMENT, "set sysctl net/",
                             netns_sysctl(fd, bad[i][0], bad[i][1]));
        struct error *e = netns_sysctl(fd, "../meminfo", "1");
        assert_non_null(e);
        error_free(e);
        assert_ok(netns_unpin("skiff-sys"));
}

/* A container with NET_ADMIN may call an interface by any bytes; a client would refuse the whole answer for them. */
static void the_name_of_a_link_is_text(void **state)
{
        (void) state;
        _cleanup_(closep) int fd = new_netns();
        struct netns_link *links = NULL;
        size_t n = 0;
        assert_ok(netns_pin(fd, "skiff-odd"));
        (void) output_of("ip -n skiff-odd link add $(printf 'a\\377\\376b') type bridge");
        (void) output_of("ip -n skiff-odd link add $(printf 'gr\\303\\274n') type bridge");
        assert_ok(netns_links(fd, &links, &n));
        assert_int_equal(n, 2);
        assert_string_equal(links[0].name, "a??b");
        assert_string_equal(links[1].name, "gr\303\274n");
        free(links);
        assert_ok(netns_unpin("skiff-odd"));
}

static void loopback_comes_up(void **state)
{
        (void) state;
        _cleanup_(closep) int fd = new_netns();
        assert_ok(netns_pin(fd, "skiff-lo"));
        assert_non_null(strstr(output_of("ip -n skiff-lo -o link show lo"), "<LOOPBACK>"));
        assert_ok(netns_loopback_up(fd));
        assert_ok(netns_loopback_up(fd));
        assert_non_null(strstr(output_of("ip -n skiff-lo -o link show lo"), "<LOOPBACK,UP,LOWER_UP>"));
        assert_ok(netns_unpin("skiff-lo"));
        _cleanup_(closep) int no_netns = open("/dev/null", O_RDONLY | O_CLOEXEC);
        assert_fails(ERROR_INTERNAL, "enter the network namespace", netns_loopback_up(no_netns));
}

int main(int argc, char **argv)
{
        static const struct CMUnitTest tests[] = {
                IN_TMPDIR(bridge_host_local_and_portmap_attach_and_detach),
                IN_TMPDIR(check_says_whether_the_attachment_is_as_it_was),
                IN_TMPDIR(del_gives_the_lease_back_when_the_namespace_is_gone),
                IN_TMPDIR(a_failure_later_in_the_list_undoes_what_was_added),
                IN_TMPDIR(plugins_get_what_the_specification_says),
                IN_TMPDIR(what_is_not_declared_is_not_given),
                IN_TMPDIR(results_go_from_plugin_to_plugin_and_to_del),
                IN_TMPDIR(plugins_inherit_the_holder_and_nothing_else),
                IN_TMPDIR(a_plugins_own_words_are_told),
                IN_TMPDIR(a_plugin_that_is_not_there_is_named),
                IN_TMPDIR(a_hang_ends_at_the_deadline_with_all_that_it_started),
                IN_TMPDIR(a_del_that_fails_does_not_keep_the_others_from_it),
                TEST(pins_are_idempotent_and_follow_the_namespace),
                TEST(a_pin_is_seen_in_other_mount_namespaces),
                TEST(loopback_comes_up),
                TEST(a_lock_that_another_holds_stops_no_pin),
                TEST(sysctls_are_set_in_the_namespace),
                TEST(the_name_of_a_link_is_text),
                IN_TMPDIR(ready_is_what_the_plugins_say),
                IN_TMPDIR(plugins_are_told_which_attachments_there_are),
                IN_TMPDIR(a_collection_and_an_add_wait_for_each_other),
                IN_TMPDIR(plugins_are_told_whose_trace_they_are_part_of),
        };
        (void) signal(SIGPIPE, SIG_IGN); /* as skiffd does: a plugin that reads nothing must not end us */
        if (geteuid() != 0 || unshare(CLONE_NEWNS | CLONE_NEWNET) < 0 ||
            mount("", "/", "none", MS_REC | MS_PRIVATE, NULL) < 0 ||
            mount("tmpfs", "/run", "tmpfs", 0, NULL) < 0) {
                (void) fprintf(stderr, "cni_test needs root and namespaces: skipped\n");
                return 77;
        }
        return unit_main(__FILE__, tests, LENGTH(tests), argc, argv);
}
