/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "base/thread.h"

#include <signal.h>
#include <time.h>

int thread_start(pthread_t *ret, void *(*fn)(void *), void *userdata) {
        sigset_t all, old;
        int r;

        (void) sigfillset(&all);
        (void) pthread_sigmask(SIG_SETMASK, &all, &old);
        r = pthread_create(ret, NULL, fn, userdata);
        (void) pthread_sigmask(SIG_SETMASK, &old, NULL);
        return -r;
}

void cond_init_monotonic(pthread_cond_t *ret) {
        pthread_condattr_t attr;

        (void) pthread_condattr_init(&attr);
        (void) pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
        (void) pthread_cond_init(ret, &attr);
        (void) pthread_condattr_destroy(&attr);
}
