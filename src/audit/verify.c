/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "audit/verify.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "audit/members.h"
#include "base/clock.h"
#include "base/log.h"

static _printf_(4, 5) void say(audit_finding finding, void *userdata, bool wrong, const char *format, ...) {
        char text[512], clean[1024];
        va_list ap;

        va_start(ap, format);
        (void) vsnprintf(text, sizeof(text), format, ap);
        va_end(ap);
        text_sanitize(text, clean, sizeof(clean));
        finding(wrong, clean, userdata);
}

void audit_file_done(struct audit_file *file) {
        free(file->hashes);
        free(file->claims);
        *file = (struct audit_file){};
}

static const char *role_of(const struct audit_file *file) {
        return file->has_header ? file->head.role : file->name;
}

/* The first line. */
static void read_header(struct audit_file *file, const json_t *json, audit_finding finding, void *userdata) {
        int64_t version = 0;

        if (get_number(json, "tallyboot-audit", &version) < 0 || version != 1 ||
            get_number(json, "exported", &file->exported) < 0 ||
            audit_head_from_json(json_object_get(json, "head"), &file->head) < 0) {
                say(finding, userdata, true, "%s: not an export of an audit log", file->name);
                file->broken = true;
                return;
        }
        file->has_header = true;
        if (audit_head_verify(&file->head) < 0)
                say(finding, userdata, true, "%s: the head of the %s's log is not signed by its key", file->name, role_of(file));
}

static int read_record(const json_t *json, struct audit_entry *ret, uint8_t ret_hash[static 32]) {
        static const char *const names[] = { "event", "node", "incident", "who", "detail" };
        const char *texts[ELEMENTSOF(names)];

        for (size_t i = 0; i < ELEMENTSOF(names); i++) {
                texts[i] = json_string_value(json_object_get(json, names[i]));
                if (!texts[i])
                        return -EBADMSG;
        }
        *ret = (struct audit_entry){ .record = { texts[0], texts[1], texts[2], texts[3], texts[4] } };
        return get_number(json, "seq", &ret->seq) < 0 || get_number(json, "time", &ret->time) < 0 ||
                               get_hash(json, "hash", ret_hash) < 0
                       ? -EBADMSG
                       : 0;
}

static int keep_hash(struct audit_file *file, const uint8_t hash[static 32]) {
        if ((size_t) file->n == file->allocated) {
                size_t more = file->allocated > 0 ? file->allocated * 2 : 1024;
                void *grown = reallocarray(file->hashes, more, 32);

                if (!grown)
                        return -ENOMEM;
                file->hashes = grown;
                file->allocated = more;
        }
        memcpy(file->hashes[file->n++], hash, 32);
        return 0;
}

static const char *static_alarm(const json_t *detail) {
        static const char *const known[] = { "behind", "forked", "another key", "not signed", "not shown to follow" };
        const char *why = json_string_value(json_object_get(detail, "why"));

        for (size_t i = 0; why && i < ELEMENTSOF(known); i++)
                if (strcmp(why, known[i]) == 0)
                        return known[i];
        return "refused";
}

static int keep_claim(struct audit_file *file, const struct audit_entry *entry, const json_t *json, const char *alarm) {
        struct audit_claim claim = { .record = entry->seq, .recorded = entry->time, .alarm = alarm };
        struct audit_claim *grown;

        if (audit_head_from_json(json, &claim.head) < 0)
                return 0; /* whoever wrote it: it says nothing of anybody */
        grown = reallocarray(file->claims, file->n_claims + 1, sizeof(*grown));
        if (!grown)
                return -ENOMEM;
        file->claims = grown;
        file->claims[file->n_claims++] = claim;
        return 0;
}

/* An operator took the other log's new beginning: what was known of the old one no longer binds it. */
static void drop_claims(struct audit_file *file, const struct audit_entry *entry, const char *of, audit_finding finding,
                        void *userdata) {
        char at[21];
        size_t kept = 0;

        for (size_t i = 0; i < file->n_claims; i++)
                if (strcmp(file->claims[i].head.role, of) != 0)
                        file->claims[kept++] = file->claims[i];
        file->n_dropped += file->n_claims - kept;
        file->n_claims = kept;
        clock_format((uint64_t) entry->time, at);
        say(finding, userdata, false, "%s: at %s %s accepted that the %s's log begins anew; heads of before do not count",
            role_of(file), at, entry->record.who, of);
}

static int read_claim(struct audit_file *file, const struct audit_entry *entry, audit_finding finding, void *userdata) {
        const char *event = entry->record.event;
        char of[16];
        json_t *detail;
        int r = 0;

        if (strncmp(event, "audit-", 6) != 0)
                return 0;
        detail = json_loads(entry->record.detail, JSON_REJECT_DUPLICATES, NULL);
        if (strcmp(event, "audit-head") == 0)
                r = keep_claim(file, entry, detail, "");
        else if (strcmp(event, "audit-alarm") == 0)
                r = keep_claim(file, entry, json_object_get(detail, "head"), static_alarm(detail));
        else if (strcmp(event, "audit-accept") == 0 && get_text(detail, "of", of, sizeof(of)) == 0)
                drop_claims(file, entry, of, finding, userdata);
        json_decref(detail);
        return r;
}

