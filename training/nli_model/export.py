"""Write the model folder that `sentence_transformers.CrossEncoder` loads."""

from pathlib import Path

import torch
from safetensors.torch import save_file
from transformers import BertForSequenceClassification, PreTrainedTokenizerBase

from training.nli_model.pairs import REPOSITORY, Label

MODEL_FOLDER = REPOSITORY / "service" / "demur" / "bundled" / "nli"


def export(
    model: BertForSequenceClassification, tokenizer: PreTrainedTokenizerBase, offset: float, folder: Path = MODEL_FOLDER
) -> None:
    """Weights in float16, configuration and tokenizer; `offset` is added to the logit of entailment. Changes `model`.

    The configuration says float32, which is what they are computed in: float16 is only how they are kept.
    """
    folder.mkdir(parents=True, exist_ok=True)
    model.config.dtype = torch.float32
    model.config.architectures = ["BertForSequenceClassification"]
    model.config.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    with torch.no_grad():
        model.classifier.bias[Label.ENTAILMENT] += offset
    weights = {name: value.detach().to(torch.float16).contiguous() for name, value in model.state_dict().items()}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "model.safetensors").chmod(0o644)  # it is written for its owner only
