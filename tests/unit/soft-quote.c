/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "soft-quote.h"

#include <openssl/bn.h>
#include <openssl/ec.h>
#include <openssl/ecdsa.h>

#include "base/macro.h"
#include "test.h"

static const uint8_t template_start[] = {
        0x00, 0x23, 0x00, 0x0b, 0x00, 0x05, 0x04, 0x72, 0x00, 0x00, 0x00, 0x10, 0x00, 0x18, 0x00, 0x0b, 0x00, 0x03, 0x00, 0x10,
};

void soft_ak_new(struct soft_ak *ret) {
        struct soft_ak ak = { .key = EVP_EC_gen("P-256") };
        struct buffer public = {};
        uint8_t point[65];
        size_t size;

        assert_non_null(ak.key);
        assert_int_equal(EVP_PKEY_get_octet_string_param(ak.key, "pub", point, sizeof(point), &size), 1);
        assert_int_equal(size, sizeof(point));

        buffer_append(&public, template_start, sizeof(template_start));
        for (size_t i = 0; i < 2; i++) {
                buffer_be16(&public, 32);
                buffer_append(&public, point + 1 + 32 * i, 32);
        }
        assert_int_equal(buffer_ok(&public), 0);
        ak.public = (struct blob){ .data = public.data, .size = public.size };
        assert_int_equal(ak_node_id(ak.public.data, ak.public.size, ak.id), 0);
        *ret = ak;
}

void soft_ak_done(struct soft_ak *ak) {
        EVP_PKEY_free(ak->key);
        blob_done(&ak->public);
        *ak = (struct soft_ak){};
}

void soft_evidence(struct wire_evidence *ret, struct soft_quote *ret_quote) {
        struct wire_evidence evidence = {
                .purpose = PURPOSE_BOOT,
                .nonce = { { 1, 2, 3 }, { 4, 5, 6 } },
                .has_nk = true,
                .nk = { 4, 7, 8 },
                .pcrs = { .n = 1, .banks[0] = { .alg = 0x0b, .mask = 0xfbff } },
        };

        for (unsigned pcr = 0; pcr < 15; pcr++)
                if (pcr != 10)
                        for (size_t i = 0; i < 32; i++)
                                evidence.pcrs.banks[0].values[pcr][i] = (uint8_t) (pcr * 17 + i);

        *ret = evidence;
        *ret_quote = (struct soft_quote){
                .magic = 0xff544347,
                .type = 0x8018,
                .reset = 7,
                .restart = 2,
                .n_selections = 1,
                .selections[0] = { 0x0b, 0xfbff, 0 },
        };
}

static void put_sized(struct buffer *buffer, const void *data, size_t size) {
        buffer_be16(buffer, (uint16_t) size);
        buffer_append(buffer, data, size);
}

static void put_extra(struct buffer *buffer, const struct soft_ak *ak, const struct soft_quote *quote,
                      const struct wire_evidence *evidence) {
        uint8_t extra[32];

        if (quote->extra_given) {
                put_sized(buffer, quote->extra, quote->extra_size);
                return;
        }
        assert_int_equal(wire_qualifying_data(ak->id, evidence->purpose, evidence->has_nk ? evidence->nk : NULL, evidence->nonce,
                                              &evidence->body, extra),
                         0);
        put_sized(buffer, extra, sizeof(extra));
}

static void put_digest(struct buffer *buffer, const struct soft_quote *quote, const struct wire_evidence *evidence) {
        struct buffer values = {};
        uint8_t digest[32];

        if (quote->digest_given) {
                put_sized(buffer, quote->digest, quote->digest_size);
                return;
        }
        for (size_t i = 0; i < quote->n_selections; i++) {
                const struct pcr_bank *bank = pcr_values_bank(&evidence->pcrs, quote->selections[i].alg);

                for (unsigned pcr = 0; bank && pcr < WIRE_PCRS; pcr++)
                        if (quote->selections[i].mask & (1U << pcr))
                                buffer_append(&values, bank->values[pcr], pcr_alg_size(bank->alg));
        }
        assert_int_equal(buffer_ok(&values), 0);
        assert_int_equal(sha256(values.data, values.size, digest), 0);
        buffer_done(&values);
        put_sized(buffer, digest, sizeof(digest));
}

void soft_attest(const struct soft_ak *ak, const struct soft_quote *quote, struct wire_evidence *evidence) {
        static const uint8_t signer[34] = { 0, 0x0b };
        struct buffer buffer = {};

        buffer_be32(&buffer, quote->magic);
        buffer_be16(&buffer, quote->type);
        put_sized(&buffer, signer, sizeof(signer));
        put_extra(&buffer, ak, quote, evidence);
        buffer_be64(&buffer, 612);
        buffer_be32(&buffer, quote->reset);
        buffer_be32(&buffer, quote->restart);
        buffer_u8(&buffer, 1);
        buffer_be64(&buffer, 0x2019102300163636);
        buffer_be32(&buffer, (uint32_t) quote->n_selections);
        for (size_t i = 0; i < quote->n_selections; i++) {
                uint8_t size = quote->selections[i].bitmap_size ? quote->selections[i].bitmap_size : 3;

                buffer_be16(&buffer, quote->selections[i].alg);
                buffer_u8(&buffer, size);
                for (uint8_t k = 0; k < size; k++)
                        buffer_u8(&buffer, k < 4 ? (uint8_t) (quote->selections[i].mask >> (8 * k)) : 0);
        }
        put_digest(&buffer, quote, evidence);
        buffer_append(&buffer, quote->tail.data, quote->tail.size);
        assert_int_equal(buffer_ok(&buffer), 0);

        blob_done(&evidence->attest);
        evidence->attest = (struct blob){ .data = buffer.data, .size = buffer.size };
}

void soft_sign(const struct soft_ak *ak, struct wire_evidence *evidence) {
        EVP_MD_CTX *context = EVP_MD_CTX_new();
        uint8_t der[80], number[32];
        const uint8_t *p = der;
        size_t size = sizeof(der);
        struct buffer buffer = {};
        ECDSA_SIG *signature;

        assert_non_null(context);
        assert_int_equal(EVP_DigestSignInit(context, NULL, EVP_sha256(), NULL, ak->key), 1);
        assert_int_equal(EVP_DigestSign(context, der, &size, evidence->attest.data, evidence->attest.size), 1);
        EVP_MD_CTX_free(context);
        signature = d2i_ECDSA_SIG(NULL, &p, (long) size);
        assert_non_null(signature);

        buffer_be16(&buffer, 0x0018);
        buffer_be16(&buffer, 0x000b);
        assert_int_equal(BN_bn2binpad(ECDSA_SIG_get0_r(signature), number, 32), 32);
        put_sized(&buffer, number, 32);
        assert_int_equal(BN_bn2binpad(ECDSA_SIG_get0_s(signature), number, 32), 32);
        put_sized(&buffer, number, 32);
        assert_int_equal(buffer_ok(&buffer), 0);
        ECDSA_SIG_free(signature);

        blob_done(&evidence->signature);
        evidence->signature = (struct blob){ .data = buffer.data, .size = buffer.size };
}
