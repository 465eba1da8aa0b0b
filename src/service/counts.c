/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "service/counts.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"

enum { REASONS_MAX = 48, SAMPLES_MAX = 12, SAMPLES_OF_REASON = 2, FEW = 10 };

struct reason {
        char name[32];
        uint64_t total, recent; /* recent: for the record */
        unsigned samples, lines;
};

struct sample {
        char reason[32], address[64], node[64], incident[17];
};

struct counts {
        pthread_mutex_t lock;
        uint64_t since, minute; /* ms */
        struct reason reasons[REASONS_MAX];
        size_t n_reasons;
        struct sample samples[SAMPLES_MAX];
        size_t n_samples;
};

int counts_new(struct counts **ret) {
        struct counts *counts = calloc(1, sizeof(*counts));

        if (!counts)
                return -ENOMEM;
        (void) pthread_mutex_init(&counts->lock, NULL);
        counts->since = clock_realtime_ms();
        *ret = counts;
        return 0;
}

struct counts *counts_free(struct counts *counts) {
        if (counts)
                (void) pthread_mutex_destroy(&counts->lock);
        free(counts);
        return NULL;
}

/* With the lock. One name too many is counted as the last one. */
static struct reason *reason_find(struct counts *counts, const char *name) {
        for (size_t i = 0; i < counts->n_reasons; i++)
                if (strncmp(counts->reasons[i].name, name, sizeof(counts->reasons[i].name) - 1) == 0)
                        return counts->reasons + i;
        if (counts->n_reasons == REASONS_MAX)
                return counts->reasons + REASONS_MAX - 1;

        (void) snprintf(counts->reasons[counts->n_reasons].name, sizeof(counts->reasons[0].name), "%s", name);
        return counts->reasons + counts->n_reasons++;
}

static void keep_sample(struct counts *counts, struct reason *reason, const struct counts_sample *sample) {
        struct sample *kept = counts->samples + counts->n_samples;

        if (counts->n_samples == SAMPLES_MAX || reason->samples == SAMPLES_OF_REASON)
                return;
        (void) snprintf(kept->reason, sizeof(kept->reason), "%s", reason->name);
        (void) snprintf(kept->address, sizeof(kept->address), "%s", sample->address);
        (void) snprintf(kept->node, sizeof(kept->node), "%s", sample->node);
        (void) snprintf(kept->incident, sizeof(kept->incident), "%s", sample->incident);
        counts->n_samples++;
        reason->samples++;
}

void counts_add(struct counts *counts, const char *name, const struct counts_sample *sample) {
        struct reason *reason;

        if (!counts)
                return;
        (void) pthread_mutex_lock(&counts->lock);
        reason = reason_find(counts, name);
        reason->total++;
        if (sample) {
                reason->recent++;
                keep_sample(counts, reason, sample);
        }
        (void) pthread_mutex_unlock(&counts->lock);
}

bool counts_are_few(struct counts *counts, const char *name) {
        uint64_t now = clock_monotonic_ms();
        bool few;

        if (!counts)
                return true;
        (void) pthread_mutex_lock(&counts->lock);
        if (now - counts->minute >= 60000) {
                counts->minute = now;
                for (size_t i = 0; i < counts->n_reasons; i++)
                        counts->reasons[i].lines = 0;
        }
        few = reason_find(counts, name)->lines++ < FEW;
        (void) pthread_mutex_unlock(&counts->lock);
        return few;
}

static json_t *numbers(const struct counts *counts, bool recent) {
        json_t *json = json_object();

        for (size_t i = 0; json && i < counts->n_reasons; i++) {
                const struct reason *reason = counts->reasons + i;
                uint64_t number = recent ? reason->recent : reason->total;

                if (number > 0 && json_object_set_new(json, reason->name, json_integer((json_int_t) number)) < 0) {
                        json_decref(json);
                        json = NULL;
                }
        }
        return json;
}

json_t *counts_totals(struct counts *counts) {
        json_t *json;

        (void) pthread_mutex_lock(&counts->lock);
        json = numbers(counts, false);
        (void) pthread_mutex_unlock(&counts->lock);
        return json;
}

static json_t *describe(const struct counts *counts) {
        json_t *samples = json_array(), *found = numbers(counts, true);

        for (size_t i = 0; samples && i < counts->n_samples; i++) {
                const struct sample *sample = counts->samples + i;

                if (json_array_append_new(samples,
                                          json_pack("{s:s, s:s, s:s, s:s}", "reason", sample->reason, "address", sample->address,
                                                    "node", sample->node, "incident", sample->incident)) < 0) {
                        json_decref(samples);
                        samples = NULL;
                }
        }
        return json_pack("{s:I, s:o, s:o}", "since", (json_int_t) (counts->since / 1000), "counts", found, "samples", samples);
}

int counts_take(struct counts *counts, json_t **ret) {
        uint64_t sum = 0;
        json_t *json = NULL;
        int r = -ENODATA;

        (void) pthread_mutex_lock(&counts->lock);
        for (size_t i = 0; i < counts->n_reasons; i++)
                sum += counts->reasons[i].recent;
        if (sum > 0) {
                json = describe(counts);
                r = json ? 0 : -ENOMEM;
        }
        if (r == 0) {
                for (size_t i = 0; i < counts->n_reasons; i++)
                        counts->reasons[i].recent = counts->reasons[i].samples = 0;
                counts->n_samples = 0;
        }
        if (r != -ENOMEM)
                counts->since = clock_realtime_ms();
        (void) pthread_mutex_unlock(&counts->lock);

        if (r == 0)
                *ret = json;
        return r;
}
