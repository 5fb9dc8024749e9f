#include "cni/bridge/firewall.h"
#include "cni/bridge/link.h"
#include "tests/unit/unit.h"
#include <fcntl.h>
#include <netinet/in.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>

/* Each test has a network namespace of its own, with nothing in it. */
static int enter_namespace(void **state)
{
        (void) state;
        if (unshare(CLONE_NEWNET) < 0)
                return -1;
        return system("ip link set lo up") == 0 ? 0 : -1;
}

static void assert_run(const char *command)
{
        if (system(command) != 0)
                fail_msg("failed: %s", command);
}

/* What a command prints. */
static char *output_of(const char *command)
{
        static char out[65536];
        FILE *f = popen(command, "r");
        assert_non_null(f);
        out[fread(out, 1, sizeof(out) - 1, f)] = '\0';
        assert_int_equal(pclose(f), 0);
        return out;
}

static bool table_has(const char *text)
{
        return strstr(output_of("nft list table inet skiff-bridge"), text) != NULL;
}

static struct address address_of(const char *text)
{
        struct address a;
        assert_ok(address_parse_either(text, &a));
        return a;
}

static struct fw *open_fw(void)
{
        struct fw *fw = NULL;
        assert_ok(fw_open(&fw));
        return fw;
}

static const struct fw_attachment nothing = {
        .network = "net", .container_id = "one", .ifname = "eth0", .snat = true, .mark_masq_bit = -1
};

static void an_attachment_is_elements_and_goes_without_its_addresses(void **state)
{
        (void) state;
        _cleanup_(fw_freep) struct fw *fw = open_fw();
        struct address addresses[] = { address_of("10.88.0.5/16"), address_of("fd00::5/64") };
        struct fw_port ports[] = { { IPPROTO_TCP, 8080, 80, { 0 } },
                                   { IPPROTO_SCTP, 8081, 81, address_of("192.0.2.1") } };
        struct fw_attachment a = nothing;
        a.addresses = addresses;
        a.n_addresses = 2;
        a.masquerade = true;
        a.ports = ports;
        a.n_ports = 2;
        assert_ok(fw_add(fw, &a));
        assert_true(table_has("elements = { 10.88.0.5 comment \"net/one/eth0\" }"));
        assert_true(table_has("tcp . 8080 comment \"net/one/eth0\" : 10.88.0.5 . 80"));
        assert_true(table_has("tcp . 8080 comment \"net/one/eth0\" : fd00::5 . 80"));
        assert_true(table_has("192.0.2.1 . sctp . 8081 comment \"net/one/eth0\" : 10.88.0.5 . 81"));
        assert_true(table_has("ip daddr != 224.0.0.0/4 ip saddr @masquerade4 masquerade"));
        assert_run("nft -j list table inet skiff-bridge | python3 -m json.tool > /dev/null");
        assert_ok(fw_check(fw, &a));
        assert_ok(fw_remove(fw, "net", "one", "eth0"));
        assert_false(table_has("net/one/eth0"));
        assert_fails(ERROR_NOT_FOUND, "net/one/eth0", fw_check(fw, &a));
        assert_ok(fw_remove(fw, "net", "one", "eth0"));
}

/* The node's end of net/one/eth0: while it is there the attachment lives. */
static void make_link(void)
{
        char name[16];
        _cleanup_(freep) char *command = format_string("ip link add %s type veth peer name peer-of-one",
                                                       link_host_name("net", "one", "eth0", name));
        assert_run(command);
}

static void a_port_taken_twice_is_refused_with_its_pod(void **state)
{
        (void) state;
        _cleanup_(fw_freep) struct fw *fw = open_fw();
        struct address first = address_of("10.88.0.5/16"), second = address_of("10.88.0.6/16");
        struct fw_port port = { IPPROTO_UDP, 53, 5353, { 0 } };
        struct fw_attachment a = nothing, b = nothing;
        a.addresses = &first;
        a.pod = "default/names";
        b.addresses = &second;
        b.container_id = "two";
        b.masquerade = true;
        a.n_addresses = b.n_addresses = 1;
        a.ports = b.ports = &port;
        a.n_ports = b.n_ports = 1;
        make_link();
        assert_ok(fw_add(fw, &a));
        assert_fails(ERROR_ALREADY_EXISTS, "host port 53/udp is taken by pod default/names, net/one/eth0",
                     fw_add(fw, &b));
        assert_false(table_has("net/two"));
        port.protocol = IPPROTO_TCP;
        assert_ok(fw_add(fw, &b));
        port.protocol = IPPROTO_UDP;
        assert_ok(fw_check(fw, &a));
        assert_run("ip link del peer-of-one"); /* by another plugin's DEL, or with its namespace */
        assert_ok(fw_add(fw, &b));
        assert_false(table_has("net/one"));
}

