/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "evidence/eventlog.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "evidence/digester.h"

/* Sections are those of the TCG PC Client Platform Firmware Profile, 1.05. */

enum { SHA1_SIZE = 20 };

_printf_(3, 4) static int fail(struct eventlog *log, int r, const char *format, ...) {
        char why[sizeof log->error - 32];
        va_list args;

        va_start(args, format);
        vsnprintf(why, sizeof why, format, args);
        va_end(args);
        snprintf(log->error, sizeof log->error, "at byte %zu: %s", log->size - log->reader.left, why);
        return r;
}

int eventlog_bank(const struct eventlog *log, uint16_t alg) {
        for (size_t i = 0; i < log->n_banks; i++)
                if (log->banks[i].alg == alg)
                        return (int) i;
        return -ENOTSUP;
}

/* One algorithm of the header: an id of ours has the size that it has. */
static int read_bank(struct eventlog *log, struct reader *reader) {
        uint16_t alg, size;

        if (reader_le16(reader, &alg) < 0 || reader_le16(reader, &size) < 0)
                return fail(log, -EBADMSG, "the header's list of banks is cut");
        if (size == 0 || size > WIRE_DIGEST_MAX || (pcr_alg_size(alg) != 0 && size != pcr_alg_size(alg)))
                return fail(log, -EBADMSG, "the header says that digests of algorithm 0x%x have %u bytes", alg, size);
        if (eventlog_bank(log, alg) >= 0)
                return fail(log, -EBADMSG, "the header names algorithm 0x%x twice", alg);
        log->banks[log->n_banks].alg = alg;
        log->banks[log->n_banks++].size = size;
        return 0;
}

/* TCG_EfiSpecIdEvent (10.4.5.1), after its signature. */
static int read_spec_id(struct eventlog *log, struct reader reader) {
        const uint8_t *skipped;
        uint8_t vendor_size;
        uint32_t n;
        int r;

        if (reader_bytes(&reader, 8, &skipped) < 0 || reader_le32(&reader, &n) < 0)
                return fail(log, -EBADMSG, "the header is cut");
        if (n == 0 || n > EVENTLOG_BANKS_MAX)
                return fail(log, -EBADMSG, "the header names %u banks", n);
        for (uint32_t i = 0; i < n; i++) {
                r = read_bank(log, &reader);
                if (r < 0)
                        return r;
        }
        if (reader_u8(&reader, &vendor_size) < 0 || reader.left != vendor_size)
                return fail(log, -EBADMSG, "the header does not end where it should");
        return 0;
}

static bool is_agile_header(const uint8_t *data, size_t size) {
        return size >= 16 && memcmp(data, "Spec ID Event03", 16) == 0;
}

/* The header is an event of the older format, TCG_PCClientPCREvent (10.2.1). A log that starts with another event has that format
 * throughout. */
int eventlog_open(const void *data, size_t size, struct eventlog *ret) {
        struct reader start = { data, size };
        const uint8_t *digest, *event;
        uint32_t pcr, type, event_size;
        int r;

        *ret = (struct eventlog){ .reader = start, .size = size };
        if (size > EVENTLOG_MAX)
                return fail(ret, -E2BIG, "%zu bytes; a log has %d at most", size, EVENTLOG_MAX);
        if (size == 0)
                return fail(ret, -EBADMSG, "the log is empty");
        if (reader_le32(&start, &pcr) < 0 || reader_le32(&start, &type) < 0 || reader_bytes(&start, SHA1_SIZE, &digest) < 0 ||
            reader_le32(&start, &event_size) < 0 || reader_bytes(&start, event_size, &event) < 0)
                return fail(ret, -EBADMSG, "not an event log, or cut in its first event");
        if (type != EV_NO_ACTION || !is_agile_header(event, event_size)) {
                ret->banks[0].alg = 0x4;
                ret->banks[0].size = SHA1_SIZE;
                ret->n_banks = 1;
                return 0;
        }
        ret->agile = true;
        r = read_spec_id(ret, (struct reader){ event + 16, event_size - 16 });
        if (r < 0)
                return r;
        ret->reader = start;
        return 0;
}

/* TPML_DIGEST_VALUES (10.2.2): one digest for each bank at most. */
static int read_digests(struct eventlog *log, struct eventlog_event *event) {
        uint32_t n;

        if (reader_le32(&log->reader, &n) < 0)
                return fail(log, -EBADMSG, "cut in event %zu", event->number);
        if (n == 0 || n > log->n_banks)
                return fail(log, -EBADMSG, "event %zu has %u digests, the header names %zu banks", event->number, n,
                            log->n_banks);
        for (uint32_t i = 0; i < n; i++) {
                uint16_t alg;
                int bank;

                if (reader_le16(&log->reader, &alg) < 0)
                        return fail(log, -EBADMSG, "cut in event %zu", event->number);
                bank = eventlog_bank(log, alg);
                if (bank < 0)
                        return fail(log, -EBADMSG, "event %zu: algorithm 0x%x is not in the header", event->number, alg);
                if (event->digests[bank])
                        return fail(log, -EBADMSG, "event %zu: algorithm 0x%x is there twice", event->number, alg);
                if (reader_bytes(&log->reader, log->banks[bank].size, event->digests + bank) < 0)
                        return fail(log, -EBADMSG, "cut in event %zu", event->number);
        }
        return 0;
}

