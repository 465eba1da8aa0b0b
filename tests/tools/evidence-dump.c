/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* evidence-dump log FILE: a firmware event log as JSON, event by event, and the PCR values that it gives.
 * evidence-dump facts FILE.ev FILE.pcrs: what the log proves, against SHA-256 values "0 ABCD..." a line. */
#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "base/encode.h"
#include "base/file.h"
#include "evidence/eventlog.h"
#include "evidence/facts.h"

static json_t *hex(const uint8_t *data, size_t size) {
        char text[2 * 4096 + 1] = "";

        for (size_t i = 0; i < MIN(size, (size_t) 4096); i++)
                snprintf(text + 2 * i, 3, "%02x", data[i]);
        return json_string(text);
}

static const char *type_name(uint32_t type) {
        static const struct {
                uint32_t type;
                const char *name;
        } names[] = {
#define NAME(name) { (uint32_t) name, #name }
                NAME(EV_PREBOOT_CERT),
                NAME(EV_POST_CODE),
                NAME(EV_NO_ACTION),
                NAME(EV_SEPARATOR),
                NAME(EV_ACTION),
                NAME(EV_EVENT_TAG),
                NAME(EV_S_CRTM_CONTENTS),
                NAME(EV_S_CRTM_VERSION),
                NAME(EV_CPU_MICROCODE),
                NAME(EV_PLATFORM_CONFIG_FLAGS),
                NAME(EV_TABLE_OF_DEVICES),
                NAME(EV_COMPACT_HASH),
                NAME(EV_IPL),
                NAME(EV_IPL_PARTITION_DATA),
                NAME(EV_NONHOST_CODE),
                NAME(EV_NONHOST_CONFIG),
                NAME(EV_NONHOST_INFO),
                NAME(EV_OMIT_BOOT_DEVICE_EVENTS),
                NAME(EV_POST_CODE2),
                NAME(EV_EFI_VARIABLE_DRIVER_CONFIG),
                NAME(EV_EFI_VARIABLE_BOOT),
                NAME(EV_EFI_BOOT_SERVICES_APPLICATION),
                NAME(EV_EFI_BOOT_SERVICES_DRIVER),
                NAME(EV_EFI_RUNTIME_SERVICES_DRIVER),
                NAME(EV_EFI_GPT_EVENT),
                NAME(EV_EFI_ACTION),
                NAME(EV_EFI_PLATFORM_FIRMWARE_BLOB),
                NAME(EV_EFI_HANDOFF_TABLES),
                NAME(EV_EFI_PLATFORM_FIRMWARE_BLOB2),
                NAME(EV_EFI_HANDOFF_TABLES2),
                NAME(EV_EFI_VARIABLE_BOOT2),
                NAME(EV_EFI_GPT_EVENT2),
                NAME(EV_EFI_HCRTM_EVENT),
                NAME(EV_EFI_VARIABLE_AUTHORITY),
                NAME(EV_EFI_SPDM_FIRMWARE_BLOB),
                NAME(EV_EFI_SPDM_FIRMWARE_CONFIG),
                NAME(EV_EFI_SPDM_DEVICE_POLICY),
                NAME(EV_EFI_SPDM_DEVICE_AUTHORITY),
#undef NAME
        };

        for (size_t i = 0; i < ELEMENTSOF(names); i++)
                if (names[i].type == type)
                        return names[i].name;
        return "?";
}

static json_t *dump_event(const struct eventlog *log, const struct eventlog_event *event) {
        json_t *digests = json_object();

        for (size_t i = 0; i < log->n_banks; i++)
                if (event->digests[i])
                        json_object_set_new(digests, pcr_alg_to_string(log->banks[i].alg) ?: "other",
                                            hex(event->digests[i], log->banks[i].size));
        return json_pack("{s:I, s:I, s:s, s:I, s:o}", "number", (json_int_t) event->number, "pcr", (json_int_t) event->pcr,
                         "type", type_name(event->type), "size", (json_int_t) event->size, "digests", digests);
}

static json_t *dump_pcrs(const struct blob *log, uint16_t bank) {
        json_t *object = json_object();
        struct eventlog_pcrs pcrs;
        char error[160], name[4];

        if (eventlog_replay(log->data, log->size, bank, &pcrs, error, sizeof error) < 0)
                return object;
        for (unsigned i = 0; i < WIRE_PCRS; i++) {
                if (!(pcrs.extended & 1U << i))
                        continue;
                snprintf(name, sizeof name, "%u", i);
                json_object_set_new(object, name, hex(pcrs.values[i], pcr_alg_size(bank)));
        }
        return object;
}

