/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "pkcs11/internal.h"

#include <string.h>

#include "crypto/crypto.h"

static CK_BBOOL yes = CK_TRUE, no = CK_FALSE;

/* What is to be made. */
struct plan {
        const struct pkcs11_new *new;
        CK_MECHANISM mechanism;
        bool pair;
        CK_OBJECT_CLASS class; /* of what is secret */
        uint8_t random_id[8];
        CK_ATTRIBUTE id;
        CK_ULONG size; /* bits of a modulus, bytes of a secret */
};

static int check(const struct pkcs11_new *new) {
        if (!new->label || new->label[0] == '\0' || strlen(new->label) >= sizeof(((struct pkcs11_key *) NULL)->label))
                return fail(EINVAL, "a new key needs a label of 1 to %zu bytes", sizeof(((struct pkcs11_key *) NULL)->label) - 1);
        if (new->id_size > sizeof(((struct pkcs11_key *) NULL)->id))
                return fail(EINVAL, "the id of a new key has more than %zu bytes", sizeof(((struct pkcs11_key *) NULL)->id));
        if (new->type == PKCS11_RSA && (new->bits < 2048 || new->bits > 4096 || new->bits % 1024 != 0))
                return fail(EINVAL, "an RSA key has 2048, 3072 or 4096 bits");
        return 0;
}

static int make_plan(const struct pkcs11_new *new, struct plan *plan) {
        static const struct {
                CK_MECHANISM_TYPE mechanism;
                bool pair;
                unsigned uses; /* bits: 1 << enum pkcs11_use */
        } kinds[] = {
                [PKCS11_EC_P256] = { CKM_EC_KEY_PAIR_GEN, true, 1 << PKCS11_USE_SIGN | 1 << PKCS11_USE_WRAP },
                [PKCS11_EC_P384] = { CKM_EC_KEY_PAIR_GEN, true, 1 << PKCS11_USE_SIGN | 1 << PKCS11_USE_WRAP },
                [PKCS11_RSA] = { CKM_RSA_PKCS_KEY_PAIR_GEN, true, 1 << PKCS11_USE_SIGN | 1 << PKCS11_USE_WRAP },
                [PKCS11_AES] = { CKM_AES_KEY_GEN, false, 1 << PKCS11_USE_WRAP | 1 << PKCS11_USE_MAC },
                [PKCS11_GENERIC] = { CKM_GENERIC_SECRET_KEY_GEN, false, 1 << PKCS11_USE_MAC },
        };
        int r;

        if (new->type < PKCS11_EC_P256 || new->type > PKCS11_GENERIC || !(kinds[new->type].uses & 1U << new->use))
                return fail(EINVAL, "a key of this type cannot be made for this use");
        r = check(new);
        if (r < 0)
                return r;
        plan->new = new;
        plan->mechanism.mechanism = kinds[new->type].mechanism;
        plan->pair = kinds[new->type].pair;
        plan->class = plan->pair ? CKO_PRIVATE_KEY : CKO_SECRET_KEY;
        plan->size = new->type == PKCS11_RSA ? new->bits : 32;
        plan->id = (CK_ATTRIBUTE){ CKA_ID, (void *) new->id, new->id_size };
        if (!new->id || new->id_size == 0) {
                r = random_bytes(plan->random_id, sizeof(plan->random_id));
                plan->id = (CK_ATTRIBUTE){ CKA_ID, plan->random_id, sizeof(plan->random_id) };
        }
        return r;
}

static void put(CK_ATTRIBUTE *attributes, size_t *n, CK_ATTRIBUTE_TYPE type, const void *value, size_t size) {
        attributes[(*n)++] = (CK_ATTRIBUTE){ type, (void *) value, size };
}

static void put_bool(CK_ATTRIBUTE *attributes, size_t *n, CK_ATTRIBUTE_TYPE type, bool value) {
        put(attributes, n, type, value ? &yes : &no, sizeof(yes));
}

/* The secret part, and what it may be used for: nothing but that. */
static size_t put_secret(const struct plan *plan, CK_ATTRIBUTE *attributes) {
        enum pkcs11_use use = plan->new->use;
        bool wrap = use == PKCS11_USE_WRAP;
        size_t n = 0;

        put_bool(attributes, &n, CKA_TOKEN, true);
        put_bool(attributes, &n, CKA_PRIVATE, true);
        put_bool(attributes, &n, CKA_SENSITIVE, true);
        put_bool(attributes, &n, CKA_EXTRACTABLE, false);
        put(attributes, &n, CKA_LABEL, plan->new->label, strlen(plan->new->label));
        attributes[n++] = plan->id;
        put_bool(attributes, &n, CKA_SIGN, !wrap);
        if (plan->pair) {
                bool rsa = plan->new->type == PKCS11_RSA;

                put_bool(attributes, &n, CKA_DECRYPT, wrap && rsa);
                put_bool(attributes, &n, CKA_UNWRAP, wrap && rsa);
                put_bool(attributes, &n, CKA_DERIVE, wrap && !rsa);
                return n;
        }
        put(attributes, &n, CKA_VALUE_LEN, &plan->size, sizeof(plan->size));
        put_bool(attributes, &n, CKA_VERIFY, !wrap);
        put_bool(attributes, &n, CKA_ENCRYPT, wrap);
        put_bool(attributes, &n, CKA_DECRYPT, wrap);
        put_bool(attributes, &n, CKA_WRAP, wrap);
        put_bool(attributes, &n, CKA_UNWRAP, wrap);
        return n;
}

