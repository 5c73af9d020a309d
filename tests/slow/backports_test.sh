#!/bin/sh
# SPDX-License-Identifier: MIT
# The devices that Debian 12's own QEMU lacks (sound), and some that it has, under the QEMU of its backports.
set -eu
cd "$(dirname "$0")/../.."
MACVM=${MACVM:-build/macvm}

make --no-print-directory guest-6.12 >&2
bin=$(scripts/backports)
PATH=$bin:$PATH
export PATH
log=$(mktemp)
trap 'rm -f "$log"' EXIT
status=0
for file in sound display hotplug entropy; do
    echo "# $file, with $(qemu-system-x86_64 --version | head -n 1)"
    "$MACVM" run tests/devices/run.lua "$file" >"$log" 2>&1 || status=1
    grep -v ' passed, ' "$log" # the cases of all are counted, not the last file's
    if grep -q '^ok .*# SKIP' "$log"; then
        echo "not ok - $file: nothing is skipped with this QEMU"
        status=1
    fi
done
if "$MACVM" run examples/devices/all.lua >"$log" && ! grep '^no sound here' "$log"; then
    echo "ok - every device at once, sound among them"
else
    echo "not ok - every device at once, sound among them"
    status=1
fi
exit $status
