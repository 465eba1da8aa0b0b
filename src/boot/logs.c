/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "boot/logs.h"

#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>

#include "base/file.h"
#include "base/log.h"

#define SECURITYFS "/sys/kernel/security"

/* systemd mounts it; another first program may not have. */
static void mount_securityfs(const struct config *config) {
        if (strcmp(config->securityfs, SECURITYFS) != 0 || access(SECURITYFS "/lsm", F_OK) == 0)
                return;
        if (mount("securityfs", SECURITYFS, "securityfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL) < 0)
                log_debug("securityfs is not mounted: %m");
}

static int read_log(const struct config *config, const char *name, size_t max, struct blob *ret) {
        _cleanup_(freep) char *path = path_join(config->securityfs, name);
        int r;

        if (!path)
                return -ENOMEM;
        mount_securityfs(config);
        r = file_read(path, max, ret);
        if (r >= 0 || r == -ENOMEM)
                return r;
        log_debug("%s: not sent: %s", path, strerror(-r));
        *ret = (struct blob){};
        return 0;
}

int logs_read_firmware(const struct config *config, struct blob *ret) {
        const char *device = config_tpm_device(config);
        char name[64];
        size_t n = device ? strlen(device) : 0, digits = 0;

        while (digits < MIN(n, (size_t) 4) && device[n - 1 - digits] >= '0' && device[n - 1 - digits] <= '9')
                digits++;
        snprintf(name, sizeof name, "tpm%s/binary_bios_measurements", digits > 0 ? device + n - digits : "0");
        return read_log(config, name, WIRE_FIRMWARE_LOG_MAX, ret);
}

/* PCR, SHA-1, the template's name, its data; template "ima" has a digest before them. */
static int skip_entry(struct reader *reader) {
        const uint8_t *skipped, *name;
        size_t size;
        int r = reader_bytes(reader, 4 + 20, &skipped);

        if (r >= 0)
                r = reader_le32_bytes(reader, &name, &size);
        if (r >= 0 && size == 3 && memcmp(name, "ima", 3) == 0)
                r = reader_bytes(reader, 20, &skipped);
        return r < 0 ? r : reader_le32_bytes(reader, &skipped, &size);
}

int logs_skip_ima(const void *list, size_t size, uint64_t n, size_t *ret) {
        struct reader reader = { list, size };

        for (uint64_t i = 0; i < n && reader.left > 0; i++) {
                int r = skip_entry(&reader);

                if (r < 0)
                        return r;
        }
        *ret = size - reader.left;
        return 0;
}

int logs_read_ima(const struct config *config, uint64_t from, struct blob *ret) {
        _cleanup_(blob_done) struct blob list = {};
        size_t skipped;
        int r;

        r = read_log(config, "ima/binary_runtime_measurements", WIRE_IMA_LIST_MAX, &list);
        if (r >= 0)
                r = logs_skip_ima(list.data, list.size, from, &skipped);
        if (r == -EBADMSG) {
                log_debug("The IMA list is not as expected: not sent.");
                *ret = (struct blob){};
                return 0;
        }
        return r < 0 ? r : blob_copy(list.data + skipped, list.size - skipped, ret);
}

static int write_field(int fd, const void *data, size_t size) {
        uint8_t length[4] = { (uint8_t) (size >> 24), (uint8_t) (size >> 16), (uint8_t) (size >> 8), (uint8_t) size };
        int r = write_all(fd, length, sizeof length);

        return r < 0 ? r : write_all(fd, data, size);
}

int logs_body(const struct config *config, const struct wire_logs_wanted *wanted, const char *evidence, int *ret_fd,
              size_t *ret_size) {
        _cleanup_(blob_done) struct blob firmware = {}, ima = {};
        _cleanup_(closep) int fd = -1;
        int r = 0;

        if (wanted->firmware)
                r = logs_read_firmware(config, &firmware);
        if (r >= 0 && wanted->ima)
                r = logs_read_ima(config, wanted->ima_from, &ima);
        if (r < 0)
                return r;
        fd = memfd_create("logs", MFD_CLOEXEC);
        if (fd < 0)
                return -errno;
        if ((r = write_field(fd, evidence, strlen(evidence))) < 0 || (r = write_field(fd, firmware.data, firmware.size)) < 0 ||
            (r = write_field(fd, ima.data, ima.size)) < 0)
                return r;
        if (lseek(fd, 0, SEEK_SET) < 0)
                return -errno;
        *ret_size = 3 * 4 + strlen(evidence) + firmware.size + ima.size;
        *ret_fd = TAKE_FD(fd);
        return 0;
}
