/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "base/secret.h"

#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/stat.h>

static const size_t SECRET_MAX = 1024 * 1024 + 1; /* file_read_secret() needs one more than a file has */
static bool lock_required;

void secret_require_lock(void) {
        lock_required = true;
}

/* MADV_DONTFORK: a child of ours (there is none on the node) would not even have the pages. */
static int pages_new(size_t size, uint8_t **ret) {
        uint8_t *data;
        int r = 0;

        data = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (data == MAP_FAILED)
                return -ENOMEM;

        if (madvise(data, size, MADV_DONTDUMP) < 0 || madvise(data, size, MADV_DONTFORK) < 0)
                r = -errno;
        else if (mlock(data, size) < 0 && lock_required)
                r = -EPERM;
        if (r < 0) {
                (void) munmap(data, size);
                return r;
        }

        *ret = data;
        return 0;
}

int secret_new(size_t size, struct secret **ret) {
        size_t page = (size_t) sysconf(_SC_PAGESIZE);
        struct secret *secret;
        int r;

        if (size < 1 || size > SECRET_MAX)
                return -EINVAL;

        secret = calloc(1, sizeof(*secret));
        if (!secret)
                return -ENOMEM;

        secret->size = size;
        secret->mapped = (size + page - 1) / page * page;
        r = pages_new(secret->mapped, &secret->data);
        if (r < 0) {
                free(secret);
                return r;
        }

        *ret = secret;
        return 0;
}

int secret_copy(const void *data, size_t size, struct secret **ret) {
        struct secret *secret;
        int r;

        r = secret_new(size, &secret);
        if (r < 0)
                return r;

        memcpy(secret->data, data, size);
        *ret = secret;
        return 0;
}

int secret_random(size_t size, struct secret **ret) {
        _cleanup_(secret_freep) struct secret *secret = NULL;
        int r;

        r = secret_new(size, &secret);
        if (r < 0)
                return r;

        for (size_t done = 0; done < size;) {
                ssize_t n = getrandom(secret->data + done, size - done, 0);

                if (n < 0 && errno != EINTR)
                        return -errno;
                if (n > 0)
                        done += (size_t) n;
        }

        *ret = TAKE_PTR(secret);
        return 0;
}

struct secret *secret_free(struct secret *secret) {
        if (!secret)
                return NULL;

        memory_wipe(secret->data, secret->mapped);
        (void) munmap(secret->data, secret->mapped); /* unlocks too */
        free(secret);
        return NULL;
}

bool bytes_equal_ct(const void *a, const void *b, size_t size) {
        const volatile uint8_t *x = a, *y = b;
        uint8_t difference = 0;

        for (size_t i = 0; i < size; i++)
                difference |= x[i] ^ y[i];

        return difference == 0;
}

bool secret_equal(const struct secret *a, const struct secret *b) {
        return a->size == b->size && bytes_equal_ct(a->data, b->data, a->size);
}

void memory_wipe(void *data, size_t size) {
        if (size > 0)
                explicit_bzero(data, size);
}

int process_harden(void) {
        struct rlimit memlock;

        (void) umask(0077);
        if (prctl(PR_SET_DUMPABLE, 0) < 0)
                return -errno;
        if (setrlimit(RLIMIT_CORE, &(struct rlimit){}) < 0)
                return -errno;
        if (getrlimit(RLIMIT_MEMLOCK, &memlock) < 0)
                return -errno;

        memlock.rlim_cur = memlock.rlim_max;
        return setrlimit(RLIMIT_MEMLOCK, &memlock) < 0 ? -errno : 0;
}
