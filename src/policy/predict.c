/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "policy/predict.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "evidence/eventlog.h"
#include "policy/policy-internal.h"

enum { PCR_LOADER = 4, PCR_LOADED = 9, PCR_STUB = 11, PREDICTED = 1 << PCR_LOADER | 1 << PCR_LOADED | 1 << PCR_STUB };
#define STUB_VERSION_LETTERS "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.~+-_"

/* What a UKI gives, before anybody boots it. */
struct image {
        struct pe pe;
        uint8_t uki[WIRE_DIGEST_MAX], kernel[WIRE_DIGEST_MAX]; /* PCR 4 */
        uint8_t command_line[WIRE_DIGEST_MAX];                 /* PCR 9; UTF-16 */
        uint8_t initrd[WIRE_DIGEST_MAX];                       /* PCR 9 */
        bool has_command_line, has_initrd, has_extra;          /* extra: what the stub gives the kernel as a further initrd */
        uint8_t stub[WIRE_DIGEST_MAX];                         /* PCR 11, without phases */
};

/* What the boot that is known shows about the machine. */
struct base {
        uint8_t loader[WIRE_DIGEST_MAX]; /* PCR 4 with the new images in place of the old */
        bool without_loaded;             /* nothing is known of PCR 9 */
        bool kernel_measured, command_line_measured, initrd_measured, initrd_alone;
        bool enters; /* the initramfs measures enter-initrd */
};

struct predicting {
        const struct predict_input *input;
        size_t size;
        struct image image;
        struct base base;
        struct prediction prediction;
        char *error;
        size_t error_size;
};

static _printf_(3, 4) int fail(const struct predicting *p, int r, const char *format, ...) {
        va_list ap;

        va_start(ap, format);
        if (p->error && p->error_size > 0)
                (void) vsnprintf(p->error, p->error_size, format, ap);
        va_end(ap);
        return r;
}

static _printf_(2, 3) void note(struct predicting *p, const char *format, ...) {
        size_t used = strlen(p->prediction.notes);
        va_list ap;

        va_start(ap, format);
        (void) vsnprintf(p->prediction.notes + used, sizeof(p->prediction.notes) - used, format, ap);
        va_end(ap);
}

static int content_of(const struct predicting *p, const char *name, struct blob *ret) {
        const struct pe_section *section;
        int r;

        r = pe_find(&p->image.pe, name, &section);
        if (r == -ENOTUNIQ)
                return fail(p, -EBADMSG, "the UKI has two sections %s", name);
        if (r < 0)
                return r;
        if (section->virtual_size == 0)
                return -ENOENT;
        return pe_content(&p->image.pe, section, ret);
}

static int extend(const struct predicting *p, uint8_t *value, const void *data, size_t size) {
        uint8_t digest[WIRE_DIGEST_MAX];
        int r;

        r = pcr_bank_digest(p->input->bank, data, size, digest);
        return r < 0 ? r : pcr_bank_extend(p->input->bank, value, digest);
}

/* systemd-stub 252, in this order; .pcrsig signs what the others give and is left out. Each as its name with NUL, then its
 * content. */
static int measure_sections(struct predicting *p) {
        static const char *const names[] = { ".linux", ".osrel", ".cmdline", ".initrd", ".splash", ".dtb", ".pcrpkey" };
        int r;

        for (size_t i = 0; i < ELEMENTSOF(names); i++) {
                _cleanup_(blob_done) struct blob content = {};

                r = content_of(p, names[i], &content);
                if (r == -ENOENT && i > 0)
                        continue;
                if (r == -ENOENT)
                        return fail(p, -EBADMSG, "no UKI: it has no section .linux");
                if (r < 0)
                        return r;
                if ((r = extend(p, p->image.stub, names[i], strlen(names[i]) + 1)) < 0 ||
                    (r = extend(p, p->image.stub, content.data, content.size)) < 0)
                        return r;
        }
        return 0;
}

