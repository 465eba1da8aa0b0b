/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "policy-text.h"

struct policy policy_parsed(const char *text) {
        struct policy policy;
        char error[256] = "";

        if (policy_parse(text, strlen(text), &policy, error, sizeof(error)) < 0)
                fail_msg("%s", error);
        return policy;
}

void policy_refused(const char *text, const char *words) {
        struct policy policy;
        char error[256] = "";

        assert_int_equal(policy_parse(text, strlen(text), &policy, error, sizeof(error)), -EBADMSG);
        if (!strstr(error, words))
                fail_msg("said: %s", error);
        assert_int_equal(policy_parse(text, strlen(text), &policy, NULL, 0), -EBADMSG);
}
