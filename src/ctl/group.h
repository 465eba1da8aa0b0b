/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "ctl/ctl.h"

/* 1 to 63 letters, digits, dots, underscores, dashes. */
bool group_name_is_valid(const char *name);
