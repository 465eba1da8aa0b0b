/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* LD_PRELOAD: the process is killed at its KILL_AT-th change of a file, before it or (KILL_HALF=1) in the middle of it.
 * KILL_COUNT names a file that gets the number of changes of a run that went through. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/types.h>
#include <unistd.h>

static long changes, kill_at;
static int half;

__attribute__((constructor)) static void start(void) {
        kill_at = getenv("KILL_AT") ? atol(getenv("KILL_AT")) : 0;
        half = getenv("KILL_HALF") != NULL;
}

__attribute__((destructor)) static void end(void) {
        FILE *file = getenv("KILL_COUNT") ? fopen(getenv("KILL_COUNT"), "w") : NULL;

        if (file) {
                fprintf(file, "%ld\n", changes);
                fclose(file);
        }
}

static int now(void) {
        return __atomic_add_fetch(&changes, 1, __ATOMIC_SEQ_CST) == kill_at;
}

static void die(void) {
        for (;;)
                kill(getpid(), SIGKILL);
}

#define REAL(name) ((typeof(&name)) dlsym(RTLD_NEXT, #name))

#define WRITE_AT(name, offset_type)                                               \
        ssize_t name(int fd, const void *data, size_t size, offset_type offset) { \
                if (now()) {                                                      \
                        if (half)                                                 \
                                (void) !REAL(name)(fd, data, size / 2, offset);   \
                        die();                                                    \
                }                                                                 \
                return REAL(name)(fd, data, size, offset);                        \
        }
WRITE_AT(pwrite, off_t)
WRITE_AT(pwrite64, off64_t)

#define CHANGE(name, parameters, ...)           \
        int name parameters {                   \
                if (now())                      \
                        die();                  \
                return REAL(name)(__VA_ARGS__); \
        }
CHANGE(fsync, (int fd), fd)
CHANGE(fdatasync, (int fd), fd)
CHANGE(ftruncate, (int fd, off_t size), fd, size)
CHANGE(ftruncate64, (int fd, off64_t size), fd, size)
CHANGE(unlink, (const char *path), path)
