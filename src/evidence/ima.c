/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdio.h>
#include <string.h>

#include "evidence/digester.h"
#include "evidence/facts.h"

/* The kernel's list of measurements (binary_runtime_measurements; Documentation/security/IMA-templates.rst): PCR, SHA-1 of the
 * template data, the template's name, the data. The name is bound by nothing, so all templates but the oldest are read alike: a
 * digest, a path, and what may follow. */

enum { SHA1_SIZE = 20, OLD_NAME_SIZE = 256, OLD_SIZE = SHA1_SIZE + OLD_NAME_SIZE, ALG_SHA1 = 0x4 };

struct record {
        uint32_t pcr;
        const uint8_t *digest; /* SHA-1 of the data; zeros: a violation */
        bool old;              /* template "ima" */
        const uint8_t *data;   /* as in the list; hashed as it is but for the old template */
        size_t size;
        const uint8_t *path;
        size_t path_size;
        const uint8_t *file_digest;
        size_t file_digest_size;
        uint16_t alg;
};

/* How a bank is extended: by the template data's own hash (Linux 5.8 on), or by SHA-1, padded. */
enum mode { MODE_OWN, MODE_PADDED };

struct list {
        struct reader reader;
        bool has_first, old; /* all records are of the old template, or none */
        const char *error;
};

static int fail(struct list *list, const char *error) {
        list->error = error;
        return -EBADMSG;
}

static bool template_is_known(const uint8_t *name, size_t size) {
        static const char *const known[] = { "ima-ng", "ima-sig", "ima-ngv2", "ima-sigv2", "ima-buf", "ima-modsig" };

        for (size_t i = 0; i < ELEMENTSOF(known); i++)
                if (strlen(known[i]) == size && memcmp(known[i], name, size) == 0)
                        return true;
        return false;
}

/* d-ng: "sha256:" NUL digest; d-ngv2 has "ima:" or "verity:" in front. */
static int parse_digest(const uint8_t *data, size_t size, struct record *record) {
        const uint8_t *end = memchr(data, 0, size), *name = data;
        char text[32];
        size_t n;

        if (!end || end == data || end[-1] != ':' || (size_t) (end - data) >= sizeof text)
                return -EBADMSG;
        for (const uint8_t *p = data; p < end - 1; p++)
                if (*p == ':')
                        name = p + 1;
        n = (size_t) (end - 1 - name);
        memcpy(text, name, n);
        text[n] = '\0';
        record->file_digest = end + 1;
        record->file_digest_size = size - (size_t) (end + 1 - data);
        record->alg = 0;
        if (pcr_alg_from_string(text, &record->alg) >= 0 && pcr_alg_size(record->alg) != record->file_digest_size)
                return -EBADMSG;
        return record->file_digest_size <= WIRE_DIGEST_MAX ? 0 : -EBADMSG;
}

static int parse_fields(struct record *record) {
        struct reader reader = { record->data, record->size };
        const uint8_t *digest;
        size_t size;

        if (reader_le32_bytes(&reader, &digest, &size) < 0 || parse_digest(digest, size, record) < 0 ||
            reader_le32_bytes(&reader, &record->path, &record->path_size) < 0)
                return -EBADMSG;
        if (record->path_size == 0 || memchr(record->path, 0, record->path_size) != record->path + record->path_size - 1)
                return -EBADMSG;
        record->path_size--;
        return 0;
}

/* Template "ima": SHA-1 of the file, then its name, which is hashed as 256 bytes. */
static int read_old(struct list *list, struct record *record) {
        if (reader_bytes(&list->reader, SHA1_SIZE, &record->file_digest) < 0 ||
            reader_le32_bytes(&list->reader, &record->path, &record->path_size) < 0)
                return fail(list, "cut");
        if (record->path_size >= OLD_NAME_SIZE || memchr(record->path, 0, record->path_size))
                return fail(list, "a name that template ima cannot have");
        record->file_digest_size = SHA1_SIZE;
        record->alg = ALG_SHA1;
        return 0;
}

