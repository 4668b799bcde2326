#!/usr/bin/env bash
# Generation of the 7B shape beside transformers: experiments/h100_generation.sh OUT
set -uo pipefail
out=${1:?usage: h100_generation.sh OUT}; export MEDVL_CACHE=${MEDVL_CACHE:-/tmp/medvl} PYTHONUNBUFFERED=1
run() {
  local name=$1; shift
  time timeout 400 python3 benchmark.py model=qwen2_5_vl_7b model.init=random hardware=h200 logger=none bench=generate \
    trainer.bar=false hydra.run.dir="/tmp/runs/$name" "$@" >"$out/$name.log" 2>&1
  echo "$name: exit $?"; tail -14 "$out/$name.log"
  cp "/tmp/runs/$name/benchmark.json" "$out/$name.json"; cp "/tmp/runs/$name/generation_speed.png" "$out/$name.png"
}
letter="data=mtsamples data.limit=60 render=letter batch.tokens=8192"
run letter $letter bench.arms=[transformers,ours] bench.batches=[1,32] bench.width=3072 bench.rounds=2 bench.pages=96 bench.page_tokens=300
run bare $letter bench.arms=[transformers,ours] bench.batches=[1] bench.adapter=false
run slips data.limit=60 bench.arms=[transformers,ours] bench.batches=[1,64] bench.width=1024 bench.rounds=2