static void an_address_of_another_that_lives_is_refused(void **state)
{
        (void) state;
        _cleanup_(fw_freep) struct fw *fw = open_fw();
        struct address address = address_of("10.88.0.5/16");
        struct fw_attachment a = nothing, b = nothing;
        a.addresses = b.addresses = &address;
        a.n_addresses = b.n_addresses = 1;
        a.masquerade = b.masquerade = a.spoof_check = true;
        a.host_ifname = "up0";
        b.network = "other";
        make_link();
        assert_ok(fw_add(fw, &a));
        assert_fails(ERROR_ALREADY_EXISTS, "address 10.88.0.5 is held by net/one/eth0", fw_add(fw, &b));
        assert_ok(fw_check(fw, &a));
        assert_false(table_has("other/one"));
}

static void a_port_said_twice_is_one_or_refused(void **state)
{
        (void) state;
        _cleanup_(fw_freep) struct fw *fw = open_fw();
        struct address addresses[] = { address_of("10.88.0.5/16"), address_of("fd00::5/64") };
        struct fw_port ports[] = { { IPPROTO_TCP, 8080, 80, { 0 } },
                                   { IPPROTO_TCP, 8080, 80, address_of("0.0.0.0") },
                                   { IPPROTO_TCP, 8080, 80, { 0 } },
                                   { IPPROTO_TCP, 8080, 81, address_of("192.0.2.1") } };
        struct fw_attachment a = nothing;
        a.addresses = addresses;
        a.n_addresses = 2;
        a.ports = ports;
        a.n_ports = LENGTH(ports);
        assert_ok(fw_add(fw, &a));
        assert_ok(fw_check(fw, &a));
        assert_ok(fw_remove(fw, "net", "one", "eth0"));
        ports[2].container_port = 82;
        assert_fails(ERROR_INVALID_ARGUMENT, "host port 8080/tcp is asked for twice", fw_add(fw, &a));
        assert_false(table_has("net/one"));
}

static void more_ports_than_a_page_go_in_one_transaction(void **state)
{
        enum { PORTS = 5000 };
        (void) state;
        _cleanup_(fw_freep) struct fw *fw = open_fw();
        struct address address = address_of("10.88.0.5/16");
        struct fw_port *ports = NEW_ARRAY(struct fw_port, PORTS);
        struct fw_attachment a = nothing;
        for (size_t i = 0; i < PORTS; i++)
                ports[i] = (struct fw_port){ IPPROTO_TCP, (uint16_t) (10000 + i), 80, { 0 } };
        a.addresses = &address;
        a.n_addresses = 1;
        a.ports = ports;
        a.n_ports = PORTS;
        assert_ok(fw_add(fw, &a));
        assert_ok(fw_remove(fw, "net", "one", "eth0"));
        assert_false(table_has("net/one"));
        free(ports);
}

static void a_table_that_was_flushed_is_filled_again(void **state)
{
        (void) state;
        _cleanup_(fw_freep) struct fw *fw = open_fw();
        struct address addresses[] = { address_of("10.88.0.5/16"), address_of("10.88.0.6/16") };
        struct fw_port ports[] = { { IPPROTO_TCP, 8080, 80, { 0 } }, { IPPROTO_TCP, 8081, 80, { 0 } } };
        struct fw_attachment a = nothing;
        a.masquerade = true;
        a.n_addresses = a.n_ports = 1;
        a.addresses = &addresses[0];
        a.ports = &ports[0];
        assert_ok(fw_add(fw, &a));
        assert_run("nft flush table inet skiff-bridge");
        assert_fails(ERROR_NOT_FOUND, "has no rules any more", fw_check(fw, &a));
        struct fw_attachment b = a;
        b.container_id = "two";
        b.addresses = &addresses[1];
        b.ports = &ports[1];
        assert_ok(fw_add(fw, &b));
        assert_ok(fw_check(fw, &a));
        assert_ok(fw_check(fw, &b));
}

