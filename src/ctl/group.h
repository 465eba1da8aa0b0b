/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "ctl/ctl.h"

/* 1 to 63 letters, digits, dots, underscores, dashes. */
bool group_name_is_valid(const char *name);
/* The same request to verifier and tenant; done is printed when both have followed. Exit code. */
int both_parties(struct ctl *ctl, const char *method, const char *path, const json_t *body, const char *done);
