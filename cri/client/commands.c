/* The table of commands: what `skiff --help` and `skiff help` say, what shells complete and what skiff(1) is made of. */
#include "cri/client/command.h"

#define FLAGS(...) ((const struct command_flag[]){ __VA_ARGS__, { .name = NULL } })
#define EXAMPLES(...) ((const struct command_example[]){ __VA_ARGS__, { .line = NULL } })
#define JSON_FLAG                                                                                            \
        {                                                                                                    \
                NULL, "json", NULL, "as JSON, for scripts", COMPLETES_NOTHING                                \
        }
#define QUIET_IDS                                                                                            \
        {                                                                                                    \
                "q", "quiet", NULL, "ids alone", COMPLETES_NOTHING                                           \
        }
#define INPUT_FLAG                                                                                           \
        {                                                                                                    \
                "i", "interactive", NULL, "with this command's input", COMPLETES_NOTHING                     \
        }
#define INPUT_ALIAS                                                                                          \
        {                                                                                                    \
                NULL, "stdin", NULL, "as --interactive", COMPLETES_NOTHING                                   \
        }
#define TTY_FLAG                                                                                             \
        {                                                                                                    \
                "t", "tty", NULL, "in this terminal", COMPLETES_NOTHING                                      \
        }
#define DETACH_KEYS_FLAG                                                                                     \
        {                                                                                                    \
                NULL, "detach-keys", "KEYS", "the keys that leave it running (ctrl-p,ctrl-q)",               \
                        COMPLETES_NOTHING                                                                    \
        }
#define CONFIG_WORDS "show\0check\0"

