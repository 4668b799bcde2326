#!/usr/bin/env bash
# nano fine-tuned on JSON from 4,000 clinical forms, and how far its values can be trusted:
# experiments/h100_nano_json.sh OUT SECONDS (of training)
set -uo pipefail
out=${1:?usage: h100_nano_json.sh OUT SECONDS}; seconds=${2:?usage: h100_nano_json.sh OUT SECONDS}
export MEDVL_CACHE=${MEDVL_CACHE:-/tmp/medvl} PYTHONUNBUFFERED=1
asked="data=clinical_forms data.tasks=[json] data.count=4000 batch.tokens=32768 hardware=h200 hardware.workers=14 optimizer.lr=1e-3"
quiet="replay=none eval.before=false audit=off logger=none trainer.bar=false trainer.epochs=null"
time python3 train.py $asked $quiet eval.limit=8 trainer.max_steps=100 hydra.run.dir=/tmp/runs/rate >"$out/rate.log" 2>&1
steps=$(python3 - "$seconds" <<'END'
import json, statistics, sys
rows = [json.loads(line) for line in open("/tmp/runs/rate/metrics.jsonl")]
rows = [row for row in rows if "speed/tokens_per_s" in row][40:]
print(int(float(sys.argv[1]) * statistics.median(row["speed/tokens_per_s"] for row in rows) / 32768))
END
)
echo "$steps steps"
time python3 train.py $asked $quiet eval.limit=60 trainer.max_steps=$steps trainer.save_every=500 trainer.keep=1 hydra.run.dir=/tmp/runs/json >"$out/train.log" 2>&1
echo "train: exit $?"; tail -25 "$out/train.log"
time timeout 100 python3 -m medvl.cli calibrate run=/tmp/runs/json eval.limit=300 logger=none >"$out/calibrate.log" 2>&1
echo "calibrate: exit $?"; tail -22 "$out/calibrate.log"
tar czf "$out/run.tar.gz" -C /tmp/runs --exclude='trainer*' --exclude='optimizer*' json
time timeout 60 python3 evaluate.py run=/tmp/runs/json eval.constrained=true eval.limit=60 ablation=[] replay=none logger=none >"$out/evaluate.log" 2>&1
echo "evaluate: exit $?"; tail -22 "$out/evaluate.log"
