/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "crypto/keypair.h"

/* The payload file (docs/protocol.md, 9): header and records, streamed. Nothing here does I/O. */
enum { PAYLOAD_HEADER_SIZE = 76, PAYLOAD_RECORD_SIZE = 65536 };

struct payload_header {
        char node_id[NODE_ID_LENGTH + 1];
        uint64_t version;
        uint64_t length; /* of the archive */
};

void payload_header_encode(const struct payload_header *header, uint8_t ret[static PAYLOAD_HEADER_SIZE]);
int payload_header_decode(const uint8_t data[static PAYLOAD_HEADER_SIZE], struct payload_header *ret);
uint64_t payload_file_size(uint64_t length);
/* Bytes of plaintext in record index of an archive of length bytes; *ret_last where it is the last. */
size_t payload_record_length(uint64_t length, uint64_t index, bool *ret_last);
/* ret: size + 16 bytes; size - 16 bytes. -EBADMSG: changed, cut, out of order, or of another file. */
int payload_record_seal(const struct secret *content_key, const uint8_t header[static PAYLOAD_HEADER_SIZE], uint64_t index,
                        bool last, const void *data, size_t size, uint8_t *ret);
int payload_record_open(const struct secret *content_key, const uint8_t header[static PAYLOAD_HEADER_SIZE], uint64_t index,
                        bool last, const void *data, size_t size, uint8_t *ret);
/* The content key, sealed to a payload public key. */
int payload_key_seal(const uint8_t public[static POINT_SIZE], const uint8_t header[static PAYLOAD_HEADER_SIZE],
                     const char *key_id, uint32_t generation, const struct secret *content_key,
                     uint8_t ret_enc[static POINT_SIZE], struct blob *ret_ct);
int payload_key_open(const struct keypair *keypair, const uint8_t header[static PAYLOAD_HEADER_SIZE], const char *key_id,
                     uint32_t generation, const uint8_t enc[static POINT_SIZE], const void *ct, size_t ct_size,
                     struct secret **ret);
/* A dealt half, sealed to the verifier's inbox: info = L("tallyboot deal v1", node id, key id, generation). */
int deal_seal(const uint8_t inbox[static POINT_SIZE], const char *node_id, const char *key_id, uint32_t generation,
              const struct secret *half, uint8_t ret_enc[static POINT_SIZE], struct blob *ret_ct);
int deal_open(const struct keypair *inbox, const char *node_id, const char *key_id, uint32_t generation,
              const uint8_t enc[static POINT_SIZE], const void *ct, size_t ct_size, struct secret **ret);

/* The archive inside (docs/protocol.md, 9): a push parser, bounded in memory. Feed it any pieces; it calls back. Paths are
 * checked before the callback sees them. */
struct archive_callbacks {
        int (*directory)(const char *path, unsigned mode, void *userdata);
        int (*file_begin)(const char *path, unsigned mode, uint64_t size, void *userdata);
        int (*file_data)(const void *data, size_t size, void *userdata);
        int (*file_end)(void *userdata);
};
struct archive;
int archive_new(const struct archive_callbacks *callbacks, void *userdata, struct archive **ret);
int archive_feed(struct archive *archive, const void *data, size_t size); /* -EBADMSG, or what a callback returned */
int archive_finish(struct archive *archive);                              /* -EBADMSG unless the end entry was the last byte */
struct archive *archive_free(struct archive *archive);
DEFINE_CLEANUP(struct archive *, archive_free)
bool archive_path_is_valid(const char *path, size_t length);
