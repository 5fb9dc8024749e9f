#include "base/instance.h"
#include "base/wait.h"
#include "tests/unit/unit.h"
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
extern char **environ; /* POSIX has no header for it */

static void a_second_claim_is_refused_and_names_the_holder(void **dir)
{
        _cleanup_(instance_freep) struct instance *first = NULL, *second = NULL;
        char us[32];
        (void) snprintf(us, sizeof(us), "in use by process %d", getpid());
        assert_ok(instance_claim(*dir, &first));
        assert_fails(ERROR_FAILED_PRECONDITION, us, instance_claim(*dir, &second));
        assert_null(second);
}

static void a_child_that_outlives_skiffd_does_not_keep_the_claim(void **dir)
{
        _cleanup_(instance_freep) struct instance *first = NULL, *second = NULL;
        char *argv[] = { "sleep", "60", NULL };
        pid_t child;
        assert_ok(instance_claim(*dir, &first));
        assert_int_equal(posix_spawnp(&child, argv[0], NULL, NULL, argv, environ), 0);
        instance_free(TAKE(first));
        /* vfork(2)'s parent goes on a moment before the child's exec closes what is to be closed. */
        struct wait wait = wait_of_ms(5000);
        struct error *refused = instance_claim(*dir, &second);
        while (refused && wait_left_ms(&wait) > 0) {
                error_free(refused);
                error_ignore(wait_delay(&wait, 1, "wait for the exec"));
                refused = instance_claim(*dir, &second);
        }
        (void) kill(child, SIGKILL);
        (void) waitpid(child, NULL, 0);
        assert_ok(refused);
}

UNIT_MAIN(IN_TMPDIR(a_second_claim_is_refused_and_names_the_holder),
          IN_TMPDIR(a_child_that_outlives_skiffd_does_not_keep_the_claim))