static void what_a_killed_call_left_gives_way(void **state)
{
        (void) state;
        _cleanup_(fw_freep) struct fw *fw = open_fw();
        struct address address = address_of("10.88.0.5/16");
        struct fw_attachment a = nothing;
        a.addresses = &address;
        a.n_addresses = 1;
        a.masquerade = true;
        assert_ok(fw_add(fw, &a));
        assert_ok(fw_add(fw, &a)); /* its own */
        a.container_id = "two";    /* the address was given away meanwhile */
        assert_ok(fw_add(fw, &a));
        assert_false(table_has("net/one"));
        assert_ok(fw_remove(fw, "net", "one", "eth0"));
        assert_ok(fw_check(fw, &a));
}

static void removal_passes_over_what_is_gone(void **state)
{
        (void) state;
        _cleanup_(fw_freep) struct fw *fw = open_fw();
        struct address address = address_of("10.88.0.5/16");
        struct fw_port ports[40];
        for (size_t i = 0; i < LENGTH(ports); i++)
                ports[i] = (struct fw_port){ IPPROTO_TCP, (uint16_t) (8000 + i), 80, { 0 } };
        struct fw_attachment a = nothing;
        a.addresses = &address;
        a.n_addresses = 1;
        a.masquerade = true;
        a.ports = ports;
        a.n_ports = LENGTH(ports);
        assert_ok(fw_add(fw, &a)); /* more than one element of the index has room for */
        assert_run("nft delete element inet skiff-bridge masquerade4 '{ 10.88.0.5 }'");
        assert_ok(fw_remove(fw, "net", "one", "eth0"));
        assert_false(table_has("net/one"));
        assert_ok(fw_add(fw, &a));
        assert_run("nft flush ruleset");
        assert_ok(fw_remove(fw, "net", "one", "eth0"));
        assert_ok(fw_add(fw, &a));
        assert_ok(fw_check(fw, &a));
}

static void only_the_valid_of_a_network_stay(void **state)
{
        (void) state;
        _cleanup_(fw_freep) struct fw *fw = open_fw();
        static const char *const ids[] = { "one", "two", "three" };
        for (unsigned i = 0; i < 4; i++) {
                struct address address = address_of("10.88.0.5/16");
                address.bytes[3] = (uint8_t) (5 + i);
                struct fw_attachment a = nothing;
                a.addresses = &address;
                a.n_addresses = 1;
                a.masquerade = true;
                a.network = i < 3 ? "net" : "other";
                a.container_id = ids[i % 3];
                assert_ok(fw_add(fw, &a));
        }
        const struct fw_id valid = { "two", "eth0" };
        assert_ok(fw_keep_only(fw, "net", &valid, 1));
        assert_false(table_has("net/one"));
        assert_true(table_has("net/two"));
        assert_false(table_has("net/three"));
        assert_true(table_has("other/one"));
}

static void what_nftables_cannot_say_is_refused_by_name(void **state)
{
        (void) state;
        _cleanup_(fw_freep) struct fw *fw = open_fw();
        static const char *const conditions[] = { "-m", "physdev", NULL };
        struct address address = address_of("10.88.0.5/16");
        struct fw_port port = { IPPROTO_TCP, 80, 80, { 0 } };
        struct fw_attachment a = nothing;
        a.addresses = &address;
        a.n_addresses = 1;
        a.ports = &port;
        a.n_ports = 1;
        a.conditions_v4 = conditions;
        assert_fails(ERROR_UNIMPLEMENTED, "conditionsV4: \"-m\" is not supported", fw_add(fw, &a));
        a.conditions_v4 = NULL;
        a.mark_masq_bit = 32;
        assert_fails(ERROR_INVALID_ARGUMENT, "markMasqBit", fw_add(fw, &a));
}

static struct fw_attachment with_port(const struct address *address, const struct fw_port *port)
{
        struct fw_attachment a = nothing;
        a.addresses = address;
        a.n_addresses = 1;
        a.masquerade = true;
        a.ports = port;
        a.n_ports = 1;
        return a;
}

