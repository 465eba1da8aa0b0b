/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "keystore/internal.h"
#include "keystore/manage.h"

enum { PAGE = 256 };

struct verification {
        struct keystore *keystore;
        keystore_found found;
        void *userdata;
        struct keystore_verified counts;
};

_printf_(3, 4) static int report(struct verification *v, struct keystore_finding finding, const char *words, ...) {
        char text[768];
        va_list args;

        va_start(args, words);
        (void) vsnprintf(text, sizeof(text), words, args);
        va_end(args);

        v->counts.findings++;
        v->counts.unfinished += finding.problem == KEYSTORE_UNDER_OLD_MASTER || finding.problem == KEYSTORE_UNDER_OLD_GENERATION;
        finding.party = v->keystore->party;
        finding.group = finding.group ? finding.group : "";
        finding.node = finding.node ? finding.node : "";
        finding.key = finding.key ? finding.key : "";
        finding.words = text;
        return v->found ? v->found(&finding, v->userdata) : 0;
}

static const char *group_words(const char *group) {
        return *group ? group : "(the service itself)";
}

/* KEKs */

struct kek_read {
        struct verification *v;
        const struct keystore_kek *kek;
        struct kek_row row;
};

static int read_kek(struct store_txn *txn, void *userdata) {
        struct kek_read *read = userdata;

        return kek_row_load(read->v->keystore, txn, read->kek->group, read->kek->generation, &read->row);
}

static int verify_kek(struct verification *v, const struct keystore_kek *info, int64_t current) {
        struct keystore_finding finding = { .what = "kek",
                                            .group = info->group,
                                            .generation = info->generation,
                                            .kek = info->generation,
                                            .master = info->master };
        struct kek_read read = { .v = v, .kek = info };
        _cleanup_(kek_unrefp) struct kek *kek = NULL;
        int r;

        r = store_read(v->keystore->store, read_kek, &read);
        if (r >= 0)
                r = kek_unwrap(v->keystore, &read.row, &kek);
        if (r >= 0)
                cache_remember(v->keystore, &read.row, kek);
        kek_row_done(&read.row);
        if (r == -ENOENT) /* rotated since */
                return 0;
        if (r == -EKEYREJECTED || r == -ENOKEY) {
                finding.problem = r == -ENOKEY ? KEYSTORE_MASTER_NOT_OPEN : KEYSTORE_DOES_NOT_OPEN;
                return report(v, finding, "%s", keystore_error());
        }
        if (r < 0)
                return r;

        v->counts.keks++;
        if (info->master != current) {
                finding.problem = KEYSTORE_UNDER_OLD_MASTER;
                r = report(v, finding,
                           "%s: KEK of group '%s', generation %lld, is still under master %lld: rewrap goes on with it",
                           v->keystore->party, group_words(info->group), (long long) info->generation, (long long) info->master);
                if (r != 0)
                        return r;
        }
        if (!info->is_newest) {
                finding.problem = KEYSTORE_UNDER_OLD_GENERATION;
                return report(
                        v, finding,
                        "%s: %lld rows of group '%s' are still under generation %lld of its KEK: rotate-group goes on with it",
                        v->keystore->party, (long long) info->rows, group_words(info->group), (long long) info->generation);
        }
        return 0;
}

static int verify_keks(struct verification *v) {
        _cleanup_(master_unrefp) struct master_ref *current = keystore_master_current(v->keystore);
        _cleanup_(freep) struct keystore_kek *keks = NULL;
        size_t n = 0;
        int r;

        r = keystore_keks(v->keystore->store, &keks, &n);
        for (size_t i = 0; i < n && r == 0; i++)
                r = verify_kek(v, keks + i, current->id);
        return r;
}

static int verify_masters(struct verification *v) {
        _cleanup_(freep) struct keystore_master *masters = NULL;
        size_t n = 0;
        int r;

        r = keystore_masters(v->keystore, v->keystore->store, &masters, &n);
        for (size_t i = 0; i < n && r == 0; i++) {
                const struct keystore_master *master = masters + i;

                /* those that are configured were opened, and proven, when the keystore was */
                v->counts.masters += master->is_open;
                if (!master->is_open && master->keks > 0)
                        r = report(v,
                                   (struct keystore_finding){
                                           .problem = KEYSTORE_MASTER_NOT_OPEN, .what = "master", .master = master->id },
                                   "%s: master %lld (%s) wraps %lld KEKs and is not configured: name it as old-master",
                                   v->keystore->party, (long long) master->id, master->name, (long long) master->keks);
        }
        return r;
}

/* Halves, by the names that their owner has for them. */

struct half {
        int64_t handle, generation, kek, master;
        char node[NODE_ID_LENGTH + 1], key[KEY_ID_LENGTH + 1], group[KEK_NAME_MAX + 1];
        int result;
        char words[512];
};

struct page {
        struct verification *v;
        struct half items[PAGE];
        size_t n;
        int64_t after; /* the last handle of the page before */
};

