/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <string.h>

#include "boot/control.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        _cleanup_(freep) char *line = strndup((const char *) data, size);
        struct control_request request;

        if (line && control_request_parse(line, &request) >= 0 && strchr(request.name, '/'))
                abort();
        return 0;
}
