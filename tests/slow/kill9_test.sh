#!/bin/sh
# SPDX-License-Identifier: MIT
# The same as tests/cli/kill9_test.sh, at fifty moments.
KILLS=${KILLS:-50} exec "$(dirname "$0")/../cli/kill9_test.sh"
