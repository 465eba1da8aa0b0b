/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "base/file.h"
#include "wire/wire.h"

/* What the logs of a boot say, as far as a quote backs it. Everything here is a copy: the log's bytes can be dropped. Pure.
 *
 * Only events of PCRs whose replay gives the quoted value are looked at (proven), and of these events only what their digest binds:
 * data that the event's digest is not the hash of is never read. */

enum { FIRMWARE_LOG_MAX = 4 * 1024 * 1024, FIRMWARE_EVENTS_MAX = 16384, IMA_LIST_MAX = 32 * 1024 * 1024, IMA_ENTRIES_MAX = 262144 };

struct fact_digest {
        char name[32];                  /* of a UKI section: ".linux"; of a signature list: "x509", "sha256"; else "" */
        uint8_t digest[WIRE_DIGEST_MAX]; /* of the bank; of signature lists always SHA-256 (an X.509 entry: of its DER) */
        size_t size;
};
struct fact_digests {
        struct fact_digest *items;
        size_t n;
};
struct fact_text {
        unsigned pcr;
        char *text; /* UTF-8, control characters are those of the log: sanitize before printing */
};

struct boot_facts {
        uint16_t bank;
        uint32_t proven;          /* PCRs that the log has events of, or leaves as they start, and that the quote agrees with */
        uint32_t contradicted;    /* PCRs quoted whose value the log does not give */
        int secure_boot;          /* 1 on, 0 off, -1 not said (PCR 7 not proven, or no such event) */
        int debug;                /* 1: firmware debug mode or DMA protection off was measured into PCR 7; 0; -1 not said */
        bool deployed_or_user;    /* no setup mode, no audit mode, as far as measured */
        struct fact_digests pk, kek, db, dbx; /* PCR 7, EV_EFI_VARIABLE_DRIVER_CONFIG */
        struct fact_digests authorities; /* PCR 7, EV_EFI_VARIABLE_AUTHORITY: what verified an image (SHA-256 of X.509 DER) */
        struct fact_digests applications; /* PCR 4, EV_EFI_BOOT_SERVICES_APPLICATION: authenticode digests, in order */
        struct fact_digests drivers; /* PCR 2, boot and runtime services drivers */
        struct fact_digests sections; /* PCR 11 before userspace, systemd-stub: name, digest of the content */
        struct fact_text *command_lines; /* PCR 8 (GRUB), 9 (kernel's EFI stub), 12 (systemd-stub), as measured, in order */
        size_t n_command_lines;
        bool initrd_measured; /* PCR 9, "Linux initrd" */
};

/* The firmware's log against quoted values (any banks; bank is the one that is read). 0 whatever it proves; -EBADMSG: it does not
 * parse; -E2BIG: over a limit; -ENOTSUP: it has not that bank. Then error says where and why. */
int boot_facts_read(const void *log, size_t size, const struct pcr_values *quoted, uint16_t bank, struct boot_facts *ret,
                    char *error, size_t error_size);
void boot_facts_done(struct boot_facts *facts);

/* One entry of an IMA list (templates ima-ng, ima-sig, ima, ima-ngv2, ima-sigv2). */
struct ima_entry {
        const char *path; /* ends with NUL; points into the list's strings */
        uint8_t digest[64]; /* of the file */
        size_t size;
        uint16_t alg; /* TPM_ALG_ID of that digest; 0 unknown */
        bool violation;
};
struct ima_facts {
        struct ima_entry *entries;
        size_t n; /* entries that the quoted PCR 10 binds: later ones are left out */
        bool has_aggregate; /* the first entry is boot_aggregate */
        uint8_t aggregate[64];
        size_t aggregate_size;
        char *strings;
};
/* The running state of a list: PCR 10 after entries so far, so that only appended ones need be sent again. Starts as zeros. */
struct ima_state {
        uint64_t entries;
        uint8_t pcr[WIRE_DIGEST_MAX];
};
/* The binary_runtime_measurements (little-endian, from the kernel), replayed from *state until the quoted PCR 10 of the bank is met (the
 * longest prefix that gives it; the bank's extend is of SHA-1 template digests padded with zeros, or of the template data's own hash:
 * both are tried). 0 with *state moved on; -EBADMSG, -E2BIG; -EKEYREJECTED: no prefix gives the quoted value. */
int ima_facts_read(const void *list, size_t size, const struct pcr_values *quoted, uint16_t bank, struct ima_state *state,
                   struct ima_facts *ret, char *error, size_t error_size);
void ima_facts_done(struct ima_facts *facts);
/* boot_aggregate as the kernel makes it: the hash over PCRs 0-9 (0-7 for SHA-1 and old kernels; both are tried). 0, -EKEYREJECTED,
 * -ENODATA: the quote has not all of them. */
int ima_aggregate_check(const struct ima_facts *facts, const struct pcr_values *quoted, uint16_t bank);
