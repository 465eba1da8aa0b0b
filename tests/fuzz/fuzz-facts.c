/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "evidence/eventlog.h"
#include "evidence/facts.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A log that is quoted as it is, so that all of it is read. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        struct pcr_values quoted = { .n = 1, .banks[0] = { .alg = 0xb, .mask = 0xffffff } };
        struct boot_facts facts;
        struct eventlog_pcrs pcrs;
        char error[160];

        if (eventlog_replay(data, size, 0xb, &pcrs, error, sizeof error) < 0) {
                if (boot_facts_read(data, size, &quoted, 0xb, &facts, error, sizeof error) >= 0)
                        abort();
                return 0;
        }
        for (unsigned pcr = 0; pcr < WIRE_PCRS; pcr++)
                for (size_t i = 0; i < WIRE_DIGEST_MAX; i++)
                        quoted.banks[0].values[pcr][i] = pcrs.values[pcr][i];
        if (boot_facts_read(data, size, &quoted, 0xb, &facts, error, sizeof error) < 0 || facts.contradicted)
                abort();
        if (facts.unread & 1U << 7 && facts.secure_boot >= 0)
                abort();
        boot_facts_done(&facts);
        return 0;
}