static void a_chain_without_rules_is_missed(void **state)
{
        (void) state;
        static const char *const conditions[] = { "-d", "192.0.2.1", NULL };
        static const char *const chains[] = { "ports",
                                              "prerouting",
                                              "output",
                                              "postrouting",
                                              "masquerade-10.88.0.0/16",
                                              "mark-100000-ip4/16-prerouting",
                                              "mark-100000-ip4/8-output",
                                              "postrouting-100000" };
        struct address address = address_of("10.88.0.5/16");
        struct fw_port port = { IPPROTO_TCP, 80, 80, { 0 } };
        for (size_t i = 0; i <= LENGTH(chains); i++) {
                _cleanup_(fw_freep) struct fw *fw = open_fw();
                struct fw_attachment a = with_port(&address, &port);
                char command[200];
                a.mark_masq_bit = 20;
                if (i == LENGTH(chains))
                        a.conditions_v4 = conditions;
                assert_ok(fw_add(fw, &a));
                assert_ok(fw_check(fw, &a));
                if (i == LENGTH(chains))
                        assert_run("nft -a list table inet skiff-bridge | sed -n 's/.*chain "
                                   "\\(conditions-[0-9a-f]*-output\\) .*/\\1/p' | "
                                   "xargs nft flush chain inet skiff-bridge");
                else
                        (void) snprintf(command, sizeof(command), "nft flush chain inet skiff-bridge '%s'",
                                        chains[i]);
                if (i < LENGTH(chains))
                        assert_run(command);
                assert_fails(ERROR_NOT_FOUND, "has no rules any more", fw_check(fw, &a));
                assert_run("nft delete table inet skiff-bridge");
        }
}

static void a_table_of_another_version_is_understood_or_refused(void **state)
{
        (void) state;
        struct fw *fw = NULL;
        struct address address = address_of("10.88.0.5/16");
        struct fw_port port = { IPPROTO_TCP, 80, 80, { 0 } };
        struct fw_attachment a = with_port(&address, &port);
        fw = open_fw();
        assert_ok(fw_add(fw, &a));
        fw_free(fw);
        /* As one was before schemas had numbers, and sets of conditions. */
        assert_run("nft delete set inet skiff-bridge schema");
        fw = open_fw();
        assert_ok(fw_check(fw, &a));
        a.container_id = "two";
        port.host_port = 81;
        assert_ok(fw_add(fw, &a));
        assert_true(table_has("set schema"));
        fw_free(fw);
        assert_run("nft add element inet skiff-bridge schema '{ 2 }'");
        fw = NULL;
        assert_fails(ERROR_OUT_OF_RANGE, "made by a newer skiff-bridge (schema 2; this one knows 1)",
                     fw_open(&fw));
        assert_null(fw);
}

/* One call with its n-th TRY failing; *hit: whether it has so many. */
static struct error *failing(unsigned n, struct fw *fw, const struct fw_attachment *a, bool *hit)
{
        error_inject(n);
        struct error *e = a ? fw_add(fw, a) : fw_remove(fw, "net", "one", "eth0");
        *hit = error_inject_hit();
        error_inject(0);
        return e;
}

/* Each way out of an ADD and a DEL leaves all or nothing, tells which, and the next call does the whole. */
static void a_failure_anywhere_leaves_all_or_nothing(void **state)
{
        (void) state;
        static const char *const conditions[] = { "-d", "192.0.2.1", NULL };
        struct address addresses[] = { address_of("10.88.0.5/16"), address_of("fd00::5/64") };
        struct fw_port ports[] = { { IPPROTO_TCP, 80, 80, { 0 } },
                                   { IPPROTO_UDP, 53, 53, address_of("192.0.2.1") } };
        struct fw_attachment a = nothing, other = nothing;
        bool hit = true;
        a.addresses = addresses;
        a.n_addresses = 2;
        a.masquerade = true;
        a.ports = ports;
        a.n_ports = 2;
        other.container_id = "killed";
        other.addresses = addresses;
        other.n_addresses = 1;
        other.masquerade = true;
        for (unsigned n = 1; hit && n < 1000; n++) {
                _cleanup_(fw_freep) struct fw *fw = open_fw();
                a.conditions_v4 = n % 2 ? conditions : NULL;
                assert_run("nft flush ruleset");
                if (n % 3 == 0)
                        assert_ok(fw_add(fw, &other)); /* what a killed call left has to give way */
                struct error *e = failing(n, fw, &a, &hit), *missing = fw_check(fw, &a);
                /* To forget flows may fail: it is told, and the call has done the rest. */
                assert_true(hit || !e);
                assert_true(e || !missing);
                if (missing && n % 3)
                        assert_null(strstr(output_of("nft list ruleset"), "net/one"));
                error_free(e);
                error_free(missing);
                assert_ok(fw_add(fw, &a));
                assert_ok(fw_check(fw, &a));
        }
        hit = true;
        for (unsigned n = 1; hit && n < 1000; n++) {
                _cleanup_(fw_freep) struct fw *fw = open_fw();
                assert_ok(fw_add(fw, &a));
                struct error *e = failing(n, fw, NULL, &hit);
                assert_true(hit || !e);
                if (!e)
                        assert_false(table_has("net/one"));
                error_free(e);
                assert_ok(fw_remove(fw, "net", "one", "eth0"));
                assert_false(table_has("net/one"));
        }
}

