#!/bin/sh
# DuckDB 2.0.1 and polars 2.1.0: Zeek's JSON omits unset fields, and both readers infer the fields of the whole
# file from its start (20,480 records and 100). If a field is first set later, as `tunnel_parents` may be, the
# result does not have it at all, without a warning or an error. With `sample_size = -1` and
# `infer_schema_length=None` they read the whole file first.
#
# Seen: the fields are ts, uid and tunnel_parents, the last one first set in record 30,000 (DuckDB) or 200 (polars).
# Both return ts and uid.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
export TZ=UTC
python3 -m venv tools
tools/bin/pip install --quiet --disable-pip-version-check duckdb==2.0.1 polars==2.1.0
tools/bin/python - <<'EOF'
def check(what, seen, expected):
    print(what, seen)
    assert seen == expected, f"{what}: this has changed from {expected}"


import json

import duckdb
import polars


def log(name, records, late):
    with open(name, "w") as file:
        for number in range(records):
            record = {"ts": 1700000000.5 + number, "uid": f"C{number}"}
            if number >= late:
                record["tunnel_parents"] = ["CT"]
            print(json.dumps(record), file=file)


def fields(options=""):
    return duckdb.sql(f"FROM read_json('long.log'{options})").columns


log("long.log", 40_000, 30_000)
log("short.log", 300, 200)
few, all_of_them = ["ts", "uid"], ["ts", "uid", "tunnel_parents"]
check("DuckDB:", fields(), few)
check("DuckDB, sample_size = -1:", fields(", sample_size = -1"), all_of_them)
check("DuckDB, records:", duckdb.sql("SELECT count(*) FROM read_json('long.log')").fetchall(), [(40_000,)])
check("polars:", polars.read_ndjson("short.log").columns, few)
check("polars, all of it:", polars.read_ndjson("short.log", infer_schema_length=None).columns, all_of_them)
EOF
