"""What people look at: TensorBoard events, pictures of masks, and the outputs of job/predict.py."""
