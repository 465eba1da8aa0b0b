/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <pthread.h>

/* A thread that takes no signals: they are for the one that runs the event loop. 0 or -errno. */
int thread_start(pthread_t *ret, void *(*fn)(void *), void *userdata);
/* For pthread_cond_timedwait() with times of CLOCK_MONOTONIC: nobody who sets the clock wakes it, or keeps it asleep. */
void cond_init_monotonic(pthread_cond_t *ret);