static void rules_of_iptables_stay_as_they_are(void **state)
{
        (void) state;
        static const char save[] = "iptables-save -t nat | grep -v '^#'";
        _cleanup_(fw_freep) struct fw *fw = open_fw();
        struct address address = address_of("10.88.0.5/16");
        struct fw_port port = { IPPROTO_TCP, 80, 80, { 0 } };
        struct fw_attachment a = nothing;
        a.addresses = &address;
        a.n_addresses = 1;
        a.masquerade = true;
        a.ports = &port;
        a.n_ports = 1;
        assert_run("iptables -t nat -A POSTROUTING -s 10.88.0.9/32 -j MASQUERADE && "
                   "iptables -t nat -A PREROUTING -p tcp --dport 80 -j DNAT --to-destination 10.88.0.9");
        _cleanup_(freep) char *before = dup_string(output_of(save));
        assert_non_null(strstr(before, "10.88.0.9"));
        assert_ok(fw_add(fw, &a));
        assert_string_equal(before, output_of(save));
        assert_run("iptables -t nat -F");
        assert_ok(fw_check(fw, &a));
}

/* A client's line of python, run somewhere: prints as whom the server sees it. */
#define ASK(where, from, to, port)                                                                           \
        where "python3 -c 'import socket; s = socket.socket(socket.AF_INET6 if \":\" in \"" to               \
              "\" else socket.AF_INET); s.settimeout(5); s.bind((\"" from "\", 0)); s.connect((\"" to        \
              "\", " port ")); print(s.recv(99).decode())'"

#define POD(name, last)                                                                                      \
        "ip netns add " name " && ip link add h" name " type veth peer name eth0 netns " name                \
        " && ip link set h" name " master br0 up && ip -n " name " link set lo up && ip -n " name            \
        " link set eth0 up && ip -n " name " addr add 10.88.0." last "/16 dev eth0 && ip -n " name           \
        " addr add fd00::" last "/64 dev eth0 nodad && ip -n " name                                          \
        " route add default via 10.88.0.1 && ip -n " name " route add default via fd00::1 && "               \
        "bridge link set dev h" name " hairpin on"

static int enter_network(void **state)
{
        if (enter_namespace(state) < 0)
                return -1;
        return system("ip link add br0 type bridge && ip link set br0 up && ip addr add 10.88.0.1/16 dev br0 "
                      "&& "
                      "ip addr add fd00::1/64 dev br0 nodad && echo 1 > /proc/sys/net/ipv4/ip_forward && "
                      "echo 1 > /proc/sys/net/ipv6/conf/all/forwarding && "
                      "echo 1 > /proc/sys/net/ipv4/conf/br0/route_localnet && " POD("skfw-a", "5") " && " POD(
                              "skfw-b",
                              "6") " && "
                                   "ip netns add skfw-out && ip link add up0 type veth peer name eth0 netns "
                                   "skfw-out && "
                                   "ip addr add 192.0.2.1/24 dev up0 && ip link set up0 up && "
                                   "ip addr add 2001:db8::1/64 dev up0 nodad && "
                                   "ip -n skfw-out addr add 192.0.2.2/24 dev eth0 && "
                                   "ip -n skfw-out addr add 2001:db8::2/64 dev eth0 nodad && "
                                   "ip -n skfw-out link set eth0 up && "
                                   "for p in a out; do ip netns exec skfw-$p python3 -c 'import socket\n"
                                   "s = socket.create_server((\"::\", 80), family=socket.AF_INET6, "
                                   "dualstack_ipv6=True)\n"
                                   "while 1:\n c, a = s.accept()\n c.send(a[0].replace(\"::ffff:\", "
                                   "\"\").encode())\n"
                                   " c.close()' > /dev/null 2>&1 & echo $! > /tmp/skfw-$p.pid; done; "
                                   "for p in a out; do for i in $(seq 500); do "
                                   "ip netns exec skfw-$p ss -Hltn | grep -q :80 && break; sleep 0.02; done; "
                                   "done") == 0
                       ? 0
                       : -1;
}

