/* events: what becomes of pods and containers, as it happens. */
#include "base/clock.h"
#include "cri/client/command.h"
#include "cri/client/print.h"
#include <getopt.h>
#include <stdio.h>
#include <string.h>

static const char *const happenings[] = { "created", "started", "stopped", "deleted" };

/* "" for a container that is not in its pod any more. */
static const char *name_of(const Cri__ContainerEventResponse *event)
{
        for (size_t i = 0; i < event->n_containers_statuses; i++) {
                const Cri__ContainerStatus *c = event->containers_statuses[i];
                if (strcmp(c->id, event->container_id) == 0 && c->metadata)
                        return c->metadata->name;
        }
        return "";
}

static void print_line(const Cri__ContainerEventResponse *event)
{
        const Cri__PodSandboxStatus *pod = event->pod_sandbox_status;
        const char *pod_name = pod && pod->metadata ? pod->metadata->name : "";
        bool is_pod = pod && strcmp(pod->id, event->container_id) == 0;
        char when[CLOCK_TEXT_SIZE];
        _cleanup_(freep) char *id = print_id(event->container_id);
        size_t kind = (size_t) event->container_event_type;
        clock_format(event->created_at, when);
        (void) printf("%s  %-9s  %s  %s", when, is_pod ? "pod" : "container", id,
                      kind < LENGTH(happenings) ? happenings[kind] : "?");
        if (is_pod)
                (void) printf("  %s\n", pod_name);
        else
                (void) printf("  %s (pod %s)\n", name_of(event), pod_name);
}

struct taking {
        bool json;
        struct error *e; /* the first */
};

static void take(void *argument, const ProtobufCMessage *message)
{
        struct taking *taking = argument;
        if (taking->json && !taking->e)
                taking->e = print_message_json(message);
        else if (!taking->json)
                print_line((const void *) message);
        (void) fflush(stdout); /* whoever reads it wants each as it comes */
}

struct error *events_command(struct context *context, int argc, char **argv)
{
        static const struct option flags[] = { { "json", no_argument, NULL, 'j' }, { 0 } };
        Cri__GetEventsRequest request = CRI__GET_EVENTS_REQUEST__INIT;
        struct taking taking = { 0 };
        const struct client_taker taker = { take, &taking };
        for (int flag; (flag = getopt_long(argc, argv, "", flags, NULL)) != -1;) {
                if (flag == '?')
                        return USAGE_ERROR("unknown flag %s", argv[optind - 1]);
                taking.json = true;
        }
        if (optind != argc)
                return USAGE_ERROR("no argument is taken");
        struct error *e = runtime_stream(context, "GetContainerEvents", &request, &taker);
        if (e)
                error_free(taking.e);
        return e ? e : taking.e;
}
