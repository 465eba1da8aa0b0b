/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tpm/seal.h"

#include <stdio.h>
#include <string.h>

#include "tpm/sealed.h"
#include "tpm/tpm-internal.h"

/* Seals to a storage primary key (the TCG's template, so that it is the same key after every start) under PolicyPCR. Both
 * sessions are salted with that key: what goes to the TPM and what comes back is encrypted on its bus. */

enum { UNSEAL_TRIES = 5 };

static const char gate_event[] = "tallyboot keystore gate";

/* TCG TPM v2.0 Provisioning Guidance, 7.5.1, on P-256. */
static const TPM2B_PUBLIC storage_template = {
        .publicArea = {
                .type = TPM2_ALG_ECC,
                .nameAlg = TPM2_ALG_SHA256,
                .objectAttributes = TPMA_OBJECT_FIXEDTPM | TPMA_OBJECT_FIXEDPARENT | TPMA_OBJECT_SENSITIVEDATAORIGIN |
                                    TPMA_OBJECT_USERWITHAUTH | TPMA_OBJECT_NODA | TPMA_OBJECT_RESTRICTED | TPMA_OBJECT_DECRYPT,
                .parameters.eccDetail = {
                        .symmetric = { .algorithm = TPM2_ALG_AES, .keyBits.aes = 128, .mode.aes = TPM2_ALG_CFB },
                        .scheme.scheme = TPM2_ALG_NULL,
                        .curveID = TPM2_ECC_NIST_P256,
                        .kdf.scheme = TPM2_ALG_NULL,
                },
        },
};

/* What we have in the TPM: two objects and a session; all of it goes on every way out. */
struct loaded {
        struct tpm *tpm;
        ESYS_TR primary, object, session;
        TPM2B_PUBLIC *public; /* of the primary key */
};

#define LOADED(t) \
        { .tpm = (t), .primary = ESYS_TR_NONE, .object = ESYS_TR_NONE, .session = ESYS_TR_NONE }

static void loaded_done(struct loaded *loaded) {
        tpm_drop(loaded->tpm, &loaded->session, false);
        tpm_drop(loaded->tpm, &loaded->object, false);
        tpm_drop(loaded->tpm, &loaded->primary, false);
        Esys_Free(loaded->public);
}

bool tpm_seal_gate_is_valid(unsigned pcr) {
        return pcr >= 8 && pcr <= 15 && pcr != 10;
}

bool tpm_seal_is_valid(const struct tpm_seal *seal) {
        return tpm_seal_gate_is_valid(seal->gate) && seal->mask != 0 && seal->mask < UINT32_C(1) << 23 &&
               !(seal->mask & (1U << 16 | 1U << seal->gate));
}

static int choose_bank(struct tpm *tpm, uint16_t wanted, uint16_t *ret) {
        uint16_t algs[WIRE_BANKS_MAX];
        size_t n;
        int r;

        r = tpm_active_banks(tpm, algs, &n);
        if (r < 0)
                return r;

        for (size_t i = 0; i < n; i++)
                if (algs[i] == (wanted ? wanted : TPM2_ALG_SHA256)) {
                        *ret = algs[i];
                        return 0;
                }
        if (wanted || pcr_alg_size(algs[0]) == 0)
                return tpm_fail_words(tpm, EOPNOTSUPP, "the TPM does not keep this PCR bank");
        *ret = algs[0];
        return 0;
}

/* A PCR that nothing was ever measured into has the same value whatever starts. */
static int check_measured(struct tpm *tpm, const struct sealed *sealed) {
        for (unsigned pcr = 0; pcr < WIRE_PCRS; pcr++) {
                char words[160];
                bool same = true;

                if (!(sealed->seal.mask & 1U << pcr))
                        continue;
                for (size_t i = 1; i < sealed->value_size; i++)
                        same &= sealed->values[pcr][i] == sealed->values[pcr][0];
                if (!same || (sealed->values[pcr][0] != 0 && sealed->values[pcr][0] != 0xff))
                        continue;
                (void) snprintf(words, sizeof(words),
                                "nothing has been measured into PCR %u: it would hold against nothing; name others", pcr);
                return tpm_fail_words(tpm, EINVAL, words);
        }
        return 0;
}

