"""Architectures and nano's tokenizer; the weights of larger models come from the hub or a folder."""
