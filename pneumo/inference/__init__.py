"""From images to masks: prediction, prediction histograms, decision rules, metrics and ensembling."""
