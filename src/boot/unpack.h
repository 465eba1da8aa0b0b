/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "crypto/payload.h"

/* Unpacks an archive into a hidden directory inside of directory; unpack_reveal() then moves what is in it up. No links, devices,
 * set-id bits or paths out of it; at most size_max bytes and 65536 entries. */
struct unpack;
int unpack_new(const char *directory, uint64_t size_max, struct unpack **ret);
extern const struct archive_callbacks unpack_callbacks; /* userdata: struct unpack */
int unpack_reveal(struct unpack *unpack);
struct unpack *unpack_free(struct unpack *unpack);
DEFINE_CLEANUP(struct unpack *, unpack_free)
