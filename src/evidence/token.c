/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "evidence/token.h"

#include <openssl/ecdsa.h>
#include <openssl/evp.h>
#include <openssl/rsa.h>
#include <stdio.h>
#include <string.h>

#include "base/secret.h"
#include "crypto/credential.h"

enum { DER_INTEGER = 0x02, DER_BIT_STRING = 0x03, DER_SEQUENCE = 0x30, PSS_SALT_SIZE = 32 };

/* RFC 5480, 2.1.1 and 2.2: all that comes before the point is fixed. */
static const uint8_t p256_head[] = { 0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06,
                                     0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00, 0x04 };
static const uint8_t p384_head[] = { 0x30, 0x76, 0x30, 0x10, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02,
                                     0x01, 0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x22, 0x03, 0x62, 0x00, 0x04 };
/* RFC 3279, 2.3.1: rsaEncryption, whose parameters are NULL. */
static const uint8_t rsa_algorithm[] = {
        0x30, 0x0d, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01, 0x05, 0x00
};

static const struct curve {
        enum token_type type;
        const char *name;
        unsigned bits;
        const uint8_t *head; /* the last byte of it is the first of the point */
        size_t head_size;
} curves[] = {
        { TOKEN_P256, "P-256", 256, p256_head, sizeof(p256_head) },
        { TOKEN_P384, "P-384", 384, p384_head, sizeof(p384_head) },
};

static size_t field_size(const struct curve *curve) {
        return curve->bits / 8;
}

static const struct curve *curve_of(const uint8_t *public, size_t size) {
        for (size_t i = 0; i < ELEMENTSOF(curves); i++)
                if (size == curves[i].head_size + 2 * field_size(curves + i) &&
                    memcmp(public, curves[i].head, curves[i].head_size) == 0)
                        return curves + i;
        return NULL;
}

/* X.690, 8.1 and 10.1: a tag, a length in as few bytes as it needs, the content. */
static int read_der(struct reader *reader, uint8_t tag, struct reader *ret) {
        uint8_t got, first, byte;
        size_t length = 0;
        int r;

        if ((r = reader_u8(reader, &got)) < 0 || (r = reader_u8(reader, &first)) < 0)
                return r;
        if (got != tag || first > 0x82 || first == 0x80)
                return -EBADMSG;

        for (unsigned i = 0; i < (first & 0x7fU) && first >= 0x80; i++) {
                if ((r = reader_u8(reader, &byte)) < 0)
                        return r;
                length = length << 8 | byte;
        }
        if (first < 0x80)
                length = first;
        else if (length < (first == 0x81 ? 0x80U : 0x100U))
                return -EBADMSG;

        ret->left = length;
        return reader_bytes(reader, length, &ret->data);
}

/* 8.3: a positive number without a byte too many. ret: without the zero byte that keeps it positive. */
static int read_positive(struct reader *reader, struct reader *ret) {
        struct reader number;
        int r;

        r = read_der(reader, DER_INTEGER, &number);
        if (r < 0)
                return r;
        if (number.left == 0 || number.data[0] & 0x80)
                return -EBADMSG;
        if (number.data[0] == 0) {
                if (number.left < 2 || !(number.data[1] & 0x80))
                        return -EBADMSG;
                number.data++;
                number.left--;
        }
        *ret = number;
        return 0;
}

/* RFC 8017, A.1.1, in the bit string of RFC 5280, 4.1.2.7. */
static int rsa_parse(struct reader *public, struct token_key *ret) {
        struct reader bits, sequence, modulus, exponent;
        uint8_t unused;
        int r;

        if ((r = read_der(public, DER_BIT_STRING, &bits)) < 0 || (r = reader_u8(&bits, &unused)) < 0 ||
            (r = read_der(&bits, DER_SEQUENCE, &sequence)) < 0 || (r = read_positive(&sequence, &modulus)) < 0 ||
            (r = read_positive(&sequence, &exponent)) < 0)
                return r;
        if (unused != 0 || public->left != 0 || bits.left != 0 || sequence.left != 0)
                return -EBADMSG;
        if (modulus.left < RSA_SIZE_MIN || modulus.left > RSA_SIZE_MAX || !(modulus.data[0] & 0x80) || exponent.left > 4)
                return -EOPNOTSUPP;

        *ret = (struct token_key){ TOKEN_RSA, 8 * (unsigned) modulus.left, modulus.data, modulus.left, 0 };
        for (size_t i = 0; i < exponent.left; i++)
                ret->exponent = ret->exponent << 8 | exponent.data[i];
        return 0;
}

