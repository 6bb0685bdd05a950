# Downloads one file into $MODEL_DIR/$MODEL_FILE.
# This text is constant. What a user wrote arrives in MODEL_URL, MODEL_FILE and MODEL_SHA256; TOKEN, or USERNAME and
# PASSWORD, come from the secret MODEL_SECRET. They reach curl on its standard input, because everybody can read
# arguments. curl does not send the header to another origin when it is redirected.
fail() {
  echo "$1" >&2
  exit 1
}
umask 022
mkdir -p "$MODEL_DIR"
case "$MODEL_URL" in
http://* | https://*) ;;
*) fail "not an http or https address: $MODEL_URL" ;;
esac
partial="$MODEL_DIR/.download.partial"
set -- --fail --location --globoff --proto '=http,https' --silent --show-error \
  --connect-timeout 30 --speed-limit 1024 --speed-time 60 --retry 3 --retry-connrefused \
  --output "$partial" --url "$MODEL_URL"
# $(…) drops the newline that many secrets end with.
token=$(printf '%s' "${TOKEN:-}")
user=$(printf '%s' "${USERNAME:-}")
password=$(printf '%s' "${PASSWORD:-}")
if [ -n "$token" ]; then
  if [ "$(printf '%s' "$token" | tr -d '[:cntrl:]')" != "$token" ]; then
    fail "TOKEN in secret $MODEL_SECRET has a control character in it"
  fi
  printf 'Authorization: Bearer %s\n' "$token" | curl --header @- "$@"
elif [ -n "$user" ]; then
  basic=$(printf '%s:%s' "$user" "$password" | base64 | tr -d '\n')
  printf 'Authorization: Basic %s\n' "$basic" | curl --header @- "$@"
elif [ -n "${MODEL_SECRET:-}" ]; then
  fail "secret $MODEL_SECRET does not exist or has neither TOKEN nor USERNAME and PASSWORD"
else
  curl "$@"
fi
if [ -n "${MODEL_SHA256:-}" ]; then
  actual=$(sha256sum <"$partial")
  actual=${actual%% *}
  if [ "$actual" != "$MODEL_SHA256" ]; then
    rm -f "$partial"
    fail "the file has SHA-256 $actual, but sha256 in the spec is $MODEL_SHA256"
  fi
fi
mv -f "$partial" "$MODEL_DIR/$MODEL_FILE"
