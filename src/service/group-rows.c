/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "service/state.h"

#include <string.h>

#include "base/clock.h"

/* PCRs of a boot where no policy says which: all but 10 (IMA's, never twice the same) and the gate itself, which is added. In the
 * running system only the firmware's own and its settings keep still. */
enum { PCRS_DEFAULT = 0x3ff | 0x7800, PCRS_LIVING = 0x8f };

struct group_row {
        struct group group;
        bool found;
};

static int on_group(const struct store_value *columns, size_t n, void *userdata) {
        struct group_row *row = userdata;
        struct group *group = &row->group;
        char bank[16];
        int r;

        assert(n == 7);
        if ((r = column_text(columns + 0, group->name, sizeof(group->name))) < 0 ||
            (r = column_text(columns + 1, bank, sizeof(bank))) < 0)
                return r;
        if (pcr_alg_from_string(bank, &group->bank) < 0)
                return -EUCLEAN;

        group->gate = (unsigned) column_int(columns + 2);
        group->accept_first_boot = column_int(columns + 3) != 0;
        group->policy_version = column_int(columns + 4);
        group->changed = column_int(columns + 5);
        group->revision = column_int(columns + 6);
        row->found = true;
        return 0;
}

int group_load(struct store_txn *txn, const char *name, struct group *ret) {
        struct group_row row = {};
        int r;

        r = store_query(
                txn, "SELECT name, bank, gate, accept_first_boot, policy_version, changed, revision FROM groups WHERE name = $1",
                STORE_ARGS(store_text(name)), on_group, &row);
        if (r < 0)
                return r;
        if (!row.found)
                return -ENOENT;

        *ret = row.group;
        return 0;
}

struct name_row {
        char *name;
        bool found;
};

static int on_name(const struct store_value *columns, size_t n, void *userdata) {
        struct name_row *row = userdata;

        (void) n;
        row->found = true;
        return column_text(columns, row->name, 65);
}

int group_of_ek(struct store_txn *txn, const char *ek_sha256, char ret[static 65]) {
        struct name_row row = { .name = ret };
        int r;

        r = store_query(txn, "SELECT group_name FROM group_eks WHERE ek_sha256 = $1", STORE_ARGS(store_text(ek_sha256)), on_name,
                        &row);
        if (r < 0)
                return r;
        return row.found ? 0 : -ENOENT;
}

static int on_policy(const struct store_value *columns, size_t n, void *userdata) {
        char error[256];

        (void) n;
        if (columns[0].type != STORE_TEXT)
                return -EUCLEAN;
        return policy_parse(columns[0].data, columns[0].size, userdata, error, sizeof(error));
}

int policy_load(struct store_txn *txn, const struct group *group, struct policy *ret) {
        struct policy policy = {};
        int r;

        if (group->policy_version > 0) {
                r = store_query(txn, "SELECT text FROM policies WHERE group_name = $1 AND version = $2",
                                STORE_ARGS(store_text(group->name), store_int(group->policy_version)), on_policy, &policy);
                if (r < 0)
                        return r;
        }

        *ret = policy;
        return 0;
}

int policy_store(struct store_txn *txn, struct group *group, const char *text, const char *who) {
        int64_t now = (int64_t) clock_realtime_ms();
        int r;

        r = store_exec(txn, "INSERT INTO policies (group_name, version, text, who, created) VALUES ($1, $2, $3, $4, $5)",
                       STORE_ARGS(store_text(group->name), store_int(group->policy_version + 1), store_text(text),
                                  store_text(who), store_int(now / 1000)),
                       NULL);
        if (r < 0)
                return r;

        group->policy_version++;
        group->revision++;
        group->changed = now;
        return store_exec(txn, "UPDATE groups SET policy_version = $1, revision = $2, changed = $3 WHERE name = $4",
                          STORE_ARGS(store_int(group->policy_version), store_int(group->revision), store_int(group->changed),
                                     store_text(group->name)),
                          NULL);
}

uint32_t group_pcrs(const struct group *group, const struct policy *policy, uint16_t bank, enum purpose purpose) {
        uint32_t pcrs;

        if (purpose == PURPOSE_ENROLL || purpose == PURPOSE_CONFIRM)
                return PCRS_LIVING;

        pcrs = policy_pcrs(policy, bank);
        return (policy->n == 0 || pcrs == 0 ? pcrs | PCRS_DEFAULT : pcrs) | UINT32_C(1) << group->gate;
}

/* Nobody is let in by it: which kind a node is, is its own. But who mixes both in a group has judged them to need the same, or
 * has taken the wrong group. */
int group_warning(struct store_txn *txn, const char *group, const struct policy *policy, char ret[static GROUP_WARNING_SIZE]) {
        int64_t n;
        int r;

        ret[0] = '\0';
        if (!policy->release.token_evidence)
                return 0;
        r = query_int(txn, "SELECT COUNT(*) FROM nodes WHERE group_name = $1 AND token_public IS NULL",
                      STORE_ARGS(store_text(group)), &n);
        if (r < 0 || n == 0)
                return r;

        (void) snprintf(
                ret, GROUP_WARNING_SIZE,
                "token-evidence = yes is for nodes with a token; %lld of this group registered with a TPM, and a token's word is "
                "never taken for these: give nodes with a token a group of their own",
                (long long) n);
        return 0;
}
