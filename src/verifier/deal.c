/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "verifier/verifier.h"

const struct service_route deal_routes[] = { {} };
