/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "test.h"

#include <stdio.h>

#include "base/file.h"
#include "swtpm.h"
#include "tpm/seal.h"
#include "tpm/sealed.h"
#include "tpm/tpm-internal.h"
#include "tpm-proxy.h"

/* tpm/seal.h against a software TPM, which has three places for objects and no resource manager. */

static struct swtpm *swtpm;
static const struct tpm_seal usual = { .mask = 1U << 7 | 1U << 4, .gate = 14 };

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

static void extend(unsigned pcr) {
        _cleanup_(tpm_closep) struct tpm *tpm = opened();

        assert_int_equal(tpm_pcr_event(tpm, pcr, "changed", 7), 0);
}

static struct secret *seal(const struct tpm_seal *how, struct blob *ret) {
        _cleanup_(tpm_closep) struct tpm *tpm = opened();
        struct secret *secret;
        int r;

        assert_int_equal(secret_random(32, &secret), 0);
        r = tpm_seal(tpm, how, secret, ret);
        if (r < 0)
                fail_msg("%d: %s", r, tpm_last_error(tpm));
        return secret;
}

static int unseal(const struct blob *blob, struct secret **ret) {
        _cleanup_(tpm_closep) struct tpm *tpm = opened();
        int r = tpm_unseal(tpm, blob->data, blob->size, ret);

        if (r < 0)
                assert_true(tpm_last_error(tpm)[0]);
        return r;
}

static void expect_secret(const struct blob *blob, const struct secret *secret) {
        _cleanup_(secret_freep) struct secret *found = NULL;

        assert_int_equal(unseal(blob, &found), 0);
        assert_true(secret_equal(secret, found));
}

static void expect_no_secret(const struct blob *blob, int expected, const char *words) {
        _cleanup_(tpm_closep) struct tpm *tpm = opened();
        struct secret *found = NULL;

        assert_int_equal(tpm_unseal(tpm, blob->data, blob->size, &found), expected);
        assert_null(found);
        if (!strstr(tpm_last_error(tpm), words))
                fail_msg("\"%s\" does not say \"%s\"", tpm_last_error(tpm), words);
}

static void close_gate(unsigned pcr) {
        _cleanup_(tpm_closep) struct tpm *tpm = opened();

        assert_int_equal(tpm_seal_gate_close(tpm, pcr), 0);
}

static void test_seal(_unused_ void **state) {
        _cleanup_(blob_done) struct blob blob = {};
        _cleanup_(secret_freep) struct secret *secret = seal(&usual, &blob);
        struct tpm_seal found;

        assert_true(blob.size <= SEALED_MAX);
        expect_secret(&blob, secret);
        swtpm_expect_empty(swtpm);
        expect_secret(&blob, secret);
        assert_int_equal(tpm_sealed_read(blob.data, blob.size, &found), 0);
        assert_int_equal(found.mask, usual.mask);
        assert_int_equal(found.gate, usual.gate);
        assert_int_equal(found.bank, TPM2_ALG_SHA256);

        swtpm_power_cycle(swtpm);
        expect_secret(&blob, secret);
        swtpm_expect_empty(swtpm);
}

/* Once the gate is closed nobody gets it again before the next start, root included. */
static void test_gate(_unused_ void **state) {
        _cleanup_(blob_done) struct blob blob = {}, later = {};
        _cleanup_(secret_freep) struct secret *secret = seal(&usual, &blob), *other = NULL;
        _cleanup_(freep) char *values = NULL;
        uint32_t gates;
        struct tpm *tpm;

        close_gate(14);
        expect_no_secret(&blob, -EALREADY, "PCR 14 is not zero");
        swtpm_expect_empty(swtpm);
        swtpm_tool(swtpm, "for bank in sha1 sha256 sha384; do tpm2_pcrread -Q -o value $bank:14; "
                          "od -An -v -tx1 value | tr -d ' \\n' | grep -q '[^0]' || exit 1; done");

        tpm = opened();
        assert_int_equal(tpm_seal_gates_open(tpm, &gates), 0);
        assert_int_equal(gates, 1U << 8 | 1U << 9 | 1U << 11 | 1U << 12 | 1U << 13 | 1U << 15);
        tpm_close(tpm);

        /* closing a closed one changes nothing */
        values = swtpm_shell(swtpm, "tpm2_pcrread sha256:14");
        close_gate(14);
        {
                _cleanup_(freep) char *again = swtpm_shell(swtpm, "tpm2_pcrread sha256:14");

                assert_string_equal(values, again);
        }

        /* sealed while it is closed: for the next start */
        other = seal(&usual, &later);
        expect_no_secret(&later, -EALREADY, "PCR 14 is not zero");
        swtpm_power_cycle(swtpm);
        expect_secret(&blob, secret);
        expect_secret(&later, other);
}

