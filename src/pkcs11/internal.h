/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What the files of this folder share; nobody else includes it but their tests. */

#define P11_KIT_FUTURE_UNSTABLE_API /* p11_kit_message() */
#include <p11-kit/p11-kit.h>
#include <p11-kit/uri.h>
#include <pthread.h>

#include "pkcs11/pkcs11.h"

enum { SLOTS_MAX = 256, FOUND_CACHE = 8, CERTIFICATE_MAX = 16384 };

/* The modules in which a token is looked for: the one that is configured by its path, or all of p11-kit's configuration. */
struct modules {
        CK_FUNCTION_LIST **list; /* NULL after the last */
        bool configured;         /* by p11-kit, which then frees the list */
        const char *name;        /* of the one that the URI asks for, or NULL: all */
};

struct found_key {
        char *uri;
        struct pkcs11_key key;
};

/* What a key can do with a mechanism: CKF_ flags. */
struct ability {
        CK_OBJECT_HANDLE handle;
        CK_MECHANISM_TYPE type;
        CK_FLAGS can;
};

struct apart;

struct pkcs11 {
        struct apart *apart; /* the calls go to another process; of the rest only label, serial and lock are used */

        pthread_mutex_t lock;
        P11KitUri *uri;
        struct modules modules;

        CK_FUNCTION_LIST *f; /* the token's module */
        CK_SLOT_ID slot;
        CK_TOKEN_INFO token;       /* as it was at the open: who it is */
        CK_SESSION_HANDLE session; /* 0: lost */
        uint64_t number;           /* of the session: handles belong to one */
        bool lost;                 /* the last failure may be cured by a new session */

        bool logged_in;     /* by us */
        struct secret *pin; /* that the token accepted, for a new session; never the one it refused */
        bool pin_refused;   /* that one, meanwhile: a process of its own tells it to the one that has it too */

        struct found_key found[FOUND_CACHE]; /* of this session, for wrap_open() */
        size_t n_found;
        struct ability abilities[FOUND_CACHE];
        size_t n_abilities;

        char label[33], serial[17];
};

static inline void p11_uri_freep(P11KitUri **p) {
        p11_kit_uri_free(*p);
}

/* error.c. Words are of the thread. */
void words_clear(void);
const char *words_get(void);
void words_set(const char *text);
int fail(int error, const char *format, ...) _printf_(2, 3); /* returns -abs(error) */
/* The one place where a CK_RV becomes an errno. what: the thing that was tried, "signing". */
int fail_rv(struct pkcs11 *pkcs11, CK_RV rv, const char *what);
const char *rv_name(CK_RV rv, char ret[static 32]);
int rv_errno(CK_RV rv);
/* mechanism.c */
const char *mechanism_name(CK_MECHANISM_TYPE type, char ret[static 32]);

/* uri.c */
int uri_parse(const char *text, P11KitUri **ret); /* words are set */
/* elf.c. Whether the file is a shared object for this machine and whole: of the first size bytes of a file of file_size bytes.
 * Pure. */
int elf_check(const void *head, size_t size, uint64_t file_size, const char **ret_why);

/* module.c */
int modules_load(const struct pkcs11_where *where, P11KitUri *uri, struct modules *ret);
void modules_done(struct modules *modules);

/* slot.c. One token, by the URI; or the one that we had before. */
int slot_find(struct pkcs11 *pkcs11);
int slot_find_again(struct pkcs11 *pkcs11);

/* session.c */
int session_open(struct pkcs11 *pkcs11);
void session_close(struct pkcs11 *pkcs11);
int session_begin(struct pkcs11 *pkcs11);
bool session_renewed(struct pkcs11 *pkcs11, int *r);
void session_end(struct pkcs11 *pkcs11, int r);
bool session_is_user(struct pkcs11 *pkcs11);

/* A call under the lock; where the session was lost it is made once more, in a new one. Only for calls that may be made twice. */
#define WITH_SESSION(pkcs11, call)                          \
        ({                                                  \
                int _r = session_begin(pkcs11);             \
                if (_r >= 0) {                              \
                        _r = (call);                        \
                        if (session_renewed((pkcs11), &_r)) \
                                _r = (call);                \
                }                                           \
                session_end(pkcs11, _r);                    \
                _r;                                         \
        })

