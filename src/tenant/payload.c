/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <fcntl.h>
#include <string.h>

#include "base/clock.h"
#include "base/encode.h"
#include "base/log.h"
#include "crypto/payload.h"
#include "service/nonce.h"
#include "tenant/payload-file.h"
#include "tenant/tenant.h"

/* A payload comes in two steps: what it is and to which generations its key is sealed; then the file, which makes it current. The
 * tenant can read none of it. */

struct upload {
        const struct service_call *call;
        const char *id;
        struct wire_payload payload;
        char *path; /* the file that came, until it has its name */
        const char *conflict;
};

static int conflict(struct upload *upload, const char *why) {
        upload->conflict = why;
        return -ECANCELED;
}

static int check_keys(struct upload *upload, struct store_txn *txn) {
        _cleanup_(generations_done) struct generations generations = {};
        int r;

        r = generations_load(txn, upload->id, &generations);
        if (r < 0)
                return r;

        for (size_t i = 0; i < upload->payload.n_keys; i++) {
                const struct wire_payload_key *key = upload->payload.keys + i;
                const struct generation *item = generations_find(&generations, key->key_id, key->generation);

                if (!item || item->kind != KEY_PAYLOAD || item->state != GENERATION_LIVE)
                        return conflict(upload, "The payload is sealed to a key that is not a live payload key of this node.");
        }

        return 0;
}

static int store_keys(struct upload *upload, struct store_txn *txn) {
        for (size_t i = 0; i < upload->payload.n_keys; i++) {
                const struct wire_payload_key *key = upload->payload.keys + i;
                int r;

                r = store_exec(
                        txn, "INSERT INTO payload_keys (node, version, key, generation, enc, ct) VALUES ($1, $2, $3, $4, $5, $6)",
                        STORE_ARGS(store_text(upload->id), store_int((int64_t) upload->payload.version), store_text(key->key_id),
                                   store_int(key->generation), store_blob(key->enc, sizeof(key->enc)),
                                   store_blob(key->ct.data, key->ct.size)),
                        NULL);
                if (r < 0)
                        return r == -EEXIST ? conflict(upload, "A generation is named twice.") : r;
        }

        return 0;
}

/* One that was described before and never came makes place. */
static int describe_txn(struct store_txn *txn, void *userdata) {
        struct upload *upload = userdata;
        const struct wire_payload *payload = &upload->payload;
        _cleanup_(node_done) struct node node = {};
        uint64_t current = 0;
        int r;

        r = node_load(txn, upload->id, &node);
        if (r < 0)
                return r;
        r = payload_current(txn, upload->id, &current);
        if (r < 0 && r != -ENOENT)
                return r;
        if (payload->version <= current)
                return conflict(upload, "This version is not newer than the current one.");

        r = check_keys(upload, txn);
        if (r < 0)
                return r;
        if ((r = store_exec(txn, "DELETE FROM payload_keys WHERE node = $1 AND version <> $2",
                            STORE_ARGS(store_text(upload->id), store_int((int64_t) current)), NULL)) < 0 ||
            (r = store_exec(txn, "DELETE FROM payloads WHERE node = $1 AND current = 0", STORE_ARGS(store_text(upload->id)),
                            NULL)) < 0 ||
            (r = store_exec(txn,
                            "INSERT INTO payloads (node, version, size, sha256, current, created) VALUES ($1, $2, $3, $4, 0, $5)",
                            STORE_ARGS(store_text(upload->id), store_int((int64_t) payload->version),
                                       store_int((int64_t) payload->size), store_blob(payload->sha256, sizeof(payload->sha256)),
                                       store_int((int64_t) (clock_realtime_ms() / 1000))),
                            NULL)) < 0)
                return r;
        return store_keys(upload, txn);
}

static void answer(const struct upload *upload, int r, struct http_response *response) {
        const struct service_call *call = upload->call;

        if (r == -ENOENT)
                service_problem(call, response, "not-found",
                                "There is no such node, or no payload of this version was described.");
        else if (r == -ECANCELED)
                service_problem(call, response, "conflict", "%s", upload->conflict);
        else if (r == -EBADMSG)
                service_problem(call, response, "malformed", "The file is not what was described: size, digest, or its header.");
        else if (r < 0)
                service_failure(call, response, r);
        else
                service_json(response, 201, json_pack("{s:I}", "version", (json_int_t) upload->payload.version));
}

