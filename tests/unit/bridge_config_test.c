/* What the plugin reads and writes: JSON, addresses, environment, configuration, results. */
#include "cni/bridge/config.h"
#include "cni/bridge/firewall_conditions.h"
#include "cni/bridge/result.h"
#include "tests/unit/unit.h"
#include <netinet/in.h>

static struct arena arena;

static const struct jv *json_of(const char *text)
{
        const struct jv *json = NULL;
        char *quoted = arena_copy(&arena, text, strlen(text));
        for (char *c = quoted; *c; c++)
                if (*c == '\'')
                        *c = '"';
        assert_ok(jv_parse(&arena, quoted, strlen(quoted), &json));
        return json;
}

static struct error *read_config(enum command command, const char *text, struct config *out)
{
        struct environment env = { .command = command, .command_text = "STATUS" };
        *out = (struct config){ .arena = &arena };
        return config_read(&env, json_of(text), out);
}

static void json_is_strict(void **state)
{
        (void) state;
        static const char *const bad[] = { "",         "{",     "[1,]",    "{\"a\" 1}", "{\"a\":1,}",
                                           "01",       "1.",    "1e",      "-",         "+1",
                                           "nul",      "\"a",   "\"\\x\"", "\"\\u12\"", "\"\\u0000\"",
                                           "\"a\nb\"", "{} {}", "'a'",     "{a:1}",     "[1 2]" };
        const struct jv *json = NULL;
        for (size_t i = 0; i < LENGTH(bad); i++)
                assert_fails(ERROR_INVALID_ARGUMENT, "byte", jv_parse(&arena, bad[i], strlen(bad[i]), &json));
        char deep[200];
        memset(deep, '[', sizeof(deep));
        assert_fails(ERROR_INVALID_ARGUMENT, "too many levels", jv_parse(&arena, deep, sizeof(deep), &json));
        json = json_of(
                " { 'a' : [ 1 , -2.5e3 , true , false , null , 'x\\u00e9\\ud83d\\ude00\\n' ] , 'B' : { } } ");
        const struct jv *a = jv_get(json, "A");
        assert_int_equal(a->n_children, 6);
        assert_string_equal(a->first->next->text, "-2.5e3");
        assert_string_equal(a->first->next->next->next->next->next->text, "x\xc3\xa9\xf0\x9f\x98\x80\n");
        assert_int_equal(jv_get(json, "b")->type, JV_OBJECT);
        assert_null(jv_get(json, "c"));
        arena_done(&arena);
}

static void addresses_are_written_as_host_local_names_them(void **state)
{
        (void) state;
        static const struct {
                const char *in, *out;
        } cases[] = { { "10.0.0.1", "10.0.0.1" },
                      { "fd00:0:0::1", "fd00::1" },
                      { "FD00:1:2:3:4:5:0:7", "fd00:1:2:3:4:5:0:7" },
                      { "::", "::" },
                      { "::1", "::1" },
                      { "1::", "1::" },
                      { "::0102:0304", "::102:304" },
                      { "::ffff:1.2.3.4", "1.2.3.4" },
                      { "1:0:0:2:0:0:0:3", "1:0:0:2::3" },
                      { "1:0:0:2:3:0:0:4", "1::2:3:0:0:4" } };
        char text[ADDRESS_TEXT_BYTES];
        struct address a;
        for (size_t i = 0; i < LENGTH(cases); i++) {
                assert_ok(address_parse(cases[i].in, &a));
                assert_string_equal(address_text(&a, text), cases[i].out);
        }
        static const char *const bad[] = { "", "10.0.0", "10.0.0.256", "1::2::3", "x", "10.0.0.1/24" };
        for (size_t i = 0; i < LENGTH(bad); i++)
                assert_fails(ERROR_INVALID_ARGUMENT, "not an IP address", address_parse(bad[i], &a));
        assert_ok(address_parse_cidr("10.1.255.255/15", &a));
        struct address next = address_next(&a), network = address_network(&a), last = address_broadcast(&a);
        assert_string_equal(address_text(&next, text), "10.2.0.0");
        assert_string_equal(address_cidr(&network, text), "10.0.0.0/15");
        assert_string_equal(address_text(&last, text), "10.1.255.255");
        assert_true(address_within(&network, &a));
        assert_false(address_within(&network, &next));
}

