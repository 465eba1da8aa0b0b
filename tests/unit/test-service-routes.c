/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A request finds its route, and nobody finds one that is not for him. */
#include <stdio.h>

#include "test.h"

#include "service/limiter.h"
#include "service/service.h"
#include "wire/wire.h"

#define ID "caireeyuculbogazdinryhi6d4qccirdeqssmjzifevcwlbnfyxq"
#define LONG KEY KEY "_-.ABCDEFGHIJKLMNOPQRSTUVWXYZzz" /* 95 */
#define KEY "000102030405060708090a0b0c0d0e0f"

static const char *called;
static struct service_call seen;

static void handle(const struct service_call *call, struct http_response *response) {
        called = call->route->pattern;
        seen = *call;
        service_json(response, 200, json_object());
}

static void forget(const struct service_call *call, struct http_response *response) {
        called = call->route->pattern;
}

static int guard(const struct service_call *call) {
        return call->request->authorization ? 0 : 401;
}

static const struct service_route routes[] = {
        { "GET", "/v1/open", ROLE_ANYONE, 0, false, handle },
        { "GET", "/v1/nodes", ROLE_OPERATOR, 0, false, handle },
        { "GET", "/v1/nodes/{id}", ROLE_OPERATOR | ROLE_TENANT, 0, false, handle },
        { "DELETE", "/v1/nodes/{id}", ROLE_OPERATOR, 0, false, handle },
        { "PUT", "/v1/nodes/{id}/keys/{key}/half", ROLE_TENANT, 0, false, handle },
        { "PUT", "/v1/nodes/{id}/payload/{version}", ROLE_OPERATOR, 1 << 30, true, handle },
        { "GET", "/v1/groups/{name}", ROLE_OPERATOR, 0, false, handle },
        { "DELETE", "/v1/join-tokens/{token}", ROLE_OPERATOR, 0, false, handle },
        { "GET", "/v1/silent", ROLE_ANYONE, 0, false, forget },
        { "PUT", "/v1/guarded/{id}", ROLE_OPERATOR, 0, false, handle, guard },
        {},
};
static const struct service_route *const tables[] = { routes, NULL };
static const struct service_definition definition = { .role = "tenant", .routes = tables };
static struct service service = { .definition = &definition };

static struct http_peer peer_of(const char *uri) {
        struct http_peer peer = { .present = uri != NULL };

        snprintf(peer.uri, sizeof(peer.uri), "%s", uri ? uri : "");
        return peer;
}

static int ask(const char *method, const char *path, const char *uri, char problem[static 32]) {
        struct http_request request = { .method = method, .path = path, .query = "", .body_fd = -1, .peer = peer_of(uri) };
        struct http_response response = {};
        struct wire_problem parsed = {};

        called = NULL;
        service_dispatch(&request, &response, &service);
        problem[0] = '\0';
        if (response.status >= 400) {
                assert_non_null(response.body);
                assert_int_equal(wire_problem_parse(response.body, response.body_size, &parsed), 0);
                assert_int_equal(parsed.status, response.status);
                strcpy(problem, parsed.name);
                assert_true(!called || strcmp(called, "/v1/silent") == 0);
        }
        free(response.body);
        return response.status;
}

static void paths(void **state) {
        static const char *const missing[] = {
                "/",
                "/v1",
                "/v1/nodes/",
                "/v1/nodes//",
                "//v1/nodes",
                "/v1/nodes/" ID "/",
                "/v1/nodes/" ID "/x",
                "/v1/nodes/" ID "a",
                "/v1/nodes/{id}",
                "/v1/nodes/..",
                "/V1/nodes",
                "/v1/groups/",
                "/v1/groups/.x",
                "/v1/groups/a b",
                "/v1/groups/a\x1b[2J",
                "/v1/groups/0123456789012345678901234567890123456789012345678901234567890123456789",
                "/v1/opens",
                "/v1/ope",
        };
        char problem[32];

        for (size_t i = 0; i < ELEMENTSOF(missing); i++) {
                assert_int_equal(ask("GET", missing[i], "urn:tallyboot:operator:alice", problem), 404);
                assert_string_equal(problem, "not-found");
        }

        assert_int_equal(ask("GET", "/v1/open", NULL, problem), 200);
        assert_int_equal(ask("POST", "/v1/open", NULL, problem), 405);
        assert_int_equal(ask("GET", "/v1/groups/web-1.eu_x", "urn:tallyboot:operator:alice", problem), 200);
        assert_string_equal(service_parameter(&seen, "name"), "web-1.eu_x");
        assert_int_equal(ask("PUT", "/v1/nodes/" ID "/keys/" KEY "/half", "urn:tallyboot:tenant", problem), 200);
        assert_string_equal(service_parameter(&seen, "id"), ID);
        assert_string_equal(service_parameter(&seen, "key"), KEY);
        assert_string_equal(seen.who, "tenant");
        assert_int_equal(ask("PUT", "/v1/nodes/" ID "/payload/12", "urn:tallyboot:operator:alice", problem), 200);
        assert_string_equal(service_parameter(&seen, "version"), "12");
        assert_string_equal(seen.who, "alice");
        assert_int_equal(ask("DELETE", "/v1/join-tokens/" LONG, "urn:tallyboot:operator:alice", problem), 200);
        assert_string_equal(service_parameter(&seen, "token"), LONG);
        assert_int_equal(ask("DELETE", "/v1/join-tokens/" LONG "x", "urn:tallyboot:operator:alice", problem), 404);
        assert_int_equal(ask("DELETE", "/v1/join-tokens/a%25", "urn:tallyboot:operator:alice", problem), 404);
        assert_int_equal(ask("PUT", "/v1/nodes/" ID "/payload/-1", "urn:tallyboot:operator:alice", problem), 404);
        assert_int_equal(ask("PUT", "/v1/nodes/" ID "/payload/9999999999999999", "urn:tallyboot:operator:alice", problem), 404);
}

