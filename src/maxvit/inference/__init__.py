"""What one does with a trained network: predict, evaluate, explain, report."""
