/* Which AppArmor profile a container runs under: CRI's field, or the one that it deprecates, and what counts without either.
 *
 *                    AppArmor is on                       it is not
 *     nothing        ours, where it could be loaded       none
 *     RuntimeDefault ours                                 none
 *     Localhost      that one                             refused
 *     Unconfined     none                                 none
 *     privileged     only a Localhost one                 as above
 *
 * A profile that is not loaded is refused. So it is with other runtimes, to which kubelet's words for pods are the same. */
#include "runtime/apparmor.h"
#include "pods/spec/spec.h"
#include <string.h>

/* Clients still send the fields that CRI deprecates: they are read here. */
#pragma GCC diagnostic ignored "-Wdeprecated-declarations"

#define LOCALHOST "localhost/"

enum want { WANT_NOTHING, WANT_DEFAULT, WANT_UNCONFINED, WANT_NAMED };

struct wanted {
        enum want want;
        const char *name;  /* WANT_NAMED */
        const char *field; /* that said so */
};

/* localhost_ref is a bare name; with the prefix of the older field it is taken too, since some clients write that. */
static const char *name_of(const char *reference)
{
        size_t prefix_bytes = sizeof(LOCALHOST) - 1;
        return strncmp(reference, LOCALHOST, prefix_bytes) == 0 ? reference + prefix_bytes : reference;
}

static struct error *read_profile(const Cri__SecurityProfile *profile, struct wanted *out)
{
        out->field = "security_context.apparmor";
        switch (profile->profile_type) {
        case CRI__SECURITY_PROFILE__PROFILE_TYPE__RuntimeDefault:
                out->want = WANT_DEFAULT;
                return NULL;
        case CRI__SECURITY_PROFILE__PROFILE_TYPE__Unconfined:
                out->want = WANT_UNCONFINED;
                return NULL;
        case CRI__SECURITY_PROFILE__PROFILE_TYPE__Localhost:
                out->want = WANT_NAMED;
                out->name = name_of(profile->localhost_ref);
                if (!*out->name)
                        return error_new(ERROR_INVALID_ARGUMENT,
                                         "security_context.apparmor.localhost_ref is missing");
                return NULL;
        default:
                return error_new(ERROR_INVALID_ARGUMENT,
                                 "security_context.apparmor.profile_type: %d is no type",
                                 (int) profile->profile_type);
        }
}

static struct error *read_text(const char *text, struct wanted *out)
{
        out->field = "security_context.apparmor_profile";
        if (strcmp(text, "runtime/default") == 0) {
                out->want = WANT_DEFAULT;
                return NULL;
        }
        if (strcmp(text, "unconfined") == 0) {
                out->want = WANT_UNCONFINED;
                return NULL;
        }
        if (strncmp(text, LOCALHOST, sizeof(LOCALHOST) - 1) != 0 || !*name_of(text))
                return error_new(ERROR_INVALID_ARGUMENT,
                                 "security_context.apparmor_profile: \"%s\" is no profile", text);
        out->want = WANT_NAMED;
        out->name = name_of(text);
        return NULL;
}

/* The field that counts: the newer one where it is set. text may be NULL. */
static struct error *read_wanted(const Cri__SecurityProfile *profile, const char *text, struct wanted *out)
{
        *out = (struct wanted){ .want = WANT_NOTHING, .field = "AppArmor" };
        if (profile)
                return read_profile(profile, out);
        return text && *text ? read_text(text, out) : NULL;
}

/* What is wanted to a profile's name, NULL for none. with_check: it must be there now, which is not asked again of a container
 * that was made. */
static struct error *resolve(const struct apparmor *apparmor, const struct wanted *w, bool with_check,
                             const char **out)
{
        const bool is_on = apparmor && apparmor_is_on(apparmor);
        *out = w->want == WANT_NAMED                                                ? w->name
               : is_on && w->want == WANT_DEFAULT                                   ? APPARMOR_DEFAULT
               : is_on && w->want == WANT_NOTHING && apparmor_had_default(apparmor) ? APPARMOR_DEFAULT
                                                                                    : NULL;
        if (!*out || !with_check)
                return NULL;
        if (!apparmor)
                return error_new(ERROR_FAILED_PRECONDITION, "%s: there is no AppArmor", w->field);
        TRY_WRAP(apparmor_check(apparmor, *out), "%s", w->field);
        return NULL;
}

/* Nothing of a pod but its containers runs under it: it is checked, so that its containers do not find out. */
struct error *spec_check_pod_apparmor(const struct node *node,
                                      const Cri__LinuxSandboxSecurityContext *security)
{
        struct wanted wanted;
        const char *name;
        TRY(read_wanted(security->apparmor, NULL, &wanted));
        return wanted.want == WANT_NOTHING ? NULL : resolve(node->config.apparmor, &wanted, true, &name);
}

struct error *spec_add_apparmor(struct spec_source *s)
{
        struct wanted wanted;
        const char *name;
        TRY(read_wanted(s->security->apparmor, s->security->apparmor_profile, &wanted));
        if (s->security->privileged && wanted.want != WANT_NAMED)
                return NULL;
        TRY(resolve(s->node->config.apparmor, &wanted, s->container->state == CONTAINER_MAKING, &name));
        s->spec->process.apparmor = dup_string(name);
        s->spec->process.apparmor_is_asked = name && wanted.want != WANT_NOTHING;
        return NULL;
}