static void roles(void **state) {
        static const char *const nobody[] = {
                "",
                "urn:tallyboot:",
                "urn:tallyboot:operator",
                "urn:tallyboot:operator:",
                "urn:tallyboot:operator:a b",
                "urn:tallyboot:operator:\x1b[0m",
                "urn:tallyboot:operators:alice",
                "urn:tallyboot:tenant:x",
                "urn:tallyboot:tenants",
                "urn:tallyboot:TENANT",
                "urn:tallyboot:node",
                "urn:tallyboot:registrar",
                "urn:tallyboot:verifier",
                "urn:tallyboot:operator:service",
                "urn:tallyboot:operator:node",
                "urn:tallyboot:operator:tenant",
        };
        const struct http_peer claimed = { .uri = "urn:tallyboot:operator:alice" };
        char problem[32], who[128];

        assert_int_equal(ask("GET", "/v1/nodes/" ID, NULL, problem), 401);
        assert_string_equal(problem, "unauthorized");
        for (size_t i = 0; i < ELEMENTSOF(nobody); i++) {
                assert_int_equal(ask("GET", "/v1/nodes/" ID, nobody[i], problem), 403);
                assert_string_equal(problem, "unauthorized");
                assert_int_equal(ask("GET", "/v1/open", nobody[i], problem), 200);
        }

        /* a name without a certificate that was verified is nobody's */
        assert_int_equal(service_peer_role(&claimed, who, sizeof(who)), ROLE_ANYONE);
        assert_string_equal(who, "node");

        assert_int_equal(ask("GET", "/v1/nodes/" ID, "urn:tallyboot:tenant", problem), 200);
        assert_int_equal(ask("GET", "/v1/nodes/" ID, "urn:tallyboot:operator:alice", problem), 200);
        assert_int_equal(ask("DELETE", "/v1/nodes/" ID, "urn:tallyboot:tenant", problem), 403);
        assert_int_equal(ask("PUT", "/v1/nodes/" ID "/keys/" KEY "/half", "urn:tallyboot:operator:alice", problem), 403);
        assert_int_equal(ask("PUT", "/v1/nodes/" ID "/keys/" KEY "/half", "urn:tallyboot:verifier", problem), 403);
}

static void refuse(const char *text) {
        char *copy = strdup(text), error[160] = "";

        free(TAKE_PTR(service.refused));
        assert_non_null(copy);
        assert_int_equal(service_refuse_parse(copy, &service.refused, error, sizeof(error)), 0);
        free(copy);
}

static void refused_by_name(void **state) {
        const char *alice = "urn:tallyboot:operator:alice", *path = "/v1/nodes/" ID;
        char problem[32];

        refuse("# gone since May\n\n  operator:alice # her laptop\r\ntenant\nmonitor:prom");
        assert_int_equal(ask("GET", path, alice, problem), 403);
        assert_string_equal(problem, "unauthorized");
        assert_int_equal(ask("GET", path, "urn:tallyboot:tenant", problem), 403);
        assert_int_equal(ask("GET", "/v1/open", alice, problem), 200);
        assert_string_equal(seen.who, "node");
        assert_int_equal(ask("GET", path, "urn:tallyboot:operator:alice2", problem), 200);
        assert_int_equal(ask("GET", path, "urn:tallyboot:operator:alic", problem), 200);
        refuse("operator:bob\n");
        assert_int_equal(ask("GET", path, alice, problem), 200);
        refuse("");
        assert_int_equal(ask("GET", path, "urn:tallyboot:operator:bob", problem), 200);
}

