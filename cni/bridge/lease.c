#include "cni/bridge/lease.h"
#include "base/cleanup.h"
#include "cni/bridge/address.h"
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

bool lease_read(int dir_fd, const char *name, struct lease *out)
{
        _cleanup_(closep) int fd = openat(dir_fd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
        ssize_t n_bytes = fd < 0 ? -1 : read(fd, out->text, LEASE_MAX_BYTES);
        if (n_bytes < 0)
                return false;
        out->text[n_bytes] = '\0';
        char *id = out->text + strspn(out->text, " \t\r\n");
        char *ifname = strpbrk(id, "\r\n");
        if (ifname) {
                *ifname++ = '\0';
                ifname += strspn(ifname, "\r\n");
                ifname[strcspn(ifname, " \t\r\n")] = '\0';
        }
        id[strcspn(id, " \t")] = '\0';
        out->id = id;
        out->ifname = ifname && *ifname ? ifname : NULL;
        return true;
}

bool lease_is_of(const struct lease *lease, const char *container_id, const char *ifname)
{
        return strcmp(lease->id, container_id) == 0 && (!lease->ifname || strcmp(lease->ifname, ifname) == 0);
}

bool lease_name_is_valid(const char *name)
{
        struct address a;
        if (strncmp(name, "last_reserved", strlen("last_reserved")) == 0 || strcmp(name, "lock") == 0)
                return false;
        struct error *e = address_parse(name, &a);
        error_free(e);
        return !e;
}
