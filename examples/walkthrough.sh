#!/usr/bin/env bash
# A walk through convertd's API with curl alone: submit, wait, batch, resume, cancel, repeat safely.
#
#   examples/walkthrough.sh [BASE_URL]       default: $CONVERTD_URL, else http://127.0.0.1:8080
#
# With API keys in use, put one into CONVERTD_KEY. Ends with status 0 only if everything went well.
set -euo pipefail

url="${1:-${CONVERTD_URL:-http://127.0.0.1:8080}}"
sample="$(cd "$(dirname "$0")" && pwd)/sample.png"
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
cd "$work"

auth=()
if [ -n "${CONVERTD_KEY:-}" ]; then
    auth=(-H "Authorization: Bearer $CONVERTD_KEY")
fi

api() { curl --silent --show-error --fail-with-body --max-time 60 ${auth[@]+"${auth[@]}"} "$@"; }
status() { curl --silent --output /dev/null --write-out '%{http_code}' --max-time 60 ${auth[@]+"${auth[@]}"} "$@"; }
step() { printf '\n== %s\n' "$*"; }
die() { printf 'walkthrough: %s\n' "$*" >&2; exit 1; }

# The first value of a text field in a JSON document on standard input. jq does this better; not all have it.
field() {
    local document
    document="$(cat)"
    grep -o "\"$1\":\"[^\"]*\"" <<<"$document" | sed -n "1s/^\"$1\":\"\(.*\)\"$/\1/p"
}
# All values of a field of the outputs, one a line.
of_outputs() { sed 's/.*"outputs":\[{/{/' | grep -o "\"$1\":\"[^\"]*\"" | cut -d'"' -f4; }

step "One file in, one file out"
api -T "$sample" "$url/convert?to=webp" -o sample.webp
[ -s sample.webp ] || die "there is no sample.webp"
ls -l sample.webp

step "A job: accepted at once, waited for, downloaded by its signed link"
api -T "$sample" "$url/jobs?to=jpg&quality=80&filename=sample.png" -o job.json
id="$(field id <job.json)"
echo "job $id is $(field status <job.json)"
while :; do
    api -H 'Prefer: wait=30' "$url/jobs/$id" -o job.json
    state="$(field status <job.json)"
    case "$state" in
        queued | running) ;;
        succeeded) break ;;
        *) die "the job is $state: $(field message <job.json)" ;;
    esac
done
curl -sS --fail -o sample.jpg "$(of_outputs url <job.json | head -n 1)"
ls -l sample.jpg

step "A batch: two files to two formats are four files"
api -F file=@"$sample" -F file=@sample.jpg -F to=webp -F to=gif -F width=200 \
    -H 'Prefer: wait=30' "$url/jobs" -o batch.json
[ "$(field status <batch.json)" = succeeded ] || die "the batch is $(field status <batch.json)"
[ "$(of_outputs url <batch.json | wc -l)" = 4 ] || die "the batch has not made four files"
of_outputs url <batch.json >links
of_outputs name <batch.json >names
paste links names | while read -r link name; do
    number=$((${number:-0} + 1))
    curl -sS --fail -o "$number-$name" "$link"
    ls -l "$number-$name"
done

step "A download that broke off goes on where it stopped, and is checked"
api -T "$sample" -H 'Prefer: wait=30' "$url/jobs?to=bmp" -o big.json
link="$(of_outputs url <big.json | head -n 1)"
curl -sS --fail -r 0-99999 -o big.bmp "$link"
curl -sS --fail -C - -o big.bmp "$link"
echo "$(of_outputs sha256 <big.json | head -n 1)  big.bmp" | sha256sum --check

step "A repeated request is one job"
key="walkthrough-$$-$(date +%s)"
for _ in 1 2; do
    api -T "$sample" -H "Idempotency-Key: $key" -D head.txt "$url/jobs?to=png&width=100" -o again.json
    field id <again.json >>ids
done
[ "$(sort -u ids | wc -l)" = 1 ] || die "two jobs came of one key"
grep -i '^idempotent-replayed: true' head.txt || die "the second answer was not a replay"
code="$(status -T "$sample" -H "Idempotency-Key: $key" "$url/jobs?to=png&width=101")"
[ "$code" = 422 ] || die "another request with the same key got $code instead of 422"
echo "the same key with another request: $code"

step "A job can be cancelled, and run again"
api -T "$sample" "$url/jobs?to=avif&filename=sample.png" -o cancel.json
id="$(field id <cancel.json)"
code="$(status -X DELETE "$url/jobs/$id")"
case "$code" in
    200)
        api "$url/jobs/$id" | field status
        api -X POST "$url/jobs/$id/retry" -o /dev/null
        ;;
    409) echo "it had ended before it could be cancelled" ;;
    *) die "cancelling got $code" ;;
esac

step "A mistake is explained"
code="$(status -T "$sample" "$url/jobs?to=webp&quality=1000")"
[ "$code" = 400 ] || die "a wrong option got $code instead of 400"
curl -sS ${auth[@]+"${auth[@]}"} -T "$sample" "$url/jobs?to=webp&quality=1000"

printf '\n\nAll went well.\n'
