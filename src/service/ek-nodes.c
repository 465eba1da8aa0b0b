/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "service/ek-nodes.h"

#include <stdlib.h>
#include <string.h>

#include "base/encode.h"
#include "base/log.h"
#include "service/state.h"

/* A page: what is read from the store at once. */
enum { PAGE = 64, LINES_MAX = 20 };

struct page_row {
        char id[NODE_ID_LENGTH + 1], ek_sha256[65];
        struct blob certificates;
};

struct page {
        const char *after;
        struct page_row rows[PAGE];
        size_t n;
};

static void page_done(struct page *page) {
        for (size_t i = 0; i < page->n; i++)
                blob_done(&page->rows[i].certificates);
        page->n = 0;
}

static int on_row(const struct store_value *columns, _unused_ size_t n, void *userdata) {
        struct page *page = userdata;
        struct page_row *row = page->rows + page->n;
        int r;

        if ((r = column_text(columns, row->id, sizeof(row->id))) < 0 ||
            (r = column_text(columns + 1, row->ek_sha256, sizeof(row->ek_sha256))) < 0 ||
            (r = column_blob(columns + 2, &row->certificates)) < 0)
                return r;
        page->n++;
        return 0;
}

static int read_page(struct store_txn *txn, void *userdata) {
        struct page *page = userdata;

        return store_query(
                txn,
                "SELECT nodes.id, nodes.ek_sha256, node_tpms.certificates FROM nodes JOIN node_tpms ON node_tpms.node = nodes.id"
                " WHERE nodes.id > $1 AND nodes.state <> 'revoked' AND LENGTH(node_tpms.certificates) > 0"
                " ORDER BY nodes.id LIMIT $2",
                STORE_ARGS(store_text(page->after), store_int(PAGE)), on_row, page);
}

static bool is_revoked(struct service *service, const char *ek_sha256, const struct blob *certificates, char *ret_why,
                       size_t size) {
        uint8_t digest[32];

        return hex_decode(ek_sha256, digest, sizeof(digest)) >= 0 &&
               service_ek_revoked(service, digest, certificates, ret_why, size);
}

struct reading_one {
        const char *node;
        struct blob certificates;
};

static int read_certificates(struct store_txn *txn, void *userdata) {
        struct reading_one *reading = userdata;

        return node_tpm_certificates(txn, reading->node, &reading->certificates);
}

int ek_node_revoked(struct service *service, const char *node, const char *ek_sha256, char *ret_why, size_t size) {
        struct reading_one reading = { .node = node };
        int r;

        r = store_read(service->store, read_certificates, &reading);
        if (r >= 0)
                r = is_revoked(service, ek_sha256, &reading.certificates, ret_why, size);
        blob_done(&reading.certificates);
        return r;
}

static void say(struct service *service, const char *node, const char *why, size_t n) {
        if (n < LINES_MAX)
                log_warning("Node %s, which is enrolled: %s. %s", node, why,
                            service->config.ek_recheck ? "It gets no more halves (ek-crl-recheck = required)."
                                                       : "It is answered as before (ek-crl-recheck = optional); \"tallyctl node "
                                                         "revoke\" ends that.");
        else if (n == LINES_MAX)
                log_warning(
                        "More nodes were enrolled with certificates that are revoked by now: \"tallyctl node show\" says so.");
}

/* Sorted by id, as they are read. */
static int review_page(struct service *service, const struct page *page, struct ek_revoked *revoked) {
        for (size_t i = 0; i < page->n; i++) {
                const struct page_row *row = page->rows + i;
                char why[320], (*grown)[NODE_ID_LENGTH + 1];

                if (!is_revoked(service, row->ek_sha256, &row->certificates, why, sizeof(why)))
                        continue;
                say(service, row->id, why, revoked->n);
                grown = reallocarray(revoked->nodes, revoked->n + 1, sizeof(*grown));
                if (!grown)
                        return -ENOMEM;
                revoked->nodes = grown;
                memcpy(revoked->nodes[revoked->n++], row->id, sizeof(row->id));
        }
        return 0;
}

static int review_all(struct service *service, struct ek_revoked *revoked) {
        _cleanup_(freep) struct page *page = calloc(1, sizeof(*page));
        char after[NODE_ID_LENGTH + 1] = "";
        bool more = true;
        int r = 0;

        if (!page)
                return -ENOMEM;
        while (r >= 0 && more) {
                page->after = after;
                r = store_read(service->store, read_page, page);
                if (r >= 0)
                        r = review_page(service, page, revoked);
                more = page->n == PAGE;
                if (page->n > 0)
                        memcpy(after, page->rows[page->n - 1].id, sizeof(after));
                page_done(page);
        }
        return r;
}

int ek_nodes_review(struct service *service) {
        struct ek_revoked revoked = {}, old;
        unsigned loads = service->ek_loads;
        int r;

        if (!service->definition->has_registrar || service->ek_revoked.loads == loads)
                return 0;
        r = review_all(service, &revoked);
        if (r < 0) {
                free(revoked.nodes);
                return log_warning_errno(r, "Enrolled nodes could not be held against the CRLs: %m");
        }

        revoked.loads = loads;
        (void) pthread_rwlock_wrlock(&service->ek_lock);
        old = service->ek_revoked;
        service->ek_revoked = revoked;
        (void) pthread_rwlock_unlock(&service->ek_lock);
        free(old.nodes);
        return 0;
}

static int compare_ids(const void *a, const void *b) {
        return strcmp(a, b);
}

bool ek_nodes_knows(struct service *service, const char *node) {
        bool found;

        (void) pthread_rwlock_rdlock(&service->ek_lock);
        found = service->ek_revoked.n > 0 &&
                bsearch(node, service->ek_revoked.nodes, service->ek_revoked.n, sizeof(*service->ek_revoked.nodes), compare_ids);
        (void) pthread_rwlock_unlock(&service->ek_lock);
        return found;
}

size_t ek_nodes_count(const struct service *service) {
        pthread_rwlock_t *lock = (pthread_rwlock_t *) &service->ek_lock;
        size_t n;

        (void) pthread_rwlock_rdlock(lock);
        n = service->ek_revoked.n;
        (void) pthread_rwlock_unlock(lock);
        return n;
}

void ek_nodes_done(struct service *service) {
        free(service->ek_revoked.nodes);
        service->ek_revoked = (struct ek_revoked){};
}
