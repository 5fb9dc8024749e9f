#include "base/holders.h"
#include "base/process.h"
#include "tests/unit/unit.h"
#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>

static void helpers_of_a_dead_daemon_are_ended_and_others_are_not(void **dir)
{
        _cleanup_(closep) int dir_fd = open(*dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC), first_fd = -1,
                              second_fd = -1;
        const char *argv[] = { "sleep", "100", NULL };
        struct process_start start = process_start_init("/bin/sleep", argv);
        struct process helper, stranger;
        struct wait wait = wait_of_ms(10000);
        int status = 0;
        assert_ok(holders_claim(dir_fd, "helpers", 0, &wait, &first_fd));
        assert_ok(process_spawn(&start, &stranger));
        start.fds[3] = first_fd;
        start.n_fds = 4;
        assert_ok(process_spawn(&start, &helper));
        closep(&first_fd); /* as if we had died: only the helper still holds it */
        assert_ok(holders_claim(dir_fd, "helpers", 0, &wait, &second_fd));
        assert_ok(process_wait(&helper, &wait, &status));
        assert_int_equal(status, 128 + SIGKILL);
        assert_int_equal(waitpid(stranger.pid, &status, WNOHANG), 0);
        process_kill(&stranger);
}

/* What ends in time ends well, what does not is killed. */
static void helpers_that_must_finish_are_given_time(void **dir)
{
        _cleanup_(closep) int dir_fd = open(*dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        const char *const scripts[] = { "sleep 0.3; echo >done", "sleep 100" };
        const int codes[] = { 0, 128 + SIGKILL };
        struct wait wait = wait_of_ms(20000);
        for (size_t i = 0; i < LENGTH(scripts); i++) {
                const char *argv[] = { "sh", "-c", scripts[i], NULL };
                struct process_start start = process_start_init("/bin/sh", argv);
                struct process helper;
                _cleanup_(closep) int first_fd = -1, second_fd = -1;
                int status = 0;
                assert_ok(holders_claim(dir_fd, "finishing", 1000, &wait, &first_fd));
                start.fds[3] = first_fd;
                start.n_fds = 4;
                start.cwd = *dir;
                assert_ok(process_spawn(&start, &helper));
                closep(&first_fd);
                assert_ok(holders_claim(dir_fd, "finishing", 1000, &wait, &second_fd));
                assert_ok(process_wait(&helper, &wait, &status));
                assert_int_equal(status, codes[i]);
        }
        assert_int_equal(faccessat(dir_fd, "done", F_OK, 0), 0);
}

UNIT_MAIN(IN_TMPDIR(helpers_that_must_finish_are_given_time),
          IN_TMPDIR(helpers_of_a_dead_daemon_are_ended_and_others_are_not))
