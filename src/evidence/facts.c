/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "evidence/facts.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "evidence/facts-internal.h"

_Static_assert((int) FIRMWARE_LOG_MAX == (int) EVENTLOG_MAX && (int) FIRMWARE_LOG_MAX == (int) WIRE_FIRMWARE_LOG_MAX &&
                       (int) IMA_LIST_MAX == (int) WIRE_IMA_LIST_MAX && (int) FIRMWARE_EVENTS_MAX == (int) EVENTLOG_EVENTS_MAX,
               "one limit, several names");

void facts_unread(struct boot_facts *facts, unsigned pcr, const char *format, ...) {
        va_list args;

        if (facts->unread & 1U << pcr)
                return;
        facts->unread |= 1U << pcr;
        va_start(args, format);
        vsnprintf(facts->unread_why[pcr], sizeof facts->unread_why[pcr], format, args);
        va_end(args);
}

/* Room for one more where n is 0 or a power of two. */
static void *grow(void *items, size_t n, size_t size) {
        return n & (n - 1) ? items : reallocarray(items, n ? 2 * n : 1, size);
}

int fact_digests_add(struct fact_digests *digests, const char *name, const uint8_t *digest, size_t size) {
        struct fact_digest *items = grow(digests->items, digests->n, sizeof *items);

        if (!items)
                return -ENOMEM;
        digests->items = items;
        items[digests->n] = (struct fact_digest){ .size = size };
        snprintf(items[digests->n].name, sizeof items->name, "%s", name);
        memcpy(items[digests->n].digest, digest, size);
        digests->n++;
        return 0;
}

static const struct {
        enum known_text kind;
        size_t size;
        const char *text;
} known_texts[KNOWN_TEXTS] = {
        { KNOWN_SEPARATOR, 4, "\0\0\0\0" },
        { KNOWN_SEPARATOR, 4, "\xff\xff\xff\xff" },
#define TEXT(kind, text) \
        { kind, sizeof(text) - 1, text }
        TEXT(KNOWN_DEBUG, "UEFI Debug Mode"),
        TEXT(KNOWN_DEBUG, "DMA Protection Disabled"),
        TEXT(KNOWN_ACTION, "Calling EFI Application from Boot Option"),
        TEXT(KNOWN_RETURN, "Returning from EFI Application from Boot Option"),
        TEXT(KNOWN_ACTION, "Calling INT 19h"),
        TEXT(KNOWN_ACTION, "Returned INT 19h"),
        TEXT(KNOWN_ACTION, "Return via INT 18h"),
        TEXT(KNOWN_ACTION, "Start Option ROM Scan"),
        TEXT(KNOWN_ACTION, "BOOT ATTEMPTS OMITTED"),
#undef TEXT
};

static int hash_known_texts(struct facts_reading *reading) {
        for (size_t i = 0; i < KNOWN_TEXTS; i++) {
                int r = digester_run(&reading->digester, known_texts[i].text, known_texts[i].size, NULL, 0, reading->known[i]);

                if (r < 0)
                        return r;
        }
        return 0;
}

enum known_text facts_known_text(const struct facts_reading *reading) {
        for (size_t i = 0; i < KNOWN_TEXTS; i++)
                if (memcmp(reading->known[i], reading->digest, reading->digester.size) == 0)
                        return known_texts[i].kind;
        return KNOWN_NONE;
}

/* PCR 2 and 4: all that is not one of the firmware's texts is code. An application that is labelled as a text is one all the
 * same. */
static int read_code(struct facts_reading *reading, struct fact_digests *digests) {
        enum known_text known = facts_known_text(reading);

        if (known == KNOWN_RETURN && digests == &reading->facts->applications)
                reading->facts->returned = digests->n;
        if (known == KNOWN_SEPARATOR || known == KNOWN_ACTION || known == KNOWN_RETURN)
                return 0;
        return fact_digests_add(digests, "", reading->digest, reading->digester.size);
}

