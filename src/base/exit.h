/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "base/macro.h"

/* What every program of ours ends with; in every --help and man page. */
enum exit_code {
        EXIT_OK = 0,
        EXIT_FAILED = 1,       /* anything that the others do not say */
        EXIT_USAGE = 2,        /* command line */
        EXIT_REFUSED = 3,      /* by a party, or by a policy */
        EXIT_UNREACHABLE = 4,  /* a party was not reached */
        EXIT_TPM = 5,          /* the TPM is missing, busy, locked out, failing; or the token in its place, or its PIN */
        EXIT_VOLUME = 6,       /* not LUKS2, damaged, not what the manifest says, in use */
        EXIT_CONFIG = 7,       /* configuration */
        EXIT_PENDING = 8,      /* waits for an operator's approval or policy */
        EXIT_INTERRUPTED = 130 /* SIGINT, SIGTERM */
};
