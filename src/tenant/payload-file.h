/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "service/party.h"

/* Payload files in payload-dir: NODE.VERSION.payload, mode 0600. What is in one was encrypted by an operator. */
enum { PAYLOAD_FILE_MAX = 1 << 30 };

/* A copy of what came, durable, under a name of its own, if it has the size, digest, node and version that were announced.
 * -EBADMSG. */
int payload_file_take(struct party_service *party, int fd, const char *node, const struct wire_payload *announced,
                      char **ret_path);
/* It gets its final name, in the transaction that makes it current: of two that are announced under one version one is. */
int payload_file_name(struct party_service *party, const char *path, const char *node, uint64_t version);
/* The files of versions before this one, and of uploads that were cut short (0: all files of the node). */
void payload_files_remove(struct party_service *party, const char *node, uint64_t before);
