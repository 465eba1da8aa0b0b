/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <string.h>

#include "base/file.h"
#include "boot/doctor.h"

/* Every address by itself: a second address that never worked is found out when the first one fails. */
static void check_address(struct doctor *doctor, const char *role, char *url) {
        struct http_server_list one = { .urls = &url, .n = 1, .role = role };
        struct http_exchange exchange = {
                .servers = &one, .method = "GET", .path = "/v1/health", .body_fd = -1, .max_answer = 4096
        };
        char said[32] = "";
        int r = http_client_perform(doctor->node->http, &exchange, 1, -1);
        json_t *json = r >= 0 && exchange.result >= 0 ? wire_json_parse(exchange.answer.data, exchange.answer.size) : NULL;

        if (r < 0 || exchange.result < 0)
                found(doctor, FOUND_PROBLEM, role, "%s", exchange.error[0] ? exchange.error : strerror(-r));
        else if (exchange.status != 200 || !json || wire_get_string(json, "role", said, sizeof said) < 0)
                found(doctor, FOUND_PROBLEM, role, "%s: no service of ours answers there (HTTP status %d)", url, exchange.status);
        else if (strcmp(said, role) != 0)
                found(doctor, FOUND_PROBLEM, role, "%s: that is a %s; correct tallyboot.conf", url, said);
        else
                found(doctor, FOUND_OK, role, "%s answers", url);
        json_decref(json);
        http_exchange_done(&exchange);
}

static void check_challenge(struct doctor *doctor, enum party party, const struct http_exchange *exchange) {
        struct wire_challenge challenge = {};
        struct wire_problem problem = {};
        const char *who = party_to_string(party);
        uint16_t banks[WIRE_BANKS_MAX];
        bool active = false;
        size_t n = 0;

        if (exchange->status != 200) {
                if (wire_problem_parse((char *) exchange->answer.data, exchange->answer.size, &problem) >= 0)
                        found(doctor, strcmp(problem.name, "unknown-node") == 0 ? FOUND_WARNING : FOUND_PROBLEM, who, "%s: %s",
                              problem.name, problem.title);
                return;
        }
        if (wire_challenge_parse((char *) exchange->answer.data, exchange->answer.size, &challenge) < 0) {
                found(doctor, FOUND_PROBLEM, who, "its challenge is not as the protocol says: compare the versions");
                return;
        }
        if (doctor->node->kind == NODE_TOKEN) {
                found(doctor, FOUND_OK, who, "knows this node");
                wire_challenge_done(&challenge);
                return;
        }
        if (challenge.gate != doctor->config->gate_pcr)
                found(doctor, FOUND_PROBLEM, who, "its group has gate PCR %u, tallyboot.conf says %u", challenge.gate,
                      doctor->config->gate_pcr);
        if (tpm_active_banks(doctor->node->tpm, banks, &n) >= 0)
                for (size_t i = 0; i < n; i++)
                        active = active || banks[i] == challenge.bank;
        if (!active)
                found(doctor, FOUND_PROBLEM, who, "it wants the PCR bank %s, which is not active in this TPM",
                      pcr_alg_to_string(challenge.bank));
        else
                found(doctor, FOUND_OK, who, "knows this node; PCR bank %s", pcr_alg_to_string(challenge.bank));
        wire_challenge_done(&challenge);
}

static void check_parties(struct doctor *doctor) {
        _cleanup_(freep) char *body = wire_challenge_request_encode(PURPOSE_BOOT);
        _cleanup_(freep) char *path = format("/v1/nodes/%s/challenge", doctor->node->id);

        for (enum party party = PARTY_TENANT; body && path && party <= PARTY_VERIFIER; party++) {
                struct http_exchange exchange = party_post(doctor->config, party, path, body, WIRE_REQUEST_MAX);

                if (http_client_perform(doctor->node->http, &exchange, 1, -1) >= 0 && exchange.result >= 0)
                        check_challenge(doctor, party, &exchange);
                http_exchange_done(&exchange);
        }
}

static void check_list(struct doctor *doctor, const char *role, const struct http_server_list *list) {
        for (size_t i = 0; i < list->n; i++)
                check_address(doctor, role, list->urls[i]);
}

void doctor_check_services(struct doctor *doctor) {
        if (doctor->config->registrar.n == 0)
                found(doctor, FOUND_WARNING, "registrar",
                      "none in tallyboot.conf: this node cannot be registered or enrolled again");
        check_list(doctor, "registrar", &doctor->config->registrar);
        check_list(doctor, "tenant", doctor->config->parties + PARTY_TENANT);
        check_list(doctor, "verifier", doctor->config->parties + PARTY_VERIFIER);
        if (doctor->node->has_id)
                check_parties(doctor);
}
