/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "wire/json.h"

/* The member "credential" of two messages. */
void put_credential(struct put *put, const struct wire_credential *credential);
bool take_credential(struct take *take, bool optional, struct wire_credential *ret);
