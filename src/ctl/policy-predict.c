/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <getopt.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/encode.h"
#include "base/ini.h"
#include "ctl/policy-verbs.h"
#include "ctl/recorded.h"
#include "policy/predict.h"

/* What a new kernel will show: before it is rolled out, and without asking it. */

enum { GATE_DEFAULT = 15 };

struct options {
        const char *uki, *old, *base, *node, *log, *name;
        enum predict_phase phase;
        uint64_t gate;
        bool json;
};

static int parse_options(int argc, char *argv[], struct options *ret) {
        static const struct option long_options[] = {
                { "uki", required_argument, NULL, 'u' },
                { "base", required_argument, NULL, 'b' },
                { "node", required_argument, NULL, 'n' },
                { "log", required_argument, NULL, 'l' },
                { "phase", required_argument, NULL, 'p' },
                { "name", required_argument, NULL, 'N' },
                { "gate", required_argument, NULL, 'g' },
                { "old-uki", required_argument, NULL, 'o' },
                {},
        };
        struct options options = { .gate = UINT64_MAX };
        bool wrong = false;
        int c;

        while ((c = getopt_long(argc, argv, "", long_options, NULL)) >= 0) {
                const char **texts[] = { ['u'] = &options.uki, ['b'] = &options.base, ['n'] = &options.node,
                                         ['l'] = &options.log, ['N'] = &options.name, ['o'] = &options.old };

                if (c < (int) ELEMENTSOF(texts) && texts[c])
                        *texts[c] = optarg;
                else if (c == 'p' && strcmp(optarg, "enter-initrd") == 0)
                        options.phase = PHASE_ENTER_INITRD;
                else if (c == 'p' && strcmp(optarg, "none") == 0)
                        options.phase = PHASE_NONE;
                else if (c != 'g' || parse_u64(optarg, 0, WIRE_PCRS - 1, &options.gate) < 0)
                        wrong = true;
        }
        if (wrong || optind != argc || !options.uki || !options.base == !options.node)
                return CTL_USAGE;
        *ret = options;
        return CTL_OK;
}

/* A prediction for the kernel of the boot that is known must give what that boot gave. */
static int check_old(const struct predict_input *input, const struct blob *old) {
        const struct pcr_bank *bank = pcr_values_bank(input->pcrs, input->bank);
        struct predict_input before = *input;
        struct prediction prediction;
        char error[320] = "";
        int r;

        before.uki = old->data;
        before.uki_size = old->size;
        r = policy_predict(&before, &prediction, error, sizeof error);
        if (r < 0)
                return log_error("The old UKI: %s", error), CTL_FAILURE;
        for (unsigned pcr = 4; pcr <= 11; pcr++)
                if (prediction.set.mask & 1U << pcr && bank && bank->mask & 1U << pcr &&
                    memcmp(prediction.set.values[pcr], bank->values[pcr], pcr_alg_size(bank->alg)) != 0) {
                        log_error(
                                "PCR %u of that boot is not what its UKI should have given: this machine measures more or otherwise, "
                                "and the new UKI cannot be predicted for it.",
                                pcr);
                        return CTL_FAILURE;
                }
        return CTL_OK;
}

static void print_notes(const char *notes) {
        char copy[sizeof((struct prediction *) NULL)->notes], *save = NULL;

        snprintf(copy, sizeof copy, "%s", notes);
        for (char *line = strtok_r(copy, "\n", &save); line; line = strtok_r(NULL, "\n", &save))
                log_warning("%s", line);
}

static int print_set(const struct options *options, struct prediction *prediction) {
        char now[21], uki[2 * WIRE_DIGEST_MAX + 1], kernel[2 * WIRE_DIGEST_MAX + 1], error[256];
        _cleanup_(policy_done) struct policy policy = {};
        _cleanup_(freep) char *text = NULL;
        int r;

        if (options->name)
                snprintf(prediction->set.name, sizeof prediction->set.name, "%s", options->name);
        else {
                clock_format(clock_realtime_ms(), now);
                hex_write(prediction->uki, prediction->size, uki);
                snprintf(prediction->set.name, sizeof prediction->set.name, "predicted-%.10s-%.8s", now, uki);
        }
        text = policy_format_set(&prediction->set);
        if (!text)
                return log_oom(), CTL_FAILURE;
        r = policy_parse(text, strlen(text), &policy, error, sizeof error); /* what is printed can be set */
        if (r < 0)
                return log_error("No policy can have this set: %s", error), CTL_FAILURE;

        hex_write(prediction->uki, prediction->size, uki);
        hex_write(prediction->kernel, prediction->size, kernel);
        if (options->json)
                ctl_print_taken(json_pack("{s:s, s:s, s:s}", "uki", uki, "kernel", kernel, "policy", text));
        else
                printf("# in [firmware]:\n#   uki = %s\n#   kernel = %s\n%s", uki, kernel, text);
        return CTL_OK;
}

static int read_file(const char *path, size_t max, struct blob *ret) {
        int r;

        r = file_read(path, max, ret);
        return r < 0 ? (log_error_errno(r, "%s: %m", path), CTL_FAILURE) : CTL_OK;
}

static int predict(const struct options *options, const struct recorded *base) {
        _cleanup_(blob_done) struct blob uki = {}, log = {}, old = {};
        uint64_t gate = options->gate != UINT64_MAX ? options->gate : base->gate >= 0 ? (uint64_t) base->gate : GATE_DEFAULT;
        struct predict_input input = { .pcrs = &base->pcrs,
                                       .bank = base->bank,
                                       .log = base->log.size > 0 ? base->log.data : NULL,
                                       .log_size = base->log.size,
                                       .without = UINT32_C(1) << gate,
                                       .phase = options->phase };
        struct prediction prediction;
        char error[320] = "";
        int r;

        r = read_file(options->uki, PE_SIZE_MAX, &uki);
        if (r != CTL_OK)
                return r;
        input.uki = uki.data;
        input.uki_size = uki.size;
        if (options->log) {
                r = read_file(options->log, FIRMWARE_LOG_MAX, &log);
                if (r != CTL_OK)
                        return r;
                input.log = log.data;
                input.log_size = log.size;
        }
        if (options->old) {
                r = read_file(options->old, PE_SIZE_MAX, &old);
                if (r == CTL_OK)
                        r = check_old(&input, &old);
                if (r != CTL_OK)
                        return r;
        }

        r = policy_predict(&input, &prediction, error, sizeof error);
        if (r < 0)
                return log_error("%s: %s", options->uki, error[0] ? error : strerror(-r)), CTL_FAILURE;
        print_notes(prediction.notes);
        return print_set(options, &prediction);
}

int policy_predict_verb(struct ctl *ctl, int argc, char *argv[]) {
        _cleanup_(recorded_done) struct recorded base = {};
        struct options options;
        int r;

        r = parse_options(argc, argv, &options);
        if (r != CTL_OK)
                return r;
        options.json = ctl->json;
        if (options.base)
                r = recorded_read(options.base, &base) < 0 ? CTL_FAILURE : CTL_OK;
        else
                r = recorded_of_node(ctl, options.node, BOOT_LAST, &base);
        return r == CTL_OK ? predict(&options, &base) : r;
}
