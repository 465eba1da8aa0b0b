/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "test.h"

#include <tss2/tss2_tpm2_types.h>

#include "base/clock.h"
#include "base/file.h"
#include "crypto/credential.h"
#include "evidence/evidence.h"
#include "tpm-proxy.h"
#include "tpm/tpm-internal.h"
#include "tpm/tpm.h"

/* A TPM that is busy, failing, cut off, or extended by somebody else at the wrong moment. */

static struct swtpm *swtpm;

static int start(void **state) {
        swtpm = swtpm_new();
        return 0;
}

static struct wire_credential credential;

static int finish(void **state) {
        wire_credential_done(&credential);
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
        struct tpm_proxy proxy = {};
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
        struct tpm_proxy proxy = {};
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
        struct tpm_proxy proxy = {};
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
        struct tpm_proxy proxy = {};
        struct tpm *tpm;

        tpm_proxy_start(swtpm, TPM_PROXY_BUSY, 1000000, &proxy);
        assert_int_equal(tpm_open(proxy.tcti, &tpm), 0);
        assert_int_equal(tpm_make_ak(tpm, &ak, id), -EBUSY);
        assert_non_null(strstr(tpm_last_error(tpm), "busy"));
        assert_true(clock_monotonic_ms() - started < 300000);
        tpm_close(tpm);
        tpm_proxy_stop(&proxy);
}

static void failure_mode(void **state) {
        _cleanup_(blob_done) struct blob ak = {};
        char id[NODE_ID_LENGTH + 1];
        struct pcr_values values;
        struct tpm_proxy proxy = {};
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
        struct tpm_proxy proxy = {};
        struct tpm *tpm;

        tpm_proxy_start(swtpm, TPM_PROXY_CUT, 0, &proxy);
        assert_int_equal(tpm_open(proxy.tcti, &tpm), 0);
        assert_int_equal(tpm_make_ak(tpm, &ak, id), -EIO);
        assert_true(strlen(tpm_last_error(tpm)) > 0);
        tpm_close(tpm);
        tpm_proxy_stop(&proxy);
        free(swtpm_shell(swtpm, "tpm2_flushcontext -t"));
}

/* Handles that the TPM has loaded. A software TPM has no resource manager that would clean up behind us. */
static size_t loaded(uint32_t first) {
        _cleanup_(esys_freep) TPMS_CAPABILITY_DATA *data = NULL;
        TPMI_YES_NO more;
        struct tpm *tpm;
        size_t n;

        assert_int_equal(tpm_open(swtpm->tcti, &tpm), 0);
        assert_int_equal(Esys_GetCapability(tpm->esys, ESYS_TR_NONE, ESYS_TR_NONE, ESYS_TR_NONE, TPM2_CAP_HANDLES, first, 16,
                                            &more, &data),
                         TSS2_RC_SUCCESS);
        n = data->data.handles.count;
        tpm_close(tpm);
        return n;
}

/* TPM2_TRANSIENT_FIRST, whose macro shifts a bit out of an int. */
#define TRANSIENT_FIRST UINT32_C(0x80000000)

static void expect_nothing_left(const char *what, unsigned at, uint32_t code) {
        size_t objects = loaded(TRANSIENT_FIRST), sessions = loaded(TPM2_LOADED_SESSION_FIRST),
               saved = loaded(TPM2_ACTIVE_SESSION_FIRST);

        if (objects + sessions + saved > 0)
                fail_msg("%s, command %u answered 0x%x: %zu objects, %zu and %zu sessions are left", what, at, code, objects,
                         sessions, saved);
}

/* What a node does with its TPM, each from the opening to the end. */

static char own_id[NODE_ID_LENGTH + 1];

static int do_read_ek(struct tpm *tpm) {
        struct wire_registration registration = {};
        int r = tpm_read_ek(tpm, &registration.ek_public, &registration.ek_certificate, registration.ek_chain,
                            &registration.n_ek_chain);

        wire_registration_done(&registration);
        return r;
}

static int do_make_ak(struct tpm *tpm) {
        _cleanup_(blob_done) struct blob ak = {};
        char id[NODE_ID_LENGTH + 1];
        int r = tpm_make_ak(tpm, &ak, id);

        if (r >= 0)
                assert_string_equal(id, own_id);
        return r;
}

