#include "pods/cdi/yaml.h"
#include "base/cleanup.h"
#include "pods/cdi/edits.h"
#include <string.h>
#include <strings.h>
#include <yaml.h>

#define VALUES_MAX 100000
#define TEXTS_MAX_BYTES (8U << 20) /* of all values: an alias makes its text anew */
#define ANCHORS_MAX 1000           /* libyaml compares each with all before it */
#define DEPTH_MAX 64
#define SHOWN_BYTES 100 /* of a text in a message */

struct reader {
        yaml_document_t document;
        size_t left;       /* values that may still be read: an alias counts each time */
        size_t left_bytes; /* of their texts */
};

static struct error *read_object(struct reader *r, const yaml_node_t *node, const struct yaml_object *object,
                                 void *into);

static unsigned long line_of(const yaml_node_t *node)
{
        return (unsigned long) node->start_mark.line + 1;
}

static struct error *not_a(const yaml_node_t *node, const char *wanted)
{
        return error_new(ERROR_INVALID_ARGUMENT, "line %lu: this should be %s", line_of(node), wanted);
}

static struct error *take_node(struct reader *r, int index, const yaml_node_t **out)
{
        *out = yaml_document_get_node(&r->document, index);
        if (!*out)
                return error_new(ERROR_INVALID_ARGUMENT, "no value %d", index);
        if (r->left == 0)
                return error_new(ERROR_INVALID_ARGUMENT, "line %lu: more than %d values", line_of(*out),
                                 VALUES_MAX);
        r->left--;
        return NULL;
}

/* --- scalars --- */

static bool is_plain(const yaml_node_t *node)
{
        return node->data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
}

static bool is_null(const yaml_node_t *node)
{
        static const char *const spellings[] = { "", "~", "null", "Null", "NULL" };
        if (node->type != YAML_SCALAR_NODE || !is_plain(node))
                return false;
        for (size_t i = 0; i < LENGTH(spellings); i++)
                if (strcmp((const char *) node->data.scalar.value, spellings[i]) == 0)
                        return true;
        return false;
}

/* Numbers and booleans are texts too, where a text is wanted. */
static struct error *read_text(struct reader *r, const yaml_node_t *node, char **out)
{
        if (node->type != YAML_SCALAR_NODE)
                return not_a(node, "a text");
        const char *text = (const char *) node->data.scalar.value;
        if (strlen(text) != node->data.scalar.length)
                return error_new(ERROR_INVALID_ARGUMENT, "line %lu: a text with a NUL", line_of(node));
        if (node->data.scalar.length > r->left_bytes)
                return error_new(ERROR_INVALID_ARGUMENT, "line %lu: more than %u bytes of texts",
                                 line_of(node), TEXTS_MAX_BYTES);
        r->left_bytes -= node->data.scalar.length;
        *out = dup_string(text);
        return NULL;
}

static int base_of(const char **digits)
{
        const char *at = *digits;
        if (at[0] != '0' || !at[1])
                return 10;
        int base = at[1] == 'x' ? 16 : at[1] == 'b' ? 2 : 8;
        *digits = at + (at[1] == 'x' || at[1] == 'b' || at[1] == 'o' ? 2 : 1);
        return base;
}

static struct error *read_number(const yaml_node_t *node, int64_t least, int64_t most, int64_t *out)
{
        char digits[72];
        size_t n = 0;
        if (node->type != YAML_SCALAR_NODE || !is_plain(node))
                return not_a(node, "a number");
        const char *text = (const char *) node->data.scalar.value;
        bool negative = *text == '-';
        text += *text == '-' || *text == '+';
        for (const char *c = text; *c && n + 1 < sizeof(digits); c++)
                if (*c != '_')
                        digits[n++] = *c;
        digits[n] = '\0';
        const char *start = digits;
        char *end = NULL;
        int base = base_of(&start);
        errno = 0;
        long long number = strtoll(start, &end, base);
        if (!*start || !strchr("0123456789abcdefABCDEF", *start) || *end || errno)
                return not_a(node, "a whole number");
        number = negative ? -number : number;
        if (number < least || number > most)
                return error_new(ERROR_INVALID_ARGUMENT, "line %lu: %lld is not from %lld to %lld",
                                 line_of(node), number, (long long) least, (long long) most);
        *out = number;
        return NULL;
}

static struct error *read_boolean(const yaml_node_t *node, int64_t *out)
{
        static const char *const yes[] = { "true", "yes", "on" }, *const no[] = { "false", "no", "off" };
        const char *text = node->type == YAML_SCALAR_NODE && is_plain(node)
                                   ? (const char *) node->data.scalar.value
                                   : "";
        for (size_t i = 0; i < LENGTH(yes); i++) {
                if (strcasecmp(text, yes[i]) != 0 && strcasecmp(text, no[i]) != 0)
                        continue;
                *out = strcasecmp(text, yes[i]) == 0;
                return NULL;
        }
        return not_a(node, "true or false");
}

