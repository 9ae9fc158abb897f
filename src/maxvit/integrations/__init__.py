"""Where people already are: our networks as timm's, as transformers' and as scikit-learn's."""
