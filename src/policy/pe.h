/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "base/buffer.h"
#include "wire/wire.h"

/* PE/COFF images, as UEFI firmware reads them: Microsoft's "PE Format" and "Windows Authenticode Portable Executable Signature
 * Format". Pure, bounded: nothing is followed, everything is inside the bytes or refused. */

enum { PE_SECTIONS_MAX = 96, PE_SIZE_MAX = 512 * 1024 * 1024 };

struct pe_section {
        char name[9];
        uint32_t virtual_address, virtual_size;
        uint32_t raw_offset, raw_size; /* in the file */
};

struct pe {
        const uint8_t *data; /* borrowed */
        size_t size;
        uint32_t headers_size;
        size_t checksum_offset;     /* 4 bytes that a digest leaves out */
        size_t security_offset;     /* 8 bytes of the directory entry, that a digest leaves out; 0: there is none */
        uint32_t certificates_size; /* at the end of the file */
        struct pe_section sections[PE_SECTIONS_MAX];
        size_t n_sections;
};

/* -EBADMSG with words in error. */
int pe_parse(const void *data, size_t size, struct pe *ret, char *error, size_t error_size);
/* What the firmware extends PCR 4 with when it loads the image. bank: SHA-256 or SHA-384. */
int pe_authenticode(const struct pe *pe, uint16_t bank, uint8_t ret[static WIRE_DIGEST_MAX]);
/* -ENOENT; -ENOTUNIQ: more than one. */
int pe_find(const struct pe *pe, const char *name, const struct pe_section **ret);
/* The section as it is in memory: virtual_size bytes, zeros after what the file has. */
int pe_content(const struct pe *pe, const struct pe_section *section, struct blob *ret);
