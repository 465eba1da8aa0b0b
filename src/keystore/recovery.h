/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "keystore/keystore.h"

/* The way back to a master key that a TPM does not give any more: PCRs changed, the TPM was cleared, the board was replaced.
 * What was sealed is written down when it is made, as a recovery phrase: with it and the database another machine has the
 * master key. */

enum { RECOVERY_TEXT = 69 }; /* 14 groups of four, dashes between them */

/* The phrase of a secret of 32 bytes: those and three bytes of checksum, base32. */
int recovery_write(const struct secret *secret, struct secret **ret);
/* As a person types it: dashes, spaces, line ends and capitals do not matter. -EBADMSG: not a phrase; -EILSEQ: mistyped, its
 * checksum is wrong. */
int recovery_parse(const struct secret *text, struct secret **ret);

/* What the newest master in a TPM was made from. -ENOENT: there is none; -ENODATA: it was not unsealed in this boot. */
int keystore_recovery_secret(struct store *store, struct secret **ret);
/* Takes the secret, checks that it is the database's, seals it to this machine's TPM as it is now. secret NULL: the one that this
 * boot has. -EKEYREJECTED: it is another one's; nothing was changed. From then on the service starts. All failures with words. */
int keystore_recover(const struct keystore_options *options, struct store *store, const char *party, const struct secret *secret,
                     char *error, size_t error_size);