/* The kernel in it is an image of its own, which the stub hands to the firmware. */
static int measure_kernel(struct predicting *p) {
        _cleanup_(blob_done) struct blob content = {};
        struct pe kernel;
        char why[128];
        int r;

        r = content_of(p, ".linux", &content);
        if (r < 0)
                return r == -ENOENT ? fail(p, -EBADMSG, "no UKI: it has no section .linux") : r;
        r = pe_parse(content.data, content.size, &kernel, why, sizeof(why));
        if (r < 0)
                return fail(p, r, "the kernel in the UKI: %s", why);
        return pe_authenticode(&kernel, p->input->bank, p->image.kernel);
}

static int measure_loaded(struct predicting *p) {
        _cleanup_(blob_done) struct blob line = {}, initrd = {}, extra = {};
        char text[8192];
        int r;

        r = content_of(p, ".cmdline", &line);
        if (r < 0 && r != -ENOENT)
                return r;
        if (r >= 0) {
                if (line.size >= sizeof(text))
                        return fail(p, -EBADMSG, "the command line in the UKI has more than %zu bytes", sizeof(text) - 1);
                memcpy(text, line.data, line.size);
                text[line.size] = '\0';
                if (boot_facts_command_line_digest(text, p->input->bank, p->image.command_line) < 0)
                        return fail(p, -EBADMSG, "the command line in the UKI is not UTF-8");
                p->image.has_command_line = true;
        }

        r = content_of(p, ".initrd", &initrd);
        if (r >= 0) {
                p->image.has_initrd = true;
                r = pcr_bank_digest(p->input->bank, initrd.data, initrd.size, p->image.initrd);
        }
        if (r < 0 && r != -ENOENT)
                return r;
        p->image.has_extra = content_of(p, ".pcrsig", &extra) >= 0;
        if (!p->image.has_extra)
                p->image.has_extra = content_of(p, ".pcrpkey", &extra) >= 0;
        return 0;
}

/* What a stub says of itself: "systemd-stub 252.39-1". Only what its packagers write; anything else ends it. */
static void stub_version(const struct blob *content, char *ret, size_t size) {
        static const char magic[] = "#### LoaderInfo: systemd-stub ";
        const char *at = content->size > 0 ? memmem(content->data, content->size, magic, strlen(magic)) : NULL;
        size_t n = 0;

        if (at) {
                at += strlen(magic);
                for (size_t left = (size_t) ((const char *) content->data + content->size - at);
                     n < left && n + 1 < size && at[n] && strchr(STUB_VERSION_LETTERS, at[n]); n++)
                        ret[n] = at[n];
        }
        ret[n] = '\0';
}

/* Later stubs measure more sections, and start the kernel in other ways: a guess would be a set that no boot matches. */
static int check_stub(const struct predicting *p) {
        static const char way_out[] = "roll it out to one node and capture what that boots (tallyctl node approve --capture)";
        _cleanup_(blob_done) struct blob content = {};
        char version[48] = "";
        int r;

        r = content_of(p, ".sdmagic", &content);
        if (r < 0 && r != -ENOENT)
                return r;
        stub_version(&content, version, sizeof(version));
        if (!version[0])
                return fail(p, -ENOTSUP,
                            "it does not say that it starts with systemd-stub, and what others measure is not known: %s",
                            way_out);
        if (strncmp(version, "252", 3) != 0 || (version[3] >= '0' && version[3] <= '9'))
                return fail(p, -ENOTSUP, "it starts with systemd-stub %s, and what others than 252 measure is not known: %s",
                            version, way_out);
        return 0;
}

static int read_image(struct predicting *p) {
        char why[128];
        int r;

        r = pe_parse(p->input->uki, p->input->uki_size, &p->image.pe, why, sizeof(why));
        if (r < 0)
                return fail(p, r, "%s", why);
        if ((r = pe_authenticode(&p->image.pe, p->input->bank, p->image.uki)) < 0 || (r = measure_kernel(p)) < 0 ||
            (r = check_stub(p)) < 0 || (r = measure_sections(p)) < 0)
                return r;
        return measure_loaded(p);
}

