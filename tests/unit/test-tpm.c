/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>
#include <tss2/tss2_tpm2_types.h>

#include <openssl/pem.h>

#include "base/file.h"
#include "crypto/credential.h"
#include "evidence/evidence.h"
#include "soft-certificate.h"
#include "swtpm.h"
#include "tpm/tpm-internal.h"
#include "tpm/tpm.h"

/* All of tpm.h against a real (software) TPM, which has three places for objects and no resource manager. */

static struct swtpm *swtpm;

static int start(_unused_ void **state) {
        swtpm = swtpm_new();
        return 0;
}

static int finish(_unused_ void **state) {
        swtpm_free(swtpm);
        return 0;
}

static struct tpm *opened(void) {
        struct tpm *tpm;

        assert_int_equal(tpm_open(swtpm->tcti, &tpm), 0);
        return tpm;
}

static void node_id_of(struct tpm *tpm, char ret[static NODE_ID_LENGTH + 1]) {
        _cleanup_(blob_done) struct blob public = {};

        assert_int_equal(tpm_make_ak(tpm, &public, ret), 0);
}

static void test_missing(_unused_ void **state) {
        struct tpm *tpm;

        assert_int_equal(tpm_open("device:/dev/no-such-tpm", &tpm), -ENODEV);
        assert_non_null(strstr(tpm_last_error(NULL), "there is no TPM"));
        assert_int_equal(tpm_open("swtpm:path=/tmp/no-such-socket", &tpm), -ENODEV);
        assert_int_equal(tpm_open("no-such-tcti", &tpm), -ENODEV);
}

static void test_ak_is_the_template(_unused_ void **state) {
        struct tpm *tpm = opened();
        _cleanup_(blob_done) struct blob public = {}, again = {};
        char id[NODE_ID_LENGTH + 1], id_again[NODE_ID_LENGTH + 1], by_evidence[NODE_ID_LENGTH + 1];

        assert_int_equal(tpm_make_ak(tpm, &public, id), 0);
        assert_int_equal(ak_check_template(public.data, public.size), 0);
        assert_int_equal(ak_node_id(public.data, public.size, by_evidence), 0);
        assert_string_equal(id, by_evidence);

        /* a second call uses what is loaded */
        assert_int_equal(tpm_make_ak(tpm, &again, id_again), 0);
        assert_string_equal(id, id_again);
        assert_int_equal(public.size, again.size);
        assert_memory_equal(public.data, again.data, public.size);

        tpm_close(tpm);
        swtpm_expect_empty(swtpm);
}

/* The Name as another implementation computes it. */
static void test_ak_name_by_tools(_unused_ void **state) {
        _cleanup_(freep) char *name = NULL;
        char id[NODE_ID_LENGTH + 1], expected[NODE_ID_LENGTH + 1];
        uint8_t bytes[34];
        unsigned byte;

        {
                _cleanup_(tpm_closep) struct tpm *tpm = opened();

                node_id_of(tpm, id);
        }

        name = swtpm_shell(
                swtpm,
                "printf 'tallyboot ak v1' | openssl dgst -sha256 -binary > x && "
                "{ printf '\\040\\000'; cat x; printf '\\000\\000'; } > unique && "
                "tpm2_createprimary -Q -C e -g sha256 -G ecc256:ecdsa-sha256:null -u unique -c p.ctx "
                "-a 'fixedtpm|fixedparent|sensitivedataorigin|userwithauth|noda|restricted|sign' && "
                "tpm2_readpublic -Q -c p.ctx -n name >&2 && tpm2_flushcontext -t >&2 && od -An -v -tx1 name | tr -d ' \\n'");
        assert_non_null(name);
        for (size_t i = 0; i < sizeof(bytes); i++) {
                assert_int_equal(sscanf(name + 2 * i, "%2x", &byte), 1);
                bytes[i] = (uint8_t) byte;
        }
        assert_int_equal(node_id_from_digest(bytes + 2, expected), 0);
        assert_string_equal(id, expected);
        swtpm_expect_empty(swtpm);
}

