/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "base/file.h"
#include "base/log.h"
#include "luks/internal.h"

/* The volume is opened from a header that is made here of nothing but what was held against the manifest: the segment, the
 * digest, our keyslot and its area. It lies in a sealed memfd, which is all that libcryptsetup is given as metadata device, so
 * what is on the disk by then, and how another JSON parser would have read it, decides nothing.
 *
 * Why the volume key's fingerprint is compared by hand only where nothing is mapped: getting the key out (crypt_volume_key_get)
 * runs the digest, and so does every activation; with the digest that luksFormat chooses that is 66 ms each. An activation by
 * passphrase runs it once, against the digest that the manifest pins (its parameters and value), as it pins the keyslot, its area
 * and thereby the key. Where nothing is mapped (enrollment's last test, unlock --test), crypt_volume_key_get costs the same as
 * the test and gives the key as well. */

/* Nothing vouches for the flags that the disk asks for. Those that only say which CPU does the work are taken; what weakens a
 * volume (discard, a journal left out) is the operator's to say, in crypttab or on the command line. */
static json_t *harmless_flags(const struct luks_header *header) {
        static const char *const harmless[] = { "same-cpu-crypt", "submit-from-crypt-cpus", "no-read-workqueue",
                                                "no-write-workqueue" };
        const json_t *flags = json_object_get(json_object_get(header->json, "config"), "flags");
        json_t *taken = json_array();

        for (size_t i = 0; taken && i < ELEMENTSOF(harmless); i++)
                if (luks_json_array_has(flags, harmless[i]) && json_array_append_new(taken, json_string(harmless[i])) < 0) {
                        json_decref(taken);
                        return NULL;
                }
        return taken;
}

int luks_compose_json(const struct luks_header *header, const struct luks_expected *expected, char **ret) {
        json_auto_t *json = NULL, *digest = NULL;
        struct luks_view view;
        char slot[12], json_size[24], keyslots_size[24];
        int r;

        r = luks_view(header, expected->keyslot, &view, NULL, 0);
        if (r < 0)
                return r;
        snprintf(slot, sizeof(slot), "%d", expected->keyslot);
        snprintf(json_size, sizeof(json_size), "%llu", (unsigned long long) header->hdr_size - LUKS_BINARY_SIZE);
        snprintf(keyslots_size, sizeof(keyslots_size), "%llu", (unsigned long long) view.keyslots_size);

        digest = json_copy((json_t *) view.digest);
        if (!digest || json_object_set_new(digest, "keyslots", json_pack("[s]", slot)) < 0)
                return -ENOMEM;
        json = json_pack("{s:{s:O}, s:{}, s:O, s:{s:O}, s:{s:s, s:s, s:o}}", "keyslots", slot, view.keyslot, "tokens", "segments",
                         view.segments, "digests", "0", digest, "config", "json_size", json_size, "keyslots_size", keyslots_size,
                         "flags", harmless_flags(header));
        if (!json)
                return -ENOMEM;
        *ret = luks_json_canonical(json);
        return *ret ? 0 : -ENOMEM;
}

/* Fields of the binary header (section 2.1) that differ between the two copies. */
enum { AT_MAGIC = 0, AT_HDR_OFFSET = 256, AT_CSUM = 448, CSUM_SIZE = 64 };

static int write_copy(int fd, const struct luks_header *header, uint64_t offset, const uint8_t *area) {
        size_t area_size = header->hdr_size - LUKS_BINARY_SIZE;
        uint8_t binary[LUKS_BINARY_SIZE], digest[32];
        _cleanup_(freep) uint8_t *whole = NULL;
        int r;

        memcpy(binary, header->binary, sizeof(binary));
        memcpy(binary + AT_MAGIC, offset == 0 ? "LUKS\xba\xbe" : "SKUL\xba\xbe", 6);
        for (size_t i = 0; i < 8; i++)
                binary[AT_HDR_OFFSET + i] = (uint8_t) (offset >> (56 - 8 * i));
        memset(binary + AT_CSUM, 0, CSUM_SIZE);

        whole = malloc(header->hdr_size);
        if (!whole)
                return -ENOMEM;
        memcpy(whole, binary, sizeof(binary));
        memcpy(whole + sizeof(binary), area, area_size);
        r = sha256(whole, header->hdr_size, digest);
        if (r < 0)
                return r;
        memcpy(whole + AT_CSUM, digest, sizeof(digest));
        if (lseek(fd, (off_t) offset, SEEK_SET) < 0)
                return -errno;
        return write_all(fd, whole, header->hdr_size);
}