/* EDK II, and others after it: the boot option is called, the separators, then what it names and what that starts. */
static int usual_base(struct predicting *p) {
        static const uint8_t separator[4] = {};
        uint8_t *value = p->base.loader;
        int r;

        note(p,
             "Without the event log of a boot: PCR 4 is taken to hold one boot option, the UKI and its kernel, PCR 9 the command "
             "line and the initramfs.\n");
        if ((r = extend(p, value, "Calling EFI Application from Boot Option", 40)) < 0 ||
            (r = extend(p, value, separator, sizeof(separator))) < 0 ||
            (r = pcr_bank_extend(p->input->bank, value, p->image.uki)) < 0)
                return r;
        p->base.kernel_measured = p->base.command_line_measured = p->base.initrd_measured = p->base.initrd_alone = true;
        p->base.enters = true;
        return pcr_bank_extend(p->input->bank, value, p->image.kernel);
}

/* The known boot's log, one pass: where UKI and kernel are in PCR 4. */
struct walk {
        struct eventlog log;
        int bank;
        size_t uki, kernel; /* numbers of events in PCR 4: the last before the stub measured, the first after; 0: none */
        bool stub_seen;
};

static int walk_open(const struct predicting *p, struct walk *walk) {
        int r;

        r = eventlog_open(p->input->log, p->input->log_size, &walk->log);
        if (r < 0)
                return fail(p, -EBADMSG, "the event log: %s", walk->log.error);
        walk->bank = eventlog_bank(&walk->log, p->input->bank);
        if (walk->bank < 0)
                return fail(p, -ENOTSUP, "the event log has no %s", pcr_alg_to_string(p->input->bank));
        return 0;
}

static int find_images(const struct predicting *p, struct walk *walk) {
        struct eventlog_event event;
        size_t last = 0;
        int r;

        r = walk_open(p, walk);
        if (r < 0)
                return r;
        while ((r = eventlog_next(&walk->log, &event)) > 0) {
                if (event.type == EV_NO_ACTION)
                        continue;
                if (event.pcr == PCR_STUB && !walk->stub_seen) {
                        walk->stub_seen = true;
                        walk->uki = last;
                }
                if (event.pcr != PCR_LOADER || event.type != (uint32_t) EV_EFI_BOOT_SERVICES_APPLICATION)
                        continue;
                if (walk->stub_seen && walk->kernel > 0)
                        return fail(p, -ENOTSUP,
                                    "that boot started more images after the UKI's kernel: boot it from a plain boot option");
                if (walk->stub_seen)
                        walk->kernel = event.number;
                last = event.number;
        }
        if (r < 0)
                return fail(p, -EBADMSG, "the event log: %s", walk->log.error);
        if (!walk->stub_seen || walk->uki == 0)
                return fail(
                        p, -ENOTSUP,
                        "that boot was not of a unified kernel image: capture the first boot of one, the next ones can be predicted");
        return 0;
}

/* PCR 4 again, with the new images where the old ones were. */
static int replace_images(struct predicting *p, struct walk *walk) {
        struct eventlog_event event;
        int r;

        r = walk_open(p, walk);
        while (r >= 0 && (r = eventlog_next(&walk->log, &event)) > 0) {
                const uint8_t *digest = event.digests[walk->bank];

                if (event.pcr != PCR_LOADER || event.type == EV_NO_ACTION)
                        continue;
                if (event.number == walk->uki)
                        digest = p->image.uki;
                else if (event.number == walk->kernel)
                        digest = p->image.kernel;
                if (!digest)
                        return fail(p, -ENOTSUP, "the event log has an event without a digest of this bank");
                r = pcr_bank_extend(p->input->bank, p->base.loader, digest);
        }
        p->base.kernel_measured = walk->kernel > 0;
        return r;
}

static const struct fact_digest *last_section(const struct boot_facts *facts, const char *name) {
        const struct fact_digest *found = NULL;

        for (size_t i = 0; i < facts->sections.n; i++)
                if (strcmp(facts->sections.items[i].name, name) == 0)
                        found = facts->sections.items + i;
        return found;
}