static void test_ak_survives_restart_and_clear(_unused_ void **state) {
        char before[NODE_ID_LENGTH + 1], after[NODE_ID_LENGTH + 1];
        struct tpm *tpm;

        tpm = opened();
        node_id_of(tpm, before);
        tpm_close(tpm);

        swtpm_power_cycle(swtpm);
        tpm = opened();
        node_id_of(tpm, after);
        tpm_close(tpm);
        assert_string_equal(before, after);

        swtpm_tool(swtpm, "tpm2_clear -c p");
        tpm = opened();
        node_id_of(tpm, after);
        tpm_close(tpm);
        assert_string_equal(before, after);
        swtpm_expect_empty(swtpm);
}

static void quote(struct tpm *tpm, uint16_t bank, uint32_t mask, struct wire_evidence *ret, struct blob *ret_ak, char *ret_id) {
        uint8_t qualifying[32];
        struct wire_evidence evidence = { .purpose = PURPOSE_BOOT, .has_nk = true, .nk = { 4, 1 }, .nonce = { { 2 }, { 3 } } };

        assert_int_equal(tpm_make_ak(tpm, ret_ak, ret_id), 0);
        assert_int_equal(wire_qualifying_data(ret_id, evidence.purpose, evidence.nk, evidence.nonce, &evidence.body, qualifying),
                         0);
        assert_int_equal(tpm_quote(tpm, bank, mask, qualifying, &evidence.attest, &evidence.signature, &evidence.pcrs), 0);
        *ret = evidence;
}

static void test_quote_is_accepted(_unused_ void **state) {
        static const uint16_t banks[] = { TPM2_ALG_SHA256, TPM2_ALG_SHA384, TPM2_ALG_SHA1 };
        static const uint32_t masks[] = { 0x8001, 0xfbff, 0x80ff, 0xffffff & ~0x7f0000U };

        for (size_t i = 0; i < ELEMENTSOF(banks); i++)
                for (size_t k = 0; k < ELEMENTSOF(masks); k++) {
                        _cleanup_(tpm_closep) struct tpm *tpm = opened();
                        _cleanup_(wire_evidence_done) struct wire_evidence evidence = {};
                        _cleanup_(blob_done) struct blob ak = {};
                        char id[NODE_ID_LENGTH + 1];
                        struct evidence_verdict verdict;

                        quote(tpm, banks[i], masks[k], &evidence, &ak, id);
                        assert_int_equal(evidence.pcrs.n, 1);
                        assert_int_equal(evidence.pcrs.banks[0].mask, masks[k]);
                        assert_int_equal(
                                evidence_verify(
                                        &evidence,
                                        &(struct evidence_expected){
                                                .node_id = id, .ak_public = &ak, .bank = banks[i], .pcrs = masks[k], .gate = 15 },
                                        &verdict),
                                0);
                        assert_string_equal(evidence_fault_to_string(verdict.fault), "ok");
                        assert_true(verdict.proven);
                }
        swtpm_expect_empty(swtpm);
}

