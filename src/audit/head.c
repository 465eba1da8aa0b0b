/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "audit/head.h"

#include <stdio.h>
#include <string.h>

#include "audit/members.h"
#include "base/clock.h"

struct place {
        int64_t seq;
        uint8_t *hash;
};

static int row_place(const struct store_value *columns, _unused_ size_t n, void *userdata) {
        struct place *place = userdata;

        if (columns[0].type != STORE_INT || columns[1].type != STORE_BLOB || columns[1].size != 32)
                return -EUCLEAN;
        place->seq = columns[0].number;
        memcpy(place->hash, columns[1].data, 32);
        return 0;
}

int audit_head_read(struct store_txn *txn, const char *role, int64_t from, struct audit_head *ret) {
        struct audit_head head = {};
        struct place newest = { .hash = head.hash }, known = { .hash = head.from_hash };
        int r;

        (void) snprintf(head.role, sizeof(head.role), "%s", role);
        r = store_query(txn, "SELECT seq, hash FROM audit ORDER BY seq DESC LIMIT 1", STORE_NO_ARGS, row_place, &newest);
        if (r < 0)
                return r;
        if (from > 0) {
                r = store_query(txn, "SELECT seq, hash FROM audit WHERE seq = $1", STORE_ARGS(store_int(from)), row_place,
                                &known);
                if (r < 0)
                        return r;
        }

        head.seq = newest.seq;
        head.from_seq = known.seq;
        *ret = head;
        return 0;
}

static int head_bytes(const struct audit_head *head, struct blob *ret) {
        return fields_encode(FIELDS(field_text("tallyboot audit head v1"), field_text(head->role),
                                    field_bytes(head->public, sizeof(head->public)), field_number((uint64_t) head->seq),
                                    field_bytes(head->hash, sizeof(head->hash)), field_number((uint64_t) head->from_seq),
                                    field_bytes(head->from_hash, sizeof(head->from_hash)), field_number((uint64_t) head->time)),
                             ret);
}

int audit_head_sign(struct audit_head *head, const struct keypair *key) {
        _cleanup_(blob_done) struct blob bytes = {};
        int r;

        memcpy(head->public, key->public, sizeof(head->public));
        head->time = (int64_t) clock_realtime_ms();
        r = head_bytes(head, &bytes);
        return r < 0 ? r : keypair_sign(key, bytes.data, bytes.size, head->signature, &head->signature_size);
}

int audit_head_verify(const struct audit_head *head) {
        _cleanup_(blob_done) struct blob bytes = {};
        int r;

        r = head_bytes(head, &bytes);
        if (r < 0)
                return r;
        r = point_verify(head->public, bytes.data, bytes.size, head->signature, head->signature_size);
        return r == -EBADMSG ? -EKEYREJECTED : r;
}

json_t *audit_head_to_json(const struct audit_head *head) {
        json_t *json = json_pack("{s:s, s:I, s:I, s:I}", "role", head->role, "seq", (json_int_t) head->seq, "from_seq",
                                 (json_int_t) head->from_seq, "time", (json_int_t) head->time);

        if (json && set_bin(json, "public", head->public, sizeof(head->public)) >= 0 && set_hash(json, "hash", head->hash) >= 0 &&
            set_hash(json, "from_hash", head->from_hash) >= 0 &&
            set_bin(json, "signature", head->signature, head->signature_size) >= 0)
                return json;
        json_decref(json);
        return NULL;
}

static bool role_is_valid(const char *role) {
        return strcmp(role, "registrar") == 0 || strcmp(role, "tenant") == 0 || strcmp(role, "verifier") == 0;
}

int audit_head_from_json(const json_t *json, struct audit_head *ret) {
        struct audit_head head = {};
        size_t size;

        if (get_text(json, "role", head.role, sizeof(head.role)) < 0 || !role_is_valid(head.role) ||
            get_number(json, "seq", &head.seq) < 0 || get_number(json, "from_seq", &head.from_seq) < 0 ||
            get_number(json, "time", &head.time) < 0 || get_hash(json, "hash", head.hash) < 0 ||
            get_hash(json, "from_hash", head.from_hash) < 0 ||
            get_bin(json, "public", head.public, sizeof(head.public), &size) < 0 || size != sizeof(head.public) ||
            get_bin(json, "signature", head.signature, sizeof(head.signature), &head.signature_size) < 0)
                return -EBADMSG;

        *ret = head;
        return 0;
}