static int write_headers(int fd, const struct luks_header *header, const struct luks_expected *expected) {
        size_t area_size = header->hdr_size - LUKS_BINARY_SIZE;
        _cleanup_(freep) uint8_t *area = NULL;
        _cleanup_(freep) char *json = NULL;
        int r;

        r = luks_compose_json(header, expected, &json);
        if (r < 0)
                return r;
        if (strlen(json) >= area_size)
                return -EBADMSG;
        area = calloc(1, area_size);
        if (!area)
                return -ENOMEM;
        memcpy(area, json, strlen(json));
        r = write_copy(fd, header, 0, area);
        return r < 0 ? r : write_copy(fd, header, header->hdr_size, area);
}

/* Both headers and our keyslot's area, sparse, nothing of it to be changed any more. */
static int make_memfd(const struct luks_header *header, const struct luks_expected *expected, int *ret) {
        const struct luks_area *area = header->areas + expected->keyslot;
        _cleanup_(closep) int fd = -1;
        struct luks_view view;
        int r;

        r = luks_view(header, expected->keyslot, &view, NULL, 0);
        if (r < 0)
                return r;
        fd = memfd_create("tallyboot-header", MFD_CLOEXEC | MFD_ALLOW_SEALING);
        if (fd < 0)
                return -errno;
        if (ftruncate(fd, (off_t) (2 * header->hdr_size + view.keyslots_size)) < 0)
                return -errno;
        r = write_headers(fd, header, expected);
        if (r < 0)
                return r;
        if (lseek(fd, (off_t) area->offset, SEEK_SET) < 0)
                return -errno;
        r = write_all(fd, area->data, area->size);
        if (r < 0)
                return r;
        if (fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0)
                return -errno;
        *ret = TAKE_FD(fd);
        return 0;
}

/* libcryptsetup has read the copy: what it makes of it is held against the manifest once more. */
static int check_loaded(struct crypt_device *cd, const struct luks_expected *expected) {
        struct crypt_params_integrity integrity = {};
        char cipher[160];
        uint32_t requirements;
        int r;

        r = crypt_persistent_flags_get(cd, CRYPT_FLAGS_REQUIREMENTS, &requirements);
        if (r < 0)
                return r;
        if (requirements != 0 || crypt_reencrypt_status(cd, NULL) != CRYPT_REENCRYPT_NONE)
                return -EUCLEAN;
        snprintf(cipher, sizeof(cipher), "%s-%s", crypt_get_cipher(cd) ?: "", crypt_get_cipher_mode(cd) ?: "");
        if (strcmp(cipher, expected->cipher) != 0 || crypt_get_volume_key_size(cd) != (int) expected->key_size ||
            crypt_get_sector_size(cd) != (int) expected->sector_size || strcmp(crypt_get_uuid(cd) ?: "", expected->uuid) != 0)
                return -EUCLEAN;
        r = crypt_get_integrity_info(cd, &integrity);
        if (strcmp(r < 0 ? "" : integrity.integrity ?: "", expected->integrity) != 0)
                return -EUCLEAN;
        return 0;
}

static uint32_t activation_flags(const struct luks_options *options) {
        static const struct luks_options none = {};

        if (!options)
                options = &none;
        return (options->discard ? CRYPT_ACTIVATE_ALLOW_DISCARDS : 0) | (options->readonly ? CRYPT_ACTIVATE_READONLY : 0) |
               (options->no_read_workqueue ? CRYPT_ACTIVATE_NO_READ_WORKQUEUE : 0) |
               (options->no_write_workqueue ? CRYPT_ACTIVATE_NO_WRITE_WORKQUEUE : 0) |
               (options->same_cpu_crypt ? CRYPT_ACTIVATE_SAME_CPU_CRYPT : 0) |
               (options->submit_from_crypt_cpus ? CRYPT_ACTIVATE_SUBMIT_FROM_CRYPT_CPUS : 0);
}

