/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "ctl/ctl.h"

struct node_action {
        const char *method, *path; /* path below /v1/nodes/ID/, or NULL */
        const char *done;          /* in words, for the last line */
        bool registrar;            /* the registrar is concerned too */
        bool takes_away;           /* 404 means that there is nothing to take away, where another server had something */
        bool gone_is_done;         /* 404 means that it has followed already */
};

/* One operator's action at every server that it concerns. Exit code. */
int node_action(struct ctl *ctl, const struct node_action *action, const char *node, const json_t *body);

/* What names the PCR values that a party holds of a node, for people: 80 bits of their digest. -ENOENT: none are held. */
enum { STATE_LENGTH = 16 };
int held_state(const json_t *held, char ret[static STATE_LENGTH + 1]);
