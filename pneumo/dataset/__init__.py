"""The dataset on disk: its layout, its table, its shards, and how it is built."""
