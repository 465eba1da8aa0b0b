/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "test.h"

#include <tss2/tss2_tpm2_types.h>

#include "base/clock.h"
#include "base/file.h"
#include "crypto/credential.h"
#include "evidence/evidence.h"
#include "tpm-proxy.h"
#include "tpm/tpm.h"

/* A TPM that is busy, failing, cut off, or extended by somebody else at the wrong moment. */

static struct swtpm *swtpm;

static int start(void **state) {
        swtpm = swtpm_new();
        return 0;
}

static int finish(void **state) {
        swtpm_free(swtpm);
        return 0;
}

static int quote(struct tpm *tpm, struct wire_evidence *evidence, struct blob *ret_ak, char *ret_id) {
        uint8_t qualifying[32];

        evidence->purpose = PURPOSE_BOOT;
        evidence->has_nk = true;
        assert_int_equal(tpm_make_ak(tpm, ret_ak, ret_id), 0);
        assert_int_equal(
                wire_qualifying_data(ret_id, evidence->purpose, evidence->nk, evidence->nonce, &evidence->body, qualifying), 0);
        return tpm_quote(tpm, TPM2_ALG_SHA256, 0xc0ff, qualifying, &evidence->attest, &evidence->signature, &evidence->pcrs);
}

/* Ten PCRs are read in two pieces: seven changes spoil four quotes, the fifth is good. */
static void pcr_changes_during_the_quote(void **state) {
        _cleanup_(wire_evidence_done) struct wire_evidence evidence = {};
        _cleanup_(blob_done) struct blob ak = {};
        char id[NODE_ID_LENGTH + 1];
        struct evidence_verdict verdict;
        struct tpm_proxy proxy;
        struct tpm *tpm;

        tpm_proxy_start(swtpm, TPM_PROXY_PCR_CHANGES, 7, &proxy);
        assert_int_equal(tpm_open(proxy.tcti, &tpm), 0);
        assert_int_equal(quote(tpm, &evidence, &ak, id), 0);
        tpm_close(tpm);
        tpm_proxy_stop(&proxy);

        assert_int_equal(
                evidence_verify(&evidence,
                                &(struct evidence_expected){
                                        .node_id = id, .ak_public = &ak, .bank = TPM2_ALG_SHA256, .pcrs = 0xc0ff, .gate = 15 },
                                &verdict),
                0);
        assert_string_equal(evidence_fault_to_string(verdict.fault), "ok");
}

static void pcr_changes_for_ever(void **state) {
        _cleanup_(wire_evidence_done) struct wire_evidence evidence = {};
        _cleanup_(blob_done) struct blob ak = {};
        char id[NODE_ID_LENGTH + 1];
        struct tpm_proxy proxy;
        struct tpm *tpm;

        tpm_proxy_start(swtpm, TPM_PROXY_PCR_CHANGES, 1000, &proxy);
        assert_int_equal(tpm_open(proxy.tcti, &tpm), 0);
        assert_int_equal(quote(tpm, &evidence, &ak, id), -EBUSY);
        assert_non_null(strstr(tpm_last_error(tpm), "PCRs keep changing"));
        assert_null(evidence.attest.data);
        tpm_close(tpm);
        tpm_proxy_stop(&proxy);
}

/* ESYS asks five times at once by itself. */
static void busy_for_a_while(void **state) {
        _cleanup_(blob_done) struct blob ak = {};
        char id[NODE_ID_LENGTH + 1];
        struct tpm_proxy proxy;
        struct tpm *tpm;

        tpm_proxy_start(swtpm, TPM_PROXY_BUSY, 30, &proxy);
        assert_int_equal(tpm_open(proxy.tcti, &tpm), 0);
        assert_int_equal(tpm_make_ak(tpm, &ak, id), 0);
        tpm_close(tpm);
        tpm_proxy_stop(&proxy);
}

static void busy_for_ever(void **state) {
        _cleanup_(blob_done) struct blob ak = {};
        char id[NODE_ID_LENGTH + 1];
        uint64_t started = clock_monotonic_ms();
        struct tpm_proxy proxy;
        struct tpm *tpm;

        tpm_proxy_start(swtpm, TPM_PROXY_BUSY, 1000000, &proxy);
        assert_int_equal(tpm_open(proxy.tcti, &tpm), 0);
        assert_int_equal(tpm_make_ak(tpm, &ak, id), -EBUSY);
        assert_non_null(strstr(tpm_last_error(tpm), "busy"));
        assert_true(clock_monotonic_ms() - started < 60000);
        tpm_close(tpm);
        tpm_proxy_stop(&proxy);
}