/* tpm2_checkquote as the oracle of the quote and its values. */
static void test_quote_by_tools(_unused_ void **state) {
        _cleanup_(wire_evidence_done) struct wire_evidence evidence = {};
        _cleanup_(blob_done) struct blob ak = {};
        _cleanup_(freep) char *good = NULL, *bad = NULL, *attest = NULL, *signature = NULL, *der = NULL;
        char id[NODE_ID_LENGTH + 1], hex[65];
        uint8_t qualifying[32];
        EVP_PKEY *key;
        FILE *pem;

        {
                _cleanup_(tpm_closep) struct tpm *tpm = opened();

                quote(tpm, TPM2_ALG_SHA256, 0x80ff, &evidence, &ak, id);
        }
        assert_int_equal(wire_qualifying_data(id, evidence.purpose, evidence.nk, evidence.nonce, &evidence.body, qualifying), 0);
        for (size_t i = 0; i < 32; i++)
                (void) snprintf(hex + 2 * i, 3, "%02x", qualifying[i]);

        attest = path_join(swtpm->dir, "attest");
        signature = path_join(swtpm->dir, "signature");
        der = path_join(swtpm->dir, "ak.pem");
        assert_int_equal(file_write(attest, evidence.attest.data, evidence.attest.size, 0600), 0);
        assert_int_equal(file_write(signature, evidence.signature.data, evidence.signature.size, 0600), 0);
        assert_int_equal(pubkey_from_tpmt(ak.data, ak.size, &key), 0);
        pem = fopen(der, "we");
        assert_non_null(pem);
        assert_int_equal(PEM_write_PUBKEY(pem, key), 1);
        assert_int_equal(fclose(pem), 0);
        EVP_PKEY_free(key);

        good = swtpm_shell(swtpm, "tpm2_checkquote -u ak.pem -m attest -s signature -g sha256 -q %s", hex);
        assert_non_null(good);
        hex[0] = hex[0] == '0' ? '1' : '0';
        bad = swtpm_shell(swtpm, "tpm2_checkquote -u ak.pem -m attest -s signature -g sha256 -q %s", hex);
        assert_null(bad);
}

static void test_quote_of_an_inactive_bank(_unused_ void **state) {
        _cleanup_(tpm_closep) struct tpm *tpm = opened();
        _cleanup_(blob_done) struct blob public = {}, attest = {}, signature = {};
        const uint8_t qualifying[32] = {};
        char id[NODE_ID_LENGTH + 1];
        struct pcr_values values;

        assert_int_equal(tpm_make_ak(tpm, &public, id), 0);
        assert_int_equal(tpm_quote(tpm, TPM2_ALG_SHA512, 0x8001, qualifying, &attest, &signature, &values), -EOPNOTSUPP);
        assert_non_null(strstr(tpm_last_error(tpm), "bank"));
        assert_null(attest.data);
        assert_int_equal(tpm_quote(tpm, TPM2_ALG_SHA256, 0, qualifying, &attest, &signature, &values), -EINVAL);
        assert_int_equal(tpm_quote(tpm, TPM2_ALG_SHA256, 1U << 24, qualifying, &attest, &signature, &values), -EINVAL);
}

static bool is_zero(const uint8_t *data, size_t size) {
        for (size_t i = 0; i < size; i++)
                if (data[i] != 0)
                        return false;
        return true;
}

static void test_gate_in_all_banks(_unused_ void **state) {
        _cleanup_(tpm_closep) struct tpm *tpm = NULL;
        struct pcr_values before, after;
        uint16_t algs[WIRE_BANKS_MAX];
        size_t n;

        swtpm_power_cycle(swtpm);
        tpm = opened();
        assert_int_equal(tpm_active_banks(tpm, algs, &n), 0);
        assert_int_equal(n, 3);
        assert_int_equal(tpm_read_pcr_all_banks(tpm, 15, &before), 0);
        assert_int_equal(tpm_pcr_event(tpm, 15, "tallyboot gate", strlen("tallyboot gate")), 0);
        assert_int_equal(tpm_read_pcr_all_banks(tpm, 15, &after), 0);

        assert_int_equal(before.n, 3);
        assert_int_equal(after.n, 3);
        for (size_t i = 0; i < n; i++) {
                assert_int_equal(after.banks[i].alg, algs[i]);
                assert_int_equal(after.banks[i].mask, 1U << 15);
                assert_true(is_zero(before.banks[i].values[15], WIRE_DIGEST_MAX));
                assert_false(is_zero(after.banks[i].values[15], pcr_alg_size(algs[i])));
        }
        assert_int_equal(tpm_read_pcr_all_banks(tpm, 24, &after), -EINVAL);
}

