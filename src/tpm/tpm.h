/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "base/buffer.h"
#include "base/secret.h"
#include "crypto/crypto.h"
#include "wire/wire.h"

/* The dozen TPM commands of the node, over tss2-esys. Errors: -ENODEV no TPM (or TCTI), -EIO the TPM failed, -EBUSY still busy
 * after retries (TPM_RC_RETRY, TESTING, YIELDED, PCR_CHANGED...), -EACCES authorization set or wrong (endorsement hierarchy),
 * -EPERM lockout, -EOPNOTSUPP algorithm missing, -ENOMEM out of TPM memory for objects.
 * tpm_last_error() has the words. */
struct tpm;

/* tcti: a tss2-tctildr string, "device:/dev/tpmrm0", "swtpm:path=...", "swtpm:host=127.0.0.1,port=2321". */
int tpm_open(const char *tcti, struct tpm **ret);
struct tpm *tpm_close(struct tpm *tpm); /* flushes all that we loaded */
DEFINE_CLEANUP(struct tpm *, tpm_close)
/* In words, for a person: "the TPM is in dictionary-attack lockout: ...". NULL: why tpm_open() failed, in this thread. */
const char *tpm_last_error(const struct tpm *tpm);

/* The EK (the low-range template of its certificate: RSA-2048 at NV 0x01c00002, else ECC P-256 0x01c0000a, P-384 0x01c00016) and
 * certificates; chain from NV 0x01c00100 on. ret_certificate empty where the TPM has none. */
int tpm_read_ek(struct tpm *tpm, struct blob *ret_public /* TPMT_PUBLIC */, struct blob *ret_certificate, struct blob *chain,
                size_t *ret_n_chain /* chain has room for 8 */);

/* Make the AK (docs/protocol.md, 2); it stays loaded in tpm. */
int tpm_make_ak(struct tpm *tpm, struct blob *ret_public /* TPMT_PUBLIC */, char ret_node_id[static NODE_ID_LENGTH + 1]);

/* TPM2_ActivateCredential with the EK (PolicySecret of the endorsement hierarchy). */
int tpm_activate(struct tpm *tpm, const struct wire_credential *credential, struct secret **ret);

/* TPM2_Quote by the AK over the PCRs of mask in one bank, and the values that the quote covers: read, quoted, compared, again
 * where a PCR changed in between (at most 5 times). */
int tpm_quote(struct tpm *tpm, uint16_t bank, uint32_t mask, const uint8_t qualifying_data[static 32], struct blob *ret_attest,
              struct blob *ret_signature, struct pcr_values *ret_pcrs);

/* The gate. Values of one PCR in every active bank, zeros after a value that is shorter than WIRE_DIGEST_MAX; a bank whose
 * algorithm pcr_alg_size() does not know (SM3, SHA-3) is there too. */
int tpm_read_pcr_all_banks(struct tpm *tpm, unsigned pcr, struct pcr_values *ret);
int tpm_active_banks(struct tpm *tpm, uint16_t ret_algs[static WIRE_BANKS_MAX], size_t *ret_n);
/* TPM2_PCR_Event with the constant event data "tallyboot gate", in all active banks. */
int tpm_pcr_event(struct tpm *tpm, unsigned pcr, const void *data, size_t size);

/* "IFX SLB9670 7.85" and so on: vendor, model, firmware; for doctor and register. */
int tpm_describe(struct tpm *tpm, char *ret, size_t size);

/* What a person may have to change about the TPM; for doctor. A lockout does not stop us (our keys are outside of it). */
struct tpm_state {
        bool in_lockout, endorsement_auth_set, endorsement_enabled;
};
int tpm_state(struct tpm *tpm, struct tpm_state *ret);
