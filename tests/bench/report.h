/* report.h - what was measured, as a table for people or as JSON. Threads: one. */
#pragma once
#include "tests/bench/modes.h"

void report_table(const struct plan *plan, struct figures figures[TARGETS_MAX], struct floor_timings *floor);
MUST_CHECK struct error *report_json(const struct plan *plan, struct figures figures[TARGETS_MAX],
                                     struct floor_timings *floor);