/* A quote after the gate was closed is refused by every bank. */
static void test_closed_gate_is_seen(_unused_ void **state) {
        static const uint16_t banks[] = { TPM2_ALG_SHA256, TPM2_ALG_SHA384 };
        _cleanup_(tpm_closep) struct tpm *tpm = opened();

        assert_int_equal(tpm_pcr_event(tpm, 15, "x", 1), 0);
        for (size_t i = 0; i < ELEMENTSOF(banks); i++) {
                _cleanup_(wire_evidence_done) struct wire_evidence evidence = {};
                _cleanup_(blob_done) struct blob ak = {};
                char id[NODE_ID_LENGTH + 1];
                struct evidence_verdict verdict;

                quote(tpm, banks[i], 0x80ff, &evidence, &ak, id);
                assert_int_equal(
                        evidence_verify(&evidence,
                                        &(struct evidence_expected){
                                                .node_id = id, .ak_public = &ak, .bank = banks[i], .pcrs = 0x80ff, .gate = 15 },
                                        &verdict),
                        0);
                assert_int_equal(verdict.fault, EVIDENCE_GATE);
        }
}

static void read_registration(struct tpm *tpm, struct wire_registration *ret, char *ret_id) {
        struct wire_registration registration = {};

        assert_int_equal(tpm_read_ek(tpm, &registration.ek_public, &registration.ek_certificate, registration.ek_chain,
                                     &registration.n_ek_chain),
                         0);
        assert_int_equal(tpm_make_ak(tpm, &registration.ak_public, ret_id), 0);
        *ret = registration;
}

static struct ek_trust *roots_of_the_ca(void) {
        struct blob files[2] = {};
        struct ek_trust *roots;
        size_t loaded;

        assert_int_equal(file_read(swtpm->root, 65536, files), 0);
        assert_int_equal(file_read(swtpm->issuer, 65536, files + 1), 0);
        roots = trust_of(files, 2, &loaded);
        assert_int_equal(loaded, 2);
        blob_done(files);
        blob_done(files + 1);
        return roots;
}

/* EK certificate, credential made in software, opened in the TPM. */
static void activate(void) {
        _cleanup_(tpm_closep) struct tpm *tpm = opened();
        _cleanup_(ek_trust_freep) struct ek_trust *roots = roots_of_the_ca();
        _cleanup_(wire_registration_done) struct wire_registration registration = {};
        _cleanup_(wire_credential_done) struct wire_credential credential = {};
        _cleanup_(secret_freep) struct secret *secret = NULL;
        uint8_t name[34] = { 0, 0x0b };
        struct ek_verdict verdict;
        static const uint8_t text[32] = "thirty-two bytes of a credential";
        char id[NODE_ID_LENGTH + 1], error[256] = "";

        read_registration(tpm, &registration, id);
        if (ek_check(roots, &registration, time(NULL), &verdict, error, sizeof(error)) < 0)
                fail_msg("%s", error);

        assert_int_equal(tpmt_name_digest(registration.ak_public.data, registration.ak_public.size, name + 2), 0);
        assert_int_equal(credential_make(registration.ek_public.data, registration.ek_public.size, name, text, sizeof(text),
                                         &credential.id_object, &credential.secret),
                         0);

        for (unsigned i = 0; i < 5; i++) { /* more often than there is room for what is left behind */
                assert_int_equal(tpm_activate(tpm, &credential, &secret), 0);
                assert_int_equal(secret->size, sizeof(text));
                assert_memory_equal(secret->data, text, sizeof(text));
                secret = secret_free(secret);
        }

        /* not this AK's */
        wire_credential_done(&credential);
        credential = (struct wire_credential){};
        name[5] ^= 1;
        assert_int_equal(credential_make(registration.ek_public.data, registration.ek_public.size, name, text, sizeof(text),
                                         &credential.id_object, &credential.secret),
                         0);
        for (unsigned i = 0; i < 5; i++)
                assert_int_equal(tpm_activate(tpm, &credential, &secret), -EKEYREJECTED);
        assert_null(secret);

        credential.secret.size--;
        assert_int_equal(tpm_activate(tpm, &credential, &secret), -EBADMSG);
        credential.secret.size++;
}

