/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "base/buffer.h"
#include "wire/wire.h"

/* Event logs and IMA lists as firmware and kernel write them, and the PCR values of a TPM that saw the events. */
struct soft_log {
        struct buffer bytes;
        struct pcr_values pcrs; /* SHA-256, all quoted */
};

void soft_log_start(struct soft_log *log);     /* crypto-agile header: SHA-1 and SHA-256 */
void soft_log_start_ima(struct soft_log *log); /* no header: a list of measurements */
void soft_log_done(struct soft_log *log);
/* The digest is that of hashed; data is what the log says. */
void soft_log_hashed(struct soft_log *log, uint32_t pcr, uint32_t type, const void *hashed, size_t hashed_size, const void *data,
                     size_t size);
void soft_log_event(struct soft_log *log, uint32_t pcr, uint32_t type, const void *data, size_t size);
void soft_log_text(struct soft_log *log, uint32_t pcr, uint32_t type, const char *text); /* without the NUL */
void soft_log_separators(struct soft_log *log);                                          /* PCR 0 to 7 */
void soft_extend(struct soft_log *log, uint32_t pcr, const void *hashed, size_t size);   /* what no log has */
/* UEFI_VARIABLE_DATA; guid 'g': global, 's': image security, 'm': shim. */
void soft_log_variable(struct soft_log *log, uint32_t type, char guid, const char *name, const void *data, size_t size);
/* An EFI_SIGNATURE_LIST with one signature; kind 'x': X.509, 'h': SHA-256. */
void soft_signature_list(struct buffer *list, char kind, const void *data, size_t size);
/* Text, as UTF-16 with NUL. */
void soft_utf16(struct buffer *ret, const char *text);

/* One entry of an IMA list, extended by its own SHA-256, or by SHA-1 that is padded. */
void soft_ima(struct soft_log *log, bool padded, const char *path, const uint8_t digest[static 32]);
void soft_ima_raw(struct soft_log *log, bool padded, const char *template, const void *data, size_t size);
void soft_ima_violation(struct soft_log *log, const char *path);

void le32_append(struct buffer *buffer, uint32_t value);
/* A file of tests/vectors/eventlog; its SHA-256 values ("0 ABCD..."). */
void soft_vector(const char *name, struct blob *ret);
void soft_vector_pcrs(const char *name, struct pcr_values *ret);
extern const char *const soft_vectors[7]; /* without ".ev" */
