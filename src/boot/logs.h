/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "boot/config.h"
#include "wire/wire.h"

/* The kernel's logs of what was measured, as a party asks for them (docs/protocol.md, 6, Logs). */

/* The firmware's, whole: binary_bios_measurements of the configured TPM. Empty where the kernel has none: the party will say what
 * it makes of that. -ENOMEM and the like. */
int logs_read_firmware(const struct config *config, struct blob *ret);
/* IMA's binary_runtime_measurements without its first `from` entries. Read it after the quote. */
int logs_read_ima(const struct config *config, uint64_t from, struct blob *ret);
/* Pure: the bytes of the first n entries; all of them where there are fewer. -EBADMSG. */
int logs_skip_ima(const void *list, size_t size, uint64_t n, size_t *ret);
/* The body of release/logs, in memory behind a file descriptor (both parties can be sent it at once). */
int logs_body(const struct config *config, const struct wire_logs_wanted *wanted, const char *evidence, int *ret_fd,
              size_t *ret_size);