static void test_activate_rsa(_unused_ void **state) {
        activate();
        swtpm_expect_empty(swtpm);
}

static void test_activate_without_persistent_key(_unused_ void **state) {
        free(swtpm_shell(swtpm, "tpm2_evictcontrol -Q -C o -c 0x81010001"));
        activate();
        swtpm_expect_empty(swtpm);
}

static void test_activate_ecc(_unused_ void **state) {
        _cleanup_(tpm_closep) struct tpm *tpm = NULL;
        _cleanup_(wire_registration_done) struct wire_registration registration = {};
        char id[NODE_ID_LENGTH + 1];

        swtpm_tool(swtpm, "tpm2_nvundefine -C p 0x01c00002");
        activate();

        tpm = opened();
        read_registration(tpm, &registration, id);
        assert_int_equal(registration.ek_public.data[1], 0x23); /* ECC */
        tpm = tpm_close(tpm);
        swtpm_expect_empty(swtpm);
}

static void test_no_certificate(_unused_ void **state) {
        _cleanup_(tpm_closep) struct tpm *tpm = NULL;
        _cleanup_(wire_registration_done) struct wire_registration registration = {};
        char id[NODE_ID_LENGTH + 1];

        swtpm_tool(swtpm, "tpm2_nvundefine -C p 0x01c00016");
        tpm = opened();
        read_registration(tpm, &registration, id);
        assert_int_equal(registration.ek_certificate.size, 0);
        assert_true(registration.ek_public.size > 256);
}

/* Two certificates over two indices, cut in the middle of the second, with padding after them. */
static void test_chain(_unused_ void **state) {
        _cleanup_(tpm_closep) struct tpm *tpm = NULL;
        _cleanup_(wire_registration_done) struct wire_registration registration = {};
        char id[NODE_ID_LENGTH + 1];
        const unsigned char *p;
        X509 *certificate;

        swtpm_tool(swtpm,
                   "openssl x509 -in ca/issuercert.pem -outform der -out one && "
                   "openssl x509 -in ca/swtpm-localca-rootca-cert.pem -outform der -out two && "
                   "{ cat one two; head -c 9 /dev/zero; } > all && head -c 1500 all > first && tail -c +1501 all > second && "
                   "tpm2_nvdefine -Q -C o -s $(stat -c %s first) -a 'ownerread|ownerwrite|authread' 0x01c00100 && "
                   "tpm2_nvwrite -Q -C o -i first 0x01c00100 && "
                   "tpm2_nvdefine -Q -C o -s $(stat -c %s second) -a 'ownerread|ownerwrite' 0x01c00101 && "
                   "tpm2_nvwrite -Q -C o -i second 0x01c00101");

        tpm = opened();
        read_registration(tpm, &registration, id);
        assert_int_equal(registration.n_ek_chain, 2);
        for (size_t i = 0; i < 2; i++) {
                p = registration.ek_chain[i].data;
                certificate = d2i_X509(NULL, &p, (long) registration.ek_chain[i].size);
                assert_non_null(certificate);
                assert_ptr_equal(p, registration.ek_chain[i].data + registration.ek_chain[i].size);
                X509_free(certificate);
        }
}

static void in_lockout_words(struct tpm *tpm) {
        struct blob public = {}, certificate = {}, chain[8] = {};
        size_t n;

        assert_int_equal(tpm_read_ek(tpm, &public, &certificate, chain, &n), -EPERM);
        assert_non_null(strstr(tpm_last_error(tpm), "lockout"));
        assert_non_null(strstr(tpm_last_error(tpm), "tpm2_dictionarylockout"));
        assert_null(public.data);
        assert_null(certificate.data);
}

