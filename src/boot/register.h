/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "boot/converse.h"

/* Registers the node at the registrar (docs/protocol.md, 6): POST /v1/nodes and the activation. Repeating it is harmless.
 * ret_code: the code that an operator compares. Errors: of tpm.h, -ENOLINK, -EACCES (refused), -EEXIST (conflict), -EINVAL (no
 * registrar configured); words in node->error. */
int register_node(struct node *node, char ret_code[static CODE_LENGTH + 1]);
