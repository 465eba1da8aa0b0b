/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <string.h>

#include "policy/policy.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What is parsed can be written, and read again as the same. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        struct policy policy, again;
        char error[256], *text;

        if (policy_parse((const char *) data, size, &policy, error, sizeof(error)) < 0)
                return 0;

        text = policy_format(&policy);
        if (!text || policy_parse(text, strlen(text), &again, error, sizeof(error)) < 0 || again.n != policy.n ||
            (policy.n > 0 && memcmp(again.sets, policy.sets, policy.n * sizeof(*policy.sets)) != 0))
                abort();
        free(policy_uncovered(&policy));
        free(text);
        policy_done(&again);
        policy_done(&policy);
        return 0;
}