static int on_half(const struct store_value *columns, size_t n, void *userdata) {
        struct page *page = userdata;
        struct half *half = page->items + page->n;

        if (n != 7 || page->n >= PAGE)
                return -EUCLEAN;
        *half = (struct half){ .handle = columns[0].number,
                               .generation = columns[3].number,
                               .kek = columns[5].number,
                               .master = columns[6].number };
        if (columns[1].type == STORE_TEXT)
                (void) snprintf(half->node, sizeof(half->node), "%s", (const char *) columns[1].data);
        if (columns[2].type == STORE_TEXT)
                (void) snprintf(half->key, sizeof(half->key), "%s", (const char *) columns[2].data);
        if (columns[4].type == STORE_TEXT)
                (void) snprintf(half->group, sizeof(half->group), "%s", (const char *) columns[4].data);
        page->n++;
        page->after = half->handle;
        return 0;
}

static void open_half(struct verification *v, struct store_txn *txn, struct half *half) {
        _cleanup_(secret_freep) struct secret *secret = NULL;

        half->result = keystore_unwrap(v->keystore, txn, half->handle,
                                       KEYSTORE_HALF_CONTEXT(half->node, half->key, (uint64_t) half->generation), &secret);
        if (half->result < 0)
                (void) snprintf(half->words, sizeof(half->words), "%s", keystore_error());
}

static int read_halves(struct store_txn *txn, void *userdata) {
        struct page *page = userdata;
        int r;

        page->n = 0;
        r = store_query(txn,
                        "SELECT g.handle, g.node, g.key, g.generation, k.name, k.generation, e.master FROM generations g"
                        " LEFT JOIN keystore_key k ON k.handle = g.handle"
                        " LEFT JOIN keystore_kek e ON e.name = k.name AND e.generation = k.generation"
                        " WHERE g.handle > $1 ORDER BY g.handle LIMIT $2",
                        STORE_ARGS(store_int(page->after), store_int(PAGE)), on_half, page);
        for (size_t i = 0; i < page->n && r >= 0; i++)
                open_half(page->v, txn, page->items + i);
        return r;
}

static int read_orphans(struct store_txn *txn, void *userdata) {
        struct page *page = userdata;

        page->n = 0;
        return store_query(txn,
                           "SELECT k.handle, NULL, NULL, 0, k.name, k.generation, 0 FROM keystore_key k"
                           " LEFT JOIN generations g ON g.handle = k.handle WHERE g.handle IS NULL AND k.handle > $1"
                           " ORDER BY k.handle LIMIT $2",
                           STORE_ARGS(store_int(page->after), store_int(PAGE)), on_half, page);
}

static int report_half(struct verification *v, const struct half *half) {
        struct keystore_finding finding = { .what = "half",
                                            .group = half->group,
                                            .node = half->node,
                                            .key = half->key,
                                            .generation = half->generation,
                                            .kek = half->kek,
                                            .master = half->master };

        if (half->result >= 0) {
                v->counts.halves++;
                return 0;
        }
        finding.problem = half->result == -ENOENT   ? KEYSTORE_MISSING
                          : half->result == -ENOKEY ? KEYSTORE_MASTER_NOT_OPEN
                                                    : KEYSTORE_DOES_NOT_OPEN;
        return report(v, finding, "half of node %s, key %s, generation %lld: %s", half->node, half->key,
                      (long long) half->generation, half->words);
}

static int verify_halves(struct verification *v) {
        _cleanup_(freep) struct page *page = calloc(1, sizeof(*page));
        int r;

        if (!page)
                return -ENOMEM;
        page->v = v;
        do {
                r = store_read(v->keystore->store, read_halves, page);
                for (size_t i = 0; i < page->n && r == 0; i++) {
                        if (page->items[i].result < 0 && page->items[i].result != -ENOENT && page->items[i].result != -ENOKEY &&
                            page->items[i].result != -EKEYREJECTED)
                                return page->items[i].result;
                        r = report_half(v, page->items + i);
                }
        } while (r == 0 && page->n == PAGE);

        page->after = 0;
        do {
                if (r == 0)
                        r = store_read(v->keystore->store, read_orphans, page);
                for (size_t i = 0; i < page->n && r == 0; i++)
                        r = report(v,
                                   (struct keystore_finding){ .problem = KEYSTORE_ORPHAN,
                                                              .what = "half",
                                                              .group = page->items[i].group,
                                                              .kek = page->items[i].kek },
                                   "%s: a row of group '%s', KEK generation %lld, is of no node's half", v->keystore->party,
                                   group_words(page->items[i].group), (long long) page->items[i].kek);
        } while (r == 0 && page->n == PAGE);
        return r;
}

int keystore_verify(struct keystore *keystore, keystore_found found, void *userdata, struct keystore_verified *ret) {
        struct verification v = { .keystore = keystore, .found = found, .userdata = userdata };
        bool ever = keystore->cache_ever;
        int r;

        /* one round trip for a KEK and not one for a half, whatever is configured for the service */
        keystore->cache_ever = true;
        r = verify_masters(&v);
        if (r == 0)
                r = verify_keks(&v);
        if (r == 0)
                r = own_verify(keystore, &v.counts.service_keys);
        if (r == -EKEYREJECTED)
                r = report(&v, (struct keystore_finding){ .problem = KEYSTORE_DOES_NOT_OPEN, .what = "service" }, "%s",
                           keystore_error());
        if (r == 0 && strcmp(keystore->party, "registrar") != 0)
                r = verify_halves(&v);
        keystore->cache_ever = ever;
        if (!ever)
                cache_expire(keystore, 0, true);

        if (r == 0)
                *ret = v.counts;
        return r;
}
