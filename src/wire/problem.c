/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdio.h>
#include <string.h>

#include "wire/json.h"

#define TYPE_PREFIX "urn:tallyboot:problem:"

/* docs/protocol.md, 11 */
static const struct {
        const char *name;
        int status;
} problems[] = {
        { "malformed", 400 },    { "too-large", 413 },        { "unauthorized", 403 },   { "not-found", 404 },
        { "unknown-node", 404 }, { "pending-approval", 403 }, { "pending-policy", 403 }, { "policy-refused", 403 },
        { "gate-closed", 403 },  { "another-nk", 403 },       { "rolled-back", 403 },    { "suspended", 403 },
        { "revoked", 403 },      { "bad-evidence", 403 },     { "stale-nonce", 409 },    { "conflict", 409 },
        { "rate-limited", 429 }, { "unavailable", 503 },      { "internal", 500 },       { "logs-wanted", 409 },
};

int wire_problem_status(const char *name) {
        for (size_t i = 0; i < ELEMENTSOF(problems); i++)
                if (strcmp(problems[i].name, name) == 0)
                        return problems[i].status;
        return 500;
}

char *wire_problem_encode(const struct wire_problem *problem) {
        struct put put = put_new();
        char type[sizeof TYPE_PREFIX + sizeof problem->name];

        snprintf(type, sizeof type, TYPE_PREFIX "%s", problem->name);
        put_string(&put, "type", type);
        put_string(&put, "title", problem->title);
        put_u64(&put, "status", (uint64_t) (problem->status > 0 ? problem->status : wire_problem_status(problem->name)));
        put_string(&put, "incident", problem->incident);
        return put_text(&put);
}

static void take_name(struct take *take, char *ret, size_t size) {
        char type[sizeof TYPE_PREFIX + sizeof((struct wire_problem *) 0)->name];
        const char *name = type + strlen(TYPE_PREFIX);

        take_string(take, "type", type, sizeof type);
        take_check(take, strncmp(type, TYPE_PREFIX, strlen(TYPE_PREFIX)) == 0);
        if (take->error < 0)
                return;
        take_check(take, *name && strlen(name) < size && strspn(name, "abcdefghijklmnopqrstuvwxyz-") == strlen(name));
        if (take->error == 0)
                memcpy(ret, name, strlen(name) + 1);
}

int wire_problem_parse(const char *text, size_t size, struct wire_problem *ret) {
        _cleanup_(wire_json_decrefp) json_t *json = wire_json_parse(text, size);
        struct wire_problem problem = {};
        struct take take = { .object = json, .error = json ? 0 : -EBADMSG };

        take_name(&take, problem.name, sizeof problem.name);
        take_string(&take, "title", problem.title, sizeof problem.title);
        problem.status = (int) take_u64(&take, "status", 400, 599);
        take_string(&take, "incident", problem.incident, sizeof problem.incident);
        take_check(&take, problem.incident[0] == 0 || incident_is_valid(problem.incident));
        if (take.error < 0)
                return take.error;

        *ret = problem;
        return 0;
}
