/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "boot/unlock.h"

/* Whether this boot proves itself with the TPM or with a token (tallyboot.conf, evidence =). A TPM that is there stays what it
 * is, even where it refuses: a token is taken where none appeared in time, or the configuration says so. */

/* In a boot: waits for the TPM, says what was chosen, leaves the note "evidence". -ENODEV with words said. */
int identity_choose(struct unlocker *unlocker);
/* The TPM or the token itself. It is left for later where it can be had while the parties answer: not a token that wants a
 * person. Words said. */
int identity_begin(struct unlocker *unlocker);
/* The token, waited for, and a person asked for its PIN if need be. Words said. */
int identity_attach_token(struct unlocker *unlocker);

/* What is there now: for a command in the running system. */
enum node_kind identity_guess(const struct config *config);
void identity_look(struct node *node);
