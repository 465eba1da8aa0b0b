/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "pkcs11/internal.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"

/* Of the last call in this thread: several threads may use one token. */
static _Thread_local char words[512];

static const struct meaning {
        CK_RV rv;
        int error;
        const char *name;
        const char *text; /* for a person; NULL: the name says all there is to say */
} meanings[] = {
        { CKR_OK, 0, "CKR_OK", NULL },
        { CKR_CANCEL, ECANCELED, "CKR_CANCEL", "cancelled at the reader" },
        { CKR_HOST_MEMORY, ENOMEM, "CKR_HOST_MEMORY", NULL },
        { CKR_SLOT_ID_INVALID, ENODEV, "CKR_SLOT_ID_INVALID", "the token is in its slot no more" },
        { CKR_GENERAL_ERROR, EIO, "CKR_GENERAL_ERROR", NULL },
        { CKR_FUNCTION_FAILED, EIO, "CKR_FUNCTION_FAILED", NULL },
        { CKR_ARGUMENTS_BAD, EIO, "CKR_ARGUMENTS_BAD", NULL },
        { CKR_CANT_LOCK, EBUSY, "CKR_CANT_LOCK", NULL },
        { CKR_ATTRIBUTE_READ_ONLY, EOPNOTSUPP, "CKR_ATTRIBUTE_READ_ONLY", NULL },
        { CKR_ATTRIBUTE_SENSITIVE, EACCES, "CKR_ATTRIBUTE_SENSITIVE", "the token does not show it" },
        { CKR_ATTRIBUTE_TYPE_INVALID, EOPNOTSUPP, "CKR_ATTRIBUTE_TYPE_INVALID", NULL },
        { CKR_ATTRIBUTE_VALUE_INVALID, EOPNOTSUPP, "CKR_ATTRIBUTE_VALUE_INVALID", NULL },
        { CKR_ACTION_PROHIBITED, EACCES, "CKR_ACTION_PROHIBITED", NULL },
        { CKR_DATA_INVALID, EIO, "CKR_DATA_INVALID", NULL },
        { CKR_DATA_LEN_RANGE, EIO, "CKR_DATA_LEN_RANGE", NULL },
        { CKR_DEVICE_ERROR, EIO, "CKR_DEVICE_ERROR", "the token or the way to it is in trouble" },
        { CKR_DEVICE_MEMORY, ENOSPC, "CKR_DEVICE_MEMORY", "the token is full" },
        { CKR_DEVICE_REMOVED, ENODEV, "CKR_DEVICE_REMOVED", "the token was removed" },
        { 0x35UL, EKEYREJECTED, "CKR_AEAD_DECRYPT_FAILED", NULL },
        { CKR_ENCRYPTED_DATA_INVALID, EKEYREJECTED, "CKR_ENCRYPTED_DATA_INVALID", NULL },
        { CKR_ENCRYPTED_DATA_LEN_RANGE, EKEYREJECTED, "CKR_ENCRYPTED_DATA_LEN_RANGE", NULL },
        { CKR_FUNCTION_CANCELED, ECANCELED, "CKR_FUNCTION_CANCELED", "cancelled at the reader" },
        { CKR_FUNCTION_NOT_SUPPORTED, EOPNOTSUPP, "CKR_FUNCTION_NOT_SUPPORTED", "the token's module cannot do that" },
        { CKR_KEY_HANDLE_INVALID, ENOKEY, "CKR_KEY_HANDLE_INVALID", "the key is in the token no more" },
        { CKR_KEY_SIZE_RANGE, EOPNOTSUPP, "CKR_KEY_SIZE_RANGE", "not with a key of this size" },
        { CKR_KEY_TYPE_INCONSISTENT, EINVAL, "CKR_KEY_TYPE_INCONSISTENT", "not with a key of this type" },
        { CKR_KEY_FUNCTION_NOT_PERMITTED, EACCES, "CKR_KEY_FUNCTION_NOT_PERMITTED", "the key may not be used for this" },
        { CKR_KEY_NOT_WRAPPABLE, EACCES, "CKR_KEY_NOT_WRAPPABLE", NULL },
        { CKR_KEY_UNEXTRACTABLE, EACCES, "CKR_KEY_UNEXTRACTABLE", NULL },
        { CKR_MECHANISM_INVALID, EOPNOTSUPP, "CKR_MECHANISM_INVALID", "the token lacks the mechanism" },
        { CKR_MECHANISM_PARAM_INVALID, EOPNOTSUPP, "CKR_MECHANISM_PARAM_INVALID", "the token lacks this kind of the mechanism" },
        { CKR_OBJECT_HANDLE_INVALID, ENOKEY, "CKR_OBJECT_HANDLE_INVALID", "the object is in the token no more" },
        { CKR_OPERATION_ACTIVE, EBUSY, "CKR_OPERATION_ACTIVE", "the token is busy" },
        { CKR_OPERATION_NOT_INITIALIZED, EIO, "CKR_OPERATION_NOT_INITIALIZED", NULL },
        { CKR_PIN_INCORRECT, EKEYREJECTED, "CKR_PIN_INCORRECT", "wrong PIN" },
        { CKR_PIN_INVALID, EINVAL, "CKR_PIN_INVALID", "the PIN has characters that the token's PINs cannot have" },
        { CKR_PIN_LEN_RANGE, EINVAL, "CKR_PIN_LEN_RANGE", "the PIN is shorter or longer than the token's PINs can be" },
        { CKR_PIN_EXPIRED, EPERM, "CKR_PIN_EXPIRED", "the PIN has to be changed first, with the token's own tools" },
        { CKR_PIN_LOCKED, EPERM, "CKR_PIN_LOCKED",
          "the PIN is locked: unblock it with the token's own tools (PUK or security officer)" },
        { CKR_SESSION_CLOSED, EIO, "CKR_SESSION_CLOSED", "the token closed the session" },
        { CKR_SESSION_COUNT, EBUSY, "CKR_SESSION_COUNT", "the token has no session left: others use it" },
        { CKR_SESSION_HANDLE_INVALID, EIO, "CKR_SESSION_HANDLE_INVALID", "the token lost the session" },
        { CKR_SESSION_READ_ONLY, EACCES, "CKR_SESSION_READ_ONLY", NULL },
        { CKR_SESSION_READ_WRITE_SO_EXISTS, EBUSY, "CKR_SESSION_READ_WRITE_SO_EXISTS", "the security officer is logged in" },
        { CKR_SIGNATURE_INVALID, EKEYREJECTED, "CKR_SIGNATURE_INVALID", NULL },
        { CKR_SIGNATURE_LEN_RANGE, EKEYREJECTED, "CKR_SIGNATURE_LEN_RANGE", NULL },
        { CKR_TEMPLATE_INCOMPLETE, EOPNOTSUPP, "CKR_TEMPLATE_INCOMPLETE", NULL },
        { CKR_TEMPLATE_INCONSISTENT, EOPNOTSUPP, "CKR_TEMPLATE_INCONSISTENT", "the token does not make keys of this kind" },
        { CKR_TOKEN_NOT_PRESENT, ENODEV, "CKR_TOKEN_NOT_PRESENT", "there is no token in the slot" },
        { CKR_TOKEN_NOT_RECOGNIZED, ENODEV, "CKR_TOKEN_NOT_RECOGNIZED", "the module does not know this kind of token" },
        { CKR_TOKEN_WRITE_PROTECTED, EACCES, "CKR_TOKEN_WRITE_PROTECTED", "the token is write-protected" },
        { CKR_UNWRAPPING_KEY_SIZE_RANGE, EOPNOTSUPP, "CKR_UNWRAPPING_KEY_SIZE_RANGE", NULL },
        { CKR_UNWRAPPING_KEY_TYPE_INCONSISTENT, EINVAL, "CKR_UNWRAPPING_KEY_TYPE_INCONSISTENT", "not with a key of this type" },
        { CKR_USER_ALREADY_LOGGED_IN, EBUSY, "CKR_USER_ALREADY_LOGGED_IN", NULL },
        { CKR_USER_NOT_LOGGED_IN, EACCES, "CKR_USER_NOT_LOGGED_IN", "the token wants the PIN first" },
        { CKR_USER_PIN_NOT_INITIALIZED, EPERM, "CKR_USER_PIN_NOT_INITIALIZED",
          "the token has no user PIN yet: set one with its own tools" },
        { CKR_USER_ANOTHER_ALREADY_LOGGED_IN, EBUSY, "CKR_USER_ANOTHER_ALREADY_LOGGED_IN", "somebody else is logged in" },
        { CKR_USER_TOO_MANY_TYPES, EBUSY, "CKR_USER_TOO_MANY_TYPES", "too many are logged in" },
        { CKR_WRAPPED_KEY_INVALID, EKEYREJECTED, "CKR_WRAPPED_KEY_INVALID", NULL },
        { CKR_WRAPPED_KEY_LEN_RANGE, EKEYREJECTED, "CKR_WRAPPED_KEY_LEN_RANGE", NULL },
        { CKR_WRAPPING_KEY_SIZE_RANGE, EOPNOTSUPP, "CKR_WRAPPING_KEY_SIZE_RANGE", NULL },
        { CKR_WRAPPING_KEY_TYPE_INCONSISTENT, EINVAL, "CKR_WRAPPING_KEY_TYPE_INCONSISTENT", "not with a key of this type" },
        { CKR_WRAPPING_KEY_HANDLE_INVALID, ENOKEY, "CKR_WRAPPING_KEY_HANDLE_INVALID", "the key is in the token no more" },
        { 0xf0UL, ENOKEY, "CKR_UNWRAPPING_KEY_HANDLE_INVALID", "the key is in the token no more" },
        { CKR_RANDOM_NO_RNG, EOPNOTSUPP, "CKR_RANDOM_NO_RNG", "the token makes no random numbers" },
        { CKR_DOMAIN_PARAMS_INVALID, EOPNOTSUPP, "CKR_DOMAIN_PARAMS_INVALID", "the token lacks this curve" },
        { CKR_CURVE_NOT_SUPPORTED, EOPNOTSUPP, "CKR_CURVE_NOT_SUPPORTED", "the token lacks this curve" },
        { CKR_BUFFER_TOO_SMALL, EIO, "CKR_BUFFER_TOO_SMALL", NULL },
        { CKR_CRYPTOKI_NOT_INITIALIZED, ENODEV, "CKR_CRYPTOKI_NOT_INITIALIZED", "the module was shut down" },
        { CKR_MUTEX_BAD, EIO, "CKR_MUTEX_BAD", NULL },
        { CKR_LIBRARY_LOAD_FAILED, ELIBBAD, "CKR_LIBRARY_LOAD_FAILED", NULL },
        { CKR_FIPS_SELF_TEST_FAILED, EIO, "CKR_FIPS_SELF_TEST_FAILED", "the token's self-test failed" },
        { CKR_FUNCTION_REJECTED, EACCES, "CKR_FUNCTION_REJECTED", "the token's owner rejected it" },
        { 0x202UL, EBUSY, "CKR_OPERATION_CANCEL_FAILED", NULL },
        { 0x201UL, EBUSY, "CKR_TOKEN_RESOURCE_EXCEEDED", "the token is busy" },
};