static int leave_network(void **state)
{
        (void) state;
        return system("for p in a out; do kill $(cat /tmp/skfw-$p.pid); rm /tmp/skfw-$p.pid; done; "
                      "for p in a b out; do ip netns del skfw-$p; done") == 0
                       ? 0
                       : -1;
}

#define assert_sees(who, command) assert_string_equal(who "\n", output_of(command))

static void traffic_goes_where_and_as_it_should(void **state)
{
        (void) state;
        _cleanup_(fw_freep) struct fw *fw = open_fw();
        struct address addresses[] = { address_of("10.88.0.5/16"), address_of("fd00::5/64") };
        struct fw_port port = { IPPROTO_TCP, 8080, 80, { 0 } };
        struct fw_attachment a = nothing;
        a.addresses = addresses;
        a.n_addresses = 2;
        a.masquerade = true;
        a.ports = &port;
        a.n_ports = 1;
        assert_true(fw_needs_route_localnet(&a));
        assert_ok(fw_add(fw, &a));
        /* A port of the node: from outside, itself, loopback, another pod and the pod. */
        assert_sees("192.0.2.2", ASK("ip netns exec skfw-out ", "", "192.0.2.1", "8080"));
        assert_sees("2001:db8::2", ASK("ip netns exec skfw-out ", "", "2001:db8::1", "8080"));
        assert_sees("192.0.2.1", ASK("", "192.0.2.1", "192.0.2.1", "8080"));
        assert_sees("10.88.0.1", ASK("", "", "127.0.0.1", "8080"));
        assert_sees("10.88.0.1", ASK("ip netns exec skfw-b ", "", "192.0.2.1", "8080"));
        assert_sees("10.88.0.1", ASK("ip netns exec skfw-a ", "", "192.0.2.1", "8080"));
        assert_sees("fd00::1", ASK("ip netns exec skfw-a ", "", "2001:db8::1", "8080"));
        /* The pod's own way out, and to its neighbours. */
        assert_sees("192.0.2.1", ASK("ip netns exec skfw-a ", "", "192.0.2.2", "80"));
        assert_sees("2001:db8::1", ASK("ip netns exec skfw-a ", "", "2001:db8::2", "80"));
        assert_sees("10.88.0.6", ASK("ip netns exec skfw-b ", "", "10.88.0.5", "80"));
        assert_ok(fw_remove(fw, "net", "one", "eth0"));
        assert_int_not_equal(system(ASK("ip netns exec skfw-out ", "", "192.0.2.1", "8080") " 2> /dev/null"),
                             0);
        /* One address of the node, and everybody masqueraded by a bit of one's own. */
        port.host = address_of("192.0.2.1");
        a.masq_all = true;
        a.mark_masq_bit = 20;
        assert_false(fw_needs_route_localnet(&a));
        assert_ok(fw_add(fw, &a));
        assert_sees("10.88.0.1", ASK("ip netns exec skfw-out ", "", "192.0.2.1", "8080"));
        assert_int_not_equal(system(ASK("", "", "127.0.0.1", "8080") " 2> /dev/null"), 0);
}

