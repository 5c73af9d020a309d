#!/bin/sh
# SPDX-License-Identifier: MIT
# Shares with the virtiofsd that is written in Rust, which Debian 12 does not have.
set -eu
cd "$(dirname "$0")/../.."
MACVM=${MACVM:-build/macvm}

bin=$(scripts/virtiofsd-rust)
PATH=$bin:$PATH
export PATH
echo "# $(virtiofsd --version)"
exec "$MACVM" run tests/devices/run.lua share
