"""Prediction of millions of images into one file."""
