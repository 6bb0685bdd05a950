#!/usr/bin/env bash
# Downloads one file through Hugging Face's Xet crates, and the same bytes by plain HTTP.
# One line a download: wall and CPU seconds (user + system) and peak memory of the client, bytes over the loopback.
#   MIB=1024 ROUNDS=3 benches/xet/run.sh       needs nginx, python3, GNU time, and root for a network namespace
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
if [[ -z ${XET_BENCH_ALONE:-} ]]; then
  (cd "$here" && cargo build --release --locked --quiet)
  # Alone on its loopback, so that the interface's counters count this and nothing else.
  XET_BENCH_ALONE=1 exec unshare --net "$0" "$@"
fi
ip link set lo up
mib=${MIB:-1024} rounds=${ROUNDS:-3}
bench=$(ls "$here"/target/*/release/xet-bench)
work=$(mktemp -d /dev/shm/xet-bench.XXXXXX)
export HF_XET_CACHE=$work/cache HF_XET_TELEMETRY_ENABLED=0
servers=()
trap 'kill ${servers[@]+"${servers[@]}"} 2> /dev/null; wait; rm -rf "$work"' EXIT
mkdir -p "$work"/{www,cas,out,hub/hf/acme/{cdn,xet,slow}/.hub}

# Weights as most models have them: bfloat16, normally distributed. The second version has a tenth of the first anew.
python3 - "$mib" "$work/www" <<'PY'
import random, statistics, struct, sys
mib, www = int(sys.argv[1]), sys.argv[2]
normal = statistics.NormalDist(0, 0.02)
high = bytes(struct.pack(">f", normal.inv_cdf((i + 0.5) / 256))[0] for i in range(256))
made = random.Random(1)
def weights(size):
    size -= size % 2
    piece = bytearray(size)
    piece[0::2], piece[1::2] = made.randbytes(size // 2), made.randbytes(size // 2).translate(high)
    return piece
parts = [weights(mib << 16) for _ in range(16)]
def write(name, parts):
    with open(f"{www}/{name}", "wb") as file:
        file.writelines(parts)
write("v1.bin", parts)
for changed in (5, 11):
    parts[changed] = weights((mib << 16) * 4 // 5)
write("v2.bin", parts)
PY

listens() { until (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; do sleep 0.1; done; }
received() { awk '/lo:/ {print $2}' /proc/net/dev; }

"$bench" serve "$work/cas" 9001 & servers+=($!)
listens 9001
declare -A hash size
for file in v1.bin v2.bin; do
  before=$(received)
  hash[$file]=$("$bench" upload http://127.0.0.1:9001 "$work/www/$file")
  size[$file]=$(stat -c %s "$work/www/$file")
  echo "$file: ${size[$file]} bytes, $((($(received) - before) >> 20)) MiB uploaded"
done

# Their server reads a whole xorb for every range of it, which a CDN does not: nginx sends those bytes from the same files.
xorbs=$(find "$work/cas" -type f -name 'default.*' ! -name '*.tagset')
{
  echo "daemon off; pid $work/nginx.pid; error_log $work/nginx.log; worker_processes 2; user root; events {}"
  echo 'http { sendfile on; access_log off; map_hash_bucket_size 512;'
  echo '  map $arg_term $xorb {'
  for xorb in $xorbs; do
    # The first 63 digits of a hash are 84 of base64, whatever follows.
    name=${xorb##*/default.}
    echo "    ~^$(printf %s "${name:0:63}" | base64 -w0) $xorb;"
  done
  echo '  }'
  for limited in '9002 9003 0' '9004 9005 50m'; do
    read -r plain storage rate <<< "$limited"
    echo "  server { listen 127.0.0.1:$plain; limit_rate $rate; root $work/www; }"
    echo "  server { listen 127.0.0.1:$storage; limit_rate $rate;"
    echo '    location / { proxy_pass http://127.0.0.1:9001; proxy_set_header Host $http_host; }'
    echo '    location = /v1/fetch_term { root /; rewrite ^ $xorb break; } }'
  done
  echo '}'
} > "$work/nginx.conf"
nginx -c "$work/nginx.conf" & servers+=($!)
listens 9003
cas=http://127.0.0.1:9003 slow=http://127.0.0.1:9005 f=v2.bin

