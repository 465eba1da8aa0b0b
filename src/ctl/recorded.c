/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "ctl/recorded.h"

#include <string.h>

enum { RECORDED_MAX = 2 * (FIRMWARE_LOG_MAX + IMA_LIST_MAX) };

void recorded_done(struct recorded *recorded) {
        blob_done(&recorded->log);
        blob_done(&recorded->ima);
        *recorded = (struct recorded){};
}

/* The values of one bank come bare where the bank is said beside them. */
static int parse_values(const json_t *object, struct recorded *recorded) {
        const json_t *pcrs = json_object_get(object, "pcrs");
        json_t *wrapped;
        char bank[16];
        int r;

        if (wire_get_string(object, "bank", bank, sizeof bank) < 0 || pcr_alg_from_string(bank, &recorded->bank) < 0 ||
            !json_is_object(pcrs))
                return -EBADMSG;
        if (json_object_get(pcrs, bank))
                return pcr_values_from_json(pcrs, &recorded->pcrs);

        wrapped = json_pack("{s:O}", bank, pcrs);
        r = wrapped ? pcr_values_from_json(wrapped, &recorded->pcrs) : -ENOMEM;
        json_decref(wrapped);
        return r;
}

/* {"bank", "pcrs": {"0": hex} or {"sha256": {...}}, "gate"?, "firmware_log"?, "ima"?}. -EBADMSG. */
static int recorded_parse(const json_t *object, struct recorded *ret) {
        struct recorded recorded = { .gate = -1 };
        uint64_t gate;
        int r;

        r = parse_values(object, &recorded);
        if (r >= 0) {
                r = wire_get_u64(object, "gate", WIRE_PCRS - 1, &gate);
                if (r >= 0)
                        recorded.gate = (int) gate;
                if (r == -ENOENT)
                        r = 0;
        }
        if (r >= 0 && json_object_get(object, "firmware_log"))
                r = wire_get_bin(object, "firmware_log", FIRMWARE_LOG_MAX, &recorded.log);
        if (r >= 0 && json_object_get(object, "ima"))
                r = wire_get_bin(object, "ima", IMA_LIST_MAX, &recorded.ima);
        if (r < 0) {
                recorded_done(&recorded);
                return r;
        }
        *ret = recorded;
        return 0;
}

int recorded_read(const char *path, struct recorded *ret) {
        _cleanup_(blob_done) struct blob text = {};
        json_t *object;
        int r;

        r = file_read(path, RECORDED_MAX, &text);
        if (r < 0)
                return log_error_errno(r, "%s: %m", path);
        object = wire_json_parse(text.data, text.size);
        r = object ? recorded_parse(object, ret) : -EBADMSG;
        json_decref(object);
        if (r < 0)
                log_error(
                        "%s: no evidence: wanted is what \"tallyboot evidence --json\" or --logs prints, an object with bank and pcrs.",
                        path);
        return r;
}

/* Both parties' word, where it is the same. ret owns. */
static int get_node(struct ctl *ctl, const char *text, json_t *ret[static 2]) {
        char id[NODE_ID_LENGTH + 1];
        int r;

        r = ctl_resolve_node(ctl, text, id);
        if (r != CTL_OK)
                return r;
        struct ctl_call calls[2] = { ctl_call(SERVER_TENANT, "GET", "/v1/nodes/%s", id),
                                     ctl_call(SERVER_VERIFIER, "GET", "/v1/nodes/%s", id) };
        r = ctl_perform(ctl, calls, 2) < 0 ? CTL_FAILURE : ctl_followed(calls, 2);
        for (size_t i = 0; i < 2; i++) {
                ret[i] = r == CTL_OK ? json_incref(calls[i].answer) : NULL;
                ctl_call_done(calls + i);
        }
        return r;
}

