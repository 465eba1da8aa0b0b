/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <string.h>

#include "evidence/facts-internal.h"

/* PCR 7 (Platform Firmware Profile, 3.3.4.8): the digest of each event is that of its data. The separator parts configuration
 * from what verified images; so no event's type is looked at. */

enum { SIGNATURES_MAX = 32768 };

static const uint8_t guid_global[16] = { 0x61, 0xdf, 0xe4, 0x8b, 0xca, 0x93, 0xd2, 0x11,
                                         0xaa, 0x0d, 0x00, 0xe0, 0x98, 0x03, 0x2b, 0x8c };
static const uint8_t guid_security[16] = { 0xcb, 0xb2, 0x19, 0xd7, 0x3a, 0x3d, 0x96, 0x45,
                                           0xa3, 0xbc, 0xda, 0xd0, 0x0e, 0x67, 0x65, 0x6f };

static bool variable_is(const struct eventlog_variable *variable, const uint8_t *guid, const char *name) {
        return memcmp(variable->guid, guid, 16) == 0 && strcmp(variable->name, name) == 0;
}

static bool variable_is_on(const struct eventlog_variable *variable) {
        return variable->size == 1 && variable->data[0] == 1;
}

static int add_sha256(struct facts_reading *reading, struct fact_digests *digests, const char *name, const uint8_t *data,
                      size_t size) {
        uint8_t digest[SHA256_SIZE];
        int r = digester_run(&reading->sha256, data, size, NULL, 0, digest);

        return r < 0 ? r : fact_digests_add(digests, name, digest, sizeof digest);
}

static int add_signatures(struct facts_reading *reading, const struct eventlog_variable *variable, struct fact_digests *digests) {
        struct eventlog_signatures signatures = { .lists = { variable->data, variable->size } };
        const uint8_t *data;
        size_t size;
        int r;

        while ((r = eventlog_signature_next(&signatures, &data, &size)) > 0) {
                if (++reading->signatures > SIGNATURES_MAX) {
                        facts_unread(reading->facts, 7, "more than %d signatures in PK, KEK, db and dbx", SIGNATURES_MAX);
                        return 0;
                }
                if (strcmp(signatures.kind, "sha256") == 0)
                        r = fact_digests_add(digests, signatures.kind, data, size);
                else
                        r = add_sha256(reading, digests, signatures.kind, data, size);
                if (r < 0)
                        return r;
        }
        if (r == -EBADMSG) {
                facts_unread(reading->facts, 7, "%s is not a list of signatures", variable->name);
                return 0;
        }
        return r;
}

static void take_secure_boot(struct facts_reading *reading, const struct eventlog_variable *variable) {
        if (!variable_is_on(variable))
                reading->facts->secure_boot = 0;
        else if (!reading->separated)
                reading->facts->secure_boot = 1;
}

/* Before the separator: what the firmware was configured with. Each variable is there once. */
static int take_configuration(struct facts_reading *reading, const struct eventlog_variable *variable) {
        const struct {
                const uint8_t *guid;
                const char *name;
                struct fact_digests *digests;
        } known[] = {
                { guid_global, "SecureBoot", NULL },
                { guid_global, "PK", &reading->facts->pk },
                { guid_global, "KEK", &reading->facts->kek },
                { guid_security, "db", &reading->facts->db },
                { guid_security, "dbx", &reading->facts->dbx },
        };

        for (size_t i = 0; i < ELEMENTSOF(known); i++) {
                if (!variable_is(variable, known[i].guid, known[i].name))
                        continue;
                if (reading->variables_seen & 1U << i)
                        facts_unread(reading->facts, 7, "%s is there twice", variable->name);
                reading->variables_seen |= 1U << i;
                return known[i].digests ? add_signatures(reading, variable, known[i].digests) : 0;
        }
        if ((variable_is(variable, guid_global, "SetupMode") || variable_is(variable, guid_global, "AuditMode")) &&
            !(variable->size == 1 && variable->data[0] == 0))
                reading->setup_or_audit = true;
        return 0;
}

