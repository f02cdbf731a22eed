"""The default model: a compact encoder and TG-DFER's window head, trained on FER+ votes."""
