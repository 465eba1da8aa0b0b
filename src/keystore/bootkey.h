/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "base/secret.h"

/* What outlives a process and not the boot: keys of type "user" in the kernel's keyring of this user. Kernel memory: never
 * swapped out, in no core dump of a process, gone with the power. Every process of the same user (and user namespace) finds them,
 * whatever systemd's KeyringMode= gave it as a session. docs/keys.md says who can read them. */

/* name: at most 200 characters. -ENOENT; -EOPNOTSUPP: no keyring here (a container's filter). */
int bootkey_get(const char *name, struct secret **ret);
int bootkey_put(const char *name, const struct secret *secret);
/* 0 also where there was none. */
int bootkey_drop(const char *name);
