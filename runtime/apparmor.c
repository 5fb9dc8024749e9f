#include "runtime/apparmor.h"
#include "base/file.h"
#include "base/process.h"
#include <ctype.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#define PROFILES_LIMIT_BYTES (4 << 20) /* some thousands of them */
#define PARSER_OUTPUT_BYTES 4096
#define PARSER_TIMEOUT_MS 20000
/* The rules that our profile is written for; newer parsers would otherwise take those of the running kernel, and forbid what
 * it does not name. */
#define ABI_FILE "/etc/apparmor.d/abi/3.0"
#define ABI_LINE "abi <abi/3.0>,\n"

struct apparmor {
        char *profiles_path;
        bool is_on, had_default;
};

/* The file as it is, in our own binary: a node needs no file beside it. */
__asm__(".section .rodata\n"
        ".global apparmor_default_text\n"
        ".global apparmor_default_text_end\n"
        "apparmor_default_text:\n"
        ".incbin \"" APPARMOR_PROFILE_PATH "\"\n"
        "apparmor_default_text_end:\n"
        ".byte 0\n"
        ".previous\n");
extern const char apparmor_default_text[], apparmor_default_text_end[];

/* --- what is loaded --- */

/* A line is "NAME (MODE)", and a name may have spaces and parentheses in it. */
static bool is_line_of(const char *line, size_t len_bytes, const char *name)
{
        size_t name_bytes = strlen(name);
        if (len_bytes < name_bytes + 3 || strncmp(line, name, name_bytes) != 0)
                return false;
        const char *mode = line + name_bytes;
        return mode[0] == ' ' && mode[1] == '(' && line[len_bytes - 1] == ')' &&
               !memchr(mode + 2, '(', len_bytes - name_bytes - 2) &&
               memchr(mode, ')', len_bytes - name_bytes) == line + len_bytes - 1;
}

static struct error *is_loaded(const struct apparmor *a, const char *name, bool *loaded)
{
        _cleanup_(freep) char *text = NULL;
        struct error *e = file_read(AT_FDCWD, a->profiles_path, PROFILES_LIMIT_BYTES, &text, NULL);
        if (e)
                return error_as(error_wrap(e, "AppArmor profiles"), ERROR_FAILED_PRECONDITION);
        *loaded = false;
        for (const char *line = text; *line && !*loaded;) {
                size_t len_bytes = strcspn(line, "\n");
                *loaded = is_line_of(line, len_bytes, name);
                line += len_bytes + (line[len_bytes] == '\n');
        }
        return NULL;
}

static struct error *check_name(const char *name)
{
        size_t len_bytes = strlen(name);
        bool good = len_bytes > 0 && len_bytes <= APPARMOR_NAME_MAX && !isspace((unsigned char) name[0]);
        for (const char *c = name; *c && good; c++)
                good = !iscntrl((unsigned char) *c);
        return good ? NULL
                    : error_new(ERROR_INVALID_ARGUMENT, "\"%.64s\" is no name of an AppArmor profile", name);
}

struct error *apparmor_check(const struct apparmor *a, const char *name)
{
        bool loaded = false;
        TRY(check_name(name));
        if (!a->is_on)
                return error_new(ERROR_FAILED_PRECONDITION,
                                 "AppArmor profile \"%s\": this kernel has no AppArmor, or it is off", name);
        TRY(is_loaded(a, name, &loaded));
        if (loaded)
                return NULL;
        if (strcmp(name, APPARMOR_DEFAULT) == 0)
                return error_new(ERROR_FAILED_PRECONDITION,
                                 "AppArmor profile \"%s\" is not loaded: restart skiffd with apparmor_parser "
                                 "installed, or run `apparmor_parser -r /etc/apparmor.d/%s`",
                                 name, name);
        return error_new(ERROR_FAILED_PRECONDITION, "AppArmor profile \"%s\" is not loaded on this node",
                         name);
}

/* --- ours --- */

static const char *parser_find(void)
{
        static const char *const places[] = { "/usr/sbin/apparmor_parser", "/sbin/apparmor_parser",
                                              "/usr/bin/apparmor_parser" };
        for (size_t i = 0; i < LENGTH(places); i++)
                if (access(places[i], X_OK) == 0)
                        return places[i];
        return NULL;
}

static struct error *parser_run(const char *parser, const struct buf *profile)
{
        /* No cache of its own: it would be written where nobody looks, and read where the kernel has changed. */
        const char *const argv[] = { parser, "--add", "--skip-cache", NULL };
        const char *const env[] = { "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C", NULL };
        _cleanup_(buf_done) struct buf out, err;
        struct process_start start = process_start_init(parser, argv);
        struct wait wait = wait_of_ms(PARSER_TIMEOUT_MS);
        int status = 0;
        buf_init(&out, PARSER_OUTPUT_BYTES);
        buf_init(&err, PARSER_OUTPUT_BYTES);
        start.env = env;
        TRY(process_run(&start, profile->bytes, profile->len_bytes, &out, &err, &wait, &status));
        if (status == 0)
                return NULL;
        return error_new(ERROR_FAILED_PRECONDITION, "%s ended with %d: %.*s", parser, status,
                         (int) strcspn(err.len_bytes ? err.bytes : "", "\n"), err.len_bytes ? err.bytes : "");
}

static struct error *default_load(const struct apparmor *a, const char *parser)
{
        bool loaded = false;
        _cleanup_(buf_done) struct buf profile;
        /* cppcheck-suppress comparePointers ; two ends of what the linker laid out */
        size_t len_bytes = (size_t) (apparmor_default_text_end - apparmor_default_text);
        buf_init(&profile, len_bytes + sizeof(ABI_LINE) + 1);
        TRY(is_loaded(a, APPARMOR_DEFAULT, &loaded));
        if (loaded) /* the node's own of that name, or that of a skiffd before us */
                return NULL;
        if (!parser)
                return error_new(ERROR_FAILED_PRECONDITION, "there is no apparmor_parser (package apparmor)");
        if (access(ABI_FILE, R_OK) == 0)
                TRY(buf_append_text(&profile, ABI_LINE));
        TRY(buf_append(&profile, apparmor_default_text, len_bytes));
        TRY(parser_run(parser, &profile));
        return apparmor_check(a, APPARMOR_DEFAULT);
}

/* --- its life --- */

static bool reads_yes(const char *path)
{
        _cleanup_(freep) char *text = NULL;
        struct error *e = file_read(AT_FDCWD, path, 64, &text, NULL);
        bool yes = !e && text[0] == 'Y';
        error_ignore(e); /* a kernel without it has no such file */
        return yes;
}

void apparmor_open(const struct apparmor_config *config, struct apparmor **out, struct error **no_default)
{
        struct apparmor *a = NEW(struct apparmor);
        a->profiles_path = format_string("%s/kernel/security/apparmor/profiles", config->sys_dir);
        _cleanup_(freep) char *enabled =
                format_string("%s/module/apparmor/parameters/enabled", config->sys_dir);
        a->is_on = reads_yes(enabled);
        *no_default = NULL;
        if (a->is_on)
                *no_default = default_load(a, config->parser ? config->parser : parser_find());
        a->had_default = a->is_on && !*no_default;
        *out = a;
}

void apparmor_free(struct apparmor *a)
{
        if (!a)
                return;
        free(a->profiles_path);
        free(a);
}

bool apparmor_is_on(const struct apparmor *a)
{
        return a->is_on;
}

bool apparmor_had_default(const struct apparmor *a)
{
        return a->had_default;
}