static int key_read(const void *public, size_t size, struct token_key *ret) {
        const struct curve *curve = curve_of(public, size);
        struct reader reader = { .data = public, .left = size }, whole;
        int r;

        if (curve) {
                *ret = (struct token_key){ curve->type, curve->bits, (const uint8_t *) public + curve->head_size - 1,
                                           1 + 2 * field_size(curve), 0 };
                return 0;
        }

        r = read_der(&reader, DER_SEQUENCE, &whole);
        if (r < 0 || reader.left != 0)
                return -EBADMSG;
        if (whole.left < sizeof(rsa_algorithm) || memcmp(whole.data, rsa_algorithm, sizeof(rsa_algorithm)) != 0)
                return -EOPNOTSUPP;
        whole.data += sizeof(rsa_algorithm);
        whole.left -= sizeof(rsa_algorithm);
        return rsa_parse(&whole, ret);
}

static int key_load(const struct token_key *key, EVP_PKEY **ret) {
        if (key->type == TOKEN_RSA)
                return pubkey_from_rsa(key->value, key->value_size, key->exponent, ret);
        return pubkey_from_point(key->type == TOKEN_P256 ? "P-256" : "P-384", key->value, key->value_size, ret);
}

int token_key_parse(const void *public, size_t size, struct token_key *ret) {
        struct token_key key;
        EVP_PKEY *loaded;
        int r;

        if (!public)
                return -EBADMSG;
        r = key_read(public, size, &key);
        if (r < 0)
                return r;
        r = key_load(&key, &loaded);
        if (r < 0)
                return r;

        EVP_PKEY_free(loaded);
        *ret = key;
        return 0;
}

void token_key_name(const struct token_key *key, char ret[static TOKEN_NAME_SIZE]) {
        (void) snprintf(ret, TOKEN_NAME_SIZE, "%s-%u", key->type == TOKEN_RSA ? "RSA" : "P", key->bits);
}

int token_node_id(const void *public, size_t size, uint8_t ret_digest[static SHA256_SIZE],
                  char ret_id[static NODE_ID_LENGTH + 1]) {
        int r;

        r = sha256(public, size, ret_digest);
        return r < 0 ? r : node_id_from_digest(ret_digest, ret_id);
}

/* r || s as the SEQUENCE of two INTEGERs that OpenSSL wants. */
static int ecdsa_to_der(const struct blob *signature, struct blob *ret) {
        size_t half = signature->size / 2;
        BIGNUM *r = BN_bin2bn(signature->data, (int) half, NULL), *s = BN_bin2bn(signature->data + half, (int) half, NULL);
        ECDSA_SIG *pair = ECDSA_SIG_new();
        uint8_t *der = NULL;
        int n = -1;

        if (pair && r && s && ECDSA_SIG_set0(pair, r, s) == 1) {
                r = s = NULL;
                n = i2d_ECDSA_SIG(pair, &der);
        }
        if (n > 0)
                n = blob_copy(der, (size_t) n, ret) < 0 ? -1 : 0;
        OPENSSL_free(der);
        ECDSA_SIG_free(pair);
        BN_free(r);
        BN_free(s);
        return n < 0 ? -ENOMEM : 0;
}

/* Why a signature is not right is nobody's business. */
static int verify(EVP_PKEY *key, bool pss, const EVP_MD *md, const struct blob *message, const struct blob *signature) {
        EVP_MD_CTX *ctx = EVP_MD_CTX_new();
        EVP_PKEY_CTX *parameters; /* of ctx */
        bool good;

        if (!ctx)
                return -ENOMEM;
        good = EVP_DigestVerifyInit(ctx, &parameters, md, NULL, key) == 1 &&
               (!pss || (EVP_PKEY_CTX_set_rsa_padding(parameters, RSA_PKCS1_PSS_PADDING) == 1 &&
                         EVP_PKEY_CTX_set_rsa_mgf1_md(parameters, EVP_sha256()) == 1 &&
                         EVP_PKEY_CTX_set_rsa_pss_saltlen(parameters, PSS_SALT_SIZE) == 1)) &&
               EVP_DigestVerify(ctx, signature->data, signature->size, message->data, message->size) == 1;
        EVP_MD_CTX_free(ctx);
        return good ? 0 : -EKEYREJECTED;
}

int token_verify(const struct blob *public, const struct blob *message, const struct blob *signature) {
        _cleanup_(blob_done) struct blob der = {};
        EVP_PKEY *loaded = NULL;
        struct token_key key;
        int r;

        r = public->data ? key_read(public->data, public->size, &key) : -EBADMSG;
        if (r < 0)
                return r;
        if (signature->size != (key.type == TOKEN_RSA ? key.value_size : key.value_size - 1))
                return -EKEYREJECTED;

        if (key.type != TOKEN_RSA) {
                r = ecdsa_to_der(signature, &der);
                if (r < 0)
                        return r;
        }
        r = key_load(&key, &loaded);
        if (r >= 0)
                r = verify(loaded, key.type == TOKEN_RSA, key.type == TOKEN_P384 ? EVP_sha384() : EVP_sha256(), message,
                           key.type == TOKEN_RSA ? signature : &der);
        EVP_PKEY_free(loaded);
        return r;
}