/* Lockout is of no matter to our keys; only an index that nobody but its own authorization reads is out of reach. */
static void test_lockout_stops_no_quote(_unused_ void **state) {
        _cleanup_(tpm_closep) struct tpm *tpm = NULL;
        _cleanup_(wire_evidence_done) struct wire_evidence evidence = {};
        _cleanup_(blob_done) struct blob ak = {};
        char id[NODE_ID_LENGTH + 1];
        struct tpm_state tpm_state_now;

        swtpm_tool(
                swtpm,
                "tpm2_nvdefine -Q -C o -s 4 -a 'ownerwrite|authread' 0x01c00100 && echo abc | tpm2_nvwrite -Q -C o -i- 0x01c00100");
        swtpm_tool(swtpm,
                   "tpm2_dictionarylockout -Q -s -n 1 -t 1000 -l 1000 && tpm2_createprimary -Q -C o -p secret -c o.ctx && "
                   "{ tpm2_create -Q -C o.ctx -P wrong -u u -r r || true; } && tpm2_flushcontext -t && tpm2_flushcontext -l");
        tpm = opened();
        assert_int_equal(tpm_state(tpm, &tpm_state_now), 0);
        assert_true(tpm_state_now.in_lockout);
        quote(tpm, TPM2_ALG_SHA256, 0x80ff, &evidence, &ak, id);
        in_lockout_words(tpm);

        tpm = tpm_close(tpm);
        swtpm_tool(
                swtpm,
                "tpm2_dictionarylockout -Q -c && tpm2_dictionarylockout -Q -s -n 32 -t 10 -l 10 && tpm2_nvundefine -Q -C o 0x01c00100");
        tpm = opened();
        assert_int_equal(tpm_state(tpm, &tpm_state_now), 0);
        assert_false(tpm_state_now.in_lockout);
        assert_true(tpm_state_now.endorsement_enabled);
        assert_false(tpm_state_now.endorsement_auth_set);
}

static void test_endorsement_authorization_set(_unused_ void **state) {
        _cleanup_(blob_done) struct blob public = {};
        char id[NODE_ID_LENGTH + 1];
        struct tpm_state tpm_state_now;
        struct tpm *tpm;

        swtpm_tool(swtpm, "tpm2_changeauth -Q -c endorsement secret");
        tpm = opened();
        assert_int_equal(tpm_make_ak(tpm, &public, id), -EACCES);
        assert_non_null(strstr(tpm_last_error(tpm), "tpm2_changeauth -c endorsement"));
        assert_null(public.data);
        assert_int_equal(tpm_state(tpm, &tpm_state_now), 0);
        assert_true(tpm_state_now.endorsement_auth_set);
        tpm_close(tpm);

        swtpm_tool(swtpm, "tpm2_changeauth -Q -c endorsement -p secret");
        swtpm_expect_empty(swtpm);
}

static void test_out_of_object_memory(_unused_ void **state) {
        _cleanup_(blob_done) struct blob public = {};
        char id[NODE_ID_LENGTH + 1];
        struct tpm *tpm;

        swtpm_tool(swtpm, "for i in 1 2 3; do tpm2_createprimary -Q -C o -G ecc256 -c o.ctx || exit 1; done");
        tpm = opened();
        assert_int_equal(tpm_make_ak(tpm, &public, id), -ENOMEM);
        assert_non_null(strstr(tpm_last_error(tpm), "out of memory for objects"));
        tpm_close(tpm);

        swtpm_tool(swtpm, "tpm2_flushcontext -t");
        tpm = opened();
        node_id_of(tpm, id);
        tpm_close(tpm);
}

