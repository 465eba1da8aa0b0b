/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "service/service.h"

#include <openssl/pem.h>
#include <stdio.h>
#include <string.h>

#include "audit/head.h"
#include "service/counts.h"
#include "service/ek-nodes.h"
#include "service/hold.h"
#include "service/space.h"

/* GET /v1/metrics: numbers for whoever watches a fleet, in OpenMetrics' text form, as Prometheus reads it. Nothing in it names a
 * node. A certificate of a monitor may read it, and nothing else. */

struct metrics {
        const struct service *service;
        struct buffer text;
};

static int row_state(const struct store_value *columns, size_t n, void *userdata) {
        struct metrics *metrics = userdata;

        if (n != 2 || columns[0].type != STORE_TEXT || columns[1].type != STORE_INT)
                return -EUCLEAN;
        buffer_printf(&metrics->text, "tallyboot_nodes{state=\"%s\"} %lld\n", (const char *) columns[0].data,
                      (long long) columns[1].number);
        return 0;
}

/* The registrar's table has its own name: its rows are another thing. */
static int write_nodes(struct metrics *metrics, struct store_txn *txn) {
        bool registrar = strcmp(metrics->service->definition->role, "registrar") == 0;

        if (!registrar)
                buffer_printf(&metrics->text, "# TYPE tallyboot_nodes_ek_revoked gauge\ntallyboot_nodes_ek_revoked %zu\n",
                              ek_nodes_count(metrics->service));
        buffer_printf(&metrics->text, "# TYPE tallyboot_nodes gauge\n");
        return store_query(txn,
                           registrar ? "SELECT state, COUNT(*) FROM node GROUP BY state"
                                     : "SELECT state, COUNT(*) FROM nodes GROUP BY state",
                           STORE_NO_ARGS, row_state, metrics);
}

static int write_audit(struct metrics *metrics, struct store_txn *txn) {
        static const char *const roles[] = { "registrar", "tenant", "verifier" };
        struct audit_peer peers[ELEMENTSOF(roles)] = {};
        struct audit_head head = {};
        int r;

        r = audit_head_read(txn, metrics->service->definition->role, 0, &head);
        if (r < 0)
                return r;
        buffer_printf(&metrics->text, "# TYPE tallyboot_audit_records gauge\ntallyboot_audit_records %lld\n",
                      (long long) head.seq);
        buffer_printf(&metrics->text, "# TYPE tallyboot_audit_alarm gauge\n");
        for (size_t i = 0; i < ELEMENTSOF(roles); i++) {
                r = audit_peer_load(txn, roles[i], peers + i);
                if (r == -ENOENT)
                        continue;
                if (r < 0)
                        return r;
                buffer_printf(&metrics->text, "tallyboot_audit_alarm{of=\"%s\"} %d\n", roles[i], peers[i].alarm[0] != '\0');
        }
        buffer_printf(&metrics->text, "# TYPE tallyboot_audit_head_time gauge\n");
        for (size_t i = 0; i < ELEMENTSOF(roles); i++)
                if (peers[i].seq > 0)
                        buffer_printf(&metrics->text, "tallyboot_audit_head_time{of=\"%s\"} %lld\n", roles[i],
                                      (long long) peers[i].recorded / 1000);
        return 0;
}

static int read_metrics(struct store_txn *txn, void *userdata) {
        int r = write_nodes(userdata, txn);

        return r < 0 ? r : write_audit(userdata, txn);
}

static void write_counts(struct metrics *metrics) {
        json_t *totals = counts_totals(metrics->service->counts), *number;
        const char *reason;

        buffer_printf(&metrics->text, "# TYPE tallyboot_refused counter\n");
        json_object_foreach (totals, reason, number)
                buffer_printf(&metrics->text, "tallyboot_refused_total{reason=\"%s\"} %lld\n", reason,
                              (long long) json_integer_value(number));
        json_decref(totals);
}

/* When the certificate that nodes are shown ends: what stops a fleet at three in the morning. */
static void write_certificate(struct metrics *metrics) {
        FILE *file = fopen(metrics->service->config.certificate, "re");
        X509 *certificate = file ? PEM_read_X509(file, NULL, NULL, NULL) : NULL;
        struct tm end = {};

        if (certificate && ASN1_TIME_to_tm(X509_get0_notAfter(certificate), &end) == 1)
                buffer_printf(&metrics->text,
                              "# TYPE tallyboot_certificate_end_seconds gauge\ntallyboot_certificate_end_seconds %lld\n",
                              (long long) timegm(&end));
        X509_free(certificate);
        if (file)
                (void) fclose(file);
}

static void write_service(struct metrics *metrics, struct service *service) {
        buffer_printf(&metrics->text, "# TYPE tallyboot_info gauge\ntallyboot_info{role=\"%s\",version=\"%s\"} 1\n",
                      service->definition->role, TALLYBOOT_VERSION);
        buffer_printf(&metrics->text, "# TYPE tallyboot_answers counter\n");
        for (unsigned i = 2; i < ELEMENTSOF(service->answers); i++)
                buffer_printf(&metrics->text, "tallyboot_answers_total{status=\"%uxx\"} %llu\n", i,
                              (unsigned long long) service->answers[i]);
        buffer_printf(&metrics->text, "# TYPE tallyboot_releases counter\ntallyboot_releases_total %llu\n",
                      (unsigned long long) service->releases);
        buffer_printf(&metrics->text, "# TYPE tallyboot_space gauge\ntallyboot_space %d\n", service_space(service) == SPACE_GOOD);
        buffer_printf(&metrics->text, "# TYPE tallyboot_old_database gauge\ntallyboot_old_database %d\n", hold_is(service));
}

static void get_metrics(const struct service_call *call, struct http_response *response) {
        struct metrics metrics = { .service = call->service };
        int r;

        write_service(&metrics, call->service);
        write_counts(&metrics);
        write_certificate(&metrics);
        r = store_read(call->service->store, read_metrics, &metrics);
        buffer_printf(&metrics.text, "# EOF\n");
        buffer_u8(&metrics.text, '\0');
        if (r >= 0)
                r = buffer_ok(&metrics.text);
        if (r < 0) {
                buffer_done(&metrics.text);
                service_failure(call, response, r);
                return;
        }
        service_text(response, 200, (char *) metrics.text.data);
        response->content_type = "application/openmetrics-text; version=1.0.0; charset=utf-8";
}

void service_count_answer(const struct service_call *call, int status) {
        struct service *service = call->service;

        if (status >= 200 && status < 600)
                service->answers[status / 100]++;
        if (status == 200 && call->route && strncmp(call->route->pattern, "/v1/nodes/{id}/release", 22) == 0)
                service->releases++;
}

const struct service_route service_metrics_routes[] = {
        { "GET", "/v1/metrics", ROLE_OPERATOR | ROLE_MONITOR, 0, false, get_metrics },
        {},
};
