/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "service/state.h"

/* The tenant: half U, the manifests, the payloads. */

/* manifest.c: what the first confirm of a generation leaves here. */
int manifest_keep(struct store_txn *txn, const char *node, enum key_kind kind, const struct wire_confirm_body *body);
int manifest_same(struct store_txn *txn, const char *node, enum key_kind kind, const struct wire_confirm_body *body);
int manifest_describe(struct store_txn *txn, const char *node, struct wire_details *details);

/* payload-rows.c: at most one payload of a node is current; one that is not has no file yet. */
int payload_describe(struct party_service *party, struct store_txn *txn, const char *node, uint64_t now,
                     struct wire_details *details);
int payload_object(struct store_txn *txn, const char *node, json_t **ret);
int payload_reseal(struct store_txn *txn, const char *node, const struct wire_confirm_body *body);
int payload_may_retire(struct store_txn *txn, const char *node, const struct wire_confirm_body *body);
int payload_current(struct store_txn *txn, const char *node, uint64_t *ret_version); /* -ENOENT */
char *payload_path(struct party_service *party, const char *node, uint64_t version);

/* payload.c, deal.c: routes */
extern const struct service_route payload_routes[];
extern const struct service_route deal_routes[];
void payload_forgotten(struct party_service *party, const char *node);
