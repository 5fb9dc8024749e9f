#include "cri/client/terminal.h"
#include <signal.h>
#include <sys/ioctl.h>
#include <termios.h>

static struct {
        bool is_raw;
        int fd;
        struct termios before, raw;
} terminal;

struct error *terminal_need(int fd)
{
        return isatty(fd) ? NULL : error_new(ERROR_INVALID_ARGUMENT, "the input is not a terminal");
}

struct error *terminal_raw(int fd)
{
        if (tcgetattr(fd, &terminal.before) < 0)
                return error_errno(errno, "the terminal's modes");
        terminal.fd = fd;
        terminal.raw = terminal.before;
        cfmakeraw(&terminal.raw);
        if (tcsetattr(fd, TCSANOW, &terminal.raw) < 0)
                return error_errno(errno, "raw mode of the terminal");
        terminal.is_raw = true;
        return NULL;
}

void terminal_restore(void)
{
        if (terminal.is_raw)
                (void) tcsetattr(terminal.fd, TCSANOW, &terminal.before);
        terminal.is_raw = false;
}

bool terminal_size(int fd, uint16_t *columns, uint16_t *rows)
{
        struct winsize size;
        if (ioctl(fd, TIOCGWINSZ, &size) < 0 || size.ws_col == 0 || size.ws_row == 0)
                return false;
        *columns = size.ws_col;
        *rows = size.ws_row;
        return true;
}

void terminal_suspend(void)
{
        if (terminal.is_raw)
                (void) tcsetattr(terminal.fd, TCSANOW, &terminal.before);
        (void) raise(SIGSTOP);
        terminal_resume();
}

void terminal_resume(void)
{
        if (terminal.is_raw)
                (void) tcsetattr(terminal.fd, TCSANOW, &terminal.raw);
}