/* containerd's portMappings have the names of Go's fields. */
static void keys_are_found_in_any_case(void **state)
{
        (void) state;
        struct config c;
        assert_ok(read_config(
                COMMAND_ADD,
                "{'CNIVERSION':'1.0.0','Name':'n','BRIDGE':'br9','IsGateway':true,'MTU':1400,"
                "'runtimeConfig':{'portMappings':[{'HostPort':8099,'ContainerPort':80,'Protocol':"
                "'tcp','HostIP':''},{'hostPort':1,'containerPort':65535,'protocol':'SCTP','hostIP':"
                "'::1'}],'Mac':'02:00:00:00:00:07'}}",
                &c));
        assert_string_equal(c.bridge, "br9");
        assert_true(c.is_gateway);
        assert_int_equal(c.mtu, 1400);
        assert_int_equal(c.n_ports, 2);
        assert_int_equal(c.ports[0].host_port, 8099);
        assert_int_equal(c.ports[0].container_port, 80);
        assert_int_equal(c.ports[0].protocol, IPPROTO_TCP);
        assert_int_equal(c.ports[0].host.family, 0);
        assert_int_equal(c.ports[1].protocol, IPPROTO_SCTP);
        assert_int_equal(c.ports[1].host.family, AF_INET6);
        assert_true(c.has_mac);
        assert_int_equal(c.mac[5], 7);
        arena_done(&arena);
}

static void what_is_not_said_has_the_plugins_defaults(void **state)
{
        (void) state;
        struct config c;
        assert_ok(read_config(COMMAND_ADD, "{'name':'n','unknown':[1],'ipam':{}}", &c));
        assert_string_equal(c.bridge, "cni0");
        assert_string_equal(c.ipam.data_dir, "/var/lib/cni/networks");
        assert_int_equal(c.version, CNI_0_1_0);
        assert_true(c.snat);
        assert_int_equal(c.mark_masq_bit, -1);
        assert_null(c.ipam.type);
        assert_ok(read_config(COMMAND_ADD, "{'name':'n','isDefaultGateway':true}", &c));
        assert_true(c.is_gateway);
        arena_done(&arena);
}