/* A certificate in DER that fills its bytes: SEQUENCE, length. */
static bool is_der(const uint8_t *data, size_t size) {
        return size >= 4 && data[0] == 0x30 && data[1] == 0x82 && ((size_t) data[2] << 8 | data[3]) == size - 4;
}

/* EFI_SIGNATURE_DATA, an owner and the signature; shim's built-in certificate has no owner. */
static int take_authority(struct facts_reading *reading, const struct eventlog_variable *variable) {
        struct fact_digests *authorities = &reading->facts->authorities;

        if (is_der(variable->data, variable->size))
                return add_sha256(reading, authorities, "x509", variable->data, variable->size);
        if (variable->size > 16 && is_der(variable->data + 16, variable->size - 16))
                return add_sha256(reading, authorities, "x509", variable->data + 16, variable->size - 16);
        if (variable->size == 16 + SHA256_SIZE)
                return fact_digests_add(authorities, "sha256", variable->data + 16, SHA256_SIZE);
        return add_sha256(reading, authorities, "", variable->data, variable->size);
}

/* What shim measures here beside its authorities. MokSBState 1: images are not verified; MokDBState 1: not against db. */
static bool is_shim_variable(const struct eventlog_variable *variable) {
        static const char *const names[] = { "SbatLevel", "MokSBState", "MokDBState", "MokListTrusted" };
        static const uint8_t guid_shim[16] = { 0x50, 0xab, 0x5d, 0x60, 0x46, 0xe0, 0x00, 0x43,
                                               0xab, 0xb6, 0x3d, 0xd8, 0x10, 0xdd, 0x8b, 0x23 };

        for (size_t i = 0; i < ELEMENTSOF(names); i++)
                if (variable_is(variable, guid_shim, names[i]))
                        return true;
        return false;
}

static int take_variable(struct facts_reading *reading, const struct eventlog_variable *variable) {
        if (variable_is(variable, guid_global, "SecureBoot"))
                take_secure_boot(reading, variable);
        if (is_shim_variable(variable)) {
                if (strcmp(variable->name, "MokSBState") == 0 && !(variable->size == 1 && variable->data[0] == 0))
                        reading->shim_insecure = true;
                return add_sha256(reading, &reading->facts->variables, variable->name, variable->data, variable->size);
        }
        return reading->separated ? take_authority(reading, variable) : take_configuration(reading, variable);
}

int facts_read_secure_boot(struct facts_reading *reading, const struct eventlog_event *event) {
        struct eventlog_variable variable;
        enum known_text known = facts_known_text(reading);
        int r;

        if (known == KNOWN_SEPARATOR)
                reading->separated = true;
        if (known == KNOWN_DEBUG)
                reading->facts->debug = 1;
        if (known != KNOWN_NONE)
                return 0;
        r = digester_compare(&reading->digester, event->data, event->size, reading->digest);
        if (r == -ENOENT) {
                facts_unread(reading->facts, 7, "event %zu: its digest is not that of its data", event->number);
                return 0;
        }
        if (r < 0)
                return r;
        if (eventlog_variable(event->data, event->size, &variable) >= 0)
                return take_variable(reading, &variable);
        /* A text of the vendor's, perhaps: nothing that a list of authorities would allow. */
        return add_sha256(reading, &reading->facts->authorities, "", event->data, event->size);
}

void facts_finish_secure_boot(struct facts_reading *reading) {
        struct boot_facts *facts = reading->facts;
        bool readable = (facts->proven & ~facts->unread & 1U << 7) != 0;

        if (readable && !reading->separated)
                facts_unread(facts, 7, "it has no separator");
        if (!readable || !reading->separated) {
                facts->secure_boot = facts->debug = -1;
                return;
        }
        if (reading->shim_insecure)
                facts->secure_boot = 0;
        if (facts->debug < 0)
                facts->debug = 0;
        facts->deployed_or_user = facts->pk.n > 0 && !reading->setup_or_audit;
}
