/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <pthread.h>
#include <stdbool.h>

/* A thread that takes no signals: they are for the one that runs the event loop. 0 or -errno. */
int thread_start(pthread_t *ret, void *(*fn)(void *), void *userdata);
/* For pthread_cond_timedwait() with times of CLOCK_MONOTONIC: nobody who sets the clock wakes it, or keeps it asleep. */
void cond_init_monotonic(pthread_cond_t *ret);

/* A thread that calls tick every second, and at once after ticker_wake(), until it is stopped. */
struct ticker {
        pthread_t thread;
        pthread_mutex_t lock;
        pthread_cond_t cond;
        bool stop, woken;
        void (*tick)(void *userdata);
        void *userdata;
};
int ticker_start(struct ticker *ticker, void (*tick)(void *userdata), void *userdata); /* 0 or -errno */
void ticker_wake(struct ticker *ticker);
void ticker_stop(struct ticker *ticker); /* after a tick that is under way */