static int load_primary(struct loaded *loaded) {
        struct tpm *tpm = loaded->tpm;
        TSS2_RC rc;
        int r;

        rc = tpm_create_primary(tpm, ESYS_TR_RH_OWNER, &storage_template, &loaded->primary, &loaded->public);
        if (rc == TSS2_RC_SUCCESS)
                return 0;

        loaded->primary = ESYS_TR_NONE;
        r = tpm_fail(tpm, rc, "making the TPM's storage key");
        if (r == -EACCES)
                return tpm_fail_words(
                        tpm, r,
                        "the TPM's owner hierarchy has an authorization value, or is switched off: remove the value with "
                        "tpm2_changeauth -c owner, or look at the firmware's setup");
        return r;
}

static int start_session(struct loaded *loaded, TPM2_SE type, TPMA_SESSION attributes) {
        static const TPMT_SYM_DEF aes = { .algorithm = TPM2_ALG_AES, .keyBits.aes = 128, .mode.aes = TPM2_ALG_CFB };
        struct tpm *tpm = loaded->tpm;
        TSS2_RC rc;

        rc = TPM_CALL(Esys_StartAuthSession(tpm->esys, loaded->primary, ESYS_TR_NONE, ESYS_TR_NONE, ESYS_TR_NONE, ESYS_TR_NONE,
                                            NULL, type, &aes, TPM2_ALG_SHA256, &loaded->session));
        if (rc != TSS2_RC_SUCCESS) {
                loaded->session = ESYS_TR_NONE;
                return tpm_fail(tpm, rc, "starting a session with the TPM");
        }

        /* without CONTINUESESSION: the session ends with the command that it authorizes */
        rc = Esys_TRSess_SetAttributes(tpm->esys, loaded->session, attributes, 0xff);
        return rc == TSS2_RC_SUCCESS ? 0 : tpm_fail(tpm, rc, "starting a session with the TPM");
}

/* A session that its command has ended is forgotten; any other is flushed. */
static void end_session(struct loaded *loaded, bool used) {
        if (used)
                loaded->session = ESYS_TR_NONE;
        else
                tpm_drop(loaded->tpm, &loaded->session, false);
}

static int seal_create(struct loaded *loaded, const struct secret *secret, struct sealed *sealed) {
        _cleanup_(esys_freep) TPM2B_PRIVATE *private = NULL;
        _cleanup_(esys_freep) TPM2B_PUBLIC *public = NULL;
        static const TPML_PCR_SELECTION none = {};
        static const TPM2B_DATA outside = {};
        TPM2B_SENSITIVE_CREATE sensitive = { .sensitive.data.size = secret->size };
        TPM2B_PUBLIC template;
        TSS2_RC rc;
        int r;

        r = sealed_template(sealed, &template);
        if (r >= 0)
                r = start_session(loaded, TPM2_SE_HMAC, TPMA_SESSION_DECRYPT);
        if (r < 0)
                return r;

        memcpy(sensitive.sensitive.data.buffer, secret->data, secret->size);
        rc = TPM_CALL(Esys_Create(loaded->tpm->esys, loaded->primary, loaded->session, ESYS_TR_NONE, ESYS_TR_NONE, &sensitive,
                                  &template, &outside, &none, &private, &public, NULL, NULL, NULL));
        memory_wipe(&sensitive, sizeof(sensitive));
        end_session(loaded, rc == TSS2_RC_SUCCESS);
        if (rc != TSS2_RC_SUCCESS)
                return tpm_fail(loaded->tpm, rc, "sealing");

        sealed->public = *public;
        sealed->private = *private;
        return 0;
}

static int seal_describe(struct tpm *tpm, const struct tpm_seal *seal, struct sealed *ret) {
        struct sealed sealed = { .seal = *seal };
        struct pcr_values values;
        int r;

        if (!tpm_seal_is_valid(seal))
                return tpm_fail_words(tpm, EINVAL, "these PCRs cannot be sealed to");

        r = choose_bank(tpm, seal->bank, &sealed.seal.bank);
        if (r >= 0)
                r = tpm_read_pcrs(tpm, sealed.seal.bank, seal->mask, &values);
        if (r < 0)
                return r;

        sealed.value_size = pcr_alg_size(sealed.seal.bank);
        memcpy(sealed.values, values.banks[0].values, sizeof(sealed.values));
        r = check_measured(tpm, &sealed);
        if (r >= 0)
                *ret = sealed;
        return r;
}