static void failure_mode(void **state) {
        _cleanup_(blob_done) struct blob ak = {};
        char id[NODE_ID_LENGTH + 1];
        struct pcr_values values;
        struct tpm_proxy proxy;
        struct tpm *tpm;

        tpm_proxy_start(swtpm, TPM_PROXY_FAILURE, 0, &proxy);
        assert_int_equal(tpm_open(proxy.tcti, &tpm), 0);
        assert_int_equal(tpm_make_ak(tpm, &ak, id), -EIO);
        assert_non_null(strstr(tpm_last_error(tpm), "failure mode"));
        assert_int_equal(tpm_pcr_event(tpm, 15, "x", 1), -EIO);
        assert_int_equal(tpm_read_pcr_all_banks(tpm, 15, &values), -EIO);
        tpm_close(tpm);
        tpm_proxy_stop(&proxy);
}

static void answers_cut_short(void **state) {
        _cleanup_(blob_done) struct blob ak = {};
        char id[NODE_ID_LENGTH + 1];
        struct tpm_proxy proxy;
        struct tpm *tpm;

        tpm_proxy_start(swtpm, TPM_PROXY_CUT, 0, &proxy);
        assert_int_equal(tpm_open(proxy.tcti, &tpm), 0);
        assert_int_equal(tpm_make_ak(tpm, &ak, id), -EIO);
        assert_true(strlen(tpm_last_error(tpm)) > 0);
        tpm_close(tpm);
        tpm_proxy_stop(&proxy);
        free(swtpm_shell(swtpm, "tpm2_flushcontext -t"));
}

/* The credential's secret is in clear neither on its way to the TPM nor on its way back. */
static void credential_is_not_on_the_bus(void **state) {
        static const uint8_t text[32] = "thirty-two bytes of a credential";
        _cleanup_(wire_registration_done) struct wire_registration registration = {};
        _cleanup_(wire_credential_done) struct wire_credential credential = {};
        _cleanup_(secret_freep) struct secret *secret = NULL;
        _cleanup_(freep) char *path = path_join(swtpm->dir, "traffic");
        _cleanup_(blob_done) struct blob traffic = {};
        uint8_t name[34] = { 0, 0x0b };
        char id[NODE_ID_LENGTH + 1];
        struct tpm_proxy proxy;
        struct tpm *tpm;

        tpm_proxy_start(swtpm, TPM_PROXY_RECORD, 0, &proxy);
        assert_int_equal(tpm_open(proxy.tcti, &tpm), 0);
        assert_int_equal(tpm_read_ek(tpm, &registration.ek_public, &registration.ek_certificate, registration.ek_chain,
                                     &registration.n_ek_chain),
                         0);
        assert_int_equal(tpm_make_ak(tpm, &registration.ak_public, id), 0);
        assert_int_equal(tpmt_name_digest(registration.ak_public.data, registration.ak_public.size, name + 2), 0);
        assert_int_equal(credential_make(registration.ek_public.data, registration.ek_public.size, name, text, sizeof(text),
                                         &credential.id_object, &credential.secret),
                         0);
        assert_int_equal(tpm_activate(tpm, &credential, &secret), 0);
        assert_memory_equal(secret->data, text, sizeof(text));
        tpm_close(tpm);
        tpm_proxy_stop(&proxy);

        assert_int_equal(file_read(path, 1 << 20, &traffic), 0);
        assert_non_null(memmem(traffic.data, traffic.size, registration.ak_public.data + 24, 32)); /* it is a record of all */
        for (size_t size = sizeof(text); size >= 8; size -= 8)
                assert_null(memmem(traffic.data, traffic.size, text, size));
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(pcr_changes_during_the_quote),
                cmocka_unit_test(pcr_changes_for_ever),
                cmocka_unit_test(busy_for_a_while),
                cmocka_unit_test(busy_for_ever),
                cmocka_unit_test(failure_mode),
                cmocka_unit_test(answers_cut_short),
                cmocka_unit_test(credential_is_not_on_the_bus),
        };

        return cmocka_run_group_tests(tests, start, finish);
}
