/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "keystore/recovery.h"

#include <stdio.h>
#include <string.h>

#include "crypto/crypto.h"
#include "keystore/internal.h"
#include "keystore/master-tpm.h"

enum { SECRET_SIZE = 32, CHECK_SIZE = 3, TEXT_BYTES = SECRET_SIZE + CHECK_SIZE, TEXT_DIGITS = TEXT_BYTES * 8 / 5, GROUP = 4 };

/* base/encode.h is not for secrets. No tables: their look-ups would depend on the key. */
static uint8_t digit(unsigned value) {
        return (uint8_t) ('a' + value - ((25U - value) >> 31) * ('a' + 26U - '2'));
}

static int digit_value(uint8_t c) {
        int value = -1;

        value += (('A' - 1 - c) & (c - ('Z' + 1))) >> 31 & (c - 'A' + 1);
        value += (('a' - 1 - c) & (c - ('z' + 1))) >> 31 & (c - 'a' + 1);
        value += (('2' - 1 - c) & (c - ('7' + 1))) >> 31 & (c - '2' + 27);
        return value;
}

static int checksum(const uint8_t secret[static SECRET_SIZE], uint8_t ret[static CHECK_SIZE]) {
        uint8_t digest[SHA256_SIZE];
        int r;

        r = fields_sha256(FIELDS(field_text("tallyboot keystore recovery v1"), field_bytes(secret, SECRET_SIZE)), digest);
        if (r >= 0)
                memcpy(ret, digest, CHECK_SIZE);
        memory_wipe(digest, sizeof(digest));
        return r;
}

int recovery_write(const struct secret *secret, struct secret **ret) {
        _cleanup_(secret_freep) struct secret *bytes = NULL, *text = NULL;
        size_t at = 0;
        int r;

        if (secret->size != SECRET_SIZE)
                return -EINVAL;
        r = secret_new(TEXT_BYTES, &bytes);
        if (r >= 0)
                r = secret_new(RECOVERY_TEXT, &text);
        if (r < 0)
                return r;
        memcpy(bytes->data, secret->data, SECRET_SIZE);
        r = checksum(secret->data, bytes->data + SECRET_SIZE);
        if (r < 0)
                return r;

        for (unsigned i = 0; i < TEXT_DIGITS; i++) {
                unsigned bit = i * 5, value = (unsigned) bytes->data[bit / 8] << 8;

                if (bit / 8 + 1 < TEXT_BYTES)
                        value |= bytes->data[bit / 8 + 1];
                if (i > 0 && i % GROUP == 0)
                        text->data[at++] = '-';
                text->data[at++] = digit(value >> (11 - bit % 8) & 31);
        }
        *ret = TAKE_PTR(text);
        return 0;
}

static bool is_filler(uint8_t c) {
        return c == '-' || c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

int recovery_parse(const struct secret *text, struct secret **ret) {
        _cleanup_(secret_freep) struct secret *bytes = NULL;
        uint8_t expected[CHECK_SIZE];
        unsigned bits = 0, n_bits = 0;
        size_t digits = 0, at = 0;
        int r;

        r = secret_new(TEXT_BYTES, &bytes);
        if (r < 0)
                return r;

        for (size_t i = 0; i < text->size; i++) {
                int value;

                if (is_filler(text->data[i]))
                        continue;
                value = digit_value(text->data[i]);
                if (value < 0 || ++digits > TEXT_DIGITS)
                        return -EBADMSG;
                bits = (bits << 5 | (unsigned) value) & 0xffff;
                n_bits += 5;
                if (n_bits >= 8) {
                        n_bits -= 8;
                        bytes->data[at++] = (uint8_t) (bits >> n_bits);
                }
        }
        memory_wipe(&bits, sizeof(bits));
        if (digits != TEXT_DIGITS)
                return -EBADMSG;
        r = checksum(bytes->data, expected);
        if (r < 0)
                return r;
        if (!bytes_equal_ct(expected, bytes->data + SECRET_SIZE, CHECK_SIZE))
                return -EILSEQ;

        return secret_copy(bytes->data, SECRET_SIZE, ret);
}

struct tpm_row {
        int64_t id;
        struct blob parameters;
};

static int read_row(struct store_txn *txn, void *userdata) {
        struct tpm_row *row = userdata;
        int r;

        r = keystore_get_int(txn, "SELECT MAX(id) FROM keystore_masters WHERE kind = 'tpm'", STORE_NO_ARGS, &row->id);
        if (r < 0)
                return r;
        return keystore_get_blob(txn, "SELECT parameters FROM keystore_masters WHERE id = $1", STORE_ARGS(store_int(row->id)),
                                 &row->parameters);
}

static int write_row(struct store_txn *txn, void *userdata) {
        const struct tpm_row *row = userdata;
        int64_t changes;
        int r;

        r = store_exec(txn, "UPDATE keystore_masters SET parameters = $1 WHERE id = $2 AND kind = 'tpm'",
                       STORE_ARGS(store_blob(row->parameters.data, row->parameters.size), store_int(row->id)), &changes);
        return r < 0 ? r : changes == 1 ? 0 : -ENOENT;
}

int keystore_recovery_secret(struct store *store, struct secret **ret) {
        struct tpm_row row = {};
        int r;

        r = store_read(store, read_row, &row);
        if (r >= 0) {
                r = master_tpm_secret(&row.parameters, ret);
                if (r == -ENOENT)
                        r = -ENODATA;
        }
        blob_done(&row.parameters);
        return r;
}

/* Opens the keystore by it: nothing else knows whether it is the right one. A secret that this boot had before comes back if it
 * is not. */
static int try_secret(const struct keystore_options *options, struct store *store, const char *party,
                      const struct blob *parameters, const struct secret *secret, char *error, size_t error_size) {
        _cleanup_(keystore_closep) struct keystore *keystore = NULL;
        _cleanup_(secret_freep) struct secret *before = NULL;
        char words[512] = "";
        int r;

        (void) master_tpm_secret(parameters, &before);
        if (secret) {
                r = master_tpm_remember(parameters, secret, error, error_size);
                if (r < 0)
                        return r;
        }
        r = keystore_open(options, store, party, &keystore, words, sizeof(words));
        if (r >= 0)
                return 0;

        if (secret && before)
                (void) master_tpm_remember(parameters, before, error, error_size);
        else if (secret)
                master_tpm_forget(parameters);
        (void) snprintf(error, error_size, "%s%s",
                        r == -EKEYREJECTED ? "this is not the phrase of this database's master key: " : "", words);
        return r;
}

int keystore_recover(const struct keystore_options *options, struct store *store, const char *party, const struct secret *secret,
                     char *error, size_t error_size) {
        _cleanup_(blob_done) struct blob anew = {};
        struct tpm_row row = {};
        int r;

        r = store_read(store, read_row, &row);
        if (r == -ENOENT)
                (void) snprintf(error, error_size, "this database has no master key in a TPM");
        else if (r < 0)
                (void) snprintf(error, error_size, "the database cannot be read: %s", strerror(-r));
        if (r >= 0)
                r = try_secret(options, store, party, &row.parameters, secret, error, error_size);
        if (r >= 0)
                r = master_tpm_reseal(options, &row.parameters, &anew, error, error_size);
        blob_done(&row.parameters);
        if (r < 0)
                return r;

        row.parameters = anew;
        r = store_write(store, write_row, &row);
        if (r < 0)
                (void) snprintf(error, error_size, "the database cannot be written: %s", strerror(-r));
        return r;
}
