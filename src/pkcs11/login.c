/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "pkcs11/internal.h"

#include <string.h>

#include "crypto/crypto.h"

/* The state of the PIN is read from the token each time: others use it too. */
int login_state(struct pkcs11 *pkcs11, struct pkcs11_pin *ret) {
        CK_TOKEN_INFO token;
        CK_RV rv;

        rv = pkcs11->f->C_GetTokenInfo(pkcs11->slot, &token);
        if (rv != CKR_OK)
                return fail_rv(pkcs11, rv, "asking the token about its PIN");
        *ret = (struct pkcs11_pin){
                .needed = (token.flags & CKF_LOGIN_REQUIRED) && !session_is_user(pkcs11),
                .keypad = token.flags & CKF_PROTECTED_AUTHENTICATION_PATH,
                .low = token.flags & CKF_USER_PIN_COUNT_LOW,
                .last = token.flags & CKF_USER_PIN_FINAL_TRY,
                .locked = token.flags & CKF_USER_PIN_LOCKED,
        };
        return 0;
}

static int login(struct pkcs11 *pkcs11, CK_USER_TYPE user, const struct secret *pin) {
        CK_RV rv = pkcs11->f->C_Login(pkcs11->session, user, pin ? pin->data : NULL, pin ? pin->size : 0);

        if (rv == CKR_OK || (user == CKU_USER && rv == CKR_USER_ALREADY_LOGGED_IN))
                return 0;
        return fail_rv(pkcs11, rv, "PIN");
}

/* What to tell with a wrong PIN: what it did. */
static int wrong(struct pkcs11 *pkcs11) {
        struct pkcs11_pin state;

        if (login_state(pkcs11, &state) < 0)
                return fail(EKEYREJECTED, "PIN: wrong PIN (CKR_PIN_INCORRECT)");
        if (state.locked)
                return fail(EKEYREJECTED,
                            "PIN: wrong PIN (CKR_PIN_INCORRECT), and now it is locked: unblock it with the token's own tools");
        if (state.last)
                return fail(EKEYREJECTED, "PIN: wrong PIN (CKR_PIN_INCORRECT): one try is left, another wrong one locks it");
        return fail(EKEYREJECTED, "PIN: wrong PIN (CKR_PIN_INCORRECT)");
}

int login_user(struct pkcs11 *pkcs11, const struct secret *pin, bool unattended) {
        struct pkcs11_pin state;
        int r;

        r = login_state(pkcs11, &state);
        if (r < 0)
                return r;
        if (session_is_user(pkcs11))
                return 0;
        if (state.locked)
                return fail(EPERM, "PIN: the PIN is locked: unblock it with the token's own tools (PUK or security officer)");
        if (!pin && !state.keypad)
                return fail(EINVAL, "PIN: the token \"%s\" has no keypad of its own: a PIN has to be given", pkcs11->label);
        if (state.last && unattended)
                return fail(EPERM, "PIN: one try is left at the token \"%s\": only a person may use it up", pkcs11->label);
        r = login(pkcs11, CKU_USER, pin);
        if (r == -EKEYREJECTED)
                return wrong(pkcs11);
        if (r < 0)
                return r;
        key_forget_found(pkcs11);
        pkcs11->logged_in = true;
        if (pin) {
                pkcs11->pin = secret_free(pkcs11->pin);
                r = secret_copy(pin->data, pin->size, &pkcs11->pin);
        }
        return r;
}

/* At most once with the PIN that was right: it may have been changed meanwhile, and the last try is a person's. */
int login_again(struct pkcs11 *pkcs11) {
        _cleanup_(secret_freep) struct secret *pin = NULL;
        struct pkcs11_pin state;
        int r;

        if (!pkcs11->logged_in || session_is_user(pkcs11))
                return 0;
        if (!pkcs11->pin)
                return fail(EACCES, "the token \"%s\" was reset, and wants the PIN again", pkcs11->label);
        r = login_state(pkcs11, &state);
        if (r < 0)
                return r;
        if (state.locked || state.last)
                return fail(EPERM, "the token \"%s\" was reset, and %s", pkcs11->label,
                            state.locked ? "its PIN is locked" : "only one try of the PIN is left: a person has to log in");
        pin = TAKE_PTR(pkcs11->pin);
        r = login(pkcs11, CKU_USER, pin);
        if (r == -EKEYREJECTED) {
                refused_add(pkcs11, pin);
                pkcs11->pin_refused = true;
                return fail(EACCES, "the token \"%s\" was reset, and the PIN that it took before is wrong now", pkcs11->label);
        }
        pkcs11->pin = TAKE_PTR(pin);
        return r;
}

int login_for_key(struct pkcs11 *pkcs11, const struct pkcs11_key *key) {
        struct pkcs11_pin state;
        int r;

        if (!key->always_pin)
                return 0;
        r = login_state(pkcs11, &state);
        if (r < 0)
                return r;
        if (!pkcs11->pin && !state.keypad)
                return fail(EACCES, "the key \"%s\" wants the PIN with each use: log in first", key->label);
        r = login(pkcs11, CKU_CONTEXT_SPECIFIC, pkcs11->pin);
        if (r == -EKEYREJECTED)
                pkcs11->pin = secret_free(pkcs11->pin);
        return r;
}