/* PCR 9 of a UKI's boot is the command line and the initramfs, or one of them: the section's digest tells the initramfs. */
static void look_at_loaded(struct predicting *p, const struct boot_facts *facts) {
        const struct fact_digest *initrd = last_section(facts, ".initrd"), *last = NULL;

        if (facts->loaded.n > 0)
                last = facts->loaded.items + facts->loaded.n - 1;
        p->base.initrd_measured = initrd && last;
        p->base.initrd_alone =
                p->base.initrd_measured && facts->loaded.n <= 2 && memcmp(initrd->digest, last->digest, p->size) == 0;
        p->base.command_line_measured = facts->loaded.n == 2;
}

/* systemd measures a word where the boot goes on, each by a unit of its own that an image can lack. Evidence of a running system
 * has them all, of the initramfs the first. -ENOENT: no such words. */
static int match_phases(const struct predicting *p, const uint8_t *start, const uint8_t *quoted, bool *ret_enters) {
        static const char *const words[] = { "enter-initrd", "leave-initrd", "sysinit", "ready" };

        for (unsigned which = 0; which < 1 << ELEMENTSOF(words); which++) {
                uint8_t value[WIRE_DIGEST_MAX];
                int r = 0;

                memcpy(value, start, sizeof(value));
                for (size_t i = 0; r >= 0 && i < ELEMENTSOF(words); i++)
                        if (which & 1U << i)
                                r = extend(p, value, words[i], strlen(words[i]));
                if (r < 0)
                        return r;
                if (memcmp(value, quoted, p->size) == 0) {
                        *ret_enters = which & 1;
                        return 0;
                }
        }
        return -ENOENT;
}

/* What the boot's log gives for PCR 11, and what was measured after it. The values are those of the evidence, with PCR 11 as the
 * stub left it. */
static int without_phases(struct predicting *p, struct pcr_values *ret) {
        const struct pcr_bank *known = pcr_values_bank(p->input->pcrs, p->input->bank);
        struct eventlog_pcrs log;
        char why[160];
        int r;

        r = eventlog_replay(p->input->log, p->input->log_size, p->input->bank, &log, why, sizeof(why));
        if (r < 0)
                return fail(p, r, "the event log: %s", why);

        p->base.enters = true;
        *ret = (struct pcr_values){ .n = 1, .banks[0] = *known };
        if (known->mask & 1U << PCR_STUB) {
                r = match_phases(p, log.values[PCR_STUB], known->values[PCR_STUB], &p->base.enters);
                if (r == -ENOENT)
                        return fail(p, -EKEYREJECTED, "the event log does not give PCR %d as it is in the evidence", PCR_STUB);
                if (r < 0)
                        return r;
        }
        ret->banks[0].mask |= 1U << PCR_STUB;
        memcpy(ret->banks[0].values[PCR_STUB], log.values[PCR_STUB], p->size);
        return 0;
}

static int known_base(struct predicting *p) {
        _cleanup_(boot_facts_done) struct boot_facts facts = {};
        struct pcr_values pcrs;
        struct walk walk = {};
        char why[192];
        int r;

        r = without_phases(p, &pcrs);
        if (r < 0)
                return r;
        r = boot_facts_read(p->input->log, p->input->log_size, &pcrs, p->input->bank, &facts, why, sizeof(why));
        if (r < 0)
                return fail(p, r, "the event log: %s", why);
        for (unsigned pcr = 0; pcr < WIRE_PCRS; pcr++)
                if (PREDICTED & pcrs.banks[0].mask & 1U << pcr && !(facts.proven & 1U << pcr))
                        return fail(p, -EKEYREJECTED, "the event log does not give PCR %u as it is in the evidence", pcr);

        p->base.without_loaded = !(pcrs.banks[0].mask & 1U << PCR_LOADED);
        look_at_loaded(p, &facts);
        r = find_images(p, &walk);
        return r < 0 ? r : replace_images(p, &walk);
}

