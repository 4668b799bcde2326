#!/usr/bin/env bash
# Training of the 7B shape beside the baseline project's recipe, on one H200: experiments/h200_train_speed.sh OUT [PART ...]
set -uo pipefail
out=${1:?usage: h200_train_speed.sh OUT [PART ...]}; shift
export MEDVL_CACHE=${MEDVL_CACHE:-/tmp/medvl} PYTHONUNBUFFERED=1
shape=(experiment=seed_recipe lora=llm model=qwen2_5_vl_7b model.init=random hardware=h200 logger=none trainer.bar=false)
seed=(precision.vision=true precision.double_quant=true) # as the baseline project stored its base
part() { # NAME OVERRIDE ...
  timeout 300 python3 benchmark.py bench=train "${shape[@]}" hydra.run.dir="$out/$1" "${@:2}" >"$out/$1.log" 2>&1
  echo "$1: exit $?"; tail -10 "$out/$1.log"
}
mkdir -p "$out"
for name in ${*:-same16 cached32 resident32 memory16 lengths}; do
  case $name in
    same16) part same16 bench.tower_pages=0 "${seed[@]}" ;; # all arms on the 16 samples of one of the seed's steps
    cached32) part cached32 bench.samples=32 'bench.arms=[ours,cached]' bench.profile=true ;;
    resident32) part resident32 bench.samples=32 'bench.arms=[cached]' bench.tower_pages=0 precision.resident=true ;;
    memory16) part memory16 'bench.arms=[seed,cached]' bench.tower_pages=0 hardware.checkpointing=1 \
      optimizer=adamw_8bit bench.row_tokens=8192 "${seed[@]}" ;;
    lengths) part lengths 'bench.arms=[padded,packed]' bench.tower_pages=0 bench.samples=24 render=slip \
      data.overlong=split batch.tokens=2048 ;;
  esac
done
python3 experiments/collect.py "$out/train_speed.json" "$out"/*/
