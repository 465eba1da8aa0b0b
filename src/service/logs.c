/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "service/logs.h"

#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "service/admit.h"
#include "service/limiter.h"

_Static_assert((int) FIRMWARE_LOG_MAX == (int) WIRE_FIRMWARE_LOG_MAX && (int) IMA_LIST_MAX == (int) WIRE_IMA_LIST_MAX,
               "what is taken can be read");

enum { PCR_IMA = 10 };

void boot_logs_done(struct boot_logs *logs) {
        if (logs->has_facts)
                boot_facts_done(&logs->facts);
        if (logs->has_ima)
                ima_facts_done(&logs->ima);
        *logs = (struct boot_logs){ .given = logs->given, .parts = logs->parts };
}

static const struct pcr_bank *quoted(const struct admission *a) {
        return pcr_values_bank(&a->evidence.pcrs, a->node.bank);
}

/* What a log has to prove: the values of the PCRs that the rules read the events of. */
static int logs_key(const struct admission *a, uint32_t pcrs, uint8_t ret[static 32]) {
        const struct pcr_bank *bank = quoted(a);
        size_t size = pcr_alg_size(a->node.bank), n = 0;
        uint8_t values[WIRE_PCRS * WIRE_DIGEST_MAX];

        if (!bank || (bank->mask & pcrs) != pcrs)
                return -ENODATA;
        for (unsigned pcr = 0; pcr < WIRE_PCRS; pcr++)
                if (pcrs & UINT32_C(1) << pcr)
                        memcpy(values + size * n++, bank->values[pcr], size);

        return fields_sha256(FIELDS(field_text("tallyboot known log v1"), field_text(pcr_alg_to_string(a->node.bank)),
                                    field_number(pcrs), field_bytes(values, size * n)),
                             ret);
}

static bool proves(const struct boot_facts *facts, uint32_t pcrs) {
        return (facts->proven & pcrs) == pcrs;
}

struct lookup {
        struct admission *a;
        struct blob log;
        struct ima_row own, same;
        bool has_log, has_own, has_same;
};

static int lookup_read(struct store_txn *txn, void *userdata) {
        struct lookup *lookup = userdata;
        struct admission *a = lookup->a;
        int r;

        if (policy_log_pcrs(&a->policy) != 0) {
                r = known_log_load(txn, a->logs.key, &lookup->log);
                if (r < 0 && r != -ENOENT)
                        return r;
                lookup->has_log = r >= 0;
        }
        if (!policy_wants_ima(&a->policy))
                return 0;

        r = ima_row_of_node(txn, a->id, &lookup->own);
        if (r < 0 && r != -ENOENT)
                return r;
        lookup->has_own = r >= 0;
        r = ima_row_of_value(txn, &a->logs.row, &lookup->same);
        if (r < 0 && r != -ENOENT)
                return r;
        lookup->has_same = r >= 0;
        return 0;
}

static int read_given(struct admission *a) {
        struct boot_logs *logs = &a->logs;
        const struct wire_span *given = &logs->parts.firmware;
        char error[256] = "";
        int r;

        r = boot_facts_read(given->data, given->size, &a->evidence.pcrs, a->node.bank, &logs->facts, error, sizeof(error));
        if (r == -ENOMEM)
                return r;
        if (r < 0) {
                (void) snprintf(logs->why, sizeof(logs->why), "firmware log: %s", error[0] ? error : strerror(-r));
                return 0;
        }
        logs->has_facts = true;
        return 0;
}

/* A log that is known is held against this quote like one that was just sent: the database is not believed. And it may be another
 * node's, which wrote into it what no digest binds: it allows a boot, and never refuses one. */
static int collect_firmware(struct admission *a, const struct blob *known) {
        struct boot_logs *logs = &a->logs;
        char error[256] = "";

        if (logs->parts.firmware.size > 0)
                return read_given(a);

        if (known &&
            boot_facts_read(known->data, known->size, &a->evidence.pcrs, a->node.bank, &logs->facts, error, sizeof(error)) >= 0) {
                logs->has_facts = logs->is_known = proves(&logs->facts, policy_log_pcrs(&a->policy));
                if (!logs->has_facts)
                        boot_facts_done(&logs->facts);
        }
        logs->want_firmware = !logs->has_facts && !logs->given;
        return 0;
}

static bool is_of_this_boot(const struct admission *a, const struct ima_row *row) {
        return boot_counters_compare(row->boot, a->verdict.boot) == 0 && row->bank == a->node.bank &&
               strcmp(row->group, a->group.name) == 0 && row->policy_version == a->group.policy_version;
}

/* The list begins where the party has replayed it to; a node that sends all of it is understood, too. */
static int read_list(struct admission *a, const struct ima_row *from) {
        const struct wire_span *list = &a->logs.parts.ima;
        struct ima_row begin = a->logs.row, *row = &a->logs.row;
        char error[256] = "";
        int r;

        row->state = from ? from->state : (struct ima_state){};
        r = ima_facts_read(list->data, list->size, &a->evidence.pcrs, a->node.bank, &row->state, &a->logs.ima, error,
                           sizeof(error));
        if (r >= 0 && from && from->state.entries > 0) {
                row->aggregate_alg = from->aggregate_alg;
                row->aggregate_size = from->aggregate_size;
                memcpy(row->aggregate, from->aggregate, sizeof(row->aggregate));
                return 0;
        }
        if (r < 0 && r != -ENOMEM && from && from->state.entries > 0)
                return read_list(a, NULL);
        if (r == -ENOMEM)
                return r;
        if (r < 0) {
                *row = begin;
                (void) snprintf(a->logs.why, sizeof(a->logs.why), "IMA list: %s", error[0] ? error : strerror(-r));
                return -EKEYREJECTED;
        }

        row->aggregate_alg = a->logs.ima.aggregate_alg;
        row->aggregate_size = a->logs.ima.has_aggregate ? a->logs.ima.aggregate_size : 0;
        memcpy(row->aggregate, a->logs.ima.aggregate, sizeof(row->aggregate));
        return 0;
}

