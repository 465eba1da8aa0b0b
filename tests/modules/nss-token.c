/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* NSS's software token, whose C_Initialize wants to be told where its files are: as no other module does, and as nobody tells it
 * who does not know NSS. NSS_TOKEN names the folder. */

#include <dlfcn.h>
#include <p11-kit/pkcs11.h>
#include <stdio.h>
#include <stdlib.h>

#define SOFTOKEN "libsoftokn3.so"

/* NSS's own: one more field than PKCS#11 has. */
struct nss_init_args {
        CK_CREATEMUTEX create;
        CK_DESTROYMUTEX destroy;
        CK_LOCKMUTEX lock;
        CK_UNLOCKMUTEX unlock;
        CK_FLAGS flags;
        char *parameters;
        void *reserved;
};

static CK_FUNCTION_LIST *nss, ours;

static CK_RV initialize(void *reserved) {
        static char parameters[256];
        struct nss_init_args args = { .flags = CKF_OS_LOCKING_OK, .parameters = parameters };

        (void) reserved;
        (void) snprintf(parameters, sizeof(parameters),
                        "configDir='sql:%s' certPrefix='' keyPrefix='' secmod='' flags=optimizeSpace dbTokenDescription='hsm'",
                        getenv("NSS_TOKEN") ? getenv("NSS_TOKEN") : "/nonexistent");
        return nss->C_Initialize(&args);
}

CK_RV C_GetFunctionList(CK_FUNCTION_LIST **ret) {
        void *library = dlopen(SOFTOKEN, RTLD_NOW | RTLD_LOCAL);
        CK_RV (*get)(CK_FUNCTION_LIST **) = library ? (CK_RV(*)(CK_FUNCTION_LIST **)) dlsym(library, "C_GetFunctionList") : NULL;

        if (!get || get(&nss) != CKR_OK)
                return CKR_GENERAL_ERROR;
        ours = *nss;
        ours.C_Initialize = initialize;
        *ret = &ours;
        return CKR_OK;
}