static void payload_post(const struct service_call *call, struct http_response *response) {
        struct upload upload = { .call = call, .id = service_parameter(call, "id") };
        json_t *body = service_body(call, response);
        const struct wire_payload *payload = &upload.payload;

        if (!body)
                return;

        if (wire_payload_from_json(body, &upload.payload) < 0 || payload->n_keys == 0 || payload->version == 0 ||
            payload->size < PAYLOAD_HEADER_SIZE + AEAD_TAG_SIZE || payload->size > PAYLOAD_FILE_MAX)
                service_problem(call, response, "malformed",
                                "Wanted: version, size (at most 1 GiB), sha256 in hex, keys, one at the least.");
        else
                answer(&upload, store_write(call->service->store, describe_txn, &upload), response);

        wire_payload_done(&upload.payload);
        json_decref(body);
}

static int on_described(const struct store_value *columns, size_t n, void *userdata) {
        struct wire_payload *payload = userdata;

        (void) n;
        payload->size = (uint64_t) column_int(columns);
        return column_fixed(columns + 1, payload->sha256, sizeof(payload->sha256));
}

static int described_read(struct store_txn *txn, void *userdata) {
        struct upload *upload = userdata;
        int r;

        r = store_query(txn, "SELECT size, sha256 FROM payloads WHERE node = $1 AND version = $2 AND current = 0",
                        STORE_ARGS(store_text(upload->id), store_int((int64_t) upload->payload.version)), on_described,
                        &upload->payload);
        if (r < 0)
                return r;
        return upload->payload.size > 0 ? 0 : -ENOENT;
}

/* A dealt key that was dealt anew: what is sealed to the newer one needs the older ones no more. */
static int retire_dealt(struct upload *upload, struct store_txn *txn) {
        _cleanup_(generations_done) struct generations generations = {};
        int64_t sealed;
        int r;

        r = generations_load(txn, upload->id, &generations);
        for (size_t i = 0; r >= 0 && i < generations.n; i++) {
                const struct generation *item = generations.items + i;

                if (!item->dealt || item->state != GENERATION_LIVE ||
                    item->generation < generations_highest(&generations, item->key))
                        continue;
                r = query_int(txn, "SELECT 1 FROM payload_keys WHERE node = $1 AND version = $2 AND key = $3 AND generation = $4",
                              STORE_ARGS(store_text(upload->id), store_int((int64_t) upload->payload.version),
                                         store_text(item->key), store_int(item->generation)),
                              &sealed);
                r = r == -ENOENT ? 0
                    : r < 0      ? r
                            : generations_retire_before(call_party(upload->call), txn, upload->id, item->key, item->generation);
        }

        return r < 0 ? r : 0;
}

static int current_txn(struct store_txn *txn, void *userdata) {
        struct upload *upload = userdata;
        _cleanup_(node_done) struct node node = {};
        const int64_t version = (int64_t) upload->payload.version;
        int64_t changes;
        char hex[65];
        int r;

        r = node_load(txn, upload->id, &node);
        if (r < 0)
                return r;
        r = store_exec(txn, "UPDATE payloads SET current = 1 WHERE node = $1 AND version = $2 AND current = 0 AND sha256 = $3",
                       STORE_ARGS(store_text(upload->id), store_int(version),
                                  store_blob(upload->payload.sha256, sizeof(upload->payload.sha256))),
                       &changes);
        if (r < 0)
                return r;
        if (changes != 1)
                return -ENOENT;
        r = payload_file_name(call_party(upload->call), upload->path, upload->id, upload->payload.version);
        if (r < 0)
                return r == -ENOENT ? -EIO : r;

        if ((r = store_exec(txn, "DELETE FROM payload_keys WHERE node = $1 AND version <> $2",
                            STORE_ARGS(store_text(upload->id), store_int(version)), NULL)) < 0 ||
            (r = store_exec(txn, "DELETE FROM payloads WHERE node = $1 AND version <> $2",
                            STORE_ARGS(store_text(upload->id), store_int(version)), NULL)) < 0 ||
            (r = retire_dealt(upload, txn)) < 0 || (r = node_save(txn, &node, true)) < 0)
                return r;

        hex_write(upload->payload.sha256, sizeof(upload->payload.sha256), hex);
        return party_audit(txn, upload->call, "payload", upload->id,
                           json_pack("{s:I, s:s}", "version", (json_int_t) version, "sha256", hex));
}