static int do_activate(struct tpm *tpm) {
        _cleanup_(secret_freep) struct secret *secret = NULL;
        int r = do_make_ak(tpm);

        if (r >= 0)
                r = tpm_activate(tpm, &credential, &secret);
        if (r >= 0)
                assert_int_equal(secret->data[0], 't');
        return r;
}

static int do_quote(struct tpm *tpm) {
        _cleanup_(wire_evidence_done) struct wire_evidence evidence = {};
        int r = do_make_ak(tpm);

        return r < 0 ? r
                     : tpm_quote(tpm, TPM2_ALG_SHA256, 0xff, (const uint8_t[32]){}, &evidence.attest, &evidence.signature,
                                 &evidence.pcrs);
}

static int do_gate(struct tpm *tpm) {
        struct pcr_values values;
        int r = tpm_pcr_event(tpm, 15, "x", 1);

        return r < 0 ? r : tpm_read_pcr_all_banks(tpm, 15, &values);
}

static int do_describe(struct tpm *tpm) {
        struct tpm_state tpm_state_now;
        char text[64];
        int r = tpm_describe(tpm, text, sizeof(text));

        return r < 0 ? r : tpm_state(tpm, &tpm_state_now);
}

static const struct {
        const char *name;
        int (*run)(struct tpm *tpm);
        bool other_ways; /* an EK that its maker left there is not needed */
} operations[] = { { "EK", do_read_ek, true }, { "AK", do_make_ak }, { "credential", do_activate, true },
                   { "quote", do_quote },      { "gate", do_gate },  { "description", do_describe } };

static void make_credential(void) {
        static const uint8_t text[32] = "thirty-two bytes of a credential";
        _cleanup_(wire_registration_done) struct wire_registration registration = {};
        uint8_t name[34] = { 0, 0x0b };
        struct tpm *tpm;

        if (credential.id_object.size > 0)
                return;
        assert_int_equal(tpm_open(swtpm->tcti, &tpm), 0);
        assert_int_equal(tpm_read_ek(tpm, &registration.ek_public, &registration.ek_certificate, registration.ek_chain,
                                     &registration.n_ek_chain),
                         0);
        assert_int_equal(tpm_make_ak(tpm, &registration.ak_public, own_id), 0);
        tpm_close(tpm);
        assert_int_equal(tpmt_name_digest(registration.ak_public.data, registration.ak_public.size, name + 2), 0);
        assert_int_equal(credential_make(registration.ek_public.data, registration.ek_public.size, name, text, sizeof(text),
                                         &credential.id_object, &credential.secret),
                         0);
}

/* Whether the command of this number was there to fail. */
static bool fail_at(size_t operation, unsigned at, uint32_t code) {
        struct tpm_proxy proxy = { .code = code };
        struct tpm *tpm;
        bool acted;
        int r;

        tpm_proxy_start(swtpm, TPM_PROXY_FAIL_AT, at, &proxy);
        r = tpm_open(proxy.tcti, &tpm);
        if (r >= 0) {
                r = operations[operation].run(tpm);
                acted = proxy.seen->acted;
                if (acted && r >= 0 && (code == TPM2_RC_FAILURE || code == TPM2_RC_LOCKOUT) && !operations[operation].other_ways)
                        fail_msg("%s: command %u answered 0x%x, and all is well", operations[operation].name, at, code);
                if (acted && r < 0)
                        assert_true(strlen(tpm_last_error(tpm)) > 0);
                if (acted && r < 0 && code == TPM2_RC_RETRY)
                        fail_msg("%s: command %u was to be sent again: %s", operations[operation].name, at, tpm_last_error(tpm));
                tpm_close(tpm);
        }
        acted = at <= proxy.seen->commands;
        tpm_proxy_stop(&proxy);
        expect_nothing_left(operations[operation].name, at, code);
        return acted;
}

