/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "base/buffer.h"
#include "wire/wire.h"

/* The firmware's event log, as the kernel gives it (binary_bios_measurements): TCG PC Client Platform Firmware Profile, section
 * "Event Logging", in its crypto-agile format or the older one with SHA-1 digests only. Pure; nothing is allocated, and one pass
 * over the bytes is all. Nothing here is believed: eventlog_replay() gives the PCR values to hold against a quote. */

enum {
        EVENTLOG_MAX = 4 * 1024 * 1024,
        EVENTLOG_EVENTS_MAX = 16384,
        EVENTLOG_BANKS_MAX = 8,
};

/* Types of the profile. The type of an event is not part of its digest: anybody who carries the log can change it. */
enum eventlog_type {
        EV_PREBOOT_CERT = 0x0,
        EV_POST_CODE = 0x1,
        EV_NO_ACTION = 0x3, /* the only one that is not extended */
        EV_SEPARATOR = 0x4,
        EV_ACTION = 0x5,
        EV_EVENT_TAG = 0x6,
        EV_S_CRTM_CONTENTS = 0x7,
        EV_S_CRTM_VERSION = 0x8,
        EV_CPU_MICROCODE = 0x9,
        EV_PLATFORM_CONFIG_FLAGS = 0xa,
        EV_TABLE_OF_DEVICES = 0xb,
        EV_COMPACT_HASH = 0xc,
        EV_IPL = 0xd,
        EV_IPL_PARTITION_DATA = 0xe,
        EV_NONHOST_CODE = 0xf,
        EV_NONHOST_CONFIG = 0x10,
        EV_NONHOST_INFO = 0x11,
        EV_OMIT_BOOT_DEVICE_EVENTS = 0x12,
        EV_POST_CODE2 = 0x13,
        EV_EFI_VARIABLE_DRIVER_CONFIG = (int) 0x80000001,
        EV_EFI_VARIABLE_BOOT,
        EV_EFI_BOOT_SERVICES_APPLICATION,
        EV_EFI_BOOT_SERVICES_DRIVER,
        EV_EFI_RUNTIME_SERVICES_DRIVER,
        EV_EFI_GPT_EVENT,
        EV_EFI_ACTION,
        EV_EFI_PLATFORM_FIRMWARE_BLOB,
        EV_EFI_HANDOFF_TABLES,
        EV_EFI_PLATFORM_FIRMWARE_BLOB2,
        EV_EFI_HANDOFF_TABLES2,
        EV_EFI_VARIABLE_BOOT2,
        EV_EFI_GPT_EVENT2,
        EV_EFI_HCRTM_EVENT = (int) 0x80000010,
        EV_EFI_VARIABLE_AUTHORITY = (int) 0x800000e0,
        EV_EFI_SPDM_FIRMWARE_BLOB,
        EV_EFI_SPDM_FIRMWARE_CONFIG,
        EV_EFI_SPDM_DEVICE_POLICY,
        EV_EFI_SPDM_DEVICE_AUTHORITY,
};

struct eventlog {
        struct reader reader; /* what is not read yet */
        size_t size, events;  /* of the log; events read so far, without the header of a crypto-agile log */
        bool agile;
        struct {
                uint16_t alg; /* TPM_ALG_ID, whatever it is */
                size_t size;  /* bytes of a digest */
        } banks[EVENTLOG_BANKS_MAX];
        size_t n_banks;
        bool has_locality;
        uint8_t locality;   /* of TPM2_Startup, 0 where it is not said: the last byte that PCR 0 starts with */
        bool pcr0_extended; /* an event of PCR 0 was read: no locality can be said any more */
        char error[160];    /* why the last call failed, with the byte where */
};

struct eventlog_event {
        size_t number; /* from 1 */
        size_t offset; /* in the log */
        uint32_t pcr;  /* below 24; of EV_NO_ACTION: anything */
        uint32_t type;
        const uint8_t *digests[EVENTLOG_BANKS_MAX]; /* as in the log's banks; NULL: none for this bank */
        const uint8_t *data;                        /* points into the log */
        size_t size;
};

/* -EBADMSG, -E2BIG; ret->error is set then, too. */
int eventlog_open(const void *log, size_t size, struct eventlog *ret);
/* 1: an event; 0: the end; -EBADMSG, -E2BIG. */
int eventlog_next(struct eventlog *log, struct eventlog_event *ret);
/* The bank's index, or -ENOTSUP. */
int eventlog_bank(const struct eventlog *log, uint16_t alg);

/* What the events make of the PCRs of one bank (SHA-1, 256, 384, 512). */
struct eventlog_pcrs {
        uint32_t extended; /* PCRs that an event extends */
        uint8_t values[WIRE_PCRS][WIRE_DIGEST_MAX];
};
/* 0; -EBADMSG, -E2BIG; -ENOTSUP: the log has not that bank. Then error says where and why. */
int eventlog_replay(const void *log, size_t size, uint16_t bank, struct eventlog_pcrs *ret, char *error, size_t error_size);

/* UEFI_VARIABLE_DATA, as the variable events have it. Points into the event's data. -EBADMSG. */
struct eventlog_variable {
        const uint8_t *guid; /* 16 bytes, as in memory */
        char name[64];       /* ASCII; other characters are '?', longer names are cut */
        const uint8_t *data;
        size_t size;
};
int eventlog_variable(const void *data, size_t size, struct eventlog_variable *ret);

/* The next signature of an EFI_SIGNATURE_LIST sequence (UEFI, 32.4.1). */
struct eventlog_signatures {
        struct reader lists;   /* not yet read */
        struct reader entries; /* of the list under way */
        size_t entry_size;
        const char *kind; /* of the list under way: "x509", "sha256", "other" */
};
/* 1: data and size are of one signature, without its owner; 0: the end; -EBADMSG. */
int eventlog_signature_next(struct eventlog_signatures *signatures, const uint8_t **ret, size_t *ret_size);

/* UTF-16LE of size bytes, with or without one NUL at the end, to a new UTF-8 string. -EBADMSG: not UTF-16, or a NUL within;
 * -ENOMEM. */
int utf16_to_utf8(const void *data, size_t size, char **ret);
/* With its NUL. -EINVAL: not UTF-8. */
int utf8_to_utf16(const char *text, struct buffer *ret);