static int take_record(struct audit_file *file, const struct audit_entry *entry, const uint8_t stated[static 32],
                       audit_finding finding, void *userdata) {
        static const uint8_t none[32];
        uint8_t hash[32];
        char at[21];
        int r;

        if (entry->seq != file->n + 1) {
                say(finding, userdata, true, "%s: record %lld is not there: record %lld is in its place (line %zu)",
                    role_of(file), (long long) file->n + 1, (long long) entry->seq, file->lines);
                file->broken = true;
                return 0;
        }
        r = audit_hash(file->n > 0 ? file->hashes[file->n - 1] : none, entry, hash);
        if (r < 0)
                return r;
        if (memcmp(hash, stated, sizeof(hash)) != 0 && file->wrong++ == 0) {
                clock_format((uint64_t) entry->time, at);
                say(finding, userdata, true, "%s: record %lld (of %s) is not what it was: it, or the one before, was changed",
                    role_of(file), (long long) entry->seq, at);
        }
        r = keep_hash(file, stated);
        return r < 0 ? r : read_claim(file, entry, finding, userdata);
}

int audit_file_line(struct audit_file *file, const char *line, size_t size, audit_finding finding, void *userdata) {
        struct audit_entry entry;
        uint8_t hash[32];
        json_t *json;
        int r = 0;

        file->lines++;
        if (file->broken)
                return 0;

        json = size <= AUDIT_LINE_MAX ? json_loadb(line, size, JSON_REJECT_DUPLICATES, NULL) : NULL;
        if (file->lines == 1)
                read_header(file, json, finding, userdata);
        else if (!json || read_record(json, &entry, hash) < 0) {
                say(finding, userdata, true, "%s: line %zu is not a record: what follows is not looked at", role_of(file),
                    file->lines);
                file->broken = true;
        } else
                r = take_record(file, &entry, hash, finding, userdata);
        json_decref(json);
        return r;
}

void audit_file_end(struct audit_file *file, audit_finding finding, void *userdata) {
        static const uint8_t none[32];

        if (file->lines == 0)
                say(finding, userdata, true, "%s: empty", file->name);
        if (!file->has_header || file->broken)
                return;
        if (file->n != file->head.seq)
                say(finding, userdata, true, "%s: cut off: %lld records are there, its signed head says %lld", role_of(file),
                    (long long) file->n, (long long) file->head.seq);
        else if (memcmp(file->n > 0 ? file->hashes[file->n - 1] : none, file->head.hash, 32) != 0)
                say(finding, userdata, true, "%s: the last record is not the one that its signed head names", role_of(file));
}

struct comparison {
        const struct audit_file *log, *other;
        audit_finding finding;
        void *userdata;
        size_t compared, later;
        bool done; /* one finding for each pair is enough */
};

static void wrong_head(struct comparison *c, const struct audit_claim *claim, const char *what) {
        char at[21];

        clock_format((uint64_t) claim->recorded, at);
        say(c->finding, c->userdata, true, "%s: %s (the %s's record %lld, of %s, has its head at record %lld)", c->log->head.role,
            what, c->other->head.role, (long long) claim->record, at, (long long) claim->head.seq);
        c->done = true;
}

static void compare_claim(struct comparison *c, const struct audit_claim *claim) {
        const struct audit_file *log = c->log;

        if (strcmp(claim->alarm, "not signed") == 0)
                wrong_head(c, claim, "a head that it had not signed was shown as its own");
        else if (memcmp(claim->head.public, log->head.public, sizeof(log->head.public)) != 0)
                wrong_head(c, claim, "this log was signed by another key than before");
        else if (audit_head_verify(&claim->head) < 0)
                wrong_head(c, claim, "a head was recorded of it that it never signed: the other log is not honest");
        else if (claim->head.seq > log->n) {
                /* by either clock from before the export: it should be in it */
                if (log->broken)
                        c->later++;
                else if (claim->head.time <= log->head.time || claim->recorded <= log->exported)
                        wrong_head(c, claim, "cut off: it was longer before");
                else
                        c->later++;
        } else if (claim->head.seq > 0 && memcmp(log->hashes[claim->head.seq - 1], claim->head.hash, 32) != 0)
                wrong_head(c, claim, "it has another past than before: records were written anew");
        else if (*claim->alarm)
                wrong_head(c, claim, "a head that did not fit to those before was shown");
        else
                c->compared++;
}

static void compare_pair(struct comparison *c) {
        for (size_t i = 0; i < c->other->n_claims && !c->done; i++)
                if (strcmp(c->other->claims[i].head.role, c->log->head.role) == 0)
                        compare_claim(c, c->other->claims + i);
        if (c->compared > 0)
                say(c->finding, c->userdata, false, "%s: %zu heads that the %s recorded fit%s", c->log->head.role, c->compared,
                    c->other->head.role, c->later > 0 ? "; later ones are not covered by this export" : "");
        else if (!c->done)
                say(c->finding, c->userdata, false, "%s: the %s recorded no head of it that is covered by this export",
                    c->log->head.role, c->other->head.role);
}

/* Two exports of one log: the shorter is the beginning of the longer. */
static void compare_same(struct comparison *c) {
        int64_t n = MIN(c->log->n, c->other->n);

        for (int64_t i = 0; i < n; i++)
                if (memcmp(c->log->hashes[i], c->other->hashes[i], 32) != 0) {
                        say(c->finding, c->userdata, true, "%s: two exports differ from record %lld on", c->log->head.role,
                            (long long) i + 1);
                        return;
                }
        c->compared++;
}

void audit_files_compare(const struct audit_file *files, size_t n, audit_finding finding, void *userdata, size_t *ret_compared) {
        size_t compared = 0;

        for (size_t i = 0; i < n; i++)
                for (size_t k = 0; k < n; k++) {
                        struct comparison c = { .log = files + i, .other = files + k, .finding = finding, .userdata = userdata };

                        if (i == k || !c.log->has_header || !c.other->has_header)
                                continue;
                        if (strcmp(c.log->head.role, c.other->head.role) != 0)
                                compare_pair(&c);
                        else if (i < k)
                                compare_same(&c);
                        compared += c.compared;
                }
        *ret_compared = compared;
}
