/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* SoftHSM, in trouble: a PKCS#11 module that passes everything on, but for what the files in the folder $TROUBLED_TOKEN say. A
 * file is there: it happens; "once": the file is removed by it.
 *
 *      keypad          the token says that it has one; a login without PIN takes the file's content for what was typed
 *      low last locked flags of the PIN
 *      pin-changed     every PIN is wrong
 *      odd-pin         a wrong PIN is answered as some cards do: CKR_GENERAL_ERROR
 *      always-pin      private keys want the PIN with each signature
 *      no-params       private keys do not say on which curve they are
 *      removed         the slot is empty, and every call of a session says so
 *      renumber        slots have other numbers
 *      another         the token has another serial number
 *      lose-session    once: all sessions are closed under the next operation that is started
 *      busy            no session can be opened
 *      active          once: the next operation that is started says that another one is under way
 *      crash           once: a segmentation fault in C_Sign, C_Decrypt or C_UnwrapKey
 *      exit-start      exit(3) in C_Initialize
 *      fail-start      C_Initialize fails
 *      own-iv          GCM: writes an IV where it was given zeros
 *      leaky           new secret keys are extractable, whatever was asked for
 *      kwp             CKM_AES_KEY_WRAP_KWP for what SoftHSM calls CKM_AES_KEY_WRAP_PAD
 *      logins          every C_Login adds a byte */
#include <dlfcn.h>
#include <fcntl.h>
#include <p11-kit/pkcs11.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { KWP = 0x210b, SHIFT = 1000 };

static CK_FUNCTION_LIST *real, ours;
static bool signing_wants_pin;

static const char *path_of(const char *name, char path[static 256]) {
        (void) snprintf(path, 256, "%s/%s", getenv("TROUBLED_TOKEN") ?: "/nonexistent", name);
        return path;
}

static bool is(const char *name) {
        char path[256];

        return access(path_of(name, path), F_OK) == 0;
}

static bool once(const char *name) {
        char path[256];

        return unlink(path_of(name, path)) == 0;
}

/* Also where a sanitizer would catch it. */
static void maybe_crash(void) {
        if (!once("crash"))
                return;
        (void) signal(SIGSEGV, SIG_DFL);
        (void) raise(SIGSEGV);
}

static CK_SLOT_ID inner(CK_SLOT_ID slot) {
        return is("renumber") ? slot ^ SHIFT : slot;
}

static CK_RV initialize(void *args) {
        if (is("exit-start"))
                exit(3);
        return is("fail-start") ? CKR_DEVICE_ERROR : real->C_Initialize(args);
}

static CK_RV get_slot_list(CK_BBOOL present, CK_SLOT_ID *list, CK_ULONG *n) {
        CK_RV rv;

        if (is("removed")) {
                *n = 0;
                return CKR_OK;
        }
        rv = real->C_GetSlotList(present, list, n);
        for (CK_ULONG i = 0; rv == CKR_OK && list && i < *n; i++)
                list[i] = inner(list[i]);
        return rv;
}

static CK_RV get_slot_info(CK_SLOT_ID slot, CK_SLOT_INFO *info) {
        return real->C_GetSlotInfo(inner(slot), info);
}

static CK_RV get_token_info(CK_SLOT_ID slot, CK_TOKEN_INFO *info) {
        CK_RV rv = is("removed") ? CKR_TOKEN_NOT_PRESENT : real->C_GetTokenInfo(inner(slot), info);

        if (rv != CKR_OK)
                return rv;
        info->flags |= is("keypad") ? CKF_PROTECTED_AUTHENTICATION_PATH : 0;
        info->flags |= is("low") ? CKF_USER_PIN_COUNT_LOW : 0;
        info->flags |= is("last") ? CKF_USER_PIN_FINAL_TRY : 0;
        info->flags |= is("locked") ? CKF_USER_PIN_LOCKED : 0;
        if (is("another"))
                info->serialNumber[0] ^= 1;
        return CKR_OK;
}

static CK_RV get_mechanism_list(CK_SLOT_ID slot, CK_MECHANISM_TYPE *list, CK_ULONG *n) {
        CK_ULONG room = *n;
        CK_RV rv = real->C_GetMechanismList(inner(slot), list, n);

        if (rv == CKR_OK && is("kwp")) {
                if (list && *n < room)
                        list[*n] = KWP;
                (*n)++;
        }
        return rv;
}

static CK_MECHANISM_TYPE inner_type(CK_MECHANISM_TYPE type) {
        return type == KWP && is("kwp") ? CKM_AES_KEY_WRAP_PAD : type;
}