static void nothing_is_left_behind_by_failures(void **state) {
        static const uint32_t codes[] = { TPM2_RC_RETRY,         TPM2_RC_FAILURE,      TPM2_RC_LOCKOUT,
                                          TPM2_RC_OBJECT_MEMORY, TPM2_RC_REFERENCE_H0, TPM2_RC_HANDLE };

        make_credential();
        expect_nothing_left("nothing", 0, 0);
        for (size_t i = 0; i < ELEMENTSOF(operations); i++)
                for (size_t k = 0; k < ELEMENTSOF(codes); k++)
                        for (unsigned at = 1; fail_at(i, at, codes[k]); at++)
                                assert_true(at < 100);
}

/* The keys are gone from the TPM in the middle of things: they are made again, the same. */
static void cleared_in_the_middle(void **state) {
        make_credential();
        for (enum tpm_proxy_mode mode = TPM_PROXY_CLEARS; mode <= TPM_PROXY_RESETS; mode++)
                for (unsigned i = 2; i <= 3; i++) {
                        struct tpm_proxy proxy = {};
                        struct tpm *tpm;

                        tpm_proxy_start(swtpm, mode, 1, &proxy);
                        assert_int_equal(tpm_open(proxy.tcti, &tpm), 0);
                        if (operations[i].run(tpm) < 0)
                                fail_msg("%s: %s", operations[i].name, tpm_last_error(tpm));
                        assert_true(proxy.seen->acted);
                        tpm_close(tpm);
                        tpm_proxy_stop(&proxy);
                        expect_nothing_left(operations[i].name, mode, 0);
                }
}

static void cleared_again_and_again(void **state) {
        make_credential();
        for (enum tpm_proxy_mode mode = TPM_PROXY_CLEARS; mode <= TPM_PROXY_RESETS; mode++)
                for (unsigned i = 2; i <= 3; i++) {
                        struct tpm_proxy proxy = {};
                        struct tpm *tpm;

                        tpm_proxy_start(swtpm, mode, 1000, &proxy);
                        assert_int_equal(tpm_open(proxy.tcti, &tpm), 0);
                        assert_int_equal(operations[i].run(tpm), -EIO);
                        if (!strstr(tpm_last_error(tpm), "was reset or cleared"))
                                fail_msg("%s: %s", operations[i].name, tpm_last_error(tpm));
                        tpm_close(tpm);
                        tpm_proxy_stop(&proxy);
                        expect_nothing_left(operations[i].name, mode, 0);
                }
}

/* The credential's secret is in clear neither on its way to the TPM nor on its way back. */
static void credential_is_not_on_the_bus(void **state) {
        static const uint8_t text[32] = "thirty-two bytes of a credential";
        _cleanup_(wire_registration_done) struct wire_registration registration = {};
        _cleanup_(wire_credential_done) struct wire_credential made = {};
        _cleanup_(secret_freep) struct secret *secret = NULL;
        _cleanup_(freep) char *path = path_join(swtpm->dir, "traffic");
        _cleanup_(blob_done) struct blob traffic = {};
        uint8_t name[34] = { 0, 0x0b };
        char id[NODE_ID_LENGTH + 1];
        struct tpm_proxy proxy = {};
        struct tpm *tpm;

        tpm_proxy_start(swtpm, TPM_PROXY_RECORD, 0, &proxy);
        assert_int_equal(tpm_open(proxy.tcti, &tpm), 0);
        assert_int_equal(tpm_read_ek(tpm, &registration.ek_public, &registration.ek_certificate, registration.ek_chain,
                                     &registration.n_ek_chain),
                         0);
        assert_int_equal(tpm_make_ak(tpm, &registration.ak_public, id), 0);
        assert_int_equal(tpmt_name_digest(registration.ak_public.data, registration.ak_public.size, name + 2), 0);
        assert_int_equal(credential_make(registration.ek_public.data, registration.ek_public.size, name, text, sizeof(text),
                                         &made.id_object, &made.secret),
                         0);
        assert_int_equal(tpm_activate(tpm, &made, &secret), 0);
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
                cmocka_unit_test(nothing_is_left_behind_by_failures),
                cmocka_unit_test(cleared_in_the_middle),
                cmocka_unit_test(cleared_again_and_again),
        };

        return cmocka_run_group_tests(tests, start, finish);
}
