/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "service/service.h"

#include <stdio.h>
#include <string.h>

#include "http/client.h"

/* A client for each exchange: they are rare (enrollment, dealing), and a worker then shares nothing with another. */
int service_exchange(struct service *service, const struct service_request *request, int *ret_status, struct blob *ret_answer,
                     char *error, size_t error_size) {
        const struct service_config *config = &service->config;
        const bool to_verifier = strcmp(request->to, "verifier") == 0;
        _cleanup_(http_client_freep) struct http_client *client = NULL;
        _cleanup_(http_server_list_done) struct http_server_list servers = {};
        _cleanup_(http_exchange_done) struct http_exchange exchange = { .body_fd = -1 };
        const struct http_client_options options = {
                .ca_file = to_verifier ? config->verifier_ca : config->registrar_ca,
                .certificate_file = config->certificate,
                .key_file = config->key,
                .connect_timeout_ms = 3000,
                .timeout_ms = 5000,
                .incident = request->incident && request->incident[0] ? request->incident : NULL,
        };
        int r;

        (void) snprintf(error, error_size, "out of memory");
        r = http_server_list_parse(to_verifier ? config->verifier_url : config->registrar_url, &servers);
        if (r < 0)
                return r;
        r = http_client_new(&options, &client);
        if (r < 0) {
                (void) snprintf(error, error_size, "the HTTPS client cannot start with %s, %s and %s", options.ca_file,
                                options.certificate_file, options.key_file);
                return r;
        }

        servers.role = request->to;
        exchange.servers = &servers;
        exchange.method = request->method;
        exchange.path = request->path;
        exchange.body = request->body;
        exchange.body_size = request->body ? strlen(request->body) : 0;
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
