/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "test.h"

#include "policy/policy.h"

#define A32 "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define B32 "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
#define C32 "cccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc"

struct policy policy_parsed(const char *text);            /* the test fails where it is no policy */
void policy_refused(const char *text, const char *words); /* and where it is one, or words are not in what is said of it */
