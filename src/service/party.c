/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "service/party.h"

#include "audit/audit.h"
#include "audit/head.h"
#include "audit/past.h"
#include "service/limiter.h"
#include "service/policy-cache.h"

enum {
        POLICY_MAX = 1024 * 1024,
        LOGS_SHARE = 5, /* of answers-per-minute: so many of them may be asked for logs */
};

void party_migrations(const char *own, struct store_migration ret[static PARTY_MIGRATIONS]) {
        const struct store_migration migrations[PARTY_MIGRATIONS] = {
                { 3, party_migration },
                { 4, own },
                { 5, party_migration_release },
                { 6, audit_peers_migration },
                { 7, tpm_migration },
                { 8, token_migration },
                { 9, keystore_migration_generations },
                { 10, audit_past_migration },
                { 11, tpm_migration_certificates },
                { 12, party_migration_enroll },
                { 13, join_migration },
        };

        memcpy(ret, migrations, sizeof(migrations));
}

int party_setup(struct service *service, const struct party_definition *definition) {
        struct party_service *party;
        int r;

        party = calloc(1, sizeof(*party));
        if (!party)
                return -ENOMEM;
        r = limiter_new(service->config.answers_per_minute, &party->limiter);
        if (r >= 0)
                r = limiter_new(MAX(service->config.answers_per_minute / LOGS_SHARE, 1U), &party->logs_limiter);
        if (r >= 0)
                r = policy_cache_new(&party->policies);
        if (r < 0) {
                limiter_free(party->limiter);
                limiter_free(party->logs_limiter);
                free(party);
                return r;
        }

        party->definition = definition;
        party->service = service;
        service->data = party;
        return 0;
}

void party_teardown(struct service *service) {
        struct party_service *party = service->data;

        limiter_free(party->limiter);
        limiter_free(party->logs_limiter);
        policy_cache_free(party->policies);
        free(party);
        service->data = NULL;
}

int party_audit(struct store_txn *txn, const struct service_call *call, const char *event, const char *node, json_t *detail) {
        _cleanup_(freep) char *text = detail ? json_dumps(detail, JSON_COMPACT) : NULL;
        const struct audit_record record = {
                .event = event,
                .node = node ? node : "",
                .incident = call->request->incident,
                .who = call->who,
                .detail = text ? text : "",
        };

        json_decref(detail);
        if (detail && !text)
                return -ENOMEM;
        return audit_append(txn, &record);
}

/* Dealt halves are sealed to this key. */
static void inbox_get(const struct service_call *call, struct http_response *response) {
        const struct keypair *inbox;
        json_t *answer;
        int r;

        r = keystore_inbox(call->service->keystore, &inbox);
        if (r < 0) {
                service_failure(call, response, r);
                return;
        }

        answer = json_object();
        if (answer && wire_set_bin(answer, "public", inbox->public, sizeof(inbox->public)) < 0) {
                json_decref(answer);
                answer = NULL;
        }
        service_json(response, 200, answer);
}

const struct service_route party_routes[] = {
        { "POST", "/v1/nodes/{id}/challenge", ROLE_ANYONE, 0, false, challenge_post },
        { "POST", "/v1/nodes/{id}/release", ROLE_ANYONE, 0, false, release_post },
        { "POST", "/v1/nodes/{id}/release/logs", ROLE_ANYONE, WIRE_LOGS_MAX, true, release_logs_post, release_logs_guard },
        { "GET", "/v1/nodes", ROLE_OPERATOR, 0, false, nodes_get },
        { "POST", "/v1/nodes/{id}/approve", ROLE_OPERATOR, 0, false, node_approve },
        { "POST", "/v1/nodes/{id}/suspend", ROLE_OPERATOR, 0, false, node_suspend },
        { "POST", "/v1/nodes/{id}/resume", ROLE_OPERATOR, 0, false, node_resume },
        { "POST", "/v1/nodes/{id}/revoke", ROLE_OPERATOR, 0, false, node_revoke },
        { "POST", "/v1/nodes/{id}/accept-reset", ROLE_OPERATOR, 0, false, node_accept_reset },
        { "POST", "/v1/nodes/{id}/rotate", ROLE_OPERATOR, 0, false, node_rotate },
        { "DELETE", "/v1/nodes/{id}", ROLE_OPERATOR, 0, false, node_delete },
        { "GET", "/v1/groups", ROLE_OPERATOR, 0, false, groups_get },
        { "GET", "/v1/groups/{name}", ROLE_OPERATOR, 0, false, group_get },
        { "PUT", "/v1/groups/{name}", ROLE_OPERATOR, POLICY_MAX, false, group_put },
        { "GET", "/v1/groups/{name}/policy", ROLE_OPERATOR, 0, false, policy_get },
        { "PUT", "/v1/groups/{name}/policy", ROLE_OPERATOR, POLICY_MAX, false, policy_put },
        { "GET", "/v1/join-tokens", ROLE_OPERATOR, 0, false, join_tokens_get },
        { "POST", "/v1/join-tokens", ROLE_OPERATOR, 0, false, join_tokens_post, NULL, true },
        { "DELETE", "/v1/join-tokens/{token}", ROLE_OPERATOR, 0, false, join_token_delete },
        { "GET", "/v1/inbox", ROLE_OPERATOR | ROLE_TENANT, 0, false, inbox_get },
        {},
};