static void refused_that_is_not_understood(void **state) {
        static const char *const wrong[] = {
                "alice",          "operator:",       "operator:a b", "operator:a operator:b", "urn:tallyboot:operator:a", "node",
                "operator=alice", "operator: alice", "tenants",      "operator:a\x1b[0m"
        };

        for (size_t i = 0; i < ELEMENTSOF(wrong); i++) {
                char text[64], error[160] = "", *list = NULL;

                snprintf(text, sizeof(text), "tenant\n%s\n", wrong[i]);
                assert_int_equal(service_refuse_parse(text, &list, error, sizeof(error)), -EBADMSG);
                assert_non_null(strstr(error, "line 2: wanted operator:NAME"));
                assert_null(list);
        }
}

static int limit_of(const char *method, const char *path, const char *uri, struct http_limit *ret) {
        const struct http_request head = { .method = method, .path = path, .peer = peer_of(uri), .body_fd = -1 };

        return service_limit(&head, ret, &service);
}

static void limits(void **state) {
        const char *path = "/v1/nodes/" ID "/payload/1", *alice = "urn:tallyboot:operator:alice";
        struct http_limit limit;

        assert_int_equal(limit_of("PUT", path, alice, &limit), 0);
        assert_int_equal(limit.max, 1 << 30);
        assert_true(limit.to_file);
        assert_int_equal(limit_of("PUT", path, NULL, &limit), 0);
        assert_int_equal(limit.max, WIRE_REQUEST_MAX);
        assert_false(limit.to_file);
        assert_int_equal(limit_of("PUT", path, "urn:tallyboot:tenant", &limit), 0);
        assert_int_equal(limit.max, WIRE_REQUEST_MAX);
        assert_false(limit.to_file);
        assert_int_equal(limit_of("GET", "/v1/open", NULL, &limit), 0);
        assert_int_equal(limit.max, WIRE_REQUEST_MAX);
        assert_int_equal(limit_of("PUT", "/nothing", alice, &limit), 0);
        assert_int_equal(limit.max, WIRE_REQUEST_MAX);
        assert_false(limit.to_file);

        refuse("operator:alice");
        assert_int_equal(limit_of("PUT", path, alice, &limit), 0);
        assert_int_equal(limit.max, WIRE_REQUEST_MAX);
        refuse("");

        /* a guard sees the request, and is asked for its own route and roles only */
        assert_int_equal(limit_of("PUT", "/v1/guarded/" ID, alice, &limit), 401);
        assert_int_equal(limit_of("PUT", "/v1/guarded/" ID, NULL, &limit), 0);
        assert_int_equal(limit.max, WIRE_REQUEST_MAX);
}

static void handler_that_says_nothing(void **state) {
        char problem[32];

        assert_int_equal(ask("GET", "/v1/silent", NULL, problem), 500);
        assert_string_equal(problem, "internal");
}

static void query(void **state) {
        struct http_request request = { .method = "GET",
                                        .path = "/v1/open",
                                        .query = "a=1&bc=x.y-z_0:9&d=&e&f=%20&g=1&g=2&b=long" };
        const struct service_call call = { .request = &request };
        char value[12];

        assert_int_equal(service_query(&call, "a", value, sizeof(value)), 0);
        assert_string_equal(value, "1");
        assert_int_equal(service_query(&call, "bc", value, sizeof(value)), 0);
        assert_string_equal(value, "x.y-z_0:9");
        assert_int_equal(service_query(&call, "b", value, 4), -EBADMSG);
        assert_int_equal(service_query(&call, "d", value, sizeof(value)), -ENOENT);
        assert_int_equal(service_query(&call, "e", value, sizeof(value)), -ENOENT);
        assert_int_equal(service_query(&call, "f", value, sizeof(value)), -EBADMSG);
        assert_int_equal(service_query(&call, "g", value, sizeof(value)), 0);
        assert_string_equal(value, "1");
        assert_int_equal(service_query(&call, "c", value, sizeof(value)), -ENOENT);
}

static void limiter(void **state) {
        struct limiter *limiter = NULL;

        assert_int_equal(limiter_new(3, &limiter), 0);
        for (int i = 0; i < 3; i++)
                assert_int_equal(limiter_count(limiter, "proven", "a"), 0);
        assert_in_range(limiter_count(limiter, "proven", "a"), 1, 61);
        assert_int_equal(limiter_count(limiter, "unproven", "a"), 0);
        assert_int_equal(limiter_count(limiter, "proven", "b"), 0);
        for (int i = 0; i < 5; i++)
                assert_int_equal(limiter_count_in(limiter, "hourly", "a", 5, 3600), 0);
        assert_in_range(limiter_count_in(limiter, "hourly", "a", 5, 3600), 61, 3601);
        assert_int_equal(limiter_count_in(limiter, "hourly", "b", 5, 3600), 0);
        limiter_free(limiter);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(paths),           cmocka_unit_test(roles),
                cmocka_unit_test(limits),          cmocka_unit_test(handler_that_says_nothing),
                cmocka_unit_test(refused_by_name), cmocka_unit_test(refused_that_is_not_understood),
                cmocka_unit_test(query),           cmocka_unit_test(limiter),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
