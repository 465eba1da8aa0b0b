/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "evidence/facts.h"

int boot_facts_read(const void *log _unused_, size_t size _unused_, const struct pcr_values *quoted _unused_, uint16_t bank _unused_,
                    struct boot_facts *ret _unused_, char *error _unused_, size_t error_size _unused_) {
        return -ENOSYS;
}

void boot_facts_done(struct boot_facts *facts _unused_) {
}

int boot_facts_command_line_digest(const char *text _unused_, uint16_t bank _unused_,
                                   uint8_t ret[static WIRE_DIGEST_MAX] _unused_) {
        return -ENOSYS;
}
