#!/bin/bash
# SPDX-License-Identifier: MIT
# kill -9 of macvm at random moments of a lab: no process of it may live on, and after the next
# start nothing of it may be on disk. KILLS=n moments (6), SEED=n repeats a run, two at a time.
set -u
macvm=${MACVM:-$(dirname "$0")/../../build/macvm}
KILLS=${KILLS:-6}
SEED=${SEED:-$RANDOM}
WORKERS=2
base=$(mktemp -d)
trap 'rm -rf "$base"' EXIT
echo "# KILLS=$KILLS SEED=$SEED"

# Boots, then keeps commands and files under way until it is killed.
cat >"$base/busy.lua" <<'LAB'
local macvm = require "macvm"
local dir = os.getenv "LAB_DIR"
local vm = macvm.vm { name = os.getenv "LAB_NAME", memory = "256M",
                      devices = { macvm.console { log = dir .. "/console.log" } } }
vm:start { timeout = 120 }
vm:wait("ready", { timeout = 120 })
print "ready"
io.stdout:flush()
macvm.spawn(function()
  while true do
    vm:write("/tmp/blob", ("x"):rep(1 << 20))
    vm:pull("/tmp/blob", dir .. "/pulled")
  end
end)
while true do vm:exec "echo hello; cat /proc/version" end
LAB

# A whole life, start to clean stop.
cat >"$base/clean.lua" <<'LAB'
local macvm = require "macvm"
local vm <close> = macvm.vm { name = os.getenv "LAB_NAME", memory = "256M" }
vm:start { timeout = 120 }
vm:wait("ready", { timeout = 120 })
vm:stop { timeout = 60 }
print "ready"
LAB

# Living processes with MARK in their environment: macvm and what it started.
marked() # MARK
{
    grep -lsaF "KILL9_MARK=$1" /proc/[0-9]*/environ 2>/dev/null | cut -d/ -f3
}

# A process that gets SIGKILL is gone a moment later; five seconds are not a moment.
all_gone() # MARK
{
    local deadline=$((SECONDS + 5))
    while [ -n "$(marked "$1")" ]; do
        [ $SECONDS -lt $deadline ] || return 1
        sleep 0.02
    done
}

worker() # NUMBER ROUNDS
{
    local w=$1 rounds=$2 dir=$base/$1 mark round pid other out moment when line left qemu_seen=0
    mkdir -p "$dir/run" "$dir/tmp" "$dir/lab"
    chmod 700 "$dir/run"
    RANDOM=$((SEED + w))
    export XDG_RUNTIME_DIR=$dir/run TMPDIR=$dir/tmp LAB_DIR=$dir/lab

    for ((round = 1; round <= rounds; round++)); do
        mark=$(basename "$base")-$w-$round
        moment=$((RANDOM % 2500)) # ms
        exec {out}< <(KILL9_MARK=$mark LAB_NAME=k$w exec "$macvm" run "$base/busy.lua" 2>"$dir/stderr")
        pid=$!
        when="$moment ms after its start"
        if ((round % 3 == 0)); then
            # Every third one is killed at work.
            when="$((moment / 5)) ms after it was ready"
            moment=$((moment / 5))
            read -rt 120 -u "$out" line || line=
            [ "$line" = ready ] || { echo "not ok - $w.$round was not ready"; sed 's/^/# /' "$dir/stderr"; }
        fi
        sleep "$((moment / 1000)).$(printf %03d $((moment % 1000)))"
        [ "$(marked "$mark" | wc -l)" -lt 2 ] || qemu_seen=$((qemu_seen + 1))
        if ! kill -9 $pid 2>/dev/null; then
            echo "not ok - $w.$round ended before it was killed $when"
            sed 's/^/# /' "$dir/stderr"
        elif all_gone "$mark"; then
            echo "ok - $w.$round killed $when"
        else
            echo "not ok - $w.$round killed $when: processes live on"
            for other in $(marked "$mark"); do
                tr '\0' ' ' <"/proc/$other/cmdline" | sed 's/^/# /'
                echo
                kill -9 "$other"
            done
        fi
        wait "$pid" 2>/dev/null
        exec {out}<&-
    done

    # Else the rounds above have proved nothing about QEMU.
    if [ $qemu_seen -gt 0 ]; then
        echo "ok - $w: QEMU was running at $qemu_seen of the kills"
    else
        echo "not ok - $w: no kill met a running QEMU"
    fi
    if [ "$(LAB_NAME=k$w "$macvm" run "$base/clean.lua" 2>&1)" = ready ]; then
        echo "ok - $w: the next start works"
    else
        echo "not ok - $w: the next start fails"
    fi
    left=$(find "$dir/run" "$dir/tmp" ! -type d; find "$dir/lab" -type f ! -name console.log ! -name pulled)
    if [ -z "$left" ]; then
        echo "ok - $w: nothing is left on disk"
    else
        echo "not ok - $w: left on disk:" "$left"
    fi
}

for ((w = 1; w <= WORKERS; w++)); do
    worker $w $(((KILLS + w - 1) / WORKERS)) >"$base/report.$w" 2>&1 &
done
wait
cat "$base"/report.*
passed=$(cat "$base"/report.* | grep -c '^ok')
failed=$(cat "$base"/report.* | grep -c '^not ok')
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ] && [ "$passed" -gt "$KILLS" ]
