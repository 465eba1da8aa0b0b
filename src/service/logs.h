/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "evidence/facts.h"
#include "service/state.h"

/* The logs of a boot in the release path (docs/protocol.md, 6, Logs): what is known of them, what is asked for, what is kept. */

/* A firmware log that was proven. key: logs_key(). */
int known_log_load(struct store_txn *txn, const uint8_t key[static 32], struct blob *ret); /* -ENOENT */
int known_log_touch(struct store_txn *txn, const uint8_t key[static 32], int64_t now);
/* In place of the one with this key, and of older ones where there is no room; a very large one is not kept. now: seconds. */
int known_log_store(struct store_txn *txn, const uint8_t key[static 32], const char *node, const struct wire_span *log,
                    int64_t now);

/* How far a node's IMA list was replayed and allowed in its boot, by which policy. */
struct ima_row {
        struct boot_counters boot;
        uint16_t bank;
        char group[65];
        int64_t policy_version;
        struct ima_state state;
        uint16_t aggregate_alg;
        uint8_t aggregate[64];
        size_t aggregate_size; /* 0: the list does not begin with boot_aggregate */
        int64_t changed;       /* milliseconds */
};
int ima_row_of_node(struct store_txn *txn, const char *node, struct ima_row *ret); /* -ENOENT */
/* Any node's whose list, allowed by the same policy, gave this very value. -ENOENT. */
int ima_row_of_value(struct store_txn *txn, const struct ima_row *like, struct ima_row *ret);
int ima_row_store(struct store_txn *txn, const char *node, const struct ima_row *row);

struct boot_logs {
        bool given;             /* by release/logs */
        struct wire_logs parts; /* points into the request's body */

        bool has_facts, has_ima, aggregate_right;
        struct boot_facts facts;
        struct ima_facts ima;

        bool want_firmware, want_ima; /* not known here, and not given */
        uint64_t ima_from;
        char why[320]; /* why one that was given is of no use: for the audit log */

        uint8_t key[32];
        bool is_known; /* facts are of a log that was kept */
        struct ima_row row;
        uint64_t moved; /* when the node's IMA state in this boot last changed, or the policy: milliseconds */
};
void boot_logs_done(struct boot_logs *logs); /* what was found; what was given stays */

struct admission;
/* What the policy reads of logs, from those that are known or given. Sets want_*. */
int logs_collect(struct admission *a);
/* The problem logs-wanted; nothing is used up. */
int logs_ask(struct admission *a, struct http_response *response);
/* In the transaction of a release that the policy allowed: its logs, and how far the IMA list went, are known from now on. */
int logs_keep(struct admission *a, struct store_txn *txn);
