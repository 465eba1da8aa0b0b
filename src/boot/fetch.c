/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <string.h>
#include <sys/epoll.h>

#include "base/clock.h"
#include "base/log.h"
#include "boot/answers.h"
#include "boot/gate.h"
#include "boot/identity.h"
#include "boot/payload.h"
#include "boot/register.h"
#include "boot/unlock.h"

enum {
        BACKOFF_FIRST_MS = 500,
        BACKOFF_MAX_MS = 20000,
        RETRY_AFTER_MAX = 3600, /* s: a server cannot send a node away for longer */
        CERTIFICATE_RETRY = 60,
        MALFORMED_RETRY = 300,
        NETWORK_LOOK_MS = 20000,
        NETWORK_LOOK_MIN_MS = 1000,
        PROMPT_NOW_MS = 30000,
        PAYLOAD_RETRY_MS = 30000,
        ENROLLED_MS = 1000,
        OPERATOR_RETRY_MS = 60000,
        MEANWHILE_MS = 2000,
};

/* Up to a fifth more, so that a fleet that lost its power together does not come back together. */
static int64_t with_jitter(uint64_t ms, uint32_t random) {
        return ms + ms / 5 * (random % 1024) / 1024;
}

int64_t fetch_delay_ms(const struct outcome *outcome, unsigned failures, uint32_t random) {
        uint64_t backoff = BACKOFF_FIRST_MS;
        int retry;

        if (outcome->result == 0)
                return 0;
        if (outcome->retry_after > 0)
                return with_jitter((uint64_t) MIN(outcome->retry_after, (unsigned) RETRY_AFTER_MAX) * 1000, random);
        if (outcome->problem[0]) {
                retry = problem_retry(outcome->problem);
                if (retry == RETRY_NEVER)
                        return -1;
                if (retry != RETRY_BACKOFF)
                        return with_jitter((uint64_t) retry * 1000, random);
        } else if (outcome->result == -EKEYREJECTED)
                return with_jitter(CERTIFICATE_RETRY * 1000, random);
        else if (outcome->result == -EBADMSG || outcome->result == -EFBIG)
                return with_jitter(MALFORMED_RETRY * 1000, random);
        for (unsigned i = 0; i < failures && backoff < BACKOFF_MAX_MS; i++)
                backoff *= 2;
        backoff = MIN(backoff, (uint64_t) BACKOFF_MAX_MS);
        return backoff / 2 + backoff / 2 * (random % 1024) / 1024;
}

/* Both halves are needed: the party that has to wait longest sets the time, one that never will ends it. */
static int64_t next_delay(const struct conversation *conversation, unsigned failures) {
        int64_t longest = 0;

        for (size_t i = 0; i < 2; i++) {
                const struct outcome *outcome = conversation->outcomes + i;
                uint32_t random = 0;
                int64_t delay;

                if (outcome->result == -EINPROGRESS)
                        continue;
                (void) random_bytes(&random, sizeof random);
                delay = fetch_delay_ms(outcome, failures, random);
                if (delay < 0)
                        return -1;
                longest = MAX(longest, delay);
        }
        return longest;
}

static bool is_said_to_be(const struct conversation *conversation, const char *problem) {
        return strcmp(conversation->outcomes[0].problem, problem) == 0 || strcmp(conversation->outcomes[1].problem, problem) == 0;
}

/* Both reasons in one line; what is fine is not mentioned. */
static void say_outcomes(struct unlocker *unlocker) {
        const struct outcome *tenant = unlocker->conversation->outcomes + PARTY_TENANT;
        const struct outcome *verifier = unlocker->conversation->outcomes + PARTY_VERIFIER;
        bool first = tenant->result != 0 && tenant->result != -EINPROGRESS;
        bool second = verifier->result != 0 && verifier->result != -EINPROGRESS;

        if (first && second && tenant->problem[0] && strcmp(tenant->problem, verifier->problem) == 0)
                unlocker_say(unlocker, "tenant and %s", verifier->error);
        else
                unlocker_say(unlocker, "%s%s%s", first ? tenant->error : "", first && second ? "; " : "",
                             second ? verifier->error : "");
}

bool fetch_is_out_of_reach(int r) {
        return r == -ENOLINK || r == -ETIMEDOUT || r == -EAGAIN || r == -EIO || r == -EKEYREJECTED;
}

static int worst(const struct conversation *conversation) {
        static const int order[] = { -EACCES,       -EPERM, -EEXIST, -EBADMSG,   -EFBIG,
                                     -EKEYREJECTED, -EIO,   -EAGAIN, -ETIMEDOUT, -ENOLINK };

        for (size_t i = 0; i < ELEMENTSOF(order); i++)
                for (size_t j = 0; j < 2; j++)
                        if (conversation->outcomes[j].result == order[i])
                                return order[i];
        return -ENOLINK;
}

