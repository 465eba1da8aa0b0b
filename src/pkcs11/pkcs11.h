/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "base/buffer.h"
#include "base/secret.h"

/* Smart cards and HSMs: a PKCS#11 module, loaded and initialized, and a session with the one token that a URI names. The only
 * user of p11-kit. Several threads may use one struct pkcs11; the calls then wait for each other.
 *
 * What every call may return, beside what is said at it: -ENODEV the token was removed, or the module's process ended (open
 * again); -EBUSY the token is in use by somebody else; -EOPNOTSUPP the token lacks a mechanism, which pkcs11_error() names;
 * -EACCES not logged in, or the key may not be used for this; -EIO anything else that the token or its module reported. A session
 * that the token lost is opened again once, and the call made again, where no harm can come of it: it must be the same token
 * (serial number), and the PIN that it accepted before is given to it again at most once, and not when it is the last try. */
struct pkcs11;

struct pkcs11_where {
        const char *uri; /* RFC 7512; the token, and as far as it goes the key */
        const char
                *module; /* path of a shared object; NULL: module-path and module-name of the URI, else p11-kit's configuration */
        bool apart;      /* the module runs in a process of its own: it may crash, and cannot read our memory */
};

enum pkcs11_class { PKCS11_PRIVATE = 1, PKCS11_PUBLIC, PKCS11_SECRET };
enum pkcs11_type { PKCS11_EC_P256 = 1, PKCS11_EC_P384, PKCS11_RSA, PKCS11_AES, PKCS11_GENERIC, PKCS11_OTHER };
enum pkcs11_use { PKCS11_USE_SIGN = 1, PKCS11_USE_WRAP, PKCS11_USE_MAC };

/* A key in the token; valid as long as the struct pkcs11 that it was found with. */
struct pkcs11_key {
        enum pkcs11_class class;
        enum pkcs11_type type;
        unsigned bits;        /* of the modulus, the curve, or the secret */
        bool signs, decrypts; /* private keys: what else the token lets it do; a key for evidence should only sign */
        bool always_pin;      /* CKA_ALWAYS_AUTHENTICATE: the PIN is given again with each use */
        unsigned long handle; /* in the session number session */
        uint64_t session;     /* after a renewal of the session it is looked for again, by id and label */
        uint8_t id[64];       /* CKA_ID */
        size_t id_size;
        char label[128];    /* CKA_LABEL, cut where it is longer */
        char made_for[160]; /* private keys: what the certificate with its id says that it is for, in words; "" where nothing */
};

struct pkcs11_pin {
        bool needed; /* a login is needed and was not done yet */
        bool keypad; /* protected authentication path: the PIN is typed at the reader, pkcs11_login() takes NULL */
        bool low;    /* a wrong PIN was given since the last right one */
        bool last;   /* one try is left: only a person may use it up */
        bool locked;
};

/* For a program whose time counts, before it has a thread or a secret: the process of the first module that will be apart is made
 * now, as a copy of this one. Loading the program's libraries once more for it would take longer than all that it does. */
int pkcs11_prepare(void);
/* error: words for a person, also where ret is not set. -EINVAL: not a URI, or one with pin-value (a PIN has no place in a
 * configuration); -ENODEV: no token matches (yet: a token may come later); -ENOTUNIQ: two match, and error names both; -ELIBBAD:
 * the module is missing, for another architecture, not a module, or fails in C_Initialize. A module that ends the process in
 * C_Initialize ends ours, unless it is apart (then: -ELIBBAD). */
int pkcs11_open(const struct pkcs11_where *where, struct pkcs11 **ret, char *error, size_t error_size);
struct pkcs11 *pkcs11_close(struct pkcs11 *pkcs11);
DEFINE_CLEANUP(struct pkcs11 *, pkcs11_close)
/* While another thread waits in a call (for a person at a keypad): the module's process is killed, and that call ends with
 * -ENODEV. A module in our own process cannot be interrupted: false. */
bool pkcs11_interrupt(struct pkcs11 *pkcs11);

const char *pkcs11_label(const struct pkcs11 *pkcs11);  /* of the token */
const char *pkcs11_serial(const struct pkcs11 *pkcs11); /* of the token */
/* Why the last call failed in this thread, for a person, with the CKR_ name where there is one; "" where none failed. */
const char *pkcs11_error(const struct pkcs11 *pkcs11);

int pkcs11_pin(struct pkcs11 *pkcs11, struct pkcs11_pin *ret);
/* As the user. pin NULL: typed at the reader. Tries once, and never a PIN that this token refused in this process before. 0 also
 * where the token is logged in already. -EKEYREJECTED: wrong PIN; -EPERM: locked; -EINVAL: a PIN that cannot be one (length,
 * characters: not tried by the token). */
int pkcs11_login(struct pkcs11 *pkcs11, const struct secret *pin);
/* The same with a PIN that no person typed now (a file, a credential): -EPERM, without a try, where only one try is left. */
int pkcs11_login_unattended(struct pkcs11 *pkcs11, const struct secret *pin);

/* The one key that the object part of the URI names: id, object (label). -ENOKEY: none, or none before login; -ENOTUNIQ: two. */
int pkcs11_find(struct pkcs11 *pkcs11, const char *uri, enum pkcs11_class class, struct pkcs11_key *ret);
/* DER SubjectPublicKeyInfo: from the private object itself, else the public object or the certificate with its id. -ENOKEY:
 * none. */
int pkcs11_public(struct pkcs11 *pkcs11, const struct pkcs11_key *private_key, struct blob *ret);
/* Of the whole message. P-256: SHA-256, 64 bytes r || s; P-384: SHA-384, 96 bytes r || s; RSA of 2048 bits and more: PSS,
 * SHA-256, MGF1 with SHA-256, 32 bytes of salt. */
int pkcs11_sign(struct pkcs11 *pkcs11, const struct pkcs11_key *key, const void *message, size_t size, struct blob *ret);

/* A new key that stays in the token: CKA_TOKEN, CKA_PRIVATE, CKA_SENSITIVE, not extractable. AES: 256 bits. -EEXIST: the token
 * has one of this label and class already. */
struct pkcs11_new {
        enum pkcs11_type type;
        unsigned bits; /* RSA: 2048 to 4096 */
        enum pkcs11_use use;
        const char *label;
        const void *id; /* NULL: 8 random bytes */
        size_t id_size;
};
int pkcs11_generate(struct pkcs11 *pkcs11, const struct pkcs11_new *new, struct pkcs11_key *ret);

/* "CKM_AES_GCM CKM_ECDSA 0x80000001", sorted by number. */
int pkcs11_mechanisms(struct pkcs11 *pkcs11, char **ret);
/* A URI that names this token and no other, and the key (NULL: the token alone). */
int pkcs11_uri(struct pkcs11 *pkcs11, const struct pkcs11_key *key, char **ret);

/* Configuration. Pure. -EINVAL with words: not a PKCS#11 URI, or with pin-value. ret_pin_source: the pin-source attribute, NULL
 * where there is none; may be NULL. */
int pkcs11_uri_check(const char *uri, char **ret_pin_source, char *error, size_t error_size);
