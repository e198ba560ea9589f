#!/usr/bin/env bash
# Watch sample events flow through a routing tree. Needs `eventtracking` on PATH; writes to var/ beside this file.
set -eu
cd "$(dirname "$0")"
rm -rf var
mkdir var

bold='' dim='' plain=''
if [ -t 1 ]; then bold=$'\033[1m' dim=$'\033[2m' plain=$'\033[0m'; fi

step() {
    printf '\n%s\n' "$bold# $1$plain"
}
run() {
    printf '%s\n' "$dim\$ $*$plain"
    "$@"
}

step 'Is the config sound, and can its backends be opened?'
run eventtracking check --connect

step 'The routing tree'
run eventtracking graph

step 'The event types that catalog.toml declares'
run eventtracking catalog check
run eventtracking catalog list

step 'Sixty events of an online course go through it; the counts tell what became of each'
run eventtracking replay events.jsonl --log var/tracking.log

step 'What the logger wrote: one line of JSON per event, and the record that documents its type'
run head -n 2 var/tracking.log

step 'What SQLite keeps'
run python stored.py var/archive.db 6
run python stored.py var/registrar.db 3

step 'The documentation of a stored event comes with one query'
run python documented.py var/archive.db grade.calculated

step 'Where would this event go?'
run eventtracking explain one_event.json

step 'This event does not conform to its declaration: it is tagged, and the archive refuses it'
run eventtracking emit grade.calculated --data '{"percent": "92 %", "passed": true, "weights": {}}' --log var/tracking.log || true
run eventtracking dead-letters list

step 'The catalog as pages'
run eventtracking catalog docs var/site --records var/archive.db
printf '%s\n' "open $PWD/var/site/index.html"

step 'Change eventtracking.toml or catalog.toml and run it again, or read README.md.'
printf '%s\n' "Look at these events in a browser: cd $PWD && $(command -v eventtracking) console --allow-changes"
