/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdio.h>
#include <string.h>

#include "wire/json.h"

/* TPM 2.0 Library, Part 2, 6.3 */
static const struct {
        const char *name;
        uint16_t alg;
        size_t size;
} algs[] = {
        { "sha1", 0x0004, 20 },
        { "sha256", 0x000b, 32 },
        { "sha384", 0x000c, 48 },
        { "sha512", 0x000d, 64 },
};

int pcr_alg_from_string(const char *text, uint16_t *ret) {
        for (size_t i = 0; i < ELEMENTSOF(algs); i++)
                if (strcmp(algs[i].name, text) == 0) {
                        *ret = algs[i].alg;
                        return 0;
                }
        return -EINVAL;
}

const char *pcr_alg_to_string(uint16_t alg) {
        for (size_t i = 0; i < ELEMENTSOF(algs); i++)
                if (algs[i].alg == alg)
                        return algs[i].name;
        return NULL;
}

size_t pcr_alg_size(uint16_t alg) {
        for (size_t i = 0; i < ELEMENTSOF(algs); i++)
                if (algs[i].alg == alg)
                        return algs[i].size;
        return 0;
}

const struct pcr_bank *pcr_values_bank(const struct pcr_values *values, uint16_t alg) {
        for (size_t i = 0; i < values->n; i++)
                if (values->banks[i].alg == alg)
                        return values->banks + i;
        return NULL;
}

static json_t *bank_to_json(const struct pcr_bank *bank) {
        struct put put = put_new();
        char name[4];

        for (unsigned i = 0; i < WIRE_PCRS; i++) {
                if (!(bank->mask & (UINT32_C(1) << i)))
                        continue;
                snprintf(name, sizeof name, "%u", i);
                put_hex(&put, name, bank->values[i], pcr_alg_size(bank->alg));
        }
        return put_end(&put);
}

json_t *pcr_values_to_json(const struct pcr_values *values) {
        struct put put = put_new();

        for (size_t i = 0; i < values->n; i++) {
                const char *name = pcr_alg_to_string(values->banks[i].alg);

                if (name)
                        put_json(&put, name, bank_to_json(values->banks + i));
                else
                        put.failed = true;
        }
        return put_end(&put);
}

/* "0" to "23", no leading zero. */
static int pcr_from_string(const char *text, unsigned *ret) {
        size_t length = strlen(text);
        unsigned value = 0;

        if (length < 1 || length > 2 || (length == 2 && text[0] == '0'))
                return -EBADMSG;
        for (size_t i = 0; i < length; i++) {
                if (text[i] < '0' || text[i] > '9')
                        return -EBADMSG;
                value = value * 10 + (unsigned) (text[i] - '0');
        }
        if (value >= WIRE_PCRS)
                return -EBADMSG;

        *ret = value;
        return 0;
}

static int bank_from_json(const char *name, const json_t *json, struct pcr_bank *ret) {
        struct pcr_bank bank = {};
        const char *key;
        json_t *value;

        if (pcr_alg_from_string(name, &bank.alg) < 0 || !json_is_object(json))
                return -EBADMSG;

        json_object_foreach ((json_t *) json, key, value) {
                unsigned pcr;

                if (pcr_from_string(key, &pcr) < 0 || wire_get_hex_fixed(json, key, bank.values[pcr], pcr_alg_size(bank.alg)) < 0)
                        return -EBADMSG;
                bank.mask |= UINT32_C(1) << pcr;
        }
        if (bank.mask == 0) /* TPM 2.0: a bank without PCRs says nothing and confuses a comparison of selections */
                return -EBADMSG;

        *ret = bank;
        return 0;
}

int pcr_values_from_json(const json_t *json, struct pcr_values *ret) {
        struct pcr_values values = {};
        const char *name;
        json_t *bank;

        if (!json_is_object(json) || json_object_size(json) > WIRE_BANKS_MAX)
                return -EBADMSG;

        json_object_foreach ((json_t *) json, name, bank) {
                if (bank_from_json(name, bank, values.banks + values.n) < 0)
                        return -EBADMSG;
                values.n++;
        }

        *ret = values;
        return 0;
}