static void only_what_meets_the_conditions_is_forwarded(void **state)
{
        (void) state;
        _cleanup_(fw_freep) struct fw *fw = open_fw();
        static const char *const from_out[] = { "-s", "192.0.2.0/24", "-i", "up+", NULL };
        static const char *const from_others[] = { "iifname != \"up0\"", NULL };
        static const char *const six[] = { "ip6 saddr 2001:db8::2", NULL };
        struct address addresses[] = { address_of("10.88.0.5/16"), address_of("fd00::5/64") };
        struct address second = address_of("10.88.0.6/16");
        struct fw_port ports[] = { { IPPROTO_TCP, 8080, 80, { 0 } },
                                   { IPPROTO_TCP, 8081, 80, address_of("192.0.2.1") } };
        struct fw_attachment a = nothing, b = nothing;
        a.addresses = addresses;
        a.n_addresses = 2;
        a.ports = ports;
        a.n_ports = 2;
        a.conditions_v4 = from_out;
        a.conditions_v6 = six;
        assert_ok(fw_add(fw, &a));
        assert_ok(fw_check(fw, &a));
        assert_run("nft list table inet skiff-bridge > /dev/null");
        assert_run("nft -j list table inet skiff-bridge | python3 -m json.tool > /dev/null");
        assert_true(table_has("ip saddr 192.0.2.0/24 iifname \"up*\""));
        assert_sees("192.0.2.2", ASK("ip netns exec skfw-out ", "", "192.0.2.1", "8080"));
        assert_sees("192.0.2.2", ASK("ip netns exec skfw-out ", "", "192.0.2.1", "8081"));
        assert_sees("2001:db8::2", ASK("ip netns exec skfw-out ", "", "2001:db8::1", "8080"));
        assert_int_not_equal(system(ASK("ip netns exec skfw-out ", "", "10.88.0.1", "8081") " 2> /dev/null"),
                             0);
        assert_int_not_equal(system(ASK("ip netns exec skfw-b ", "", "192.0.2.1", "8080") " 2> /dev/null"),
                             0);
        assert_int_not_equal(system(ASK("", "", "192.0.2.1", "8080") " 2> /dev/null"), 0);
        /* The same port of another pod, for whom the first is not there. */
        make_link();
        b.container_id = "two";
        b.addresses = &second;
        b.n_addresses = 1;
        b.ports = ports;
        b.n_ports = 1;
        b.conditions_v4 = from_out;
        assert_fails(ERROR_ALREADY_EXISTS, "host port 8080/tcp is taken by net/one/eth0", fw_add(fw, &b));
        assert_ok(fw_remove(fw, "net", "one", "eth0"));
        assert_int_not_equal(system(ASK("ip netns exec skfw-out ", "", "192.0.2.1", "8080") " 2> /dev/null"),
                             0);
        /* Who comes by another way, and is masqueraded where it would not find back: the pod itself. */
        a.conditions_v4 = from_others;
        assert_ok(fw_add(fw, &a));
        assert_ok(fw_add(fw, &b));
        assert_sees("10.88.0.1", ASK("ip netns exec skfw-a ", "", "192.0.2.1", "8080"));
        assert_sees("192.0.2.1", ASK("", "", "192.0.2.1", "8080"));
        assert_sees("10.88.0.1", ASK("ip netns exec skfw-b ", "", "192.0.2.1", "8081"));
        assert_ok(fw_remove(fw, "net", "one", "eth0"));
        assert_ok(fw_check(fw, &b));
}

/* What answers from one fixed port of outside, or "nothing". */
#define ASK_UDP_FOR(to, seconds)                                                                             \
        "ip netns exec skfw-out python3 -c 'import socket\n"                                                 \
        "s = socket.socket(socket.AF_INET6 if \":\" in \"" to "\" else socket.AF_INET, socket.SOCK_DGRAM)\n" \
        "s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)\n"                                          \
        "s.bind((\"\", 4444))\n"                                                                             \
        "s.settimeout(" seconds ")\n"                                                                        \
        "try:\n s.sendto(b\"x\", (\"" to "\", 5353))\n print(s.recv(99).decode())\n"                         \
        "except OSError:\n print(\"nothing\")'"

#define ASK_UDP(to) ASK_UDP_FOR(to, "0.5")      /* nothing is to come */
#define ANSWER_BY_UDP(to) ASK_UDP_FOR(to, "10") /* it comes */

