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

static bool ticker_wait(struct ticker *ticker) {
        struct timespec until;
        bool stop;

        (void) clock_gettime(CLOCK_MONOTONIC, &until);
        until.tv_sec++;
        (void) pthread_mutex_lock(&ticker->lock);
        while (!ticker->stop && !ticker->woken && pthread_cond_timedwait(&ticker->cond, &ticker->lock, &until) == 0)
                ;
        stop = ticker->stop;
        ticker->woken = false;
        (void) pthread_mutex_unlock(&ticker->lock);
        return !stop;
}

static void *ticker_main(void *userdata) {
        struct ticker *ticker = userdata;

        while (ticker_wait(ticker))
                ticker->tick(ticker->userdata);
        return NULL;
}

static void ticker_done(struct ticker *ticker) {
        (void) pthread_cond_destroy(&ticker->cond);
        (void) pthread_mutex_destroy(&ticker->lock);
}

int ticker_start(struct ticker *ticker, void (*tick)(void *userdata), void *userdata) {
        int r;

        *ticker = (struct ticker){ .tick = tick, .userdata = userdata };
        (void) pthread_mutex_init(&ticker->lock, NULL);
        cond_init_monotonic(&ticker->cond);
        r = thread_start(&ticker->thread, ticker_main, ticker);
        if (r < 0)
                ticker_done(ticker);
        return r;
}

static void ticker_tell(struct ticker *ticker, bool *what) {
        (void) pthread_mutex_lock(&ticker->lock);
        *what = true;
        (void) pthread_cond_signal(&ticker->cond);
        (void) pthread_mutex_unlock(&ticker->lock);
}

void ticker_wake(struct ticker *ticker) {
        ticker_tell(ticker, &ticker->woken);
}

void ticker_stop(struct ticker *ticker) {
        ticker_tell(ticker, &ticker->stop);
        (void) pthread_join(ticker->thread, NULL);
        ticker_done(ticker);
}
