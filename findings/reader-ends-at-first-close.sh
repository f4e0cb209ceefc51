#!/bin/sh
# zat 0.4.9 and zlogging 0.1.3.post10: if a file has several TSV logs, as `cat` or `zcat` produces from those of a
# day and zeek-cut reads, they return only the first, without an error or a warning. parsezeeklogs 3.0.1 and
# pandas-based readers return all.
#
# Seen: 4 records in 2 logs; zat 2, zlogging 2, parsezeeklogs 4, LogToDataFrame of zat 4.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
export TZ=UTC
python3 -m venv tools
tools/bin/pip install --quiet --disable-pip-version-check zat==0.4.9 pandas==3.1.1 zlogging==0.1.3.post10 parsezeeklogs==3.0.1
FIELDS='#fields ts uid'
TYPES='#types time string'
# log FILE, records on standard input: a log of Zeek's, with tabs for blanks.
log() {
    {
        printf '#separator \\x09\n#set_separator ,\n#empty_field (empty)\n#unset_field -\n'
        printf '#path x\n#open 2026-01-01-00-00-00\n%s\n%s\n' "$FIELDS" "$TYPES"
        cat
        printf '#close 2026-01-01-01-00-00\n'
    } | sed '1!y/ /\t/' > "$1"
}

printf '1.000000 C1\n2.000000 C2\n' | log one.log
printf '3.000000 C3\n4.000000 C4\n' | log two.log
cat one.log two.log > day.log
tools/bin/python - <<'EOF'
def check(what, seen, expected):
    print(what, seen)
    assert seen == expected, f"{what}: this has changed from {expected}"


import warnings

from parsezeeklogs import read_zeek
from zat.log_to_dataframe import LogToDataFrame
from zat.zeek_log_reader import ZeekLogReader
from zlogging.loader import parse

with warnings.catch_warnings(record=True) as told:
    warnings.simplefilter("always")
    records = len(parse("day.log").data)
check("zlogging:", records, 2)
check("warnings of zlogging's parser:", [str(one.message) for one in told if "Parser" in one.category.__name__], [])
check("ZeekLogReader of zat:", len(list(ZeekLogReader("day.log").readrows())), 2)
check("LogToDataFrame of zat:", len(LogToDataFrame().create_dataframe("day.log")), 4)
check("parsezeeklogs:", len(list(read_zeek("day.log"))), 4)
EOF
