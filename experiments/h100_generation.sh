#!/usr/bin/env bash
# Generation of the 7B shape beside transformers: experiments/h100_generation.sh OUT [RUN ...]
set -uo pipefail
out=${1:?usage: h100_generation.sh OUT [RUN ...]}; shift
export MEDVL_CACHE=${MEDVL_CACHE:-/tmp/medvl} PYTHONUNBUFFERED=1
letter="data=mtsamples data.limit=60 render=letter batch.tokens=8192"
declare -A runs=(
  [letter]="$letter bench.arms=[transformers,ours] bench.batches=[1,4,16,32] bench.width=3072 bench.rounds=2"
  [pages]="render=letter data.count=800 batch.tokens=8192 bench.arms=[transformers,ours] bench.batches=[32] bench.rounds=1 bench.pages=512 bench.new_tokens=8"
  [one]="$letter bench.arms=[ours] bench.batches=[1] bench.rounds=3"
  [bare]="$letter bench.arms=[transformers,ours] bench.batches=[1] bench.adapter=false bench.rounds=1"
  [arms]="$letter bench.arms=[transformers,static,eager,ours] bench.batches=[1,16] bench.rounds=1 bench.new_tokens=32"
  [slips]="data.limit=60 bench.arms=[transformers,ours] bench.batches=[1,64] bench.width=1024 bench.rounds=1"
)
[ $# -gt 0 ] || set -- letter pages bare arms slips
for name in "$@"; do
  time timeout 500 python3 benchmark.py model=qwen2_5_vl_7b model.init=random hardware=h200 logger=none bench=generate \
    trainer.bar=false hydra.run.dir="/tmp/runs/$name" ${runs[$name]} >"$out/$name.log" 2>&1
  echo "$name: exit $?"; tail -16 "$out/$name.log"
  cp "/tmp/runs/$name/benchmark.json" "$out/$name.json"; cp "/tmp/runs/$name/generation_speed.png" "$out/$name.png"
done
