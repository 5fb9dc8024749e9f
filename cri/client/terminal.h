/* terminal.h - the terminal that a person sits at: raw while a session has it, and as it was on every way out.
 *
 * There is one a process. Raw: every key goes to the program in the container, Ctrl-C too. Threads: one.
 * Source: termios(3), ioctl_tty(2). */
#pragma once
#include "base/error.h"
#include <stdbool.h>
#include <stdint.h>

/* INVALID_ARGUMENT "the input is not a terminal" unless fd is one. */
MUST_CHECK struct error *terminal_need(int fd);

/* Raw from here on. */
MUST_CHECK struct error *terminal_raw(int fd);
void terminal_restore(void); /* as before terminal_raw; fine when it is not raw */

/* False: it is no terminal, or does not know its size. */
bool terminal_size(int fd, uint16_t *columns, uint16_t *rows);

/* SIGTSTP came, which stops programs: the shell gets its terminal as it was, and after `fg` it is raw again. */
void terminal_suspend(void);
void terminal_resume(void); /* SIGCONT came: the shell may have set its own modes meanwhile */