/* A node that only gets a payload has nobody who enrolls it: it registers itself, and then waits for an operator. */
static int enroll_here(struct unlocker *unlocker) {
        _cleanup_(conversation_freep) struct conversation *enroll = NULL;
        static const char body[] = "{\"keys\":[]}";
        char code[CODE_LENGTH + 1] = "";
        int r;

        if (!unlocker->config->payload || unlocker->test)
                return -ENOTSUP;
        r = register_node(unlocker->node, code);
        if (r == -ECANCELED)
                return r;
        if (r < 0) {
                unlocker_say(unlocker, "not registered: %s", unlocker->node->error);
                return r;
        }
        r = conversation_new(PURPOSE_ENROLL, body, strlen(body), &enroll);
        if (r < 0)
                return r;
        r = converse(unlocker->node, enroll);
        if (r == -EAGAIN && is_said_to_be(enroll, "pending-approval")) {
                unlocker_say(unlocker, "this node is registered with code %s and waits for an operator: tallyctl node approve",
                             code);
                return -EAGAIN;
        }
        return r;
}

static int new_conversation(struct unlocker *unlocker) {
        int r;

        unlocker->conversation = conversation_free(unlocker->conversation);
        r = conversation_new(PURPOSE_BOOT, NULL, 0, &unlocker->conversation);
        if (r >= 0 && unlocker->hint[0])
                unlocker->conversation->id_hint = unlocker->hint;
        return r;
}

/* The reason stands above the prompt that it explains; a network that only takes its time is not complained of. */
static uint64_t first_look_ms(const struct unlocker *unlocker) {
        uint64_t ms = unlocker->config->prompt_after * 1000 / 10 * 9;

        return unlocker->test ? 0 : ms < NETWORK_LOOK_MIN_MS ? NETWORK_LOOK_MIN_MS : MIN(ms, (uint64_t) NETWORK_LOOK_MS);
}

/* Without a route nothing is asked; meanwhile the TPM can make the AK. */
static int wait_for_network(struct unlocker *unlocker, uint64_t end) {
        uint64_t look = first_look_ms(unlocker);

        for (;;) {
                char error[256] = "";
                int r = network_wait(unlocker->config, look, unlocker->node->cancel_fd, error, sizeof error);

                if (r == -ECANCELED) {
                        r = unlocker_answer(unlocker);
                        if (r < 0)
                                return r;
                        continue;
                }
                if (r != -ENOLINK)
                        return r;
                unlocker_say(unlocker, "%s", error);
                if (unlocker->test || clock_monotonic_ms() >= end)
                        return r;
                look = NETWORK_LOOK_MS;
        }
}

/* An image that waits for a payload keeps the gate open until there is one: nothing could be asked for afterwards. */
static bool payload_is_missing(const struct unlocker *unlocker) {
        return unlocker->config->payload && !unlocker->test && !payload_is_offered(unlocker->conversation);
}

static int wait_for_payload(struct unlocker *unlocker, uint64_t *ret_delay) {
        unlocker_say(unlocker, "tenant and verifier have no payload for this node yet: tallyctl payload set");
        *ret_delay = PAYLOAD_RETRY_MS;
        return new_conversation(unlocker) < 0 ? -ENOMEM : -EAGAIN;
}

/* The token was not just there, wants a person, or was pulled out. */
static int attach_again(struct unlocker *unlocker, int r, uint64_t *ret_delay) {
        *ret_delay = 0;
        if (r == -EPERM && !unlocker->node->waiting.ask) {
                unlocker_say(unlocker, "%s: this boot needs a passphrase", unlocker->node->error);
                return r;
        }
        if (unlocker->node->has_id)
                unlocker_say(unlocker, "%s; waiting for it", unlocker->node->error);
        r = identity_attach_token(unlocker);
        return r < 0 ? r : -EAGAIN;
}

