/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "boot/control.h"

#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "base/clock.h"
#include "base/file.h"
#include "boot/control-socket.h"

enum { LEAVE_MS = 5000, STOP_MS = 8000, KILLED_MS = 5000, KILLED_LOOK_MS = 250, HUNG_UP_MAX = 2 };

static bool name_is_valid(const char *name) {
        size_t length = strlen(name);

        if (length == 0 || length >= LUKS_NAME_MAX || strchr(name, '/'))
                return false;
        for (; *name; name++)
                if ((unsigned char) *name <= ' ' || *name == 0x7f)
                        return false;
        return true;
}

static bool uuid_is_valid(const char *uuid) {
        if (strlen(uuid) != LUKS_UUID_LENGTH)
                return false;
        return strspn(uuid, "0123456789abcdef-") == LUKS_UUID_LENGTH;
}

int control_request_parse(const char *line, struct control_request *ret) {
        struct control_request request = {};
        char copy[CONTROL_LINE_MAX], *save = NULL, *words[4] = {};
        size_t n = 0;

        if (strlen(line) >= sizeof copy)
                return -EBADMSG;
        strcpy(copy, line);
        for (char *word = strtok_r(copy, " ", &save); word && n < ELEMENTSOF(words); word = strtok_r(NULL, " ", &save))
                words[n++] = word;
        if (n == 1 && strcmp(words[0], "leave") == 0)
                request.verb = CONTROL_LEAVE;
        else if (n == 1 && strcmp(words[0], "payload") == 0)
                request.verb = CONTROL_PAYLOAD;
        else if (n == 1 && strcmp(words[0], "settled") == 0)
                request.verb = CONTROL_SETTLED;
        else if (n == 1 && strcmp(words[0], "stop") == 0)
                request.verb = CONTROL_STOP;
        else if (n == 1 && strcmp(words[0], "quit") == 0)
                request.verb = CONTROL_QUIT;
        else if (n == 2 && strcmp(words[0], "opened") == 0)
                request.verb = CONTROL_OPENED;
        else if (n == 3 && strcmp(words[0], "wait") == 0)
                request.verb = CONTROL_WAIT;
        else
                return -EBADMSG;
        if (n > 1) {
                if (!name_is_valid(words[1]))
                        return -EBADMSG;
                strcpy(request.name, words[1]);
        }
        if (n > 2) {
                if (!uuid_is_valid(words[2]))
                        return -EBADMSG;
                strcpy(request.uuid, words[2]);
        }
        *ret = request;
        return 0;
}

int control_connect(const char *path) {
        struct sockaddr_un address = { .sun_family = AF_UNIX };
        _cleanup_(closep) int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

        if (fd < 0)
                return -errno;
        if (strlen(path) >= sizeof address.sun_path)
                return -ENAMETOOLONG;
        strcpy(address.sun_path, path);
        if (connect(fd, (struct sockaddr *) &address, sizeof address) < 0)
                return -errno;
        return TAKE_FD(fd);
}

static int connect_to(const char *run_dir) {
        _cleanup_(freep) char *path = path_join(run_dir, "control");

        return path ? control_connect(path) : -ENOMEM;
}

static int tell(int fd, const char *line) {
        if (send(fd, line, strlen(line), MSG_NOSIGNAL) >= 0)
                return 0;
        return errno == ECONNRESET ? -EPIPE : -errno;
}

/* One line, within timeout_ms (0: no limit). -ETIMEDOUT; -EPIPE: end of file. */
static int hear(int fd, uint64_t timeout_ms, char ret[static CONTROL_LINE_MAX]) {
        uint64_t end = clock_monotonic_ms() + timeout_ms;
        size_t used = 0;

        while (used < CONTROL_LINE_MAX - 1) {
                uint64_t now = clock_monotonic_ms();
                struct pollfd poll_fd = { fd, POLLIN, 0 };
                ssize_t n;

                if (timeout_ms > 0 && now >= end)
                        return -ETIMEDOUT;
                n = poll(&poll_fd, 1, timeout_ms > 0 ? (int) MIN(end - now, (uint64_t) 3600000) : -1);
                if (n < 0 && errno != EINTR)
                        return -errno;
                if (n <= 0)
                        continue;
                n = recv(fd, ret + used, 1, 0);
                if (n < 0)
                        return errno == ECONNRESET ? -EPIPE : -errno;
                if (n == 0)
                        return -EPIPE;
                if (ret[used] == '\n') {
                        ret[used] = '\0';
                        return 0;
                }
                used++;
        }
        return -EBADMSG;
}

