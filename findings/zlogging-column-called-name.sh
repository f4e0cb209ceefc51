#!/bin/sh
# zlogging 0.1.3.post10: a log with a column `name` cannot be read, in TSV or JSON. `weird.log`, `software.log` and
# `smb_files.log`, which every Zeek writes, have one. zlogging passes the columns as keyword arguments to a function
# whose first parameter is also called `name`.
#
# Seen: TypeError: new_model() got multiple values for argument 'name'
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
export TZ=UTC
python3 -m venv tools
tools/bin/pip install --quiet --disable-pip-version-check zlogging==0.1.3.post10
FIELDS='#fields ts uid name'
TYPES='#types time string string'
# log FILE, records on standard input: a log of Zeek's, with tabs for blanks.
log() {
    {
        printf '#separator \\x09\n#set_separator ,\n#empty_field (empty)\n#unset_field -\n'
        printf '#path x\n#open 2026-01-01-00-00-00\n%s\n%s\n' "$FIELDS" "$TYPES"
        cat
        printf '#close 2026-01-01-01-00-00\n'
    } | sed '1!y/ /\t/' > "$1"
}

echo '1.000000 C1 dns_unmatched_reply' | log weird.log
FIELDS='#fields ts uid names'
echo '1.000000 C1 dns_unmatched_reply' | log other.log
echo '{"ts":1.0,"uid":"C1","name":"dns_unmatched_reply"}' > weird.json
tools/bin/python - <<'EOF'
def check(what, seen, expected):
    print(what, seen)
    assert seen == expected, f"{what}: this has changed from {expected}"


import warnings

from zlogging.loader import parse

warnings.simplefilter("ignore")
check("records with a column `names`:", len(parse("other.log").data), 1)
for file in ("weird.log", "weird.json"):
    try:
        parse(file)
    except TypeError as error:
        check(f"{file}:", str(error), "new_model() got multiple values for argument 'name'")
    else:
        raise SystemExit(f"{file}: this has changed")
EOF