int tpm_seal(struct tpm *tpm, const struct tpm_seal *seal, const struct secret *secret, struct blob *ret) {
        _cleanup_(loaded_done) struct loaded loaded = LOADED(tpm);
        struct pcr_values values;
        struct sealed sealed;
        int r;

        if (secret->size != SEALED_SECRET_SIZE)
                return tpm_fail_words(tpm, EINVAL, "only 32 bytes can be sealed");

        r = seal_describe(tpm, seal, &sealed);
        if (r >= 0)
                r = load_primary(&loaded);
        if (r < 0)
                return r;
        r = sealed_primary_digest(loaded.public, sealed.primary);
        if (r >= 0)
                r = seal_create(&loaded, secret, &sealed);
        if (r < 0)
                return r;

        /* the library's buffers still have the last command: this overwrites it */
        (void) tpm_read_pcr_all_banks(tpm, seal->gate, &values);
        return sealed_write(&sealed, ret);
}

/* Says which PCR is in the way, before the TPM says only that one is. */
static int check_pcrs(struct tpm *tpm, const struct sealed *sealed) {
        uint32_t gate = UINT32_C(1) << sealed->seal.gate, changed = 0;
        struct pcr_values now;
        char words[256];
        int n, r;

        r = tpm_read_pcrs(tpm, sealed->seal.bank, sealed->seal.mask | gate, &now);
        if (r < 0)
                return r;

        for (unsigned pcr = 0; pcr < WIRE_PCRS; pcr++)
                if ((sealed->seal.mask | gate) & 1U << pcr &&
                    memcmp(now.banks[0].values[pcr], sealed->values[pcr], sealed->value_size) != 0)
                        changed |= 1U << pcr;
        if (!changed)
                return 0;
        if (changed & gate) {
                (void) snprintf(words, sizeof(words),
                                "PCR %u is not zero: the TPM has given this secret already, or something else extended this PCR",
                                sealed->seal.gate);
                return tpm_fail_words(tpm, EALREADY, words);
        }

        n = snprintf(words, sizeof(words), "the machine has started otherwise than when this was sealed: changed is");
        for (unsigned pcr = 0; pcr < WIRE_PCRS; pcr++)
                if (changed & 1U << pcr)
                        n += snprintf(words + n, sizeof(words) - (size_t) n, " PCR %u", pcr);
        return tpm_fail_words(tpm, EACCES, words);
}

static int load_sealed(struct loaded *loaded, const struct sealed *sealed) {
        uint8_t digest[SHA256_SIZE];
        TSS2_RC rc;
        int r;

        r = load_primary(loaded);
        if (r >= 0)
                r = sealed_primary_digest(loaded->public, digest);
        if (r < 0)
                return r;
        if (memcmp(digest, sealed->primary, sizeof(digest)) != 0)
                return tpm_fail_words(loaded->tpm, EKEYREJECTED,
                                      "this was sealed by another TPM, or by this one before it was cleared");

        rc = TPM_CALL(Esys_Load(loaded->tpm->esys, loaded->primary, ESYS_TR_PASSWORD, ESYS_TR_NONE, ESYS_TR_NONE,
                                &sealed->private, &sealed->public, &loaded->object));
        if (rc == TSS2_RC_SUCCESS)
                return 0;
        loaded->object = ESYS_TR_NONE;
        r = tpm_fail(loaded->tpm, rc, "loading what was sealed");
        return r == -EKEYREJECTED ? tpm_fail_words(loaded->tpm, EKEYREJECTED, "what was sealed was changed, or is another TPM's")
                                  : r;
}

