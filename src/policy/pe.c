/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "policy/pe.h"

#include <openssl/evp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "policy/policy-internal.h"

/* "PE Format": offsets in the optional header, from its start. */
enum {
        DOS_HEADER_SIZE = 64,
        COFF_HEADER_SIZE = 20,
        SECTION_HEADER_SIZE = 40,
        OPTIONAL_PE32 = 0x10b,
        OPTIONAL_PE32_PLUS = 0x20b,
        DIRECTORY_SECURITY = 4,
};

struct parsing {
        struct pe pe;
        char *error;
        size_t error_size;
};

static _printf_(2, 3) int fail(const struct parsing *parsing, const char *format, ...) {
        va_list ap;

        va_start(ap, format);
        if (parsing->error && parsing->error_size > 0)
                (void) vsnprintf(parsing->error, parsing->error_size, format, ap);
        va_end(ap);
        return -EBADMSG;
}

static bool inside(const struct pe *pe, uint64_t offset, uint64_t size) {
        return offset <= pe->size && size <= pe->size - offset;
}

static uint16_t get16(const struct pe *pe, size_t offset) {
        return (uint16_t) (pe->data[offset] | pe->data[offset + 1] << 8);
}

static uint32_t get32(const struct pe *pe, size_t offset) {
        return get16(pe, offset) | (uint32_t) get16(pe, offset + 2) << 16;
}

/* The optional header, without which nothing is loaded: sizes, and where the certificates are. */
static int parse_optional(struct parsing *parsing, size_t optional, size_t size) {
        struct pe *pe = &parsing->pe;
        size_t count, directories, security;
        uint16_t magic;

        magic = size >= 2 ? get16(pe, optional) : 0;
        if (magic != OPTIONAL_PE32 && magic != OPTIONAL_PE32_PLUS)
                return fail(parsing, "no PE image: its optional header is of an unknown kind");
        count = magic == OPTIONAL_PE32 ? 92 : 108;
        directories = count + 4;
        if (size < directories)
                return fail(parsing, "the optional header is cut short");

        pe->headers_size = get32(pe, optional + 60);
        pe->checksum_offset = optional + 64;
        security = directories + 8 * DIRECTORY_SECURITY;
        if (get32(pe, optional + count) <= DIRECTORY_SECURITY)
                return 0;
        if (size < security + 8)
                return fail(parsing, "the directories of the optional header are cut short");
        pe->security_offset = optional + security;
        pe->certificates_size = get32(pe, optional + security + 4);
        return 0;
}

static int parse_section(struct parsing *parsing, size_t offset) {
        struct pe *pe = &parsing->pe;
        struct pe_section *section = pe->sections + pe->n_sections;

        memcpy(section->name, pe->data + offset, 8);
        section->virtual_size = get32(pe, offset + 8);
        section->virtual_address = get32(pe, offset + 12);
        section->raw_size = get32(pe, offset + 16);
        section->raw_offset = get32(pe, offset + 20);
        if (section->raw_size > 0 && !inside(pe, section->raw_offset, section->raw_size))
                return fail(parsing, "section %zu is not inside the file", pe->n_sections + 1);
        if (section->virtual_size > PE_SIZE_MAX)
                return fail(parsing, "section %zu is larger than %d bytes", pe->n_sections + 1, PE_SIZE_MAX);
        pe->n_sections++;
        return 0;
}

static int parse_all(struct parsing *parsing) {
        struct pe *pe = &parsing->pe;
        size_t coff, optional, sections, n;
        int r;

        if (pe->size > PE_SIZE_MAX)
                return fail(parsing, "larger than %d bytes", PE_SIZE_MAX);
        if (pe->size < DOS_HEADER_SIZE || memcmp(pe->data, "MZ", 2) != 0)
                return fail(parsing, "no PE image: it does not begin with MZ");
        coff = (size_t) get32(pe, 60) + 4;
        if (!inside(pe, coff - 4, 4 + COFF_HEADER_SIZE) || memcmp(pe->data + coff - 4, "PE\0\0", 4) != 0)
                return fail(parsing, "no PE image: its PE header is not where it should be");

        n = get16(pe, coff + 2);
        optional = coff + COFF_HEADER_SIZE;
        sections = optional + get16(pe, coff + 16);
        if (n == 0 || n > PE_SECTIONS_MAX || !inside(pe, optional, sections - optional + n * SECTION_HEADER_SIZE))
                return fail(parsing, "%zu sections: none, too many (%d), or not inside the file", n, PE_SECTIONS_MAX);
        r = parse_optional(parsing, optional, sections - optional);
        if (r < 0)
                return r;
        if (pe->headers_size > pe->size || pe->headers_size < sections + n * SECTION_HEADER_SIZE)
                return fail(parsing, "the size of its headers is wrong");

        for (size_t i = 0; i < n; i++) {
                r = parse_section(parsing, sections + i * SECTION_HEADER_SIZE);
                if (r < 0)
                        return r;
        }
        return 0;
}

