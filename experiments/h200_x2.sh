#!/usr/bin/env bash
# DDP and FSDP on two GPUs: experiments/h200_x2.sh OUT
# The same composition on one device and on two (equal rows a step), and full fine-tuning sharded by FSDP.
set -uo pipefail
out=${1:?usage: h200_x2.sh OUT}; export MEDVL_CACHE=${MEDVL_CACHE:-/tmp/medvl} PYTHONUNBUFFERED=1 NCCL_NVLS_ENABLE=0
run() { # name overrides...
  local name=$1; shift
  timeout 120 python3 train.py logger=none hardware=h200 eval.limit=2 eval.max_new_tokens=8 trainer.bar=false "$@" \
    hydra.run.dir=/tmp/runs/$name >"$out/$name.log" 2>&1
  echo "$name: exit $?"; tail -9 "$out/$name.log"
}
nano="precision=bf16 trainer.max_steps=6 batch.tokens=2048 lora.r=8"
big="model=qwen2_5_vl_7b model.init=random precision=nf4 batch.tokens=8192 trainer.max_steps=8 trainer.validation_rows=1"
run fsdp_3b model=qwen2_5_vl_3b model.init=random lora=none precision=bf16 trainer.strategy=fsdp trainer.devices=2 \
  trainer.max_steps=3 trainer.validation_rows=1 eval.before=false batch.tokens=4096
run ddp_7b $big trainer.devices=2
run one_7b $big
run one_gpu $nano trainer.accumulate=2
run ddp $nano trainer.devices=2
pkill -f train.py; python3 experiments/collect.py "$out/h200_x2.json" /tmp/runs/*
