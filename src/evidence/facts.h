/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "base/file.h"
#include "wire/wire.h"

/* What the logs of a boot say, as far as a quote backs it. Everything here is a copy: the log's bytes can be dropped. Pure.
 *
 * Only events of PCRs whose replay gives the quoted value are looked at (proven), and of these events only what their digest
 * binds: data that the event's digest is not the hash of is never read. An event's type and label are bound by nothing. So
 * whatever could be hidden by another type or label is not decided by them: every event of PCR 4 that is not one of the
 * firmware's few known texts is an application, for example, and an event whose data should be bound and is not puts its PCR into
 * `unread`. */

enum {
        FIRMWARE_LOG_MAX = 4 * 1024 * 1024,
        FIRMWARE_EVENTS_MAX = 16384,
        IMA_LIST_MAX = 32 * 1024 * 1024,
        IMA_ENTRIES_MAX = 262144,
};

struct fact_digest {
        char name[32]; /* of a UKI section: ".linux"; of a signature: "x509", "sha256"; of a variable: its own; else "" */
        uint8_t digest[WIRE_DIGEST_MAX]; /* of the bank; of PCR 7 always SHA-256 (x509: of its DER) */
        size_t size;
};
struct fact_digests {
        struct fact_digest *items;
        size_t n;
};
struct fact_text {
        unsigned pcr;
        char *text; /* UTF-8 as measured, control characters included: sanitize before printing */
};

struct boot_facts {
        uint16_t bank;
        /* PCRs that were quoted and that the log gives (11: with systemd's phases after its events), and those that it does not
         * (10 where the kernel has IMA, 15 where systemd measures into it). */
        uint32_t proven, contradicted;
        /* Of the proven ones: the facts may not be all that was measured. A rule that needs this PCR fails, with the words. */
        uint32_t unread;
        char unread_why[WIRE_PCRS][96];

        /* PCR 7. 1 on, 0 off (or shim was told not to verify), -1 not said: not proven, unread, or no such event. */
        int secure_boot;
        int debug;             /* 1: firmware debug mode or DMA protection off was measured; 0; -1 not said */
        bool deployed_or_user; /* there is a PK and no audit mode, as far as measured */
        struct fact_digests pk, kek, db, dbx;
        struct fact_digests authorities; /* what verified an image; with an empty name: SHA-256 of something else */
        struct fact_digests variables;   /* shim's SbatLevel, MokSBState, MokDBState, MokListTrusted: SHA-256 of the content */

        struct fact_digests applications; /* PCR 4, all but the firmware's own texts: authenticode digests, in order */
        size_t returned;                  /* of these, so many were measured when one last came back to the firmware; 0: never */
        struct fact_digests drivers;      /* PCR 2, the same */
        struct fact_digests sections;     /* PCR 11, systemd-stub: name, digest of the content, in order */
        unsigned phases;                  /* PCR 11: so many of enter-initrd, leave-initrd, sysinit, ready were measured */
        /* PCR 9, all events in order: what was loaded (initrd; UTF-16 command line with its NUL, by the kernel's EFI stub; GRUB's
         * files). Which is which nobody has signed. The same for PCR 14: shim's lists. */
        struct fact_digests loaded, mok;
        bool initrd_measured; /* PCR 9 has an event with the label "Linux initrd": a hint for words, no rule may rest on it */

        /* PCR 8: GRUB's kernel command lines, the kernel's path in front (each twice: as text and as argument of GRUB's command);
         * PCR 12: all of systemd-stub's. A PCR with an event that is not a text is unread. */
        struct fact_text *command_lines;
        size_t n_command_lines;
};

/* The firmware's log against quoted values (any banks; bank is the one that is read). 0 whatever it proves; -EBADMSG: it does not
 * parse; -E2BIG: over a limit; -ENOTSUP: it has not that bank, or the quote has not. Then error says where and why. */
int boot_facts_read(const void *log, size_t size, const struct pcr_values *quoted, uint16_t bank, struct boot_facts *ret,
                    char *error, size_t error_size);
void boot_facts_done(struct boot_facts *facts);
/* The digest that the kernel's EFI stub measures for a command line (in boot_facts.loaded): of its UTF-16 with NUL. -EINVAL: not
 * UTF-8. */
int boot_facts_command_line_digest(const char *text, uint16_t bank, uint8_t ret[static WIRE_DIGEST_MAX]);

/* One entry of an IMA list (templates ima-ng, ima-sig, ima, ima-ngv2, ima-sigv2). */
struct ima_entry {
        const char *path;   /* ends with NUL; points into the list's strings */
        uint8_t digest[64]; /* of the file */
        size_t size;
        uint16_t alg;   /* TPM_ALG_ID of that digest; 0 unknown */
        bool violation; /* path and digest are not bound then */
};
struct ima_facts {
        struct ima_entry *entries;
        size_t n;           /* entries that the quoted PCR 10 binds: later ones are left out */
        bool has_aggregate; /* the first entry is boot_aggregate */
        uint8_t aggregate[64];
        size_t aggregate_size;
        uint16_t aggregate_alg;
        char *strings;
};
/* The running state of a list: PCR 10 after entries so far, so that only appended ones need be sent again. Starts as zeros. */
struct ima_state {
        uint64_t entries;
        uint8_t pcr[WIRE_DIGEST_MAX];
};
/* The binary_runtime_measurements (little-endian, from the kernel), replayed from *state until the quoted PCR 10 of the bank is
 * met (the longest prefix that gives it; the bank's extend is of SHA-1 template digests padded with zeros, or of the template
 * data's own hash: both are tried). 0 with *state moved on; -EBADMSG, -E2BIG; -EKEYREJECTED: no prefix gives the quoted value. */
int ima_facts_read(const void *list, size_t size, const struct pcr_values *quoted, uint16_t bank, struct ima_state *state,
                   struct ima_facts *ret, char *error, size_t error_size);
void ima_facts_done(struct ima_facts *facts);
/* boot_aggregate as the kernel makes it: the hash over PCRs 0-9 (0-7 for SHA-1 and old kernels; both are tried). 0,
 * -EKEYREJECTED, -ENODATA: the quote has not all of them. */
int ima_aggregate_check(const struct ima_facts *facts, const struct pcr_values *quoted, uint16_t bank);
