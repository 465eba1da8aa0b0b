/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "evidence/digester.h"
#include "evidence/eventlog.h"
#include "evidence/facts.h"

/* Fixed texts of the firmware, known by their digests. */
enum known_text {
        KNOWN_SEPARATOR,
        KNOWN_DEBUG,  /* of PCR 7: debug mode, DMA protection off */
        KNOWN_ACTION, /* of PCR 2 and 4 */
        KNOWN_RETURN, /* of PCR 4: what was started came back */
        KNOWN_NONE,
};
enum { KNOWN_TEXTS = 11 };

/* Reading the events of a log, in order, with what was seen so far. */
struct facts_reading {
        struct boot_facts *facts;
        struct digester digester; /* of the bank that is read */
        struct digester sha256;   /* for signatures and variables */
        uint8_t known[KNOWN_TEXTS][WIRE_DIGEST_MAX];
        const uint8_t *digest;   /* of the event under way, in that bank */
        bool separated;          /* PCR 7: its separator was read */
        uint32_t variables_seen; /* PCR 7: bits of the variables of its configuration */
        bool setup_or_audit;     /* PCR 7 */
        bool shim_insecure;      /* PCR 7 */
        size_t signatures;       /* of all lists */
        char section[32];        /* PCR 11: the name whose content comes next; "": a name comes next */
};

/* What the event's digest says that it is; its data are not looked at. */
enum known_text facts_known_text(const struct facts_reading *reading);

/* The first reason is the one that is kept. */
void facts_unread(struct boot_facts *facts, unsigned pcr, const char *format, ...) _printf_(3, 4);
int fact_digests_add(struct fact_digests *digests, const char *name, const uint8_t *digest, size_t size);

/* PCR 7, event by event, then at the end. */
int facts_read_secure_boot(struct facts_reading *reading, const struct eventlog_event *event);
void facts_finish_secure_boot(struct facts_reading *reading);
