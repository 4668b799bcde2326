"""Fused layers and elementwise operations that make training steps fast."""
