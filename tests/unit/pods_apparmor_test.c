/* Which AppArmor profile a container gets for what CRI says, over a /sys of the test's own. Needs root. */
#include "pods/message.h"
#include "runtime/apparmor.h"
#include "runtime/container_spec.h"
#include "tests/unit/pods_maker.h"
#include <fcntl.h>
#include <sys/stat.h>

#pragma GCC diagnostic ignored "-Wdeprecated-declarations"

enum { ABSENT = -1 };

static struct asked {
        int type; /* of the newer field; ABSENT: it is not set */
        const char *reference, *text;
        bool privileged;
} asked;
static Cri__SecurityProfile profile;

static void ask(Cri__ContainerConfig *config)
{
        Cri__LinuxContainerSecurityContext *security = config->linux->security_context;
        if (asked.type != ABSENT) {
                profile = (Cri__SecurityProfile) CRI__SECURITY_PROFILE__INIT;
                profile.profile_type = (Cri__SecurityProfile__ProfileType) asked.type;
                profile.localhost_ref = (char *) (uintptr_t) asked.reference;
                security->apparmor = &profile;
        }
        if (asked.text)
                security->apparmor_profile = (char *) (uintptr_t) asked.text;
        security->privileged = asked.privileged;
}

static void allow_privileged(Cri__PodSandboxConfig *config)
{
        config->linux->security_context->privileged = true;
}

static void put_file(const char *dir, const char *name, const char *text)
{
        _cleanup_(freep) char *path = format_string("%s/%s", dir, name);
        _cleanup_(closep) int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
        assert_true(fd >= 0);
        assert_int_equal(write(fd, text, strlen(text)), strlen(text));
}

static void profiles_are(const struct made_node *made, const char *text)
{
        put_file(made->dir, "kernel/security/apparmor/profiles", text);
}

/* A node on a kernel with these profiles; what it had is given back by kernel_done. */
static void kernel_make(struct made_node *made, const char *enabled, const char *profiles)
{
        static const char *const dirs[] = { "module", "module/apparmor", "module/apparmor/parameters",
                                            "kernel", "kernel/security", "kernel/security/apparmor" };
        struct error *no_default;
        for (size_t i = 0; i < LENGTH(dirs); i++) {
                _cleanup_(freep) char *path = format_string("%s/%s", made->dir, dirs[i]);
                assert_int_equal(mkdir(path, 0755), 0);
        }
        put_file(made->dir, "module/apparmor/parameters/enabled", enabled);
        profiles_are(made, profiles);
        const struct apparmor_config config = { .sys_dir = made->dir, .parser = "/nonexistent" };
        apparmor_open(&config, &made->node->config.apparmor, &no_default);
        error_ignore(no_default);
}

static void kernel_done(struct made_node *made)
{
        apparmor_free(TAKE(made->node->config.apparmor));
}

/* "": none. */
static void assert_profile(struct made_node *made, const char *pod, struct asked what, const char *wanted)
{
        static unsigned n;
        _cleanup_(freep) char *name = format_string("c%u", n++);
        asked = what;
        _cleanup_(freep) char *id = made_container(made, pod, name, ask);
        made_start(made, id);
        const char *found = fake_spec(id)->process.apparmor;
        assert_string_equal(found ? found : "", wanted);
        assert_int_equal(fake_spec(id)->process.apparmor_is_asked,
                         *wanted && (what.type != ABSENT || what.text));
}

static void assert_refused(struct made_node *made, const char *pod, struct asked what, enum error_code code,
                           const char *text)
{
        char *id = NULL;
        asked = what;
        assert_fails(code, text, made_create(made, pod, "refused", ask, &id));
        assert_null(id);
}

enum {
        DEFAULT = CRI__SECURITY_PROFILE__PROFILE_TYPE__RuntimeDefault,
        UNCONFINED = CRI__SECURITY_PROFILE__PROFILE_TYPE__Unconfined,
        NAMED = CRI__SECURITY_PROFILE__PROFILE_TYPE__Localhost
};

