/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "evidence/facts.h"

int ima_facts_read(const void *list _unused_, size_t size _unused_, const struct pcr_values *quoted _unused_,
                   uint16_t bank _unused_, struct ima_state *state _unused_, struct ima_facts *ret _unused_, char *error _unused_,
                   size_t error_size _unused_) {
        return -ENOSYS;
}

void ima_facts_done(struct ima_facts *facts _unused_) {
}

int ima_aggregate_check(const struct ima_facts *facts _unused_, const struct pcr_values *quoted _unused_,
                        uint16_t bank _unused_) {
        return -ENOSYS;
}
