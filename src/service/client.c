/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "service/service.h"

#include <stdio.h>
#include <string.h>

#include "http/client.h"

/* A client for each exchange: they are rare (enrollment, dealing), and a worker then shares nothing with another. */
int service_exchange(struct service *service, const char *urls, const char *ca, const char *incident, const char *method,
                     const char *path, const char *body, int *ret_status, struct blob *ret_answer, char *error,
                     size_t error_size) {
        _cleanup_(http_client_freep) struct http_client *client = NULL;
        _cleanup_(http_server_list_done) struct http_server_list servers = {};
        _cleanup_(http_exchange_done) struct http_exchange exchange = { .body_fd = -1 };
        const struct http_client_options options = {
                .ca_file = ca,
                .certificate_file = service->config.certificate,
                .key_file = service->config.key,
                .connect_timeout_ms = 3000,
                .timeout_ms = 5000,
                .incident = incident && incident[0] ? incident : NULL,
        };
        int r;

        (void) snprintf(error, error_size, "out of memory");
        r = http_server_list_parse(urls, &servers);
        if (r < 0)
                return r;
        r = http_client_new(&options, &client);
        if (r < 0) {
                (void) snprintf(error, error_size, "the HTTPS client cannot start with %s, %s and %s", ca,
                                options.certificate_file, options.key_file);
                return r;
        }

        servers.role = urls == service->config.verifier_url ? "verifier" : "registrar";
        exchange.servers = &servers;
        exchange.method = method;
        exchange.path = path;
        exchange.body = body;
        exchange.body_size = body ? strlen(body) : 0;
        exchange.max_answer = 65536;
        r = http_client_perform(client, &exchange, 1, -1);
        if (r < 0)
                return r;
        if (exchange.result < 0) {
                (void) snprintf(error, error_size, "%s", exchange.error);
                return exchange.result;
        }

        *ret_status = exchange.status;
        *ret_answer = exchange.answer;
        exchange.answer = (struct blob){};
        return 0;
}
