/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "pkcs11/internal.h"

#include <string.h>

#include "crypto/internal.h"

/* A program that tries again, with the PIN of its configuration, would lock the token: so that it need not remember, it is
 * remembered here, for as long as the process lives, also when the token is opened anew. */
enum { REFUSED_MAX = 32 };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static uint8_t key[32];
static bool has_key;
static struct refused {
        char serial[17], label[33];
        uint8_t tag[SHA256_SIZE];
} refused[REFUSED_MAX];
static size_t n_refused;

static bool is_of(const struct refused *one, const struct pkcs11 *pkcs11) {
        return strcmp(one->serial, pkcs11->serial) == 0 && strcmp(one->label, pkcs11->label) == 0;
}

static int tag_of(const struct secret *pin, uint8_t ret[static SHA256_SIZE]) {
        if (!has_key && random_bytes(key, sizeof(key)) < 0)
                return -EIO;
        has_key = true;
        return hmac_parts(HASH_SHA256, key, sizeof(key), PARTS({ pin->data, pin->size }), ret);
}

bool refused_has(const struct pkcs11 *pkcs11, const struct secret *pin) {
        uint8_t tag[SHA256_SIZE];
        bool has = false;

        (void) pthread_mutex_lock(&lock);
        if (n_refused > 0 && tag_of(pin, tag) >= 0)
                for (size_t i = 0; i < n_refused; i++)
                        has = has || (is_of(refused + i, pkcs11) && memcmp(refused[i].tag, tag, sizeof(tag)) == 0);
        (void) pthread_mutex_unlock(&lock);
        return has;
}

void refused_add(const struct pkcs11 *pkcs11, const struct secret *pin) {
        struct refused one = {};

        (void) pthread_mutex_lock(&lock);
        memcpy(one.serial, pkcs11->serial, sizeof(one.serial));
        memcpy(one.label, pkcs11->label, sizeof(one.label));
        if (tag_of(pin, one.tag) >= 0) {
                if (n_refused == REFUSED_MAX)
                        memmove(refused, refused + 1, --n_refused * sizeof(*refused));
                refused[n_refused++] = one;
        }
        (void) pthread_mutex_unlock(&lock);
}

void refused_clear(const struct pkcs11 *pkcs11) {
        size_t kept = 0;

        (void) pthread_mutex_lock(&lock);
        for (size_t i = 0; i < n_refused; i++)
                if (!is_of(refused + i, pkcs11))
                        refused[kept++] = refused[i];
        n_refused = kept;
        (void) pthread_mutex_unlock(&lock);
}
