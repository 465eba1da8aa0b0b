/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/encode.h"
#include "base/log.h"
#include "evidence/token.h"
#include "service/admit.h"

/* Anyone can ask for a challenge: at most so many workers wait for the registrar at once, the others go on serving nodes that are
 * known. */
enum { READS_MAX = 4 };
static atomic_int reads;

static int ask(struct party_service *party, const char *id, const char *incident, json_t **ret) {
        _cleanup_(blob_done) struct blob answer = {};
        char path[128], error[320] = "";
        const struct service_request request = { .to = "registrar", .incident = incident, .method = "GET", .path = path };
        int status, r;

        (void) snprintf(path, sizeof(path), "/v1/nodes/%s", id);
        r = service_exchange(party->service, &request, &status, &answer, error, sizeof(error));
        if (r < 0)
                return log_warning_errno(r, "The registrar does not answer: %s", error);
        if (status == 404)
                return -ENOENT;
        if (status != 200) {
                log_warning("The registrar answers %d to %s: does it trust our certificate %s?", status, path,
                            party->service->config.certificate);
                return -ENOLINK;
        }

        *ret = wire_json_parse(answer.data, answer.size);
        return *ret ? 0 : -ENOLINK;
}

/* The certificate is held against our own roots. */
static int check_ek(struct party_service *party, const char *id, const struct wire_registration *registration,
                    struct ek_verdict *ret) {
        char error[320] = "";
        int r;

        r = service_ek_check(party->service, registration, ret, error, sizeof(error));
        if (r == -EKEYREJECTED)
                log_notice("Node %s is not taken: its endorsement key: %s.", id, error);
        return r == -EBADMSG || r == -EOPNOTSUPP ? -EKEYREJECTED : r;
}

static int check_ak(const char *id, const struct wire_registration *registration) {
        char derived[NODE_ID_LENGTH + 1];
        int r;

        r = ak_check_template(registration->ak_public.data, registration->ak_public.size);
        if (r < 0) {
                log_notice("Node %s is not taken: its attestation key is not made from the template.", id);
                return -EKEYREJECTED;
        }
        r = ak_node_id(registration->ak_public.data, registration->ak_public.size, derived);
        if (r < 0)
                return r;
        if (strcmp(derived, id) != 0) {
                log_warning("The registrar answers for node %s with the key of node %s.", id, derived);
                return -EKEYREJECTED;
        }
        return 0;
}

/* A token's key is checked as what it is, and the id is its digest: no registrar can put another in its place. */
static int token_to_node(struct party_service *party, const char *id, struct wire_registration *registration, struct node *ret) {
        struct node node = { .state = NODE_PENDING, .group = "default" };
        const struct blob *public = &registration->token_public;
        char derived[NODE_ID_LENGTH + 1];
        struct token_key key;
        uint8_t digest[32];
        int r;

        if (party->service->config.token_nodes == 0) {
                log_notice("Node %s is not taken: it has no TPM (token-nodes = 0).", id);
                return -EKEYREJECTED;
        }
        r = token_key_parse(public->data, public->size, &key);
        if (r == -EBADMSG || r == -EOPNOTSUPP) {
                log_notice("Node %s is not taken: its token's key is not of a type that is accepted.", id);
                return -EKEYREJECTED;
        }
        if (r < 0 || (r = token_node_id(public->data, public->size, digest, derived)) < 0 ||
            (r = node_code(digest, id, node.code)) < 0)
                return r;
        if (strcmp(derived, id) != 0) {
                log_warning("The registrar answers for node %s with the key of node %s.", id, derived);
                return -EKEYREJECTED;
        }

        memcpy(node.id, id, sizeof(node.id));
        hex_write(digest, sizeof(digest), node.ek_sha256);
        node.registered = (int64_t) (clock_realtime_ms() / 1000);
        node.token_public = registration->token_public;
        registration->token_public = (struct blob){};
        *ret = node;
        return 0;
}

static int tpm_to_node(struct party_service *party, const char *id, struct wire_registration *registration, struct node *ret) {
        struct node node = { .state = NODE_PENDING, .group = "default" };
        struct ek_verdict ek;
        int r;

        r = check_ak(id, registration);
        if (r < 0)
                return r;
        r = check_ek(party, id, registration, &ek);
        if (r < 0)
                return r;
        r = node_code(ek.digest, id, node.code);
        if (r < 0)
                return r;

        node.tpm = (struct node_tpm){ true, ek.proof, ek.tpm, {} };
        r = ek.proof == EK_CERTIFIED ? ek_certificates_pack(registration, &node.tpm.certificates) : 0;
        if (r < 0)
                return r;
        memcpy(node.id, id, sizeof(node.id));
        hex_write(ek.digest, sizeof(ek.digest), node.ek_sha256);
        node.registered = (int64_t) (clock_realtime_ms() / 1000);
        node.ek_public = registration->ek_public;
        node.ak_public = registration->ak_public;
        registration->ek_public = registration->ak_public = (struct blob){};
        *ret = node;
        return 0;
}

static int read_one(struct party_service *party, const char *id, const char *incident, struct node *ret) {
        _cleanup_(wire_registration_done) struct wire_registration registration = {};
        char state[16] = "";
        json_t *json = NULL;
        int r;

        r = ask(party, id, incident, &json);
        if (r < 0)
                return r;

        (void) wire_get_string(json, "state", state, sizeof(state));
        r = strcmp(state, "revoked") == 0 ? -EPERM : wire_registration_from_json(json, &registration);
        json_decref(json);
        if (r == -EBADMSG)
                return -EKEYREJECTED;
        if (r < 0)
                return r;

        return registration.token_public.size > 0 ? token_to_node(party, id, &registration, ret)
                                                  : tpm_to_node(party, id, &registration, ret);
}

int registrar_read(struct party_service *party, const char *id, const char *incident, struct node *ret) {
        int r;

        if (atomic_fetch_add(&reads, 1) >= READS_MAX)
                r = -EBUSY;
        else
                r = read_one(party, id, incident, ret);
        atomic_fetch_sub(&reads, 1);
        return r;
}

void registrar_problem(const struct service_call *call, struct http_response *response, int r) {
        switch (r) {
        case -ENOENT:
                service_problem(call, response, "unknown-node", "This node is not registered.");
                break;
        case -EPERM:
                service_problem(call, response, "revoked", "This node was revoked.");
                break;
        case -EKEYREJECTED:
                service_problem(call, response, "bad-evidence", "This node's keys are not accepted here.");
                break;
        case -ENOMEM:
        case -EIO:
                service_failure(call, response, r);
                break;
        default:
                response->retry_after = r == -EBUSY ? 2 : 5;
                service_problem(call, response, "unavailable", "The registrar cannot be asked at the moment.");
        }
}
