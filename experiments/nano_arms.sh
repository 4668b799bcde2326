#!/usr/bin/env bash
# What fine-tuning does to nano, four ways and three seeds each, beside nano as it is.
#   experiments/nano_arms.sh OUT [JOBS [OVERRIDE ...]]     JOBS runs at a time, 1 unless told
# Ends with OUT/nano_arms.json and the table of experiments/nano_arms.py. A run that is there is not repeated.
set -uo pipefail
out=${1:?usage: nano_arms.sh OUT [JOBS [OVERRIDE ...]]}; jobs=${2:-1}; shift; shift || true
export MEDVL_CACHE=${MEDVL_CACHE:-$out/cache} PYTHONUNBUFFERED=1
mkdir -p "$out/runs"
pages=(eval=evaluation_slips replay=none 'ablation=[]' logger=none)
one() { # ARM SEED OVERRIDE ...
  local run=$out/runs/$1-$2
  [ -e "$run/pages/metrics.json" ] && return
  python3 train.py experiment="$1" seed="$2" logger=none trainer.bar=false force=true hydra.run.dir="$run" "${@:3}" &&
    python3 evaluate.py run="$run" "${pages[@]}" hydra.run.dir="$run/pages"
}
start() { # NAME COMMAND ...
  while [ "$(jobs -rp | wc -l)" -ge "$jobs" ]; do wait -n; done
  { "${@:2}" >"$out/$1.log" 2>&1; echo "$1: exit $?"; } &
}
start base python3 evaluate.py "${pages[@]}" hydra.run.dir="$out/runs/base/pages" "$@"
for seed in 1 2 3; do
  for arm in nano_forms nano_notes nano_notes_shrunk nano_mixture; do start "$arm-$seed" one "$arm" "$seed" "$@"; done
done
wait
python3 experiments/nano_arms.py "$out"
