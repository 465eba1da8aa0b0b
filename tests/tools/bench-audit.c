/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Durable audit records a second: threads that each wait for their record to be on the disk, as workers do, and the commit thread
 * that puts what waits into one transaction.
 *
 *     bench-audit DATABASE THREADS SECONDS     prints records a second */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "audit/audit.h"
#include "base/clock.h"

static struct store *store;
static uint64_t until;

static int append(struct store_txn *txn, void *userdata) {
        return audit_append(txn, userdata);
}

static void *work(void *userdata) {
        static const struct audit_record record = {
                .event = "release",
                .node = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
                .incident = "0123456789abcdef",
                .who = "node",
                .detail =
                        "{\"purpose\":\"boot\",\"boot\":{\"reset\":1,\"restart\":0},\"keys\":[],\"set\":\"image-7\",\"repeat\":false}",
        };
        long *n = userdata;

        while (clock_monotonic_ms() < until && store_write(store, append, (void *) &record) == 0)
                (*n)++;
        return NULL;
}

int main(int argc, char *argv[]) {
        unsigned n = argc > 3 ? (unsigned) atoi(argv[2]) : 0, seconds = argc > 3 ? (unsigned) atoi(argv[3]) : 0;
        pthread_t *threads = calloc(n, sizeof(*threads));
        long *counts = calloc(n, sizeof(*counts)), sum = 0;
        char error[256] = "";

        if (n == 0 || seconds == 0 || !threads || !counts ||
            store_open(argv[1], "tenant", &audit_migration, 1, &store, error, sizeof(error)) < 0) {
                fprintf(stderr, "bench-audit DATABASE THREADS SECONDS: %s\n", error);
                return 1;
        }
        until = clock_monotonic_ms() + seconds * 1000;
        for (unsigned i = 0; i < n; i++)
                if (pthread_create(threads + i, NULL, work, counts + i) != 0)
                        return 1;
        for (unsigned i = 0; i < n; i++) {
                pthread_join(threads[i], NULL);
                sum += counts[i];
        }
        store_close(store);
        printf("%ld\n", sum / (long) seconds);
        return 0;
}
