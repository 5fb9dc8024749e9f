/* host_checks.h - what skiff needs of a host, one probe each. Threads: one. */
#pragma once
#include <stddef.h>

enum check_result {
        CHECK_OK,
        CHECK_WARN, /* skiff runs, with less */
        CHECK_FAIL,
};

struct host_check {
        const char *name;
        /* Fills detail with what was found. */
        enum check_result (*probe)(char *detail, size_t size_bytes);
        const char *remedy; /* for a warning or failure */
};

/* Whether all of skiff's programs are beside this one, with the libraries that they need; whether registries' certificates can
 * be checked (program_checks.c). */
enum check_result check_programs(char *detail, size_t size_bytes);
enum check_result check_authorities(char *detail, size_t size_bytes);

/* Whether pods can have user namespaces, AppArmor profiles and SELinux labels here (security_checks.c). */
enum check_result check_user_namespaces(char *detail, size_t size_bytes);
enum check_result check_apparmor(char *detail, size_t size_bytes);
enum check_result check_selinux(char *detail, size_t size_bytes);

extern const struct host_check host_checks[];
extern const size_t n_host_checks;
