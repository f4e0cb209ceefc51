#!/bin/sh
# zat 0.4.9 (pandas 3.1.1): LogToDataFrame silently loses records of a TSV log if two values start with a double
# quote, as a user agent or a nickname can. Zeek does not escape it, and pandas takes it for the start of a quoted
# text and reads on, over tabs and line ends, to the next quote. zat's own ZeekLogReader returns all of them.
#
# Seen: 4 records in the log, 4 by ZeekLogReader, 2 rows by LogToDataFrame, uids C1 and C4.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
export TZ=UTC
python3 -m venv tools
tools/bin/pip install --quiet --disable-pip-version-check zat==0.4.9 pandas==3.1.1
FIELDS='#fields ts uid user_agent bytes'
TYPES='#types time string string count'
# log FILE, records on standard input: a log of Zeek's, with tabs for blanks.
log() {
    {
        printf '#separator \\x09\n#set_separator ,\n#empty_field (empty)\n#unset_field -\n'
        printf '#path x\n#open 2026-01-01-00-00-00\n%s\n%s\n' "$FIELDS" "$TYPES"
        cat
        printf '#close 2026-01-01-01-00-00\n'
    } | sed '1!y/ /\t/' > "$1"
}

log http.log <<'END'
1.000000 C1 "Mozilla/5.0 10
2.000000 C2 curl 20
3.000000 C3 "Opera 30
4.000000 C4 wget 40
END
tools/bin/python - <<'EOF'
def check(what, seen, expected):
    print(what, seen)
    assert seen == expected, f"{what}: this has changed from {expected}"


from zat.log_to_dataframe import LogToDataFrame
from zat.zeek_log_reader import ZeekLogReader

check("uids by ZeekLogReader:", [row["uid"] for row in ZeekLogReader("http.log").readrows()], ["C1", "C2", "C3", "C4"])
frame = LogToDataFrame().create_dataframe("http.log")
check("uids by LogToDataFrame:", list(frame["uid"]), ["C1", "C4"])
check("the bytes of C1:", int(frame["bytes"].iloc[0]), 30)
EOF
