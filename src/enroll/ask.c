/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <termios.h>

#include "base/file.h"
#include "enroll/internal.h"

enum { LINE_SIZE = 1024, FILE_SIZE = 65536 };

static int open_terminal(void) {
        int fd = open("/dev/tty", O_RDWR | O_CLOEXEC | O_NOCTTY);

        return fd < 0 ? -ENXIO : fd;
}

bool ask_has_terminal(void) {
        _cleanup_(closep) int fd = open_terminal();

        return fd >= 0;
}

/* One line into locked memory, without its newline. */
static int read_line(int fd, int cancel_fd, struct secret *line) {
        size_t used = 0;

        while (used < line->size) {
                struct pollfd fds[] = { { .fd = fd, .events = POLLIN }, { .fd = cancel_fd, .events = POLLIN } };
                ssize_t n;

                if (poll(fds, ELEMENTSOF(fds), -1) < 0) {
                        if (errno == EINTR)
                                continue;
                        return -errno;
                }
                if (fds[1].revents)
                        return -ECANCELED;
                n = read(fd, line->data + used, line->size - used);
                if (n < 0 && errno != EINTR && errno != EAGAIN)
                        return -errno;
                if (n == 0)
                        return used > 0 ? (int) used : -ECANCELED; /* end of file, Ctrl-D */
                if (n > 0)
                        used += (size_t) n;
                if (used > 0 && line->data[used - 1] == '\n')
                        return (int) used - 1;
        }
        return -EMSGSIZE;
}

static int ask_line(int cancel_fd, const char *prompt, bool echo, struct secret **ret) {
        _cleanup_(secret_freep) struct secret *line = NULL;
        _cleanup_(closep) int fd = open_terminal();
        struct termios before, quiet;
        int r;

        if (fd < 0)
                return fd;
        r = secret_new(LINE_SIZE, &line);
        if (r < 0)
                return r;
        if (tcgetattr(fd, &before) < 0)
                return -ENXIO;
        quiet = before;
        quiet.c_lflag |= ICANON;
        if (!echo)
                quiet.c_lflag &= ~(tcflag_t) (ECHO | ECHOE | ECHOK | ECHONL);
        (void) tcsetattr(fd, TCSAFLUSH, &quiet);
        (void) dprintf(fd, "%s", prompt);
        r = read_line(fd, cancel_fd, line);
        (void) tcsetattr(fd, TCSAFLUSH, &before);
        if (!echo || r < 0)
                (void) dprintf(fd, "\n");
        if (r < 0)
                return r;
        line->size = (size_t) r;
        *ret = TAKE_PTR(line);
        return 0;
}

int ask_secret(int cancel_fd, const char *prompt, struct secret **ret) {
        return ask_line(cancel_fd, prompt, false, ret);
}

/* Nobody looks for the token while a line is typed: the login will find out. */
int ask_pin(struct node *node, const char *prompt, int (*check)(void *userdata) _unused_, void *userdata _unused_,
            struct secret **ret) {
        _cleanup_(secret_freep) struct secret *pin = NULL;
        _cleanup_(freep) char *text = format("%s ", prompt);
        int r = text ? ask_secret(node->cancel_fd, text, &pin) : -ENOMEM;

        if (r < 0)
                return r;
        if (pin->size == 0)
                return -ENODATA;
        *ret = TAKE_PTR(pin);
        return 0;
}

int ask_yes(int cancel_fd, const char *question, bool *ret) {
        _cleanup_(secret_freep) struct secret *line = NULL;
        int r;

        r = ask_line(cancel_fd, question, true, &line);
        if (r < 0)
                return r;
        *ret = line->size > 0 && (line->data[0] == 'y' || line->data[0] == 'Y');
        return 0;
}

int ask_tell(const char *text, const struct secret *secret, const char *after) {
        _cleanup_(closep) int fd = open_terminal();
        int r;

        if (fd < 0)
                return fd;
        r = write_all(fd, text, strlen(text));
        if (r >= 0)
                r = write_all(fd, secret->data, secret->size);
        if (r >= 0)
                r = write_all(fd, after, strlen(after));
        return r;
}

static int read_stdin(struct secret **ret) {
        _cleanup_(secret_freep) struct secret *data = NULL;
        ssize_t n;
        int r;

        r = secret_new(FILE_SIZE, &data);
        if (r < 0)
                return r;
        n = read_upto(STDIN_FILENO, data->data, data->size);
        if (n <= 0)
                return n < 0 ? (int) n : -ENODATA;
        if ((size_t) n == data->size)
                return -EFBIG;
        data->size = (size_t) n;
        *ret = TAKE_PTR(data);
        return 0;
}

int ask_read_file(const char *path, struct secret **ret) {
        return strcmp(path, "-") == 0 ? read_stdin(ret) : file_read_secret(path, FILE_SIZE, false, ret);
}

int ask_credential(const char *name, struct secret **ret) {
        const char *directory = getenv("CREDENTIALS_DIRECTORY");
        _cleanup_(freep) char *path = NULL;

        if (!directory)
                return -ENOENT;
        path = path_join(directory, name);
        return path ? file_read_secret(path, FILE_SIZE, false, ret) : -ENOMEM;
}
