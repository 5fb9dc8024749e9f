/* config: what skiffd's configuration is, and whether it would take it. Neither needs a skiffd. */
#include "base/buf.h"
#include "cri/client/command.h"
#include "cri/config.h"
#include <getopt.h>
#include <string.h>
#include <sysexits.h>

#define TEXT_MAX_BYTES ((size_t) 1 << 20)

static struct error *show(const struct skiff_config *config)
{
        _cleanup_(buf_done) struct buf text;
        buf_init(&text, TEXT_MAX_BYTES);
        TRY(buf_append_format(
                &text, "# From %s and %s.d, and what holds without them. A flag of skiffd's wins over it.\n",
                config->config, config->config));
        TRY(config_append_toml(config, &text));
        (void) fwrite(text.bytes, 1, text.len_bytes, stdout); /* main looks at stdout */
        return NULL;
}

static struct error *read_arguments(int argc, char **argv, const char **verb, const char **file)
{
        static const struct option flags[] = { { "config", required_argument, NULL, 'c' }, { 0 } };
        for (int flag; (flag = getopt_long(argc, argv, "", flags, NULL)) != -1;) {
                if (flag != 'c')
                        return USAGE_ERROR("unknown option or no file: %s", argv[optind - 1]);
                *file = optarg;
        }
        if (optind + 1 != argc || (strcmp(argv[optind], "show") != 0 && strcmp(argv[optind], "check") != 0))
                return USAGE_ERROR("show or check?");
        *verb = argv[optind];
        return NULL;
}

struct error *config_command(struct context *context, int argc, char **argv)
{
        _cleanup_(skiff_config_done) struct skiff_config config = { 0 };
        const char *verb = NULL, *file = NULL;
        TRY(read_arguments(argc, argv, &verb, &file));
        char *const as_skiffd[] = { argv[0], (char *) "--config", (char *) (uintptr_t) file, NULL };
        struct error *e = config_load(file ? 3 : 1, as_skiffd, &config);
        if (e) {
                context->error_exit_code = EX_CONFIG;
                return e;
        }
        if (strcmp(verb, "show") == 0)
                return show(&config);
        (void) printf("%s and its drop-ins are as skiffd wants them\n", config.config);
        return NULL;
}
