/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <string.h>

#include <openssl/sha.h>

#include "base/buffer.h"
#include "evidence/facts.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void extend(uint8_t value[static 32], const uint8_t digest[static 32]) {
        uint8_t both[64];

        memcpy(both, value, 32);
        memcpy(both + 32, digest, 32);
        SHA256(both, sizeof(both), value);
}

/* PCR 10 as it is after so many entries of any but the oldest template: what a machine with this list quotes. */
static void quote_of(struct reader list, unsigned entries, uint8_t ret[static 32]) {
        static const uint8_t zeros[20];
        const uint8_t *sha1, *name, *data;
        size_t name_size, size;
        uint32_t pcr;

        memset(ret, 0, 32);
        while (entries-- > 0 && reader_le32(&list, &pcr) >= 0 && reader_bytes(&list, 20, &sha1) >= 0 &&
               reader_le32_bytes(&list, &name, &name_size) >= 0 && reader_le32_bytes(&list, &data, &size) >= 0) {
                uint8_t digest[32];

                if (memcmp(sha1, zeros, sizeof(zeros)) == 0)
                        memset(digest, 0xff, sizeof(digest));
                else
                        SHA256(data, size, digest);
                if (pcr == 10)
                        extend(ret, digest);
        }
}

static void read_list(const struct pcr_values *quoted, const uint8_t *list, size_t size) {
        struct ima_state state = {};
        struct ima_facts facts;
        char error[160] = "";

        if (ima_facts_read(list, size, quoted, 0xb, &state, &facts, error, sizeof error) < 0) {
                if (state.entries != 0 || !error[0])
                        abort();
                return;
        }
        if (memcmp(state.pcr, quoted->banks[0].values[10], 32) != 0 || facts.n > state.entries)
                abort();
        for (size_t i = 0; i < facts.n; i++)
                if (strlen(facts.entries[i].path) > size || facts.entries[i].size > sizeof facts.entries[i].digest)
                        abort();
        (void) ima_aggregate_check(&facts, quoted, 0xb);
        ima_facts_done(&facts);
}

/* 32 bytes of quoted PCR 10, then the list. Zeros are met at once: then the list is all that is left out. Once as it is, and once
 * with the value that the first entries of this list give, so that a changed list is not only seen to be one. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        struct pcr_values quoted = { .n = 1, .banks[0] = { .alg = 0xb, .mask = 0xffffff } };

        if (size < 32)
                return 0;
        memcpy(quoted.banks[0].values[10], data, 32);
        read_list(&quoted, data + 32, size - 32);
        quote_of((struct reader){ data + 32, size - 32 }, data[0], quoted.banks[0].values[10]);
        read_list(&quoted, data + 32, size - 32);
        return 0;
}
