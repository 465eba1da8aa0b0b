/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "service/party.h"

/* Payload files in payload-dir: NODE.VERSION.payload, mode 0600. What is in one was encrypted by an operator. */
enum { PAYLOAD_FILE_MAX = 1 << 30 };

/* Copies what came, durably, under its final name, if it has the size, digest, node and version that were announced. -EBADMSG. */
int payload_file_take(struct party_service *party, int fd, const char *node, const struct wire_payload *announced);
/* All files of the node but this version's (0: all), those of uploads that were cut short too. */
void payload_files_remove(struct party_service *party, const char *node, uint64_t but_version);
