"""Fused layers and elementwise operations that make steps and prefill fast."""
