/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <jansson.h>

#include "luks/luks.h"

/* Real LUKS2 files for tests, made by cryptsetup once for each program, copied for each test, edited as an attacker with the disk
 * would. */
struct luks_image {
        char *path;
        int slot; /* ours */
        struct secret *key, *passphrase, *volume_key;
        struct luks_header *header;
        struct luks_expected expected; /* of the image as it was */
        char error[256];
};

int luks_image_group_setup(void **state); /* makes the template: passphrase in slot 0, ours in slot 1, a live token */
int luks_image_group_teardown(void **state);
int luks_image_setup(void **state); /* *state: struct luks_image, a fresh copy, described */
int luks_image_teardown(void **state);
void luks_image_read(struct luks_image *image); /* reads the header again */
int luks_image_open(struct luks_image *image);  /* check and test the key against what was described */

/* Changes the JSON of both copies, and makes the checksums right again. */
typedef void (*luks_image_edit)(json_t *json);
void luks_image_edit_json(const char *path, luks_image_edit edit);
/* Replaces the JSON text of one copy (0 or 1) and sets its seqid, where not 0; the checksum is right. */
void luks_image_write_copy(const char *path, int copy, const char *text, uint64_t seqid);
char *luks_image_read_text(const char *path, int copy);
void luks_image_patch(const char *path, uint64_t offset, const void *data, size_t size);
void run(const char *format, ...) _printf_(1, 2); /* a shell command that must succeed; %s is not quoted */
const char *luks_image_directory(void);

/* A token as it should be, for tests to break. */
json_t *luks_image_token(int slot, const char *state);
#define NODE_ID_A "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define NODE_ID_B "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbba"
#define KEY_ID_A "00112233445566778899aabbccddeeff"