/* -EPERM: the passphrase is wrong; -EEXIST, -EBUSY: the name or the device is in use. */
static int map_error(int r) {
        switch (r) {
        case -EPERM:
        case -ENOENT:
                return -ENOKEY;
        case -EEXIST:
                return -EBUSY;
        default:
                return r;
        }
}

static int test_key(struct crypt_device *cd, const struct luks_expected *expected, const struct secret *key) {
        _cleanup_(secret_freep) struct secret *volume_key = NULL;
        size_t size = expected->key_size;
        uint8_t fingerprint[32];
        int r;

        r = secret_new(size, &volume_key);
        if (r < 0)
                return r;
        r = crypt_volume_key_get(cd, expected->keyslot, (char *) volume_key->data, &size, (const char *) key->data, key->size);
        if (r < 0)
                return map_error(r);
        r = luks_fingerprint(volume_key->data, size, expected->uuid, fingerprint);
        if (r < 0)
                return r;
        return bytes_equal_ct(fingerprint, expected->fingerprint, sizeof(fingerprint)) ? 0 : -EKEYREJECTED;
}

/* The volume key goes to the kernel as a "logon" key of this thread's own keyring (libcryptsetup's default, where the kernel
 * has it): no process can read such a key back, the mapping's table shows its name instead of the key, and libcryptsetup
 * unlinks it as soon as dm-crypt holds it. Turning the keyring off would put the key itself into the table, for every root's
 * dmsetup to see. */
static int activate(struct crypt_device *cd, const struct luks_expected *expected, const struct secret *key, const char *name,
                    const struct luks_options *options) {
        int r;

        r = crypt_activate_by_passphrase(cd, name, expected->keyslot, (const char *) key->data, key->size,
                                         activation_flags(options));
        return r < 0 ? map_error(r) : 0;
}

static int say(int r, const char *words, char *error, size_t error_size) {
        const char *library = luks_library_error();

        if (error && error_size > 0)
                snprintf(error, error_size, "%s%s%s", words, library[0] ? ": " : "", library);
        return r;
}

int luks_open_checked(const struct luks_header *header, const struct luks_expected *expected, const char *device,
                      const struct secret *key, const char *name, const struct luks_options *options, char *error,
                      size_t error_size) {
        _cleanup_(luks_crypt_freep) struct crypt_device *cd = NULL;
        _cleanup_(closep) int fd = -1;
        char path[32];
        int r;

        r = luks_check(header, expected, error, error_size);
        if (r < 0)
                return r;
        r = make_memfd(header, expected, &fd);
        if (r < 0)
                return say(r, "the checked copy of the header cannot be kept in memory", error, error_size);

        luks_library_setup(NULL);
        luks_library_error_clear();
        snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
        r = crypt_init_data_device(&cd, path, device);
        if (r < 0)
                return say(r, "the device cannot be used", error, error_size);
        luks_library_setup(cd);
        r = crypt_load(cd, CRYPT_LUKS2, NULL);
        if (r < 0)
                return say(r == -EINVAL ? -EBADMSG : r, "libcryptsetup refuses the header", error, error_size);
        r = check_loaded(cd, expected);
        if (r < 0)
                return say(r, "libcryptsetup reads the header otherwise than the manifest says", error, error_size);

        r = name ? activate(cd, expected, key, name, options) : test_key(cd, expected, key);
        if (r < 0)
                return say(r,
                           r == -ENOKEY  ? "the keyslot does not open with the key that the halves make"
                           : r == -EBUSY ? "the name or the device is in use"
                                         : "libcryptsetup cannot open it",
                           error, error_size);
        return 0;
}

int luks_close(const char *name) {
        int r;

        luks_library_setup(NULL);
        r = crypt_deactivate(NULL, name);
        return r == -ENODEV ? -ENOENT : r;
}
