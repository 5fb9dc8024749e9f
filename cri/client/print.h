/* print.h - tables for people, and messages as JSON for scripts. Threads: one (stdout). */
#pragma once
#include "base/error.h"
#include <protobuf-c/protobuf-c.h>
#include <stddef.h>
#include <stdint.h>

/* Rows of cells, printed with each column as wide as its widest. Cells belong to the table. */
struct table {
        size_t columns, n; /* n: cells */
        char **cells;
};
void table_init(struct table *table, size_t columns);
void table_add(struct table *table, char *cell); /* an allocated string; rows fill from the left */
void table_print(const struct table *table);     /* the first row is the heading */
void table_done(struct table *table);

char *print_id(const char *id);        /* its first 13 characters, without "sha256:" */
char *print_age(int64_t wall_ns);      /* "5 minutes", from then to now; "-" for 0 */
char *print_size(uint64_t size_bytes); /* "12.3 MB" */

/* Valid JSON, a member a line, for people to read; still valid JSON. */
void print_json_indented(const char *json);

/* A message, or a list of them, as one line of JSON on stdout. */
MUST_CHECK struct error *print_message_json(const ProtobufCMessage *message);
MUST_CHECK struct error *print_list_json(void *const *messages, size_t n);
