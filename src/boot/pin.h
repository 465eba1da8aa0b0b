/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "boot/node.h"

/* Where PINs come from. */
enum { PIN_MAX = 255 };

/* From a file or a credential; a line break at its end is not part of it. -ENOENT and others with words. */
int pin_read(const struct pin_source *source, struct secret **ret, char *error, size_t error_size);
/* "file /path", "credential NAME". */
void pin_source_describe(const struct pin_source *source, char *ret, size_t size);

/* A PIN that nobody typed and that was wrong is not tried a second time in this boot, not by another process either. Where the
 * file has changed it is another PIN. serial: the token's. */
bool pin_was_refused(const char *run_dir, const char *serial, const struct pin_source *source);
int pin_note_refused(const char *run_dir, const char *serial, const struct pin_source *source);

/* node_waiting.ask by systemd's password agents (console, Plymouth ...): https://systemd.io/PASSWORD_AGENTS. Ends with this
 * process. */
int pin_ask_agents(struct node *node, const char *prompt, int (*check)(void *userdata), void *userdata, struct secret **ret);