/* Of the whole list, whichever part of it came now. Not said in a->logs.ima: there the first entry of an appended part would pass
 * for boot_aggregate. */
static bool aggregate_is_right(const struct admission *a) {
        const struct ima_row *row = &a->logs.row;
        struct ima_facts whole = {
                .has_aggregate = row->aggregate_size > 0,
                .aggregate_alg = row->aggregate_alg,
                .aggregate_size = row->aggregate_size,
        };

        memcpy(whole.aggregate, row->aggregate, sizeof(whole.aggregate));
        return ima_aggregate_check(&whole, &a->evidence.pcrs, a->node.bank) == 0;
}

/* Entries that were allowed before are not looked at again; what boot_aggregate says is, against the PCRs of now. */
static int collect_ima(struct admission *a, const struct lookup *lookup) {
        const struct ima_row *own = lookup->has_own && is_of_this_boot(a, &lookup->own) ? &lookup->own : NULL;
        struct boot_logs *logs = &a->logs;
        struct ima_row *row = &logs->row;
        int r;

        logs->ima_from = own ? own->state.entries : 0;
        logs->moved = MAX(own ? (uint64_t) own->changed : 0, (uint64_t) a->group.changed);
        if (lookup->has_same) {
                *row = lookup->same;
                row->boot = a->verdict.boot;
        } else if (logs->parts.ima.size > 0) {
                r = read_list(a, own);
                if (r < 0)
                        return r == -EKEYREJECTED ? 0 : r;
        } else {
                logs->want_ima = !logs->given;
                return 0;
        }

        logs->has_ima = true;
        logs->aggregate_right = aggregate_is_right(a);
        row->changed = (int64_t) a->now;
        return 0;
}

/* What an IMA list has to come to. */
static void expected_row(struct admission *a) {
        struct ima_row *row = &a->logs.row;
        const struct pcr_bank *bank = quoted(a);

        *row = (struct ima_row){ .boot = a->verdict.boot, .bank = a->node.bank, .policy_version = a->group.policy_version };
        memcpy(row->group, a->group.name, sizeof(row->group));
        if (bank && bank->mask & UINT32_C(1) << PCR_IMA)
                memcpy(row->state.pcr, bank->values[PCR_IMA], pcr_alg_size(a->node.bank));
}

int logs_collect(struct admission *a) {
        struct lookup lookup = { .a = a };
        uint32_t pcrs = policy_log_pcrs(&a->policy);
        bool ima = policy_wants_ima(&a->policy);
        int r = 0;

        boot_logs_done(&a->logs);
        if (pcrs == 0 && !ima)
                return 0;

        expected_row(a);
        if (pcrs != 0)
                r = logs_key(a, pcrs, a->logs.key);
        if (r >= 0)
                r = store_read(a->party->service->store, lookup_read, &lookup);
        if (r >= 0 && pcrs != 0)
                r = collect_firmware(a, lookup.has_log ? &lookup.log : NULL);
        if (r >= 0 && ima)
                r = collect_ima(a, &lookup);
        blob_done(&lookup.log);
        return r;
}

int logs_ask(struct admission *a, struct http_response *response) {
        struct wire_logs_wanted wanted = { .firmware = a->logs.want_firmware,
                                           .ima = a->logs.want_ima,
                                           .ima_from = a->logs.ima_from };
        struct wire_problem problem = { .name = "logs-wanted", .status = wire_problem_status("logs-wanted") };
        int r;

        response->retry_after = limiter_count(a->party->logs_limiter, "wanted", a->id);
        if (response->retry_after > 0) {
                service_problem(a->call, response, "rate-limited", "This node asks too often.");
                return -ECANCELED;
        }

        r = log_ticket_new(a->party->service->keystore, &a->scope, a->attest_digest, a->now + a->ttl_ms, wanted.ticket);
        if (r < 0)
                return r;
        (void) snprintf(problem.title, sizeof(problem.title), "The policy reads logs that are not known here.");
        (void) snprintf(problem.incident, sizeof(problem.incident), "%s", a->call->request->incident);
        service_text(response, problem.status, wire_logs_wanted_encode(&problem, &wanted));
        /* Proven, and not refused: a number, and no sample of it. */
        if (a->call->outcome)
                (void) snprintf(a->call->outcome->problem, sizeof(a->call->outcome->problem), "%s", problem.name);
        service_recorded(a->call);
        log_info("Node %s, incident %s: asked for its %s.", a->id, a->call->request->incident,
                 !wanted.ima        ? "firmware log"
                 : !wanted.firmware ? "IMA list"
                                    : "firmware log and IMA list");
        return -ECANCELED;
}

int logs_keep(struct admission *a, struct store_txn *txn) {
        struct boot_logs *logs = &a->logs;
        int64_t now = (int64_t) (a->now / 1000);
        int r = 0;

        if (!a->decision.allowed)
                return 0;

        if (logs->is_known)
                r = known_log_touch(txn, logs->key, now);
        else if (logs->has_facts && proves(&logs->facts, policy_log_pcrs(&a->policy)))
                r = known_log_store(txn, logs->key, a->id, &logs->parts.firmware, now);
        if (r < 0 || !logs->has_ima)
                return r;
        return ima_row_store(txn, a->id, &logs->row);
}
