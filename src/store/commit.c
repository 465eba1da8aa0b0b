/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "store/commit.h"

#include <pthread.h>
#include <time.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/thread.h"

enum {
        BATCH_MAX = 512,       /* writes in one transaction */
        IDLE_CHECKPOINT_S = 2, /* quiet for that long: what was deleted leaves the WAL too */
};

struct write {
        store_fn fn; /* NULL: a checkpoint is asked for */
        void *userdata;
        int result;
        bool done;
        struct write *next;
};

struct committer {
        struct sqlite *connection;
        pthread_t thread;
        pthread_mutex_t lock;
        pthread_cond_t work, done;
        struct write *first, *last; /* waiting */
        bool stop;
};

static struct write *queue_pop(struct committer *committer) {
        struct write *write;

        (void) pthread_mutex_lock(&committer->lock);
        write = committer->first;
        if (write) {
                committer->first = write->next;
                if (!committer->first)
                        committer->last = NULL;
                write->next = NULL;
        }
        (void) pthread_mutex_unlock(&committer->lock);
        return write;
}

/* One caller's changes, in a savepoint: when fn fails they go and those of the others stay. */
static int write_run(struct sqlite *connection, const struct write *write) {
        struct store_txn txn = { .connection = connection, .began = clock_monotonic_ms() };
        int r, k;

        r = sqlite_run(connection, "SAVEPOINT fn");
        if (r < 0)
                return r;

        r = write->fn(&txn, write->userdata);

        if (!sqlite_in_transaction(connection))
                return r < 0 ? r : -EIO;
        if (r < 0) {
                k = sqlite_run(connection, "ROLLBACK TO fn");
                if (k < 0 && sqlite_in_transaction(connection))
                        (void) sqlite_run(connection, "ROLLBACK");
        }
        if (sqlite_in_transaction(connection)) {
                k = sqlite_run(connection, "RELEASE fn");
                if (k < 0 && r >= 0)
                        r = k;
        }
        return r;
}

/* Runs a batch inside an open transaction. Returns the writes that were taken from the queue, last first. */
static struct write *batch_run(struct committer *committer, struct write *write) {
        struct write *taken = NULL;
        unsigned n = 0;

        for (; write; write = n < BATCH_MAX ? queue_pop(committer) : NULL) {
                write->next = taken;
                taken = write;
                n++;

                if (!write->fn)
                        continue;
                write->result = write_run(committer->connection, write);
                if (!sqlite_in_transaction(committer->connection)) {
                        log_debug("A write ended the transaction of its whole batch (%u).", n);
                        break;
                }
        }
        return taken;
}

static int batch_commit(struct sqlite *connection) {
        int r;

        if (!sqlite_in_transaction(connection))
                return -EIO;

        r = sqlite_run(connection, "COMMIT");
        if (r < 0 && sqlite_in_transaction(connection))
                (void) sqlite_run(connection, "ROLLBACK");
        return r;
}

static void batch_wake(struct committer *committer, struct write *taken, int r) {
        (void) pthread_mutex_lock(&committer->lock);
        while (taken) {
                struct write *next = taken->next; /* gone as soon as its caller sees done */

                if (r < 0 && taken->result >= 0)
                        taken->result = r;
                taken->done = true;
                taken = next;
        }
        (void) pthread_cond_broadcast(&committer->done);
        (void) pthread_mutex_unlock(&committer->lock);
}

static void batch(struct committer *committer, struct write *write) {
        struct write *taken, *i;
        bool checkpoint = false;
        int r, k;

        /* the write lock is taken at once: another process on this file waits, nobody's snapshot turns out to be too old */
        r = sqlite_run(committer->connection, "BEGIN IMMEDIATE");
        if (r < 0) {
                for (taken = NULL; write; write = queue_pop(committer)) {
                        write->next = taken;
                        taken = write;
                }
                batch_wake(committer, taken, r);
                return;
        }

        taken = batch_run(committer, write);
        r = batch_commit(committer->connection);

        for (i = taken; i; i = i->next)
                checkpoint = checkpoint || !i->fn;
        if (checkpoint) {
                k = sqlite_checkpoint(committer->connection);
                for (i = taken; i; i = i->next)
                        if (!i->fn)
                                i->result = k;
        }
        batch_wake(committer, taken, r);
}

