/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <string.h>

#include "policy/pe.h"
#include "policy/predict.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* An image that an operator was given, and a prediction from it: whatever it holds. Sections can claim more memory than the file
 * has. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        static const struct pcr_values pcrs = { .n = 1, .banks[0] = { .alg = 0x0b } };
        const struct predict_input input = { .uki = data, .uki_size = size, .pcrs = &pcrs, .bank = 0x0b };
        uint8_t digest[WIRE_DIGEST_MAX];
        struct prediction prediction;
        char error[256] = "";
        struct pe pe;

        if (pe_parse(data, size, &pe, error, sizeof(error)) < 0) {
                if (!error[0])
                        abort();
                return 0;
        }
        if (pe_authenticode(&pe, 0x0b, digest) < 0)
                abort();
        for (size_t i = 0; i < pe.n_sections; i++)
                if (pe.sections[i].virtual_size > 1 << 20)
                        return 0;
        if (policy_predict(&input, &prediction, error, sizeof(error)) >= 0) {
                char *text = policy_format_set(&prediction.set);

                if (!text || !(prediction.set.mask & 1 << 4) || !(prediction.set.mask & 1 << 11))
                        abort();
                free(text);
        }
        return 0;
}
