/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "service/service.h"

/* What a maker says of a TPM after its node was enrolled (docs/threat-model.md, invariant 3). The certificates are those of the
 * enrollment. */

/* Whether the certificate of this enrolled node, or one of its path, is on a CRL by now; an EK on ek-allow never is. 1: ret_why
 * says which. */
int ek_node_revoked(struct service *service, const char *node, const char *ek_sha256, char *ret_why, size_t size);
/* Goes through all nodes where CRLs were read since the last time, says which are revoked, and remembers them for the two
 * below. */
int ek_nodes_review(struct service *service);
bool ek_nodes_knows(struct service *service, const char *node);
size_t ek_nodes_count(const struct service *service);
void ek_nodes_done(struct service *service);
