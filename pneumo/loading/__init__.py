"""From the table's rows to batches on the device: order, augmentation parameters and the two loaders."""