static void bad_configurations_are_refused_by_key(void **state)
{
        (void) state;
        static const struct {
                const char *text, *says;
                enum error_code code;
        } cases[] = {
                { "{}", "\"name\" is missing", ERROR_INVALID_ARGUMENT },
                { "{'name':'a/b'}", "no network's name", ERROR_INVALID_ARGUMENT },
                { "{'name':'..'}", "no network's name", ERROR_INVALID_ARGUMENT },
                { "{'name':7}", "\"name\" is not text", ERROR_INVALID_ARGUMENT },
                { "{'name':'n','cniVersion':'2.0.0'}", "2.0.0", ERROR_OUT_OF_RANGE },
                { "{'name':'n','cniVersion':'1.0'}", "1.1.0", ERROR_OUT_OF_RANGE },
                { "{'name':'n','bridge':'a/b'}", "\"bridge\"", ERROR_INVALID_ARGUMENT },
                { "{'name':'n','bridge':'abcdefghijklmnop'}", "\"bridge\"", ERROR_INVALID_ARGUMENT },
                { "{'name':'n','isGateway':'yes'}", "\"isGateway\" is not true or false",
                  ERROR_INVALID_ARGUMENT },
                { "{'name':'n','mtu':'1400'}", "\"mtu\" is not a number", ERROR_INVALID_ARGUMENT },
                { "{'name':'n','mtu':-1}", "\"mtu\" is -1", ERROR_INVALID_ARGUMENT },
                { "{'name':'n','mtu':1.5}", "whole number", ERROR_INVALID_ARGUMENT },
                { "{'name':'n','hairpinMode':true,'promiscMode':true}", "promiscMode",
                  ERROR_INVALID_ARGUMENT },
                { "{'name':'n','vlan':4095}", "\"vlan\" is 4095", ERROR_INVALID_ARGUMENT },
                { "{'name':'n','vlanTrunk':[{'id':5},{'id':0}]}", "vlanTrunk[1]: \"id\" is 0",
                  ERROR_INVALID_ARGUMENT },
                { "{'name':'n','vlanTrunk':[{'minID':5}]}", "\"maxID\" is missing", ERROR_INVALID_ARGUMENT },
                { "{'name':'n','bridge':'twelve-bytes','isGateway':true,'vlan':100}", "twelve-bytes.100",
                  ERROR_INVALID_ARGUMENT },
                { "{'name':'n','externalSetMarkChain':'X'}", "markMasqBit", ERROR_UNIMPLEMENTED },
                { "{'name':'n','backend':'bpf'}", "unrecognized backend \"bpf\"", ERROR_INVALID_ARGUMENT },
                { "{'name':'n','backend':'nftables','conditionsV4':['-d','10.0.0.1']}",
                  "nftables backend was requested but configuration contains iptables-specific options "
                  "[conditionsV4]",
                  ERROR_INVALID_ARGUMENT },
                { "{'name':'n','conditionsV6':['-m','mark']}", "conditionsV6: \"-m\"", ERROR_UNIMPLEMENTED },
                { "{'name':'n','ipMasqBackend':'bpf'}", "\"ipMasqBackend\"", ERROR_INVALID_ARGUMENT },
                { "{'name':'n','ipam':{'type':'../x'}}", "no plugin's name", ERROR_INVALID_ARGUMENT },
                { "{'name':'n','ipam':[]}", "\"ipam\" is not an object", ERROR_INVALID_ARGUMENT },
                { "{'name':'n','runtimeConfig':{'portMappings':[{'hostPort':0,'containerPort':1,'protocol':'"
                  "tcp'}]}}",
                  "\"hostPort\" is 0", ERROR_INVALID_ARGUMENT },
                { "{'name':'n','runtimeConfig':{'portMappings':[{'hostPort':65536,'containerPort':1,'"
                  "protocol':"
                  "'tcp'}]}}",
                  "\"hostPort\" is 65536", ERROR_INVALID_ARGUMENT },
                { "{'name':'n','runtimeConfig':{'portMappings':[{'hostPort':1,'protocol':'tcp'}]}}",
                  "\"containerPort\" is missing", ERROR_INVALID_ARGUMENT },
                { "{'name':'n','runtimeConfig':{'portMappings':[{'hostPort':1,'containerPort':1}]}}",
                  "\"protocol\"", ERROR_INVALID_ARGUMENT },
                { "{'name':'n','runtimeConfig':{'mac':'01:00:00:00:00:01'}}", "\"mac\"",
                  ERROR_INVALID_ARGUMENT },
                { "{'name':'n','runtimeConfig':{'mac':'02:00:00:00:00'}}", "\"mac\"",
                  ERROR_INVALID_ARGUMENT },
                { "{'name':'n','disableContainerInterface':true,'ipam':{'type':'host-local'}}",
                  "disableContainerInterface", ERROR_INVALID_ARGUMENT },
                { "{'name':'n','markMasqBit':3,'externalSetMarkChain':'X'}", "externalSetMarkChain",
                  ERROR_INVALID_ARGUMENT },
        };
        for (size_t i = 0; i < LENGTH(cases); i++) {
                struct config c;
                assert_fails(cases[i].code, cases[i].says, read_config(COMMAND_ADD, cases[i].text, &c));
        }
        struct config c;
        assert_fails(ERROR_OUT_OF_RANGE, "does not allow",
                     read_config(COMMAND_CHECK, "{'name':'n','cniVersion':'0.3.1'}", &c));
        assert_fails(ERROR_OUT_OF_RANGE, "does not allow",
                     read_config(COMMAND_GC, "{'name':'n','cniVersion':'1.0.0'}", &c));
        assert_fails(ERROR_INVALID_ARGUMENT, "valid-attachments",
                     read_config(COMMAND_GC, "{'name':'n','cniVersion':'1.1.0'}", &c));
        /* What ADD would refuse can be undone. */
        assert_ok(read_config(COMMAND_DEL, "{'name':'n','vlan':'x','mtu':'x','ipam':{'type':'host-local'}}",
                              &c));
        arena_done(&arena);
}

static void trunks_become_ranges(void **state)
{
        (void) state;
        struct config c;
        assert_ok(read_config(
                COMMAND_ADD,
                "{'name':'n','vlanTrunk':[{'id':9},{'minID':3,'maxID':5},{'minID':5,'maxID':7,'id':"
                "4094},{'id':8},{}]}",
                &c));
        assert_true(c.has_trunk);
        assert_int_equal(c.n_trunk, 2);
        assert_int_equal(c.trunk[0].first, 3);
        assert_int_equal(c.trunk[0].last, 9);
        assert_int_equal(c.trunk[1].first, 4094);
        assert_int_equal(c.trunk[1].last, 4094);
        assert_ok(read_config(COMMAND_ADD, "{'name':'n','vlanTrunk':[]}", &c));
        assert_true(c.has_trunk);
        assert_int_equal(c.n_trunk, 0);
        assert_false(c.preserve_default_vlan);
        arena_done(&arena);
}

