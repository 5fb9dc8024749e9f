/* import, export, rmi, prune. */
#include "cri/client/command.h"
#include <getopt.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

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
        struct stat st;
        if (stat(path, &st) == 0 && S_ISDIR(st.st_mode))
                return error_new(ERROR_INVALID_ARGUMENT,
                                 "%s is a directory: import a tar of it (tar -C %s -cf layout.tar .)", path,
                                 path);
        request.path = path;
        TRY(admin_call(context, "ImportImage", &request, 0, &answer));
        for (size_t i = 0; i < answer->n_image_ids; i++)
                (void) printf("%s\n", answer->image_ids[i]);
        return NULL;
}

/* skiffd makes the file; where it goes to is said here, for skiffd has another working directory. */
struct error *export_command(struct context *context, int argc, char **argv)
{
        Admin__ExportImageRequest request = ADMIN__EXPORT_IMAGE_REQUEST__INIT;
        _cleanup_(client_answer_freep) Admin__ExportImageResponse *answer = NULL;
        char directory[PATH_MAX];
        if (argc != 3 || argv[1][0] == '-')
                return USAGE_ERROR("an image and a file are needed");
        if (strcmp(argv[2], "-") == 0)
                return USAGE_ERROR("skiffd writes the file itself: it needs a path, not -");
        if (!getcwd(directory, sizeof(directory)))
                return error_errno(errno, "where are we");
        _cleanup_(freep) char *path =
                argv[2][0] == '/' ? dup_string(argv[2]) : format_string("%s/%s", directory, argv[2]);
        request.image = argv[1];
        request.path = path;
        TRY(admin_call(context, "ExportImage", &request, 0, &answer));
        if (!answer->same)
                (void) fprintf(stderr,
                               "the layers' tars were made anew, so the image in the file has another id\n");
        (void) printf("%s\n", answer->image_id);
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

static bool is_used(const Cri__ListContainersResponse *containers, const Cri__Image *image)
{
        for (size_t i = 0; i < containers->n_containers; i++)
                if (strcmp(containers->containers[i]->image_id, image->id) == 0 ||
                    strcmp(containers->containers[i]->image_ref, image->id) == 0)
                        return true;
        return false;
}

/* A container that is made meanwhile keeps its layers all the same. */
struct error *prune_command(struct context *context, int argc, char **argv)
{
        Cri__ListImagesRequest images_request = CRI__LIST_IMAGES_REQUEST__INIT;
        Cri__ListContainersRequest containers_request = CRI__LIST_CONTAINERS_REQUEST__INIT;
        _cleanup_(client_answer_freep) Cri__ListImagesResponse *images = NULL;
        _cleanup_(client_answer_freep) Cri__ListContainersResponse *containers = NULL;
        if (argc > 1)
                return USAGE_ERROR("\"%s\" is too much", argv[1]);
        TRY(image_call(context, "ListImages", &images_request, CALL_TIMEOUT_MS, &images));
        TRY(runtime_call(context, "ListContainers", &containers_request, CALL_TIMEOUT_MS, &containers));
        for (size_t i = 0; i < images->n_images; i++) {
                const Cri__Image *image = images->images[i];
                if (image->pinned || is_used(containers, image))
                        continue;
                Cri__ImageSpec spec = CRI__IMAGE_SPEC__INIT;
                Cri__RemoveImageRequest request = CRI__REMOVE_IMAGE_REQUEST__INIT;
                _cleanup_(client_answer_freep) Cri__RemoveImageResponse *answer = NULL;
                spec.image = image->id;
                request.image = &spec;
                TRY(image_call(context, "RemoveImage", &request, CALL_TIMEOUT_MS, &answer));
                for (size_t j = 0; j < image->n_repo_tags; j++)
                        (void) printf("%s\n", image->repo_tags[j]);
                if (image->n_repo_tags == 0)
                        (void) printf("%s\n", image->id);
        }
        return NULL;
}
