#!/usr/bin/env bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# tpm-ca.sh: a manufacturer of software TPMs: the CA that signs the endorsement certificates of the tests' machines.
#
# Makes: ca/ (swtpm-localca-rootca-cert.pem signs issuercert.pem signs the certificates), with their keys
set -euo pipefail

mkdir ca state
cat > localca.conf <<END
statedir = $PWD/ca
signingkey = $PWD/ca/signkey.pem
issuercert = $PWD/ca/issuercert.pem
certserial = $PWD/ca/certserial
END
printf -- '--platform-manufacturer Test\n--platform-model QEMU\n--platform-version 1.0\n' > localca.options
cat > setup.conf <<END
create_certs_tool = $(command -v swtpm_localca)
create_certs_tool_config = $PWD/localca.conf
create_certs_tool_options = $PWD/localca.options
END

# swtpm_localca makes its CA when it signs for the first time; that TPM is thrown away.
swtpm_setup --tpm2 --tpmstate "$PWD/state" --config "$PWD/setup.conf" --create-ek-cert --logfile "$PWD/setup.log" ||
    { cat setup.log >&2; exit 1; }
rm -rf state localca.conf setup.conf