static struct error *read_conditions(const char *list, uint8_t family, struct fw_conditions *out)
{
        const char *const *words = NULL;
        TRY(jv_want_texts(&arena, json_of(arena_format(&arena, "{'c':%s}", list)), "c", &words));
        return fw_conditions_parse(words, family, out);
}

/* As text: what, "!" where it differs, and the value. */
static const char *conditions_text(const struct fw_conditions *c)
{
        static const char *const kinds[] = { "s", "d", "i" };
        char *text = arena_copy(&arena, "", 0), address[ADDRESS_TEXT_BYTES];
        for (size_t i = 0; i < c->n; i++)
                text = arena_format(
                        &arena, "%s%s%s %s%s", text, kinds[c->all[i].kind], c->all[i].differs ? "!" : "",
                        c->all[i].kind == FW_INTERFACE ? c->all[i].name
                                                       : address_cidr(&c->all[i].address, address),
                        c->all[i].is_beginning ? "*;" : ";");
        return text;
}

static void conditions_are_read_in_both_languages(void **state)
{
        (void) state;
        static const struct {
                const char *list, *means;
                uint8_t family;
        } good[] = {
                { "[]", "", AF_INET },
                { "['']", "", AF_INET },
                { "['-d','192.0.2.1']", "d 192.0.2.1/32;", AF_INET },
                { "['!','-s','10.1.2.3/8','-i','eth+']", "s! 10.0.0.0/8;i eth*;", AF_INET },
                { "['--src','10.0.0.0/255.255.0.0','--dst','10.9.0.0/16']", "s 10.0.0.0/16;d 10.9.0.0/16;",
                  AF_INET },
                { "['!','--in-interface','lo']", "i! lo;", AF_INET },
                { "['--source','fd00::/64','--destination','fd00::1']", "s fd00::/64;d fd00::1/128;",
                  AF_INET6 },
                { "['-s','fd00::/ffff:ffff::']", "s fd00::/32;", AF_INET6 },
                { "['ip saddr 10.0.0.0/8 iifname eth0']", "s 10.0.0.0/8;i eth0;", AF_INET },
                { "['ip6 daddr == fd00::1']", "d fd00::1/128;", AF_INET6 },
        };
        static const struct {
                const char *list, *says;
                enum error_code code;
                uint8_t family;
        } bad[] = {
                { "['-m','physdev']", "\"-m\"", ERROR_UNIMPLEMENTED, AF_INET },
                { "['-d','10.0.0.1','-p','tcp']", "\"-p\"", ERROR_UNIMPLEMENTED, AF_INET },
                { "['-d','10.0.0.1,10.0.0.2']", "10.0.0.1,10.0.0.2", ERROR_UNIMPLEMENTED, AF_INET },
                { "['-d']", "nothing stands behind \"-d\"", ERROR_INVALID_ARGUMENT, AF_INET },
                { "['!']", "nothing stands behind \"!\"", ERROR_INVALID_ARGUMENT, AF_INET },
                { "['-d','fd00::1']", "fd00::1 is not an IPv4 address", ERROR_INVALID_ARGUMENT, AF_INET },
                { "['-d','rubbish']", "not an IP address", ERROR_INVALID_ARGUMENT, AF_INET },
                { "['-d','10.0.0.0/255.0.255.0']", "a hole", ERROR_INVALID_ARGUMENT, AF_INET },
                { "['-i','a/b']", "no interface's name", ERROR_INVALID_ARGUMENT, AF_INET },
                { "['-i','+']", "no interface's name", ERROR_INVALID_ARGUMENT, AF_INET },
                { "['-i','abcdefghijklmnop']", "no interface's name", ERROR_INVALID_ARGUMENT, AF_INET },
                { "['ip saddr { 10.0.0.1 }']", "\"{\"", ERROR_UNIMPLEMENTED, AF_INET },
                { "['ip saddr @set']", "\"@set\"", ERROR_UNIMPLEMENTED, AF_INET },
                { "['ip protocol tcp']", "\"protocol\"", ERROR_UNIMPLEMENTED, AF_INET },
                { "['tcp dport 80']", "\"tcp\"", ERROR_UNIMPLEMENTED, AF_INET },
                { "['ip6 saddr fd00::1']", "the other family", ERROR_INVALID_ARGUMENT, AF_INET },
                { "['ip saddr']", "nothing stands behind \"saddr\"", ERROR_INVALID_ARGUMENT, AF_INET },
                { "['ip saddr !=']", "nothing stands behind \"saddr\"", ERROR_INVALID_ARGUMENT, AF_INET },
                { "['meta']", "nothing stands behind \"meta\"", ERROR_INVALID_ARGUMENT, AF_INET },
                { "['-i','a','-i','a','-i','a','-i','a','-i','a','-i','a','-i','a','-i','a','-i','a','-i','a'"
                  ",'-i','a',"
                  "'-i','a','-i','a','-i','a','-i','a','-i','a','-i','a']",
                  "more than 16", ERROR_UNIMPLEMENTED, AF_INET },
        };
        struct fw_conditions c = { .n = 0 };
        for (size_t i = 0; i < LENGTH(good); i++) {
                assert_ok(read_conditions(good[i].list, good[i].family, &c));
                assert_string_equal(conditions_text(&c), good[i].means);
        }
        static const char *const quoted[] = { "ip daddr != 10.0.0.1", "meta iifname != \"eth*\"", NULL };
        assert_ok(fw_conditions_parse(quoted, AF_INET, &c));
        assert_string_equal(conditions_text(&c), "d! 10.0.0.1/32;i! eth*;");
        for (size_t i = 0; i < LENGTH(bad); i++)
                assert_fails(bad[i].code, bad[i].says, read_conditions(bad[i].list, bad[i].family, &c));
        arena_done(&arena);
}

