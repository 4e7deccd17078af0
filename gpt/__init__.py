"""GPT-2 on tinygrad_edu: model, tokenizers, data, training and generation."""