static void test_changed_pcr(_unused_ void **state) {
        _cleanup_(blob_done) struct blob blob = {};
        _cleanup_(secret_freep) struct secret *secret = seal(&usual, &blob);

        extend(5); /* is not sealed to */
        expect_secret(&blob, secret);
        extend(7);
        expect_no_secret(&blob, -EACCES, "changed is PCR 7");
        extend(4);
        expect_no_secret(&blob, -EACCES, "changed is PCR 4 PCR 7");
        swtpm_expect_empty(swtpm);
        swtpm_power_cycle(swtpm);
        expect_secret(&blob, secret);
}

/* The TPM itself refuses: our own look at the PCRs is for the words only. */
static void test_tpm_refuses(_unused_ void **state) {
        _cleanup_(blob_done) struct blob blob = {};
        _cleanup_(secret_freep) struct secret *secret = seal(&usual, &blob);
        _cleanup_(freep) char *path = path_join(swtpm->dir, "blob");
        size_t public_at = 8 + 2 + 4 + 1 + 32 + 2 * 32;
        char command[1024];

        assert_true(blob.size > public_at);
        assert_int_equal(file_write(path, blob.data, blob.size, 0600), 0);
        (void) snprintf(
                command, sizeof(command),
                "tail -c +%zu blob > object && size=$(( $(od -An -tu1 -N1 object) * 256 + $(od -An -tu1 -j1 -N1 object) + 2 )) && "
                "head -c $size object > public && tail -c +$(( size + 1 )) object > private && "
                "tpm2_createprimary -Q -C o -g sha256 -G ecc256:null:aes128cfb -c p.ctx "
                "-a 'fixedtpm|fixedparent|sensitivedataorigin|userwithauth|noda|restricted|decrypt' && "
                "tpm2_flushcontext -t && tpm2_load -Q -C p.ctx -u public -r private -c o.ctx && tpm2_flushcontext -t",
                public_at + 1);
        swtpm_tool(swtpm, command);
        /* with the policy's PCRs as they were: another program opens it */
        swtpm_tool(
                swtpm,
                "tpm2_unseal -c o.ctx -p pcr:sha256:4,7,14 -o out && tpm2_flushcontext -t && tpm2_flushcontext -l && test $(wc -c < out) = 32");
        swtpm_tool(swtpm, "! tpm2_unseal -c o.ctx -o /dev/null; tpm2_flushcontext -t; tpm2_flushcontext -l");
        swtpm_tool(swtpm, "! tpm2_unseal -c o.ctx -p pcr:sha256:4,7 -o /dev/null; tpm2_flushcontext -t; tpm2_flushcontext -l");
        close_gate(14);
        swtpm_tool(swtpm, "! tpm2_unseal -c o.ctx -p pcr:sha256:4,7,14 -o /dev/null; tpm2_flushcontext -t; tpm2_flushcontext -l");
        swtpm_power_cycle(swtpm);
}

static void test_parameters(_unused_ void **state) {
        static const struct tpm_seal wrong[] = {
                { .mask = 1U << 7, .gate = 7 },   { .mask = 1U << 7, .gate = 10 },  { .mask = 1U << 7, .gate = 16 },
                { .mask = 0, .gate = 14 },        { .mask = 1U << 14, .gate = 14 }, { .mask = 1U << 16, .gate = 14 },
                { .mask = 1U << 23, .gate = 14 }, { .mask = 1U << 24, .gate = 14 },
        };
        _cleanup_(secret_freep) struct secret *secret = NULL, *short_one = NULL;
        _cleanup_(tpm_closep) struct tpm *tpm = opened();
        struct tpm_seal how = usual;
        struct blob blob;

        assert_int_equal(secret_random(32, &secret), 0);
        assert_int_equal(secret_random(31, &short_one), 0);
        for (size_t i = 0; i < ELEMENTSOF(wrong); i++)
                assert_int_equal(tpm_seal(tpm, wrong + i, secret, &blob), -EINVAL);
        assert_int_equal(tpm_seal(tpm, &usual, short_one, &blob), -EINVAL);

        how.mask = 1U << 7 | 1U << 8;
        assert_int_equal(tpm_seal(tpm, &how, secret, &blob), -EINVAL);
        assert_non_null(strstr(tpm_last_error(tpm), "measured into PCR 8"));
        how.mask = 1U << 17; /* all ones */
        assert_int_equal(tpm_seal(tpm, &how, secret, &blob), -EINVAL);
        how = usual;
        how.bank = TPM2_ALG_SHA512;
        assert_int_equal(tpm_seal(tpm, &how, secret, &blob), -EOPNOTSUPP);
        how.bank = TPM2_ALG_SHA384;
        assert_int_equal(tpm_seal(tpm, &how, secret, &blob), 0);
        blob_done(&blob);
        assert_int_equal(tpm_seal_gate_close(tpm, 10), -EINVAL);
}

