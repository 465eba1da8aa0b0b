/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <string.h>

#include "base/log.h"
#include "boot/recombine.h"
#include "boot/verbs.h"
#include "enroll/internal.h"

/* docs/protocol.md, 8: the tenant's answer is what makes a generation live; the verifier's follows, at the latest at the next
 * boot. */
enum { TRIES = 4, RETRY_MS = 2000 };

struct confirmation {
        struct conversation *conversation;
        bool maybe_live; /* at the tenant, for all we know */
};

static const struct half *find_half(const struct enroll *e, enum party party, const char *key_id, enum key_kind kind) {
        const struct halves *halves = e->conversation->outcomes[party].halves;
        const struct half *half = halves ? halves_find(halves, key_id, 1) : NULL;

        return half && half->kind == kind && half->state == GENERATION_STAGED ? half : NULL;
}

static int join(const struct enroll *e, const char *key_id, enum key_kind kind, struct secret **ret) {
        const struct half *u = find_half(e, PARTY_TENANT, key_id, kind), *v = find_half(e, PARTY_VERIFIER, key_id, kind);

        return u && v ? split_join(u, v, ret) : -EBADMSG;
}

/* A refusal with a problem document: the party has looked at it, and nothing became live there. */
static bool is_refused(const struct outcome *outcome) {
        return outcome->problem[0] != '\0' && (outcome->result == -EACCES || outcome->result == -EBADMSG ||
                                               outcome->result == -EEXIST || outcome->result == -EPERM);
}

/* The one whose words say why it goes no further. */
static const struct outcome *find_reason(const struct conversation *conversation) {
        const struct outcome *tenant = conversation->outcomes + PARTY_TENANT, *verifier = conversation->outcomes + PARTY_VERIFIER;

        return tenant->result != 0 && tenant->result != -EINPROGRESS ? tenant : verifier;
}

/* Still -EINPROGRESS: the verifier gave no nonce, so there was no quote, and the tenant was sent nothing. Anything else may have
 * been a confirmation whose answer was lost. */
static bool may_have_reached(const struct outcome *tenant) {
        return tenant->result != -EINPROGRESS && !is_refused(tenant);
}

static int send(struct enroll *e, const struct wire_confirm_body *body, struct confirmation *ret) {
        int r;

        r = converse_confirm(e->node, body, &ret->conversation);
        for (unsigned i = 0; r == -EAGAIN; i++) {
                const struct outcome *outcomes = ret->conversation->outcomes;

                ret->maybe_live |= may_have_reached(outcomes + PARTY_TENANT);
                if (is_refused(outcomes + PARTY_TENANT) || is_refused(outcomes + PARTY_VERIFIER) || i == TRIES)
                        break;
                log_warning("%s; trying again.", find_reason(ret->conversation)->error);
                if (cancel_wait(e->cancel_fd, RETRY_MS) < 0)
                        return -ECANCELED;
                r = converse(e->node, ret->conversation);
        }
        ret->maybe_live |= r == -ECANCELED; /* in the middle of an exchange */
        return r;
}

static int said(const struct enroll *e, int r, const struct confirmation *confirmation, bool *ret_undo) {
        const struct conversation *conversation = confirmation->conversation;

        if (conversation && conversation->outcomes[PARTY_TENANT].result == 0 && r != -ECANCELED) {
                log_warning("%s.", conversation->outcomes[PARTY_VERIFIER].error);
                log_notice("The tenant has confirmed, the verifier has not: the next boot uses the key and confirms it again.");
                return EXIT_OK;
        }
        if (r == -EAGAIN) {
                r = find_reason(conversation)->result;
                log_error("%s.", find_reason(conversation)->error);
        } else if (r != -ECANCELED)
                log_error("%s.", e->node->error[0] ? e->node->error : strerror(-r));
        *ret_undo = !confirmation->maybe_live;
        if (!*ret_undo)
                log_notice(
                        "It is not known whether the tenant has the confirmation. The machine boots as before; run enroll again.");
        return exit_code_of(r);
}

static int confirm_body(struct enroll *e, const struct wire_confirm_body *body, bool *ret_undo) {
        struct confirmation confirmation = {};
        int r;

        r = send(e, body, &confirmation);
        if (r < 0)
                r = said(e, r, &confirmation, ret_undo);
        conversation_free(confirmation.conversation);
        return r;
}

static char *manifest_text(const struct enroll *e, struct luks_expected *volumes, size_t n) {
        struct manifest manifest = { .generation = 1, .volumes = volumes, .n = n };

        memcpy(manifest.node_id, e->node->id, sizeof(manifest.node_id));
        memcpy(manifest.key_id, e->volumes_key, sizeof(manifest.key_id));
        return manifest_format(&manifest);
}

