/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "audit/head.h"
#include "audit/past.h"
#include "base/log.h"
#include "registrar/registrar.h"
#include "service/heads.h"
#include "service/limiter.h"

static int setup(struct service *service) {
        return limiter_new(service->config.answers_per_minute, (struct limiter **) &service->data);
}

static void teardown(struct service *service) {
        service->data = limiter_free(service->data);
}

int main(int argc, char *argv[]) {
        static const struct service_route *const routes[] = { registrar_node_routes,
                                                              registrar_operator_routes,
                                                              service_common_routes,
                                                              service_heads_routes,
                                                              service_audit_routes,
                                                              service_metrics_routes,
                                                              NULL };
        const struct store_migration migrations[] = {
                registrar_migration,         { 4, audit_peers_migration }, token_migration, { 6, keystore_migration_generations },
                { 7, audit_past_migration },
        };
        const struct service_definition definition = {
                .role = "registrar",
                .migrations = migrations,
                .n_migrations = ELEMENTSOF(migrations),
                .routes = routes,
                .setup = setup,
                .teardown = teardown,
        };

        return service_main(argc, argv, &definition);
}
