/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "service/state.h"

/* The verifier: half V, the digests of manifests and payloads. */

/* digest.c */
int digest_keep(struct store_txn *txn, const char *node, enum key_kind kind, const struct wire_confirm_body *body);
int digest_same(struct store_txn *txn, const char *node, enum key_kind kind, const struct wire_confirm_body *body);
int digest_describe(struct store_txn *txn, const char *node, struct wire_details *details);

/* accept.c: the payload versions that an operator named here */
int accept_describe(struct store_txn *txn, const char *node, struct wire_details *details);
int accept_object(struct store_txn *txn, const char *node, json_t **ret);
extern const struct service_route accept_routes[];

/* deal.c: dealt halves, allowed by an operator */
extern const struct service_route deal_routes[];
