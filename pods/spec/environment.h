/* environment.h - a process's variables while they are put together: the last of a name counts, in the place of the first.
 * Private to pods/. Threads: one at a time.
 *
 * An image and a pod with service links may each have tens of thousands, so a name is looked up, not searched for. */
#pragma once
#include <stdbool.h>
#include <stddef.h>

struct environment {
        char **entries; /* "NAME=value" each, NULL-terminated once it has one */
        size_t n, room;
        struct environment_name *names;
};

/* Takes over entry, which has a '='. */
void environment_set(struct environment *e, char *entry);
bool environment_has(const struct environment *e, const char *name);

/* The entries are the caller's from then on, NULL-terminated, never NULL. environment_done frees what is not taken. */
char **environment_take(struct environment *e);
void environment_done(struct environment *e);
