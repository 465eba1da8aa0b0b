/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <string.h>

#include "evidence/facts.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* 32 bytes of quoted PCR 10, then the list. Zeros are met at once: then the list is all that is left out. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        struct pcr_values quoted = { .n = 1, .banks[0] = { .alg = 0xb, .mask = 0xffffff } };
        struct ima_state state = {};
        struct ima_facts facts;
        char error[160] = "";

        if (size < 32)
                return 0;
        memcpy(quoted.banks[0].values[10], data, 32);
        if (ima_facts_read(data + 32, size - 32, &quoted, 0xb, &state, &facts, error, sizeof error) < 0) {
                if (state.entries != 0 || !error[0])
                        abort();
                return 0;
        }
        for (size_t i = 0; i < facts.n; i++)
                if (strlen(facts.entries[i].path) > size || facts.entries[i].size > sizeof facts.entries[i].digest)
                        abort();
        (void) ima_aggregate_check(&facts, &quoted, 0xb);
        ima_facts_done(&facts);
        return 0;
}