static int dump_log(const struct blob *data) {
        json_t *events = json_array(), *pcrs = json_object(), *whole;
        struct eventlog_event event;
        struct eventlog log;
        int r = eventlog_open(data->data, data->size, &log);

        while (r >= 0 && (r = eventlog_next(&log, &event)) > 0)
                json_array_append_new(events, dump_event(&log, &event));
        if (r < 0) {
                fprintf(stderr, "%s\n", log.error);
                json_decref(events);
                json_decref(pcrs);
                return 1;
        }
        for (size_t i = 0; i < log.n_banks; i++)
                if (pcr_alg_to_string(log.banks[i].alg))
                        json_object_set_new(pcrs, pcr_alg_to_string(log.banks[i].alg), dump_pcrs(data, log.banks[i].alg));
        whole = json_pack("{s:b, s:o, s:o}", "agile", log.agile, "events", events, "pcrs", pcrs);
        json_dumpf(whole, stdout, JSON_INDENT(1));
        json_decref(whole);
        return 0;
}

static int read_pcrs(const char *path, struct pcr_values *ret) {
        FILE *file = fopen(path, "re");
        char text[200];
        unsigned pcr;

        *ret = (struct pcr_values){ .n = 1, .banks[0].alg = 0xb };
        while (file && fscanf(file, "%u %199s", &pcr, text) == 2 && pcr < WIRE_PCRS) {
                for (char *p = text; *p; p++)
                        *p = *p >= 'A' && *p <= 'F' ? (char) (*p - 'A' + 'a') : *p;
                if (hex_decode(text, ret->banks[0].values[pcr], 32) < 0)
                        return 1;
                ret->banks[0].mask |= 1U << pcr;
        }
        return !file || fclose(file) != 0;
}

static void print_digests(const char *name, const struct fact_digests *digests) {
        for (size_t i = 0; i < digests->n; i++) {
                printf("%s %-10s ", name, digests->items[i].name);
                for (size_t k = 0; k < digests->items[i].size; k++)
                        printf("%02x", digests->items[i].digest[k]);
                printf("\n");
        }
}

static void print_facts(const struct boot_facts *facts) {
        const struct {
                const char *name;
                const struct fact_digests *digests;
        } lists[] = { { "pk", &facts->pk },
                      { "kek", &facts->kek },
                      { "db", &facts->db },
                      { "dbx", &facts->dbx },
                      { "authority", &facts->authorities },
                      { "variable", &facts->variables },
                      { "application", &facts->applications },
                      { "driver", &facts->drivers },
                      { "section", &facts->sections },
                      { "loaded", &facts->loaded },
                      { "mok", &facts->mok } };

        printf("proven %x contradicted %x unread %x secure_boot %d debug %d deployed %d phases %u initrd %d\n", facts->proven,
               facts->contradicted, facts->unread, facts->secure_boot, facts->debug, facts->deployed_or_user, facts->phases,
               facts->initrd_measured);
        for (size_t i = 0; i < ELEMENTSOF(lists); i++)
                print_digests(lists[i].name, lists[i].digests);
        for (size_t i = 0; i < facts->n_command_lines; i++)
                printf("command line %u %s\n", facts->command_lines[i].pcr, facts->command_lines[i].text);
        for (unsigned i = 0; i < WIRE_PCRS; i++)
                if (facts->unread & 1U << i)
                        printf("unread %u %s\n", i, facts->unread_why[i]);
}

int main(int argc, char *argv[]) {
        _cleanup_(blob_done) struct blob log = {};
        struct pcr_values pcrs;
        struct boot_facts facts;
        char error[160];

        if (argc < 3 || file_read(argv[2], (size_t) 64 * 1024 * 1024, &log) < 0)
                return 2;
        if (strcmp(argv[1], "log") == 0)
                return dump_log(&log);
        if (argc < 4 || read_pcrs(argv[3], &pcrs) != 0)
                return 2;
        if (boot_facts_read(log.data, log.size, &pcrs, 0xb, &facts, error, sizeof error) < 0) {
                fprintf(stderr, "%s\n", error);
                return 1;
        }
        print_facts(&facts);
        boot_facts_done(&facts);
        return 0;
}