/* The text of a label, for words: ASCII, or UTF-16 of it. */
static void label_to_name(const uint8_t *data, size_t size, char ret[static 32]) {
        size_t step = size >= 2 && data[1] == 0 ? 2 : 1, n = 0;

        for (size_t i = 0; i < size && data[i] > ' ' && data[i] < 0x7f && n < 31; i += step)
                ret[n++] = (char) data[i];
        ret[n] = '\0';
}

static bool is_label(const uint8_t *data, size_t size, const char *label) {
        return size >= strlen(label) && memcmp(data, label, strlen(label)) == 0;
}

/* PCR 9. The kernel's EFI stub: EV_EVENT_TAG, 4 bytes of id, 4 of length, a label. */
static int read_loaded(struct facts_reading *reading, const struct eventlog_event *event) {
        const char *name = "";

        if (event->type == EV_EVENT_TAG && event->size > 8) {
                if (is_label(event->data + 8, event->size - 8, "Linux initrd"))
                        name = "initrd";
                else if (is_label(event->data + 8, event->size - 8, "LOADED_IMAGE::LoadOptions"))
                        name = "cmdline";
        }
        if (strcmp(name, "initrd") == 0)
                reading->facts->initrd_measured = true;
        return fact_digests_add(&reading->facts->loaded, name, reading->digest, reading->digester.size);
}

/* PCR 14. Shim: EV_IPL, the list's name. */
static int read_mok(struct facts_reading *reading, const struct eventlog_event *event) {
        char name[32];

        label_to_name(event->data, event->size, name);
        return fact_digests_add(&reading->facts->mok, name, reading->digest, reading->digester.size);
}

/* PCR 11. systemd-stub measures the name of a section, with its NUL, and then its content. The label is the name in UTF-16. */
static int read_section(struct facts_reading *reading, const struct eventlog_event *event) {
        char name[32];
        int r;

        if (reading->section[0]) {
                r = fact_digests_add(&reading->facts->sections, reading->section, reading->digest, reading->digester.size);
                reading->section[0] = '\0';
                return r;
        }
        if (reading->facts->unread & 1U << 11)
                return 0;
        label_to_name(event->data, event->size, name);
        r = name[0] ? digester_compare(&reading->digester, name, strlen(name) + 1, reading->digest) : -ENOENT;
        if (r == -ENOENT) {
                facts_unread(reading->facts, 11, "event %zu: not the name of a section", event->number);
                return 0;
        }
        if (r >= 0)
                memcpy(reading->section, name, sizeof name);
        return r;
}

static int add_command_line(struct boot_facts *facts, unsigned pcr, char **text) {
        struct fact_text *items = grow(facts->command_lines, facts->n_command_lines, sizeof *items);

        if (!items)
                return -ENOMEM;
        facts->command_lines = items;
        items[facts->n_command_lines++] = (struct fact_text){ pcr, TAKE_PTR(*text) };
        return 0;
}

/* UTF-16, as systemd measures it: a text of 8 bit has no NUL, and one of 16 some. */
static bool is_wide(const uint8_t *data, size_t size) {
        return memchr(data, 0, size) != NULL;
}

/* -EBADMSG: neither UTF-8 nor UTF-16. */
static int text_from_bytes(const uint8_t *data, size_t size, char **ret) {
        _cleanup_(buffer_done) struct buffer checked = {};
        _cleanup_(freep) char *text = NULL;
        int r;

        if (is_wide(data, size))
                return utf16_to_utf8(data, size, ret);
        text = strndup((const char *) data, size);
        if (!text)
                return -ENOMEM;
        r = utf8_to_utf16(text, &checked);
        if (r < 0)
                return r == -EINVAL ? -EBADMSG : r;
        *ret = TAKE_PTR(text);
        return 0;
}

