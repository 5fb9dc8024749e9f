/* pull, import, rmi. */
#include "cri/client/command.h"
#include <getopt.h>
#include <limits.h>
#include <string.h>

static struct error *pull_one(struct context *context, const char *name)
{
        Cri__ImageSpec spec = CRI__IMAGE_SPEC__INIT;
        Cri__PullImageRequest request = CRI__PULL_IMAGE_REQUEST__INIT;
        _cleanup_(client_answer_freep) Cri__PullImageResponse *answer = NULL;
        spec.image = name;
        request.image = &spec;
        TRY(image_call(context, "PullImage", &request, 0, &answer));
        (void) printf("%s\n", answer->image_ref);
        return NULL;
}

struct error *pull_command(struct context *context, int argc, char **argv)
{
        if (argc < 2 || argv[1][0] == '-')
                return USAGE_ERROR("which image?");
        for (int i = 1; i < argc; i++)
                TRY(pull_one(context, argv[i]));
        return NULL;
}

struct error *import_command(struct context *context, int argc, char **argv)
{
        static const struct option flags[] = { { "name", required_argument, NULL, 'n' }, { 0 } };
        Admin__ImportImageRequest request = ADMIN__IMPORT_IMAGE_REQUEST__INIT;
        _cleanup_(client_answer_freep) Admin__ImportImageResponse *answer = NULL;
        for (int flag; (flag = getopt_long(argc, argv, "+n:", flags, NULL)) != -1;) {
                if (flag != 'n')
                        return USAGE_ERROR("unknown flag %s", argv[optind - 1]);
                request.name = optarg;
        }
        if (optind + 1 != argc)
                return USAGE_ERROR("one file is needed");
        char path[PATH_MAX]; /* skiffd opens it, and has another working directory */
        if (!realpath(argv[optind], path))
                return error_as(error_errno(errno, "%s", argv[optind]), ERROR_NOT_FOUND);
        request.path = path;
        TRY(admin_call(context, "ImportImage", &request, 0, &answer));
        for (size_t i = 0; i < answer->n_image_ids; i++)
                (void) printf("%s\n", answer->image_ids[i]);
        return NULL;
}

/* RemoveImage of an unknown image is success for kubelet's sake; a person wants to know. */
static struct error *remove_one(struct context *context, const char *name)
{
        _cleanup_(object_done) struct object object = { 0 };
        TRY(object_find(context, OBJECT_IMAGE, name, &object));
        Cri__ImageSpec spec = CRI__IMAGE_SPEC__INIT;
        Cri__RemoveImageRequest request = CRI__REMOVE_IMAGE_REQUEST__INIT;
        _cleanup_(client_answer_freep) Cri__RemoveImageResponse *answer = NULL;
        spec.image = name;
        request.image = &spec;
        TRY(image_call(context, "RemoveImage", &request, CALL_TIMEOUT_MS, &answer));
        (void) printf("%s\n", name);
        return NULL;
}

struct error *rmi_command(struct context *context, int argc, char **argv)
{
        if (argc < 2 || argv[1][0] == '-')
                return USAGE_ERROR("which image?");
        for (int i = 1; i < argc; i++)
                TRY(remove_one(context, argv[i]));
        return NULL;
}