static const struct meaning *meaning_of(CK_RV rv) {
        for (size_t i = 0; i < ELEMENTSOF(meanings); i++)
                if (meanings[i].rv == rv)
                        return meanings + i;
        return NULL;
}

void words_clear(void) {
        words[0] = '\0';
}

const char *words_get(void) {
        return words;
}

void words_set(const char *text) {
        text_sanitize(text, words, sizeof(words));
}

int fail(int error, const char *format, ...) {
        char text[sizeof(words)];
        va_list args;

        va_start(args, format);
        (void) vsnprintf(text, sizeof(text), format, args);
        va_end(args);
        words_set(text);
        log_debug("pkcs11: %s", words);
        return -abs(error);
}

const char *rv_name(CK_RV rv, char ret[static 32]) {
        const struct meaning *meaning = meaning_of(rv);

        (void) snprintf(ret, 32, "0x%08lx", (unsigned long) rv);
        return meaning ? meaning->name : ret;
}

int rv_errno(CK_RV rv) {
        const struct meaning *meaning = meaning_of(rv);

        return meaning ? -meaning->error : -EIO;
}

/* What a new session may cure. A login that the token forgot is one of them, if it was ours. */
static bool is_lost(const struct pkcs11 *pkcs11, CK_RV rv) {
        static const CK_RV lost[] = {
                CKR_SESSION_HANDLE_INVALID,
                CKR_SESSION_CLOSED,
                CKR_DEVICE_ERROR,
                CKR_DEVICE_REMOVED,
                CKR_TOKEN_NOT_PRESENT,
                CKR_SLOT_ID_INVALID,
                CKR_KEY_HANDLE_INVALID,
                CKR_OBJECT_HANDLE_INVALID,
                CKR_WRAPPING_KEY_HANDLE_INVALID,
                0xf0UL,
                CKR_OPERATION_ACTIVE,
        };

        for (size_t i = 0; i < ELEMENTSOF(lost); i++)
                if (rv == lost[i])
                        return true;
        return rv == CKR_USER_NOT_LOGGED_IN && pkcs11->logged_in;
}

int fail_rv(struct pkcs11 *pkcs11, CK_RV rv, const char *what) {
        const struct meaning *meaning = meaning_of(rv);
        char number[32];

        if (pkcs11 && is_lost(pkcs11, rv))
                pkcs11->lost = true;
        if (meaning && meaning->text)
                return fail(meaning->error, "%s: %s (%s)", what, meaning->text, meaning->name);
        return fail(meaning ? meaning->error : EIO, "%s: the token says %s", what, rv_name(rv, number));
}
