/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <string.h>
#include <sys/eventfd.h>

#include "base/thread.h"
#include "http/connection.h"

static struct connection *next_job(struct workers *workers) {
        struct connection *connection;

        pthread_mutex_lock(&workers->mutex);
        while (STAILQ_EMPTY(&workers->todo) && !workers->stop)
                pthread_cond_wait(&workers->cond, &workers->mutex);
        connection = STAILQ_FIRST(&workers->todo);
        if (connection)
                STAILQ_REMOVE_HEAD(&workers->todo, job);
        pthread_mutex_unlock(&workers->mutex);
        return connection;
}

static void finish_job(struct workers *workers, struct connection *connection) {
        pthread_mutex_lock(&workers->mutex);
        STAILQ_INSERT_TAIL(&workers->done, connection, job);
        pthread_mutex_unlock(&workers->mutex);
        (void) eventfd_write(workers->wake_fd, 1);
}

static void *work(void *userdata) {
        struct workers *workers = userdata;
        struct connection *connection;

        while ((connection = next_job(workers))) {
                connection->response = (struct http_response){ .body_fd = -1 };
                workers->handler(&connection->request, &connection->response, workers->userdata);
                finish_job(workers, connection);
        }
        return NULL;
}

int workers_start(struct workers *workers, unsigned n) {
        int r = 0;

        STAILQ_INIT(&workers->todo);
        STAILQ_INIT(&workers->done);
        (void) pthread_mutex_init(&workers->mutex, NULL);
        (void) pthread_cond_init(&workers->cond, NULL);

        while (r == 0 && workers->n < MIN(n, (unsigned) WORKERS_MAX)) {
                r = thread_start(workers->threads + workers->n, work, workers);
                workers->n += r == 0;
        }
        return workers->n > 0 ? 0 : r;
}

void workers_stop(struct workers *workers) {
        pthread_mutex_lock(&workers->mutex);
        workers->stop = true;
        pthread_cond_broadcast(&workers->cond);
        pthread_mutex_unlock(&workers->mutex);
        for (unsigned i = 0; i < workers->n; i++)
                pthread_join(workers->threads[i], NULL);
        workers->n = 0;
        pthread_mutex_destroy(&workers->mutex);
        pthread_cond_destroy(&workers->cond);
}

void workers_give(struct workers *workers, struct connection *connection) {
        pthread_mutex_lock(&workers->mutex);
        STAILQ_INSERT_TAIL(&workers->todo, connection, job);
        pthread_cond_signal(&workers->cond);
        pthread_mutex_unlock(&workers->mutex);
}

struct connection *workers_take(struct workers *workers) {
        struct connection *connection;

        pthread_mutex_lock(&workers->mutex);
        connection = STAILQ_FIRST(&workers->done);
        if (connection)
                STAILQ_REMOVE_HEAD(&workers->done, job);
        pthread_mutex_unlock(&workers->mutex);
        return connection;
}
