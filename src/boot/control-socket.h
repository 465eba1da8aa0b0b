/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

int control_connect(const char *path); /* a connected socket, or -errno */
