/* events.h - what happens in pods by itself comes up here, and goes to whoever subscribed.
 *
 * One thread polls the event descriptors of the supervisors and waits for the nearest alarm. It knows neither a
 * container's nor a sandbox's lifecycle: what an event means is the subscriber's business, which stands above those
 * (lifecycle/react.h), so that they may ask for events here without knowing who reacts.
 *
 * Everything is called on that one thread, in order, with no lock held; it must not wait. Functions: any thread, also
 * with node->lock held. Private to pods/. */
#pragma once
#include "pods/state.h"

struct events;

struct events_subscriber {
        /* Something happened to a pod that is watched. The pod is borrowed. */
        void (*happened)(struct sandbox *pod, const struct runtime_event *event);
        /* Every few seconds: what has failed may be tried again. */
        void (*retry)(struct node *node);
};

/* subscriber is borrowed and must outlive it. */
MUST_CHECK struct error *events_open(struct node *node, const struct events_subscriber *subscriber,
                                     struct events **out);
void events_free(
        struct events *events); /* ends the thread; alarms that are still set never fire. NULL is fine */

/* Polls pod->runtime from now on. The pod must be forgotten before it is freed. */
MUST_CHECK struct error *events_watch(struct sandbox *pod);
void events_forget(struct sandbox *pod); /* harmless when it is not watched */

/* Sets an alarm, or sets it anew. due_ns: on CLOCK_MONOTONIC; INT64_MAX: never. It fires once. The alarm is embedded in
 * what it wakes, which must stay until it has fired or was dropped. True: it was not set before. */
bool events_alarm_set(struct events *events, struct alarm *alarm, int64_t due_ns);
/* True: it was set, and will not fire now. False: it was not set, or is firing. */
bool events_alarm_drop(struct events *events, struct alarm *alarm);