const struct command commands[] = {
        { .name = "run",
          .arguments = "[-d | --rm] [-i] [-t] [--name NAME] [-e KEY=VALUE] [-v HOST:PATH[:ro]] [-p "
                       "HOST:PORT[/udp|/sctp]] [-u "
                       "USER]\n"
                       "            [-w DIR] [-m MEMORY] [--host-network] [--userns HOST-ID] [--privileged] "
                       "[--read-only]\n"
                       "            [--detach-keys ctrl-p,ctrl-q] IMAGE [--] [COMMAND ...]",
          .summary = "run a pod with one container; in the foreground unless -d (-i: with this input, -t: in "
                     "this "
                     "terminal)",
          .about = "In the foreground its log is followed, it ends with the container's exit code, and the "
                   "pod is removed. An "
                   "image that is not there is pulled.",
          .flags = FLAGS(
                  { "d", "detach", NULL, "leave it running and print the pod's id", COMPLETES_NOTHING },
                  { NULL, "rm", NULL, "remove it at its end, as without -d", COMPLETES_NOTHING }, INPUT_FLAG,
                  INPUT_ALIAS, TTY_FLAG,
                  { NULL, "name", "NAME", "what the pod and its container are called", COMPLETES_NOTHING },
                  { "e", "env", "KEY=VALUE", "a variable of its environment", COMPLETES_NOTHING },
                  { "v", "volume", "HOST:PATH[:ro]", "a directory or file of the host", COMPLETES_FILES },
                  { "p", "publish", "HOST:PORT[/udp|/sctp]",
                    "a port of the host that leads to one of the pod", COMPLETES_NOTHING },
                  { "u", "user", "USER", "who it runs as: UID[:GID] or a name of the image",
                    COMPLETES_NOTHING },
                  { "w", "workdir", "DIR", "its working directory", COMPLETES_NOTHING },
                  { "m", "memory", "MEMORY", "its bound on memory: 64m, 2g", COMPLETES_NOTHING },
                  { NULL, "host-network", NULL, "in the host's network", COMPLETES_NOTHING },
                  { NULL, "userns", "HOST-ID",
                    "in a user namespace whose 65536 ids begin at this one of the host", COMPLETES_NOTHING },
                  { NULL, "privileged", NULL, "with all capabilities and devices", COMPLETES_NOTHING },
                  { NULL, "read-only", NULL, "its root cannot be written to", COMPLETES_NOTHING },
                  DETACH_KEYS_FLAG),
          .takes = { COMPLETES_IMAGES, COMPLETES_NOTHING },
          .examples = EXAMPLES(
                  { "skiff run busybox -- echo hello", "prints hello and leaves nothing" },
                  { "skiff run -d --name web -p 8080:80 busybox -- httpd -f", "a server that stays" },
                  { "skiff run -it busybox", "a shell in a pod that goes with it" }),
          .run = run_command },
        { .name = "pods",
          .arguments = "[-q] [--json]",
          .summary = "list pods",
          .flags = FLAGS(QUIET_IDS, JSON_FLAG),
          .examples = EXAMPLES({ "skiff pods", "all pods, kubelet's too" }),
          .run = pods_command },
        { .name = "ps",
          .arguments = "[-a] [-q] [--json]",
          .summary = "list containers that run (-a: all; -q: ids alone)",
          .flags = FLAGS({ "a", "all", NULL, "those that have ended, too", COMPLETES_NOTHING }, QUIET_IDS,
                         JSON_FLAG),
          .examples = EXAMPLES({ "skiff ps -a", "with those that have ended, and their exit codes" }),
          .run = ps_command },
        { .name = "logs",
          .arguments = "[-f] [-t] CONTAINER",
          .summary = "show a container's log (-f: follow, -t: with times)",
          .flags = FLAGS({ "f", "follow", NULL, "go on until the container ends", COMPLETES_NOTHING },
                         { "t", "timestamps", NULL, "with the time of each line", COMPLETES_NOTHING }),
          .takes = { COMPLETES_CONTAINERS, COMPLETES_NOTHING },
          .examples = EXAMPLES({ "skiff logs -f web", "what web writes, until it ends" }),
          .run = logs_command },
        { .name = "events",
          .arguments = "[--json]",
          .summary = "show what becomes of pods and containers as it happens (Ctrl-C ends it)",
          .flags = FLAGS(JSON_FLAG),
          .examples = EXAMPLES({ "skiff events --json", "one line of JSON an event" }),
          .run = events_command },
        { .name = "exec",
          .arguments = "[-i] [-t] [--timeout SECONDS] CONTAINER [--] COMMAND ...",
          .summary = "run a command in a container (-i: with this input, -t: in this terminal)",
          .about = "It ends with the command's exit code.",
          .flags = FLAGS(INPUT_FLAG, INPUT_ALIAS, TTY_FLAG,
                         { NULL, "timeout", "SECONDS", "kill it then; goes with neither -i nor -t",
                           COMPLETES_NOTHING }),
          .takes = { COMPLETES_CONTAINERS, COMPLETES_NOTHING },
          .examples = EXAMPLES({ "skiff exec web -- ps", "what runs in it" },
                               { "skiff exec -it web sh", "a shell in what runs" }),
          .run = exec_command },
        { .name = "attach",
          .arguments = "[--no-stdin] [--detach-keys ctrl-p,ctrl-q] CONTAINER",
          .summary = "join what a container was started with; the keys leave it running",
          .flags = FLAGS({ NULL, "no-stdin", NULL, "look on only", COMPLETES_NOTHING }, DETACH_KEYS_FLAG),
          .takes = { COMPLETES_CONTAINERS, COMPLETES_NOTHING },
          .examples = EXAMPLES({ "skiff attach web", "its output, and its input where it has one" }),
          .run = attach_command },
        { .name = "port-forward",
          .arguments = "[--address ADDRESS,...] POD [LOCAL:]REMOTE ...",
          .summary = "carry connections to local ports into a pod, until Ctrl-C (:REMOTE: any local port)",
          .flags = FLAGS(
                  { NULL, "address", "ADDRESS,...", "where it listens (localhost)", COMPLETES_NOTHING }),
          .takes = { COMPLETES_PODS, COMPLETES_NOTHING },
          .examples = EXAMPLES({ "skiff port-forward web 8080:80", "the pod's port 80 at localhost:8080" }),
          .run = forward_command },
        { .name = "cp",
          .arguments = "CONTAINER:PATH LOCAL | LOCAL CONTAINER:PATH",
          .summary = "copy files from or to a container (LOCAL -: a tar stream on stdout or stdin)",
          .about = "The container needs a tar of its own.",
          .takes = { COMPLETES_PLACES, COMPLETES_PLACES },
          .examples = EXAMPLES({ "skiff cp web:/etc/passwd .", "a file out of it" },
                               { "skiff cp site web:/www", "a folder into it" }),
          .run = copy_command },
        { .name = "commit",
          .arguments = "[-a AUTHOR] [-m TEXT] [-c INSTRUCTION] [--pause=false] CONTAINER IMAGE",
          .summary = "make an image of a container (-c: as a Dockerfile has it, \"CMD [...]\", \"ENV K=V\")",
          .about = "What it has written is a layer on top of its image's; volumes are not in it. It stands "
                   "still meanwhile, "
                   "unless --pause=false: then a file that changes while it is read ends the commit.",
          .flags = FLAGS(
                  { "a", "author", "AUTHOR", "who it is by", COMPLETES_NOTHING },
                  { "m", "message", "TEXT", "what was done, for the image's history", COMPLETES_NOTHING },
                  { "c", "change", "INSTRUCTION",
                    "CMD, ENTRYPOINT, ENV, EXPOSE, LABEL, STOPSIGNAL, USER, VOLUME or WORKDIR",
                    COMPLETES_NOTHING },
                  { "p", "pause", NULL, "it stands still while its files are read, as it does by itself",
                    COMPLETES_NOTHING }),
          .takes = { COMPLETES_CONTAINERS, COMPLETES_IMAGES },
          .examples = EXAMPLES({ "skiff commit web app:2", "an image of what web has become" },
                               { "skiff commit -c 'CMD [\"httpd\", \"-f\"]' web app:2",
                                 "with another command than its image's" }),
          .run = commit_command },
        { .name = "stop",
          .arguments = "[-t SECONDS] POD|CONTAINER ...",
          .summary = "stop pods or containers",
          .flags = FLAGS(
                  { "t", "timeout", "SECONDS", "how long each has before it is killed", COMPLETES_NOTHING }),
          .takes = { COMPLETES_OBJECTS, COMPLETES_OBJECTS },
          .examples = EXAMPLES({ "skiff stop -t 30 web", "gives it half a minute to end" }),
          .run = stop_command },
        { .name = "rm",
          .arguments = "[-f] POD|CONTAINER ...",
          .summary = "remove pods or containers (-f: also those that run)",
          .flags = FLAGS(
                  { "f", "force", NULL, "those that run, too: they are stopped first", COMPLETES_NOTHING }),
          .takes = { COMPLETES_OBJECTS, COMPLETES_OBJECTS },
          .examples = EXAMPLES({ "skiff rm -f web", "stops it where it runs, and removes it" }),
          .run = rm_command },
        { .name = "images",
          .arguments = "[--tree] [-q] [--json]",
          .summary = "list images (--tree: with their layers)",
          .flags = FLAGS(
                  { NULL, "tree", NULL, "with their layers, sizes, and who shares them", COMPLETES_NOTHING },
                  QUIET_IDS, JSON_FLAG),
          .examples = EXAMPLES({ "skiff images --tree", "where the disk went" }),
          .run = images_command },
        { .name = "pull",
          .arguments = "[-q] [-u USER] IMAGE ...",
          .summary = "fetch images from their registries (-u: the password is read from stdin)",
          .flags = FLAGS({ "q", "quiet", NULL, "without progress", COMPLETES_NOTHING },
                         { "u", "username", "USER", "who the registry knows; the password is read from stdin",
                           COMPLETES_NOTHING }),
          .takes = { COMPLETES_IMAGES, COMPLETES_IMAGES },
          .examples = EXAMPLES(
                  { "skiff pull registry.example/app:1", "with bytes, rate and time left" },
                  { "skiff pull -u me registry.example/app:1 <password", "as a user of the registry" }),
          .run = pull_command },
        { .name = "import",
          .arguments = "[--name NAME] FILE",
          .summary = "take in an OCI layout or docker archive (--name: what its one image is to be called)",
          .flags = FLAGS({ "n", "name", "NAME", "what its one image is to be called", COMPLETES_NOTHING }),
          .takes = { COMPLETES_FILES, COMPLETES_NOTHING },
          .examples = EXAMPLES({ "skiff import image.tar", "no registry is needed" }),
          .run = import_command },
        { .name = "export",
          .arguments = "IMAGE FILE",
          .summary = "write an image as an OCI layout",
          .takes = { COMPLETES_IMAGES, COMPLETES_FILES },
          .examples = EXAMPLES({ "skiff export app:1 app.tar", "for `skiff import` on another node" }),
          .run = export_command },
        { .name = "prune",
          .arguments = "",
          .summary = "remove the images that no container uses",
          .examples = EXAMPLES({ "skiff prune", "pinned images stay" }),
          .run = prune_command },
        { .name = "rmi",
          .arguments = "IMAGE ...",
          .summary = "remove images or names of them",
          .takes = { COMPLETES_IMAGES, COMPLETES_IMAGES },
          .examples = EXAMPLES({ "skiff rmi app:1", "the name, and the image when it was its last" }),
          .run = rmi_command },
        { .name = "inspect",
          .arguments = "POD|CONTAINER|IMAGE ...",
          .summary = "all that is known of a thing, as JSON",
          .takes = { COMPLETES_ALL, COMPLETES_ALL },
          .examples = EXAMPLES({ "skiff inspect web", "how long each step of its start took, too" }),
          .run = inspect_command },
        { .name = "info",
          .arguments = "[--json]",
          .summary = "whether skiffd is ready, and what it can do",
          .flags = FLAGS(JSON_FLAG),
          .examples = EXAMPLES({ "skiff info", "conditions, handlers, and what is wrong with CDI files" }),
          .run = info_command },
        { .name = "version",
          .arguments = "[--json]",
          .summary = "versions of this command and of skiffd",
          .flags = FLAGS(JSON_FLAG),
          .examples = EXAMPLES({ "skiff version", "two lines that should agree" }),
          .run = version_command },
        { .name = "check",
          .arguments = "[--leaks] [--json]",
          .summary = "does this host have what skiff needs (--leaks: what is left over)",
          .about = "It ends with 1 when something is missing, and names a remedy for each thing.",
          .flags =
                  FLAGS({ NULL, "leaks", NULL, "what is left over of pods that are gone", COMPLETES_NOTHING },
                        JSON_FLAG),
          .examples = EXAMPLES({ "skiff check", "before skiffd is started, too" }),
          .run = check_command },
        { .name = "config",
          .arguments = "show | check [--config FILE]",
          .summary = "skiffd's options with where each is from; or whether skiffd would take its files",
          .about = "It needs no skiffd, and ends with 78 when skiffd would refuse the files.",
          .flags = FLAGS(
                  { NULL, "config", "FILE", "another file than /etc/skiff/skiff.toml", COMPLETES_FILES }),
          .takes = { COMPLETES_WORDS, COMPLETES_NOTHING },
          .words = CONFIG_WORDS,
          .examples = EXAMPLES({ "skiff config check && systemctl reload skiff", "a change that is taken" },
                               { "skiff config show", "each key, and the file and line that it is from" }),
          .run = config_command },
        { .name = "help",
          .arguments = "[COMMAND]",
          .summary = "what commands there are, or all of one, with examples",
          .takes = { COMPLETES_COMMANDS, COMPLETES_NOTHING },
          .examples = EXAMPLES({ "skiff help run", "its options and how it is used" }),
          .run = help_command },
        { .name = "completion",
          .arguments = "bash | zsh | fish | manual | pods | containers | objects | images | all | places",
          .summary = "what shells and skiff(1) are made of, and words to complete",
          .run = completion_command,
          .is_hidden = true },
};
const size_t n_commands = LENGTH(commands);