/* login.c */
int login_state(struct pkcs11 *pkcs11, struct pkcs11_pin *ret);
int login_again(struct pkcs11 *pkcs11); /* after a new session, with the PIN that was accepted before */
int login_user(struct pkcs11 *pkcs11, const struct secret *pin, bool unattended);
/* Where the key wants it: the PIN for this one operation, which was started. */
int login_for_key(struct pkcs11 *pkcs11, const struct pkcs11_key *key);

/* refused.c. The PINs that tokens refused in this process, as keyed hashes. */
bool refused_has(const struct pkcs11 *pkcs11, const struct secret *pin);
void refused_add(const struct pkcs11 *pkcs11, const struct secret *pin);
void refused_clear(const struct pkcs11 *pkcs11); /* of this token */

/* key.c: the calls without the lock */
int key_find(struct pkcs11 *pkcs11, const char *uri, enum pkcs11_class class, struct pkcs11_key *ret);
/* The same, remembered for this session. */
int key_find_cached(struct pkcs11 *pkcs11, const char *uri, enum pkcs11_class class, struct pkcs11_key *ret);
void key_forget_found(struct pkcs11 *pkcs11);
int key_handle(struct pkcs11 *pkcs11, const struct pkcs11_key *key, CK_OBJECT_HANDLE *ret);
int key_describe(struct pkcs11 *pkcs11, CK_OBJECT_HANDLE handle, struct pkcs11_key *ret);
/* The objects of this class that the URI names, by its id and label. */
int objects_named(struct pkcs11 *pkcs11, const char *uri, CK_OBJECT_CLASS class, CK_OBJECT_HANDLE ret[static 2], size_t *ret_n);
/* At most max objects with these attributes. */
int objects_find(struct pkcs11 *pkcs11, CK_ATTRIBUTE *attributes, size_t n, CK_OBJECT_HANDLE *ret, size_t max, size_t *ret_n);
/* -ENODATA: the object has no such attribute, or does not show it. */
int attribute_get(struct pkcs11 *pkcs11, CK_OBJECT_HANDLE object, CK_ATTRIBUTE_TYPE type, void *ret, size_t max,
                  size_t *ret_size);
bool attribute_true(struct pkcs11 *pkcs11, CK_OBJECT_HANDLE object, CK_ATTRIBUTE_TYPE type);

/* purpose.c: key->made_for, from the certificate with the key's id. */
void purpose_read(struct pkcs11 *pkcs11, struct pkcs11_key *key);

/* public.c, sign.c, generate.c, mechanism.c */
int key_public(struct pkcs11 *pkcs11, const struct pkcs11_key *key, struct blob *ret);
/* Of the key pair that the URI names, from what the token shows of it: before login, too, where that is a public key or
 * certificate. */
int key_public_by_uri(struct pkcs11 *pkcs11, const char *uri, struct blob *ret);
/* Fills type and bits by an object's CKA_EC_PARAMS; -ENODATA: it shows none. */
int key_curve(struct pkcs11 *pkcs11, CK_OBJECT_HANDLE handle, struct pkcs11_key *key);
/* The same by its public key or certificate: a few cards' private keys do not say on which curve they are. */
void key_curve_elsewhere(struct pkcs11 *pkcs11, struct pkcs11_key *key);
int key_sign(struct pkcs11 *pkcs11, const struct pkcs11_key *key, const void *message, size_t size, struct blob *ret);
int key_generate(struct pkcs11 *pkcs11, const struct pkcs11_new *new, struct pkcs11_key *ret);
int mechanism_list(struct pkcs11 *pkcs11, CK_MECHANISM_TYPE **ret, size_t *ret_n);
/* Whether the token has it, with all of these CKF_ flags; -EOPNOTSUPP names it. */
int mechanism_require(struct pkcs11 *pkcs11, CK_MECHANISM_TYPE type, CK_FLAGS flags);
CK_FLAGS mechanism_flags(struct pkcs11 *pkcs11, CK_MECHANISM_TYPE type); /* 0: the token has it not */
/* EC_PARAMS of a curve, DER */
const uint8_t *curve_params(enum pkcs11_type type, size_t *ret_size);
