/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "audit/chain.h"
#include "audit/head.h"

/* Exports of audit logs, held against themselves and against each other with nothing but what is in them (docs/protocol.md, 12).
 * Pure: lines in, findings out. */

enum { AUDIT_LINE_MAX = 4 * 1024 * 1024 };

/* A head of another service that this log has recorded. */
struct audit_claim {
        struct audit_head head;
        int64_t record, recorded; /* its seq here; ms by this service's clock */
        const char *alarm;        /* "" or why it was refused: static text */
};

struct audit_file {
        const char *name; /* of the file, for words */
        size_t lines;
        bool has_header, broken; /* broken: what follows could not be placed */
        struct audit_head head;  /* as signed for the export */
        int64_t exported;
        uint8_t (*hashes)[32]; /* of the records 1 to n, as they say */
        int64_t n;
        size_t allocated;
        uint64_t wrong; /* records that are not what their hash says */
        struct audit_claim *claims;
        size_t n_claims, n_dropped; /* dropped: before an operator accepted another beginning */
};
void audit_file_done(struct audit_file *file);

/* wrong: it shows that a log is not what it was; else it is worth knowing. Texts have no control characters. */
typedef void (*audit_finding)(bool wrong, const char *text, void *userdata);

/* One line without its end. 0 also for a line that is wrong, which is a finding; -ENOMEM. */
int audit_file_line(struct audit_file *file, const char *line, size_t size, audit_finding finding, void *userdata);
/* After the last line: is it all there, as the signed head says? */
void audit_file_end(struct audit_file *file, audit_finding finding, void *userdata);
/* Each against the heads that the others recorded of it. ret_compared: how many heads were held against a log. */
void audit_files_compare(const struct audit_file *files, size_t n, audit_finding finding, void *userdata, size_t *ret_compared);
