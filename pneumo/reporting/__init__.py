"""What people look at: TensorBoard curves, pictures of masks, and the outputs of job/predict.py."""