for repo in cdn xet slow; do ln -s "$work/www/$f" "$work/hub/hf/acme/$repo/$f"; done
sha256=$(sha256sum "$work/www/$f" | cut -d' ' -f1)
describe() { echo "{\"xet\": {\"casUrl\": \"$1\", \"hashes\": {\"$sha256\": \"${hash[$f]}\"}}}"; }
describe $cas > "$work/hub/hf/acme/xet/.hub/repo.json"
describe $slow > "$work/hub/hf/acme/slow/.hub/repo.json"
"$bench" hub "$work/hub" > "$work/hub.url" & servers+=($!)
until [[ -s $work/hub.url ]]; do sleep 0.1; done
hub=$(cat "$work/hub.url")

measure() { # WHAT FILE COMMAND…
  local what=$1 file=$2 before after result code=0; shift 2
  rm -rf "$work"/out/*
  before=$(received)
  command time -o "$work/time" -f '%e s  %U+%S CPU-s  %M KiB' "$@" > "$work/log" 2>&1 || code=$?
  after=$(received)
  find "$work/out" -mindepth 2 -name "$file" -exec mv {} "$work/out/" \;
  if [[ ! -e $work/out/$file ]]; then result=absent
  elif cmp -s "$work/www/$file" "$work/out/$file"; then result=right
  else result=WRONG; fi
  printf '%-40s %-40s %5d MiB  exit %d, bytes %s\n' \
    "$what" "$(tail -1 "$work/time")" $(((after - before) >> 20)) "$code" "$result"
  [[ $code == 0 ]] || tail -2 "$work/log"
}
pull() { # WHAT [VARIABLE=VALUE…]
  local what=$1; shift
  measure "$what" $f env "$@" "$bench" pull "${from:-$cas}" "${hash[$f]}" "${size[$f]}" "$work/out/$f"
}

buffer=HF_XET_RECONSTRUCTION_DOWNLOAD_BUFFER
small=("${buffer}_SIZE=32mb" "${buffer}_PERFILE_SIZE=0" "${buffer}_LIMIT=32mb")
one=(HF_XET_CLIENT_AC_INITIAL_DOWNLOAD_CONCURRENCY=1 HF_XET_CLIENT_AC_MAX_DOWNLOAD_CONCURRENCY=1)
for ((round = 1; round <= rounds; round++)); do
  echo "round $round, load $(cut -d' ' -f1 /proc/loadavg)"
  measure "model-loader, hub's CDN" $f "$bench" load "$hub" acme/cdn "$work/out/m"
  measure "model-loader, URL from nginx" $f "$bench" load-url http://127.0.0.1:9002/$f "$work/out/m"
  measure "model-loader, feature xet" $f "$bench" load "$hub" acme/xet "$work/out/m"
  pull "crates, as they come" A=
  pull "crates, high performance" HF_XET_HIGH_PERFORMANCE=1
  pull "crates, buffers of 32 MB" "${small[@]}"
  pull "crates, 32 MB, one connection" "${small[@]}" "${one[@]}"
  for shape in "8 4" "8 2" "4 8" "4 4"; do
    read -r range streams <<< "$shape"
    measure "crates, ranges of $range MiB, $streams at once" $f \
      "$bench" stream $cas "${hash[$f]}" "${size[$f]}" "$work/out/$f" $((range << 20)) "$streams"
  done
  echo "50 MiB/s a connection"
  measure "model-loader, URL from nginx" $f "$bench" load-url http://127.0.0.1:9004/$f "$work/out/m"
  measure "model-loader, feature xet" $f "$bench" load "$hub" acme/slow "$work/out/m"
  from=$slow pull "crates, as they come" A=
  from=$slow pull "crates, buffers of 32 MB" "${small[@]}"
done

flip() { # FILE OFFSET
  python3 -c 'import sys
with open(sys.argv[1], "r+b") as file:
    file.seek(int(sys.argv[2])); byte = file.read(1)[0]; file.seek(int(sys.argv[2])); file.write(bytes([byte ^ 1]))' "$@"
}
xorb=$(ls -S $xorbs | head -1)
middle=$(($(stat -c %s "$xorb") / 2))
flip "$xorb" $middle
echo "byte $middle of $(stat -c %s "$xorb") of one xorb is changed"
pull "crates, one byte changed" A=
measure "model-loader, feature xet, one changed" $f "$bench" load "$hub" acme/xet "$work/out/m"
