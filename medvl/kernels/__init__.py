"""What makes a training step fast on every composition: layers as few products, passes over memory fused."""
