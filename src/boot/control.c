/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "boot/control.h"

#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "base/file.h"
#include "base/log.h"
#include "boot/control-socket.h"

enum client_state {
        CLIENT_NEW,
        CLIENT_WAITING,
        CLIENT_CLAIMED,
        CLIENT_LEAVING,
        CLIENT_PENDING,
        CLIENT_TAKEN,
        CLIENT_PAYLOAD,
        CLIENT_SETTLED
};

struct client {
        int fd;
        char line[CONTROL_LINE_MAX];
        size_t used;
        enum client_state state;
        struct control_request request;
};

struct control {
        pthread_mutex_t mutex;
        pthread_t thread;
        char *path;
        int listen_fd, signal_fd, cancel_fd, wake_fd, end_fd;
        struct client clients[CONTROL_CLIENTS_MAX];
        size_t n;
        bool terminated; /* a signal asked us to end */
        int payload;     /* 0: not known yet, 1: ready, -1: failed */
        bool settled;
};

static void event_set(int fd) {
        uint64_t one = 1;

        (void) !write(fd, &one, sizeof one);
}

static void event_reset(int fd) {
        uint64_t count;

        (void) !read(fd, &count, sizeof count);
}

static void say(const struct client *client, const char *answer) {
        char line[CONTROL_LINE_MAX];
        int length = snprintf(line, sizeof line, "%s\n", answer);

        (void) send(client->fd, line, length, MSG_NOSIGNAL | MSG_DONTWAIT);
}

static void on_request(struct control *control, struct client *client, const struct control_request *request) {
        switch (request->verb) {
        case CONTROL_LEAVE:
                if (client->state == CLIENT_CLAIMED)
                        client->state = CLIENT_LEAVING;
                else if (client->state == CLIENT_WAITING) {
                        client->state = CLIENT_NEW;
                        say(client, "bye");
                }
                return;
        case CONTROL_WAIT:
                client->state = CLIENT_WAITING;
                break;
        case CONTROL_PAYLOAD:
                client->state = CLIENT_PAYLOAD;
                if (control->payload != 0)
                        say(client, control->payload > 0 ? "ready" : "failed");
                break;
        case CONTROL_SETTLED:
                client->state = CLIENT_SETTLED;
                if (control->settled)
                        say(client, "done");
                break;
        case CONTROL_OPENED:
        case CONTROL_STOP:
        case CONTROL_QUIT:
                client->state = CLIENT_PENDING;
                event_set(control->cancel_fd);
                break;
        }
        client->request = *request;
        event_set(control->wake_fd);
}

/* false: the client is gone, or does not speak our language. */
static bool client_read(struct control *control, struct client *client) {
        ssize_t n = recv(client->fd, client->line + client->used, sizeof client->line - 1 - client->used, MSG_DONTWAIT);
        char *newline;

        if (n < 0)
                return errno == EAGAIN || errno == EINTR;
        if (n == 0)
                return false;
        client->used += n;
        while ((newline = memchr(client->line, '\n', client->used))) {
                struct control_request request;
                size_t length = newline - client->line;

                *newline = '\0';
                if (control_request_parse(client->line, &request) < 0)
                        return false;
                memmove(client->line, newline + 1, client->used - length - 1);
                client->used -= length + 1;
                on_request(control, client, &request);
        }
        return client->used < sizeof client->line - 1;
}

static void client_add(struct control *control) {
        int fd = accept4(control->listen_fd, NULL, NULL, SOCK_CLOEXEC);

        if (fd < 0)
                return;
        if (control->n >= CONTROL_CLIENTS_MAX) {
                (void) close(fd);
                return;
        }
        control->clients[control->n++] = (struct client){ .fd = fd };
}

static void client_remove(struct control *control, size_t i) {
        (void) close(control->clients[i].fd);
        control->clients[i] = control->clients[--control->n];
}

static void on_signal(struct control *control) {
        struct signalfd_siginfo info;

        if (read(control->signal_fd, &info, sizeof info) < 0)
                return;
        control->terminated = true;
        event_set(control->cancel_fd);
        event_set(control->wake_fd);
}