/* --- lists --- */

static size_t length_of(const yaml_node_t *node)
{
        return (size_t) (node->data.sequence.items.top - node->data.sequence.items.start);
}

static struct error *read_texts(struct reader *r, const yaml_node_t *node, char ***out)
{
        if (node->type != YAML_SEQUENCE_NODE)
                return not_a(node, "a list of texts");
        size_t n = length_of(node);
        free_strings(*out);
        *out = NEW_ARRAY(char *, n + 1);
        for (size_t i = 0; i < n; i++) {
                const yaml_node_t *item = NULL;
                TRY(take_node(r, node->data.sequence.items.start[i], &item));
                TRY(read_text(r, item, &(*out)[i]));
        }
        return NULL;
}

/* A list's pointer and length lie behind one another, whatever it points to. */
struct list {
        char *items;
        size_t n;
};

static struct error *read_list(struct reader *r, const yaml_node_t *node, const struct yaml_field *field,
                               void *at)
{
        struct list list = { .items = NULL };
        size_t size_bytes = field->kind == YAML_NUMBERS ? sizeof(uint32_t) : field->object->size_bytes;
        if (node->type != YAML_SEQUENCE_NODE)
                return not_a(node, "a list");
        size_t n = length_of(node);
        list.items = new_zeroed(n + 1, size_bytes);
        memcpy(at, &list, sizeof(list));
        for (size_t i = 0; i < n; i++) {
                const yaml_node_t *item = NULL;
                int64_t number = 0;
                TRY(take_node(r, node->data.sequence.items.start[i], &item));
                list.n++;
                memcpy(at, &list, sizeof(list)); /* with one that fails: it may hold something */
                if (field->kind == YAML_OBJECTS) {
                        TRY(read_object(r, item, field->object, list.items + i * size_bytes));
                        continue;
                }
                TRY(read_number(item, field->least, field->most, &number));
                uint32_t value = (uint32_t) number;
                memcpy(list.items + i * size_bytes, &value, sizeof(value));
        }
        return NULL;
}

static struct error *read_text_map(struct reader *r, const yaml_node_t *node, bool *has_entries)
{
        if (node->type != YAML_MAPPING_NODE)
                return not_a(node, "texts by name");
        for (const yaml_node_pair_t *pair = node->data.mapping.pairs.start;
             pair < node->data.mapping.pairs.top; pair++) {
                const yaml_node_t *key = NULL, *value = NULL;
                TRY(take_node(r, pair->key, &key));
                TRY(take_node(r, pair->value, &value));
                if (key->type != YAML_SCALAR_NODE || value->type != YAML_SCALAR_NODE)
                        return not_a(key, "a text by its name");
                *has_entries = true;
        }
        return NULL;
}

/* --- objects --- */

static const struct yaml_field *field_of(const struct yaml_object *object, const yaml_node_t *key)
{
        if (key->type != YAML_SCALAR_NODE)
                return NULL;
        for (size_t i = 0; i < object->n; i++)
                if (strcasecmp(object->fields[i].name, (const char *) key->data.scalar.value) == 0)
                        return &object->fields[i];
        return NULL;
}

static struct error *read_field(struct reader *r, const yaml_node_t *node, const struct yaml_field *field,
                                void *into)
{
        void *at = (char *) into + field->offset;
        struct cdi_number *number = at;
        switch (field->kind) {
        case YAML_TEXT:
                return read_text(r, node, at);
        case YAML_TEXTS:
                return read_texts(r, node, at);
        case YAML_NUMBER:
                number->is_set = true;
                return read_number(node, field->least, field->most, &number->value);
        case YAML_BOOLEAN:
                number->is_set = true;
                return read_boolean(node, &number->value);
        case YAML_NUMBERS:
        case YAML_OBJECTS:
                return read_list(r, node, field, at);
        case YAML_TEXT_MAP:
                return read_text_map(r, node, at);
        case YAML_OBJECT:
                break;
        }
        return read_object(r, node, field->object, at);
}

