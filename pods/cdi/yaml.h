/* yaml.h - YAML into structs, by tables of fields. Private to pods/cdi.
 *
 * libyaml makes the tree, and a table says what each key is and where it goes. Threads: any. Source: libyaml 0.2.5; YAML 1.1
 * for the spelling of numbers. */
#pragma once
#include "base/error.h"
#include <stddef.h>
#include <stdint.h>

enum yaml_kind {
        YAML_TEXT,     /* char * */
        YAML_TEXTS,    /* char **, NULL-terminated */
        YAML_NUMBER,   /* struct cdi_number */
        YAML_BOOLEAN,  /* struct cdi_number, 0 or 1 */
        YAML_NUMBERS,  /* uint32_t *, size_t behind it */
        YAML_OBJECT,   /* the struct itself */
        YAML_OBJECTS,  /* a pointer to the structs, size_t behind it */
        YAML_TEXT_MAP, /* bool: whether it has an entry */
};

struct yaml_object;
struct yaml_field {
        const char *name;
        enum yaml_kind kind;
        size_t offset;
        int64_t least, most; /* of numbers */
        const struct yaml_object *object;
};
struct yaml_object {
        size_t size_bytes;
        const struct yaml_field *fields;
        size_t n;
        size_t set_offset; /* of a bool that says it is there; SIZE_MAX: none */
};

/* Reads the first document of text into `into`, which is zeroed and has what was read also after an error: the caller's to
 * free. Errors: INVALID_ARGUMENT "line 3: ...". */
MUST_CHECK struct error *yaml_read(const char *text, size_t len_bytes, const struct yaml_object *object,
                                   void *into);
