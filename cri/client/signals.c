#include "cri/client/signals.h"
#include <fcntl.h>

volatile sig_atomic_t signals_ending, signals_insisting;
static int pipe_fds[2] = { -1, -1 };

static void tell(int number)
{
        int saved = errno;
        unsigned char byte = (unsigned char) number;
        ssize_t n_bytes = write(pipe_fds[1], &byte, 1);
        (void) n_bytes; /* full: then there is enough to be woken by */
        errno = saved;
}

static void on_ending(int number)
{
        signals_insisting = signals_ending > 0;
        signals_ending++;
        tell(number);
}

static struct error *catch_all(void (*handler)(int), const int *numbers, size_t n_numbers)
{
        struct sigaction action = { .sa_handler = handler }; /* no SA_RESTART: a poll ends */
        if (pipe_fds[0] < 0 && pipe2(pipe_fds, O_CLOEXEC | O_NONBLOCK) < 0)
                return error_errno(errno, "pipe");
        for (size_t i = 0; i < n_numbers; i++)
                (void) sigaction(numbers[i], &action, NULL);
        return NULL;
}

struct error *signals_catch(void)
{
        static const int numbers[] = { SIGINT, SIGTERM, SIGHUP, SIGQUIT };
        (void) signal(SIGPIPE, SIG_IGN);
        return catch_all(on_ending, numbers, LENGTH(numbers));
}

struct error *signals_catch_terminal(void)
{
        static const int numbers[] = { SIGWINCH, SIGTSTP, SIGCONT };
        return catch_all(tell, numbers, LENGTH(numbers));
}

int signals_fd(void)
{
        return pipe_fds[0];
}

int signals_take(void)
{
        unsigned char byte;
        return read(pipe_fds[0], &byte, 1) == 1 ? byte : 0;
}

void signals_die(int number)
{
        sigset_t only;
        (void) signal(number, SIG_DFL);
        (void) sigemptyset(&only);
        (void) sigaddset(&only, number);
        (void) sigprocmask(SIG_UNBLOCK, &only, NULL);
        (void) raise(number);
}
