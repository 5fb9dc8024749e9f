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
        assert_ok(holders_claim(dir_fd, "helpers", &wait, &first_fd));
        assert_ok(process_spawn(&start, &stranger));
        start.fds[3] = first_fd;
        start.n_fds = 4;
        assert_ok(process_spawn(&start, &helper));
        closep(&first_fd); /* as if we had died: only the helper still holds it */
        assert_ok(holders_claim(dir_fd, "helpers", &wait, &second_fd));
        assert_ok(process_wait(&helper, &wait, &status));
        assert_int_equal(status, 128 + SIGKILL);
        assert_int_equal(waitpid(stranger.pid, &status, WNOHANG), 0);
        process_kill(&stranger);
}

UNIT_MAIN(IN_TMPDIR(helpers_of_a_dead_daemon_are_ended_and_others_are_not))