/* Every byte counts; nothing is taken that was cut or is longer. */
static void test_blob_changed(_unused_ void **state) {
        _cleanup_(blob_done) struct blob blob = {};
        _cleanup_(secret_freep) struct secret *secret = seal(&usual, &blob);
        _cleanup_(tpm_closep) struct tpm *tpm = opened();
        uint8_t longer[SEALED_MAX + 1] = {};

        for (size_t i = 0; i < blob.size; i++) {
                struct secret *found = NULL;
                int r;

                blob.data[i] ^= 0x01;
                r = tpm_unseal(tpm, blob.data, blob.size, &found);
                blob.data[i] ^= 0x01;
                if (r >= 0 || found)
                        fail_msg("byte %zu of %zu does not count", i, blob.size);
        }
        for (size_t size = 0; size < blob.size; size++) {
                struct tpm_seal found;

                assert_int_equal(tpm_sealed_read(blob.data, size, &found), -EBADMSG);
        }
        memcpy(longer, blob.data, blob.size);
        assert_int_equal(tpm_sealed_read(longer, blob.size + 1, &(struct tpm_seal){}), -EBADMSG);
        assert_int_equal(tpm_sealed_read(longer, sizeof(longer), &(struct tpm_seal){}), -EBADMSG);
}

/* An object of this TPM that somebody else made, knowing the secret, with a policy of his own. */
static void test_foreign_object(_unused_ void **state) {
        _cleanup_(blob_done) struct blob blob = {}, forged = {};
        _cleanup_(secret_freep) struct secret *secret = seal(&usual, &blob);
        struct sealed sealed;

        assert_int_equal(sealed_parse(blob.data, blob.size, &sealed), 0);
        sealed.public.publicArea.objectAttributes &= ~TPMA_OBJECT_FIXEDTPM;
        assert_int_equal(sealed_write(&sealed, &forged), 0);
        expect_no_secret(&forged, -EBADMSG, "nothing that was sealed here");
        blob_done(&forged);

        assert_int_equal(sealed_parse(blob.data, blob.size, &sealed), 0);
        sealed.public.publicArea.objectAttributes |= TPMA_OBJECT_USERWITHAUTH;
        assert_int_equal(sealed_write(&sealed, &forged), 0);
        expect_no_secret(&forged, -EBADMSG, "nothing that was sealed here");
        blob_done(&forged);

        /* says another gate than its policy has */
        assert_int_equal(sealed_parse(blob.data, blob.size, &sealed), 0);
        sealed.seal.gate = 13;
        assert_int_equal(sealed_write(&sealed, &forged), 0);
        expect_no_secret(&forged, -EBADMSG, "nothing that was sealed here");
}

static void test_another_tpm(_unused_ void **state) {
        _cleanup_(blob_done) struct blob blob = {};
        _cleanup_(secret_freep) struct secret *secret = seal(&usual, &blob);

        swtpm_tool(swtpm, "tpm2_clear");
        expect_no_secret(&blob, -EKEYREJECTED, "another TPM");
        swtpm_expect_empty(swtpm);
}

static void test_owner_authorization(_unused_ void **state) {
        _cleanup_(blob_done) struct blob blob = {};
        _cleanup_(secret_freep) struct secret *secret = seal(&usual, &blob);

        swtpm_tool(swtpm, "tpm2_changeauth -c owner value");
        expect_no_secret(&blob, -EACCES, "tpm2_changeauth -c owner");
        swtpm_tool(swtpm, "tpm2_changeauth -c owner -p value");
        expect_secret(&blob, secret);
        swtpm_expect_empty(swtpm);
}

static bool bytes_are_in(const struct blob *where, const struct secret *secret) {
        for (size_t size = 32; size >= 16; size -= 8)
                if (memmem(where->data, where->size, secret->data, size) ||
                    memmem(where->data, where->size, secret->data + 32 - size, size))
                        return true;
        return false;
}

/* Whoever listens on the TPM's bus. */
static void test_bus(_unused_ void **state) {
        _cleanup_(secret_freep) struct secret *secret = NULL, *found = NULL;
        _cleanup_(blob_done) struct blob blob = {}, traffic = {};
        _cleanup_(freep) char *path = path_join(swtpm->dir, "traffic");
        struct tpm_proxy proxy = {};
        struct tpm *tpm;

        assert_int_equal(secret_random(32, &secret), 0);
        tpm_proxy_start(swtpm, TPM_PROXY_RECORD, 0, &proxy);
        assert_int_equal(tpm_open(proxy.tcti, &tpm), 0);
        assert_int_equal(tpm_seal(tpm, &usual, secret, &blob), 0);
        assert_int_equal(tpm_unseal(tpm, blob.data, blob.size, &found), 0);
        assert_true(secret_equal(secret, found));
        tpm_close(tpm);
        tpm_proxy_stop(&proxy);

        assert_int_equal(file_read(path, 1 << 20, &traffic), 0);
        assert_non_null(memmem(traffic.data, traffic.size, blob.data + blob.size - 64, 64)); /* it is a record of all */
        assert_false(bytes_are_in(&traffic, secret));
}