/* What was hashed: GRUB leaves out its label and the NUL at the end. -ENOENT: none of it has this digest. */
static int bound_text(struct facts_reading *reading, const struct eventlog_event *event, const uint8_t **ret, size_t *ret_size) {
        static const char *const labels[] = { "grub_cmd: ", "kernel_cmdline: ", "module_cmdline: " };
        const uint8_t *data = event->data;
        size_t size = event->size;
        int r;

        for (size_t i = 0; i < ELEMENTSOF(labels); i++) {
                size_t label = strlen(labels[i]), left;

                if (!is_label(data, size, labels[i]))
                        continue;
                left = size - label - (size > label && data[size - 1] == '\0');
                r = digester_compare(&reading->digester, data + label, left, reading->digest);
                if (r == 0) {
                        *ret = data + label;
                        *ret_size = left;
                }
                return r;
        }
        r = digester_compare(&reading->digester, data, size, reading->digest);
        if (r == 0) {
                *ret = data;
                *ret_size = size;
        }
        return r;
}

/* GRUB's kernel command lines start with the kernel's path; its commands that load one are measured before, so that a relative
 * path or another label hides nothing. */
static bool take_kernel_text(char *text) {
        static const char *const commands[] = { "linux",      "linux16",        "linuxefi",     "multiboot",
                                                "multiboot2", "xen_hypervisor", "legacy_kernel" };

        for (size_t i = 0; i < ELEMENTSOF(commands); i++) {
                size_t n = strlen(commands[i]);

                if (strncmp(text, commands[i], n) == 0 && text[n] == ' ') {
                        memmove(text, text + n + 1, strlen(text + n + 1) + 1);
                        return true;
                }
        }
        return text[0] == '(' || text[0] == '/';
}

/* PCR 8 and 12: texts only. */
static int read_command_line(struct facts_reading *reading, const struct eventlog_event *event) {
        _cleanup_(freep) char *text = NULL;
        const uint8_t *data = NULL;
        size_t size = 0;
        int r;

        r = bound_text(reading, event, &data, &size);
        if (r >= 0)
                r = text_from_bytes(data, size, &text);
        if (r == -ENOENT || r == -EBADMSG) {
                facts_unread(reading->facts, event->pcr, "event %zu: %s", event->number,
                             r == -ENOENT ? "its digest is not that of its text" : "not a text");
                return 0;
        }
        if (r < 0)
                return r;
        if (event->pcr == 8 && !is_wide(data, size) && !is_label(event->data, event->size, "kernel_cmdline: ") &&
            !take_kernel_text(text))
                return 0;
        return add_command_line(reading->facts, event->pcr, &text);
}

static int read_event(struct facts_reading *reading, const struct eventlog_event *event) {
        switch (event->pcr) {
        case 2:
                return read_code(reading, &reading->facts->drivers);
        case 4:
                return read_code(reading, &reading->facts->applications);
        case 7:
                return facts_read_secure_boot(reading, event);
        case 8:
        case 12:
                return read_command_line(reading, event);
        case 9:
                return read_loaded(reading, event);
        case 11:
                return read_section(reading, event);
        case 14:
                return read_mok(reading, event);
        default:
                return 0;
        }
}

/* PCR 11 goes on after the firmware's log: systemd-pcrphase measures words. */
static int match_phases(struct digester *digester, const uint8_t *start, const uint8_t *quoted, unsigned *ret) {
        static const char *const phases[] = { "enter-initrd", "leave-initrd", "sysinit", "ready" };
        uint8_t value[WIRE_DIGEST_MAX], word[WIRE_DIGEST_MAX];

        memcpy(value, start, digester->size);
        for (unsigned i = 0; i < ELEMENTSOF(phases); i++) {
                int r = digester_run(digester, phases[i], strlen(phases[i]), NULL, 0, word);

                if (r >= 0)
                        r = digester_run(digester, value, digester->size, word, digester->size, value);
                if (r < 0)
                        return r;
                if (memcmp(value, quoted, digester->size) == 0) {
                        *ret = i + 1;
                        return 0;
                }
        }
        return -ENOENT;
}