static int take_file(struct upload *upload) {
        struct service *service = upload->call->service;
        struct party_service *party = call_party(upload->call);
        int r;

        r = store_read(service->store, described_read, upload);
        if (r < 0)
                return r;
        r = payload_file_take(party, upload->call->request->body_fd, upload->id, &upload->payload, &upload->path);
        if (r < 0)
                return r;
        r = store_write(service->store, current_txn, upload);
        if (r < 0) {
                (void) unlink(upload->path);
                return r;
        }

        payload_files_remove(party, upload->id, upload->payload.version);
        log_info("Node %s: payload %llu by %s.", upload->id, (unsigned long long) upload->payload.version, upload->call->who);
        return 0;
}

static void payload_put(const struct service_call *call, struct http_response *response) {
        struct upload upload = { .call = call, .id = service_parameter(call, "id") };

        upload.payload.version = strtoull(service_parameter(call, "version"), NULL, 10);
        answer(&upload, call->request->body_fd < 0 ? -EBADMSG : take_file(&upload), response);
        free(upload.path);
}

struct download {
        const char *id;
        uint64_t version;
        bool allowed;
};

static int download_read(struct store_txn *txn, void *userdata) {
        struct download *download = userdata;
        _cleanup_(node_done) struct node node = {};
        uint64_t current;
        int r;

        r = node_load(txn, download->id, &node);
        if (r < 0)
                return r;
        download->allowed = node.state == NODE_APPROVED;
        r = payload_current(txn, download->id, &current);
        if (r < 0)
                return r;
        return current == download->version ? 0 : -ENOENT;
}

static int check_ticket(const struct service_call *call, struct download *download) {
        uint8_t ticket[WIRE_TICKET_SIZE];
        int r;

        r = service_ticket(call->request, ticket, sizeof(ticket));
        if (r < 0)
                return r;
        return ticket_check(call->service->keystore, ticket, download->id, clock_realtime_ms(), &download->version);
}

static void payload_get(const struct service_call *call, struct http_response *response) {
        struct download download = { .id = service_parameter(call, "id") };
        _cleanup_(freep) char *path = NULL;
        int r;

        r = check_ticket(call, &download);
        if (r == -EPERM || r == -EKEYREJECTED || r == -ESTALE) {
                service_problem(call, response, "unauthorized", "The ticket is missing, of another node, or too old.");
                return;
        }
        if (r >= 0)
                r = store_read(call->service->store, download_read, &download);
        if (r >= 0 && !download.allowed) {
                service_problem(call, response, "unauthorized", "This node gets no payload.");
                return;
        }

        path = r >= 0 ? payload_path(call_party(call), download.id, download.version) : NULL;
        if (path) {
                response->body_fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
                r = response->body_fd < 0 ? -errno : 0;
        }
        if (r == -ENOENT)
                service_problem(call, response, "not-found",
                                "This version is not the current one; the next release has a new ticket.");
        else if (r < 0 || !path)
                service_failure(call, response, r < 0 ? r : -ENOMEM);
        else
                response->status = 200;
}

void payload_forgotten(struct party_service *party, const char *node) {
        payload_files_remove(party, node, 0);
}

const struct service_route payload_routes[] = {
        { "POST", "/v1/nodes/{id}/payload", ROLE_OPERATOR, 0, false, payload_post, NULL, true },
        { "PUT", "/v1/nodes/{id}/payload/{version}", ROLE_OPERATOR, PAYLOAD_FILE_MAX, true, payload_put, NULL, true },
        { "GET", "/v1/nodes/{id}/payload", ROLE_ANYONE, 0, false, payload_get },
        {},
};
