"""What makes the network fast, applied from outside: delete this folder and the model still works."""