/* -EAGAIN: a PCR was extended meanwhile, or the TPM was busy; the session is void. */
static int unseal_once(struct loaded *loaded, const struct sealed *sealed, struct secret **ret) {
        TPM2B_SENSITIVE_DATA *data = NULL;
        TPML_PCR_SELECTION selection;
        ESYS_CONTEXT *esys = loaded->tpm->esys;
        TSS2_RC rc;
        int r;

        r = start_session(loaded, TPM2_SE_POLICY, TPMA_SESSION_ENCRYPT);
        if (r < 0)
                return r;

        sealed_selection(&sealed->seal, &selection);
        rc = TPM_CALL(Esys_PolicyPCR(esys, loaded->session, ESYS_TR_NONE, ESYS_TR_NONE, ESYS_TR_NONE, NULL, &selection));
        if (rc == TSS2_RC_SUCCESS)
                rc = Esys_Unseal(esys, loaded->object, loaded->session, ESYS_TR_NONE, ESYS_TR_NONE, &data);
        end_session(loaded, rc == TSS2_RC_SUCCESS);
        if (rc != TSS2_RC_SUCCESS) {
                r = tpm_fail(loaded->tpm, rc, "unsealing");
                return r == -EBUSY || r == -EACCES ? -EAGAIN : r;
        }

        r = data->size == SEALED_SECRET_SIZE ? secret_copy(data->buffer, data->size, ret) : -EBADMSG;
        memory_wipe(data, sizeof(*data));
        Esys_Free(data);
        return r;
}

int tpm_unseal(struct tpm *tpm, const void *data, size_t size, struct secret **ret) {
        _cleanup_(loaded_done) struct loaded loaded = LOADED(tpm);
        struct pcr_values values;
        struct sealed sealed;
        int r;

        r = sealed_parse(data, size, &sealed);
        if (r < 0)
                return tpm_fail_words(tpm, r, "this is nothing that was sealed here: damaged, or changed");

        r = load_sealed(&loaded, &sealed);
        if (r < 0)
                return r;

        r = -EAGAIN;
        for (unsigned i = 0; i < UNSEAL_TRIES && r == -EAGAIN; i++) {
                r = check_pcrs(tpm, &sealed);
                if (r >= 0)
                        r = unseal_once(&loaded, &sealed, ret);
        }
        /* the library's buffers still have the answer: this overwrites it */
        (void) tpm_read_pcr_all_banks(tpm, sealed.seal.gate, &values);
        return r == -EAGAIN ? -EBUSY : r;
}

/* ret: whether it is zero in one bank at the least. */
static int gate_is_open(struct tpm *tpm, unsigned pcr, bool *ret) {
        static const uint8_t zero[WIRE_DIGEST_MAX];
        struct pcr_values values;
        bool open = false;
        int r;

        r = tpm_read_pcr_all_banks(tpm, pcr, &values);
        if (r < 0)
                return r;
        for (size_t i = 0; i < values.n; i++)
                open |= memcmp(values.banks[i].values[pcr], zero, sizeof(zero)) == 0;
        *ret = open || values.n == 0;
        return 0;
}

int tpm_seal_gate_close(struct tpm *tpm, unsigned pcr) {
        bool open;
        int r;

        r = tpm_seal_gate_is_valid(pcr) ? gate_is_open(tpm, pcr, &open) : -EINVAL;
        if (r < 0 || !open)
                return r;
        r = tpm_pcr_event(tpm, pcr, gate_event, strlen(gate_event));
        if (r >= 0)
                r = gate_is_open(tpm, pcr, &open);
        if (r < 0)
                return r;
        return open ? tpm_fail_words(tpm, EIO, "the gate PCR is still zero after it was extended") : 0;
}

int tpm_seal_gates_open(struct tpm *tpm, uint32_t *ret) {
        static const uint8_t zero[WIRE_DIGEST_MAX];
        uint32_t mask = 0;

        for (unsigned pcr = 8; pcr <= 15; pcr++) {
                struct pcr_values values;
                bool all = true;
                int r;

                if (!tpm_seal_gate_is_valid(pcr))
                        continue;
                r = tpm_read_pcr_all_banks(tpm, pcr, &values);
                if (r < 0)
                        return r;
                for (size_t i = 0; i < values.n; i++)
                        all &= memcmp(values.banks[i].values[pcr], zero, sizeof(zero)) == 0;
                mask |= all ? 1U << pcr : 0;
        }
        *ret = mask;
        return 0;
}

int tpm_sealed_read(const void *data, size_t size, struct tpm_seal *ret) {
        struct sealed sealed;
        int r;

        r = sealed_parse(data, size, &sealed);
        if (r < 0)
                return r;
        *ret = sealed.seal;
        return 0;
}
