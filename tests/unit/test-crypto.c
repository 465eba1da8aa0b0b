/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Primitives against the vectors of their RFCs, names, and what is refused. */
#include "test.h"

#include "base/encode.h"
#include "crypto/internal.h"

static struct secret *secret_hex(const char *hex) {
        struct secret *secret;

        assert_int_equal(secret_new(strlen(hex) / 2, &secret), 0);
        assert_int_equal(hex_decode(hex, secret->data, secret->size), 0);
        return secret;
}

static void equal_hex(const void *data, size_t size, const char *hex) {
        _cleanup_(freep) char *text = hex_encode(data, size);

        assert_string_equal(text, hex);
}

/* FIPS 180-4's "abc", RFC 4231's test cases 1, 2, 6. */
static void digests_and_macs(void **state) {
        uint8_t digest[64], long_key[131];

        assert_int_equal(sha256("abc", 3, digest), 0);
        equal_hex(digest, 32, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        assert_int_equal(sha256(NULL, 0, digest), 0);
        equal_hex(digest, 32, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");

        assert_int_equal(hmac_sha256("Jefe", 4, "what do ya want for nothing?", 28, digest), 0);
        equal_hex(digest, 32, "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
        memset(long_key, 0xaa, sizeof(long_key));
        assert_int_equal(
                hmac_sha256(long_key, sizeof(long_key), "Test Using Larger Than Block-Size Key - Hash Key First", 54, digest), 0);
        equal_hex(digest, 32, "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54");
        assert_int_equal(hmac_sha256(NULL, 0, "", 0, digest), 0);
        equal_hex(digest, 32, "b613679a0814d9ec772f95d778c35fc5ff1697c493715653c6c712144292c5ad");

        assert_int_equal(hmac_parts(HASH_SHA384, "Jefe", 4, PARTS({ "what do ya want ", 16 }, { "for nothing?", 12 }), digest),
                         0);
        equal_hex(digest, 48, "af45d2e376484031617f78d2b58a6b1b9c7ef464f5a01b47e42ec3736322445e8e2240ca5e69e2c78b3239ecfab21649");
}

/* RFC 5869, A.1 to A.3 */
static void hkdf(void **state) {
        static const struct {
                const char *ikm;
                size_t salt_size, info_size, size;
                const char *okm;
        } rows[] = {
                { "0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b", 13, 10, 42,
                  "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865" },
                { "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f202122232425262728292a2b2c2d2e2f3031323334353637"
                  "38393a3b3c3d3e3f404142434445464748494a4b4c4d4e4f",
                  80, 80, 82,
                  "b11e398dc80327a1c8e7f78c596a49344f012eda2d4efad8a050cc4c19afa97c59045a99cac7827271cb41c65e590e09da3275600c2f09b8"
                  "367793a9aca3db71cc30c58179ec3e87c14c01d5c1f3434f1d87" },
                { "0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b", 0, 0, 42,
                  "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d9d201395faa4b61a96c8" },
        };
        struct secret *okm;

        for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
                _cleanup_(secret_freep) struct secret *ikm = secret_hex(rows[i].ikm);
                uint8_t salt[80], info[80];

                for (uint8_t j = 0; j < 80; j++) {
                        salt[j] = (uint8_t) (j + (i == 1 ? 0x60 : 0));
                        info[j] = (uint8_t) (j + (i == 1 ? 0xb0 : 0xf0));
                }
                assert_int_equal(hkdf_sha256(ikm, salt, rows[i].salt_size, info, rows[i].info_size, rows[i].size, &okm), 0);
                equal_hex(okm->data, okm->size, rows[i].okm);
                secret_free(okm);

                assert_int_equal(hkdf_sha256(ikm, NULL, 0, NULL, 0, 255 * 32 + 1, &okm), -EINVAL);
                assert_int_equal(hkdf_sha256(ikm, NULL, 0, NULL, 0, 255 * 32, &okm), 0);
                secret_free(okm);
        }
}

/* The Galois/Counter Mode of Operation (McGrew, Viega), test cases 13, 14, 16. */
static void aead_vectors(void **state) {
        _cleanup_(secret_freep) struct secret *key = NULL;
        uint8_t zero[32] = {}, sealed[80], plain[64], nonce[12], data[60], aad[20];

        assert_int_equal(aead_seal(zero, zero, NULL, 0, NULL, 0, sealed), 0);
        equal_hex(sealed, 16, "530f8afbc74536b9a963b4f1c4cb738b");
        assert_int_equal(aead_open(zero, zero, NULL, 0, sealed, 16, plain), 0);
        assert_int_equal(aead_seal(zero, zero, NULL, 0, zero, 16, sealed), 0);
        equal_hex(sealed, 32, "cea7403d4d606b6e074ec5d3baf39d18d0d1c8a799996bf0265b98b5d48ab919");

        key = secret_hex("feffe9928665731c6d6a8f9467308308feffe9928665731c6d6a8f9467308308");
        assert_int_equal(hex_decode("cafebabefacedbaddecaf888", nonce, 12), 0);
        assert_int_equal(hex_decode("feedfacedeadbeeffeedfacedeadbeefabaddad2", aad, 20), 0);
        assert_int_equal(
                hex_decode("d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a721c3c0c95956809532fcf0e2449a6b525b"
                           "16aedf5aa0de657ba637b39",
                           data, 60),
                0);
        assert_int_equal(aead_seal(key->data, nonce, aad, 20, data, 60, sealed), 0);
        equal_hex(
                sealed, 76,
                "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0ab"
                "cc9f66276fc6ece0f4e1768cddf8853bb2d551b");
        assert_int_equal(aead_open(key->data, nonce, aad, 20, sealed, 76, plain), 0);
        assert_memory_equal(plain, data, 60);
}

static void aead_refuses(void **state) {
        uint8_t key[32] = { 1 }, nonce[12] = { 2 }, sealed[48], plain[32];

        assert_int_equal(aead_seal(key, nonce, "aad", 3, "0123456789abcdef0123456789abcdef", 32, sealed), 0);
        for (size_t i = 0; i < sizeof(sealed); i++) {
                sealed[i] ^= 0x10;
                memset(plain, 0x77, sizeof(plain));
                assert_int_equal(aead_open(key, nonce, "aad", 3, sealed, 48, plain), -EBADMSG);
                for (size_t j = 0; j < sizeof(plain); j++)
                        assert_int_equal(plain[j], 0); /* nothing of it is left */
                sealed[i] ^= 0x10;
        }
        assert_int_equal(aead_open(key, nonce, "aae", 3, sealed, 48, plain), -EBADMSG);
        assert_int_equal(aead_open(key, nonce, NULL, 0, sealed, 48, plain), -EBADMSG);
        assert_int_equal(aead_open(key, nonce, "aad", 3, sealed, 47, plain), -EBADMSG);
        assert_int_equal(aead_open(key, nonce, "aad", 3, sealed, 15, plain), -EBADMSG);
        assert_int_equal(aead_open(key, nonce, "aad", 3, sealed, 0, plain), -EBADMSG);
        nonce[11] ^= 1;
        assert_int_equal(aead_open(key, nonce, "aad", 3, sealed, 48, plain), -EBADMSG);
        nonce[11] ^= 1;
        assert_int_equal(aead_open(key, nonce, "aad", 3, sealed, 48, plain), 0);
        assert_memory_equal(plain, "0123456789abcdef0123456789abcdef", 32);
}

/* RFC 9180, A.3: DHKEM(P-256, HKDF-SHA256), HKDF-SHA256, AES-128-GCM. The key's size is all that our suite changes. */
struct hpke_row {
        const char *ephemeral_scalar, *ephemeral_public, *scalar, *public;
        struct hpke_psk psk;
        const char *ct[3];
};

static const uint8_t PSK[] = { 0x02, 0x47, 0xfd, 0x33, 0xb9, 0x13, 0x76, 0x0f, 0xa1, 0xfa, 0x51, 0xe1, 0x89, 0x2d, 0x9f, 0x30,
                               0x7f, 0xbe, 0x65, 0xeb, 0x17, 0x1e, 0x81, 0x32, 0xc2, 0xaf, 0x18, 0x55, 0x5a, 0x73, 0x8b, 0x82 };
static const char INFO[] = "Ode on a Grecian Urn", PLAIN[] = "Beauty is truth, truth beauty";

static const struct hpke_row hpke_rows[] = {
        { "4995788ef4b9d6132b249ce59a77281493eb39af373d236a1fe415cb0c2d7beb",
          "04a92719c6195d5085104f469a8b9814d5838ff72b60501e2c4466e5e67b325ac98536d7b61a1af4b78e5b7f951c0900be863c403ce65c9bfcb93826572"
          "22d18c4",
          "f3ce7fdae57e1a310d87f1ebbde6f328be0a99cdbcadf4d6589cf29de4b8ffd2",
          "04fe8c19ce0905191ebc298a9245792531f26f0cece2460639e8bc39cb7f706a826a779b4cf969b8a0e539c7f62fb3d30ad6aa8f80e30f1d128aafd68a2"
          "ce72ea0",
          {},
          { "5ad590bb8baa577f8619db35a36311226a896e7342a6d836d8b7bcd2f20b6c7f9076ac232e3ab2523f39513434",
            "fa6f037b47fc21826b610172ca9637e82d6e5801eb31cbd3748271affd4ecb06646e0329cbdf3c3cd655b28e82",
            "895cabfac50ce6c6eb02ffe6c048bf53b7f7be9a91fc559402cbc5b8dcaeb52b2ccc93e466c28fb55fed7a7fec" } },
        { "57427244f6cc016cddf1c19c8973b4060aa13579b4c067fd5d93a5d74e32a90f",
          "04305d35563527bce037773d79a13deabed0e8e7cde61eecee403496959e89e4d0ca701726696d1485137ccb5341b3c1c7aaee90a4a02449725e744b119"
          "3b53b5f",
          "438d8bcef33b89e0e9ae5eb0957c353c25a94584b0dd59c991372a75b43cb661",
          "040d97419ae99f13007a93996648b2674e5260a8ebd2b822e84899cd52d87446ea394ca76223b76639eccdf00e1967db10ade37db4e7db476261fcc8df9"
          "7c5ffd1",
          { PSK, sizeof(PSK), "Ennyn Durin aran Moria", 22 },
          { "90c4deb5b75318530194e4bb62f890b019b1397bbf9d0d6eb918890e1fb2be1ac2603193b60a49c2126b75d0eb",
            "9e223384a3620f4a75b5a52f546b7262d8826dea18db5a365feb8b997180b22d72dc1287f7089a1073a7102c27",
            "adf9f6000773035023be7d415e13f84c1cb32a24339a32eb81df02be9ddc6abc880dd81cceb7c1d0c7781465b2" } },
};

static struct keypair *keypair_hex(const char *scalar, const char *public) {
        struct keypair *keypair = calloc(1, sizeof(*keypair));

        assert_non_null(keypair);
        keypair->scalar = secret_hex(scalar);
        assert_int_equal(hex_decode(public, keypair->public, POINT_SIZE), 0);
        return keypair;
}

static void hpke_rfc_9180(void **state) {
        const struct part info = { INFO, strlen(INFO) };

        for (size_t i = 0; i < ELEMENTSOF(hpke_rows); i++) {
                const struct hpke_row *row = hpke_rows + i;
                const struct hpke_psk *psk = row->psk.psk ? &row->psk : NULL;
                _cleanup_(keypair_freep) struct keypair *ephemeral = keypair_hex(row->ephemeral_scalar, row->ephemeral_public);
                _cleanup_(keypair_freep) struct keypair *keypair = keypair_hex(row->scalar, row->public);
                _cleanup_(hpke_freep) struct hpke *sender = NULL, *receiver = NULL;

                assert_int_equal(hpke_sender_with(ephemeral, 16, keypair->public, &info, psk, &sender), 0);
                assert_int_equal(hpke_receiver_with(keypair, 16, ephemeral->public, &info, psk, &receiver), 0);
                for (unsigned n = 0; n < 3; n++) {
                        _cleanup_(secret_freep) struct secret *plain = NULL;
                        _cleanup_(blob_done) struct blob sealed = {};
                        char aad[] = { 'C', 'o', 'u', 'n', 't', '-', (char) ('0' + n) };

                        assert_int_equal(hpke_seal(sender, aad, sizeof(aad), PLAIN, strlen(PLAIN), &sealed), 0);
                        equal_hex(sealed.data, sealed.size, row->ct[n]);
                        assert_int_equal(hpke_open(receiver, aad, sizeof(aad), sealed.data, sealed.size, &plain), 0);
                        assert_int_equal(plain->size, strlen(PLAIN));
                        assert_memory_equal(plain->data, PLAIN, plain->size);
                }
        }
}

/* ikmE, ikmR of A.3.1 */
static void derive_key_pair_rfc_9180(void **state) {
        static const char *const ikms[] = { "4270e54ffd08d79d5928020af4686d8f6b7d35dbe470265f1f5aa22816ce860e",
                                            "668b37171f1072f3cf12ea8a236a45df23fc13b82af3609ad1e354f6ef817550" };

        for (unsigned i = 0; i < 2; i++) {
                _cleanup_(secret_freep) struct secret *ikm = secret_hex(ikms[i]);
                _cleanup_(keypair_freep) struct keypair *keypair = NULL;

                assert_int_equal(keypair_derive(ikm, &keypair), 0);
                equal_hex(keypair->scalar->data, 32, i == 0 ? hpke_rows[0].ephemeral_scalar : hpke_rows[0].scalar);
                equal_hex(keypair->public, POINT_SIZE, i == 0 ? hpke_rows[0].ephemeral_public : hpke_rows[0].public);
        }
}

struct pair {
        struct keypair *keypair;
        uint8_t enc[POINT_SIZE];
        struct hpke *sender;
        struct blob sealed;
};

static void pair_begin(struct pair *pair, const struct hpke_psk *psk) {
        *pair = (struct pair){};
        assert_int_equal(keypair_generate(&pair->keypair), 0);
        assert_int_equal(hpke_sender(pair->keypair->public, "info", 4, psk, pair->enc, &pair->sender), 0);
        assert_int_equal(hpke_seal(pair->sender, "aad", 3, "half", 4, &pair->sealed), 0);
        assert_int_equal(pair->sealed.size, 20);
}

static void pair_done(struct pair *pair) {
        hpke_free(pair->sender);
        keypair_free(pair->keypair);
        blob_done(&pair->sealed);
}

/* What hpke_open() says to a receiver of its own. */
static int opened(const struct pair *pair, const struct keypair *keypair, const char *info, const struct hpke_psk *psk,
                  const char *aad) {
        _cleanup_(hpke_freep) struct hpke *receiver = NULL;
        _cleanup_(secret_freep) struct secret *plain = NULL;
        int r;

        assert_int_equal(hpke_receiver(keypair, pair->enc, info, strlen(info), psk, &receiver), 0);
        r = hpke_open(receiver, aad, strlen(aad), pair->sealed.data, pair->sealed.size, &plain);
        assert_true((r == 0) == (plain != NULL));
        if (r == 0)
                assert_memory_equal(plain->data, "half", 4);
        return r;
}

static void hpke_refuses_what_differs(void **state) {
        const struct hpke_psk psk = { PSK, 32, "id", 2 }, other_id = { PSK, 32, "ie", 2 };
        uint8_t other_psk[32] = { 1 };
        const struct hpke_psk other = { other_psk, 32, "id", 2 };
        _cleanup_(keypair_freep) struct keypair *stranger = NULL;
        _cleanup_(pair_done) struct pair base = {}, with = {};

        assert_int_equal(keypair_generate(&stranger), 0);
        pair_begin(&base, NULL);
        assert_int_equal(opened(&base, base.keypair, "info", NULL, "aad"), 0);
        assert_int_equal(opened(&base, base.keypair, "infp", NULL, "aad"), -EBADMSG);
        assert_int_equal(opened(&base, base.keypair, "info", NULL, "aae"), -EBADMSG);
        assert_int_equal(opened(&base, base.keypair, "info", &psk, "aad"), -EBADMSG);
        assert_int_equal(opened(&base, stranger, "info", NULL, "aad"), -EBADMSG);

        pair_begin(&with, &psk);
        assert_int_equal(opened(&with, with.keypair, "info", &psk, "aad"), 0);
        assert_int_equal(opened(&with, with.keypair, "info", NULL, "aad"), -EBADMSG);
        assert_int_equal(opened(&with, with.keypair, "info", &other, "aad"), -EBADMSG);
        assert_int_equal(opened(&with, with.keypair, "info", &other_id, "aad"), -EBADMSG);
}

static void hpke_keeps_order(void **state) {
        _cleanup_(hpke_freep) struct hpke *receiver = NULL;
        _cleanup_(secret_freep) struct secret *first = NULL, *second = NULL, *none = NULL;
        _cleanup_(blob_done) struct blob next = {};
        _cleanup_(pair_done) struct pair pair = {};
        uint8_t short_psk[31] = {};

        pair_begin(&pair, NULL);
        assert_int_equal(hpke_seal(pair.sender, NULL, 0, NULL, 0, &next), 0);
        assert_int_equal(hpke_receiver(pair.keypair, pair.enc, "info", 4, NULL, &receiver), 0);
        assert_int_equal(hpke_open(receiver, NULL, 0, next.data, next.size, &none), -EBADMSG); /* the second first */
        assert_int_equal(hpke_open(receiver, "aad", 3, pair.sealed.data, 15, &none), -EBADMSG);
        assert_int_equal(hpke_open(receiver, "aad", 3, pair.sealed.data, pair.sealed.size, &first), 0);
        assert_int_equal(hpke_open(receiver, "aad", 3, pair.sealed.data, pair.sealed.size, &none), -EBADMSG); /* again */
        assert_int_equal(hpke_open(receiver, NULL, 0, next.data, next.size, &second), 0);
        assert_int_equal(second->size, 0);

        assert_int_equal(hpke_receiver(pair.keypair, pair.enc, "", 0, &(struct hpke_psk){ short_psk, 31, "id", 2 }, &receiver),
                         -EINVAL);
        assert_int_equal(hpke_receiver(pair.keypair, pair.enc, "", 0, &(struct hpke_psk){ PSK, 32, "", 0 }, &receiver), -EINVAL);
}

static void bad_points_are_refused(void **state) {
        _cleanup_(keypair_freep) struct keypair *keypair = NULL;
        uint8_t point[POINT_SIZE], enc[POINT_SIZE];
        struct hpke *hpke = NULL;

        assert_int_equal(keypair_generate(&keypair), 0);
        memcpy(point, keypair->public, POINT_SIZE);

        point[64] ^= 1; /* not on the curve */
        assert_int_equal(hpke_sender(point, NULL, 0, NULL, enc, &hpke), -EBADMSG);
        assert_int_equal(hpke_receiver(keypair, point, NULL, 0, NULL, &hpke), -EBADMSG);
        point[64] ^= 1;
        point[0] = (uint8_t) (0x06 | (point[64] & 1)); /* hybrid form of the same point */
        assert_int_equal(hpke_sender(point, NULL, 0, NULL, enc, &hpke), -EBADMSG);
        point[0] = 0x02;
        assert_int_equal(hpke_sender(point, NULL, 0, NULL, enc, &hpke), -EBADMSG);
        memset(point, 0, POINT_SIZE); /* infinity, said in 65 bytes */
        assert_int_equal(hpke_receiver(keypair, point, NULL, 0, NULL, &hpke), -EBADMSG);
        point[0] = 0x04;
        assert_int_equal(hpke_receiver(keypair, point, NULL, 0, NULL, &hpke), -EBADMSG);
        memset(point + 1, 0xff, POINT_SIZE - 1); /* beyond the field */
        assert_int_equal(hpke_receiver(keypair, point, NULL, 0, NULL, &hpke), -EBADMSG);
        assert_null(hpke);
}

static void keypairs_differ(void **state) {
        _cleanup_(keypair_freep) struct keypair *a = NULL, *b = NULL;

        assert_int_equal(keypair_generate(&a), 0);
        assert_int_equal(keypair_generate(&b), 0);
        assert_memory_not_equal(a->public, b->public, POINT_SIZE);
        assert_int_equal(a->scalar->size, 32);
        assert_int_equal(a->public[0], 4);
        assert_null(keypair_free(NULL));
}

static void names_go_round(void **state) {
        enum generation_state generation;
        enum purpose purpose;
        enum key_kind kind;
        enum party party;

        assert_int_equal(party_from_string("verifier", &party), 0);
        assert_string_equal(party_to_string(party), "verifier");
        assert_int_equal(purpose_from_string("confirm", &purpose), 0);
        assert_string_equal(purpose_to_string(purpose), "confirm");
        assert_int_equal(key_kind_from_string("payload", &kind), 0);
        assert_int_equal(kind, KEY_PAYLOAD);
        assert_int_equal(generation_state_from_string("retired", &generation), 0);
        assert_int_equal(generation, GENERATION_RETIRED);
        assert_null(key_kind_to_string(0));
        assert_null(party_to_string(99));
        assert_int_equal(purpose_from_string("Boot", &purpose), -EINVAL);
        assert_int_equal(purpose_from_string("", &purpose), -EINVAL);
        assert_int_equal(key_kind_from_string("", &kind), -EINVAL);
}

static void ids_are_checked(void **state) {
        char id[NODE_ID_LENGTH + 1], incident[17], token[37];
        uint8_t digest[32], join[32];

        memset(digest, 0xff, sizeof(digest));
        assert_int_equal(node_id_from_digest(digest, id), 0);
        assert_int_equal(strlen(id), NODE_ID_LENGTH);
        assert_true(node_id_is_valid(id));
        id[51] = 'a' + 1; /* spare bits: the same digest in other letters */
        assert_false(node_id_is_valid(id));
        id[51] = '\0';
        assert_false(node_id_is_valid(id));
        assert_false(node_id_is_valid(""));
        assert_false(node_id_is_valid("../../../../../../../../../../../../../../etc/passwd/"));

        assert_true(key_id_is_valid("0123456789abcdef0123456789abcdef"));
        assert_false(key_id_is_valid("0123456789ABCDEF0123456789abcdef"));
        assert_false(key_id_is_valid("0123456789abcdef0123456789abcde"));
        assert_false(key_id_is_valid("0123456789abcdef0123456789abcdef0"));

        assert_int_equal(incident_new(incident), 0);
        assert_true(incident_is_valid(incident));
        assert_false(incident_is_valid("0123456789abcdeg"));
        assert_false(incident_is_valid("\x1b[31m"));

        assert_int_equal(join_token_new(token), 0);
        assert_int_equal(join_token_for_party(token, PARTY_TENANT, join), 0);
        token[4] = token[4] == 'a' ? 'A' : '1';
        assert_int_equal(join_token_for_party(token, PARTY_TENANT, join), -EINVAL);
        assert_int_equal(join_token_for_party("", PARTY_TENANT, join), -EINVAL);
        assert_int_equal(join_token_for_party("tj1-", PARTY_TENANT, join), -EINVAL);
        assert_int_equal(join_token_for_party("tj2-aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", PARTY_TENANT, join), -EINVAL);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(digests_and_macs),
                cmocka_unit_test(hkdf),
                cmocka_unit_test(aead_vectors),
                cmocka_unit_test(aead_refuses),
                cmocka_unit_test(hpke_rfc_9180),
                cmocka_unit_test(derive_key_pair_rfc_9180),
                cmocka_unit_test(hpke_refuses_what_differs),
                cmocka_unit_test(hpke_keeps_order),
                cmocka_unit_test(bad_points_are_refused),
                cmocka_unit_test(keypairs_differ),
                cmocka_unit_test(names_go_round),
                cmocka_unit_test(ids_are_checked),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
