/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "crypto/payload.h"

#include <string.h>

/* The archive of docs/protocol.md, 9, as it comes: a state for each thing that may be cut in the middle. */

enum { PATH_MAX_LENGTH = 1024, ENTRIES_MAX = 65536, ENTRY_FILE = 1, ENTRY_DIRECTORY = 2, ENTRY_END = 0 };
static const uint8_t MAGIC[4] = { 'T', 'B', 'A', '1' };

/* A path that was there, by digest: what is kept does not grow with the paths' lengths. */
struct seen {
        uint8_t digest[32];
        uint8_t type; /* 0: empty slot */
};

enum state { STATE_MAGIC, STATE_TYPE, STATE_FIXED, STATE_PATH, STATE_SIZE, STATE_DATA, STATE_ENDED, STATE_FAILED };

struct archive {
        struct archive_callbacks callbacks;
        void *userdata;
        enum state state;
        uint8_t pending[PATH_MAX_LENGTH]; /* of the thing that is being read */
        size_t have, need;
        uint8_t type;
        unsigned mode;
        char path[PATH_MAX_LENGTH + 1];
        uint64_t left; /* of the file */
        struct seen *seen;
        size_t n_seen, slots; /* slots is 0 or a power of two, never more than half full */
};

int archive_new(const struct archive_callbacks *callbacks, void *userdata, struct archive **ret) {
        struct archive *archive = calloc(1, sizeof(*archive));

        if (!archive)
                return -ENOMEM;

        archive->callbacks = *callbacks;
        archive->userdata = userdata;
        archive->need = sizeof(MAGIC);
        *ret = archive;
        return 0;
}

struct archive *archive_free(struct archive *archive) {
        if (!archive)
                return NULL;

        memory_wipe(archive->pending, sizeof(archive->pending));
        free(archive->seen);
        free(archive);
        return NULL;
}

bool archive_path_is_valid(const char *path, size_t length) {
        size_t start = 0;

        if (length < 1 || length > PATH_MAX_LENGTH)
                return false;

        for (size_t i = 0; i <= length; i++) {
                size_t part = i - start;

                if (i < length && ((uint8_t) path[i] < 0x20 || path[i] == 0x7f))
                        return false;
                if (i < length && path[i] != '/')
                        continue;
                if (part == 0 || (part == 1 && path[start] == '.') || (part == 2 && path[start] == '.' && path[start + 1] == '.'))
                        return false;
                start = i + 1;
        }

        return true;
}

/* The slot of this digest, or the empty one where it belongs. */
static struct seen *seen_slot(struct seen *slots, size_t n, const uint8_t digest[static 32]) {
        size_t i = ((size_t) digest[0] | (size_t) digest[1] << 8 | (size_t) digest[2] << 16) & (n - 1);

        while (slots[i].type != 0 && memcmp(slots[i].digest, digest, 32) != 0)
                i = (i + 1) & (n - 1);

        return slots + i;
}

static int seen_grow(struct archive *archive) {
        size_t n = MAX(archive->slots * 2, (size_t) 64);
        struct seen *slots;

        if (archive->n_seen >= ENTRIES_MAX)
                return -EBADMSG;
        if (archive->n_seen * 2 < archive->slots)
                return 0;

        slots = calloc(n, sizeof(*slots));
        if (!slots)
                return -ENOMEM;
        for (size_t i = 0; i < archive->slots; i++)
                if (archive->seen[i].type != 0)
                        *seen_slot(slots, n, archive->seen[i].digest) = archive->seen[i];

        free(archive->seen);
        archive->seen = slots;
        archive->slots = n;
        return 0;
}

/* Nothing twice; a directory before what is in it. */
static int seen_add(struct archive *archive) {
        const char *slash = strrchr(archive->path, '/');
        struct seen *slot;
        uint8_t digest[32];
        int r;

        r = seen_grow(archive);
        if (r < 0)
                return r;

        if (slash) {
                r = sha256(archive->path, (size_t) (slash - archive->path), digest);
                if (r < 0)
                        return r;
                if (seen_slot(archive->seen, archive->slots, digest)->type != ENTRY_DIRECTORY)
                        return -EBADMSG;
        }

        r = sha256(archive->path, strlen(archive->path), digest);
        if (r < 0)
                return r;
        slot = seen_slot(archive->seen, archive->slots, digest);
        if (slot->type != 0)
                return -EBADMSG;

        memcpy(slot->digest, digest, sizeof(digest));
        slot->type = archive->type;
        archive->n_seen++;
        return 0;
}

