/* signals.h - signals as something to poll for, and a count of those that end programs.
 *
 * From signals_catch on, until the process ends. Threads: gRPC's may take the signal; the pipe brings it to whoever polls.
 * Source: signal-safety(7), pipe(7). */
#pragma once
#include "base/error.h"
#include <signal.h>

/* How often Ctrl-C was pressed, or another signal came that ends programs; and whether more than once. */
extern volatile sig_atomic_t signals_ending, signals_insisting;

/* Catches SIGINT, SIGTERM, SIGHUP and SIGQUIT. No call is restarted. SIGPIPE is ignored: nobody who reads our output any
 * more (`| head`) shows as a write that fails. */
MUST_CHECK struct error *signals_catch(void);
/* Those too of which a terminal's session wants to know: SIGWINCH, SIGTSTP, SIGCONT. */
MUST_CHECK struct error *signals_catch_terminal(void);

int signals_fd(void);   /* readable when there is one; -1 before signals_catch */
int signals_take(void); /* its number, once; 0: there is none */

/* Ends this process by the signal, as if it had not been caught. */
void signals_die(int number);
