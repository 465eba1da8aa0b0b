/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <string.h>

#include "base/log.h"
#include "boot/register.h"
#include "boot/verbs.h"
#include "enroll/internal.h"

/* docs/protocol.md, 11: on a living node a pending approval is asked for every 5 s. */
enum { APPROVAL_MS = 5000, RETRY_MS = 2000, UNREACHED_MAX = 3 };

/* result: of the last round; a party that was not asked for a release in it keeps the words of an older answer. */
static bool any_problem(const struct conversation *conversation, const char *name) {
        for (size_t i = 0; i < ELEMENTSOF(conversation->outcomes); i++)
                if (conversation->outcomes[i].result == -EACCES && strcmp(conversation->outcomes[i].problem, name) == 0)
                        return true;
        return false;
}

static int do_register(struct enroll *e) {
        int r;

        if (e->registered) {
                log_error(
                        "The node is registered, and yet a party does not know it: do registrar, tenant and verifier belong together, "
                        "and %s? Incident %s.",
                        e->node->kind == NODE_TOKEN ? "are all three of a version that knows nodes with a token"
                                                    : "do the parties trust the maker of this TPM",
                        e->node->incident);
                return -EACCES;
        }
        say("Registering with the registrar.");
        r = register_node(e->node, e->code);
        if (r < 0) {
                log_error("%s.", e->node->error);
                return r;
        }
        e->registered = true;
        return 0;
}

static bool is_pending(const struct outcome *outcome) {
        return outcome->result == -EACCES && strcmp(outcome->problem, "pending-approval") == 0;
}

/* Again when the other party has approved meanwhile. */
static void say_approval(struct enroll *e) {
        unsigned pending = is_pending(e->conversation->outcomes) | is_pending(e->conversation->outcomes + 1) << 1;
        static const char *const names[] = { "", "tenant", "verifier", "tenant and verifier" };

        if (pending == e->approval_said)
                return;
        if (!e->approval_said)
                say("An operator has to approve this node, and compares the code: tallyctl node approve %s\n"
                    "    code %s   node %s%s",
                    e->code, e->code, e->node->id,
                    e->options.no_wait ? "" : "   (Ctrl-C ends the waiting; nothing has been changed)");
        say("Waiting for approval at %s.", names[pending]);
        e->approval_said = pending;
}

/* The first refusal that waiting does not cure. */
static const struct outcome *find_refusal(const struct conversation *conversation) {
        for (size_t i = 0; i < ELEMENTSOF(conversation->outcomes); i++) {
                const struct outcome *outcome = conversation->outcomes + i;
                bool waits = outcome->result == -EINPROGRESS || outcome->result == -EAGAIN || outcome->result == -ENOLINK ||
                             outcome->result == -ETIMEDOUT || outcome->result == -ESTALE || outcome->result == -EIO;

                if (outcome->result < 0 && !waits && !is_pending(outcome) && strcmp(outcome->problem, "unknown-node") != 0)
                        return outcome;
        }
        return NULL;
}

static const struct outcome *find_unreached(const struct conversation *conversation) {
        for (size_t i = 0; i < ELEMENTSOF(conversation->outcomes); i++) {
                int result = conversation->outcomes[i].result;

                if (result < 0 && result != -EINPROGRESS && result != -EACCES)
                        return conversation->outcomes + i;
        }
        return NULL;
}

static int give_up(const struct outcome *outcome, int code) {
        log_error("%s.", outcome->error);
        return code;
}

/* After a round that did not bring both halves. EXIT_OK: ask again, after *ret_ms. */
static int next_round(struct enroll *e, uint64_t *ret_ms) {
        const struct outcome *outcome = find_refusal(e->conversation);
        int r;

        if (outcome)
                return give_up(outcome, exit_code_of(outcome->result));
        *ret_ms = RETRY_MS;
        if (any_problem(e->conversation, "unknown-node")) {
                *ret_ms = 0;
                r = do_register(e);
                return r < 0 ? exit_code_of(r) : EXIT_OK;
        }
        if (any_problem(e->conversation, "pending-approval")) {
                say_approval(e);
                if (e->options.no_wait)
                        return EXIT_PENDING;
                *ret_ms = APPROVAL_MS;
        }
        outcome = find_unreached(e->conversation);
        if (!outcome)
                return EXIT_OK;
        if (++e->unreached >= UNREACHED_MAX && !e->approval_said)
                return give_up(outcome, exit_code_of(outcome->result == -EIO ? -EAGAIN : outcome->result));
        log_warning("%s; trying again.", outcome->error);
        *ret_ms = MAX(*ret_ms, (uint64_t) MIN(outcome->retry_after, 60U) * 1000);
        return EXIT_OK;
}

int approval_fetch(struct enroll *e) {
        for (;;) {
                uint64_t ms = 0;
                int r, code;

                r = converse(e->node, e->conversation);
                if (r == 0)
                        return EXIT_OK;
                if (r == -ECANCELED)
                        return EXIT_INTERRUPTED;
                if (r != -EAGAIN) {
                        log_error("%s.", e->node->error[0] ? e->node->error : strerror(-r));
                        return exit_code_of(r);
                }
                code = next_round(e, &ms);
                if (code != EXIT_OK)
                        return code;
                if (cancel_wait(e->cancel_fd, ms) < 0)
                        return EXIT_INTERRUPTED;
        }
}
