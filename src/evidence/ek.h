/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "base/macro.h"
#include "wire/wire.h"

/* Whether an endorsement key is one of a TPM that a maker vouches for (docs/protocol.md, 7; TCG EK Credential Profile 2.5). Pure:
 * files come in as bytes, the time as a number. */

/* What a certificate says of its TPM (3.1.2: attributes 2.23.133.2.1 to .3), safe for a terminal; "" where it says nothing, or
 * several things. A manufacturer written "id:49465800" is "IFX" here, where that is text. */
struct ek_identity {
        char manufacturer[24], model[72], version[40];
};

enum ek_proof {
        EK_UNPROVEN,  /* no certificate, and none was asked for */
        EK_LISTED,    /* its digest is on the list of those that need none */
        EK_CERTIFIED, /* a path to a maker's root */
};
const char *ek_proof_to_string(enum ek_proof proof); /* "none", "listed", "certificate" */

struct ek_verdict {
        uint8_t digest[32]; /* of the EK: docs/protocol.md, 2 */
        enum ek_proof proof;
        struct ek_identity tpm; /* of a certified one; else empty */
};

/* What EKs are held against. Filled once, then only read, by any number of threads. */
struct ek_trust;
struct ek_trust_options {
        bool certificate_required; /* of every EK that is not listed */
        bool crls_required; /* a current one of every issuer in the path; else those that are there are heeded, expired or not */
};
struct ek_trust *ek_trust_new(const struct ek_trust_options *options); /* NULL: out of memory */
struct ek_trust *ek_trust_free(struct ek_trust *trust);
DEFINE_CLEANUP(struct ek_trust *, ek_trust_free)

/* One file of certificates, or of CRLs: PEM, any number of them, or one in DER. Certificates that signed themselves are anchors,
 * others help to build paths to them. Returns how many were taken, or -ENOMEM; why: what is wrong with the file, "" if nothing
 * is. */
int ek_trust_add_roots(struct ek_trust *trust, const struct blob *file, char *why, size_t size);
int ek_trust_add_crls(struct ek_trust *trust, const struct blob *file, char *why, size_t size);
/* EKs that need no certificate: a digest (64 hexadecimal digits) a line, what follows it and lines that begin with # are for
 * people. Returns how many, -EBADMSG with words in error, -ENOMEM. */
int ek_trust_add_listed(struct ek_trust *trust, const struct blob *file, char *error, size_t size);
/* TPMs that are refused, certified or not: rules separated by ; each of conditions separated by , that must all hold:
 * manufacturer=IFX (or id:49465800), model=SLB 9670* and version=id:07* (shell patterns over what the certificate says),
 * firmware=7.0-7.84 (as the quote says: TPM_PT_FIRMWARE_VERSION_1). What a certificate does not say fulfils a condition. -EINVAL
 * with words in error. */
int ek_trust_refuse(struct ek_trust *trust, const char *rules, char *error, size_t size);
size_t ek_trust_anchors(const struct ek_trust *trust);

/* What a person should know of the files together, a line at a time: certificates that lead nowhere, are no CA's, or are out of
 * date, CRLs out of date or of unknown issuers. */
typedef void (*ek_say)(const char *line, void *userdata);
void ek_trust_review(const struct ek_trust *trust, int64_t now, ek_say say, void *userdata);

/* The whole check of a registration's EK at time now (seconds): that it is a restricted decryption key; that it is listed, or the
 * certificate is of it and leads to an anchor (dates, CA flags, path lengths, key usages, the EK usage 2.23.133.8.1 where
 * extended usages are there, a critical subjectAltName with only a directoryName, CRLs, no weak key or digest), and no rule
 * refuses that TPM. Rules on firmware wait for a quote. On -EKEYREJECTED error says why. */
int ek_check(const struct ek_trust *trust, const struct wire_registration *registration, int64_t now, struct ek_verdict *ret,
             char *error, size_t error_size);
/* To be kept with a node whose EK was certified: its certificate and what the TPM had of the path, in DER, one after the other.
 * ret owns. */
int ek_certificates_pack(const struct wire_registration *registration, struct blob *ret);
/* Whether a CRL says by now that one of the path was revoked; why: which. Not what else may be wrong by now: dates, a root that
 * was taken away. digest: of the EK; one that is listed needs no certificate. */
bool ek_certificates_revoked(const struct ek_trust *trust, const uint8_t digest[static 32], const struct blob *certificates,
                             int64_t now, char *ret_why, size_t size);
bool ek_trust_has_crls(const struct ek_trust *trust);
/* Whether a rule with a condition on firmware refuses this TPM, as a quote gives the version (TPMS_ATTEST firmwareVersion). tpm
 * NULL: its certificate was never seen, and only rules of firmware alone can hold. ret_why: the TPM in words. */
bool ek_firmware_refused(const struct ek_trust *trust, const struct ek_identity *tpm, uint64_t firmware, char *ret_why,
                         size_t size);