static struct error *environment(const char *command, const char *id, const char *ifname, const char *args,
                                 struct environment *out)
{
        (void) setenv("CNI_COMMAND", command, 1);
        (void) setenv("CNI_CONTAINERID", id, 1);
        (void) setenv("CNI_NETNS", "/n", 1);
        (void) setenv("CNI_IFNAME", ifname, 1);
        (void) setenv("CNI_PATH", "/p", 1);
        (void) setenv("CNI_ARGS", args, 1);
        return environment_read(&arena, out);
}

static void the_environment_is_checked(void **state)
{
        (void) state;
        struct environment env;
        assert_ok(environment("ADD", "a", "eth0", "", &env));
        assert_ok(environment(
                "ADD", "a", "eth0",
                "IgnoreUnknown=1;K8S_POD_NAMESPACE=ns;K8S_POD_NAME=pod;X=;MAC=02:00:00:00:00:01;IP=10.0.0.5",
                &env));
        assert_string_equal(env.pod, "ns/pod");
        assert_string_equal(env.arg_ip, "10.0.0.5");
        assert_string_equal(env.arg_mac, "02:00:00:00:00:01");
        assert_fails(ERROR_INVALID_ARGUMENT, "unknown args", environment("ADD", "a", "eth0", "X=1", &env));
        assert_fails(ERROR_INVALID_ARGUMENT,
                     "no =", environment("ADD", "a", "eth0", "IgnoreUnknown=1;X", &env));
        assert_fails(ERROR_INVALID_ARGUMENT, "CNI_COMMAND", environment("add", "a", "eth0", "", &env));
        assert_fails(ERROR_INVALID_ARGUMENT, "CNI_CONTAINERID", environment("ADD", "", "eth0", "", &env));
        assert_fails(ERROR_INVALID_ARGUMENT, "CNI_CONTAINERID", environment("ADD", "../a", "eth0", "", &env));
        assert_fails(ERROR_INVALID_ARGUMENT, "CNI_IFNAME", environment("DEL", "a", "", "", &env));
        assert_fails(ERROR_INVALID_ARGUMENT, "CNI_IFNAME",
                     environment("ADD", "a", "abcdefghijklmnop", "", &env));
        assert_fails(ERROR_INVALID_ARGUMENT, "CNI_IFNAME", environment("ADD", "a", "a/b", "", &env));
        (void) setenv("CNI_NETNS", "", 1);
        (void) setenv("CNI_IFNAME", "eth0", 1);
        assert_fails(ERROR_INVALID_ARGUMENT, "CNI_NETNS", environment_read(&arena, &env));
        (void) setenv("CNI_COMMAND", "DEL", 1);
        assert_ok(environment_read(&arena, &env));
        arena_done(&arena);
}

