/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "service/heads.h"
#include "tenant/tenant.h"

static const char tenant_migration[] = "CREATE TABLE manifests ("
                                       "  node TEXT NOT NULL,"
                                       "  key TEXT NOT NULL,"
                                       "  generation BIGINT NOT NULL,"
                                       "  manifest BLOB NOT NULL,"
                                       "  mac BLOB NOT NULL,"
                                       "  PRIMARY KEY (node, key, generation));"
                                       "CREATE TABLE payloads ("
                                       "  node TEXT NOT NULL REFERENCES nodes (id),"
                                       "  version BIGINT NOT NULL,"
                                       "  size BIGINT NOT NULL,"
                                       "  sha256 BLOB NOT NULL,"
                                       "  current BIGINT NOT NULL,"
                                       "  created BIGINT NOT NULL,"
                                       "  PRIMARY KEY (node, version));"
                                       "CREATE TABLE payload_keys ("
                                       "  node TEXT NOT NULL,"
                                       "  version BIGINT NOT NULL,"
                                       "  key TEXT NOT NULL,"
                                       "  generation BIGINT NOT NULL,"
                                       "  enc BLOB NOT NULL,"
                                       "  ct BLOB NOT NULL,"
                                       "  PRIMARY KEY (node, version, key, generation));";

static int describe(struct party_service *party, struct store_txn *txn, const struct node *node, uint64_t now,
                    struct wire_details *details) {
        int r;

        r = manifest_describe(txn, node->id, details);
        return r < 0 ? r : payload_describe(party, txn, node->id, now, details);
}

static const char *const forget[] = {
        "DELETE FROM manifests WHERE node = $1",
        "DELETE FROM payload_keys WHERE node = $1",
        "DELETE FROM payloads WHERE node = $1",
        NULL,
};

static const struct party_definition tenant = {
        .party = PARTY_TENANT,
        .keep = manifest_keep,
        .same = manifest_same,
        .may_retire = payload_may_retire,
        .describe = describe,
        .payload_object = payload_object,
        .forget = forget,
        .forgotten = payload_forgotten,
};

static int setup(struct service *service) {
        return party_setup(service, &tenant);
}

int main(int argc, char *argv[]) {
        static const struct service_route node_routes[] = {
                { "GET", "/v1/nodes/{id}", ROLE_OPERATOR, 0, false, node_get },
                {},
        };
        static const struct service_route *const routes[] = {
                service_common_routes,  service_heads_routes, service_audit_routes,
                service_metrics_routes, party_routes,         node_routes,
                payload_routes,         deal_routes,          NULL,
        };
        struct store_migration migrations[PARTY_MIGRATIONS];
        const struct service_definition definition = {
                .role = "tenant",
                .has_payload_dir = true,
                .has_registrar = true,
                .has_verifier = true,
                .migrations = migrations,
                .n_migrations = PARTY_MIGRATIONS,
                .routes = routes,
                .setup = setup,
                .teardown = party_teardown,
        };

        party_migrations(tenant_migration, migrations);
        return service_main(argc, argv, &definition);
}
