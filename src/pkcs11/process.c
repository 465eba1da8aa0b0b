/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "pkcs11/process.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>

#include "base/log.h"
#include "pkcs11/apart.h"

enum { CHANNEL = 3 };

static int prepare(posix_spawn_file_actions_t *actions, posix_spawnattr_t *attributes, int fd) {
        sigset_t none, all;
        int r;

        (void) sigemptyset(&none);
        (void) sigfillset(&all);
        /* first, for fd is 0 where the program has no standard input */
        r = posix_spawn_file_actions_adddup2(actions, fd, CHANNEL);
        if (r == 0)
                r = posix_spawn_file_actions_addopen(actions, 0, "/dev/null", O_RDWR, 0);
        if (r == 0)
                r = posix_spawn_file_actions_adddup2(actions, 0, 1);
        if (r == 0)
                r = posix_spawn_file_actions_addclosefrom_np(actions, CHANNEL + 1);
        if (r == 0)
                r = posix_spawnattr_setsigmask(attributes, &none);
        if (r == 0)
                r = posix_spawnattr_setsigdefault(attributes, &all);
        if (r == 0)
                r = posix_spawnattr_setflags(attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETPGROUP);
        return -r;
}

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct {
        pid_t pid; /* 0: none */
        int fd;
} prepared;

_Noreturn static void serve(const char *name) {
        log_set_program(name);
        apart_serve(CHANNEL);
        _exit(0);
}

/* What process_spawn() gives the other program. */
_Noreturn static void become_copy(const char *name, int fd) {
        sigset_t none;
        int null;

        (void) sigemptyset(&none);
        if (dup2(fd, CHANNEL) < 0)
                _exit(1);
        null = open("/dev/null", O_RDWR | O_CLOEXEC);
        if (null < 0 || dup2(null, 0) < 0 || dup2(null, 1) < 0)
                _exit(1);
        (void) close_range(CHANNEL + 1, ~0U, 0);
        (void) sigprocmask(SIG_SETMASK, &none, NULL);
        (void) setpgid(0, 0);
        (void) prctl(PR_SET_NAME, name);
        serve(name);
}

int process_prepare(const char *name) {
        int sockets[2];
        pid_t pid;

        if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sockets) < 0)
                return -errno;
        pid = fork();
        if (pid == 0)
                become_copy(name, sockets[1]);
        (void) close(sockets[1]);
        if (pid < 0) {
                (void) close(sockets[0]);
                return -EAGAIN;
        }
        prepared.pid = pid;
        prepared.fd = sockets[0];
        return 0;
}

static bool take_prepared(pid_t *ret_pid, int *ret_fd) {
        bool there;

        (void) pthread_mutex_lock(&lock);
        there = prepared.pid > 0;
        if (there) {
                *ret_pid = prepared.pid;
                *ret_fd = prepared.fd;
                prepared.pid = 0;
        }
        (void) pthread_mutex_unlock(&lock);
        return there;
}

/* Not fork(): other threads may hold any lock. The name of the file may mean another program by now, after an upgrade;
 * /proc/self/exe is this one. */
int process_spawn(const char *name, pid_t *ret_pid, int *ret_fd) {
        char *const arguments[] = { (char *) name, NULL };
        posix_spawn_file_actions_t actions;
        posix_spawnattr_t attributes;
        int sockets[2], r;
        pid_t pid = 0;

        if (take_prepared(ret_pid, ret_fd))
                return 0;
        if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sockets) < 0)
                return -errno;
        r = -posix_spawn_file_actions_init(&actions);
        if (r >= 0)
                r = -posix_spawnattr_init(&attributes);
        if (r >= 0) {
                r = prepare(&actions, &attributes, sockets[1]);
                if (r >= 0)
                        r = -posix_spawn(&pid, "/proc/self/exe", &actions, &attributes, arguments, environ);
                (void) posix_spawnattr_destroy(&attributes);
        }
        (void) posix_spawn_file_actions_destroy(&actions);
        (void) close(sockets[1]);
        if (r < 0) {
                (void) close(sockets[0]);
                return r;
        }
        *ret_pid = pid;
        *ret_fd = sockets[0];
        return 0;
}

/* Before main(), in every program that has this module: so no program can forget it, and none has to be installed for it. Under
 * this name main() is never reached, whatever is wrong: it would do what the program does, and start another. */
static void __attribute__((constructor)) become_apart(int argc, char **argv) {
        struct stat st;

        if (argc < 1 || strcmp(argv[0], APART_NAME) != 0)
                return;
        if (fstat(CHANNEL, &st) < 0 || !S_ISSOCK(st.st_mode))
                _exit(1);
        if (process_harden() < 0)
                _exit(1);
        serve(APART_NAME);
}
