/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "pkcs11/internal.h"

#include <string.h>

#include "base/log.h"

struct candidate {
        CK_FUNCTION_LIST *f;
        CK_SLOT_ID slot;
        CK_TOKEN_INFO token;
};

/* What was seen of the tokens that are not the one. */
struct search {
        struct candidate found[2];
        size_t n;
        bool uninitialized;
};

/* PKCS#11 pads with blanks; some modules with NUL. */
static void token_text(const CK_UTF8CHAR *padded, size_t size, char *ret, size_t ret_size) {
        char text[65] = "";

        size = MIN(size, sizeof(text) - 1);
        memcpy(text, padded, size);
        size = strlen(text);
        while (size > 0 && text[size - 1] == ' ')
                text[--size] = '\0';
        text_sanitize(text, ret, ret_size);
}

static bool same_token(const CK_TOKEN_INFO *a, const CK_TOKEN_INFO *b) {
        return memcmp(a->serialNumber, b->serialNumber, sizeof(a->serialNumber)) == 0 &&
               memcmp(a->label, b->label, sizeof(a->label)) == 0 && memcmp(a->model, b->model, sizeof(a->model)) == 0 &&
               memcmp(a->manufacturerID, b->manufacturerID, sizeof(a->manufacturerID)) == 0;
}

static bool is_wanted(struct pkcs11 *pkcs11, const struct candidate *candidate) {
        CK_TOKEN_INFO token = candidate->token;
        CK_SLOT_INFO slot;
        CK_INFO info;

        if (candidate->f->C_GetInfo(&info) != CKR_OK || !p11_kit_uri_match_module_info(pkcs11->uri, &info))
                return false;
        if (candidate->f->C_GetSlotInfo(candidate->slot, &slot) != CKR_OK || !p11_kit_uri_match_slot_info(pkcs11->uri, &slot))
                return false;
        if (p11_kit_uri_get_slot_id(pkcs11->uri) != (CK_SLOT_ID) -1 && p11_kit_uri_get_slot_id(pkcs11->uri) != candidate->slot)
                return false;
        return p11_kit_uri_match_token_info(pkcs11->uri, &token);
}

/* The first call, without a list, makes the module look at its readers anew (PKCS#11 2.40, C_GetSlotList). */
static int list_slots(CK_FUNCTION_LIST *f, CK_SLOT_ID **ret, size_t *ret_n) {
        CK_SLOT_ID *slots;
        CK_ULONG n = 0;
        CK_RV rv;

        rv = f->C_GetSlotList(CK_TRUE, NULL, &n);
        if (rv != CKR_OK)
                return fail_rv(NULL, rv, "listing the tokens");
        n = SLOTS_MAX;
        slots = calloc(n, sizeof(*slots));
        if (!slots)
                return fail(ENOMEM, "out of memory");
        rv = f->C_GetSlotList(CK_TRUE, slots, &n);
        if (rv != CKR_OK || n > SLOTS_MAX) {
                free(slots);
                return rv == CKR_OK ? fail(EIO, "the module lists more tokens than it was asked for")
                                    : fail_rv(NULL, rv, "listing the tokens");
        }
        *ret = slots;
        *ret_n = n;
        return 0;
}

static int search_module(struct pkcs11 *pkcs11, CK_FUNCTION_LIST *f, bool again, struct search *search) {
        _cleanup_(freep) CK_SLOT_ID *slots = NULL;
        size_t n = 0;
        int r;

        r = list_slots(f, &slots, &n);
        if (r < 0)
                return r;
        for (size_t i = 0; i < n; i++) {
                struct candidate candidate = { .f = f, .slot = slots[i] };

                if (f->C_GetTokenInfo(slots[i], &candidate.token) != CKR_OK)
                        continue;
                if (again ? !same_token(&candidate.token, &pkcs11->token) : !is_wanted(pkcs11, &candidate))
                        continue;
                if (!(candidate.token.flags & CKF_TOKEN_INITIALIZED)) {
                        search->uninitialized = true;
                        continue;
                }
                if (search->n < ELEMENTSOF(search->found))
                        search->found[search->n] = candidate;
                search->n++;
        }
        return 0;
}

static int two_found(const struct search *search) {
        char labels[2][33], serials[2][17];

        for (size_t i = 0; i < 2; i++) {
                const CK_TOKEN_INFO *token = &search->found[i].token;

                token_text(token->label, sizeof(token->label), labels[i], sizeof(labels[i]));
                token_text(token->serialNumber, sizeof(token->serialNumber), serials[i], sizeof(serials[i]));
        }
        return fail(ENOTUNIQ,
                    "%zu tokens match the PKCS#11 URI: \"%s\" (serial=%s, slot-id=%lu) and \"%s\" (serial=%s, slot-id=%lu): "
                    "name one of them, best by serial=",
                    search->n, labels[0], serials[0], search->found[0].slot, labels[1], serials[1], search->found[1].slot);
}

static int search_all(struct pkcs11 *pkcs11, bool again) {
        struct search search = {};
        int r = 0, first = 0;

        for (CK_FUNCTION_LIST **module = pkcs11->modules.list; *module; module++) {
                if (pkcs11->modules.name && *module != p11_kit_module_for_name(pkcs11->modules.list, pkcs11->modules.name))
                        continue;
                r = search_module(pkcs11, *module, again, &search);
                if (r < 0 && first == 0)
                        first = r;
        }
        if (search.n > 1)
                return two_found(&search);
        if (search.n == 0 && search.uninitialized)
                return fail(ENODEV, "the token that matches the PKCS#11 URI is not initialized");
        if (search.n == 0 && first < 0)
                return first;
        if (search.n == 0)
                return again ? fail(ENODEV, "the token \"%s\" (serial=%s) is there no more", pkcs11->label, pkcs11->serial)
                             : fail(ENODEV, "no token matches the PKCS#11 URI");
        pkcs11->f = search.found[0].f;
        pkcs11->slot = search.found[0].slot;
        pkcs11->token = search.found[0].token;
        return 0;
}

int slot_find(struct pkcs11 *pkcs11) {
        int r = search_all(pkcs11, false);

        if (r < 0)
                return r;
        token_text(pkcs11->token.label, sizeof(pkcs11->token.label), pkcs11->label, sizeof(pkcs11->label));
        token_text(pkcs11->token.serialNumber, sizeof(pkcs11->token.serialNumber), pkcs11->serial, sizeof(pkcs11->serial));
        return 0;
}

int slot_find_again(struct pkcs11 *pkcs11) {
        return search_all(pkcs11, true);
}
