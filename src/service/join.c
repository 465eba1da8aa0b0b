/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <string.h>

#include "base/clock.h"
#include "base/encode.h"
#include "base/log.h"
#include "service/state.h"

/* An approval given ahead: this party knows SHA-256(join), never what the node will send. */
struct join_call {
        const struct service_call *call;
        uint8_t digest[32];
        char group[65];
        uint64_t expires;
};

static int join_txn(struct store_txn *txn, void *userdata) {
        struct join_call *join = userdata;
        struct group group;
        int64_t changes;
        char hex[65];
        int r;

        r = group_load(txn, join->group, &group);
        if (r < 0)
                return r;

        hex_write(join->digest, sizeof(join->digest), hex);
        r = store_exec(txn, "INSERT INTO join_tokens (sha256, group_name, expires) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING",
                       STORE_ARGS(store_text(hex), store_text(join->group), store_int((int64_t) join->expires)), &changes);
        if (r < 0)
                return r;
        if (changes != 1)
                return -EEXIST;

        return party_audit(
                txn, join->call, "join-token", "",
                json_pack("{s:s, s:s, s:I}", "group", join->group, "sha256", hex, "expires", (json_int_t) join->expires));
}

static bool read_body(struct join_call *join, const json_t *body) {
        return wire_get_hex_fixed(body, "sha256", join->digest, sizeof(join->digest)) == 0 &&
               wire_get_string(body, "group", join->group, sizeof(join->group)) == 0 &&
               wire_get_u64(body, "expires", INT64_MAX / 2, &join->expires) == 0 && join->expires > clock_realtime_ms() / 1000;
}

void join_tokens_post(const struct service_call *call, struct http_response *response) {
        struct join_call join = { .call = call };
        json_t *body = service_body(call, response);
        int r;

        if (!body)
                return;

        if (!read_body(&join, body))
                service_problem(call, response, "malformed", "Wanted: sha256, in hex; group; expires, a time that lies ahead.");
        else {
                r = store_write(call->service->store, join_txn, &join);
                if (r == -ENOENT)
                        service_no_group(call, response);
                else if (r == -EEXIST)
                        service_problem(call, response, "conflict", "This join token is known already.");
                else if (r < 0)
                        service_failure(call, response, r);
                else
                        service_json(response, 201,
                                     json_pack("{s:s, s:I}", "group", join.group, "expires", (json_int_t) join.expires));
        }

        json_decref(body);
}
