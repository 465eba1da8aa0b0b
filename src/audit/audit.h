/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <jansson.h>

#include "crypto/crypto.h"
#include "store/store.h"

/* Append-only, hash-chained records, one chain per writer (process that owns a store). A record is appended inside the
 * transaction that it tells of, so it is durable before the answer leaves. hash = SHA-256(L("tallyboot audit v1", previous hash,
 * seq, time, event, node, incident, who, detail)). */
struct audit_record {
        const char *event;    /* "release", "refusal", "approve", ... */
        const char *node;     /* node id or "" */
        const char *incident; /* or "" */
        const char *who;      /* operator's name, "node", "service" */
        const char *detail;   /* JSON text or "" ; no secrets */
};
extern const struct store_migration audit_migration; /* its number is 1: every service's first */
int audit_append(struct store_txn *txn, const struct audit_record *record);
/* In order, the oldest first, heads of other services left out. after: seq to start behind, -1: the newest limit records; limit
 * at most 1000; time in whole seconds. node, incident: filter or NULL. -> [{"seq","time","event",...}] */
int audit_query(struct store_txn *txn, const char *node, const char *incident, int64_t after, unsigned limit, json_t **ret);
/* In order, from after on, whole: time in milliseconds, and "hash" (base64url). For audit/verify.h. */
enum { AUDIT_EXPORT_MAX = 1000 };
int audit_export(struct store_txn *txn, int64_t after, unsigned limit, json_t **ret);