static int fill_manifest(const struct enroll *e, const struct secret *k_b, struct wire_confirm_body *body) {
        _cleanup_(secret_freep) struct secret *manifest_key = NULL;
        _cleanup_(freep) struct luks_expected *volumes = calloc(e->n_volumes, sizeof(*volumes));
        _cleanup_(freep) char *text = NULL;
        size_t n = 0;
        int r;

        if (!volumes)
                return -ENOMEM;
        for (size_t i = 0; i < e->n_volumes; i++)
                if (!e->volumes[i].skip)
                        volumes[n++] = e->volumes[i].expected; /* borrowed */
        text = manifest_text(e, volumes, n);
        if (!text)
                return -ENOMEM;
        r = derive_manifest_key(k_b, e->node->id, 1, &manifest_key);
        if (r >= 0)
                r = manifest_mac(manifest_key, text, strlen(text), body->mac);
        return r < 0 ? r : blob_copy(text, strlen(text), &body->manifest);
}

/* The bytes of manifest that go into a request: it stands in the body and the body in the request, in base64 each time, beside a
 * quote and the values of all PCRs that may be asked for (docs/protocol.md, 5 and 8). */
enum {
        REST_OF_REQUEST = 2800,
        REST_OF_BODY = 200,
        MANIFEST_FITS = ((WIRE_REQUEST_MAX - REST_OF_REQUEST) / 4 * 3 - REST_OF_BODY) / 4 * 3
};

int confirm_fits(const struct enroll *e) {
        size_t n = 0, used = 0;

        for (size_t i = 0; i < e->n_volumes; i++) {
                struct luks_expected volume = {};
                _cleanup_(freep) char *text = NULL;

                if (e->volumes[i].skip || volume_foresee(e->volumes + i, &volume) < 0)
                        continue; /* what is wrong with it is said when it is looked at in full */
                text = manifest_text(e, &volume, 1);
                luks_expected_done(&volume);
                used += text ? strlen(text) : 0;
                if (used > MANIFEST_FITS) {
                        log_error(
                                "These are too many volumes for one key: %zu go into one enrollment. Nothing was changed; enroll them in "
                                "several runs, each makes a key of its own.",
                                n);
                        return EXIT_USAGE;
                }
                n++;
        }
        return EXIT_OK;
}

static int keep_offline(struct enroll *e, const struct secret *k_b, const struct wire_confirm_body *body) {
        const struct recombine_claim claim = { .node_id = e->node->id,
                                               .key_id = e->volumes_key,
                                               .generation = body->generation,
                                               .manifest = &body->manifest,
                                               .mac = body->mac };

        return offline_write(e, &claim, k_b);
}

int confirm_volumes(struct enroll *e, bool *ret_undo) {
        _cleanup_(wire_confirm_body_done) struct wire_confirm_body body = { .generation = 1 };
        _cleanup_(secret_freep) struct secret *k_b = NULL;
        int r;

        memcpy(body.key, e->volumes_key, sizeof(body.key));
        *ret_undo = true;
        r = join(e, e->volumes_key, KEY_VOLUMES, &k_b);
        if (r >= 0)
                r = fill_manifest(e, k_b, &body);
        if (r < 0) {
                log_error_errno(r, "The manifest could not be made: %m.");
                return EXIT_FAILED;
        }
        if (keep_offline(e, k_b, &body) < 0)
                return EXIT_TPM;
        return confirm_body(e, &body, ret_undo);
}

int confirm_payload(struct enroll *e) {
        _cleanup_(wire_confirm_body_done) struct wire_confirm_body body = { .generation = 1, .has_payload_public = true };
        _cleanup_(keypair_freep) struct keypair *keypair = NULL;
        _cleanup_(secret_freep) struct secret *k_b = NULL;
        bool undo = false;
        int r;

        memcpy(body.key, e->payload_key, sizeof(body.key));
        r = join(e, e->payload_key, KEY_PAYLOAD, &k_b);
        if (r >= 0)
                r = derive_payload_keypair(k_b, e->node->id, 1, &keypair);
        if (r < 0) {
                log_error_errno(r, "The payload's key could not be made: %m.");
                return EXIT_FAILED;
        }
        memcpy(body.payload_public, keypair->public, POINT_SIZE);
        return confirm_body(e, &body, &undo);
}

int halves_volume_key(const struct enroll *e, const char *uuid, struct secret **ret) {
        _cleanup_(secret_freep) struct secret *k_b = NULL;
        int r;

        r = join(e, e->volumes_key, KEY_VOLUMES, &k_b);
        return r < 0 ? r : derive_volume_key(k_b, e->node->id, 1, uuid, ret);
}
