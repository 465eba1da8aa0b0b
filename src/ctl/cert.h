/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "ctl/ca.h"
#include "ctl/ctl.h"

/* dir/sub/name suffix, in a fleet's directory (see init.c). NULL: no memory. */
char *cert_file(const char *dir, const char *sub, const char *name, const char *suffix);

/* Whether somebody can be called that: a file's name, and not what the audit logs call a node or a service. Logs. */
bool cert_name_is_valid(const char *name);

/* cert-ca.c: another CA for a fleet, so that nobody is cut off. Errors are logged; 0 or -errno; each may be run again after it
 * was cut. First a second CA that everybody trusts beside the first, which goes on signing. */
int cert_ca_begin(const char *dir);
/* Then, when all have been given the new ca.pem, the new one signs. The old one stays in every ca.pem until the next renewal, so
 * that certificates of before are good as long as they last. cert_ca_finished() after all certificates were made anew. */
int cert_ca_swap(const char *dir);
int cert_ca_finished(const char *dir);
/* After a theft: only the CA that signs stays in every ca.pem. */
int cert_ca_drop(const char *dir);