static void a_flow_follows_its_port(void **state)
{
        (void) state;
        _cleanup_(fw_freep) struct fw *fw = open_fw();
        static const char *const conditions[] = { "-s", "192.0.2.0/24", NULL };
        struct address a_addresses[] = { address_of("10.88.0.5/16"), address_of("fd00::5/64") };
        struct address b_addresses[] = { address_of("10.88.0.6/16"), address_of("fd00::6/64") };
        struct fw_port port = { IPPROTO_UDP, 5353, 53, { 0 } };
        struct fw_attachment a = nothing, b = nothing;
        assert_run(
                "for p in a b; do ip netns exec skfw-$p python3 -c 'import socket, sys\n"
                "s = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)\n"
                "s.bind((\"::\", 53))\n"
                "while 1:\n d, a = s.recvfrom(9)\n s.sendto(sys.argv[1].encode(), a)' $p > /dev/null 2>&1 & "
                "echo $! > /tmp/skfw-udp-$p.pid; done; for p in a b; do for i in $(seq 500); do "
                "ip netns exec skfw-$p ss -Hlun | grep -q :53 && break; sleep 0.02; done; done");
        a.addresses = a_addresses;
        b.addresses = b_addresses;
        a.n_addresses = b.n_addresses = 2;
        b.container_id = "two";
        b.masquerade = true; /* flows are remembered from now on */
        assert_ok(fw_add(fw, &b));
        assert_ok(fw_remove(fw, "net", "two", "eth0"));
        a.ports = b.ports = &port;
        a.n_ports = b.n_ports = 1;
        for (unsigned how = 0; how < 3; how++) {
                port.host = how == 1 ? address_of("192.0.2.1") : (struct address){ 0 };
                a.conditions_v4 = b.conditions_v4 = how == 2 ? conditions : NULL;
                assert_sees("nothing", ASK_UDP("192.0.2.1"));
                assert_sees("nothing", ASK_UDP("2001:db8::1"));
                assert_ok(fw_add(fw, &a));
                assert_sees("a", ANSWER_BY_UDP("192.0.2.1"));
                if (how != 1)
                        assert_sees("a", ANSWER_BY_UDP("2001:db8::1"));
                assert_ok(fw_remove(fw, "net", "one", "eth0"));
                assert_sees("nothing", ASK_UDP("192.0.2.1"));
                assert_ok(fw_add(fw, &b));
                assert_sees("b", ANSWER_BY_UDP("192.0.2.1"));
                if (how != 1)
                        assert_sees("b", ANSWER_BY_UDP("2001:db8::1"));
                assert_ok(fw_remove(fw, "net", "two", "eth0"));
        }
        assert_run("for p in a b; do kill $(cat /tmp/skfw-udp-$p.pid); rm /tmp/skfw-udp-$p.pid; done");
}

static void a_forged_sender_is_not_heard(void **state)
{
        (void) state;
        _cleanup_(fw_freep) struct fw *fw = open_fw();
        struct fw_attachment a = nothing;
        a.spoof_check = true;
        a.host_ifname = "hskfw-b";
        assert_run("ip -n skfw-b link set eth0 address 02:00:00:00:00:01");
        memcpy(a.mac, (uint8_t[]){ 2, 0, 0, 0, 0, 1 }, 6);
        assert_ok(fw_add(fw, &a));
        assert_ok(fw_check(fw, &a));
        assert_sees("10.88.0.6", ASK("ip netns exec skfw-b ", "", "10.88.0.5", "80"));
        assert_run("ip -n skfw-b link set eth0 address 02:00:00:00:00:02");
        assert_int_not_equal(system(ASK("ip netns exec skfw-b ", "", "10.88.0.5", "80") " 2> /dev/null"), 0);
        assert_ok(fw_remove(fw, "net", "one", "eth0"));
        assert_sees("10.88.0.6", ASK("ip netns exec skfw-b ", "", "10.88.0.5", "80"));
}

#define IN_NAMESPACE(f) cmocka_unit_test_setup(f, enter_namespace)
#define IN_NETWORK(f) cmocka_unit_test_setup_teardown(f, enter_network, leave_network)

UNIT_MAIN(IN_NAMESPACE(an_attachment_is_elements_and_goes_without_its_addresses),
          IN_NAMESPACE(a_port_taken_twice_is_refused_with_its_pod),
          IN_NAMESPACE(an_address_of_another_that_lives_is_refused),
          IN_NAMESPACE(a_port_said_twice_is_one_or_refused),
          IN_NAMESPACE(more_ports_than_a_page_go_in_one_transaction),
          IN_NAMESPACE(a_table_that_was_flushed_is_filled_again),
          IN_NAMESPACE(what_a_killed_call_left_gives_way), IN_NAMESPACE(removal_passes_over_what_is_gone),
          IN_NAMESPACE(only_the_valid_of_a_network_stay),
          IN_NAMESPACE(what_nftables_cannot_say_is_refused_by_name),
          IN_NAMESPACE(rules_of_iptables_stay_as_they_are), IN_NETWORK(traffic_goes_where_and_as_it_should),
          IN_NETWORK(a_flow_follows_its_port), IN_NETWORK(only_what_meets_the_conditions_is_forwarded),
          IN_NAMESPACE(a_chain_without_rules_is_missed),
          IN_NAMESPACE(a_table_of_another_version_is_understood_or_refused),
          IN_NAMESPACE(a_failure_anywhere_leaves_all_or_nothing), IN_NETWORK(a_forged_sender_is_not_heard))
