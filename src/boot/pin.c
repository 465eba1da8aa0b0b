/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "boot/pin.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "base/clock.h"
#include "base/encode.h"
#include "base/file.h"
#include "boot/askpassword.h"
#include "boot/notes.h"

#define SYSTEM_CREDENTIALS "/run/credentials/@system" /* given to the whole system: systemd.exec(5) */
#define NOTE "pin-refused"

enum { CHECK_MS = 1000, END_MS = 2000, END_LOOK_MS = 20, EXEC_FAILED = 127 };

/* The unit's own credentials first (LoadCredential=), then the system's. */
static char *credential_path(const char *name) {
        const char *own = getenv("CREDENTIALS_DIRECTORY");
        char *path = own ? path_join(own, name) : NULL;

        if (path && access(path, F_OK) == 0)
                return path;
        free(path);
        return path_join(SYSTEM_CREDENTIALS, name);
}

static char *source_path(const struct pin_source *source) {
        return source->kind == PIN_CREDENTIAL ? credential_path(source->value) : strdup(source->value);
}

void pin_source_describe(const struct pin_source *source, char *ret, size_t size) {
        snprintf(ret, size, "%s %s", source->kind == PIN_CREDENTIAL ? "credential" : "file", source->value);
}

int pin_read(const struct pin_source *source, struct secret **ret, char *error, size_t error_size) {
        _cleanup_(freep) char *path = source_path(source);
        _cleanup_(secret_freep) struct secret *pin = NULL;
        char what[256];
        int r;

        if (!path)
                return -ENOMEM;
        pin_source_describe(source, what, sizeof what);
        r = file_read_secret(path, PIN_MAX, source->kind == PIN_FILE, &pin);
        if (r == -EPERM)
                snprintf(error, error_size, "the PIN's %s may be read by others than root: chmod 600", what);
        else if (r == -EFBIG)
                snprintf(error, error_size, "the PIN's %s is longer than any PIN", what);
        else if (r < 0)
                snprintf(error, error_size, "the PIN's %s cannot be read: %s", what, strerror(-r));
        if (r < 0)
                return r;
        while (pin->size > 0 && strchr("\r\n", pin->data[pin->size - 1]))
                pin->size--;
        if (pin->size == 0) {
                snprintf(error, error_size, "the PIN's %s is empty", what);
                return -ENODATA;
        }
        *ret = TAKE_PTR(pin);
        return 0;
}

/* A credential's file is another one each time that a unit starts. */
static char *refused_line(const char *serial, const struct pin_source *source) {
        char hex[2 * 64 + 1] = "";
        struct stat st = {};

        if (source->kind == PIN_FILE)
                (void) stat(source->value, &st);
        hex_write((const uint8_t *) serial, MIN(strlen(serial), (size_t) 64), hex);
        return format("%s %d %llu:%llu:%lld.%09ld", hex, (int) source->kind, (unsigned long long) st.st_dev,
                      (unsigned long long) st.st_ino, (long long) st.st_mtim.tv_sec, (long) st.st_mtim.tv_nsec);
}

bool pin_was_refused(const char *run_dir, const char *serial, const struct pin_source *source) {
        _cleanup_(freep) char *there = run_dir ? note_read(run_dir, NOTE) : NULL, *line = refused_line(serial, source);

        return there && (!line || strcmp(there, line) == 0);
}

int pin_note_refused(const char *run_dir, const char *serial, const struct pin_source *source) {
        _cleanup_(freep) char *line = refused_line(serial, source);

        if (!line)
                return -ENOMEM;
        return run_dir ? note_write(run_dir, NOTE, line) : 0;
}

/* In the child: nothing that another thread's lock could keep. */
static void run_asker(int fd, pid_t parent, char *const argv[]) {
        sigset_t none;

        (void) prctl(PR_SET_PDEATHSIG, SIGTERM); /* the question goes with who asks */
        if (getppid() != parent)
                _exit(EXEC_FAILED);
        sigemptyset(&none);
        (void) sigprocmask(SIG_SETMASK, &none, NULL);
        (void) dup2(fd, STDOUT_FILENO);
        (void) execvp(argv[0], argv);
        _exit(EXEC_FAILED);
}

