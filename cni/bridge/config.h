/* config.h - what one call of the plugin is asked: CNI_* of the environment and the network configuration, checked.
 *
 * The keys are those of Debian's bridge, host-local and portmap, in any case of letters. What is read lives in the arena
 * of the call. Of a configuration for DEL and GC only that is read which they need, so that what ADD would refuse can
 * still be undone. Threads: one at a time.
 * Source: CNI SPEC.md 1.1.0; the documentation of the three plugins. */
#pragma once
#include "base/error.h"
#include "cni/bridge/address.h"
#include "cni/bridge/arena.h"
#include "cni/bridge/json.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum command { COMMAND_ADD, COMMAND_DEL, COMMAND_CHECK, COMMAND_GC, COMMAND_STATUS, COMMAND_VERSION };

enum cni_version {
        CNI_0_1_0,
        CNI_0_2_0,
        CNI_0_3_0,
        CNI_0_3_1,
        CNI_0_4_0,
        CNI_1_0_0,
        CNI_1_1_0,
        CNI_VERSIONS
};

/* "1.0.0". */
const char *cni_version_text(enum cni_version version);

/* Which version a text names. Errors: OUT_OF_RANGE, naming those that are known. */
MUST_CHECK struct error *cni_version_parse(const char *text, enum cni_version *out);

/* Whether s can be a network's name or a container's id, which become names of files: a letter or digit, then also
 * "_", "." and "-"; 200 bytes at most. Whether it can be an interface's. */
bool config_name_is_valid(const char *s);
bool config_ifname_is_valid(const char *s);

struct environment {
        enum command command;
        const char *container_id, *netns, *ifname, *args, *path; /* "" where not set */
        const char *command_text;
        const char *pod;    /* "namespace/name" from CNI_ARGS, or NULL */
        const char *arg_ip; /* of CNI_ARGS, or NULL */
        const char *arg_mac;
};

/* Reads and checks the environment of this process. Errors: INVALID_ARGUMENT, what a runtime shows with CNI's code 4. */
MUST_CHECK struct error *environment_read(struct arena *arena, struct environment *out);

struct range {
        struct address subnet, start, end, gateway;
};

struct range_set {
        struct range *ranges;
        size_t n_ranges;
};

struct route {
        struct address dst, gateway;                 /* gateway.family 0: none */
        int64_t mtu, advmss, priority, table, scope; /* -1: not said */
};

struct dns {
        const char *domain; /* NULL: none; and the lists */
        const char *const *nameservers, *const *search, *const *options;
};

struct port {
        uint8_t protocol; /* IPPROTO_TCP, IPPROTO_UDP, IPPROTO_SCTP */
        uint16_t host_port, container_port;
        struct address host; /* family 0: every address of the node */
};

struct vlan_range {
        uint16_t first, last; /* 1 to 4094 */
};

struct attachment {
        const char *container_id, *ifname;
};

struct ipam {
        const char *type; /* NULL: none, layer 2 alone */
        bool is_local;    /* host-local, which is built in */
        const char *data_dir, *resolv_conf;
        struct range_set *sets;
        size_t n_sets;
        struct route *routes;
        size_t n_routes;
        struct address *requested;
        size_t n_requested;
};

struct config {
        struct arena *arena;
        const char *raw; /* as it came, for an ipam that is a plugin of its own */
        size_t raw_len_bytes;
        const struct jv *json;
        enum cni_version version;
        const char *name, *bridge;
        bool is_gateway, is_default_gateway, force_address, ip_masq, hairpin, promisc, mac_spoof_check;
        bool enable_dad, disable_container_interface, port_isolation;
        uint32_t mtu;             /* bytes; 0: the kernel's own */
        uint16_t vlan;            /* 0: none */
        bool has_trunk;           /* the key is there */
        struct vlan_range *trunk; /* in order, without overlap */
        size_t n_trunk;
        bool preserve_default_vlan;
        bool has_mac;
        uint8_t mac[6];
        struct ipam ipam;
        struct dns dns;
        struct port *ports;
        size_t n_ports;
        bool snat, masq_all;
        int mark_masq_bit; /* -1: not said */
        const char *const *conditions_v4, *const *conditions_v6;
        const struct jv *prev_result; /* NULL: none */
        struct attachment *valid;     /* of GC */
        size_t n_valid;
};

/* Reads json, which out keeps. Errors: INVALID_ARGUMENT, with the key; UNIMPLEMENTED for a key that is known and not
 * built; OUT_OF_RANGE for a version that is not known or has no such command. */
MUST_CHECK struct error *config_read(const struct environment *env, const struct jv *json,
                                     struct config *out);

/* The part of "ipam", runtimeConfig and args that says which addresses and routes; strict as config_read. */
MUST_CHECK struct error *config_read_ipam(const struct environment *env, struct config *config);

/* "vlan", "vlanTrunk" and "preserveDefaultVlan"; strict as config_read. */
MUST_CHECK struct error *config_read_vlans(struct config *config);

/* A route, and a dns, of a configuration or a result. */
MUST_CHECK struct error *config_read_route(const struct jv *json, struct route *out);
MUST_CHECK struct error *config_read_dns(struct arena *arena, const struct jv *json, struct dns *out);

/* Whether nothing is in it. */
bool dns_is_empty(const struct dns *dns);
