#!/usr/bin/env bash
# The spine on one H200 (7B shape, random weights): experiments/h200_spine.sh OUT
# Writes train.json, seed_memory.json, bench_*.json and logs below OUT.
set -uo pipefail
out=${1:?usage: h200_spine.sh OUT}; export MEDVL_CACHE=${MEDVL_CACHE:-/tmp/medvl} PYTHONUNBUFFERED=1
python3 -m pytest -q -m gpu tests >"$out/pytest.log" 2>&1; tail -3 "$out/pytest.log"
run() { # name script overrides...
  local name=$1 script=$2; shift 2
  timeout 200 python3 "$script" "$@" hydra.run.dir=/tmp/runs/$name >"$out/$name.log" 2>&1
  echo "$name: exit $?"; tail -25 "$out/$name.log"
}
run seed_memory train.py model=qwen2_5_vl_7b model.init=random precision=nf4 precision.vision=true trainer.max_steps=5 \
  hardware=h200 logger=none eval.limit=4 eval.max_new_tokens=16
run bench_nf4 benchmark.py experiment=speed_7b bench.repeats=5
run bench_bf16 benchmark.py experiment=speed_7b precision=bf16 bench.repeats=5
python3 experiments/collect.py "$out/h200_spine.json" /tmp/runs/*