static char *rewritten(const char *text, enum cni_version version)
{
        struct result result;
        struct buf out;
        buf_init(&out, 10000);
        assert_ok(result_parse(&arena, json_of(text), CNI_0_1_0, &result));
        assert_ok(result_write(&result, version, &out));
        char *copy = arena_copy(&arena, out.bytes, out.len_bytes);
        buf_done(&out);
        return copy;
}

static void results_are_written_in_every_version(void **state)
{
        (void) state;
        static const char full[] =
                "{'cniVersion':'1.1.0','interfaces':[{'name':'br'},{'name':'eth0','mac':'02:00:00:00:00:01',"
                "'sandbox':'/n'}],'ips':[{'interface':1,'address':'10.0.0.2/"
                "24','gateway':'10.0.0.1'},{'address':"
                "'fd00::2/64'}],'routes':[{'dst':'0.0.0.0/0','gw':'10.0.0.1','mtu':1400},{'dst':'::/"
                "0'}],'dns':"
                "{'nameservers':['1.1.1.1'],'domain':'d'}}";
        assert_string_equal(
                rewritten(full, CNI_1_1_0),
                "{\"cniVersion\":\"1.1.0\",\"interfaces\":[{\"name\":\"br\"},{\"name\":\"eth0\",\"mac\":"
                "\"02:00:00:00:00:01\",\"sandbox\":\"/n\"}],\"ips\":[{\"interface\":1,\"address\":\"10.0.0.2/"
                "24\","
                "\"gateway\":\"10.0.0.1\"},{\"address\":\"fd00::2/64\"}],\"routes\":[{\"dst\":\"0.0.0.0/"
                "0\",\"gw\":"
                "\"10.0.0.1\",\"mtu\":1400},{\"dst\":\"::/"
                "0\"}],\"dns\":{\"nameservers\":[\"1.1.1.1\"],\"domain\":"
                "\"d\"}}\n");
        assert_null(strstr(rewritten(full, CNI_1_0_0), "mtu"));
        assert_null(strstr(rewritten(full, CNI_1_0_0), "version\":\"4"));
        assert_non_null(strstr(rewritten(full, CNI_0_4_0), "{\"version\":\"4\",\"interface\":1,\"address\""));
        assert_non_null(strstr(rewritten(full, CNI_0_3_0), "{\"version\":\"6\",\"address\":\"fd00::2/64\"}"));
        char *old = rewritten(full, CNI_0_2_0);
        assert_string_equal(
                old, "{\"cniVersion\":\"0.2.0\",\"ip4\":{\"ip\":\"10.0.0.2/24\",\"gateway\":\"10.0.0.1\","
                     "\"routes\":[{\"dst\":\"0.0.0.0/0\",\"gw\":\"10.0.0.1\"}]},\"ip6\":{\"ip\":"
                     "\"fd00::2/64\",\"routes\":[{\"dst\":\"::/0\"}]},\"dns\":{\"nameservers\":[\"1.1.1.1\"],"
                     "\"domain\":\"d\"}}\n");
        for (char *c = old; *c; c++)
                if (*c == '"')
                        *c = '\'';
        assert_non_null(
                strstr(rewritten(old, CNI_1_0_0), "\"ips\":[{\"address\":\"10.0.0.2/24\",\"gateway\""));
        arena_done(&arena);
}

static void errors_are_valid_json_whatever_is_in_them(void **state)
{
        (void) state;
        struct buf out;
        const struct jv *json = NULL;
        buf_init(&out, 1000);
        assert_ok(result_write_error(7, "a \"b\" \\ \n \xff \xc3\xa9 \xed\xa0\x80", &out));
        assert_ok(jv_parse(&arena, out.bytes, out.len_bytes, &json));
        assert_string_equal(jv_get(json, "msg")->text,
                            "a \"b\" \\ \n \xef\xbf\xbd \xc3\xa9 \xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd");
        assert_string_equal(jv_get(json, "code")->text, "7");
        buf_done(&out);
        arena_done(&arena);
}

UNIT_MAIN(TEST(json_is_strict), TEST(addresses_are_written_as_host_local_names_them),
          TEST(keys_are_found_in_any_case), TEST(what_is_not_said_has_the_plugins_defaults),
          TEST(bad_configurations_are_refused_by_key), TEST(trunks_become_ranges),
          TEST(conditions_are_read_in_both_languages), TEST(the_environment_is_checked),
          TEST(results_are_written_in_every_version), TEST(errors_are_valid_json_whatever_is_in_them))
