"""What people look at: TensorBoard curves, tables, overlay pictures."""
