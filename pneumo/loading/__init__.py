"""From the table's rows to batches on the device: order, augmentation and the two loaders."""