static void what_is_asked_is_what_it_gets(void **state)
{
        struct made_node *made = *state;
        const struct {
                struct asked asked;
                const char *profile;
        } cases[] = {
                { { ABSENT, "", NULL, false }, APPARMOR_DEFAULT },
                { { ABSENT, "", "runtime/default", false }, APPARMOR_DEFAULT },
                { { DEFAULT, "", NULL, false }, APPARMOR_DEFAULT },
                { { UNCONFINED, "", NULL, false }, "" },
                { { ABSENT, "", "unconfined", false }, "" },
                { { NAMED, "mine", NULL, false }, "mine" },
                { { NAMED, "localhost/mine", NULL, false }, "mine" },
                { { ABSENT, "", "localhost/mine", false }, "mine" },
                { { NAMED, "mine", "unconfined", false }, "mine" }, /* the newer field wins */
                { { UNCONFINED, "", "localhost/gone", false }, "" },
                { { ABSENT, "", NULL, true }, "" },
                { { DEFAULT, "", NULL, true }, "" },
                { { ABSENT, "", "runtime/default", true }, "" },
                { { NAMED, "mine", NULL, true }, "mine" },
        };
        kernel_make(made, "Y\n", "mine (enforce)\n" APPARMOR_DEFAULT " (enforce)\n");
        _cleanup_(freep) char *pod = made_pod(made, "pod", allow_privileged);
        for (size_t i = 0; i < LENGTH(cases); i++)
                assert_profile(made, pod, cases[i].asked, cases[i].profile);
        assert_refused(made, pod, (struct asked){ NAMED, "gone", NULL, false }, ERROR_FAILED_PRECONDITION,
                       "security_context.apparmor: AppArmor profile \"gone\" is not loaded");
        assert_refused(made, pod, (struct asked){ NAMED, "gone", NULL, true }, ERROR_FAILED_PRECONDITION,
                       "gone");
        assert_refused(made, pod, (struct asked){ 7, "", NULL, false }, ERROR_INVALID_ARGUMENT,
                       "profile_type: 7");
        assert_refused(made, pod, (struct asked){ ABSENT, "", "mine", false }, ERROR_INVALID_ARGUMENT,
                       "apparmor_profile: \"mine\" is no profile");
        kernel_done(made);
}

static void on_a_kernel_without_only_a_named_one_is_missed(void **state)
{
        struct made_node *made = *state;
        kernel_make(made, "N\n", "");
        _cleanup_(freep) char *pod = made_pod(made, "pod", NULL);
        assert_profile(made, pod, (struct asked){ ABSENT, "", NULL, false }, "");
        assert_profile(made, pod, (struct asked){ DEFAULT, "", NULL, false }, "");
        assert_refused(made, pod, (struct asked){ NAMED, "mine", NULL, false }, ERROR_FAILED_PRECONDITION,
                       "has no AppArmor");
        kernel_done(made);
}

/* It could not be loaded, as on a node without apparmor_parser: who names nothing has none, who asks for it is told. */
static void without_ours_nothing_is_what_who_asks_for_nothing_gets(void **state)
{
        struct made_node *made = *state;
        kernel_make(made, "Y\n", "");
        _cleanup_(freep) char *pod = made_pod(made, "pod", NULL);
        assert_profile(made, pod, (struct asked){ ABSENT, "", NULL, false }, "");
        assert_refused(made, pod, (struct asked){ DEFAULT, "", NULL, false }, ERROR_FAILED_PRECONDITION,
                       "apparmor_parser -r /etc/apparmor.d/skiff-default");
        profiles_are(made, APPARMOR_DEFAULT " (enforce)\n");
        assert_profile(made, pod, (struct asked){ DEFAULT, "", NULL, false }, APPARMOR_DEFAULT);
        kernel_done(made);
}

/* Taken away under a node that had it, it is missed, and a container that was made before can be looked at all the same. */
static void ours_is_missed_when_it_goes(void **state)
{
        struct made_node *made = *state;
        kernel_make(made, "Y\n", APPARMOR_DEFAULT " (enforce)\nmine (enforce)\n");
        _cleanup_(freep) char *pod = made_pod(made, "pod", NULL);
        asked = (struct asked){ NAMED, "mine", NULL, false };
        _cleanup_(freep) char *id = made_container(made, pod, "c", ask);
        profiles_are(made, "");
        assert_refused(made, pod, (struct asked){ ABSENT, "", NULL, false }, ERROR_FAILED_PRECONDITION,
                       "is not loaded");
        kernel_done(made);
        made_node_reopen(made);
        const struct apparmor_config config = { .sys_dir = made->dir, .parser = "/nonexistent" };
        struct error *no_default;
        apparmor_open(&config, &made->node->config.apparmor, &no_default);
        error_ignore(no_default);
        Cri__ContainerStatusResponse *status = made_status(made, id, true);
        assert_non_null(status);
        bool said = false;
        for (size_t i = 0; i < status->n_info; i++)
                said = said || strstr(status->info[i]->value, "\"apparmorProfile\":\"mine\"");
        assert_true(said);
        message_free(&status->base);
        kernel_done(made);
}

UNIT_MAIN(IN_NODE(what_is_asked_is_what_it_gets), IN_NODE(on_a_kernel_without_only_a_named_one_is_missed),
          IN_NODE(without_ours_nothing_is_what_who_asks_for_nothing_gets),
          IN_NODE(ours_is_missed_when_it_goes))
