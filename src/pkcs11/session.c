/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "pkcs11/internal.h"

#include <string.h>

#include "base/log.h"

/* Read-only: a session that cannot change the token. key_generate() opens another for itself. */
int session_open(struct pkcs11 *pkcs11) {
        CK_SESSION_HANDLE session = 0;
        CK_RV rv;

        rv = pkcs11->f->C_OpenSession(pkcs11->slot, CKF_SERIAL_SESSION, NULL, NULL, &session);
        if (rv != CKR_OK)
                return fail_rv(pkcs11, rv, "opening a session with the token");
        pkcs11->session = session;
        pkcs11->number++;
        return 0;
}

void session_close(struct pkcs11 *pkcs11) {
        key_forget_found(pkcs11);
        if (pkcs11->session != 0)
                (void) pkcs11->f->C_CloseSession(pkcs11->session);
        pkcs11->session = 0;
}

bool session_is_user(struct pkcs11 *pkcs11) {
        CK_SESSION_INFO info;

        return pkcs11->f->C_GetSessionInfo(pkcs11->session, &info) == CKR_OK &&
               (info.state == CKS_RO_USER_FUNCTIONS || info.state == CKS_RW_USER_FUNCTIONS);
}

/* The slot may have another number now, and another token may be in the old one: it is looked for by who it is. */
static int renew(struct pkcs11 *pkcs11) {
        int r;

        session_close(pkcs11);
        r = slot_find_again(pkcs11);
        if (r < 0)
                return r;
        r = session_open(pkcs11);
        if (r < 0)
                return r;
        log_debug("pkcs11: a new session with token %s", pkcs11->label);
        r = login_again(pkcs11);
        if (r < 0)
                session_close(pkcs11);
        return r;
}

int session_begin(struct pkcs11 *pkcs11) {
        int r = 0;

        (void) pthread_mutex_lock(&pkcs11->lock);
        words_clear();
        if (pkcs11->session == 0)
                r = renew(pkcs11);
        pkcs11->lost = false;
        return r;
}

bool session_renewed(struct pkcs11 *pkcs11, int *r) {
        if (*r >= 0 || !pkcs11->lost)
                return false;
        pkcs11->lost = false;
        *r = renew(pkcs11);
        return *r >= 0;
}

/* What failed before it succeeded is no news. */
void session_end(struct pkcs11 *pkcs11, int r) {
        if (r >= 0)
                words_clear();
        (void) pthread_mutex_unlock(&pkcs11->lock);
}
