/* sysctls.h - a pod's sysctls: which may be set, how they are spelled, and which need the pod's interface. Private to pods/.
 *
 * CRI gives names with dots or slashes, and with the other one for what is part of a name ("net.ipv4.conf.eth0/100.forwarding"
 * is "net/ipv4/conf/eth0.100/forwarding", as sysctl(8) has it). Everything here looks at the path below /proc/sys. */
#pragma once
#include "api/cri.pb-c.h"
#include "base/error.h"
#include <stdbool.h>

/* The path of a name; owned by the caller. */
char *sysctl_path(const char *name);

/* Errors: INVALID_ARGUMENT naming the field: what is no sysctl's name, or not of the pod's own namespaces. */
MUST_CHECK struct error *sysctls_check(const Cri__LinuxPodSandboxConfig *config);

/* Whether it is of an interface that is there only when the pod's network is. */
bool sysctl_is_of_interface(const char *path);