/* One round of the thread: what poll() said, with the lock held. */
static void control_serve(struct control *control, const struct pollfd *fds, size_t n) {
        if (fds[1].revents)
                on_signal(control);
        for (size_t i = n; i-- > 3;) {
                size_t client = i - 3;

                if (fds[i].revents && client < control->n && !client_read(control, control->clients + client))
                        client_remove(control, client);
        }
        if (fds[2].revents)
                client_add(control);
}

static void *control_thread(void *userdata) {
        struct control *control = userdata;

        for (;;) {
                struct pollfd fds[3 + CONTROL_CLIENTS_MAX] = {
                        { control->end_fd, POLLIN, 0 },
                        { control->signal_fd, POLLIN, 0 },
                        { control->listen_fd, POLLIN, 0 },
                };
                size_t n = 3;

                pthread_mutex_lock(&control->mutex);
                for (size_t i = 0; i < control->n; i++)
                        fds[n++] = (struct pollfd){ control->clients[i].fd, POLLIN, 0 };
                pthread_mutex_unlock(&control->mutex);
                if (poll(fds, n, -1) < 0 && errno != EINTR)
                        return NULL;
                if (fds[0].revents)
                        return NULL;
                pthread_mutex_lock(&control->mutex);
                control_serve(control, fds, n);
                pthread_mutex_unlock(&control->mutex);
        }
}

/* A socket that nobody listens on any more is a dead unlocker's. */
static int listen_at(const char *path) {
        struct sockaddr_un address = { .sun_family = AF_UNIX };
        _cleanup_(closep) int fd = -1;

        if (strlen(path) >= sizeof address.sun_path)
                return -ENAMETOOLONG;
        strcpy(address.sun_path, path);
        fd = control_connect(path);
        if (fd >= 0)
                return -EADDRINUSE;
        (void) unlink(path);
        fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        if (fd < 0 || bind(fd, (struct sockaddr *) &address, sizeof address) < 0 || chmod(path, 0600) < 0 ||
            listen(fd, CONTROL_CLIENTS_MAX) < 0)
                return -errno;
        return TAKE_FD(fd);
}

static int control_start(struct control *control) {
        sigset_t signals;
        int r;

        sigemptyset(&signals);
        sigaddset(&signals, SIGTERM);
        sigaddset(&signals, SIGINT);
        r = pthread_sigmask(SIG_BLOCK, &signals, NULL);
        if (r != 0)
                return -r;
        control->signal_fd = signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK);
        control->cancel_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        control->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        control->end_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        if (control->signal_fd < 0 || control->cancel_fd < 0 || control->wake_fd < 0 || control->end_fd < 0)
                return -errno;
        control->listen_fd = listen_at(control->path);
        if (control->listen_fd < 0)
                return control->listen_fd;
        r = pthread_create(&control->thread, NULL, control_thread, control);
        if (r == 0)
                return 0;
        control->thread = 0;
        return -r;
}

int control_open(const char *run_dir, struct control **ret) {
        _cleanup_(control_freep) struct control *control = calloc(1, sizeof *control);
        int r;

        if (!control)
                return -ENOMEM;
        control->listen_fd = control->signal_fd = control->cancel_fd = control->wake_fd = control->end_fd = -1;
        pthread_mutex_init(&control->mutex, NULL);
        control->path = path_join(run_dir, "control");
        if (!control->path)
                return -ENOMEM;
        r = control_start(control);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(control);
        return 0;
}

struct control *control_free(struct control *control) {
        int fds[] = { control ? control->listen_fd : -1, control ? control->signal_fd : -1, control ? control->cancel_fd : -1,
                      control ? control->wake_fd : -1, control ? control->end_fd : -1 };

        if (!control)
                return NULL;
        if (control->thread) {
                event_set(control->end_fd);
                (void) pthread_join(control->thread, NULL);
        }
        if (control->listen_fd >= 0)
                (void) unlink(control->path);
        while (control->n > 0)
                client_remove(control, 0);
        for (size_t i = 0; i < ELEMENTSOF(fds); i++)
                closep(fds + i);
        pthread_mutex_destroy(&control->mutex);
        free(control->path);
        free(control);
        return NULL;
}