/* How often 16 bytes or more of it are between from and to. The sanitizer does not want all of a stack read. */
__attribute__((no_sanitize_address)) static unsigned scan(const uint8_t *from, const uint8_t *to,
                                                          const uint8_t inverse[static 32]) {
        unsigned found = 0;

        for (const uint8_t *p = from; p + 32 <= to; p++) {
                size_t same = 0;

                while (same < 32 && (p[same] ^ inverse[same]) == 0xff)
                        same++;
                found += same >= 16;
        }
        return found;
}

/* What a program of ours still has of a secret that it got and freed; the TPM's library has buffers that we cannot wipe. */
static void test_memory(_unused_ void **state) {
        _cleanup_(blob_done) struct blob blob = {};
        unsigned long from, to;
        uint8_t inverse[32];
        unsigned found = 0;
        char line[256];
        FILE *maps;

#ifdef __SANITIZE_ADDRESS__ /* its frames are larger: what the TPM's library leaves on the stack is not written over */
        skip();
#endif
        {
                _cleanup_(tpm_closep) struct tpm *tpm = opened();
                _cleanup_(secret_freep) struct secret *secret = NULL, *again = NULL;

                assert_int_equal(secret_random(32, &secret), 0);
                for (size_t i = 0; i < 32; i++)
                        inverse[i] = secret->data[i] ^ 0xff;
                assert_int_equal(tpm_seal(tpm, &usual, secret, &blob), 0);
                assert_int_equal(tpm_unseal(tpm, blob.data, blob.size, &again), 0);
        }

        maps = fopen("/proc/self/maps", "re");
        assert_non_null(maps);
        while (fgets(line, sizeof(line), maps))
                if (sscanf(line, "%lx-%lx rw", &from, &to) == 2 && (strstr(line, "[heap]") || strstr(line, "[stack]")))
                        found += scan((const uint8_t *) from, (const uint8_t *) to, inverse);
        (void) fclose(maps);
        assert_int_equal(found, 0);
}

static void try_with_failure(unsigned at, uint32_t code, const struct blob *blob, bool *ret_acted) {
        _cleanup_(secret_freep) struct secret *secret = NULL, *found = NULL;
        struct tpm_proxy proxy = { .code = code };
        struct blob made = {};
        struct tpm *tpm;
        int r, k = 0;

        assert_int_equal(secret_random(32, &secret), 0);
        tpm_proxy_start(swtpm, TPM_PROXY_FAIL_AT, at, &proxy);
        r = tpm_open(proxy.tcti, &tpm);
        if (r >= 0) {
                r = tpm_unseal(tpm, blob->data, blob->size, &found);
                k = tpm_seal(tpm, &usual, secret, &made);
                if (r < 0 || k < 0)
                        assert_true(tpm_last_error(tpm)[0]);
                tpm_close(tpm);
        }
        assert_true(r < 0 || found);
        assert_true(k < 0 || r < 0 || made.data);
        *ret_acted = at <= proxy.seen->commands;
        tpm_proxy_stop(&proxy);
        blob_done(&made);
}

static void test_failures(_unused_ void **state) {
        static const uint32_t codes[] = { TPM2_RC_FAILURE, TPM2_RC_PCR_CHANGED };
        _cleanup_(blob_done) struct blob blob = {};
        _cleanup_(secret_freep) struct secret *secret = seal(&usual, &blob);

        for (size_t i = 0; i < ELEMENTSOF(codes); i++) {
                bool acted = true;

                for (unsigned at = 1; acted && at < 64; at++) {
                        try_with_failure(at, codes[i], &blob, &acted);
                        swtpm_expect_empty(swtpm);
                }
        }
        expect_secret(&blob, secret);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_seal),
                cmocka_unit_test(test_gate),
                cmocka_unit_test(test_changed_pcr),
                cmocka_unit_test(test_tpm_refuses),
                cmocka_unit_test(test_parameters),
                cmocka_unit_test(test_blob_changed),
                cmocka_unit_test(test_foreign_object),
                cmocka_unit_test(test_owner_authorization),
                cmocka_unit_test(test_bus),
                cmocka_unit_test(test_memory),
                cmocka_unit_test(test_failures),
                cmocka_unit_test(test_another_tpm),
        };

        return cmocka_run_group_tests_name("tpm-seal", tests, start, finish);
}