static size_t put_public(const struct plan *plan, CK_ATTRIBUTE *attributes) {
        static const uint8_t exponent[] = { 0x01, 0x00, 0x01 };
        bool wrap = plan->new->use == PKCS11_USE_WRAP, rsa = plan->new->type == PKCS11_RSA;
        size_t n = 0, size;
        const uint8_t *params = curve_params(plan->new->type, &size);

        put_bool(attributes, &n, CKA_TOKEN, true);
        put_bool(attributes, &n, CKA_PRIVATE, false);
        put(attributes, &n, CKA_LABEL, plan->new->label, strlen(plan->new->label));
        attributes[n++] = plan->id;
        put_bool(attributes, &n, CKA_VERIFY, !wrap);
        if (rsa) {
                put_bool(attributes, &n, CKA_ENCRYPT, wrap);
                put_bool(attributes, &n, CKA_WRAP, wrap);
                put(attributes, &n, CKA_MODULUS_BITS, &plan->size, sizeof(plan->size));
                put(attributes, &n, CKA_PUBLIC_EXPONENT, exponent, sizeof(exponent));
        } else
                put(attributes, &n, CKA_EC_PARAMS, params, size);
        return n;
}

static int check_new(struct pkcs11 *pkcs11, const struct plan *plan) {
        CK_ATTRIBUTE wanted[] = {
                { CKA_CLASS, (void *) &plan->class, sizeof(plan->class) },
                { CKA_LABEL, (void *) plan->new->label, strlen(plan->new->label) },
        };
        CK_OBJECT_HANDLE handle;
        size_t found = 0;
        int r;

        r = objects_find(pkcs11, wanted, ELEMENTSOF(wanted), &handle, 1, &found);
        if (r < 0)
                return r;
        if (found > 0)
                return fail(EEXIST, "the token \"%s\" has a key with the label \"%s\" already", pkcs11->label, plan->new->label);
        return mechanism_require(pkcs11, plan->mechanism.mechanism, plan->pair ? CKF_GENERATE_KEY_PAIR : CKF_GENERATE);
}

/* What the key may not be used for is the first to be left out. */
static size_t drop_refusals(CK_ATTRIBUTE *attributes, size_t n) {
        size_t kept = 0;

        for (size_t i = 0; i < n; i++)
                if (attributes[i].pValue != &no || attributes[i].type == CKA_EXTRACTABLE || attributes[i].type == CKA_PRIVATE)
                        attributes[kept++] = attributes[i];
        return kept;
}

static CK_RV make(struct pkcs11 *pkcs11, CK_SESSION_HANDLE session, struct plan *plan, CK_OBJECT_HANDLE *ret) {
        CK_ATTRIBUTE secret[16], public[16];
        size_t n = put_secret(plan, secret), n_public = put_public(plan, public);
        CK_OBJECT_HANDLE other;
        CK_RV rv;

        if (!plan->pair)
                return pkcs11->f->C_GenerateKey(session, &plan->mechanism, secret, n, ret);
        rv = pkcs11->f->C_GenerateKeyPair(session, &plan->mechanism, public, n_public, secret, n, &other, ret);
        if (rv != CKR_GENERAL_ERROR && rv != CKR_TEMPLATE_INCONSISTENT && rv != CKR_ATTRIBUTE_TYPE_INVALID &&
            rv != CKR_ATTRIBUTE_VALUE_INVALID && rv != CKR_ATTRIBUTE_READ_ONLY)
                return rv;
        return pkcs11->f->C_GenerateKeyPair(session, &plan->mechanism, public, drop_refusals(public, n_public), secret,
                                            drop_refusals(secret, n), &other, ret);
}

/* Some tokens take every template and make what they always make. */
static int check_made(struct pkcs11 *pkcs11, CK_SESSION_HANDLE session, CK_OBJECT_HANDLE handle) {
        if (!attribute_true(pkcs11, handle, CKA_EXTRACTABLE))
                return 0;
        (void) pkcs11->f->C_DestroyObject(session, handle);
        return fail(EOPNOTSUPP, "the token \"%s\" makes keys that can be taken out of it", pkcs11->label);
}

/* Not made twice where the session is lost: the key may be there. */
int key_generate(struct pkcs11 *pkcs11, const struct pkcs11_new *new, struct pkcs11_key *ret) {
        struct plan plan = {};
        CK_SESSION_HANDLE session = 0;
        CK_OBJECT_HANDLE handle = 0;
        CK_RV rv;
        int r;

        r = make_plan(new, &plan);
        if (r < 0)
                return r;
        r = check_new(pkcs11, &plan);
        if (r < 0)
                return r;
        rv = pkcs11->f->C_OpenSession(pkcs11->slot, CKF_SERIAL_SESSION | CKF_RW_SESSION, NULL, NULL, &session);
        if (rv != CKR_OK)
                return fail_rv(pkcs11, rv, "opening a session that may change the token");
        rv = make(pkcs11, session, &plan, &handle);
        r = rv == CKR_OK ? check_made(pkcs11, session, handle) : fail_rv(pkcs11, rv, "making a key");
        if (r >= 0)
                r = key_describe(pkcs11, handle, ret);
        (void) pkcs11->f->C_CloseSession(session);
        pkcs11->lost = false;
        return r;
}
