/* handle.h - curl handles used again and again: with a handle its open connections and TLS sessions come back.
 * Threads: any; a handle is one thread's between take and give. */
#pragma once

void *handle_take(void); /* a CURL * without options; NULL when memory is out */
void handle_give(void *curl);
