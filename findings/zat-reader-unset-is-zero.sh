#!/bin/sh
# zat 0.4.9: for an unset value (`-`) in a TSV log, ZeekLogReader returns a value that a record could have, depending
# on the type: 0, 0.0, False, or 2 January 1970. Its caller cannot tell a connection with unknown bytes from one
# without any. The data frames of the same package distinguish the two.
#
# Seen: bytes 0 and 0 by ZeekLogReader, <NA> and 0 by LogToDataFrame.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
export TZ=UTC
python3 -m venv tools
tools/bin/pip install --quiet --disable-pip-version-check zat==0.4.9 pandas==3.1.1
FIELDS='#fields ts uid bytes local seen'
TYPES='#types time string count bool time'
# log FILE, records on standard input: a log of Zeek's, with tabs for blanks.
log() {
    {
        printf '#separator \\x09\n#set_separator ,\n#empty_field (empty)\n#unset_field -\n'
        printf '#path x\n#open 2026-01-01-00-00-00\n%s\n%s\n' "$FIELDS" "$TYPES"
        cat
        printf '#close 2026-01-01-01-00-00\n'
    } | sed '1!y/ /\t/' > "$1"
}

log conn.log <<'END'
1.000000 C1 - - -
2.000000 C2 0 F 86400.000000
END
tools/bin/python - <<'EOF'
def check(what, seen, expected):
    print(what, seen)
    assert seen == expected, f"{what}: this has changed from {expected}"


import pandas
from zat.log_to_dataframe import LogToDataFrame
from zat.zeek_log_reader import ZeekLogReader

unset, given = ZeekLogReader("conn.log").readrows()
for field in ("bytes", "local", "seen"):
    print(field, repr(unset[field]), repr(given[field]))
    assert unset[field] == given[field], "this has changed"
frame = LogToDataFrame().create_dataframe("conn.log")
check("unset in the frame:", pandas.isna(frame["bytes"]).tolist(), [True, False])
EOF