static void test_words(_unused_ void **state) {
        const char *words;

        assert_int_equal(tpm_rc_to_errno(TPM2_RC_LOCKOUT, &words), -EPERM);
        assert_non_null(strstr(words, "lockout"));
        assert_int_equal(tpm_rc_to_errno(TPM2_RC_FAILURE, &words), -EIO);
        assert_non_null(strstr(words, "failure mode"));
        assert_int_equal(tpm_rc_to_errno(TPM2_RC_BAD_AUTH + TPM2_RC_S + TPM2_RC_1, NULL), -EACCES);
        assert_int_equal(tpm_rc_to_errno(TPM2_RC_CURVE + TPM2_RC_P + TPM2_RC_2, NULL), -EOPNOTSUPP);
        assert_int_equal(tpm_rc_to_errno(TPM2_RC_RETRY, NULL), -EBUSY);
        assert_int_equal(tpm_rc_to_errno(TPM2_RC_TESTING, NULL), -EBUSY);
        assert_int_equal(tpm_rc_to_errno(TSS2_RESMGR_RC_LAYER | TPM2_RC_COMMAND_CODE, NULL), -EOPNOTSUPP);
        assert_int_equal(tpm_rc_to_errno(TSS2_TCTI_RC_IO_ERROR, &words), -EIO);
        assert_non_null(strstr(words, "does not answer"));
        assert_int_equal(tpm_rc_to_errno(TSS2_ESYS_RC_MEMORY, NULL), -ENOMEM);
}

static void test_busy_is_asked_again(_unused_ void **state) {
        struct tpm_wait wait = {};

        assert_false(tpm_again(TSS2_RC_SUCCESS, &wait));
        assert_false(tpm_again(TPM2_RC_FAILURE, &wait));
        assert_true(tpm_again(TPM2_RC_RETRY, &wait));
        assert_true(tpm_again(TPM2_RC_TESTING, &wait));
        wait.until = 1; /* long ago */
        assert_false(tpm_again(TPM2_RC_YIELDED, &wait));
}

/* A TPM that goes away between two commands. */
static void test_gone(_unused_ void **state) {
        struct tpm *tpm = opened();
        struct pcr_values values;

        assert_int_equal(tpm_read_pcr_all_banks(tpm, 15, &values), 0);
        swtpm_stop(swtpm);
        assert_int_equal(tpm_read_pcr_all_banks(tpm, 15, &values), -EIO);
        assert_non_null(strstr(tpm_last_error(tpm), "does not answer"));
        tpm_close(tpm);
        swtpm_start(swtpm);
}

static void test_describe(_unused_ void **state) {
        _cleanup_(tpm_closep) struct tpm *tpm = opened();
        char text[64], tiny[6];

        assert_int_equal(tpm_describe(tpm, text, sizeof(text)), 0);
        assert_int_equal(strncmp(text, "IBM SW   TPM ", 4), 0);
        assert_int_equal(tpm_describe(tpm, tiny, sizeof(tiny)), 0);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_words),
                cmocka_unit_test(test_busy_is_asked_again),
                cmocka_unit_test(test_missing),
                cmocka_unit_test(test_ak_is_the_template),
                cmocka_unit_test(test_ak_name_by_tools),
                cmocka_unit_test(test_quote_is_accepted),
                cmocka_unit_test(test_quote_by_tools),
                cmocka_unit_test(test_quote_of_an_inactive_bank),
                cmocka_unit_test(test_gate_in_all_banks),
                cmocka_unit_test(test_closed_gate_is_seen),
                cmocka_unit_test(test_describe),
                cmocka_unit_test(test_lockout_stops_no_quote),
                cmocka_unit_test(test_endorsement_authorization_set),
                cmocka_unit_test(test_out_of_object_memory),
                cmocka_unit_test(test_gone),
                cmocka_unit_test(test_activate_rsa),
                cmocka_unit_test(test_activate_without_persistent_key),
                cmocka_unit_test(test_chain),
                cmocka_unit_test(test_activate_ecc),
                cmocka_unit_test(test_no_certificate),
                cmocka_unit_test(test_ak_survives_restart_and_clear),
        };

        return cmocka_run_group_tests(tests, start, finish);
}
