/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <string.h>

#include "base/encode.h"
#include "base/file.h"
#include "service/nonce.h"
#include "tenant/tenant.h"

int payload_current(struct store_txn *txn, const char *node, uint64_t *ret_version) {
        int64_t version;
        int r;

        r = query_int(txn, "SELECT version FROM payloads WHERE node = $1 AND current = 1", STORE_ARGS(store_text(node)),
                      &version);
        if (r < 0)
                return r;

        *ret_version = (uint64_t) version;
        return 0;
}

char *payload_path(struct party_service *party, const char *node, uint64_t version) {
        return format("%s/%s.%llu.payload", party->service->config.payload_dir, node, (unsigned long long) version);
}

static int on_payload(const struct store_value *columns, size_t n, void *userdata) {
        struct wire_payload *payload = userdata;

        (void) n;
        payload->version = (uint64_t) column_int(columns);
        payload->size = (uint64_t) column_int(columns + 1);
        return column_fixed(columns + 2, payload->sha256, sizeof(payload->sha256));
}

static int on_key(const struct store_value *columns, size_t n, void *userdata) {
        struct wire_payload *payload = userdata;
        struct wire_payload_key *key = payload->keys + payload->n_keys;
        int r;

        (void) n;
        if (payload->n_keys >= ELEMENTSOF(payload->keys))
                return 0;

        key->generation = (uint32_t) column_int(columns + 1);
        if ((r = column_text(columns, key->key_id, sizeof(key->key_id))) < 0 ||
            (r = column_fixed(columns + 2, key->enc, sizeof(key->enc))) < 0 || (r = column_blob(columns + 3, &key->ct)) < 0)
                return r;
        payload->n_keys++;
        return 0;
}

int payload_describe(struct party_service *party, struct store_txn *txn, const char *node, uint64_t now,
                     struct wire_details *details) {
        struct wire_payload *payload = &details->payload;
        int r;

        r = store_query(txn, "SELECT version, size, sha256 FROM payloads WHERE node = $1 AND current = 1",
                        STORE_ARGS(store_text(node)), on_payload, payload);
        if (r < 0 || payload->size == 0)
                return r;

        r = store_query(
                txn,
                "SELECT key, generation, enc, ct FROM payload_keys WHERE node = $1 AND version = $2 ORDER BY generation DESC, key",
                STORE_ARGS(store_text(node), store_int((int64_t) payload->version)), on_key, payload);
        if (r < 0)
                return r;

        details->has_payload = payload->has_ticket = true;
        return ticket_new(party->service->keystore, node, payload->version, now, payload->ticket);
}

int payload_object(struct store_txn *txn, const char *node, json_t **ret) {
        struct wire_payload payload = {};
        char hex[65];
        int r;

        r = store_query(txn, "SELECT version, size, sha256 FROM payloads WHERE node = $1 AND current = 1",
                        STORE_ARGS(store_text(node)), on_payload, &payload);
        if (r < 0)
                return r;

        hex_write(payload.sha256, sizeof(payload.sha256), hex);
        *ret = payload.size > 0 ? json_pack("{s:I, s:s}", "version", (json_int_t) payload.version, "sha256", hex) : json_null();
        return *ret ? 0 : -ENOMEM;
}

/* A rotation's node seals the current payload's key to the new generation. One of another version is not kept: the operator who
 * set that version has sealed it to what was live. */
int payload_reseal(struct store_txn *txn, const char *node, const struct wire_confirm_body *body) {
        uint64_t version;
        int r;

        if (!body->has_payload)
                return 0;
        r = payload_current(txn, node, &version);
        if (r == -ENOENT || (r >= 0 && version != body->payload_version))
                return 0;
        if (r < 0)
                return r;

        return store_exec(
                txn,
                "INSERT INTO payload_keys (node, version, key, generation, enc, ct) VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT DO "
                "NOTHING",
                STORE_ARGS(store_text(node), store_int((int64_t) version), store_text(body->key), store_int(body->generation),
                           store_blob(body->payload_enc, sizeof(body->payload_enc)),
                           store_blob(body->payload_ct.data, body->payload_ct.size)),
                NULL);
}

/* The older generations of a payload key are needed as long as the current payload is sealed to them and not to the new one. */
int payload_may_retire(struct store_txn *txn, const char *node, const struct wire_confirm_body *body) {
        uint64_t version;
        int64_t newer, older;
        int r;

        r = payload_current(txn, node, &version);
        if (r < 0)
                return r == -ENOENT ? 0 : r;

        r = query_int(
                txn, "SELECT COUNT(*) FROM payload_keys WHERE node = $1 AND version = $2 AND key = $3 AND generation >= $4",
                STORE_ARGS(store_text(node), store_int((int64_t) version), store_text(body->key), store_int(body->generation)),
                &newer);
        if (r >= 0)
                r = query_int(
                        txn,
                        "SELECT COUNT(*) FROM payload_keys WHERE node = $1 AND version = $2 AND key = $3 AND generation < $4",
                        STORE_ARGS(store_text(node), store_int((int64_t) version), store_text(body->key),
                                   store_int(body->generation)),
                        &older);
        if (r < 0)
                return r;

        return older > 0 && newer == 0 ? -EBUSY : 0;
}