/* TCG_EfiStartupLocalityEvent (10.4.5.3). */
static int take_locality(struct eventlog *log, const struct eventlog_event *event) {
        uint8_t locality = event->data[16];

        if (log->has_locality)
                return fail(log, -EBADMSG, "event %zu: the startup locality is said twice", event->number);
        if (log->pcr0_extended)
                return fail(log, -EBADMSG, "event %zu: the startup locality is said after PCR 0 was extended", event->number);
        if (locality > 4)
                return fail(log, -EBADMSG, "event %zu: there is no locality %u", event->number, locality);
        log->has_locality = true;
        log->locality = locality;
        return 0;
}

static int check_event(struct eventlog *log, const struct eventlog_event *event) {
        if (event->type != EV_NO_ACTION) {
                if (event->pcr >= WIRE_PCRS)
                        return fail(log, -EBADMSG, "event %zu: there is no PCR %u", event->number, event->pcr);
                log->pcr0_extended |= event->pcr == 0;
                return 0;
        }
        if (log->agile && is_agile_header(event->data, event->size))
                return fail(log, -EBADMSG, "event %zu is a second header", event->number);
        if (event->pcr == 0 && event->size == 17 && memcmp(event->data, "StartupLocality", 16) == 0)
                return take_locality(log, event);
        return 0;
}

/* TCG_PCR_EVENT2 (10.2.2), or TCG_PCClientPCREvent. */
int eventlog_next(struct eventlog *log, struct eventlog_event *ret) {
        struct eventlog_event event = { .number = log->events + 1, .offset = log->size - log->reader.left };
        uint32_t size;
        int r;

        if (log->reader.left == 0)
                return 0;
        if (log->events >= EVENTLOG_EVENTS_MAX)
                return fail(log, -E2BIG, "more than %d events", EVENTLOG_EVENTS_MAX);
        if (reader_le32(&log->reader, &event.pcr) < 0 || reader_le32(&log->reader, &event.type) < 0)
                return fail(log, -EBADMSG, "cut in event %zu", event.number);
        if (log->agile) {
                r = read_digests(log, &event);
                if (r < 0)
                        return r;
        } else if (reader_bytes(&log->reader, SHA1_SIZE, event.digests) < 0)
                return fail(log, -EBADMSG, "cut in event %zu", event.number);
        if (reader_le32(&log->reader, &size) < 0)
                return fail(log, -EBADMSG, "cut in event %zu", event.number);
        if (reader_bytes(&log->reader, size, &event.data) < 0)
                return fail(log, -EBADMSG, "event %zu has %u bytes of data, %zu are left", event.number, size, log->reader.left);
        event.size = size;
        r = check_event(log, &event);
        if (r < 0)
                return r;
        log->events++;
        *ret = event;
        return 1;
}

/* Platform Firmware Profile, 4.6.2: PCR 17 to 22 start as ones, until a dynamic launch. */
static void start_values(size_t size, struct eventlog_pcrs *pcrs) {
        for (unsigned pcr = 17; pcr <= 22; pcr++)
                memset(pcrs->values[pcr], 0xff, size);
}

static int extend(struct eventlog *log, struct digester *digester, int bank, const struct eventlog_event *event,
                  struct eventlog_pcrs *pcrs) {
        uint8_t *value = pcrs->values[event->pcr];

        if (!event->digests[bank])
                return fail(log, -EBADMSG, "event %zu has no digest for algorithm 0x%x", event->number, log->banks[bank].alg);
        pcrs->extended |= UINT32_C(1) << event->pcr;
        return digester_run(digester, value, digester->size, event->digests[bank], digester->size, value);
}

static int replay(struct eventlog *log, struct digester *digester, int bank, struct eventlog_pcrs *pcrs) {
        struct eventlog_event event;
        int r;

        start_values(digester->size, pcrs);
        while ((r = eventlog_next(log, &event)) > 0) {
                if (event.type != EV_NO_ACTION)
                        r = extend(log, digester, bank, &event, pcrs);
                else if (!log->pcr0_extended) /* PCR 0 starts with the locality of startup as its last byte */
                        pcrs->values[0][digester->size - 1] = log->locality;
                if (r < 0)
                        return r;
        }
        return r;
}

int eventlog_replay(const void *data, size_t size, uint16_t alg, struct eventlog_pcrs *ret, char *error, size_t error_size) {
        _cleanup_(digester_done) struct digester digester = {};
        struct eventlog_pcrs pcrs = {};
        struct eventlog log;
        int bank, r;

        r = eventlog_open(data, size, &log);
        if (r >= 0) {
                bank = eventlog_bank(&log, alg);
                r = bank < 0 ? bank : digester_open(alg, &digester);
                if (r == -ENOTSUP)
                        (void) fail(&log, r, "the log has no %s digests", pcr_alg_to_string(alg) ?: "such");
        }
        if (r >= 0)
                r = replay(&log, &digester, bank, &pcrs);
        if (r < 0) {
                snprintf(error, error_size, "%s", log.error[0] ? log.error : strerror(-r));
                return r;
        }
        *ret = pcrs;
        return 0;
}
