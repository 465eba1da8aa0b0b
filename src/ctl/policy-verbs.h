/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "ctl/ctl.h"
#include "policy/policy.h"

int policy_predict_verb(struct ctl *ctl, int argc, char *argv[]);
int policy_check_verb(struct ctl *ctl, int argc, char *argv[]);
int policy_apply_verb(struct ctl *ctl, int argc, char *argv[]);
int policy_retire_verb(struct ctl *ctl, int argc, char *argv[]);

/* Says what it leaves uncovered. */
void policy_warn_uncovered(const struct policy *policy);
/* A text that parses; logs. -errno */
int policy_read_file(const char *path, struct blob *ret);
/* To both parties, each replacing the version that it is known to have. Exit code. */
int policy_put(struct ctl *ctl, const char *group, const char *text, const int64_t versions[static 2] /* verifier, tenant */);
/* Says when nothing keeps the replaced part of this text. */
void policy_advise_retire(struct ctl *ctl, const char *group, const char *text);
