/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "crypto/payload.h"

enum { PACK_LENGTH_MAX = 64 * 1024 * 1024 };

/* The files of a payload, as they will stand in the archive (docs/protocol.md, 9). */
struct pack_entry {
        char *source; /* path on this machine, for words */
        char *name;   /* path in the archive, and from top */
        bool directory;
        unsigned mode;
        uint64_t size;
};

struct pack {
        struct pack_entry *entries;
        size_t n;
        uint64_t length; /* of the archive */
        int top;         /* the directory that all of it is in */
};

/* A file, or what is in a directory, in the order of names. Links, devices and sockets are refused, with words in the log; so is
 * what becomes a link, or is reached by one, until it is written: who can write below path gets nothing into the payload that is
 * not below path. */
int pack_collect(const char *path, struct pack *ret);
void pack_done(struct pack *pack);

/* Encrypts the archive to fd as a payload file. -ESTALE where a file changed its size in the meantime. ret_sha256: of the
 * file. */
int pack_write(const struct pack *pack, const struct payload_header *header, const struct secret *content_key, int fd,
               uint8_t ret_sha256[static 32]);