static int held_boot(json_t *nodes[static 2], struct recorded *ret) {
        json_t *t = json_object_get(nodes[0], "held"), *v = json_object_get(nodes[1], "held");

        if (!json_is_object(t) && !json_is_object(v))
                return log_error("Neither party holds a boot of this node: it holds one that it refused for its state."),
                       CTL_REFUSED;
        if (json_is_object(t) && json_is_object(v) && !json_equal(json_object_get(t, "pcrs"), json_object_get(v, "pcrs")))
                return log_error("Tenant and verifier hold different PCR values of this node: two boots. Wait for its next try."),
                       CTL_REFUSED;
        if (recorded_parse(json_is_object(t) ? t : v, ret) < 0)
                return log_error("What is held of this node has no PCR values."), CTL_REFUSED;
        return CTL_OK;
}

static int values_of_set(const struct policy *policy, const char *name, struct recorded *ret) {
        for (size_t i = 0; i < policy->n; i++) {
                const struct policy_set *set = policy->sets + i;

                if (strcmp(set->name, name) != 0)
                        continue;
                *ret = (struct recorded){ .bank = set->bank, .gate = -1 };
                ret->pcrs.n = 1;
                ret->pcrs.banks[0] = (struct pcr_bank){ .alg = set->bank, .mask = set->mask };
                memcpy(ret->pcrs.banks[0].values, set->values, sizeof set->values);
                return CTL_OK;
        }
        return log_error("The set %s, which this node last matched, is not in its group's policy any more.", name), CTL_REFUSED;
}

static int last_boot(struct ctl *ctl, json_t *nodes[static 2], struct recorded *ret) {
        const char *name = ctl_string(nodes[0], "set");
        _cleanup_(policy_done) struct policy policy = {};
        _cleanup_(freep) char *text = NULL;
        int64_t versions[2];
        char error[256];
        int r;

        if (!*name || strcmp(name, ctl_string(nodes[1], "set")) != 0)
                return log_error("Tenant and verifier do not name one set that this node last matched: give a base by --base."),
                       CTL_REFUSED;
        r = policy_of_group(ctl, ctl_string(nodes[0], "group"), &text, versions);
        if (r != CTL_OK)
                return r;
        if (policy_parse(text, strlen(text), &policy, error, sizeof error) < 0)
                return log_error("The parties sent a policy that does not parse: %s", error), CTL_FAILURE;
        return values_of_set(&policy, name, ret);
}

int recorded_of_node(struct ctl *ctl, const char *node, enum node_boot which, struct recorded *ret) {
        json_t *nodes[2] = {};
        int r;

        r = get_node(ctl, node, nodes);
        if (r == CTL_OK && *ctl_string(nodes[0], "token") && which == BOOT_HELD)
                *ret = (struct recorded){ .token = true };
        else if (r == CTL_OK && *ctl_string(nodes[0], "token")) {
                log_error("This node has a token and no TPM: nothing that it boots is measured, so there is nothing to predict.");
                r = CTL_REFUSED;
        } else if (r == CTL_OK)
                r = which == BOOT_HELD ? held_boot(nodes, ret) : last_boot(ctl, nodes, ret);
        json_decref(nodes[0]);
        json_decref(nodes[1]);
        return r;
}

int policy_of_group(struct ctl *ctl, const char *group, char **ret_text, int64_t ret_version[static 2]) {
        struct ctl_call calls[2] = { ctl_call(SERVER_VERIFIER, "GET", "/v1/groups/%s/policy", group),
                                     ctl_call(SERVER_TENANT, "GET", "/v1/groups/%s/policy", group) };
        int r;

        r = ctl_perform(ctl, calls, 2) < 0 ? CTL_FAILURE : ctl_followed(calls, 2);
        if (r == CTL_OK && strcmp(ctl_string(calls[0].answer, "text"), ctl_string(calls[1].answer, "text")) != 0) {
                log_error("Tenant and verifier have different policies for %s: set it again.", group);
                r = CTL_REFUSED;
        }
        if (r == CTL_NOT_FOLLOWED)
                r = CTL_UNREACHED; /* reading leaves nothing to be followed */
        if (r == CTL_OK) {
                for (size_t i = 0; i < 2; i++)
                        ret_version[i] = MAX(ctl_integer(calls[i].answer, "version"), 0);
                *ret_text = strdup(ctl_string(calls[0].answer, "text"));
                if (!*ret_text)
                        r = CTL_FAILURE;
        }
        ctl_call_done(calls);
        ctl_call_done(calls + 1);
        return r;
}