int control_cancel_fd(const struct control *control) {
        return control->cancel_fd;
}

int control_wake_fd(const struct control *control) {
        return control->wake_fd;
}

void control_woken(struct control *control) {
        event_reset(control->wake_fd);
}

bool control_next(struct control *control, struct control_request *ret) {
        bool found = false;

        pthread_mutex_lock(&control->mutex);
        if (control->terminated) {
                *ret = (struct control_request){ .verb = CONTROL_STOP };
                pthread_mutex_unlock(&control->mutex);
                return true;
        }
        event_reset(control->cancel_fd);
        for (size_t i = 0; i < control->n; i++) {
                struct client *client = control->clients + i;

                if (client->state != CLIENT_PENDING)
                        continue;
                if (found) { /* one more after this */
                        event_set(control->cancel_fd);
                        break;
                }
                client->state = CLIENT_TAKEN;
                *ret = client->request;
                found = true;
        }
        pthread_mutex_unlock(&control->mutex);
        return found;
}

bool control_terminated(struct control *control) {
        bool terminated;

        pthread_mutex_lock(&control->mutex);
        terminated = control->terminated;
        pthread_mutex_unlock(&control->mutex);
        return terminated;
}

void control_answer(struct control *control, const struct control_request *request, const char *answer) {
        pthread_mutex_lock(&control->mutex);
        for (size_t i = 0; i < control->n; i++) {
                struct client *client = control->clients + i;

                if (client->state == CLIENT_TAKEN && client->request.verb == request->verb &&
                    strcmp(client->request.name, request->name) == 0) {
                        say(client, answer);
                        client->state = CLIENT_NEW;
                }
        }
        pthread_mutex_unlock(&control->mutex);
}

bool control_claim(struct control *control, const char *uuid, char ret_name[static LUKS_NAME_MAX]) {
        bool found = false;

        pthread_mutex_lock(&control->mutex);
        for (size_t i = 0; i < control->n; i++) {
                struct client *client = control->clients + i;

                if (client->state != CLIENT_WAITING || strcmp(client->request.uuid, uuid) != 0)
                        continue;
                client->state = CLIENT_CLAIMED;
                strcpy(ret_name, client->request.name);
                found = true;
        }
        pthread_mutex_unlock(&control->mutex);
        return found;
}

void control_settle(struct control *control, const char *uuid, bool opened) {
        pthread_mutex_lock(&control->mutex);
        for (size_t i = 0; i < control->n; i++) {
                struct client *client = control->clients + i;

                if ((client->state == CLIENT_CLAIMED || client->state == CLIENT_LEAVING) &&
                    strcmp(client->request.uuid, uuid) == 0) {
                        say(client, opened ? "opened" : "failed");
                        client->state = CLIENT_NEW;
                }
        }
        pthread_mutex_unlock(&control->mutex);
}

void control_fail_all(struct control *control) {
        control_fail_unknown(control, NULL, NULL);
}

void control_fail_unknown(struct control *control, bool (*known)(const char *uuid, void *userdata), void *userdata) {
        pthread_mutex_lock(&control->mutex);
        for (size_t i = 0; i < control->n; i++)
                if (control->clients[i].state == CLIENT_WAITING &&
                    !(known && known(control->clients[i].request.uuid, userdata))) {
                        say(control->clients + i, "failed");
                        control->clients[i].state = CLIENT_NEW;
                }
        pthread_mutex_unlock(&control->mutex);
}

void control_payload(struct control *control, bool ready) {
        pthread_mutex_lock(&control->mutex);
        control->payload = ready ? 1 : -1;
        for (size_t i = 0; i < control->n; i++)
                if (control->clients[i].state == CLIENT_PAYLOAD)
                        say(control->clients + i, ready ? "ready" : "failed");
        pthread_mutex_unlock(&control->mutex);
}

void control_settled(struct control *control) {
        pthread_mutex_lock(&control->mutex);
        control->settled = true;
        for (size_t i = 0; i < control->n; i++)
                if (control->clients[i].state == CLIENT_SETTLED)
                        say(control->clients + i, "done");
        pthread_mutex_unlock(&control->mutex);
}
