"""From probabilities to masks: evidence, thresholds, prediction and ensembling."""
