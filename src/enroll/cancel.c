/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <poll.h>
#include <signal.h>
#include <sys/signalfd.h>

#include "base/clock.h"
#include "enroll/internal.h"

/* The signal stays pending (nobody reads the descriptor): everything that waits after the first one ends as well. */
int cancel_new(int *ret_fd) {
        sigset_t set;
        int fd;

        sigemptyset(&set);
        sigaddset(&set, SIGINT);
        sigaddset(&set, SIGTERM);
        sigaddset(&set, SIGHUP);
        if (sigprocmask(SIG_BLOCK, &set, NULL) < 0)
                return -errno;
        fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
        if (fd < 0)
                return -errno;
        *ret_fd = fd;
        return 0;
}

bool cancel_asked(int cancel_fd) {
        return cancel_wait(cancel_fd, 0) == -ECANCELED;
}

int cancel_wait(int cancel_fd, uint64_t ms) {
        uint64_t end = clock_monotonic_ms() + ms;

        for (;;) {
                struct pollfd poll_fd = { .fd = cancel_fd, .events = POLLIN };
                uint64_t now = clock_monotonic_ms();
                int n = poll(&poll_fd, 1, now >= end ? 0 : (int) MIN(end - now, (uint64_t) 60000));

                if (n > 0)
                        return -ECANCELED;
                if (n < 0 && errno != EINTR)
                        return -errno;
                if (n == 0 && now >= end)
                        return 0;
        }
}