static int start_asker(const char *prompt, int *ret_fd, pid_t *ret_pid) {
        char *const argv[] = { (char[]){ "systemd-ask-password" },
                               (char[]){ "--no-tty" },
                               (char[]){ "--timeout=0" },
                               (char[]){ "--echo=no" },
                               (char[]){ "--icon=drive-harddisk" },
                               (char[]){ "--id=tallyboot:pin" },
                               (char *) prompt,
                               NULL };
        pid_t pid, parent = getpid();
        int fds[2];

        if (pipe2(fds, O_CLOEXEC) < 0)
                return -errno;
        pid = fork();
        if (pid == 0)
                run_asker(fds[1], parent, argv);
        (void) close(fds[1]);
        if (pid < 0) {
                (void) close(fds[0]);
                return -EAGAIN;
        }
        *ret_fd = fds[0];
        *ret_pid = pid;
        return 0;
}

/* It takes its question away when it is told to end. */
static int end_asker(pid_t pid, bool cancel) {
        uint64_t end = clock_monotonic_ms() + END_MS;
        int status = 0;

        if (cancel)
                (void) kill(pid, SIGTERM);
        for (;;) {
                pid_t ended = waitpid(pid, &status, cancel ? WNOHANG : 0);

                if (ended == pid)
                        return WIFEXITED(status) ? WEXITSTATUS(status) : -EINTR;
                if (ended < 0 && errno != EINTR)
                        return -errno;
                if (cancel && clock_monotonic_ms() > end)
                        (void) kill(pid, SIGKILL);
                if (cancel)
                        sleep_ms(END_LOOK_MS);
        }
}

/* Straight into locked memory. 0 at the end of the answer. */
static int read_answer(struct node *node, int fd, int (*check)(void *userdata), void *userdata, struct secret *answer) {
        size_t used = 0;

        for (;;) {
                int r = node_wait(node, fd, CHECK_MS);
                ssize_t n;

                if (r == 0) {
                        r = check ? check(userdata) : 0;
                        if (r >= 0)
                                r = node_meanwhile(node, fd);
                } else if (r > 0) {
                        n = read(fd, answer->data + used, answer->size - used);
                        if (n == 0)
                                break;
                        if (n < 0 && errno != EINTR)
                                return -errno;
                        used += MAX(n, 0);
                        if (used == answer->size)
                                return -EMSGSIZE;
                }
                if (r < 0)
                        return r;
        }
        while (used > 0 && answer->data[used - 1] == '\n')
                used--;
        answer->size = used;
        return 0;
}

int pin_ask_agents(struct node *node, const char *prompt, int (*check)(void *userdata), void *userdata, struct secret **ret) {
        _cleanup_(secret_freep) struct secret *answer = NULL;
        _cleanup_(closep) int fd = -1;
        pid_t pid = -1;
        int r = secret_new(PIN_MAX + 2, &answer), status;

        /* A token that came late: agents on a console show one question after the other. */
        if (ask_is_any_pending(ASK_DIRECTORY))
                node_say(
                        node,
                        "the token is there; its PIN is asked for after the question that is on the console: press Enter at that");
        if (r >= 0)
                r = start_asker(prompt, &fd, &pid);
        if (r < 0)
                return r;
        r = read_answer(node, fd, check, userdata, answer);
        status = end_asker(pid, r < 0);
        if (r < 0)
                return r;
        if (status == EXEC_FAILED) {
                snprintf(node->error, sizeof node->error, "systemd-ask-password, which asks for the PIN, cannot be run");
                return -ENOENT;
        }
        if (status != 0 || answer->size == 0)
                return -ENODATA;
        *ret = TAKE_PTR(answer);
        return 0;
}
