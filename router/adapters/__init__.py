"""LoRA adapters of managed models: their versions, and what each engine has loaded."""