static struct error *read_pair(struct reader *r, const yaml_node_pair_t *pair,
                               const struct yaml_object *object, uint64_t *seen, void *into)
{
        const yaml_node_t *key = NULL, *value = NULL;
        TRY(take_node(r, pair->key, &key));
        TRY(take_node(r, pair->value, &value));
        const struct yaml_field *field = field_of(object, key);
        const char *name = key->type == YAML_SCALAR_NODE ? (const char *) key->data.scalar.value : "?";
        if (!field)
                return error_new(ERROR_INVALID_ARGUMENT, "line %lu: unknown key \"%.*s\"", line_of(key),
                                 SHOWN_BYTES, name);
        uint64_t bit = UINT64_C(1) << (field - object->fields);
        if (*seen & bit)
                return error_new(ERROR_INVALID_ARGUMENT, "line %lu: \"%s\" is there twice", line_of(key),
                                 field->name);
        *seen |= bit;
        if (is_null(value)) /* as if it were not there */
                return NULL;
        TRY_WRAP(read_field(r, value, field, into), "%s", field->name);
        return NULL;
}

static struct error *read_object(struct reader *r, const yaml_node_t *node, const struct yaml_object *object,
                                 void *into)
{
        uint64_t seen = 0;
        if (node->type != YAML_MAPPING_NODE)
                return not_a(node, "values by name");
        if (object->set_offset != SIZE_MAX)
                *(bool *) ((char *) into + object->set_offset) = true;
        for (const yaml_node_pair_t *pair = node->data.mapping.pairs.start;
             pair < node->data.mapping.pairs.top; pair++)
                TRY(read_pair(r, pair, object, &seen, into));
        return NULL;
}

/* --- the text --- */

static struct error *parser_error(const yaml_parser_t *parser)
{
        const char *problem = parser->problem ? parser->problem : "out of memory";
        return error_new(ERROR_INVALID_ARGUMENT, "line %lu: %s",
                         (unsigned long) parser->problem_mark.line + 1, problem);
}

static bool is_anchored(const yaml_event_t *event)
{
        return (event->type == YAML_SCALAR_EVENT && event->data.scalar.anchor) ||
               (event->type == YAML_SEQUENCE_START_EVENT && event->data.sequence_start.anchor) ||
               (event->type == YAML_MAPPING_START_EVENT && event->data.mapping_start.anchor);
}

/* A look before a document is made of it, which costs as much as it has anchors times anchors, and is as deep as it says. */
static struct error *check_events(yaml_parser_t *parser)
{
        size_t n_anchors = 0, depth = 0;
        for (bool more = true; more;) {
                yaml_event_t event;
                if (!yaml_parser_parse(parser, &event))
                        return parser_error(parser);
                yaml_event_type_t type = event.type;
                unsigned long line = (unsigned long) event.start_mark.line + 1;
                n_anchors += is_anchored(&event);
                depth += type == YAML_SEQUENCE_START_EVENT || type == YAML_MAPPING_START_EVENT;
                depth -= type == YAML_SEQUENCE_END_EVENT || type == YAML_MAPPING_END_EVENT;
                more = type != YAML_DOCUMENT_END_EVENT && type != YAML_STREAM_END_EVENT;
                yaml_event_delete(&event);
                if (n_anchors > ANCHORS_MAX || depth > DEPTH_MAX)
                        return error_new(ERROR_INVALID_ARGUMENT,
                                         "line %lu: more than %d anchors, or values deeper than %d", line,
                                         ANCHORS_MAX, DEPTH_MAX);
        }
        return NULL;
}

static struct error *check(const char *text, size_t len_bytes)
{
        yaml_parser_t parser;
        if (!yaml_parser_initialize(&parser))
                return error_errno(ENOMEM, "read YAML");
        yaml_parser_set_input_string(&parser, (const unsigned char *) text, len_bytes);
        struct error *e = check_events(&parser);
        yaml_parser_delete(&parser);
        return e;
}

static struct error *load(const char *text, size_t len_bytes, yaml_document_t *out)
{
        yaml_parser_t parser;
        struct error *e = NULL;
        TRY(check(text, len_bytes));
        if (!yaml_parser_initialize(&parser))
                return error_errno(ENOMEM, "read YAML");
        yaml_parser_set_input_string(&parser, (const unsigned char *) text, len_bytes);
        if (!yaml_parser_load(&parser, out))
                e = parser_error(&parser);
        yaml_parser_delete(&parser);
        return e;
}

struct error *yaml_read(const char *text, size_t len_bytes, const struct yaml_object *object, void *into)
{
        struct reader r = { .left = VALUES_MAX, .left_bytes = TEXTS_MAX_BYTES };
        TRY(load(text, len_bytes, &r.document));
        const yaml_node_t *root = yaml_document_get_root_node(&r.document);
        struct error *e = !root || is_null(root) ? error_new(ERROR_INVALID_ARGUMENT, "there is nothing in it")
                                                 : read_object(&r, root, object, into);
        yaml_document_delete(&r.document);
        return e;
}
