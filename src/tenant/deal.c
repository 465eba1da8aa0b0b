/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tenant/tenant.h"

const struct service_route deal_routes[] = { {} };