static CK_RV get_mechanism_info(CK_SLOT_ID slot, CK_MECHANISM_TYPE type, CK_MECHANISM_INFO *info) {
        return real->C_GetMechanismInfo(inner(slot), inner_type(type), info);
}

static CK_RV open_session(CK_SLOT_ID slot, CK_FLAGS flags, void *data, CK_NOTIFY notify, CK_SESSION_HANDLE *session) {
        if (is("removed"))
                return CKR_TOKEN_NOT_PRESENT;
        if (is("busy"))
                return CKR_SESSION_COUNT;
        return real->C_OpenSession(inner(slot), flags, data, notify, session);
}

/* What may go wrong wherever an operation starts. */
static CK_RV start(CK_SESSION_HANDLE session) {
        CK_SESSION_INFO info;

        if (is("removed"))
                return CKR_DEVICE_REMOVED;
        if (once("active"))
                return CKR_OPERATION_ACTIVE;
        if (once("lose-session") && real->C_GetSessionInfo(session, &info) == CKR_OK)
                (void) real->C_CloseAllSessions(info.slotID);
        return CKR_OK;
}

static CK_RV login(CK_SESSION_HANDLE session, CK_USER_TYPE user, CK_UTF8CHAR *pin, CK_ULONG size) {
        char path[256], typed[64];
        CK_RV rv;
        int fd = open(path_of("logins", path), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
        ssize_t n = 0;

        if (fd >= 0) {
                if (write(fd, "x", 1) != 1)
                        abort();
                (void) close(fd);
        }
        if (user == CKU_CONTEXT_SPECIFIC) {
                bool right = pin && size == 4 && memcmp(pin, "1234", 4) == 0;

                signing_wants_pin = signing_wants_pin && !right;
                return right ? CKR_OK : CKR_PIN_INCORRECT;
        }
        if (!pin && is("keypad")) {
                fd = open(path_of("keypad", path), O_RDONLY | O_CLOEXEC);
                n = read(fd, typed, sizeof(typed));
                (void) close(fd);
                return n > 0 ? real->C_Login(session, user, (CK_UTF8CHAR *) typed, (CK_ULONG) n) : CKR_FUNCTION_CANCELED;
        }
        if (size < 4)
                return CKR_PIN_LEN_RANGE;
        if (is("pin-changed"))
                return CKR_PIN_INCORRECT;
        if (is("locked"))
                return CKR_PIN_LOCKED;
        rv = real->C_Login(session, user, pin, size);
        return rv == CKR_PIN_INCORRECT && is("odd-pin") ? CKR_GENERAL_ERROR : rv;
}

static CK_RV get_attributes(CK_SESSION_HANDLE session, CK_OBJECT_HANDLE object, CK_ATTRIBUTE *attributes, CK_ULONG n) {
        static const CK_BBOOL yes = CK_TRUE;

        if (n == 1 && attributes->type == CKA_ALWAYS_AUTHENTICATE && is("always-pin")) {
                if (attributes->pValue)
                        memcpy(attributes->pValue, &yes, sizeof(yes));
                attributes->ulValueLen = sizeof(yes);
                return CKR_OK;
        }
        if (n == 1 && attributes->type == CKA_EC_PARAMS && is("no-params")) {
                CK_OBJECT_CLASS class = 0;
                CK_ATTRIBUTE wanted = { CKA_CLASS, &class, sizeof(class) };

                if (real->C_GetAttributeValue(session, object, &wanted, 1) == CKR_OK && class == CKO_PRIVATE_KEY)
                        return CKR_ATTRIBUTE_TYPE_INVALID;
        }
        return real->C_GetAttributeValue(session, object, attributes, n);
}

static CK_RV find_objects_init(CK_SESSION_HANDLE session, CK_ATTRIBUTE *attributes, CK_ULONG n) {
        CK_RV rv = start(session);

        return rv == CKR_OK ? real->C_FindObjectsInit(session, attributes, n) : rv;
}

static CK_RV sign_init(CK_SESSION_HANDLE session, CK_MECHANISM *mechanism, CK_OBJECT_HANDLE key) {
        CK_RV rv = start(session);

        signing_wants_pin = is("always-pin");
        return rv == CKR_OK ? real->C_SignInit(session, mechanism, key) : rv;
}

static CK_RV sign(CK_SESSION_HANDLE session, CK_BYTE *data, CK_ULONG size, CK_BYTE *signature, CK_ULONG *signature_size) {
        maybe_crash();
        return signing_wants_pin ? CKR_USER_NOT_LOGGED_IN : real->C_Sign(session, data, size, signature, signature_size);
}

static CK_RV encrypt_init(CK_SESSION_HANDLE session, CK_MECHANISM *mechanism, CK_OBJECT_HANDLE key) {
        static CK_BYTE counter;
        static const CK_BYTE zeros[12];
        CK_GCM_PARAMS *gcm = mechanism->pParameter;
        CK_RV rv = start(session);

        if (rv == CKR_OK && mechanism->mechanism == CKM_AES_GCM && is("own-iv") && memcmp(gcm->pIv, zeros, gcm->ulIvLen) == 0)
                memset(gcm->pIv, ++counter, gcm->ulIvLen);
        return rv == CKR_OK ? real->C_EncryptInit(session, mechanism, key) : rv;
}

static CK_RV decrypt_init(CK_SESSION_HANDLE session, CK_MECHANISM *mechanism, CK_OBJECT_HANDLE key) {
        CK_RV rv = start(session);

        return rv == CKR_OK ? real->C_DecryptInit(session, mechanism, key) : rv;
}

static CK_RV decrypt(CK_SESSION_HANDLE session, CK_BYTE *data, CK_ULONG size, CK_BYTE *plain, CK_ULONG *plain_size) {
        maybe_crash();
        return real->C_Decrypt(session, data, size, plain, plain_size);
}

static CK_RV generate_key(CK_SESSION_HANDLE session, CK_MECHANISM *mechanism, CK_ATTRIBUTE *attributes, CK_ULONG n,
                          CK_OBJECT_HANDLE *key) {
        static CK_BBOOL yes = CK_TRUE;

        for (CK_ULONG i = 0; i < n && is("leaky"); i++)
                if (attributes[i].type == CKA_EXTRACTABLE)
                        attributes[i].pValue = &yes;
        return real->C_GenerateKey(session, mechanism, attributes, n, key);
}

static CK_RV wrap_key(CK_SESSION_HANDLE session, CK_MECHANISM *mechanism, CK_OBJECT_HANDLE wrapping, CK_OBJECT_HANDLE key,
                      CK_BYTE *wrapped, CK_ULONG *size) {
        CK_MECHANISM mapped = { inner_type(mechanism->mechanism), mechanism->pParameter, mechanism->ulParameterLen };

        return real->C_WrapKey(session, &mapped, wrapping, key, wrapped, size);
}

static CK_RV unwrap_key(CK_SESSION_HANDLE session, CK_MECHANISM *mechanism, CK_OBJECT_HANDLE wrapping, CK_BYTE *wrapped,
                        CK_ULONG size, CK_ATTRIBUTE *attributes, CK_ULONG n, CK_OBJECT_HANDLE *key) {
        CK_MECHANISM mapped = { inner_type(mechanism->mechanism), mechanism->pParameter, mechanism->ulParameterLen };
        CK_RV rv = start(session);

        maybe_crash();
        return rv == CKR_OK ? real->C_UnwrapKey(session, &mapped, wrapping, wrapped, size, attributes, n, key) : rv;
}

static CK_RV get_function_list(CK_FUNCTION_LIST **ret) {
        *ret = &ours;
        return CKR_OK;
}

CK_RV C_GetFunctionList(CK_FUNCTION_LIST **ret) {
        void *module = dlopen("/usr/lib/softhsm/libsofthsm2.so", RTLD_NOW | RTLD_LOCAL);
        CK_RV (*get)(CK_FUNCTION_LIST **) = module ? (CK_RV(*)(CK_FUNCTION_LIST **)) dlsym(module, "C_GetFunctionList") : NULL;

        if (!get || get(&real) != CKR_OK)
                return CKR_GENERAL_ERROR;
        ours = *real;
        ours.C_GetFunctionList = get_function_list;
        ours.C_Initialize = initialize;
        ours.C_GetSlotList = get_slot_list;
        ours.C_GetSlotInfo = get_slot_info;
        ours.C_GetTokenInfo = get_token_info;
        ours.C_GetMechanismList = get_mechanism_list;
        ours.C_GetMechanismInfo = get_mechanism_info;
        ours.C_OpenSession = open_session;
        ours.C_Login = login;
        ours.C_GetAttributeValue = get_attributes;
        ours.C_FindObjectsInit = find_objects_init;
        ours.C_SignInit = sign_init;
        ours.C_Sign = sign;
        ours.C_EncryptInit = encrypt_init;
        ours.C_DecryptInit = decrypt_init;
        ours.C_Decrypt = decrypt;
        ours.C_GenerateKey = generate_key;
        ours.C_WrapKey = wrap_key;
        ours.C_UnwrapKey = unwrap_key;
        *ret = &ours;
        return CKR_OK;
}