int control_wait_volume(const char *run_dir, const char *name, const char *uuid, uint64_t timeout_ms) {
        _cleanup_(closep) int fd = connect_to(run_dir);
        char line[CONTROL_LINE_MAX];
        int r;

        if (fd < 0)
                return fd;
        snprintf(line, sizeof line, "wait %s %s\n", name, uuid);
        r = tell(fd, line);
        if (r < 0)
                return 0;
        r = timeout_ms > 0 ? hear(fd, timeout_ms, line) : -ETIMEDOUT;
        if (r == -ETIMEDOUT) {
                /* Never simply go away: the unlocker may be opening the volume in this moment, and systemd-cryptsetup comes
                 * next. */
                if (tell(fd, "leave\n") < 0)
                        return 0;
                r = hear(fd, LEAVE_MS, line);
        }
        return r >= 0 && strcmp(line, "opened") == 0;
}

/* 1 where the answer is the one hoped for, 0 for any other and for the unlocker's end. */
static int ask(const char *run_dir, const char *question, const char *hoped, uint64_t timeout_ms) {
        _cleanup_(closep) int fd = connect_to(run_dir);
        char line[CONTROL_LINE_MAX];

        if (fd < 0)
                return fd;
        if (tell(fd, question) < 0 || hear(fd, timeout_ms, line) < 0)
                return 0;
        return strcmp(line, hoped) == 0;
}

int control_wait_payload(const char *run_dir, uint64_t timeout_ms) {
        return ask(run_dir, "payload\n", "ready", timeout_ms);
}

int control_wait_settled(const char *run_dir, uint64_t timeout_ms) {
        return ask(run_dir, "settled\n", "done", timeout_ms);
}

int control_tell_opened(const char *run_dir, const char *name) {
        _cleanup_(closep) int fd = connect_to(run_dir);
        char line[CONTROL_LINE_MAX];
        int r;

        if (fd < 0)
                return fd;
        snprintf(line, sizeof line, "opened %s\n", name);
        r = tell(fd, line);
        return r < 0 ? r : hear(fd, STOP_MS, line);
}

/* The unlocker does not answer: its TPM or its disk hangs. It dies, and its memory with it. */
static int kill_unlocker(int fd, const char *run_dir) {
        uint64_t end = clock_monotonic_ms() + KILLED_MS;
        struct ucred peer = {};
        socklen_t size = sizeof peer;

        if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) < 0)
                return -errno;
        if (peer.pid <= 1 || peer.pid == getpid() || (kill(peer.pid, SIGKILL) < 0 && errno != ESRCH))
                return -ESRCH;
        while (clock_monotonic_ms() < end) {
                _cleanup_(closep) int again = connect_to(run_dir);

                if (again == -ENOENT || again == -ECONNREFUSED)
                        return 0;
                sleep_ms(KILLED_LOOK_MS);
        }
        return -ETIMEDOUT;
}

/* At its end the unlocker hangs up. It does so too where it has no room for one more, so the next try has to find nobody. */
static int end_unlocker(const char *run_dir, const char *request, bool may_answer) {
        for (unsigned i = 0;; i++) {
                _cleanup_(closep) int fd = connect_to(run_dir);
                char line[CONTROL_LINE_MAX];
                int r;

                if (fd == -ENOENT || fd == -ECONNREFUSED)
                        return 0;
                if (fd < 0)
                        return fd;
                r = tell(fd, request);
                if (r >= 0)
                        r = hear(fd, STOP_MS, line);
                if (r >= 0 && may_answer)
                        return 0;
                if (r != -EPIPE || i >= HUNG_UP_MAX)
                        return kill_unlocker(fd, run_dir);
        }
}

int control_stop(const char *run_dir) {
        return end_unlocker(run_dir, "stop\n", true);
}

int control_quit(const char *run_dir) {
        return end_unlocker(run_dir, "quit\n", false);
}