/* Waits for work; returns NULL when it is time to end. After some quiet time checkpoints, once. */
static struct write *committer_wait(struct committer *committer, bool *dirty) {
        struct write *write = NULL;

        while (!write) {
                bool quiet = false;

                (void) pthread_mutex_lock(&committer->lock);
                while (!committer->first && !committer->stop && !quiet) {
                        struct timespec until;

                        if (!*dirty) {
                                (void) pthread_cond_wait(&committer->work, &committer->lock);
                                continue;
                        }
                        (void) clock_gettime(CLOCK_MONOTONIC, &until);
                        until.tv_sec += IDLE_CHECKPOINT_S;
                        quiet = pthread_cond_timedwait(&committer->work, &committer->lock, &until) == ETIMEDOUT;
                }
                if (!committer->first && committer->stop) {
                        (void) pthread_mutex_unlock(&committer->lock);
                        return NULL;
                }
                (void) pthread_mutex_unlock(&committer->lock);

                write = queue_pop(committer);
                if (!write && quiet)
                        *dirty = sqlite_checkpoint(committer->connection) == -EBUSY;
        }
        return write;
}

static void *committer_main(void *userdata) {
        struct committer *committer = userdata;
        struct write *write;
        bool dirty = false;

        while ((write = committer_wait(committer, &dirty))) {
                batch(committer, write);
                dirty = true;
        }
        return NULL;
}

int committer_write(struct committer *committer, store_fn fn, void *userdata) {
        struct write write = { .fn = fn, .userdata = userdata };

        /* from inside a write it would wait for itself */
        if (pthread_equal(pthread_self(), committer->thread))
                return -EDEADLK;

        (void) pthread_mutex_lock(&committer->lock);
        if (committer->stop) {
                (void) pthread_mutex_unlock(&committer->lock);
                return -ESHUTDOWN;
        }
        if (committer->last)
                committer->last->next = &write;
        else
                committer->first = &write;
        committer->last = &write;
        (void) pthread_cond_signal(&committer->work);
        while (!write.done)
                (void) pthread_cond_wait(&committer->done, &committer->lock);
        (void) pthread_mutex_unlock(&committer->lock);
        return write.result;
}

int committer_checkpoint(struct committer *committer) {
        return committer_write(committer, NULL, NULL);
}

int committer_start(struct sqlite *connection, struct committer **ret) {
        _cleanup_(freep) struct committer *committer = calloc(1, sizeof(*committer));
        int r;

        if (!committer)
                return -ENOMEM;

        (void) pthread_mutex_init(&committer->lock, NULL);
        cond_init_monotonic(&committer->work);
        (void) pthread_cond_init(&committer->done, NULL);
        committer->connection = connection;
        r = thread_start(&committer->thread, committer_main, committer);
        if (r < 0)
                return r;

        *ret = TAKE_PTR(committer);
        return 0;
}

struct committer *committer_stop(struct committer *committer) {
        if (!committer)
                return NULL;

        (void) pthread_mutex_lock(&committer->lock);
        committer->stop = true;
        (void) pthread_cond_signal(&committer->work);
        (void) pthread_mutex_unlock(&committer->lock);
        (void) pthread_join(committer->thread, NULL);

        (void) pthread_cond_destroy(&committer->work);
        (void) pthread_cond_destroy(&committer->done);
        (void) pthread_mutex_destroy(&committer->lock);
        (void) sqlite_close(committer->connection);
        free(committer);
        return NULL;
}
