/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "boot/recombine.h"

#include <stdio.h>
#include <string.h>

static const struct wire_key *find_key(const struct wire_details *details, const struct half *half) {
        for (size_t i = 0; i < details->n_keys; i++) {
                const struct wire_key *key = details->keys + i;

                if (strcmp(key->id, half->key_id) == 0 && key->generation == half->generation && key->kind == half->kind)
                        return key;
        }
        return NULL;
}

static bool has_older(const struct halves *halves, const struct half *half) {
        for (size_t i = 0; i < halves->n; i++)
                if (strcmp(halves->items[i].key_id, half->key_id) == 0 && halves->items[i].generation < half->generation &&
                    halves->items[i].state == GENERATION_LIVE)
                        return true;
        return false;
}

static int compare_pairs(const void *a, const void *b) {
        const struct pair *x = a, *y = b;
        int r = strcmp(x->u->key_id, y->u->key_id);

        if (r != 0)
                return r;
        return x->u->generation > y->u->generation ? -1 : x->u->generation < y->u->generation;
}

/* The tenant's word decides what is live: a generation that it calls staged was never confirmed to it, so its manifest may
 * describe volumes whose slots were never written. The verifier is told second, so it may still call staged what is live. */
static bool pair_is_usable(const struct half *u, const struct half *v) {
        return v && u->kind == v->kind && u->state == GENERATION_LIVE &&
               (v->state == GENERATION_LIVE || v->state == GENERATION_STAGED);
}

int recombine_pairs(const struct outcome outcomes[static 2], struct pairs *ret) {
        const struct halves *us = outcomes[PARTY_TENANT].halves, *vs = outcomes[PARTY_VERIFIER].halves;
        _cleanup_(pairs_done) struct pairs pairs = {};

        if (!us || !vs)
                return -ENOKEY;
        pairs.items = calloc(us->n + 1, sizeof *pairs.items);
        if (!pairs.items)
                return -ENOMEM;
        for (size_t i = 0; i < us->n; i++) {
                const struct half *u = us->items + i, *v = halves_find(vs, u->key_id, u->generation);
                struct pair pair = { .u = u, .v = v };

                if (u->state == GENERATION_LIVE && !v)
                        pairs.n_single++;
                if (!pair_is_usable(u, v))
                        continue;
                pair.tenant = find_key(&outcomes[PARTY_TENANT].details, u);
                pair.verifier = find_key(&outcomes[PARTY_VERIFIER].details, v);
                if (!pair.tenant || !pair.verifier)
                        continue;
                pair.confirm = v->state == GENERATION_STAGED;
                pair.supersedes = has_older(us, u) || has_older(vs, v);
                pairs.items[pairs.n++] = pair;
        }
        if (pairs.n == 0)
                return -ENOKEY;
        qsort(pairs.items, pairs.n, sizeof *pairs.items, compare_pairs);
        *ret = pairs;
        pairs = (struct pairs){};
        return 0;
}

void pairs_done(struct pairs *pairs) {
        free(pairs->items);
        *pairs = (struct pairs){};
}

static int refuse_manifest(const char *key_id, uint32_t generation, const char *why, char *error, size_t error_size) {
        snprintf(error, error_size, "key %.8s generation %u: %s", key_id, generation, why);
        return -EKEYREJECTED;
}

int recombine_claimed_manifest(const struct recombine_claim *claim, const struct secret *k_b, struct manifest *ret, char *error,
                               size_t error_size) {
        _cleanup_(manifest_done) struct manifest manifest = {};
        _cleanup_(secret_freep) struct secret *key = NULL;
        const char *why = NULL;
        uint8_t mac[32];
        int r;

        r = derive_manifest_key(k_b, claim->node_id, claim->generation, &key);
        if (r >= 0)
                r = manifest_mac(key, claim->manifest->data, claim->manifest->size, mac);
        if (r < 0)
                return r;
        if (!bytes_equal_ct(mac, claim->mac, sizeof mac))
                why = "the halves do not belong together, or the manifest was changed";
        r = why ? 0 : manifest_parse(claim->manifest->data, claim->manifest->size, &manifest);
        if (r == -ENOMEM)
                return r;
        if (r < 0)
                why = "the manifest is malformed";
        else if (!why && (strcmp(manifest.node_id, claim->node_id) != 0 || strcmp(manifest.key_id, claim->key_id) != 0 ||
                          manifest.generation != claim->generation))
                why = "the manifest is another node's, key's or generation's";
        if (why)
                return refuse_manifest(claim->key_id, claim->generation, why, error, error_size);
        *ret = manifest;
        manifest = (struct manifest){};
        return 0;
}

/* What the verifier has to say of the manifest whose MAC was right. */
static const char *check_digest(const struct pair *pair) {
        const struct wire_key *tenant = pair->tenant, *verifier = pair->verifier;
        uint8_t digest[32];

        if (!verifier->has_manifest_sha256)
                return pair->confirm ? NULL : "the verifier does not confirm the manifest";
        if (sha256(tenant->manifest.data, tenant->manifest.size, digest) < 0)
                return "out of memory";
        return bytes_equal_ct(digest, verifier->manifest_sha256, sizeof digest)
                       ? NULL
                       : "the verifier knows another manifest than the tenant";
}

/* Both parties answer for the manifest: the tenant with its bytes and the MAC that only K_b makes, the verifier with the
 * digest. */
int recombine_manifest(const struct pair *pair, const char *node_id, const struct secret *k_b, struct manifest *ret, char *error,
                       size_t error_size) {
        const struct recombine_claim claim = { .node_id = node_id,
                                               .key_id = pair->u->key_id,
                                               .generation = pair->u->generation,
                                               .manifest = &pair->tenant->manifest,
                                               .mac = pair->tenant->mac };
        _cleanup_(manifest_done) struct manifest manifest = {};
        const char *why = NULL;
        int r;

        if (pair->u->kind != KEY_VOLUMES || pair->tenant->kind != KEY_VOLUMES || pair->verifier->kind != KEY_VOLUMES)
                why = "the key is not one for volumes";
        else if (pair->tenant->manifest.size == 0)
                why = "the tenant has no manifest for it";
        if (why)
                return refuse_manifest(pair->u->key_id, pair->u->generation, why, error, error_size);
        r = recombine_claimed_manifest(&claim, k_b, &manifest, error, error_size);
        if (r < 0)
                return r;
        why = check_digest(pair);
        if (why)
                return refuse_manifest(pair->u->key_id, pair->u->generation, why, error, error_size);
        *ret = manifest;
        manifest = (struct manifest){};
        return 0;
}