/* What converse() said of one try. 0: done; -EAGAIN: again after *ret_delay ms; else the end. */
static int judge(struct unlocker *unlocker, int r, unsigned failures, uint64_t *ret_delay) {
        struct conversation *conversation = unlocker->conversation;
        int64_t delay;

        if (unlocker->node->has_id && unlocker->node->kind == NODE_TPM)
                (void) gate_mark_seen(unlocker->run_dir);
        if (r == 0)
                return payload_is_missing(unlocker) ? wait_for_payload(unlocker, ret_delay) : 0;
        if (r == -ECANCELED) {
                *ret_delay = 0;
                r = unlocker_answer(unlocker);
                return r < 0 ? r : -EAGAIN;
        }
        if ((r == -ENODEV || r == -EPERM) && unlocker->node->kind == NODE_TOKEN && !unlocker->node->token)
                return attach_again(unlocker, r, ret_delay);
        if (r != -EAGAIN) {
                unlocker_say(unlocker, "%s", unlocker->node->error[0] ? unlocker->node->error : strerror(-r));
                *ret_delay = r == -EBADMSG ? OPERATOR_RETRY_MS : BACKOFF_MAX_MS;
                return !unlocker->test && (r == -EIO || r == -EBUSY || r == -EBADMSG) ? -EAGAIN : r;
        }
        delay = next_delay(conversation, failures);
        r = is_said_to_be(conversation, "unknown-node") ? enroll_here(unlocker) : -ENOTSUP;
        if (r == -ENOTSUP)
                say_outcomes(unlocker);
        else if (r == 0)
                delay = ENROLLED_MS; /* approved beforehand */
        if (delay < 0 || unlocker->test)
                return worst(conversation);
        *ret_delay = delay;
        return -EAGAIN;
}

int fetch_halves(struct unlocker *unlocker, uint64_t limit) {
        uint64_t end = limit > 0 ? clock_monotonic_ms() + limit * 1000 : UINT64_MAX;
        int r = new_conversation(unlocker);

        for (unsigned failures = 0; r >= 0; failures++) {
                uint64_t delay = 0;

                r = wait_for_network(unlocker, end);
                if (r < 0)
                        return r;
                r = judge(unlocker, converse(unlocker->node, unlocker->conversation), failures, &delay);
                if (r != -EAGAIN)
                        return r;
                if (clock_monotonic_ms() + delay >= end)
                        return worst(unlocker->conversation);
                if (unlocker->control && delay >= PROMPT_NOW_MS)
                        control_fail_all(unlocker->control); /* no use in keeping the prompt back */
                r = delay > 0 ? unlocker_sleep(unlocker, delay) : 0;
        }
        return r;
}

/* Readable as soon as one of the two is. */
static int either_fd(int a, int b) {
        _cleanup_(closep) int fd = epoll_create1(EPOLL_CLOEXEC);
        const int both[] = { a, b };

        for (size_t i = 0; fd >= 0 && i < ELEMENTSOF(both); i++) {
                struct epoll_event event = { .events = EPOLLIN };

                if (both[i] >= 0 && epoll_ctl(fd, EPOLL_CTL_ADD, both[i], &event) < 0)
                        return -errno;
        }
        return fd < 0 ? -errno : TAKE_FD(fd);
}

/* Nobody is asked, or waited for, by who asks meanwhile. */
static int converse_until(struct unlocker *unlocker, int fd) {
        struct node *node = unlocker->node;
        const struct node_waiting waiting = node->waiting;
        _cleanup_(closep) int either = either_fd(node->cancel_fd, fd);
        int cancel_fd = node->cancel_fd, r;

        if (either < 0)
                return either;
        node->waiting = (struct node_waiting){ .run_dir = waiting.run_dir };
        node->cancel_fd = either;
        r = converse(node, unlocker->conversation);
        node->cancel_fd = cancel_fd;
        node->waiting = waiting;
        return r;
}

/* A node whose identity is the token that is being asked for has nothing to ask the parties with. */
static bool can_ask_meanwhile(const struct unlocker *unlocker) {
        const struct node *node = unlocker->node;

        return unlocker->volumes.n == 0 && (node->kind == NODE_TPM || node->token) &&
               clock_monotonic_ms() >= unlocker->meanwhile.next_ms &&
               network_wait(unlocker->config, 0, -1, (char[256]){}, 256) >= 0;
}

int fetch_meanwhile(struct unlocker *unlocker, int fd) {
        uint64_t delay = 0;
        int r = 0;

        if (!can_ask_meanwhile(unlocker))
                return 0;
        if (!unlocker->conversation)
                r = new_conversation(unlocker);
        if (r >= 0)
                r = converse_until(unlocker, fd);
        if (r == -ECANCELED || r == -ENOMEM)
                return r == -ECANCELED ? unlocker_answer(unlocker) : r;
        if (unlocker->node->kind == NODE_TOKEN && !unlocker->node->token) /* pulled out: no second person is waited for here */
                return 0;
        r = judge(unlocker, r, unlocker->meanwhile.failures++, &delay);
        if (r == -ECANCELED)
                return r;
        unlocker->meanwhile.next_ms = clock_monotonic_ms() + MAX(delay, (uint64_t) MEANWHILE_MS);
        unlocker->meanwhile.result = r == -EAGAIN ? worst(unlocker->conversation) : r;
        return fetch_is_out_of_reach(unlocker->meanwhile.result) ? 0 : -EALREADY;
}
