/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "ctl/ctl.h"
#include "policy/policy.h"

/* A boot as somebody recorded it: "tallyboot evidence --json", or what the parties know of a node. Nothing here was proven: it is
 * for trying things out, never for a release. */
struct recorded {
        struct pcr_values pcrs;
        uint16_t bank;
        int gate; /* -1: not said */
        struct blob log, ima;
        bool token; /* of a node without a TPM: nothing else is set */
};
void recorded_done(struct recorded *recorded);
/* -errno; logs. */
int recorded_read(const char *path, struct recorded *ret);

/* A node as tenant and verifier both know it: the boot that they hold (held), or the set that it last matched. Exit code;
 * logs. */
enum node_boot { BOOT_HELD, BOOT_LAST };
int recorded_of_node(struct ctl *ctl, const char *node, enum node_boot which, struct recorded *ret);
/* The policy of a group, the same at both parties. Exit code; logs. ret_version: of verifier, tenant; NULL: not wanted. */
int policy_of_group(struct ctl *ctl, const char *group, char **ret_text, int64_t ret_version[static 2]);
