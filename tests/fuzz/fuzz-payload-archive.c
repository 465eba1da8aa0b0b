/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The first byte is the size of the pieces that the rest comes in. */
#include <string.h>

#include "crypto/payload.h"

static int directory(const char *path, unsigned mode, void *userdata) {
        if (!archive_path_is_valid(path, strlen(path)) || mode > 0777 || userdata)
                abort();
        return 0;
}

static int file_begin(const char *path, unsigned mode, uint64_t size, void *userdata) {
        return size > 100000 ? -EFBIG : directory(path, mode, userdata);
}

static int file_data(const void *data, size_t size, void *userdata) {
        return size == 0 || !data || userdata ? -EIO : 0;
}

static int file_end(void *userdata) {
        return userdata ? -EIO : 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        static const struct archive_callbacks callbacks = { directory, file_begin, file_data, file_end };
        _cleanup_(archive_freep) struct archive *archive = NULL;
        struct payload_header header;
        size_t piece;

        if (size >= PAYLOAD_HEADER_SIZE)
                (void) payload_header_decode(data, &header);
        if (size == 0 || archive_new(&callbacks, NULL, &archive) < 0)
                return 0;
        piece = MAX(*data, (size_t) 1);
        for (size_t at = 1; at < size; at += piece)
                if (archive_feed(archive, data + at, MIN(piece, size - at)) < 0)
                        return 0;
        (void) archive_finish(archive);
        return 0;
}