static int hold_against_quote(struct facts_reading *reading, const struct eventlog_pcrs *pcrs, const struct pcr_bank *quoted) {
        struct boot_facts *facts = reading->facts;
        size_t size = reading->digester.size;

        for (unsigned pcr = 0; pcr < WIRE_PCRS; pcr++) {
                int r = -ENOENT;

                if (!(quoted->mask & 1U << pcr))
                        continue;
                if (memcmp(pcrs->values[pcr], quoted->values[pcr], size) == 0)
                        r = 0;
                else if (pcr == 11)
                        r = match_phases(&reading->digester, pcrs->values[pcr], quoted->values[pcr], &facts->phases);
                if (r < 0 && r != -ENOENT)
                        return r;
                *(r == 0 ? &facts->proven : &facts->contradicted) |= 1U << pcr;
        }
        return 0;
}

static int read_events(struct facts_reading *reading, const void *data, size_t size) {
        struct eventlog_event event;
        struct eventlog log;
        int r, bank;

        r = eventlog_open(data, size, &log);
        if (r < 0)
                return r;
        bank = eventlog_bank(&log, reading->facts->bank);
        if (bank < 0)
                return bank;
        while ((r = eventlog_next(&log, &event)) > 0) {
                if (event.type == EV_NO_ACTION || !(reading->facts->proven & 1U << event.pcr))
                        continue;
                reading->digest = event.digests[bank];
                r = read_event(reading, &event);
                if (r < 0)
                        return r;
        }
        if (r >= 0 && reading->section[0])
                facts_unread(reading->facts, 11, "a section's name without its content");
        facts_finish_secure_boot(reading);
        return r;
}

static int read_log(const void *log, size_t size, const struct eventlog_pcrs *pcrs, const struct pcr_bank *quoted,
                    struct boot_facts *facts) {
        struct facts_reading reading = { .facts = facts };
        int r;

        r = digester_open(quoted->alg, &reading.digester);
        if (r >= 0)
                r = digester_open(0xb, &reading.sha256);
        if (r >= 0)
                r = hash_known_texts(&reading);
        if (r >= 0)
                r = hold_against_quote(&reading, pcrs, quoted);
        if (r >= 0)
                r = read_events(&reading, log, size);
        digester_done(&reading.digester);
        digester_done(&reading.sha256);
        return r;
}

int boot_facts_read(const void *log, size_t size, const struct pcr_values *quoted, uint16_t bank, struct boot_facts *ret,
                    char *error, size_t error_size) {
        const struct pcr_bank *values = pcr_values_bank(quoted, bank);
        _cleanup_(boot_facts_done) struct boot_facts facts = { .bank = bank, .secure_boot = -1, .debug = -1 };
        struct eventlog_pcrs pcrs;
        int r;

        if (!values) {
                snprintf(error, error_size, "the quote has no %s values", pcr_alg_to_string(bank) ?: "such");
                return -ENOTSUP;
        }
        r = eventlog_replay(log, size, bank, &pcrs, error, error_size);
        if (r < 0)
                return r;
        r = read_log(log, size, &pcrs, values, &facts);
        if (r < 0) {
                snprintf(error, error_size, "%s", strerror(-r));
                return r;
        }
        *ret = facts;
        facts = (struct boot_facts){};
        return 0;
}

void boot_facts_done(struct boot_facts *facts) {
        struct fact_digests *lists[] = { &facts->pk,          &facts->kek,       &facts->db,           &facts->dbx,
                                         &facts->authorities, &facts->variables, &facts->applications, &facts->drivers,
                                         &facts->sections,    &facts->loaded,    &facts->mok };

        for (size_t i = 0; i < ELEMENTSOF(lists); i++)
                free(lists[i]->items);
        for (size_t i = 0; i < facts->n_command_lines; i++)
                free(facts->command_lines[i].text);
        free(facts->command_lines);
        *facts = (struct boot_facts){};
}

int boot_facts_command_line_digest(const char *text, uint16_t bank, uint8_t ret[static WIRE_DIGEST_MAX]) {
        _cleanup_(digester_done) struct digester digester = {};
        _cleanup_(buffer_done) struct buffer utf16 = {};
        int r = utf8_to_utf16(text, &utf16);

        if (r >= 0)
                r = digester_open(bank, &digester);
        return r < 0 ? r : digester_run(&digester, utf16.data, utf16.size, NULL, 0, ret);
}
