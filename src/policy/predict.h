/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "policy/pe.h"
#include "policy/policy.h"

/* The PCR values that a new unified kernel image will give, on a machine of which one boot is known: PCR 4, 9 and 11 are
 * computed, the others taken from that boot. As systemd-stub 252 measures, and Linux' EFI stub from 5.18 on. Pure. */

enum predict_phase { PHASE_AS_BEFORE, PHASE_NONE, PHASE_ENTER_INITRD };

struct predict_input {
        const void *uki; /* the new one */
        size_t uki_size;
        const struct pcr_values *pcrs; /* of the boot that is known */
        uint16_t bank;
        const void *log; /* its event log; NULL: what firmware and stub usually measure is taken to be all */
        size_t log_size;
        uint32_t without; /* PCRs that are no part of the set: the gate */
        enum predict_phase phase;
};
struct prediction {
        struct policy_set set;                                 /* without a name */
        uint8_t uki[WIRE_DIGEST_MAX], kernel[WIRE_DIGEST_MAX]; /* authenticode, for [firmware] */
        size_t size;                                           /* of these */
        char notes[1024];                                      /* what was taken for granted or left out, a line each */
};
/* -EBADMSG: the UKI, -ENOTSUP: its stub, or the boot, is of no kind that this can be predicted for, -EKEYREJECTED: the log does
 * not give the values; with words in error. */
int policy_predict(const struct predict_input *input, struct prediction *ret, char *error, size_t error_size);
/* The set, as text to be added to a policy. ret owns. */
char *policy_format_set(const struct policy_set *set);