/* 1: a record; 0: the end. */
static int read_record(struct list *list, struct record *ret) {
        struct record record = {};
        const uint8_t *name;
        size_t name_size;
        int r;

        if (list->reader.left == 0)
                return 0;
        if (reader_le32(&list->reader, &record.pcr) < 0 || reader_bytes(&list->reader, SHA1_SIZE, &record.digest) < 0 ||
            reader_le32_bytes(&list->reader, &name, &name_size) < 0)
                return fail(list, "cut");
        record.old = name_size == 3 && memcmp(name, "ima", 3) == 0;
        if (list->has_first && record.old != list->old)
                return fail(list, "template ima among others");
        list->has_first = true;
        list->old = record.old;
        if (record.old)
                r = read_old(list, &record);
        else if (!template_is_known(name, name_size))
                return fail(list, "a template that is not known");
        else if (reader_le32_bytes(&list->reader, &record.data, &record.size) < 0)
                return fail(list, "cut");
        else
                r = parse_fields(&record) < 0 ? fail(list, "not as its template says") : 0;
        if (r < 0)
                return r;
        *ret = record;
        return 1;
}

static bool is_violation(const struct record *record) {
        static const uint8_t zeros[SHA1_SIZE];

        return memcmp(record->digest, zeros, sizeof zeros) == 0;
}

static int hash_record(struct digester *digester, const struct record *record, uint8_t *ret) {
        uint8_t old[OLD_SIZE] = {};

        if (!record->old)
                return digester_run(digester, record->data, record->size, NULL, 0, ret);
        memcpy(old, record->file_digest, SHA1_SIZE);
        memcpy(old + SHA1_SIZE, record->path, record->path_size);
        return digester_run(digester, old, sizeof old, NULL, 0, ret);
}

/* What a record extends the PCR with: the hash of what is read, never the one that the list says. */
static int extension(struct digester *digester, const struct record *record, size_t size, uint8_t *ret) {
        memset(ret, is_violation(record) ? 0xff : 0, size);
        return is_violation(record) ? 0 : hash_record(digester, record, ret);
}

struct replay {
        uint16_t bank;
        const uint8_t *quoted;
        struct ima_state state;
        size_t records, bound, strings; /* read; of PCR 10; bytes of their paths with NULs */
};

static int replay_list(struct list *list, struct digester *data, struct digester *bank, struct replay *replay) {
        uint8_t value[WIRE_DIGEST_MAX];
        struct record record;
        int r;

        while (memcmp(replay->state.pcr, replay->quoted, bank->size) != 0) {
                r = read_record(list, &record);
                if (r <= 0)
                        return r < 0 ? r : -EKEYREJECTED;
                if (++replay->records > IMA_ENTRIES_MAX)
                        return -E2BIG;
                replay->state.entries++;
                if (record.pcr != 10)
                        continue;
                r = extension(data, &record, bank->size, value);
                if (r >= 0)
                        r = digester_run(bank, replay->state.pcr, bank->size, value, bank->size, replay->state.pcr);
                if (r < 0)
                        return r;
                replay->bound++;
                replay->strings += record.path_size + 1;
        }
        return 0;
}

static int replay_mode(struct list *list, enum mode mode, struct replay *replay) {
        _cleanup_(digester_done) struct digester bank = {}, data = {};
        int r = digester_open(replay->bank, &bank);

        if (r >= 0)
                r = digester_open(mode == MODE_OWN ? replay->bank : ALG_SHA1, &data);
        return r < 0 ? r : replay_list(list, &data, &bank, replay);
}

static void fill_entry(const struct record *record, struct ima_entry *entry, char *string) {
        *entry = (struct ima_entry){
                .path = string, .size = record->file_digest_size, .alg = record->alg, .violation = is_violation(record)
        };
        memcpy(entry->digest, record->file_digest, record->file_digest_size);
        memcpy(string, record->path, record->path_size);
        string[record->path_size] = '\0';
}

/* The records that replay_list() found to be bound, once more. */
static int fill(const void *data, size_t size, const struct replay *replay, bool from_start, struct ima_facts *facts) {
        struct list list = { .reader = { data, size } };
        size_t used = 0;

        if (replay->bound == 0)
                return 0;
        facts->entries = calloc(replay->bound, sizeof *facts->entries);
        facts->strings = malloc(replay->strings);
        if (!facts->entries || !facts->strings)
                return -ENOMEM;
        while (facts->n < replay->bound) {
                struct record record;
                int r = read_record(&list, &record);

                if (r <= 0)
                        return r < 0 ? r : -EBADMSG;
                if (record.pcr != 10)
                        continue;
                fill_entry(&record, facts->entries + facts->n++, facts->strings + used);
                used += record.path_size + 1;
        }
        if (from_start && !facts->entries[0].violation && strcmp(facts->entries[0].path, "boot_aggregate") == 0) {
                facts->has_aggregate = true;
                facts->aggregate_size = facts->entries[0].size;
                facts->aggregate_alg = facts->entries[0].alg;
                memcpy(facts->aggregate, facts->entries[0].digest, facts->aggregate_size);
        }
        return 0;
}

