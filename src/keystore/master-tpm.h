/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "keystore/master.h"
#include "tpm/seal.h"

/* The master key is HKDF(secret, salt): the secret is sealed by this machine's TPM, the salt is in the row beside the sealed
 * blob. Unsealed once a boot: the secret goes into the kernel's keyring (bootkey.h), then the gate PCR is closed. */

enum { MASTER_TPM_SALT = 32 };

struct master_tpm {
        uint8_t salt[MASTER_TPM_SALT];
        struct tpm_seal seal; /* what it is sealed to */
        const uint8_t *sealed;
        size_t sealed_size; /* in the parameters */
};
/* The parameters of a row: "tbtpm1" 00 00, salt, sealed blob. -EBADMSG. */
int master_tpm_parse(const struct blob *parameters, struct master_tpm *ret);

/* What init lets a person write down: the sealed secret itself, while this boot has it. -ENOENT. */
int master_tpm_secret(const struct blob *parameters, struct secret **ret);
/* The way back, after PCRs changed or the TPM is another one: takes the secret for this boot, as if it had been unsealed. Whether
 * it is the right one, the keystore finds out when it is opened; master_tpm_forget() where it is not. */
int master_tpm_remember(const struct blob *parameters, const struct secret *secret, char *error, size_t error_size);
void master_tpm_forget(const struct blob *parameters);
/* The same secret and salt, sealed to the PCRs as they are now (and this TPM). The gate is closed. */
int master_tpm_reseal(const struct keystore_options *options, const struct blob *parameters, struct blob *ret, char *error,
                      size_t error_size);
