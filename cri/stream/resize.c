#include "cri/stream/resize.h"
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* The value of a name in a flat object: a number that fits in 16 bits. Go takes names in any case. */
static bool number_of(const char *object, const char *name, uint16_t *out)
{
        size_t name_bytes = strlen(name);
        for (const char *at = object; (at = strchr(at, '"')); at++) {
                if (strncasecmp(at + 1, name, name_bytes) != 0 || at[1 + name_bytes] != '"')
                        continue;
                const char *value = at + name_bytes + 2;
                value += strspn(value, " \t\r\n");
                if (*value++ != ':')
                        continue;
                value += strspn(value, " \t\r\n");
                char *end;
                unsigned long number = strtoul(value, &end, 10);
                if (*value < '0' || *value > '9' || number > UINT16_MAX || !strchr(" \t\r\n,}", *end))
                        return false;
                *out = (uint16_t) number;
                return true;
        }
        return false;
}

bool resize_read(struct resize_reader *reader, const uint8_t *bytes, size_t len_bytes, uint16_t *rows,
                 uint16_t *columns)
{
        bool found = false;
        for (size_t i = 0; i < len_bytes; i++) {
                uint16_t width, height;
                if (bytes[i] == '{')
                        reader->len_bytes = 0;
                else if (reader->len_bytes == 0)
                        continue;
                if (reader->len_bytes == sizeof(reader->object) - 1) {
                        reader->len_bytes = 0;
                        continue;
                }
                reader->object[reader->len_bytes++] = (char) bytes[i];
                if (bytes[i] != '}')
                        continue;
                reader->object[reader->len_bytes] = '\0';
                reader->len_bytes = 0;
                if (!number_of(reader->object, "Width", &width) ||
                    !number_of(reader->object, "Height", &height))
                        continue;
                *columns = width;
                *rows = height;
                found = true;
        }
        return found;
}