static void put(struct predicting *p, unsigned pcr, const uint8_t *value) {
        struct policy_set *set = &p->prediction.set;

        memset(set->values[pcr], 0, sizeof(set->values[pcr]));
        memcpy(set->values[pcr], value, p->size);
        set->mask |= 1U << pcr;
        set->zero &= ~(1U << pcr);
        if (value_is(value, p->size, 0))
                set->zero |= 1U << pcr;
}

static int predict_loaded(struct predicting *p) {
        uint8_t value[WIRE_DIGEST_MAX] = {};
        int r = 0;

        if (p->base.without_loaded)
                return 0;
        if (p->image.has_extra || (p->base.initrd_measured && !p->base.initrd_alone) ||
            p->base.initrd_measured != p->image.has_initrd) {
                note(p, "PCR 9 is left out: the stub gives the kernel more than the section .initrd (credentials, extensions, a "
                        "signature). PCR 11 has the initramfs, PCR 12 and 13 what comes beside it.\n");
                return 0;
        }
        if (p->base.command_line_measured && p->image.has_command_line)
                r = pcr_bank_extend(p->input->bank, value, p->image.command_line);
        if (r >= 0 && p->base.initrd_measured)
                r = pcr_bank_extend(p->input->bank, value, p->image.initrd);
        if (r >= 0)
                put(p, PCR_LOADED, value);
        return r;
}

static int predict_stub(struct predicting *p) {
        bool enters = p->input->phase == PHASE_AS_BEFORE ? p->base.enters : p->input->phase == PHASE_ENTER_INITRD;
        uint8_t value[WIRE_DIGEST_MAX];
        int r = 0;

        memcpy(value, p->image.stub, sizeof(value));
        if (enters)
                r = extend(p, value, "enter-initrd", strlen("enter-initrd"));
        if (r >= 0)
                put(p, PCR_STUB, value);
        return r;
}

/* What is not computed is as it was. */
static int take_others(struct predicting *p) {
        const struct pcr_bank *bank = pcr_values_bank(p->input->pcrs, p->input->bank);
        char why[128];

        if (!bank)
                return fail(p, -ENOTSUP, "there are no %s values of that boot", pcr_alg_to_string(p->input->bank) ?: "such");
        p->prediction.set.bank = p->input->bank;
        for (unsigned pcr = 0; pcr < WIRE_PCRS; pcr++) {
                if (!(bank->mask & (1U << pcr)) || (PREDICTED | p->input->without | 1 << IMA_PCR) & 1U << pcr)
                        continue;
                put(p, pcr, bank->values[pcr]);
                if (set_check_value(&p->prediction.set, pcr, why, sizeof(why)) < 0)
                        return fail(p, -ENOTSUP, "that boot: %s", why);
        }
        for (unsigned pcr = 12; pcr <= 13; pcr++)
                if (p->prediction.set.mask & 1U << pcr && !(p->prediction.set.zero & 1U << pcr))
                        note(p, "PCR %u is not zero in that boot: it is taken to stay as it is.\n", pcr);
        return 0;
}

int policy_predict(const struct predict_input *input, struct prediction *ret, char *error, size_t error_size) {
        _cleanup_(freep) struct predicting *p = calloc(1, sizeof(*p));
        int r;

        if (!p)
                return -ENOMEM;
        *p = (struct predicting){ .input = input, .size = pcr_alg_size(input->bank), .error = error, .error_size = error_size };
        if (input->bank != BANK_SHA256 && input->bank != BANK_SHA384)
                return fail(p, -ENOTSUP, "a policy has SHA-256 or SHA-384 values, not these");

        if ((r = read_image(p)) < 0 || (r = take_others(p)) < 0 || (r = input->log ? known_base(p) : usual_base(p)) < 0)
                return r;
        put(p, PCR_LOADER, p->base.loader);
        if ((r = predict_loaded(p)) < 0 || (r = predict_stub(p)) < 0)
                return r;

        memcpy(p->prediction.uki, p->image.uki, p->size);
        memcpy(p->prediction.kernel, p->image.kernel, p->size);
        p->prediction.size = p->size;
        *ret = p->prediction;
        return 0;
}
