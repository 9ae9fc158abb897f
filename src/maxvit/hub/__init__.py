"""The Hugging Face Hub: getting files from it, and putting networks there."""
