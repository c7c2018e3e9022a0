"""Recipe of the bundled NLI model: `python -m training.nli_model.train`, then `python -m training.nli_model.report`."""
