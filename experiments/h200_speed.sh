#!/usr/bin/env bash
# The committed experiment as a run: experiments/h200_speed.sh OUT
set -uo pipefail
out=${1:?usage: h200_speed.sh OUT}; export MEDVL_CACHE=${MEDVL_CACHE:-/tmp/medvl} PYTHONUNBUFFERED=1
time timeout 200 python3 train.py experiment=speed_7b trainer.bar=false hydra.run.dir=/tmp/runs/speed_7b >"$out/train.log" 2>&1
echo "train: exit $?"; tail -12 "$out/train.log"
python3 experiments/collect.py "$out/h200_speed.json" /tmp/runs/*