/* Both modes; a list that one of them fits is read. */
static int replay_modes(const void *data, size_t size, const struct ima_state *state, struct replay *replay, char *error,
                        size_t error_size) {
        static const enum mode modes[] = { MODE_OWN, MODE_PADDED };
        struct replay start = *replay;
        int r = 0;

        start.state = *state;
        for (size_t i = 0; i < ELEMENTSOF(modes); i++) {
                struct list list = { .reader = { data, size } };

                *replay = start;
                r = replay_mode(&list, modes[i], replay);
                if (r == 0 && list.old && state->entries > 0) {
                        snprintf(error, error_size, "template ima: only a whole list is read");
                        return -EBADMSG;
                }
                if (r != -EKEYREJECTED) {
                        if (r < 0)
                                snprintf(error, error_size, "entry %zu, at byte %zu: %s", replay->records + (r == -EBADMSG),
                                         size - list.reader.left,
                                         r == -E2BIG ? "more entries than are read" : list.error ?: strerror(-r));
                        return r;
                }
        }
        snprintf(error, error_size, "none of the first %zu entries is the last one that the quoted PCR 10 has", replay->records);
        return r;
}

int ima_facts_read(const void *list, size_t size, const struct pcr_values *quoted, uint16_t bank, struct ima_state *state,
                   struct ima_facts *ret, char *error, size_t error_size) {
        const struct pcr_bank *values = pcr_values_bank(quoted, bank);
        _cleanup_(ima_facts_done) struct ima_facts facts = {};
        struct replay replay = { .bank = bank };
        int r;

        if (size > IMA_LIST_MAX) {
                snprintf(error, error_size, "%zu bytes; a list has %d at most", size, IMA_LIST_MAX);
                return -E2BIG;
        }
        if (!values || !(values->mask & 1U << 10)) {
                snprintf(error, error_size, "the quote has no PCR 10 of bank %s", pcr_alg_to_string(bank) ?: "?");
                return -EKEYREJECTED;
        }
        replay.quoted = values->values[10];
        r = replay_modes(list, size, state, &replay, error, error_size);
        if (r < 0)
                return r;
        r = fill(list, size, &replay, state->entries == 0, &facts);
        if (r < 0) {
                snprintf(error, error_size, "%s", strerror(-r));
                return r;
        }
        *state = replay.state;
        *ret = facts;
        facts = (struct ima_facts){};
        return 0;
}

void ima_facts_done(struct ima_facts *facts) {
        free(facts->entries);
        free(facts->strings);
        *facts = (struct ima_facts){};
}

/* The kernel's ima_calc_boot_aggregate(): PCRs of the bank that the hash is of. */
int ima_aggregate_check(const struct ima_facts *facts, const struct pcr_values *quoted, uint16_t bank) {
        static const unsigned counts[] = { 10, 8 };
        const struct pcr_bank *values = pcr_values_bank(quoted, bank);
        _cleanup_(digester_done) struct digester digester = {};
        uint8_t data[10 * WIRE_DIGEST_MAX], digest[WIRE_DIGEST_MAX];
        int r;

        if (!facts->has_aggregate || !values || facts->aggregate_alg != bank)
                return -ENODATA;
        r = digester_open(bank, &digester);
        if (r < 0)
                return r;
        for (size_t i = 0; i < ELEMENTSOF(counts); i++) {
                uint32_t wanted = (1U << counts[i]) - 1;

                if ((values->mask & wanted) != wanted)
                        continue;
                for (unsigned pcr = 0; pcr < counts[i]; pcr++)
                        memcpy(data + pcr * digester.size, values->values[pcr], digester.size);
                r = digester_run(&digester, data, counts[i] * digester.size, NULL, 0, digest);
                if (r < 0)
                        return r;
                if (facts->aggregate_size == digester.size && memcmp(digest, facts->aggregate, digester.size) == 0)
                        return 0;
        }
        return (values->mask & 0x3ff) == 0x3ff ? -EKEYREJECTED : -ENODATA;
}
