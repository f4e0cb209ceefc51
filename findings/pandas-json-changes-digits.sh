#!/bin/sh
# pandas 3.1.1: `read_json(lines=True)`, which zat 0.4.9 uses to read Zeek's JSON logs, changes values. If every
# value of a column is text made of digits, it becomes a number: a serial number `00` becomes 0, a user `0012`
# becomes 12, a mark `1E5` becomes 100000.0. Numbers with more than 15 digits, as Zeek writes durations, lose their
# last digits: in recorded traffic, 1002 of 1230 durations. With `dtype=False` and `precise_float=True` pandas reads
# the values unchanged; so do polars and DuckDB.
#
# Seen: serial 0, user 12, mark 100000.0, duration 0.12134599685668901 for 0.12134599685668945.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
export TZ=UTC
python3 -m venv tools
tools/bin/pip install --quiet --disable-pip-version-check pandas==3.1.1
cat > x.log <<'END'
{"serial":"00","user":"0012","mark":"1E5","duration":0.12134599685668945}
{"serial":"0100","user":"0007","mark":"2E10","duration":0.018999999999999906}
END
tools/bin/python - <<'EOF'
def check(what, seen, expected):
    print(what, seen)
    assert seen == expected, f"{what}: this has changed from {expected}"


import pandas

fields = ["serial", "user", "mark"]
frame = pandas.read_json("x.log", lines=True)
check("text:", frame[fields].iloc[0].tolist(), [0, 12, 100000.0])
exact = [0.12134599685668945, 0.018999999999999906]
print("durations:", frame["duration"].tolist())
assert all(seen != written for seen, written in zip(frame["duration"], exact)), "this has changed"
frame = pandas.read_json("x.log", lines=True, dtype=False, precise_float=True)
check("text, with dtype=False:", frame[fields].iloc[0].tolist(), ["00", "0012", "1E5"])
check("durations, with precise_float=True:", frame["duration"].tolist(), exact)
EOF
