/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "base/secret.h"

/* "file:/path", "credential:NAME", or the pin-source of a URI (a path, or file:/path). One line end is cut off. Words on
 * failure. */
int keystore_pin_read(const char *source, struct secret **ret, char *error, size_t error_size);
