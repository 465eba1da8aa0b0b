/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "http/curl.h"

#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "base/macro.h"

struct curl_library curl;

static pthread_once_t once = PTHREAD_ONCE_INIT;
static char why_not[256]; /* empty: loaded */

static const struct {
        const char *name;
        size_t offset;
} symbols[] = {
#define SYMBOL(name) \
        { "curl_" #name, offsetof(struct curl_library, name) }
        SYMBOL(global_init),   SYMBOL(easy_init),        SYMBOL(easy_cleanup),        SYMBOL(easy_reset),
        SYMBOL(easy_setopt),   SYMBOL(easy_getinfo),     SYMBOL(easy_strerror),       SYMBOL(multi_init),
        SYMBOL(multi_cleanup), SYMBOL(multi_add_handle), SYMBOL(multi_remove_handle), SYMBOL(multi_perform),
        SYMBOL(multi_poll),    SYMBOL(multi_info_read),  SYMBOL(slist_append),        SYMBOL(slist_free_all),
#undef SYMBOL
};

static int failed(const char *text) {
        snprintf(why_not, sizeof why_not, "%s", text ?: "unknown error");
        return -ELIBACC;
}

static int load(void) {
        struct curl_library loaded;
        void *library;
        CURLcode code;

        library = dlopen("libcurl.so.4", RTLD_LAZY | RTLD_LOCAL);
        if (!library)
                return failed(dlerror());
        for (size_t i = 0; i < ELEMENTSOF(symbols); i++) {
                void *symbol = dlsym(library, symbols[i].name);

                if (!symbol)
                        return failed(dlerror());
                memcpy((char *) &loaded + symbols[i].offset, &symbol, sizeof symbol);
        }
        code = loaded.global_init(CURL_GLOBAL_DEFAULT);
        if (code != CURLE_OK)
                return failed(loaded.easy_strerror(code));
        curl = loaded;
        return 0;
}

static void load_once(void) {
        (void) load();
}

int curl_load(void) {
        (void) pthread_once(&once, load_once);
        return why_not[0] ? -ELIBACC : 0;
}

const char *curl_load_error(void) {
        return why_not;
}
