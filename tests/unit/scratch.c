/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "scratch.h"

#include <stdlib.h>
#include <string.h>

#include "base/file.h"

int scratch_make(char ret[static 64]) {
        strcpy(ret, "/tmp/tallyboot-test-XXXXXX");
        return mkdtemp(ret) ? 0 : -1;
}

int scratch_remove(const char *directory) {
        _cleanup_(freep) char *command = format("rm -rf %s", directory);

        return system(command);
}

bool scratch_database_has(const char *path, const void *data, size_t size) {
        static const char *const suffixes[] = { "", "-wal", "-shm", "-journal" };
        bool found = false;

        for (size_t i = 0; i < ELEMENTSOF(suffixes); i++) {
                _cleanup_(freep) char *name = format("%s%s", path, suffixes[i]);
                _cleanup_(blob_done) struct blob blob = {};

                if (file_read(name, 64 << 20, &blob) >= 0)
                        found = found || memmem(blob.data, blob.size, data, size);
        }
        return found;
}