static void expect(struct archive *archive, enum state state, size_t need) {
        archive->state = state;
        archive->have = 0;
        archive->need = need;
}

static int take_type(struct archive *archive) {
        archive->type = archive->pending[0];

        if (archive->type == ENTRY_END) {
                expect(archive, STATE_ENDED, 0);
                return 0;
        }
        if (archive->type != ENTRY_FILE && archive->type != ENTRY_DIRECTORY)
                return -EBADMSG;

        expect(archive, STATE_FIXED, 4);
        return 0;
}

static int take_fixed(struct archive *archive) {
        struct reader reader = { .data = archive->pending, .left = 4 };
        uint16_t mode, length;

        if (reader_be16(&reader, &mode) < 0 || reader_be16(&reader, &length) < 0 || (mode & ~0777U) != 0 || length < 1 ||
            length > PATH_MAX_LENGTH)
                return -EBADMSG;

        archive->mode = mode;
        expect(archive, STATE_PATH, length);
        return 0;
}

static int take_path(struct archive *archive) {
        int r;

        memcpy(archive->path, archive->pending, archive->need);
        archive->path[archive->need] = '\0';
        if (!archive_path_is_valid(archive->path, archive->need))
                return -EBADMSG;
        r = seen_add(archive);
        if (r < 0)
                return r;

        if (archive->type == ENTRY_FILE) {
                expect(archive, STATE_SIZE, 8);
                return 0;
        }

        r = archive->callbacks.directory(archive->path, archive->mode, archive->userdata);
        expect(archive, STATE_TYPE, 1);
        return r;
}

static int file_ends(struct archive *archive) {
        expect(archive, STATE_TYPE, 1);
        return archive->callbacks.file_end(archive->userdata);
}

static int take_size(struct archive *archive) {
        struct reader reader = { .data = archive->pending, .left = 8 };
        int r;

        (void) reader_be64(&reader, &archive->left);
        r = archive->callbacks.file_begin(archive->path, archive->mode, archive->left, archive->userdata);
        if (r < 0)
                return r;
        if (archive->left == 0)
                return file_ends(archive);

        expect(archive, STATE_DATA, 0);
        return 0;
}

/* pending is complete. */
static int take(struct archive *archive) {
        switch (archive->state) {
        case STATE_MAGIC:
                if (memcmp(archive->pending, MAGIC, sizeof(MAGIC)) != 0)
                        return -EBADMSG;
                expect(archive, STATE_TYPE, 1);
                return 0;
        case STATE_TYPE:
                return take_type(archive);
        case STATE_FIXED:
                return take_fixed(archive);
        case STATE_PATH:
                return take_path(archive);
        case STATE_SIZE:
                return take_size(archive);
        default:
                return -EBADMSG;
        }
}

static int feed_data(struct archive *archive, const uint8_t *data, size_t size) {
        int r;

        r = archive->callbacks.file_data(data, size, archive->userdata);
        if (r < 0)
                return r;

        archive->left -= size;
        return archive->left == 0 ? file_ends(archive) : 0;
}

/* Takes from 1 to size bytes; returns how many, or what went wrong. */
static ssize_t feed_some(struct archive *archive, const uint8_t *data, size_t size) {
        size_t n;
        int r;

        if (archive->state == STATE_ENDED || archive->state == STATE_FAILED)
                return -EBADMSG;

        if (archive->state == STATE_DATA) {
                n = (size_t) MIN((uint64_t) size, archive->left);
                r = feed_data(archive, data, n);
                return r < 0 ? r : (ssize_t) n;
        }

        n = MIN(size, archive->need - archive->have);
        memcpy(archive->pending + archive->have, data, n);
        archive->have += n;
        r = archive->have == archive->need ? take(archive) : 0;
        return r < 0 ? r : (ssize_t) n;
}

int archive_feed(struct archive *archive, const void *data, size_t size) {
        const uint8_t *p = data;

        while (size > 0) {
                ssize_t n = feed_some(archive, p, size);

                if (n < 0) {
                        archive->state = STATE_FAILED;
                        return (int) n;
                }
                p += n;
                size -= (size_t) n;
        }

        return 0;
}

int archive_finish(struct archive *archive) {
        return archive->state == STATE_ENDED ? 0 : -EBADMSG;
}
