"""What people type who come from other frameworks, and what it is called here."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

OVERRIDES = {
    **dict.fromkeys(("lr", "learning_rate", "max_lr", "peak_lr"), "optimizer.lr"),
    **dict.fromkeys(("wd", "weight_decay"), "optimizer.weight_decay"),
    **dict.fromkeys(("optim", "optimiser"), "optimizer"),
    **dict.fromkeys(("epochs", "num_epochs", "max_epochs", "num_train_epochs", "n_epochs"), "trainer.epochs"),
    **dict.fromkeys(("steps", "max_steps", "num_steps", "num_train_steps", "iterations", "iters"), "trainer.max_steps"),
    **dict.fromkeys(
        ("batch_size", "bs", "micro_batch_size", "per_device_train_batch_size", "train_batch_size"),
        "batch.tokens (the tokens of a row) or trainer.accumulate (the rows of a step)",
    ),
    **dict.fromkeys(
        ("max_length", "max_seq_length", "max_seq_len", "seq_len", "cutoff_len", "context_length", "model_max_length"),
        "batch.tokens",
    ),
    **dict.fromkeys(
        ("gradient_accumulation_steps", "accumulate_grad_batches", "grad_accum", "accumulate"), "trainer.accumulate"
    ),
    **dict.fromkeys(("grad_clip", "max_grad_norm", "gradient_clip_val", "clip"), "trainer.clip"),
    **dict.fromkeys(("warmup", "warmup_ratio", "warmup_steps"), "trainer.warmup"),
    **dict.fromkeys(("save_steps", "save_every", "checkpoint_every"), "trainer.save_every"),
    **dict.fromkeys(("eval_steps", "val_every", "val_check_interval", "eval_interval"), "trainer.validate_every"),
    **dict.fromkeys(("save_total_limit", "keep"), "trainer.keep"),
    **dict.fromkeys(("gpus", "devices", "num_gpus", "n_gpus", "nproc_per_node"), "trainer.devices"),
    **dict.fromkeys(("nodes", "num_nodes", "nnodes"), "trainer.nodes"),
    **dict.fromkeys(("strategy", "fsdp", "ddp", "deepspeed"), "trainer.strategy"),
    **dict.fromkeys(("lora_rank", "lora_r", "rank", "r"), "lora.r"),
    **dict.fromkeys(("lora_alpha", "alpha"), "lora.alpha"),
    **dict.fromkeys(("lora_dropout", "dropout"), "lora.dropout"),
    **dict.fromkeys(("target_modules", "lora_target", "lora_target_modules"), "lora.language"),
    **dict.fromkeys(("use_dora", "dora"), "lora.dora"),
    **dict.fromkeys(("use_rslora", "rslora"), "lora.rslora"),
    **dict.fromkeys(
        ("model_name", "model_name_or_path", "base_model", "model_id", "pretrained"), "model or model.path"
    ),
    **dict.fromkeys(("model_path", "checkpoint", "ckpt"), "model.path, run or resume"),
    **dict.fromkeys(("resume_from_checkpoint", "ckpt_path", "resume_from"), "resume"),
    **dict.fromkeys(
        ("quantization", "quantization_bit", "load_in_4bit", "load_in_8bit", "bits", "dtype", "torch_dtype", "bf16"),
        "precision",
    ),
    **dict.fromkeys(("fp16", "nf4", "qlora"), "precision"),
    **dict.fromkeys(("dataset", "dataset_name", "train_file", "dataset_path", "data_path"), "data or data.path"),
    **dict.fromkeys(("max_samples", "max_train_samples", "num_samples"), "data.limit"),
    **dict.fromkeys(("max_eval_samples", "eval_samples"), "eval.limit"),
    **dict.fromkeys(("max_new_tokens", "max_tokens", "generation_max_length"), "eval.max_new_tokens"),
    **dict.fromkeys(("eval_batch_size", "per_device_eval_batch_size"), "eval.batch"),
    **dict.fromkeys(("image_size", "resolution", "image_max_pixels", "max_pixels"), "model.max_pixels or render"),
    **dict.fromkeys(("min_pixels", "image_min_pixels"), "model.min_pixels"),
    **dict.fromkeys(("dpi", "font_size"), "render.dpi or render.font_pt"),
    **dict.fromkeys(("gradient_checkpointing", "activation_checkpointing"), "hardware.checkpointing"),
    **dict.fromkeys(("attn_implementation", "flash_attn", "attention"), "hardware.attention"),
    **dict.fromkeys(("num_workers", "dataloader_num_workers", "workers"), "hardware.workers"),
    **dict.fromkeys(("device", "cuda", "accelerator"), "hardware.device"),
    **dict.fromkeys(("torch_compile", "compile"), "hardware.compile"),
    **dict.fromkeys(("report_to", "wandb", "tracker"), "logger"),
    **dict.fromkeys(("project", "wandb_project"), "logger.project"),
    **dict.fromkeys(("entity", "wandb_entity"), "logger.entity"),
    **dict.fromkeys(("tags", "wandb_tags"), "logger.tags"),
    **dict.fromkeys(("run_name", "wandb_name", "wandb_run_name", "experiment_name"), "logger.name"),
    **dict.fromkeys(("notes", "wandb_notes"), "logger.notes"),
    **dict.fromkeys(("group", "wandb_group"), "logger.group"),
    **dict.fromkeys(("output_dir", "out_dir", "output", "save_dir"), "hydra.run.dir"),
    **dict.fromkeys(("random_seed", "manual_seed"), "seed"),
    **dict.fromkeys(("port", "host"), "serve.port or serve.host"),
    **dict.fromkeys(("cache_dir",), "cache"),
}
# Words for a verb of medvl or a script
VERBS = {
    **dict.fromkeys(("train", "fit", "finetune", "resume"), "python train.py"),
    **dict.fromkeys(("evaluate", "eval", "test", "predict"), "python evaluate.py"),
    **dict.fromkeys(("benchmark", "bench"), "python benchmark.py"),
    **dict.fromkeys(("sweep", "tune"), "python train.py -m"),
    **dict.fromkeys(("list", "ls", "ps", "history"), "medvl runs"),
    **dict.fromkeys(("view", "browse", "open"), "medvl show"),
    **dict.fromkeys(("merge", "convert"), "medvl export"),
    **dict.fromkeys(("upload", "publish"), "medvl push"),
    **dict.fromkeys(("rm", "prune", "gc", "purge"), "medvl clean"),
}


def unknown_verb(verb: str, verbs: Sequence[str]) -> str:
    """Say that medvl has no such verb, and which was meant."""
    if verb.startswith("-"):
        return f"there is no option {verb}. medvl --help lists the verbs."
    close = difflib.get_close_matches(verb, verbs, n=1)
    said = VERBS.get(verb) or (f"medvl {close[0]}" if close else None)
    return f"there is no medvl {verb}. {f'Meant: {said}? ' if said else ''}medvl --help lists what there is."
