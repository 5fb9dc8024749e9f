/* The compiled descriptors against tests/data/cri-v1.tsv, row by row and both ways: a message, field, number, type,
 * label, enum value or call that one side has and the other has not is named. Which calls stream is not in protobuf-c's
 * descriptors: tests/integration/test_api.py compares that. */
#include "api/admin.pb-c.h"
#include "api/cri.pb-c.h"
#include "tests/unit/unit.h"
#include <stdbool.h>
#include <string.h>

struct rows {
        char **row;
        size_t n;
};

static void rows_add(struct rows *rows, char *row)
{
        rows->row = grow_array(rows->row, rows->n + 1, sizeof(char *));
        rows->row[rows->n++] = row;
}

static void rows_done(struct rows *rows)
{
        for (size_t i = 0; i < rows->n; i++)
                free(rows->row[i]);
        free(rows->row);
}

static bool rows_have(const struct rows *rows, const char *row)
{
        for (size_t i = 0; i < rows->n; i++)
                if (strcmp(rows->row[i], row) == 0)
                        return true;
        return false;
}

static const char *local_name(const char *name)
{
        const char *package = "runtime.v1.";
        assert_int_equal(strncmp(name, package, strlen(package)), 0);
        return name + strlen(package);
}

static bool is_map_entry(const ProtobufCMessageDescriptor *message)
{
        size_t len = strlen(message->name);
        return strchr(local_name(message->name), '.') && len > 5 &&
               strcmp(message->name + len - 5, "Entry") == 0;
}

static const char *type_name(const ProtobufCFieldDescriptor *field)
{
        const ProtobufCMessageDescriptor *entry = field->descriptor; /* where it is a message */
        switch (field->type) {
        case PROTOBUF_C_TYPE_STRING:
                return "string";
        case PROTOBUF_C_TYPE_BYTES:
                return "bytes";
        case PROTOBUF_C_TYPE_BOOL:
                return "bool";
        case PROTOBUF_C_TYPE_INT32:
                return "int32";
        case PROTOBUF_C_TYPE_INT64:
                return "int64";
        case PROTOBUF_C_TYPE_UINT32:
                return "uint32";
        case PROTOBUF_C_TYPE_UINT64:
                return "uint64";
        case PROTOBUF_C_TYPE_DOUBLE:
                return "double";
        case PROTOBUF_C_TYPE_ENUM: {
                const char *name = local_name(((const ProtobufCEnumDescriptor *) field->descriptor)->name);
                return strrchr(name, '.') ? strrchr(name, '.') + 1 : name;
        }
        case PROTOBUF_C_TYPE_MESSAGE:
                return entry ? local_name(entry->name) : "a message without a descriptor";
        default:
                return "a type that CRI does not use";
        }
}

static void add_enum(struct rows *rows, const ProtobufCEnumDescriptor *e)
{
        for (unsigned i = 0; i < e->n_values; i++) {
                char *row = format_string("enum\t%s\t%s\t%d\t\t", local_name(e->name), e->values[i].name,
                                          e->values[i].value);
                if (rows_have(rows, row))
                        free(row);
                else
                        rows_add(rows, row);
        }
}

static void add_message(struct rows *rows, const ProtobufCMessageDescriptor *message);

static void add_field(struct rows *rows, const char *owner, const ProtobufCFieldDescriptor *field)
{
        const char *label = field->label == PROTOBUF_C_LABEL_REPEATED         ? "repeated"
                            : field->flags & PROTOBUF_C_FIELD_FLAG_DEPRECATED ? "deprecated"
                                                                              : "";
        const ProtobufCMessageDescriptor *entry =
                field->type == PROTOBUF_C_TYPE_MESSAGE ? field->descriptor : NULL;
        if (entry && is_map_entry(entry)) {
                rows_add(rows, format_string("field\t%s\t%s\t%u\tmap<%s,%s>\t", owner, field->name, field->id,
                                             type_name(&entry->fields[0]), type_name(&entry->fields[1])));
                return;
        }
        rows_add(rows, format_string("field\t%s\t%s\t%u\t%s\t%s", owner, field->name, field->id,
                                     type_name(field), label));
        if (entry)
                add_message(rows, entry);
        if (field->type == PROTOBUF_C_TYPE_ENUM)
                add_enum(rows, field->descriptor);
}

/* CRI is not recursive, so this ends. */
static void add_message(struct rows *rows, const ProtobufCMessageDescriptor *message)
{
        const char *name = local_name(message->name);
        char *row = format_string("message\t%s\t\t\t\t", name);
        if (rows_have(rows, row)) {
                free(row);
                return;
        }
        rows_add(rows, row);
        for (unsigned i = 0; i < message->n_fields; i++)
                add_field(rows, name, &message->fields[i]);
}

static void add_service(struct rows *rows, const ProtobufCServiceDescriptor *service)
{
        for (unsigned i = 0; i < service->n_methods; i++) {
                const ProtobufCMethodDescriptor *method = &service->methods[i];
                rows_add(rows,
                         format_string("rpc\t%s\t%s\t\t%s\t%s", local_name(service->name), method->name,
                                       local_name(method->input->name), local_name(method->output->name)));
                add_message(rows, method->input);
                add_message(rows, method->output);
        }
}

/* Reads the table; the column "since" is cut off, and "stream " before a call's answer. */
static void read_table(struct rows *rows)
{
        _cleanup_(fclosep) FILE *f = fopen(TESTS_DATA "/cri-v1.tsv", "re");
        assert_non_null(f);
        char line[512];
        while (fgets(line, sizeof(line), f)) {
                line[strcspn(line, "\n")] = '\0';
                if (line[0] == '#')
                        continue;
                char *since = strrchr(line, '\t');
                assert_non_null(since);
                *since = '\0';
                char *stream = strstr(line, "\tstream ");
                if (stream)
                        memmove(stream + 1, stream + strlen("\tstream "),
                                strlen(stream + strlen("\tstream ")) + 1);
                rows_add(rows, dup_string(line));
        }
}

static unsigned report_missing(const struct rows *from, const struct rows *in, const char *where)
{
        unsigned missing = 0;
        for (size_t i = 0; i < from->n; i++)
                if (!rows_have(in, from->row[i])) {
                        print_error("not in %s: %s\n", where, from->row[i]);
                        missing++;
                }
        return missing;
}

static void the_compiled_schema_is_the_table(void **state)
{
        (void) state;
        _cleanup_(rows_done) struct rows table = { 0 }, compiled = { 0 };
        read_table(&table);
        add_service(&compiled, &cri__runtime_service__descriptor);
        add_service(&compiled, &cri__image_service__descriptor);
        assert_true(table.n > 700);
        assert_int_equal(report_missing(&table, &compiled, "the compiled schema"), 0);
        assert_int_equal(report_missing(&compiled, &table, "the table"), 0);
        assert_int_equal(table.n, compiled.n);
}

static void all_43_calls_are_there(void **state)
{
        (void) state;
        assert_int_equal(
                cri__runtime_service__descriptor.n_methods + cri__image_service__descriptor.n_methods, 43);
}

static void the_admin_service_is_named_as_the_command_calls_it(void **state)
{
        (void) state;
        assert_string_equal(admin__admin__descriptor.name, "skiff.admin.v1.Admin");
}

UNIT_MAIN(TEST(the_compiled_schema_is_the_table), TEST(all_43_calls_are_there),
          TEST(the_admin_service_is_named_as_the_command_calls_it))
