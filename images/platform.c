#include "images/platform.h"
#include "base/cleanup.h"
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/utsname.h>

#define RANK_UNKNOWN 100

/* What Go calls it; the variant only where the name says one. */
static const struct {
        const char *written, *name, *variant;
} architectures[] = {
        { "x86_64", "amd64", "" },
        { "x86-64", "amd64", "" },
        { "x64", "amd64", "" },
        { "aarch64", "arm64", "" },
        { "armv8", "arm64", "" },
        { "i386", "386", "" },
        { "i486", "386", "" },
        { "i586", "386", "" },
        { "i686", "386", "" },
        { "x86", "386", "" },
        { "armhf", "arm", "v7" },
        { "armv7l", "arm", "v7" },
        { "armv7", "arm", "v7" },
        { "armv6l", "arm", "v6" },
        { "armel", "arm", "v6" },
        { "powerpc64le", "ppc64le", "" },
        { "loongarch64", "loong64", "" },
};

static const char *or_empty(const char *text)
{
        return text ? text : "";
}

/* "7" is "v7", and so is what says nothing. */
static const char *arm_variant(const char *written)
{
        static const char *const names[] = { "v5", "v6", "v7", "v8" };
        for (size_t i = 0; i < LENGTH(names); i++)
                if (strcmp(written, names[i] + 1) == 0)
                        return names[i];
        return *written ? written : "v7";
}

static struct platform normal(const struct platform *from)
{
        struct platform to = { or_empty(from->os), or_empty(from->architecture), or_empty(from->variant) };
        for (size_t i = 0; i < LENGTH(architectures); i++)
                if (strcasecmp(to.architecture, architectures[i].written) == 0) {
                        to.architecture = architectures[i].name;
                        to.variant = *to.variant ? to.variant : architectures[i].variant;
                        break;
                }
        /* "8" is "v8"; and these say what is so without them. */
        if (*to.variant >= '0' && *to.variant <= '9' && strcasecmp(to.architecture, "arm64") == 0)
                to.variant = "";
        if ((strcasecmp(to.architecture, "amd64") == 0 && strcasecmp(to.variant, "v1") == 0) ||
            (strcasecmp(to.architecture, "arm64") == 0 && strcasecmp(to.variant, "v8") == 0))
                to.variant = "";
        if (strcasecmp(to.architecture, "arm") == 0)
                to.variant = arm_variant(to.variant);
        return to;
}

static struct platform here(struct utsname *uts)
{
        if (uname(uts) < 0)
                (void) snprintf(uts->machine, sizeof(uts->machine), "unknown");
        const struct platform machine = { "linux", uts->machine, NULL };
        return normal(&machine);
}

/* 32-bit programs of the same family run on most 64-bit kernels. */
static bool is_older_sister(const char *machine, const char *architecture)
{
        return (strcmp(machine, "amd64") == 0 && strcasecmp(architecture, "386") == 0) ||
               (strcmp(machine, "arm64") == 0 && strcasecmp(architecture, "arm") == 0);
}

int platform_rank(const struct platform *platform)
{
        struct utsname uts;
        struct platform machine = here(&uts), p = normal(platform);
        if (!*p.os && !*p.architecture)
                return RANK_UNKNOWN;
        if (*p.os && strcasecmp(p.os, "linux") != 0)
                return 0;
        bool is_arm = strcasecmp(p.architecture, "arm") == 0;
        int variant = is_arm ? strcasecmp(p.variant, "v7") != 0 : *p.variant != 0;
        if (!*p.architecture)
                return RANK_UNKNOWN - 1;
        if (strcasecmp(p.architecture, machine.architecture) == 0)
                return 1 + variant;
        return is_older_sister(machine.architecture, p.architecture) ? 10 + variant : 0;
}

void platform_format(const struct platform *platform, char text[PLATFORM_TEXT_SIZE])
{
        struct platform p = normal(platform);
        bool is_arm64 = strcasecmp(p.architecture, "arm64") == 0;
        (void) snprintf(text, PLATFORM_TEXT_SIZE, "%.30s/%.30s%s%.30s", *p.os ? p.os : "linux",
                        *p.architecture ? p.architecture : "unknown", *p.variant && !is_arm64 ? "/" : "",
                        is_arm64 ? "" : p.variant);
}

void platform_here(char text[PLATFORM_TEXT_SIZE])
{
        struct utsname uts;
        struct platform machine = here(&uts);
        platform_format(&machine, text);
}
