/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "base/exit.h"

/* What root runs on a living node: verbs of tallyboot (boot/verbs.h). What is returned is the exit code. */
int register_run(int argc, char *argv[]);
int enroll_run(int argc, char *argv[]);
int unenroll_run(int argc, char *argv[]);
int token_run(int argc, char *argv[]);

#define REGISTER_HELP                                                                                                                  \
        "Shows the registrar the TPM's endorsement key and its certificate, and proves that the attestation key is in the same TPM.\n" \
        "Prints the node id, and the code that an operator compares. Repeating it changes nothing. enroll does it by itself.\n"

#define ENROLL_HELP                                                                                                                   \
        "Registers the node if need be, waits for an operator's approval, gives each LUKS2 volume one more keyslot that the halves\n" \
        "of tenant and verifier open together, tests it, and confirms. Without DEVICE: a node that only gets a payload.\n\n"          \
        "  --key-file FILE         an existing key of the volumes, the whole file; - for standard input. Default: asked on the\n"     \
        "                          terminal, or the systemd credential tallyboot.passphrase or cryptsetup.passphrase\n"               \
        "  --join-token-file FILE  an approval given ahead (tallyctl join-token create); - for standard input. Default: the\n"        \
        "                          systemd credential tallyboot.join-token, if there is one\n"                                        \
        "  --no-wait               do not wait for an approval: end with 8, run again later\n"                                        \
        "  --recovery-key HOW      yes, no or ask (default: ask where there is a terminal): a key to write down, for people,\n"       \
        "                          shown once on the terminal\n"                                                                      \
        "  --payload               also a key for this node's payload\n"                                                              \
        "  --again                 replace an enrollment of this node that is already there\n"                                        \
        "  --name NAME             the volume's name under /dev/mapper at boot (one DEVICE only). Default: from /etc/crypttab, the\n" \
        "                          active mapping, or luks-UUID\n"                                                                    \
        "  --header FILE           the detached LUKS2 header (one DEVICE only). Default: from /etc/crypttab\n"                        \
        "  --root, --other         whether the root file system rests on the volumes. Default: looked up\n"                           \
        "  --rebuild               run \"dracut --force --regenerate-all\" at the end (without it the command is only named)\n\n"     \
        "Interrupted at any point it leaves a machine that boots as before; run it again to finish.\n"

#define UNENROLL_HELP                                                                                                                    \
        "Removes our keyslot and token from the volumes, after testing that another key opens them. The services are not told: revoke\n" \
        "or delete the node with tallyctl.\n\n"                                                                                          \
        "  --key-file FILE         the other key, the whole file; - for standard input. Default: asked on the terminal\n"                \
        "  --without-other-key     do not test; where our slot is the last one the data is lost for ever\n"                              \
        "  --header FILE           the detached LUKS2 header (one DEVICE only)\n"

#define TOKEN_HELP                                                                                                                        \
        "Makes the key that signs this machine's evidence where it has no TPM, in a smart card or HSM, and prints the token-key = line\n" \
        "of tallyboot.conf. The key signs and does nothing else, and cannot leave the token.\n\n"                                         \
        "  --token URI   which token (RFC 7512). Default: that of token-key\n"                                                            \
        "  --type TYPE   p-256 (default), p-384, rsa-2048, rsa-3072 or rsa-4096\n"                                                        \
        "  --label NAME  default tallyboot\n"
