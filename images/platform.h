/* platform.h - for which machines an image is. Threads: any. Source: OCI image-index.md, "platform"; Go's GOARCH. */
#pragma once

struct platform {
        const char *os, *architecture,
                *variant; /* as an index or config writes them; NULL or "" where it says nothing */
};

/* How well it runs here: 0 not at all; the lower above that, the better. What asks least of the processor goes first, then
 * the older 32-bit sister of this machine's architecture, then what says no platform. Names as others write them (x86_64,
 * aarch64) are understood. */
int platform_rank(const struct platform *platform);

/* "linux/arm64/v8" into text, for errors: Go's names, bounded. */
#define PLATFORM_TEXT_SIZE 96
void platform_format(const struct platform *platform, char text[PLATFORM_TEXT_SIZE]);
void platform_here(char text[PLATFORM_TEXT_SIZE]);
