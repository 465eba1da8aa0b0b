/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "crypto/split.h"
#include "service/service.h"

/* What tenant and verifier share: nearly everything. A party is a struct party_definition: which half it keeps, and the few steps
 * in which the two differ (the tenant keeps manifests and payloads, the verifier their digests). */

struct limiter;
struct node;
struct party_service;

struct party_definition {
        enum party party;

        /* What the first confirm of a generation leaves here; in a write transaction. */
        int (*keep)(struct store_txn *txn, const char *node, enum key_kind kind, const struct wire_confirm_body *body);
        /* Is a repeated confirm the same as what is kept? 0, -EEXIST: no. */
        int (*same)(struct store_txn *txn, const char *node, enum key_kind kind, const struct wire_confirm_body *body);
        /* May the generations before this one be destroyed? 0, -EBUSY: something still needs them. NULL: always. */
        int (*may_retire)(struct store_txn *txn, const char *node, const struct wire_confirm_body *body);
        /* Adds manifests (or their digests) to details->keys, and what there is to say about a payload. */
        int (*describe)(struct party_service *party, struct store_txn *txn, const struct node *node, uint64_t now,
                        struct wire_details *details);
        /* The member "payload" of a node object; null where there is none. */
        int (*payload_object)(struct store_txn *txn, const char *node, json_t **ret);
        /* SQL for the party's own tables, when a node ($1) is deleted; ends with NULL. */
        const char *const *forget;
        /* Files of a deleted node, after the commit. May be NULL. */
        void (*forgotten)(struct party_service *party, const char *node);
};

struct party_service { /* service->data */
        const struct party_definition *definition;
        struct service *service;
        struct limiter *limiter;
        struct limiter *logs_limiter; /* of requests for logs, and of logs that come */
        struct policy_cache *policies;
        unsigned logs_read; /* at the moment; __atomic */
};

extern const char party_migration[];            /* the SQL of migration 3: the tables that both parties have */
extern const char party_migration_release[];    /* of migration 5 */
extern const char party_migration_enroll[];     /* of migration 12 */
extern const char tpm_migration[];              /* of migration 7: node_tpms */
extern const char tpm_migration_certificates[]; /* of migration 11 */
extern const char token_migration[];            /* of migration 8 */
extern const char join_migration[];             /* of migration 13: ids of join tokens, and who did what with them */
extern const struct service_route party_routes[];

/* The tables of a party, in the order in which they came: 3 to 13. own: the SQL of 4, which only this party has. */
enum { PARTY_MIGRATIONS = 11 };
void party_migrations(const char *own, struct store_migration ret[static PARTY_MIGRATIONS]);

/* For the definitions' setup and teardown. */
int party_setup(struct service *service, const struct party_definition *definition);
void party_teardown(struct service *service);

static inline struct party_service *call_party(const struct service_call *call) {
        return call->service->data;
}

/* All that a node left, but the files of definition->forgotten (nodes.c). */
int node_forget(struct party_service *party, struct store_txn *txn, const struct node *node);

/* A row's id, in SQL; a process of an older program on the same database writes none. */
#define JOIN_TOKEN_NAME "COALESCE(id, group_name || '-' || expires)"
/* Join tokens that ended a week ago are forgotten; at a registrar nothing is done (join-prune.c). */
void join_tokens_prune(struct service *service);

/* Handlers of the routes that both parties have, by file. */
void challenge_post(const struct service_call *call, struct http_response *response);    /* challenge.c */
void release_post(const struct service_call *call, struct http_response *response);      /* release.c */
void release_logs_post(const struct service_call *call, struct http_response *response); /* release-logs.c */
int release_logs_guard(const struct service_call *call);                                 /* release-logs.c */
void nodes_get(const struct service_call *call, struct http_response *response);         /* node-object.c */
void node_get(const struct service_call *call, struct http_response *response);          /* node-object.c */
void node_delete(const struct service_call *call, struct http_response *response);       /* nodes.c */
void node_suspend(const struct service_call *call, struct http_response *response);      /* nodes.c */
void node_resume(const struct service_call *call, struct http_response *response);       /* nodes.c */
void node_revoke(const struct service_call *call, struct http_response *response);       /* nodes.c */
void node_accept_reset(const struct service_call *call, struct http_response *response); /* nodes.c */
void node_rotate(const struct service_call *call, struct http_response *response);       /* nodes.c */
void node_approve(const struct service_call *call, struct http_response *response);      /* approve.c */
void groups_get(const struct service_call *call, struct http_response *response);        /* groups.c */
void group_get(const struct service_call *call, struct http_response *response);         /* groups.c */
void group_put(const struct service_call *call, struct http_response *response);         /* groups.c */
void policy_get(const struct service_call *call, struct http_response *response);        /* policies.c */
void policy_put(const struct service_call *call, struct http_response *response);        /* policies.c */
void join_tokens_get(const struct service_call *call, struct http_response *response);   /* join.c */
void join_tokens_post(const struct service_call *call, struct http_response *response);  /* join.c */
void join_token_delete(const struct service_call *call, struct http_response *response); /* join.c */

/* An audit record of a handler; detail: stolen, may be NULL. */
int party_audit(struct store_txn *txn, const struct service_call *call, const char *event, const char *node, json_t *detail);

/* Row columns (rows.c). Numbers as they are, texts cut never: -EUCLEAN where they do not fit. */
int column_text(const struct store_value *column, char *ret, size_t size);
int column_blob(const struct store_value *column, struct blob *ret);
int column_fixed(const struct store_value *column, void *ret, size_t size); /* NULL column: -ENODATA */
int64_t column_int(const struct store_value *column);                       /* 0 for NULL */
int query_int(struct store_txn *txn, const char *sql, const struct store_value *args, size_t n,
              int64_t *ret); /* -ENOENT: no row */