int pe_parse(const void *data, size_t size, struct pe *ret, char *error, size_t error_size) {
        struct parsing parsing = { .pe = { .data = data, .size = size }, .error = error, .error_size = error_size };
        int r;

        r = parse_all(&parsing);
        if (r < 0)
                return r;
        *ret = parsing.pe;
        return 0;
}

static int compare_offsets(const void *a, const void *b) {
        const struct pe_section *x = *(const struct pe_section *const *) a, *y = *(const struct pe_section *const *) b;

        if (x->raw_offset != y->raw_offset)
                return x->raw_offset < y->raw_offset ? -1 : 1;
        return x < y ? -1 : x > y;
}

/* "Calculating the PE Image Hash": the headers without checksum and certificate entry, the sections in the file's order, then
 * what is left in the file before the certificates. "Left" is counted, as in the text and in the firmware: gaps between sections
 * shift it. */
static int digest_update(const struct pe *pe, EVP_MD_CTX *context) {
        const struct pe_section *sorted[PE_SECTIONS_MAX] = {};
        size_t end = pe->security_offset > 0 ? pe->security_offset : pe->headers_size, after = pe->checksum_offset + 4;
        uint64_t sum = pe->headers_size;
        int ok;

        ok = EVP_DigestUpdate(context, pe->data, pe->checksum_offset) == 1 &&
             EVP_DigestUpdate(context, pe->data + after, end - after) == 1;
        if (ok && pe->security_offset > 0)
                ok = EVP_DigestUpdate(context, pe->data + end + 8, pe->headers_size - end - 8) == 1;

        for (size_t i = 0; i < pe->n_sections; i++)
                sorted[i] = pe->sections + i;
        qsort(sorted, pe->n_sections, sizeof(*sorted), compare_offsets);
        for (size_t i = 0; ok && i < pe->n_sections; i++) {
                ok = EVP_DigestUpdate(context, pe->data + sorted[i]->raw_offset, sorted[i]->raw_size) == 1;
                sum += sorted[i]->raw_size;
        }

        if (ok && pe->size > sum && pe->size - sum > pe->certificates_size)
                ok = EVP_DigestUpdate(context, pe->data + sum, pe->size - sum - pe->certificates_size) == 1;
        return ok ? 0 : -EIO;
}

int pe_authenticode(const struct pe *pe, uint16_t bank, uint8_t ret[static WIRE_DIGEST_MAX]) {
        const EVP_MD *md = bank == BANK_SHA256 ? EVP_sha256() : bank == BANK_SHA384 ? EVP_sha384() : NULL;
        EVP_MD_CTX *context;
        int r;

        if (!md)
                return -ENOTSUP;
        context = EVP_MD_CTX_new();
        if (!context)
                return -ENOMEM;

        r = EVP_DigestInit_ex(context, md, NULL) == 1 ? digest_update(pe, context) : -EIO;
        if (r >= 0 && EVP_DigestFinal_ex(context, ret, NULL) != 1)
                r = -EIO;
        EVP_MD_CTX_free(context);
        return r;
}

int pe_find(const struct pe *pe, const char *name, const struct pe_section **ret) {
        const struct pe_section *found = NULL;

        for (size_t i = 0; i < pe->n_sections; i++) {
                if (strcmp(pe->sections[i].name, name) != 0)
                        continue;
                if (found)
                        return -ENOTUNIQ;
                found = pe->sections + i;
        }
        if (!found)
                return -ENOENT;
        *ret = found;
        return 0;
}

int pe_content(const struct pe *pe, const struct pe_section *section, struct blob *ret) {
        uint8_t *data = calloc(1, MAX(section->virtual_size, 1U));

        if (!data)
                return -ENOMEM;
        if (section->raw_size > 0)
                memcpy(data, pe->data + section->raw_offset, MIN(section->raw_size, section->virtual_size));
        *ret = (struct blob){ data, section->virtual_size };
        return 0;
}
