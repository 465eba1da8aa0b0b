/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <openssl/x509.h>

#include "crypto/credential.h"
#include "evidence/ek.h"
#include "wire/wire.h"

/* Judging what a node sent. Pure: bytes in, verdict out; no I/O, no clock but the one given. */

/* Why evidence was refused, in the order of docs/protocol.md, 5. */
enum evidence_fault {
        EVIDENCE_OK = 0,
        EVIDENCE_KIND,         /* a quote of a node that has a token, or a token's signature of one that has a TPM */
        EVIDENCE_SIGNATURE,    /* not by the pinned AK */
        EVIDENCE_MALFORMED,    /* TPMS_ATTEST or TPMT_SIGNATURE do not parse, or bytes are left over */
        EVIDENCE_MAGIC,        /* not made inside a TPM */
        EVIDENCE_TYPE,         /* not a quote */
        EVIDENCE_BINDING,      /* qualifying data differ */
        EVIDENCE_TEMPLATE,     /* the AK is not what it must be */
        EVIDENCE_COUNTERS,     /* lower than the highest boot seen */
        EVIDENCE_SELECTION,    /* PCR missing, wrong bank, empty bitmap, values without quote or quote without values */
        EVIDENCE_DIGEST,       /* PCR digest differs */
        EVIDENCE_GATE,         /* gate PCR not zero */
        EVIDENCE_PCR_CONSTANT, /* PCR 0-7 all zero or all one bits */
};
const char *evidence_fault_to_string(enum evidence_fault fault); /* "signature", "malformed", ... */

struct boot_counters { /* as the AK signs them */
        uint32_t reset, restart;
};
int boot_counters_compare(struct boot_counters a, struct boot_counters b); /* <0, 0, >0 */

/* The attest structure, parsed (TPM 2.0 Library, Part 2, 10.12.12): exactly the bytes of a quote. Of another type, or with
 * another magic, only what all types have in common. */
enum { ATTEST_TYPE_QUOTE = 0x8018 };
#define ATTEST_MAGIC UINT32_C(0xff544347)
struct attest {
        uint32_t magic;
        uint16_t type;
        uint8_t extra_data[64];
        size_t extra_data_size;
        struct boot_counters boot;
        uint64_t clock, firmware_version;
        bool safe;
        struct {
                uint16_t alg;
                uint32_t mask;
        } selections[16];
        size_t n_selections;
        uint8_t pcr_digest[WIRE_DIGEST_MAX];
        size_t pcr_digest_size;
};
int attest_parse(const void *data, size_t size, struct attest *ret);

struct evidence_expected {
        const char *node_id;
        const struct blob *ak_public; /* TPMT_PUBLIC as pinned */
        const struct blob
                *token_public; /* SubjectPublicKeyInfo as pinned; not empty: the node has no TPM, and what follows is not read */
        uint16_t bank;
        uint32_t pcrs; /* mask wanted, the gate included for boot and rotate */
        unsigned gate;
        bool has_boot; /* a highest boot is known */
        struct boot_counters boot;
};
struct evidence_verdict {
        enum evidence_fault fault;
        struct boot_counters boot;
        uint64_t firmware; /* of the TPM, as it signs it */
        bool proven;       /* the signature was right: the refusal is written to the audit log */
};
/* Steps 4 to 9 of docs/protocol.md, 5 (the nonces are the caller's), or what 13 says instead for a token. 0 whatever the verdict;
 * -ENOMEM and the like otherwise. After EVIDENCE_OK evidence->pcrs holds values of exactly the signed selection. */
int evidence_verify(const struct wire_evidence *evidence, const struct evidence_expected *expected, struct evidence_verdict *ret);

/* The AK's public area is the template but for the point. -EKEYREJECTED. */
int ak_check_template(const void *public, size_t size);
int ak_node_id(const void *public, size_t size, char ret[static NODE_ID_LENGTH + 1]);
