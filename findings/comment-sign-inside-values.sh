#!/bin/sh
# zeeklog2pandas 1.0.2 (pandas 3.1.1) and DuckDB 2.0.1: a `#` inside a value of a Zeek TSV log truncates the
# line. Both skip the header with `comment="#"`, which applies anywhere in a line, but Zeek escapes `#` only at the
# start of a line. A record that joins the IRC channel `#chat` silently loses its remaining columns, and a URI
# loses its fragment. DuckDB silently cuts the value if it is in the last column, and fails if columns follow. polars
# 2.1.0 reads everything: its `comment_prefix` applies to whole lines only.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
export TZ=UTC
python3 -m venv tools
tools/bin/pip install --quiet --disable-pip-version-check zeeklog2pandas==1.0.2 pandas==3.1.1 duckdb==2.0.1 polars==2.1.0
FIELDS='#fields ts bytes value ok'
TYPES='#types time count string bool'
# log FILE, records on standard input: a log of Zeek's, with tabs for blanks.
log() {
    {
        printf '#separator \\x09\n#set_separator ,\n#empty_field (empty)\n#unset_field -\n'
        printf '#path x\n#open 2026-01-01-00-00-00\n%s\n%s\n' "$FIELDS" "$TYPES"
        cat
        printf '#close 2026-01-01-01-00-00\n'
    } | sed '1!y/ /\t/' > "$1"
}

log irc.log <<'END'
1.000000 10 /a T
2.000000 20 /b#top T
3.000000 30 #chat F
END
FIELDS='#fields ts uri'
TYPES='#types time string'
log last.log <<'END'
1.000000 /a
2.000000 /b#top
3.000000 #chat
END
tools/bin/python - <<'EOF'
def check(what, seen, expected):
    print(what, seen)
    assert seen == expected, f"{what}: this has changed from {expected}"


import duckdb
import polars
from zeeklog2pandas import read_zeek

names = ["ts", "bytes", "value", "ok"]
frame = read_zeek("irc.log").astype(object)
rows = frame.where(frame.notna(), None)[["value", "ok"]].values.tolist()
check("zeeklog2pandas:", rows, [["/a", "T"], ["/b", None], [None, None]])
lines = polars.read_csv("irc.log", separator="\t", has_header=False, new_columns=names, comment_prefix="#")
check("polars:", lines.select("value", "ok").rows(), [("/a", "T"), ("/b#top", "T"), ("#chat", "F")])
options = "delim='\t', comment='#', header=false, quote='', escape=''"
rows = duckdb.sql(f"SELECT column1 FROM read_csv('last.log', {options})").fetchall()
check("DuckDB, the last column:", rows, [("/a",), ("/b",), (None,)])
try:
    duckdb.sql(f"FROM read_csv('irc.log', {options})").fetchall()
except duckdb.Error as error:
    check("DuckDB, with columns behind:", type(error).__name__, "InvalidInputException")
else:
    raise SystemExit("DuckDB: this has changed")
EOF
