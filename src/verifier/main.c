/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "service/heads.h"
#include "verifier/verifier.h"

static const char verifier_migration[] = "CREATE TABLE manifest_digests ("
                                         "  node TEXT NOT NULL,"
                                         "  key TEXT NOT NULL,"
                                         "  generation BIGINT NOT NULL,"
                                         "  sha256 BLOB NOT NULL,"
                                         "  PRIMARY KEY (node, key, generation));"
                                         "CREATE TABLE accepts ("
                                         "  node TEXT NOT NULL REFERENCES nodes (id),"
                                         "  version BIGINT NOT NULL,"
                                         "  sha256 BLOB NOT NULL,"
                                         "  PRIMARY KEY (node, version));"
                                         "CREATE TABLE deals ("
                                         "  node TEXT NOT NULL REFERENCES nodes (id),"
                                         "  key TEXT NOT NULL,"
                                         "  expires BIGINT NOT NULL,"
                                         "  PRIMARY KEY (node, key));";

static int describe(struct party_service *party, struct store_txn *txn, const struct node *node, uint64_t now,
                    struct wire_details *details) {
        int r;

        (void) party;
        (void) now;
        r = digest_describe(txn, node->id, details);
        return r < 0 ? r : accept_describe(txn, node->id, details);
}

static const char *const forget[] = {
        "DELETE FROM manifest_digests WHERE node = $1",
        "DELETE FROM accepts WHERE node = $1",
        "DELETE FROM deals WHERE node = $1",
        NULL,
};

static const struct party_definition verifier = {
        .party = PARTY_VERIFIER,
        .keep = digest_keep,
        .same = digest_same,
        .describe = describe,
        .payload_object = accept_object,
        .forget = forget,
};

static int setup(struct service *service) {
        return party_setup(service, &verifier);
}

int main(int argc, char *argv[]) {
        static const struct service_route node_routes[] = {
                { "GET", "/v1/nodes/{id}", ROLE_OPERATOR | ROLE_TENANT, 0, false, node_get },
                {},
        };
        static const struct service_route *const routes[] = {
                service_common_routes,  service_heads_routes, service_audit_routes,
                service_metrics_routes, party_routes,         node_routes,
                accept_routes,          deal_routes,          NULL,
        };
        struct store_migration migrations[PARTY_MIGRATIONS];
        const struct service_definition definition = {
                .role = "verifier",
                .has_registrar = true,
                .migrations = migrations,
                .n_migrations = PARTY_MIGRATIONS,
                .routes = routes,
                .setup = setup,
                .teardown = party_teardown,
        };

        party_migrations(verifier_migration, migrations);
        return service_main(argc, argv, &definition);
}
